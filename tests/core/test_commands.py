"""Commands from marks and inputs: what ran, who submitted it, how it ended. The table of docs/shell-integration.md."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.commandlog import CARRIED, KEPT, CommandLog, body_of, command_of
from holdfast.core.commands import Command, Tracker
from holdfast.core.journal import Author, Kind, Record
from holdfast.core.linetext import line_text
from holdfast.core.marks import Mark


class Story:
    """A shell's life told step by step; every step is 10 bytes of output and a second later than the one before."""

    def __init__(self) -> None:
        self.tracker = Tracker()
        self.at = 0
        self.position = 0
        self.told: list[Command] = []

    def mark(self, kind: str, **what: object) -> "Story":
        start = self.at
        self.at += 10
        mark = Mark(kind, start, self.at, start, **what)  # type: ignore[arg-type]
        self.told += self.tracker.marked(mark, float(self.at))
        return self

    def prompt(self) -> "Story":
        return self.mark("A", cwd="/src").mark("B")

    def typed(self, author: str, data: bytes) -> "Story":
        self.position += 1
        self.tracker.typed(self.at, self.position, author, data)
        return self

    def ran(self, text: str | None, status: int = 0) -> "Story":
        return self.mark("C", text=text).mark("D", status=status).prompt()

    @property
    def ended(self) -> list[Command]:
        return [each for each in self.told if each.state != "running"]

    @property
    def authors(self) -> list[tuple[str, str]]:
        return [(each.text, each.author) for each in self.ended]


def test_a_command_has_text_author_place_range_and_status() -> None:
    ann = Author("o-ann", principal="o-boss")
    story = Story().prompt().typed(ann, b"make\r")
    story.mark("C", text="make")
    assert story.tracker.state().running == 1
    started = story.told[-1]
    assert (started.state, started.end, started.status) == ("running", None, None)
    story.mark("D", status=2)
    command = story.told[-1]
    assert (command.text, command.source, command.author, command.on_behalf_of) == (
        "make",
        "trusted",
        "o-ann",
        "o-boss",
    )
    assert (command.start, command.end, command.started_at, command.duration_s) == (30, 30, 30.0, 10.0)
    assert (command.status, command.state, command.cwd, command.position) == (2, "done", "/src", 1)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("one author, keys one by one", [("ls", "ann")]),
        ("two on one line", [("ls -l", "bob")]),
        ("empty lines", [("ls", "bob")]),
        ("thrown away", [("ls", "bob")]),
        ("several lines", [("for i in 1 2; do echo; done", "ann"), ("ls", "bob")]),
        ("typed to the program", [("cat", "ann"), ("ls", "bob")]),
        ("typed ahead", [("sleep 9", "ann"), ("ls", "bob")]),
        ("two before the shell was quick enough", [("one", "ann"), ("two", "bob")]),
        ("from history", [("make", "bob")]),
        ("several in one input", [("one", "ann"), ("two", "ann"), ("three", "ann")]),
        ("pasted at once", [("one", "ann"), ("two", "ann")]),
        ("nobody's", [("one", "")]),
    ],
)
def test_the_author_is_who_submitted_it(steps: str, expected: list[tuple[str, str]]) -> None:
    story = Story().prompt()
    match steps:
        case "one author, keys one by one":
            story.typed("ann", b"l").typed("ann", b"s").typed("ann", b"\r").ran("ls")
        case "two on one line":
            story.typed("ann", b"ls ").typed("bob", b"-l\r").ran("ls -l")
            assert story.ended[0].others == ("ann",)
        case "empty lines":
            story.typed("ann", b"\r").prompt().typed("ann", b"\n").prompt().typed("bob", b"ls\r").ran("ls")
        case "thrown away":
            story.typed("ann", b"rm -rf").typed("ann", b"\x03").prompt().typed("bob", b"ls\r").ran("ls")
            assert story.ended[0].others == ()
        case "several lines":
            story.typed("ann", b"for i in 1 2\r").mark("P").typed("ann", b"do echo\r").typed("ann", b"done\r")
            story.ran("for i in 1 2; do echo; done").typed("bob", b"ls\r").ran("ls")
        case "typed to the program":
            story.typed("ann", b"cat\r").mark("C", text="cat").typed("ann", b"hello\r").typed("ann", b"\x04")
            story.mark("D", status=0).prompt().typed("bob", b"\x1b[A\r").ran("ls")
        case "typed ahead":
            story.typed("ann", b"sleep 9\r").mark("C", text="sleep 9").typed("bob", b"ls\r").mark(
                "D", status=0
            ).prompt().ran("ls")
            assert [each.typeahead for each in story.ended] == [False, True]
        case "two before the shell was quick enough":
            story.typed("ann", b"one\r").typed("bob", b"two\r").ran("one").ran("two")
        case "from history":
            story.typed("ann", b"!!").typed("ann", b"\x15").typed("bob", b"\x1b[A").typed("bob", b"\r").ran("make")
            assert story.ended[0].others == ()
        case "several in one input":
            story.typed("ann", b"one\rtwo\rthree\r").ran("one").ran("two").ran("three")
        case "pasted at once":
            story.typed("ann", b"\x1b[200~one\ntwo\x1b[201~\r").mark("C", text="one").mark("C", text="two").mark(
                "D", status=0
            )
            assert [each.status for each in story.ended] == [None, 0]
        case "nobody's":
            story.ran("one")
    assert story.authors == expected


def test_nothing_ran_for_an_empty_line_a_cancelled_one_and_a_syntax_error() -> None:
    story = Story().prompt().typed("ann", b"\r").prompt().typed("ann", b"abc").typed("ann", b"\x03").prompt()
    story.typed("ann", b"foo(\r").prompt()
    assert story.told == []
    assert story.tracker.state().at_prompt


def test_the_line_is_dirty_while_something_on_it_was_not_submitted() -> None:
    story = Story().prompt()
    states = []
    for data in (b"ec", b"ho", b"\x15", b"\x1b[I", b"x", b"\x03", b"ls\r"):
        story.typed("ann", data)
        states.append(story.tracker.state().dirty)
    assert states == [True, True, False, False, True, False, True]  # submitted, and the shell has not taken it yet
    story.mark("C", text="ls")
    assert not story.tracker.state().dirty
    story.mark("D", status=0).prompt()
    assert not story.tracker.state().dirty
    story.typed("ann", b"a").typed("bob", b"b")
    assert story.tracker.state().typists == ("ann", "bob")


def test_what_is_typed_counts_before_output_that_came_later_and_after_what_came_before() -> None:
    """The output is looked at late; the offset at the typing says what stood there."""
    story = Story().prompt()
    tracker = story.tracker
    tracker.typed(100, 1, "bob", b"later\r")
    tracker.marked(Mark("C", 50, 60, 50, text="now"), 1.0)
    assert tracker.running is not None
    assert tracker.running.author == ""
    tracker.marked(Mark("D", 60, 70, 60, status=0), 2.0)
    tracker.marked(Mark("B", 70, 80, 70), 2.0)
    tracker.marked(Mark("C", 110, 120, 110, text="later"), 3.0)
    assert tracker.running.author == "bob"


def test_an_end_that_was_not_seen_is_lost_not_guessed() -> None:
    story = Story().prompt().typed("ann", b"make\r").mark("C", text="make").prompt()
    assert (story.ended[0].state, story.ended[0].status) == ("lost", None)
    assert story.tracker.state().at_prompt


def test_the_session_s_own_status_is_that_of_what_ended_it() -> None:
    story = Story().prompt().typed("ann", b"exit 3\r").mark("C", text="exit 3")
    (last,) = story.tracker.over(99, 50.0, 3)
    assert (last.state, last.status, last.end) == ("done", 3, 99)
    story = Story().prompt().mark("C", text="vim")
    assert story.tracker.over(99, 50.0, None, lost=True)[0].state == "lost"


def test_a_line_that_goes_on_is_said() -> None:
    story = Story().prompt().typed("ann", b"echo 'a\r").mark("P")
    state = story.tracker.state()
    assert (state.at_prompt, state.continued) == (True, True)
    assert not story.typed("ann", b"b'\r").ran("echo 'a\nb'").tracker.state().continued


def test_text_that_the_shell_does_not_tell_is_read_from_the_screen_or_not_known() -> None:
    story = Story().prompt().typed("ann", b" secret\r")
    told = story.tracker.marked(Mark("C", 90, 100, 90), 1.0, shown=" secret")
    assert (told[0].source, told[0].text, told[0].author) == ("screen", " secret", "ann")
    told = story.tracker.marked(Mark("C", 100, 110, 100), 1.0)
    assert (told[1].source, told[1].text) == ("unknown", "")


STEPS = st.one_of(
    st.tuples(st.just("typed"), st.sampled_from(["ann", "bob"]), st.binary(max_size=6)),
    st.tuples(st.just("typed"), st.sampled_from(["ann", "bob"]), st.sampled_from([b"ls\r", b"\r", b"\x03", b"a\nb\n"])),
    st.tuples(st.just("mark"), st.sampled_from("ABCDPX"), st.sampled_from(["ls", "a", None])),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_comes_each_command_starts_once_ends_once_and_in_order(steps: list[tuple[str, str, object]]) -> None:
    story = Story()
    for what, one, other in steps:
        if what == "typed":
            story.typed(one, other)  # type: ignore[arg-type]
        else:
            story.mark(one, text=other)
        state = story.tracker.state()
        assert not (state.at_prompt and state.running)
    story.told += story.tracker.over(story.at, 0.0, None)
    begun = [each.id for each in story.told if each.state == "running"]
    assert begun == list(range(1, len(begun) + 1))
    assert [each.id for each in story.ended] == begun
    assert all(each.author in ("ann", "bob", "") and each.author not in each.others for each in story.told)
    assert all(each.end is not None and each.end >= each.start for each in story.ended)


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (b" echo hi\r\n\x1b[?2004l\r", " echo hi"),
        (b" ecko\x08\x08ho\x1b[K hi\r\n", " echo hi"),
        (b"\x1b[?2004h a\x08b\r\n", " b"),
        (b" hel\x1b[2D\x1b[1Pl\r\n", " hl"),
        (b" ac\x08\x1b[1@b\r\n", " abc"),
        (b" \xc3\xa9cho \xe2\x82\xac\r\n", " écho €"),
        (b" one\r\ntwo\r\n", None),
        (b" long\x1b[A line\r\n", None),
        (b" tab\tbed\r\n", None),
        (b"\r\n", None),
        (b"x" * 20_000, None),
    ],
)
def test_a_simple_line_is_read_off_the_screen_and_another_is_not_guessed(shown: bytes, line: str | None) -> None:
    assert line_text(shown) == line


def record(position: int, kind: Kind, body: dict[str, object]) -> Record:
    return Record(position, position * 10**9, 1, 1, 1, kind, "o-ann", body, b"")


def test_a_journal_tells_the_next_host_which_commands_there_were_and_where_to_look_on() -> None:
    log, position = CommandLog(), 0
    for number in range(1, 301):
        for state in ("running", "done"):
            position += 1
            command = Command(number, f"make {number}", "trusted", "o-ann", number * 10, 1.0, state)
            log.learn(record(position, Kind.COMMAND, body_of(command, offset=position, spent=position * 2)))
    log.learn(record(601, Kind.INPUT, {"client": "c", "seq": 1, "data": b"ls\r", "on_behalf_of": "o-boss"}))
    assert (log.last, log.offset, log.spent, len(log.commands)) == (300, 600, 1200, KEPT)
    assert all(each.state == "done" for each in log.commands)
    assert [(said.position, said.author, said.author.principal, said.data) for said in log.inputs] == [
        (601, "o-ann", "o-boss", b"ls\r")
    ]
    after = CommandLog()
    after.learn(record(700, Kind.CARRIED, {"commands": log.carried()}))
    assert list(after.commands) == list(log.commands)[-CARRIED:]
    assert (after.last, after.offset, after.spent) == (300, 600, 1200)


def test_a_newer_host_s_shape_of_a_command_is_passed_over() -> None:
    log = CommandLog()
    log.learn(record(1, Kind.COMMAND, {"id": "seven"}))
    assert list(log.commands) == []
    assert command_of({**body_of(Command(1, "ls", "trusted", "a", 0, 0.0), offset=1, spent=1), "new": 1}) is not None
