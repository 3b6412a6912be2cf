"""An export proves what it holds: every way to alter it is noticed and named, and what it cannot prove is said."""

import hashlib
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import evidence
from holdfast.core.evidence import Fault, Malformed, Report, Seen, check, contents
from holdfast.core.journal import Anchor, Author, Chain, Kind, Record, decoded, digest, encoded
from holdfast.wire import messages as wire
from tests.core.chronicle import ALICE, CLIENT, OUTPUT, Chronicle, T, alice, anchor_of, proof_of, rehashed, told
from tests.core.tenants import NOW, S1, S2, pair

STORY = told()
RECORDS = STORY.records
KINDS = [f"{number}-{decoded(data).kind}" for number, data in enumerate(RECORDS, 1)]
FIELDS = list(Record.__struct_fields__)


def checked(records: list[bytes], *, output: tuple[tuple[int, bytes], ...] = (), **heading: Any) -> Report:
    return check(STORY.heading(**heading), records, output)


def found(report: Report) -> tuple[int, str] | None:
    return (report.finding.position, str(report.finding.fault)) if report.finding is not None else None


def other(value: Any) -> Any:
    """Something else of the same type."""
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:] if value else b"\x01" * 16
    if isinstance(value, str):
        return value + "x"
    return {**value, "more": 1} if isinstance(value, dict) else value + 1


# ---- what is as it was -----------------------------------------------------------------------------------------------


def test_a_record_that_was_left_alone_holds_and_says_what_that_proves() -> None:
    """Promise J5."""
    report = checked(RECORDS, output=((0, OUTPUT[:100]), (100, OUTPUT[100:])))
    assert report.finding is None
    assert (report.records, report.first, report.last) == (len(RECORDS), 1, len(RECORDS))
    assert (report.signed, report.opened, report.withheld, report.local) == (9, 7, 1, 1)
    assert (report.checkpoints, report.signed_upto, report.output) == (2, len(RECORDS) - 1, len(OUTPUT))
    said = " ".join(report.unproven)
    assert "1 actions of operators at the machine itself are unsigned" in said and "nothing of them is kept" in said


def test_what_follows_the_last_checkpoint_is_said_to_stand_on_the_chain_alone() -> None:
    one = told()
    one.add(Kind.NOTE, "host", {"n": 1})
    report = check(one.heading(), one.records)
    assert report.finding is None and any("are not signed by the host yet" in each for each in report.unproven)


def test_an_export_is_the_same_after_its_trip_through_a_file() -> None:
    frames = [evidence.framed(evidence.RECORD, each) for each in RECORDS]
    data = evidence.heading_frame(STORY.heading()) + b"".join(frames)
    data += evidence.output_frame(7, b"out") + evidence.end_frame(len(RECORDS), 3)
    assert contents(data) == (STORY.heading(), RECORDS, [(7, b"out")])
    for cut in (0, 5, len(data) // 2, len(data) - 1):
        with pytest.raises(Malformed):
            contents(data[:cut])


@given(st.binary(max_size=200))
def test_rubbish_is_no_export_and_never_a_defect(rubbish: bytes) -> None:
    for data in (rubbish, evidence.MAGIC + rubbish):
        with pytest.raises(Malformed):
            contents(data)


# ---- what was altered: by whom can only change bytes -----------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("number", range(len(RECORDS)), ids=KINDS)
def test_whatever_field_of_whatever_record_is_altered_that_record_is_named(number: int, field: str) -> None:
    """Promise J6, R72."""
    record = decoded(RECORDS[number])
    forged = msgspec.structs.replace(record, **{field: other(getattr(record, field))})
    report = checked([*RECORDS[:number], encoded(forged), *RECORDS[number + 1 :]])
    assert report.finding is not None
    # A record whose own place or link was altered breaks the chain at the record before it, of which that link speaks.
    beside = {number + 1, number, number + 2} if field in ("position", "prev") else {number + 1}
    assert report.finding.position in beside, report.finding


@pytest.mark.parametrize("number", range(len(RECORDS)), ids=KINDS)
def test_a_record_that_is_left_out_is_named(number: int) -> None:
    """Promise J6, R72."""
    report = checked([*RECORDS[:number], *RECORDS[number + 1 :]])
    assert found(report) == (number + 1, "cut" if number + 1 == len(RECORDS) else "missing")


@given(st.data())
def test_records_that_changed_places_are_named(data: st.DataObject) -> None:
    """Promise J6, R72."""
    one = data.draw(st.integers(0, len(RECORDS) - 2))
    two = data.draw(st.integers(one + 1, len(RECORDS) - 1))
    moved = list(RECORDS)
    moved[one], moved[two] = moved[two], moved[one]
    assert found(checked(moved)) == (one + 1, "reordered")


def test_bytes_that_are_no_record_are_named() -> None:
    assert found(checked([*RECORDS[:3], b"\xc1", *RECORDS[4:]])) == (4, "unreadable")


# ---- by whom can mend every link of the chain, and has no key --------------------------------------------------------


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in ("position", "prev")])
@pytest.mark.parametrize("number", range(len(RECORDS)), ids=KINDS)
def test_a_forger_who_mends_the_chain_is_caught_by_a_signature(number: int, field: str) -> None:
    """Promise J6: what an operator signed is named itself, the rest by the host's next checkpoint."""
    forged, head = rehashed(
        RECORDS, number, lambda record: msgspec.structs.replace(record, **{field: other(getattr(record, field))})
    )
    report = checked(forged, end_head=head)
    original = decoded(RECORDS[number])
    upto = next((at for at in range(number + 1, len(RECORDS)) if decoded(RECORDS[at]).kind == Kind.CHECKPOINT), None)
    if original.signature and field in ("signature", "statement", "key", "operator"):
        assert report.finding is not None and report.finding.position == number + 1
        assert report.finding.fault in (Fault.SIGNATURE, Fault.AUTHOR)
    elif upto is not None:
        assert report.finding is not None and number + 1 <= report.finding.position <= upto + 1
    elif original.kind == Kind.CHECKPOINT and field == "body":
        assert report.finding is None  # more words beside the signed ones, in the last record of all


@pytest.mark.parametrize(
    ("number", "change", "fault"),
    [
        (4, {"body": {"client": CLIENT, "seq": 2, "data": b"rm -rf /\r", "attachment": 1}}, Fault.COMMITMENT),
        (4, {"body": {"client": CLIENT, "seq": 9, "data": b"make\r", "attachment": 1}}, Fault.STATEMENT),
        (4, {"salt": bytes(16)}, Fault.COMMITMENT),
        (4, {"salt": b""}, Fault.COMMITMENT),
        (4, {"epoch": 2}, Fault.STATEMENT),
        (4, {"kind": "signal"}, Fault.STATEMENT),
        (4, {"operator": "o-" + "a" * 26}, Fault.AUTHOR),
        (4, {"operator": "local:root/1"}, Fault.AUTHOR),
        (4, {"key": b"", "signature": b"", "statement": b"", "salt": b""}, Fault.AUTHOR),
        (4, {"signature": bytes(64)}, Fault.SIGNATURE),
        (4, {"key": pair("mallory").key}, Fault.SIGNATURE),
        (6, {"salt": bytes(16)}, Fault.COMMITMENT),
        (6, {"body": {"client": CLIENT, "seq": 64, "withheld": True, "data": b"guess"}}, Fault.COMMITMENT),
        (
            10,
            {"body": {"signal": 9, "tree": False}},
            None,
        ),  # without the action: the commitment alone, then the checkpoint
        (8, {"body": {"number": 1, "signed": b""}}, Fault.CHECKPOINT),
    ],
    ids=str,
)
def test_what_was_done_to_a_record_is_named(number: int, change: dict[str, Any], fault: Fault | None) -> None:
    """Promise J6, R72: among others, an author who was stripped or swapped."""
    forged, head = rehashed(RECORDS, number - 1, lambda record: msgspec.structs.replace(record, **change))
    report = checked(forged, end_head=head)
    assert report.finding is not None
    assert fault is None or found(report) == (number, fault), report.finding


def test_an_action_that_the_body_contradicts_is_named() -> None:
    forged, head = rehashed(RECORDS, 9, lambda it: msgspec.structs.replace(it, body={**it.body, "signal": 9}))
    assert found(checked(forged, end_head=head)) == (10, Fault.COMMITMENT)


def test_a_signature_for_another_session_or_verb_does_not_count() -> None:
    for author, seq in ((Author(ALICE, proof=proof_of(wire.Input(1, S1, 5, b"x"), session=S2, seq=5)), 5),
                        (Author(ALICE, proof=proof_of(wire.Rename(1, S1, "x"), seq=5)), 5)):  # fmt: skip
        one = Chronicle()
        one.add(Kind.INPUT, author, {"client": CLIENT, "seq": seq, "data": b"x", "attachment": 0})
        assert found(check(one.heading(), one.records)) == (1, Fault.STATEMENT)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"head": bytes(32)}, T.host),
        ({"position": 1}, T.host),
        ({"session": S2}, T.host),
        ({"number": 9}, T.host),
        ({}, T.bot),
    ],
    ids=["another head", "another place", "another session", "another number", "another key"],
)
def test_a_checkpoint_that_says_something_else_is_named(changes: dict[str, Any], key: Any) -> None:
    one = Chronicle()
    one.add(Kind.NOTE, "host", {})
    one.add(Kind.NOTE, "host", {})
    one.checkpoint(key, **changes)
    assert found(check(one.heading(), one.records)) == (3, Fault.CHECKPOINT)


def test_certificates_that_do_not_make_the_key_a_host_are_named() -> None:
    for heading in ({"certificates": T.bot_chain}, {"tenant": pair("another root").key}, {"certificates": ()},
                    {"host": T.bot.key}, {"at": NOW + 10**9}):  # fmt: skip
        assert found(checked(RECORDS, **heading)) == (0, Fault.HOST), heading
    alone = checked(RECORDS, tenant=b"", certificates=())
    assert alone.finding is None and any("only this export says" in each for each in alone.unproven)


# ---- a host that was set back, and output ----------------------------------------------------------------------------


def test_a_head_that_was_seen_before_has_to_be_in_it() -> None:
    """Promise J7, I8."""
    end = len(RECORDS)
    assert (
        checked(RECORDS, seen=(Seen(5, digest(RECORDS[4]), "alice"), Seen(end, digest(RECORDS[-1]), "bob"))).finding
        is None
    )
    older = Chronicle(chain=Chain())
    for kind in (Kind.NOTE, Kind.NOTE):
        older.add(kind, "host", {})
    for seen in (Seen(5, bytes(32), "alice"), Seen(end + 1, bytes(32), "alice")):
        assert found(checked(RECORDS, seen=(seen,))) == (seen.position, Fault.ROLLED_BACK)
    assert found(check(older.heading(seen=(Seen(5, digest(RECORDS[4]), "a relay"),)), older.records)) == (
        5,
        Fault.ROLLED_BACK,
    )


def test_a_cut_end_is_noticed_by_the_heading_alone_unless_somebody_saw_the_end() -> None:
    assert found(checked(RECORDS[:-1])) == (len(RECORDS), "cut")
    short = checked(RECORDS[:-1], end=len(RECORDS) - 1, end_head=digest(RECORDS[-2]))
    assert short.finding is None and any("no later record was cut off" in each for each in short.unproven)


def test_output_is_checked_against_the_digests_in_the_record() -> None:
    """Promise J8, R72."""
    bad = OUTPUT[:50] + b"X" + OUTPUT[51:]
    assert found(checked(RECORDS, output=((0, bad),))) == (0, Fault.OUTPUT)
    assert checked(RECORDS, output=((10, OUTPUT[10:]),)).output == 0  # evicted in part: nothing to compare


# ---- rotation, and what was lost -------------------------------------------------------------------------------------


def test_a_record_whose_beginning_was_rotated_away_verifies_from_its_anchor() -> None:
    """Promise J4: and the next checkpoint stands for the anchor."""
    kept = RECORDS[6:]
    report = checked(kept, anchors=(anchor_of(RECORDS, 7),))
    assert report.finding is None and (report.first, report.signed_upto) == (7, len(RECORDS) - 1)
    forged = encoded(Anchor(1, S1, 7, 6, bytes(32)))
    assert found(checked(kept, anchors=(forged,))) == (7, "altered")


def test_positions_that_an_anchor_states_as_lost_are_said_and_no_others() -> None:
    one = told()
    end, head = one.chain.position, one.chain.head
    one.chain = Chain(position=end + 3, head=head)
    one.add(Kind.NOTE, "host", {"after": "a power cut"})
    stated = encoded(Anchor(1, S1, end + 4, end, head, "the host's last records were lost"))
    report = check(one.heading(anchors=(stated,)), one.records)
    assert report.finding is None and report.lost == ((end + 1, end + 3, "the host's last records were lost"),)
    assert found(check(one.heading(), one.records)) == (end + 1, "missing")
    cut = [*one.records[: end - 1], one.records[-1]]
    assert found(check(one.heading(anchors=(stated,)), cut)) == (end, "missing")


# ---- passwords -------------------------------------------------------------------------------------------------------


def test_who_guesses_passwords_cannot_try_a_guess_on_the_record() -> None:
    """Promise J10: the commitment is there, the salt is not; with it the same guess is certain."""
    record = decoded(RECORDS[5])
    assert record.body["withheld"] is True and record.salt == b"" and record.statement
    committed = record.statement[-32:]
    right = msgspec.msgpack.encode(["input", b"hunter2\r"])
    known = [value for value in msgspec.structs.astuple(record) if isinstance(value, bytes)]
    known += [value for value in record.body.values() if isinstance(value, bytes)]
    assert all(hashlib.sha256(salt + right).digest() != committed for salt in (*known, b"", bytes(16)))
    proof = alice(wire.Input(1, S1, 64, b"hunter2\r"), seq=64).proof
    assert proof is not None and hashlib.sha256(proof.salt + right).digest() == committed


def test_records_of_passwords_of_any_length_look_alike() -> None:
    """Promise J10."""
    shapes = set()
    for secret in (b"a\r", b"a very long password indeed\r"):
        author = alice(wire.Input(1, S1, 64, secret), seq=64)
        assert author.proof is not None
        one = Chronicle()
        one.add(Kind.INPUT, author.saying(author.proof._replace(salt=b"")), decoded(RECORDS[5]).body)
        record = decoded(one.records[0])
        shapes.add((len(one.records[0]), str(record.body)))
    assert len(shapes) == 1


def test_five_thousand_records_a_second_are_checked() -> None:
    """The figure is printed by bench/journal.py; here only that it is not an order of magnitude away."""
    one = Chronicle()
    for seq in range(1, 501):
        body = {"client": CLIENT, "seq": seq, "data": b"x", "attachment": 1}
        one.add(Kind.INPUT, alice(wire.Input(1, S1, seq, b"x"), seq=seq), body)
    began = time.process_time()
    assert check(one.heading(), one.records).signed == 500
    assert 500 / (time.process_time() - began) > 500
