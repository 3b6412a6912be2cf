"""What views ask of the host and give to it. Not here: how they come about (views)."""

from dataclasses import dataclass
from typing import Protocol

from holdfast.core.errors import HoldError
from holdfast.core.ids import SessionId
from holdfast.wire import messages as wire


class ViewUnavailable(HoldError):
    """There is no terminal engine on this machine, or it does not start. Sessions and raw streams are not touched."""

    code = "view-unavailable"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"this host cannot show screens ({why}); sessions run on and their output can be read as a stream",
            do="`hold doctor` says what is missing; `pip install pyghostty==0.1.3` where a wheel exists",
        )


class Source(Protocol):
    """Where output comes from: the host's archive and ring as one."""

    async def read(self, session: SessionId, offset: int, most: int) -> tuple[int, bytes]:
        """Return up to ``most`` bytes and where they begin: later than ``offset`` if what lies between is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Repaint:
    """``data`` brings a terminal of the size asked for to the state at ``offset``. ``rows``, ``cols``: the session's.

    ``exact``: output from ``offset`` may follow. Otherwise the sizes differ: the picture is cropped, and the next
    repaint has to follow. ``incomplete``: some output was never seen, so the picture may be wrong until the program
    redraws.
    """

    offset: int
    data: bytes
    rows: int
    cols: int
    exact: bool
    incomplete: bool


@dataclass(frozen=True, slots=True)
class ScreenRows:
    """Rows that changed since the subscriber's last answer. Fields as in wire Rows."""

    offset: int
    size: wire.Size
    full: bool
    rows: dict[int, tuple[wire.Cell, ...]]
    styles: tuple[wire.Style, ...]
    cursor: tuple[int, int, bool]
    modes: dict[str, bool]
    title: str
    alternate: bool
    incomplete: bool

    def message(self, attachment: int) -> wire.Rows:
        """Return the message of the ``screen`` view for ``attachment``."""
        return wire.Rows(
            attachment=attachment, offset=self.offset, size=self.size, full=self.full, rows=self.rows,
            styles=self.styles, cursor=self.cursor, modes=self.modes, title=self.title, alternate=self.alternate,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextLines:
    offset: int
    lines: tuple[str, ...]
    cursor: tuple[int, int]
    title: str
