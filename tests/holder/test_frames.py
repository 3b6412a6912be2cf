"""Frames: what is packed comes out, however it is cut; what could not have been packed ends the link, no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.holder import protocol as p

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    TEXTS,
    st.binary(max_size=200),
    st.lists(TEXTS, max_size=5),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
)
FIELDS = st.dictionaries(st.text("abc_", min_size=1, max_size=8), VALUES, max_size=6)
HELLO = p.frame(p.HELLO, 3, {"version": 1, "role": "host", "data": b"\0\1", "names": ["a", ""], "pids": [1, 2]})


def plain(fields: p.Fields) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


@given(FIELDS)
def test_fields_survive_the_way(fields: dict[str, p.Value]) -> None:
    assert plain(p.unpacked(p.packed(fields))) == fields


@pytest.mark.parametrize("cut", range(len(HELLO) + 1))
def test_frames_do_not_depend_on_where_the_socket_cuts(cut: int) -> None:
    frames = p.Frames(1024)
    got = frames.receive(HELLO[:cut]) + frames.receive(HELLO[cut:])
    assert [(kind, request) for kind, request, _ in got] == [(p.HELLO, 3)]
    assert p.texts(got[0][2], "names") == ["a", ""]
    assert p.numbers(got[0][2], "pids") == [1, 2]


@given(st.binary(max_size=400))
def test_garbage_is_a_bad_frame_or_nothing_yet(data: bytes) -> None:
    frames = p.Frames(256)
    try:
        frames.receive(data)
    except p.BadFrame:
        pass


def test_a_long_frame_is_refused_before_its_body_comes() -> None:
    with pytest.raises(p.BadFrame):
        p.Frames(64).receive((65).to_bytes(4, "little"))


def test_fields_of_a_later_version_are_ignored() -> None:
    body = bytearray(p.packed({"x": 1}))
    body[1] = 99  # a type nobody knows yet
    assert p.unpacked(bytes(body) + p.packed({"y": 2})) == {"y": 2}


@pytest.mark.parametrize(
    ("read", "value"), [(p.number, "1"), (p.text, 1), (p.data_of, "x"), (p.texts, 3), (p.numbers, b"x")]
)
def test_a_field_of_the_wrong_type_is_a_bad_frame(read: object, value: p.Value) -> None:
    with pytest.raises(p.BadFrame):
        read({"data": value}, "data")  # type: ignore[operator]


def test_text_that_is_no_utf8_survives() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert p.unpacked(p.packed({"cwd": name})) == {"cwd": name}
