"""Tell a command's own output from what comes after it, while it comes. Pure: messages in, messages out.

Output arrives before anybody knows whether the command was still running when it was made: the shell's next prompt may be in
the same packet. So what came is held until the host, asked after it came, says that the command still runs, or where it ended.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.core.commands import Command
from holdfast.wire import messages as wire

Part = wire.Output | wire.Gap


def upto(part: Part, end: int) -> Part | None:
    """Return what of ``part`` lies before ``end``; None: nothing."""
    if isinstance(part, wire.Gap):
        return part if part.start < end else None
    data = part.data[: max(0, end - part.offset)]
    return wire.Output(part.attachment, part.offset, data) if data else None


class Following:
    """Follows command ``id`` (0: nobody knows it, and all output counts) from output ``offset`` on.

    ``asks``: the host is to be asked for the command; set ``asked`` to the number of that request. ``over``: all of its
    output was yielded, and ``command`` is how it ended; None: it was not over in time, or nobody knows.
    """

    def __init__(self, id: int, offset: int) -> None:
        self._id, self.position = id, offset
        self._held: list[Part] = []
        self._sure = 0  # of those held, how many came before the host was asked
        self._left: int | None = None  # what comes after this offset came too late: the time was over
        self._end: int | None = None  # the wait ended at this offset
        self.command: Command | None = None
        self.asked, self.over = 0, False

    @property
    def asks(self) -> bool:
        """Whether to ask now; what was held when this said yes is what the answer is about."""
        if not self._id or self.command is not None or self.asked or self.over:
            return False
        self._sure = len(self._held)
        return bool(self._held) or self._end is not None

    def heard(self, message: wire.Message) -> Iterator[Part]:
        """Take what the host said; yield what is known to be of the command."""
        match message:
            case wire.Output() | wire.Gap() if self._left is None or self.position < self._left:
                self.position = message.offset + len(message.data) if isinstance(message, wire.Output) else message.end
                self._held.append(message)
            case wire.Commands() if message.ref == self.asked:
                self.asked = 0
                found = next((each for each in message.commands if each.id == self._id), None)
                if found is None or found.state != "running":
                    self.command = found or Command(self._id, "", "unknown", "", 0, 0.0, "lost", self.position)
                else:
                    yield from self._held[: self._sure]
                    del self._held[: self._sure]
        yield from self._settled()

    def waited(self, because: str, offset: int) -> Iterator[Part]:
        """The wait for the command's end is over."""
        if because == "time" or not self._id:
            self._left = offset
        else:
            self._end = offset
        yield from self._settled()

    def _settled(self) -> Iterator[Part]:
        if not self._id:
            yield from self._held
            self._held.clear()
        if self.command is not None:
            end = self.command.end if self.command.end is not None else self.position
            yield from (own for part in self._held if (own := upto(part, end)) is not None)
            self._held.clear()
            self.over = self.position >= end
        elif self._left is not None and self.position >= self._left and not self._held:
            self.over = True
