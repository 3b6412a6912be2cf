"""R31: the driver's size is the session's; observers and leaving never resize."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.sizing import Sizing, clamped


def test_the_first_to_attach_drives_and_the_second_does_not() -> None:
    sizing = Sizing((24, 80))
    assert sizing.join(1, (50, 200), observe=False) == (50, 200)
    assert sizing.join(2, (24, 80), observe=False) is None
    assert sizing.size == (50, 200)


def test_whoever_types_drives() -> None:
    sizing = Sizing((24, 80))
    sizing.join(1, (50, 200), observe=False)
    sizing.join(2, (30, 100), observe=False)
    assert sizing.typed(2) == (30, 100)
    assert sizing.typed(2) is None
    assert sizing.wish(1, (10, 20)) is None
    assert sizing.wish(2, (31, 100)) == (31, 100)


def test_leaving_does_not_resize_and_the_next_that_comes_drives() -> None:
    sizing = Sizing((24, 80))
    sizing.join(1, (50, 200), observe=False)
    sizing.leave(1)
    assert (sizing.size, sizing.driver) == ((50, 200), None)
    assert sizing.join(2, (40, 90), observe=False) == (40, 90)


def test_an_observer_never_sizes_whatever_it_does() -> None:
    """R31, R63."""
    sizing = Sizing((24, 80))
    assert sizing.join(1, (10, 40), observe=True) is None
    assert sizing.typed(1) is None
    assert sizing.wish(1, (11, 41)) is None
    assert sizing.size == (24, 80)


@given(st.integers(-5, 70000), st.integers(-5, 70000))
def test_any_size_a_window_reports_becomes_one_a_terminal_can_have(rows: int, cols: int) -> None:
    clean = clamped(rows, cols)
    assert all(1 <= n <= 999 for n in clean)
    assert clamped(0, 0) == (24, 80)


steps = st.lists(
    st.tuples(st.sampled_from(["join", "typed", "wish", "leave"]), st.integers(1, 4), st.integers(1, 9), st.booleans())
)


@given(steps)
def test_the_size_only_changes_when_the_caller_is_told(script: list[tuple[str, int, int, bool]]) -> None:
    sizing = Sizing((24, 80))
    for verb, who, n, observe in script:
        before = sizing.size
        told = None
        if verb == "join" and who not in sizing.wishes:
            told = sizing.join(who, (n, n), observe=observe)
        elif verb == "typed":
            told = sizing.typed(who)
        elif verb == "wish":
            told = sizing.wish(who, (n, n))
        elif verb == "leave":
            sizing.leave(who)
        assert sizing.size == (told or before)
        assert sizing.driver is None or sizing.driver in sizing.wishes
