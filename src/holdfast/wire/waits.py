"""Messages about waiting. Source: docs/wire.md, docs/commands.md. Re-exported by messages."""

from holdfast.wire.parts import Ending, Message


class WaitFor(Message, frozen=True, tag="wait-for"):
    """Answered by ``Waited`` when the first of these happens, or the session ends. Changes nothing, and consumes nothing.

    ``input``: core.waiting.Wants values that count. ``match``: regular expressions (RE2), searched for in the text of new
    output. ``quiet_s``: no output for so long, from now on. ``command``: its number; it is over. ``for_s``: time is up.
    Output from ``offset`` on is new; None: from ``cursor`` on, without one from now on; -1: all that is kept.
    """

    ref: int
    session: str
    input: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    quiet_s: float | None = None
    command: int = 0
    for_s: float | None = None
    offset: int | None = None
    cursor: str = ""


class Waited(Message, frozen=True, tag="waited"):
    """The answer to ``WaitFor``. ``because``: core.waits.Because value. Whoever goes on from ``offset`` misses nothing.

    ``input``: ``wants``, ``program``, ``prompt`` (the line of the cursor). ``match``: which ``pattern``, its ``text`` and
    ``groups``. ``command``: which, and its ``status``, None if nobody knows. ``exit``: the ``ending``.
    """

    ref: int
    because: str
    offset: int
    cursor: str
    wants: str = ""
    program: str = ""
    prompt: str = ""
    pattern: int = -1
    text: str = ""
    groups: tuple[str, ...] = ()
    command: int = 0
    status: int | None = None
    ending: Ending | None = None
