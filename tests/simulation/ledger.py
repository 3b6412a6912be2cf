"""What really happened in a world, written down by its drivers where it happens; the checkers read nothing else."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from holdfast.wire.channel import Answered as Channel
from holdfast.wire.channel import Buffer, Cipher, Initiator, PeerClosed, Responder, Secure
from tests.simulation.people import Exchange


class Sent(NamedTuple):
    """Bytes about a session left the host, sealed for the operator of a link."""

    at: float
    unix: float  # by the host's clock
    host: int
    operator: bytes
    session: str
    what: str


class Answer(NamedTuple):
    """What a client program was told of one of its inputs. ``outcome`` is the error's code if it was one, ``doubted`` if
    the client itself does not believe that error."""

    session: str
    seq: int
    outcome: str
    written: int
    position: int


class Judged(NamedTuple):
    host: int
    operator: bytes
    channel: bytes  # handshake hash


class Learned(NamedTuple):
    """A genuine revocation list reached the host's process."""

    at: float
    host: int
    names: tuple[str, ...]
    version: int


@dataclass
class Following:
    """What one attachment of one client program was given, from ``offset`` on."""

    program: str
    session: str
    offset: int
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    order: list[tuple[int, int]] = field(default_factory=list)  # (start, end) of pieces and gaps as they came
    events: list[Any] = field(default_factory=list)


@dataclass
class Program:
    """One run of a client program. ``hashes`` are the channels it believes to have with its host."""

    name: str
    operator: bytes
    honest: bool
    typed: dict[tuple[str, int], bytes] = field(default_factory=dict)
    resent: set[tuple[str, int]] = field(default_factory=set)  # asked again on another link
    retried: set[tuple[str, int]] = field(default_factory=set)  # unanswered when a later carrier of its link came up
    answers: list[Answer] = field(default_factory=list)
    statements: dict[bytes, str] = field(default_factory=dict)  # signed, by verb
    channels: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # handshake hash -> host, newest version shown
    replies: list[tuple[str, str, str]] = field(default_factory=list)  # asked for, code, words
    version_seen: dict[int, int] = field(default_factory=dict)  # host -> newest version of its record it was shown


@dataclass
class Ledger:
    programs: dict[str, Program] = field(default_factory=dict)
    said: dict[tuple[bytes, str], dict[int, list[bytes]]] = field(default_factory=lambda: defaultdict(_lanes))
    heard: dict[tuple[bytes, str], dict[int, list[bytes]]] = field(default_factory=lambda: defaultdict(_lanes))
    sealed: dict[tuple[bytes, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    opened: dict[tuple[bytes, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    answered: dict[bytes, int] = field(default_factory=dict)  # handshake hash -> host
    believed: dict[bytes, str] = field(default_factory=dict)  # handshake hash -> program
    judged: list[Judged] = field(default_factory=list)
    links: dict[bytes, tuple[str, bytes]] = field(default_factory=dict)  # link id -> program, operator
    linked: dict[bytes, bytes] = field(default_factory=dict)  # link id -> operator, as the host has it
    thrown_away: list[str] = field(default_factory=list)  # links that a host forgot while they were good
    sent: list[Sent] = field(default_factory=list)
    learned: list[Learned] = field(default_factory=list)
    lists: dict[int, list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )  # host -> versions in force, in order
    records: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    followings: list[Following] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # honest ends that told each other of packets that cannot be
    typed_at: dict[tuple[int, str, int], tuple[float, float]] = field(default_factory=dict)  # record -> now, unix


def _lanes() -> dict[int, list[bytes]]:
    return defaultdict(list)


# ---- the channel, watched --------------------------------------------------------------------------------------------


class Watched(Secure):
    """A channel that writes down what was sealed and opened. ``side`` is ``client`` or ``host``."""

    __slots__ = ("_ledger", "_side")

    def __init__(self, of: Secure, ledger: Ledger, side: str) -> None:
        outward, inward = of._out, of._in
        assert isinstance(outward, Cipher) and isinstance(inward, Cipher)
        super().__init__(outward=outward, inward=inward, handshake_hash=of.handshake_hash)
        self._ledger, self._side = ledger, side

    def seal(self, plaintext: Buffer) -> bytes:
        frame = super().seal(plaintext)
        self._ledger.sealed[self.handshake_hash, self._side].append(bytes(plaintext))
        return frame

    def open(self, frame: Buffer) -> bytes:
        try:
            plaintext = super().open(frame)
        except PeerClosed:
            self._ledger.opened[self.handshake_hash, self._side].append(b"")
            raise
        self._ledger.opened[self.handshake_hash, self._side].append(plaintext)
        return plaintext

    def close(self) -> bytes:
        frame = super().close()
        self._ledger.sealed[self.handshake_hash, self._side].append(b"")
        return frame


class WatchedInitiator:
    """Stands where an ``Initiator`` does."""

    def __init__(self, of: Initiator, ledger: Ledger, program: str) -> None:
        self._of, self._ledger, self._program = of, ledger, program
        self.message1 = of.message1

    def finish(self, message2: bytes) -> Secure:
        found = Watched(self._of.finish(message2), self._ledger, "client")
        self._ledger.believed[found.handshake_hash] = self._program
        return found


class WatchedResponder:
    """Stands where a ``Responder`` does."""

    def __init__(self, of: Responder, ledger: Ledger, host: int) -> None:
        self._of, self._ledger, self._host = of, ledger, host

    def answer(self, message1: bytes, *, ephemeral_private: Exchange) -> Channel:
        found = self._of.answer(message1, ephemeral_private=ephemeral_private)  # type: ignore[arg-type]
        watched = Watched(found.secure, self._ledger, "host")
        self._ledger.answered[watched.handshake_hash] = self._host
        return Channel(found.message2, watched, found.remote_static)
