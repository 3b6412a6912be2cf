"""Who is told of what while nobody of theirs looks: the rules, by table and by property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.admission import Granted
from holdfast.core.grants import Capability, Grant
from holdfast.core.identity import NOTHING_REVOKED, Certificate, Kind, Member, Revocations, operator_id
from holdfast.core.notices import APART_S, BURST, HERE_S, LASTS_S, Happened, Listener, Pacing, Why, concerns

NOW = 1_800_000_000
DAY = 86400
KEYS = {name: bytes([at]) * 32 for at, name in enumerate(("ada", "ben", "robot", "phone"), 1)}
IDS = {name: str(operator_id(key)) for name, key in KEYS.items()}
LOCAL = "uid:1000"


def listener(
    name: str, kind: Kind = Kind.HUMAN, can: Capability = Capability.MANAGE, *, of: str = "", everything: bool = False,
    sessions: tuple[str, ...] = (), seen_at: int = NOW, grant_ends: int = NOW + 300 * DAY,
) -> Listener:  # fmt: skip
    behalf = KEYS[of] if of else b""
    certificate = Certificate(
        1, b"t" * 32, kind, KEYS[name], b"", behalf, seen_at - 300, seen_at + DAY, b"s" * 16, b"i" * 32
    )
    holders = (*((behalf,) if behalf else ()), KEYS[name])
    caps = {1: 1, 2: 3, 4: 7, 8: 15}[int(can)]
    grant = Grant(
        KEYS[name], frozenset(sessions), Capability(caps), seen_at - 300, grant_ends, 0, holders, (b"g" * 16,), ()
    )
    return Listener(Granted(Member((certificate,)), (grant,)), seen_at, everything)


def told(who: Listener, it: Happened, *, now: int = NOW, revoked: Revocations = NOTHING_REVOKED) -> bool:
    return concerns(who, it, now=now, revoked=revoked)


def it(why: Why, by: str = "", principal: str = "", of: str = "") -> Happened:
    return Happened(why, "s-1", IDS.get(by, by), IDS.get(principal, principal), IDS.get(of, of))


ADA, PHONE = listener("ada"), listener("phone", Kind.DEVICE, of="ada")
WATCHER = listener("ben", can=Capability.OBSERVE)

CASES = [
    ("her own command", ADA, it(Why.COMMAND, "ada"), True),
    ("the AI operator's that acts for her", ADA, it(Why.COMMAND, "robot", "ada"), True),
    ("her phone is told of hers", PHONE, it(Why.COMMAND, "ada"), True),
    ("and of what her AI operator did", PHONE, it(Why.COMMAND, "robot", "ada"), True),
    ("somebody else's", ADA, it(Why.COMMAND, "ben"), False),
    ("somebody else's, if all is wanted", listener("ada", everything=True), it(Why.COMMAND, "ben"), True),
    ("the machine's own user is whoever manages it", ADA, it(Why.COMMAND, LOCAL), True),
    ("and nobody who only operates", listener("ben", can=Capability.OPERATE), it(Why.COMMAND, LOCAL), False),
    ("nor a device", PHONE, it(Why.COMMAND, LOCAL), False),
    ("a program that nobody is known to have begun", ADA, it(Why.INPUT), True),
    ("a session out of reach", listener("ada", sessions=("s-2",)), it(Why.COMMAND, "ada"), False),
    ("approval: who may give it", ADA, it(Why.APPROVAL, "robot", "ada"), True),
    ("approval: not for one's own", ADA, it(Why.APPROVAL, "ada"), False),
    ("approval: not who only watches", WATCHER, it(Why.APPROVAL, "robot"), False),
    ("approval: no device", PHONE, it(Why.APPROVAL, "robot"), False),
    ("control: who lost it", ADA, it(Why.CONTROL, "ben", of="ada"), True),
    ("control: not who took it", ADA, it(Why.CONTROL, "ada", of="ben"), False),
    ("control: not bystanders", WATCHER, it(Why.CONTROL, "ada", of="robot"), False),
]


@pytest.mark.parametrize(("who", "what", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_who_is_told(who: Listener, what: Happened, wanted: bool) -> None:
    assert told(who, what) is wanted


def test_a_certificate_that_ran_out_in_a_pocket_ends_nothing_and_a_revocation_all() -> None:
    """R56: what a notice says is not worth a renewal; what was taken back is told nothing."""
    mine = it(Why.COMMAND, "ada")
    assert told(ADA, mine, now=NOW + 5 * DAY)
    assert not told(ADA, mine, now=NOW + LASTS_S)
    assert not told(listener("ada", grant_ends=NOW + 2 * DAY), mine, now=NOW + 3 * DAY)
    assert not told(ADA, mine, revoked=Revocations(members=frozenset({KEYS["ada"]})))
    assert not told(PHONE, mine, revoked=Revocations(members=frozenset({KEYS["ada"]})))


def test_who_acted_just_now_looks() -> None:
    pacing = Pacing()
    pacing.acted("s-1", IDS["robot"], IDS["ada"], now=100.0)
    assert pacing.here("s-1", IDS["ada"], now=100.0 + HERE_S - 1)
    assert not pacing.here("s-1", IDS["ada"], now=100.0 + HERE_S)
    assert not pacing.here("s-2", IDS["ada"], now=100.0)


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(list(Why)), st.integers(0, 3)), max_size=200))
def test_no_rhythm_rings_more_often_than_is_promised(rhythm: list[tuple[float, Why, int]]) -> None:
    """I11: never two of one kind within APART_S, and a bounded number in any stretch."""
    pacing, now, rung = Pacing(), 0.0, list[tuple[float, Why, int]]()
    for wait, why, session in rhythm:
        now += wait
        if pacing.due("phone", Happened(why, f"s-{session}"), now=now):
            assert not any(w is why and s == session and now - at < APART_S for at, w, s in rung)
            rung.append((now, why, session))
    for at, _, _ in rung:
        assert sum(at <= other < at + 60 for other, _, _ in rung) <= BURST
