"""Let in who was invited: know which one-time secrets are open, hear a joiner out, have the answer signed by the program that
has the tenant's keys. Source: docs/identity.md, "Joining".

This host knows of an invitation the digest of its secret and when it ends, and nothing of what it gives. Not here: what is
signed for whom (client.issuing, a program of its own, started for each answer), the conversation (wire.joining).
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.core.errors import BadMessage, Corrupt, HoldError, Refused, Timeout, TooMany, revived
from holdfast.core.signed import TIME_MAX
from holdfast.edge.files import make_folder, write_durably
from holdfast.host.identity import now_s
from holdfast.host.pairing import NotRecognised, Pairings
from holdfast.wire.channel import Responder
from holdfast.wire.joining import DIGEST_BYTES, Issue, NotInvited, Usher, answers
from holdfast.wire.messages import Failed, Joined

if TYPE_CHECKING:
    from holdfast.host.host import Host

log = logging.getLogger(__name__)

OPEN_MAX: Final = 256
TELL_S: Final = 300.0  # relays are told anew so often that joiners are taken; they forget it after 900
TAKEN_S: Final = 900.0
ISSUE_S: Final = 20.0  # for the program that signs: it takes a few tenths of a second
AT_ONCE: Final = 2
FRESH_S: Final = 5.0  # a member that asks again sooner gets the same answer, and no program is started for it
RECENT_MAX: Final = 256
ANSWER_BYTES_MAX: Final = 60_000
ISSUER: Final = (sys.executable, "-m", "holdfast.client.issuing")


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    format: int
    open: dict[bytes, int]  # digest -> not_after
    recognised: tuple[bytes, ...] = ()  # of them, those whose joiner a person has to recognise


class Invitations:
    """The open invitations of this host, kept over restarts, and the joiners that are heard out now."""

    def __init__(self, host: "Host", path: Path) -> None:
        self._host, self._path = host, path
        kept = self._read()
        self._open: dict[bytes, int] = dict(kept.open)
        self._recognised = set(kept.recognised)
        self.pairings = Pairings()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._recent: dict[bytes, tuple[float, Joined]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def open_s(self) -> float:
        """For how many seconds from now joiners are expected at all; 0: nobody was invited."""
        return max(0.0, max(self._open.values(), default=0) - now_s())

    def known(self, digest: bytes) -> bool:
        """Tell whether an invitation with this digest is open."""
        return self._open.get(digest, 0) > now_s()

    def invite(self, digest: bytes, not_after: int, *, recognise: bool = False) -> None:
        """Open an invitation, or take it back with a time that is over. ``recognise``: a person says first whether whoever
        comes is the one. Raises Refused, TooMany, StorageFailed."""
        if len(digest) != DIGEST_BYTES or not 0 <= not_after <= TIME_MAX:
            raise Refused("that is no invitation; nothing was changed")
        if not self._host.identity.relays:
            raise Refused(
                "this host dials no relay, so nobody could come to join; nothing was changed",
                do="`hold up`, or `hold host link URL`, makes it reachable",
            )
        living = {each: until for each, until in self._open.items() if until > now_s() and each != digest}
        if not_after > now_s():
            if len(living) >= OPEN_MAX:
                raise TooMany(f"{OPEN_MAX} invitations are open; this one was not added", do="let some expire")
            living[digest] = not_after
        if recognise:
            self._recognised.add(digest)
        self._keep(living)

    async def join(self, ask: Issue, number: str = "") -> Joined:
        """Return what was signed for a joiner, which shows this ``number``; the invitation is used up then. Raises what it is
        refused with."""
        if not self.known(ask.digest):
            raise NotInvited
        if ask.digest in self._recognised and not await self.pairings.recognised(ask, number):
            self.invite(ask.digest, 0)  # somebody else had the code
            raise NotRecognised
        if not self.known(ask.digest):
            raise NotInvited
        until = self._open.pop(ask.digest)  # from here on nobody else comes with it
        try:
            answer = await self._issued(ask)
        except HoldError as error:
            if error.code != "not-invited":
                self._open[ask.digest] = (
                    until  # the one who signs keeps the account: what it did not give is still owed
                )
            raise
        finally:
            self._keep(dict(self._open))
        return answer

    async def renew(self, key: bytes) -> Joined:
        """Return what the member with ``key`` is to have now. Raises what it is refused with."""
        clock = asyncio.get_running_loop().time
        recent = self._recent.get(key)
        if recent is not None and clock() - recent[0] < FRESH_S:
            return recent[1]
        answer = await self._issued(Issue(b"", key))
        while len(self._recent) >= RECENT_MAX:
            del self._recent[next(iter(self._recent))]
        self._recent[key] = (clock(), answer)
        return answer

    def tell(self) -> None:
        """Tell relays for how long joiners are taken, and again before they forget it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._host.relays.take_joiners()
        if (left := self.open_s()) > 0:
            self._timer = asyncio.get_running_loop().call_later(min(TELL_S, left + 1), self.tell)

    def close(self) -> None:
        """The host stops."""
        if self._timer is not None:
            self._timer.cancel()

    # ---- inside ----

    async def _issued(self, ask: Issue) -> Joined:
        """Have the program with the tenant's keys answer. Nothing secret goes to it or stands in its arguments."""
        async with self._at_once:
            program = await asyncio.create_subprocess_exec(
                *ISSUER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd="/"
            )
            try:
                async with asyncio.timeout(ISSUE_S):
                    said, _ = await program.communicate(msgspec.msgpack.encode(ask))
            except TimeoutError:
                raise Timeout("what is asked for was not signed in time; nothing was given", do="try again") from None
            finally:
                if program.returncode is None:
                    program.kill()
                    await program.wait()
        try:
            answer: Joined | Failed = answers.decode(said)
        except msgspec.MsgspecError:
            raise Refused("this host cannot sign for its tenant; nothing was given", do="see the host's log") from None
        if isinstance(answer, Failed):
            raise revived(answer.code, answer.message, answer.do, answer.details)
        if len(said) > ANSWER_BYTES_MAX:
            raise TooMany("there are more grants than one answer holds; nothing was given", do="revoke some")
        return answer

    def _keep(self, living: dict[bytes, int]) -> None:
        make_folder(self._path.parent)
        self._recognised &= living.keys()
        write_durably(self._path, msgspec.msgpack.encode(_Kept(1, living, tuple(sorted(self._recognised)))))
        self._open = living
        self.tell()

    def _read(self) -> _Kept:
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept(1, {})
        except (OSError, msgspec.MsgspecError) as error:
            raise Corrupt(
                f"{self._path} is damaged or of a newer version; it was left as it is",
                do="remove it: codes that were given out and not used end by that, nothing else",
            ) from error


class JoinRoute:
    """One joiner, on a route of one relay. Like ``remote.Route`` towards the relay's link."""

    def __init__(
        self, host: "Host", responder: Responder, carry: Callable[[bytes], None], close: Callable[[], None]
    ) -> None:
        self._host, self._carry, self._close = host, carry, close
        self.over = False
        self._usher = Usher(
            responder, X25519PrivateKey.generate(), name=host.name, known=lambda digest: host.invitations.known(digest)
        )

    def receive(self, payload: memoryview) -> None:
        """A payload came. What makes no sense ends this route and nothing else."""
        if self.over:
            return
        try:
            words, ask = self._usher.receive(payload)
        except HoldError as error:
            log.info("a joiner was not heard out: %s", error.code)
            self._say(error if not isinstance(error, BadMessage) else BadMessage("that is no way to join"))
            return
        for each in words:
            self._carry(each)
        if ask is not None:
            self._host.spawn(self._answer(ask), "joiner")

    def end(self) -> None:
        """The route is over."""
        if not self.over:
            self.over = True
            self._close()

    async def _answer(self, ask: Issue) -> None:
        try:
            answer = await self._host.invitations.join(ask, self._usher.number)
        except HoldError as error:
            log.warning("a joiner was refused: %s", error.message)
            self._say(error)
            return
        log.info("somebody joined: %s", answer.name)
        self._say(answer)

    def _say(self, answer: Joined | HoldError) -> None:
        if self.over:
            return
        for each in self._usher.answer(answer):
            self._carry(each)
        self.end()
