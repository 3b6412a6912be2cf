"""What relays keep of a host's journals: they can neither read it nor tell what it is of, and nobody can make it up."""

import os

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import checkpoints, witness
from holdfast.core.checkpoints import Bound, Checkpoint, opened
from holdfast.core.journal import Kind, Record
from holdfast.core.signed import Unsigned
from tests.core.tenants import NOW, S1, S2, S3, pair

HOST = pair("a host")
SAID = Checkpoint(1, HOST.key, S1, 41, bytes(range(32)), 1, 1, 3, NOW, 7)


def signed(said: Checkpoint = SAID) -> bytes:
    return checkpoints.sign(HOST, said)


def test_who_knows_the_session_opens_its_entry_and_no_other() -> None:
    blob = witness.sealed([(S1, signed()), (S2, signed(msgspec.structs.replace(SAID, session=S2)))], 5, os.urandom)
    assert witness.opened(blob, 5, S1) == SAID
    assert witness.opened(blob, 5, S3) is None
    assert witness.opened(blob, 6, S1) is None, "an entry is of one number"


def test_a_blob_tells_neither_sessions_nor_how_many_nor_which_stayed_the_same() -> None:
    """Promise J12."""
    blobs = [witness.sealed([(S1, signed())], number, os.urandom) for number in (5, 6)]
    three = witness.sealed(
        [(each, signed(msgspec.structs.replace(SAID, session=each))) for each in (S1, S2, S3)], 5, os.urandom
    )
    assert {len(blob) for blob in (*blobs, three)} == {witness.BLOCK * witness.ENTRY_BYTES}
    pieces = [{blob[at : at + 16] for at in range(0, len(blob), witness.ENTRY_BYTES)} for blob in blobs]
    assert not pieces[0] & pieces[1]
    for secret in (S1.encode(), HOST.key, SAID.head):
        assert all(secret not in blob for blob in blobs)


def test_the_latest_sessions_fit_whatever_the_numbers() -> None:
    huge = msgspec.structs.replace(SAID, position=(1 << 63) - 1, generation=1 << 40, incarnation=1 << 40, epoch=1 << 40,
                                   number=1 << 60)  # fmt: skip
    blob = witness.sealed([(S1, signed(huge))] * 100, 1 << 60, os.urandom)
    assert len(blob) == witness.BLOB_BYTES_MAX and witness.opened(blob, 1 << 60, S1) == huge


@given(st.binary(max_size=3 * witness.ENTRY_BYTES))
def test_rubbish_opens_to_nothing(rubbish: bytes) -> None:
    assert witness.opened(rubbish, 1, S1) is None


@given(st.data())
def test_an_altered_entry_opens_to_nothing(data: st.DataObject) -> None:
    blob = bytearray(witness.sealed([(S1, signed())] * 8, 5, lambda size: bytes(size)))
    for at in range(0, len(blob), witness.ENTRY_BYTES):
        blob[at + data.draw(st.integers(0, witness.ENTRY_BYTES - 1))] ^= 1
    assert witness.opened(bytes(blob), 5, S1) is None


def test_a_checkpoint_is_of_the_key_it_names_or_none() -> None:
    assert opened(signed()) == SAID
    for forged in (checkpoints.sign(pair("mallory"), SAID), signed()[:-1], b"", signed() + b"\0"):
        try:
            opened(forged)
        except Unsigned:
            continue
        raise AssertionError("a forged checkpoint was believed")


def test_what_is_bound_is_known_from_the_head_of_a_segment_alone() -> None:
    def record(kind: Kind, body: dict[str, object]) -> Record:
        return Record(9, 0, 1, 1, 1, kind, "host", body, bytes(32))

    bound = Bound()
    bound.learn(record(Kind.OUTPUT, {"sums": [[0, 10, bytes(32)], [10, 30, bytes(32)]]}))
    bound.learn(record(Kind.CHECKPOINT, {"number": 4, "signed": b"x"}))
    fresh = Bound()
    fresh.learn(record(Kind.CARRIED, {"bound": bound.carried()}))
    assert (fresh.output_end, fresh.number) == (30, 4)
    for rubbish in ({}, {"sums": 1}, {"sums": [[1]]}, {"sums": [[5, 2, bytes(32)]]}, {"sums": [[0, 2, b"short"]]}):
        assert checkpoints.sums_of(rubbish) == []
