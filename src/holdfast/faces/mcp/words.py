"""Say to a model what is: one line of state, then text within a budget of tokens, with what was left out said. Pure.

Not here: where it comes from (desk, acts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from holdfast.core.errors import HoldError
from holdfast.core.plain import rendered

HEAD: Final = 1 / 3  # of the budget that goes to the beginning; what comes last tells more
LINE_MAX: Final = 2000  # characters of one line, beyond which its middle is left out
ASCII_PER_TOKEN: Final = 4

# What to do next, in the words of these tools; the errors' own words name commands for people.
NEXT: Final = {
    "no-such-session": "call list_sessions for what there is; on another machine it is NAME@HOST",
    "no-such-host": "call list_sessions without host, or ask the person which machine it is",
    "session-ended": "read_output still has its output; open_session starts a new one",
    "stale-basis": "call observe, then decide anew; do not just repeat",
    "stale-term": "call observe to see who has control, then decide anew; do not just repeat",
    "not-in-control": "do not retry now: wait(until=['human']), or control(request_human) with a reason",
    "paused": "do not retry: wait(until=['human']), or tell the person",
    "private": "do not retry: the person is doing something that is not for you; wait(until=['human'])",
    "line-busy": "wait a few seconds, observe, then decide anew",
    "too-fast": "wait a moment, and do more in one call",
    "needs-approval": "do not send it again, the host does it once approved: wait(until=['approval'], proposal={proposal})",
    "denied": "do not retry or work around it; tell the person, or do it another way",
    "forbidden": "you have no right to this; tell the person what you need and why",
    "input-unknown": "observe to see whether it was typed; never send it again unseen",
    "line-too-long": "write it to a file in several sends and run that file",
    "not-at-prompt": "observe; wait(until=['command'], command_id=...) for what runs, or use send for the program in front",
    "unmarked": "this shell does not mark its commands: use send with keys=['Enter'], then wait(until=['quiet'])",
    "bad-pattern": "use RE2 syntax: no look-around, no back references",
    "name-taken": "choose another name, or use the running one",
    "cannot-start": "check command and cwd",
    "host-unreachable": "try once more in a few seconds; sessions run on meanwhile",
    "relay-unreachable": "try once more in a few seconds; sessions run on meanwhile",
    "timeout": "call again; nothing was stopped",
    "too-many": "wait for answers to earlier calls first",
    "no-credentials": "ask the person to run `hold mcp allow`",
}


def refusal(error: HoldError) -> str:
    """Return an error as two short sentences: what is, and what to do next with these tools."""
    step = NEXT.get(error.code, error.do)
    if "{" in step:
        step = step.format_map({"proposal": error.details.get("proposal", "?")})
    return f"{error.code}: {error.message}." + (f" Next: {step}." if step else "")


def cost(text: str) -> float:
    """Return about how many tokens ``text`` is: four plain characters each, one of any other kind."""
    plain = sum(character < "\x80" for character in text) if not text.isascii() else len(text)
    return plain / ASCII_PER_TOKEN + (len(text) - plain)


class Piece(NamedTuple):
    """A line of output: where its bytes begin and end, and its text without control sequences."""

    start: int
    end: int
    text: str


def lines(data: bytes, offset: int) -> list[Piece]:
    """Return ``data``, which begins at ``offset``, line by line."""
    found: list[Piece] = []
    raws = data.split(b"\n")
    for index, raw in enumerate(raws):
        end = offset + len(raw) + (index < len(raws) - 1)
        if end > offset:
            found.append(Piece(offset, end, _short(rendered(raw.removesuffix(b"\r")))))
        offset = end
    return found


def _short(text: str) -> str:
    if len(text) <= LINE_MAX:
        return text
    half = LINE_MAX // 2
    return f"{text[:half]} […{len(text) - LINE_MAX} characters…] {text[-half:]}"


def within(pieces: Sequence[Piece], budget: float) -> tuple[list[Piece], list[Piece]]:
    """Return the first and the last lines that fit ``budget`` tokens: a third and two thirds; all and none if they do."""
    costs = [cost(each.text) + 0.5 for each in pieces]
    if sum(costs) <= budget:
        return list(pieces), []
    first, spent = 0, 0.0
    while first < len(pieces) and spent + costs[first] <= budget * HEAD:
        spent += costs[first]
        first += 1
    last = len(pieces)
    while last > first and spent + costs[last - 1] <= budget:
        last -= 1
        spent += costs[last]
    return list(pieces[:first]), list(pieces[last:])


def size(count: int) -> str:
    """Return a number of bytes for reading."""
    return (
        f"{count} B" if count < 1024 else f"{count / 1024:.0f} KB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MB"
    )


def elided(start: int, end: int, command: int = 0) -> str:
    """Say which bytes were left out, and how to have them."""
    of = f" of command {command}" if command else ""
    return f"[… {size(end - start)} left out{of}, bytes {start} to {end}: read_output(offset={start}) …]"
