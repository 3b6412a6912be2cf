"""Messages about running a command line. Source: docs/wire.md, docs/commands.md. Re-exported by messages."""

from holdfast.wire.parts import Basis, Message


class Run(Message, frozen=True, tag="run"):
    """Have the session's shell run ``text``, as one unit. Answered by ``Ran`` when the shell took it; or it is refused, and
    nothing was typed. The same ``key`` of the same operator is typed once, ever: asked again, the answer is the same command.

    ``patience_s``: wait so long for the shell to be at its prompt. ``unmarked``: the shell does not say what it does; type it
    if it seems to wait for a line. ``term``, ``basis``: as in ``Input``.
    """

    ref: int
    session: str
    text: str
    key: str
    patience_s: float = 0.0
    unmarked: bool = False
    attachment: int = 0
    term: int = 0
    basis: Basis | None = None


class Ran(Message, frozen=True, tag="ran"):
    """``outcome``: started (it is ``command``, and its output begins at ``start``); typed (unmarked: what comes from
    ``start`` on may be of it); unseen (typed, and the shell has not said what became of it). ``again``: it was asked before.

    ``position``: the input's place in the journal.
    """

    ref: int
    outcome: str
    command: int
    start: int
    position: int
    again: bool = False
