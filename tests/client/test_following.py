"""A command's own output is told from the prompt after it, whatever the packets (client.following)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.following import Following
from holdfast.core.commands import Command, Prompt
from holdfast.wire import messages as wire

START, OWN, AFTER = 100, b"line one\r\nline two\r\n", b"$ prompt of the next"
ALL = OWN + AFTER


def said(ref: int, *, over: bool) -> wire.Commands:
    command = Command(7, "make", "trusted", "me", START, 0.0)
    if over:
        command = Command(7, "make", "trusted", "me", START, 0.0, "done", START + len(OWN), 1.0, 0)
    return wire.Commands(ref, (command,), Prompt(), 7)


@given(st.data())
def test_only_its_own_output_is_yielded_all_of_it_and_in_order(data: st.DataObject) -> None:
    """The host answers as of some instant between the asking and the answer; output goes on coming all the while."""
    follow, got, sent, asked_at = Following(7, START), b"", 0, -1
    waited = False
    for step in range(200):
        if follow.over:
            break
        if follow.asks:
            follow.asked, asked_at = step + 1, sent
        choices = ["output"] * (sent < len(ALL)) + ["answer"] * bool(follow.asked) + ["wait"] * (not waited)
        match data.draw(st.sampled_from(choices)):
            case "output":
                size = data.draw(st.integers(1, len(ALL) - sent))
                part = wire.Output(1, START + sent, ALL[sent : sent + size])
                sent += size
                got += b"".join(each.data for each in follow.heard(part) if isinstance(each, wire.Output))
            case "answer":
                # What had come when it was asked must not lie behind the end while the answer is that it runs.
                at = data.draw(st.integers(asked_at, len(ALL)))
                over = waited or at > len(OWN) or (at == len(OWN) and data.draw(st.booleans()))
                got += b"".join(
                    each.data for each in follow.heard(said(follow.asked, over=over)) if isinstance(each, wire.Output)
                )
            case _:
                waited = True
                got += b"".join(
                    each.data for each in follow.waited("command", START + len(OWN)) if isinstance(each, wire.Output)
                )
        assert OWN.startswith(got)
    if follow.over:
        assert got == OWN
        assert follow.command is not None
        assert follow.command.status == 0


def test_it_ends_however_the_pieces_come() -> None:
    follow = Following(7, START)
    assert (
        list(follow.heard(wire.Output(1, START, ALL))) == []
    )  # perhaps a prompt: nothing is shown before that is known
    assert follow.asks
    follow.asked = 5
    assert not follow.asks
    assert list(follow.heard(said(4, over=True))) == []  # another request's answer
    parts = list(follow.heard(said(5, over=True)))
    assert [part.data for part in parts if isinstance(part, wire.Output)] == [OWN]
    assert follow.over


def test_what_runs_on_is_shown_up_to_the_end_of_the_time() -> None:
    follow = Following(7, START)
    list(follow.heard(wire.Output(1, START, OWN)))
    assert follow.asks
    follow.asked = 1
    assert list(follow.waited("time", START + len(OWN))) == []
    assert not follow.over
    assert len(list(follow.heard(said(1, over=False)))) == 1
    assert follow.over
    assert follow.command is None
    assert list(follow.heard(wire.Output(1, START + len(OWN), b"later"))) == []


def test_a_command_that_nobody_knows_any_more_is_lost_and_not_waited_for() -> None:
    follow = Following(7, START)
    list(follow.waited("exit", START))
    assert follow.asks
    follow.asked = 1
    list(follow.heard(wire.Commands(1, (), Prompt(), 0)))
    assert follow.over
    assert follow.command is not None
    assert follow.command.state == "lost"


@pytest.mark.parametrize("because", ["input", "quiet", "time"])
def test_where_no_command_is_known_all_output_counts(because: str) -> None:
    follow = Following(0, START)
    assert len(list(follow.heard(wire.Output(1, START, b"abc")))) == 1
    assert not follow.asks
    list(follow.waited(because, START + 5))
    assert not follow.over
    assert len(list(follow.heard(wire.Output(1, START + 3, b"de")))) == 1
    assert follow.over


def test_a_gap_is_told_in_its_place() -> None:
    follow = Following(7, START)
    list(follow.heard(wire.Gap(1, START, START + 5, "evicted")))
    list(follow.heard(wire.Output(1, START + 5, OWN[5:])))
    assert follow.asks
    follow.asked = 1
    parts = list(follow.heard(said(1, over=True)))
    assert [type(part) for part in parts] == [wire.Gap, wire.Output]
    assert follow.over
