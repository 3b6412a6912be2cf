"""What must hold in every world, whatever was done to it: one function for each invariant of DESIGN section 4.

They read the ledger, the journals and the terminals; nothing they judge by is computed by the code they judge. Where a
format matters (statement, action), it is made again here from docs/channel.md.
"""

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.grants import Capability
from holdfast.core.identity import operator_id
from holdfast.core.journal import Record, decoded, digest
from tests.simulation import people as of
from tests.simulation.people import NOWHERE, Operator, people

if TYPE_CHECKING:
    from tests.simulation.world import World

LATE_S = 1.05  # how long an expired right may go on: the host looks once a second (docs/identity.md)
FALLS = {"alice": {"alice", "bot"}, "bob": {"bob"}, "bot": {"bot"}, "guest": {"guest"}, "narrow": {"narrow"}}
_genuine = functools.lru_cache(maxsize=400_000)(of._really)


class Violation(AssertionError):
    """An invariant does not hold. ``name`` is the checker's."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.name = name


def journals(world: "World") -> Iterable[tuple[int, str, list[bytes]]]:
    for host in world.hosts:
        for session, stored in host.disk.journals.items():
            yield host.number, session, stored


@functools.lru_cache(maxsize=4096)
def _record(data: bytes) -> Record:
    return decoded(data)


# ---- I3 --------------------------------------------------------------------------------------------------------------


def one_order(world: "World") -> None:
    """I3: positions count from 1 without hole or repetition, each record names the one before it, and every attachment
    sees these records, in this order, none left out between the first and the last it sees."""
    of_session: dict[str, dict[int, Record]] = {}
    for _, session, stored in journals(world):
        before, found = bytes(32), {}
        for number, data in enumerate(stored, 1):
            record = _record(data)
            if record.position != number or record.prev != before:
                raise Violation("one_order", f"record {number} of {session[:6]} calls itself {record.position}")
            found[number], before = record, digest(data)
        of_session[session] = found
    for following in world.ledger.followings:
        last = 0
        for event in following.events:
            if last and event.position != last + 1:
                raise Violation("one_order", f"{following.program} saw {event.position} after {last}")
            last = event.position
            told = of_session[following.session].get(event.position)
            seen = (event.kind, event.operator, event.body)
            if told is None or (told.kind, told.operator, told.body) != seen:
                raise Violation("one_order", f"{following.program} saw another record at {event.position}")


# ---- I4 --------------------------------------------------------------------------------------------------------------


def output_exact(world: "World") -> None:
    """I4: a stream reader gets every byte from where it began, once, in order, or is told which are gone; they are."""
    for following in world.ledger.followings:
        terminal = world.terminal(following.session)
        at = following.offset
        for start, end in following.order:
            if start != at or end <= start:
                raise Violation("output_exact", f"{following.program}: {start}..{end} came where {at} was next")
            at = end
        for start, data in following.pieces:
            if bytes(terminal.out[start : start + len(data)]) != data:
                raise Violation("output_exact", f"{following.program}: other bytes at {start}")
        for start, end, why in following.gaps:
            if not why or end > terminal.start:
                raise Violation("output_exact", f"{following.program}: {start}..{end} is not gone")


# ---- I5 --------------------------------------------------------------------------------------------------------------


def _taken(world: "World", session: str) -> dict[int, bytes]:
    taken: dict[int, bytearray] = defaultdict(bytearray)
    for position, byte in world.terminal(session).taken:
        taken[position].append(byte)
    return {position: bytes(data) for position, data in taken.items()}


def input_at_most_once(world: "World") -> None:
    """I5: each input of a client reaches the terminal once or not at all, and what its client is told of it is true."""
    for _, session, stored in journals(world):
        taken = _taken(world, session)
        begun: dict[tuple[str, int], int] = {}
        for data in stored:
            record = _record(data)
            if record.kind != "input":
                continue
            key = (record.body["client"], record.body["seq"])
            if key in begun:
                raise Violation("input_at_most_once", f"{key} was begun at {begun[key]} and at {record.position}")
            begun[key] = record.position
            if not record.body["data"].startswith(taken.get(record.position, b"")):
                raise Violation("input_at_most_once", f"the terminal took other bytes than record {record.position}")
        for program in world.ledger.programs.values():
            _told_the_truth(world, program, session, begun, taken)


def _told_the_truth(world: "World", program: Any, session: str, begun: dict[Any, int], taken: dict[int, bytes]) -> None:
    for answer in program.answers:
        if answer.session != session or not program.honest:
            continue
        position = begun.get((f"c-{program.name}", answer.seq))
        got = taken.get(position or 0, b"")
        data = program.typed[session, answer.seq]
        match answer.outcome:
            case "applied":
                true = position == answer.position and got == data and answer.written == len(data)
            case "partial":
                true = position == answer.position and answer.written == len(got) < len(data)
            case "refused" if answer.position:
                true = position == answer.position and not got
            case "input-unknown":
                true = position in world.terminal(session).doubtful
            case "doubted":  # it was refused, and may have been there before
                true = (session, answer.seq) in program.resent | program.retried
            case _:  # refused for a reason, and not typed either
                true = position is None
        if not true:
            raise Violation("input_at_most_once", f"{program.name} was told {answer}, the terminal took {got!r}")


# ---- I7 --------------------------------------------------------------------------------------------------------------


def _statement(session: str, client: str, verb: str, record: Record, action: list[Any]) -> bytes:
    """docs/channel.md, "Signed actions"."""
    commitment = hashlib.sha256(record.salt + msgspec.msgpack.encode(action)).digest()
    texts = b"".join(bytes([len(text)]) + text.encode() for text in (session, client, verb))
    numbers = b"".join(number.to_bytes(8, "big") for number in (1, 1, record.body["seq"]))
    return b"holdfast/action/1\0" + texts + numbers + commitment


def attributed(world: "World") -> None:
    """I7: each byte at the terminal, and each signal, is that of one record, which its author signed, once, for this
    session, this client and this content, having the right to."""
    statements: set[bytes] = set()
    for host, session, stored in journals(world):
        inputs, signals = set(), []
        for data in stored:
            record = _record(data)
            if record.kind not in ("input", "signal"):
                continue
            (inputs.add if record.kind == "input" else signals.append)(record.position)
            _signed(record, session)
            if record.statement in statements:
                raise Violation("attributed", f"record {record.position} carries a signature that was used before")
            statements.add(record.statement)
            operator = people().by_key.get(record.key)
            if operator is None or record.operator != operator_id(record.key):
                raise Violation("attributed", f"record {record.position} has no author")
            principal = operator_id(people().alice.pair.key) if operator is people().bot else None
            if record.body.get("on_behalf_of") != principal:
                raise Violation("attributed", f"record {record.position} does not say on whose behalf")
            now, unix = world.ledger.typed_at[host, session, record.position]
            if why := forbidden(world, operator, Capability.OPERATE, session, host, now, unix):
                raise Violation("attributed", f"record {record.position} is {operator.name}'s: {why}")
        terminal = world.terminal(session)
        if extra := {position for position, _ in terminal.taken} - inputs:
            raise Violation("attributed", f"the terminal took bytes that no record stands for: {sorted(extra)[:3]}")
        if terminal.signals != signals:
            raise Violation("attributed", f"signals {terminal.signals} were sent, {signals} are on record")


def _signed(record: Record, session: str) -> None:
    if record.kind == "input":
        client, action = record.body["client"], ["input", record.body["data"]]
    else:
        client, action = record.body["client"], ["signal", record.body["signal"], False]
    if record.statement != _statement(session, client, record.kind, record, action):
        raise Violation("attributed", f"record {record.position}: its statement says something else")
    if not _genuine(record.key, record.signature, record.statement):
        raise Violation("attributed", f"record {record.position} is not signed by its author")


def forbidden(
    world: "World", operator: Operator, capability: Capability, session: str, host: int, now: float, unix: float
) -> str:
    """Return why ``operator`` may not at that time, as the world knows it; empty: it may."""
    if not operator.may(capability, session):
        return "never had the right"
    if unix >= operator.until + LATE_S:
        return f"the right ended {unix - operator.until:.2f} s before"
    for learned in world.ledger.learned:
        if learned.host == host and learned.at < now and any(operator.name in FALLS[name] for name in learned.names):
            return f"the right was taken back {now - learned.at:.4f} s before"
    return ""


# ---- I8 --------------------------------------------------------------------------------------------------------------


def relay_untrusted(world: "World") -> None:
    """I8: whatever lies between, each end opens what the other sealed, once, in order, and nothing else; no host takes
    anybody for somebody else, no client another host for its own; no older record or list is believed."""
    ledger = world.ledger
    for (channel, side), opened in ledger.opened.items():
        if side == "host" and channel not in ledger.believed:
            continue  # of the relay's own making: what matters is whom the host takes it for, below
        sealed = ledger.sealed.get((channel, "host" if side == "client" else "client"), [])
        if opened != sealed[: len(opened)]:
            raise Violation("relay_untrusted", f"a {side} opened what was not sealed, or not then")
    for judged in ledger.judged:
        program = ledger.programs.get(ledger.believed.get(judged.channel, ""))
        if program is None or program.operator != judged.operator:
            name = people().by_key[judged.operator].name
            raise Violation("relay_untrusted", f"host{judged.host} took somebody for {name}")
    for program in ledger.programs.values():
        for channel, (host, seen) in program.channels.items():
            if ledger.answered.get(channel) != host and world.rotated(host, seen):
                raise Violation("relay_untrusted", f"{program.name} took somebody for host{host}")
    _messages_once(world)
    _never_back(world)


def _messages_once(world: "World") -> None:
    """Between the two objects of a link nothing comes twice or out of order; and a host has another object for a link
    only after it died, or ended the first: what is said at a guess is then said to both, and its numbers tell."""
    ledger = world.ledger
    if ledger.thrown_away:
        raise Violation("relay_untrusted", f"a host threw a good link away: {ledger.thrown_away[0]}")
    by_link: dict[bytes, list[Any]] = defaultdict(list)
    for (link, side), lanes in ledger.said.items():
        if side != "client":
            by_link[link].append(lanes)
    for (link, side), lanes in ledger.heard.items():
        program, operator = ledger.links.get(link, ("", b""))
        if ledger.linked.get(link) != operator:
            raise Violation("relay_untrusted", f"a link of {program or 'nobody'} is held as somebody else's")
        said = by_link[link] if side == "client" else [ledger.said[link, "client"]]
        if not any(all(heard == told[lane][: len(heard)] for lane, heard in lanes.items()) for told in said):
            raise Violation("relay_untrusted", f"a {side} heard on a link of {program} what was not said, or not so")


def _never_back(world: "World") -> None:
    for machine, seen in world.ledger.records.items():
        newest: dict[int, int] = {}
        for host, version in seen:
            if version < newest.get(host, 0):
                raise Violation("relay_untrusted", f"{machine} believed an older record of host{host}")
            newest[host] = version
    for host, versions in world.ledger.lists.items():
        if versions != sorted(set(versions)):
            raise Violation("relay_untrusted", f"host{host} went back to an older revocation list: {versions}")


# ---- I9 --------------------------------------------------------------------------------------------------------------


def admitted_only(world: "World") -> None:
    """I9: nothing about a session leaves its host for who may not see it then; who may not see a session is told what
    they are told of one that does not exist."""
    for sent in world.ledger.sent:
        operator = people().by_key[sent.operator]
        why = forbidden(world, operator, Capability.OBSERVE, sent.session, sent.host, sent.at, sent.unix)
        if why:
            raise Violation("admitted_only", f"{sent.what} left for {operator.name} at {sent.at:.3f} s: {why}")
    words: dict[tuple[str, str], str] = {}
    for program in world.ledger.programs.values():
        operator = people().by_key[program.operator]
        for session, code, said in program.replies:
            if operator.may(Capability.OBSERVE, session) and session != NOWHERE:
                continue
            words.setdefault((code, said), f"{operator.name} {session[:6]}")
    if len(words) > 1 or any(code != "no-such-session" for code, _ in words):
        raise Violation("admitted_only", f"a session that one may not see is told from one that is not there: {words}")


# ---- liveness --------------------------------------------------------------------------------------------------------


def comes_to_rest(world: "World") -> None:
    """Once the network is whole again, every client that may follow its session has all of it, and every answer, within
    a bounded time; and no two honest ends ever tell each other of packets that cannot be."""
    if world.unsettled:
        raise Violation("comes_to_rest", f"{world.scheduler.now:.0f} s: {', '.join(world.unsettled)}")
    if world.ledger.broken:
        raise Violation("comes_to_rest", f"an honest end broke the link's rules: {world.ledger.broken[0]}")


CHECKERS = (one_order, output_exact, input_at_most_once, attributed, relay_untrusted, admitted_only, comes_to_rest)
