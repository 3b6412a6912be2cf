"""A cursor survives being written down, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.cursor import Cursor
from holdfast.core.errors import BadCursor
from holdfast.core.ids import session_id

SESSION = session_id(bytes(16))
numbers = st.integers(0, (1 << 63) - 1)


@given(numbers, numbers, numbers, st.binary(min_size=32, max_size=32))
def test_a_cursor_is_the_same_after_being_text(incarnation: int, offset: int, position: int, head: bytes) -> None:
    cursor = Cursor(SESSION, incarnation, offset, position, head)
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "", "c1", "c1::1:2:3:" + "0" * 64, f"c2:{SESSION}:1:2:3:" + "0" * 64, f"c1:{SESSION}:1:2:3:" + "0" * 63,
        f"c1:{SESSION}:01:2:3:" + "0" * 64, f"c1:{SESSION}:-1:2:3:" + "0" * 64, f"c1:{SESSION}:1:2:3:" + "A" * 64,
        f"c1:{SESSION}:9999999999999999999:2:3:" + "0" * 64, f"c1:{SESSION}:1:2:3:{'0' * 64}\n", "x" * 100_000,
        f"c1:build:1:2:3:{'0' * 64}", f"c1:{SESSION}:１:2:3:{'0' * 64}",
    ],
)  # fmt: skip
def test_what_no_host_wrote_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadCursor) as refused:
        Cursor.parse(text)
    assert refused.value.code == "bad-cursor" and len(str(refused.value)) < 400


@given(st.text(max_size=200))
def test_garbage_raises_bad_cursor_and_nothing_else(text: str) -> None:
    try:
        assert str(Cursor.parse(text)) == text
    except BadCursor:
        pass
