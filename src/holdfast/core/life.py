"""Decide how a session may move through its life: two tables, execution and attachment. Source: DESIGN 6, R11.

Reachability is the third axis; the directory owns it. What the tables lack is illegal. They feed the code, the diagram
in docs/architecture.md and the exhaustive test.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.core.errors import IllegalStep


class Execution(enum.Enum):
    """The execution axis. The last four are ends: the identity is kept for the record and never given out again."""

    STARTING = "starting"
    RUNNING = "running"
    FROZEN = "frozen"  # between a checkpoint and its outcome, or fenced
    EXITED = "exited"  # the root process ended by itself
    KILLED = "killed"  # an operator ended it
    REAPED = "reaped"  # policy ended it
    LOST = "lost"  # neither holder nor root process can be found; what happened is not known


class Signal(enum.Enum):
    """What can happen to an execution."""

    STARTED = "started"
    START_FAILED = "start-failed"
    FREEZE = "freeze"
    THAW = "thaw"
    ROOT_EXITED = "root-exited"
    KILL_DONE = "kill-done"
    REAP_DONE = "reap-done"
    LOSE = "lose"


_OVER: Final[Mapping[Signal, Execution]] = {
    Signal.ROOT_EXITED: Execution.EXITED,
    Signal.KILL_DONE: Execution.KILLED,
    Signal.REAP_DONE: Execution.REAPED,
    Signal.LOSE: Execution.LOST,
}

LIFE: Final[Mapping[Execution, Mapping[Signal, Execution]]] = {
    Execution.STARTING: {
        Signal.STARTED: Execution.RUNNING,
        Signal.START_FAILED: Execution.LOST,
        Signal.LOSE: Execution.LOST,
    },
    Execution.RUNNING: {Signal.FREEZE: Execution.FROZEN, **_OVER},
    # A frozen tree runs nothing, so it cannot exit by itself: whoever saw an exit saw a thaw first.
    Execution.FROZEN: {
        Signal.THAW: Execution.RUNNING,
        Signal.KILL_DONE: Execution.KILLED,
        Signal.REAP_DONE: Execution.REAPED,
        Signal.LOSE: Execution.LOST,
    },
    Execution.EXITED: {},
    Execution.KILLED: {},
    Execution.REAPED: {},
    Execution.LOST: {},
}


def step(now: Execution, signal: Signal, *, story: Sequence[str] = ()) -> Execution:
    """Return the state after ``signal``. ``story`` is what led here; it travels in the error, where it is needed.

    Raises IllegalStep for what the table lacks.
    """
    if signal not in LIFE[now]:
        raise IllegalStep(now.value, signal.value, tuple(story))
    return LIFE[now][signal]


def over(state: Execution) -> bool:
    """Tell whether ``state`` is an end."""
    return not LIFE[state]


class Presence(enum.Enum):
    """The attachment axis: derived from the number of live attachments, recorded when it changes."""

    DETACHED = "detached"
    ATTACHED = "attached"


class Traffic(enum.Enum):
    ATTACH = "attach"
    LEAVE = "leave"  # one of several attachments ends
    LAST_LEAVES = "last-leaves"


PRESENCE: Final[Mapping[Presence, Mapping[Traffic, Presence]]] = {
    Presence.DETACHED: {Traffic.ATTACH: Presence.ATTACHED},
    Presence.ATTACHED: {
        Traffic.ATTACH: Presence.ATTACHED,
        Traffic.LEAVE: Presence.ATTACHED,
        Traffic.LAST_LEAVES: Presence.DETACHED,
    },
}


def move(now: Presence, traffic: Traffic) -> Presence:
    """Return the presence after ``traffic``; raises IllegalStep for what the table lacks."""
    if traffic not in PRESENCE[now]:
        raise IllegalStep(now.value, traffic.value)
    return PRESENCE[now][traffic]


def diagram(table: Mapping[enum.Enum, Mapping[enum.Enum, enum.Enum]]) -> str:
    """Return ``table`` as a Mermaid state diagram, which docs/architecture.md carries and a test compares."""
    lines = ["stateDiagram-v2"]
    for now, steps in table.items():
        lines += [f"    {now.value} --> {after.value}: {signal.value}" for signal, after in steps.items()]
        if not steps:
            lines.append(f"    {now.value} --> [*]")
    return "\n".join(lines)
