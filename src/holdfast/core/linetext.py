"""Read a command line off what a line editor put out while it was typed. Pure; says None rather than guess.

Only for lines that the shell itself does not tell (a leading space keeps them out of its history). Not here: the screen
as a whole (view).
"""

import re
from typing import Final

BYTES_MAX: Final = 16 * 1024
_TOKEN: Final = re.compile(
    rb"\x1b\][^\x00-\x1f\x7f]*(?:\x07|\x1b\\)"  # an operating system command: marks, titles
    rb"|\x1b\[([?0-9;]*)([@A-Za-z])"  # a control sequence
    rb"|\x1b[=>]"
    rb"|([\x20-\x7e\x80-\xff]+)"
    rb"|([\x07\x08\r\n])"
)


class _Line:
    """One row with a cursor, counted from where the line begins."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.at = 0

    def put(self, text: str) -> None:
        self.cells[len(self.cells) :] = " " * (self.at - len(self.cells))
        self.cells[self.at : self.at + len(text)] = text
        self.at += len(text)

    def control(self, final: bytes, count: int) -> bool:
        """Do what a control sequence says; False: it is not one of a simple line."""
        if final == b"C":
            self.at += count
        elif final == b"D":
            self.at = max(0, self.at - count)
        elif final == b"K" and count == 1:
            del self.cells[self.at :]
        elif final == b"P":
            del self.cells[self.at : self.at + count]
        elif final == b"@":
            self.cells[self.at : self.at] = " " * count
        else:
            return final in b"mhl"
        return True


def line_text(data: bytes) -> str | None:
    """Return the line that ``data`` shows, put out from the end of the prompt to the beginning of the command.

    None if it is not one simple line (it was wrapped, a completion list came between, ...).
    """
    if len(data) > BYTES_MAX:
        return None
    line, at, ended = _Line(), 0, False
    while at < len(data):
        token = _TOKEN.match(data, at)
        if token is None:
            return None
        at = token.end()
        parameters, final, text, control = token.groups()
        if control == b"\x08":
            line.at = max(0, line.at - 1)
        elif control in (b"\r", b"\n"):
            ended = True  # the line was accepted; nothing may be written after that
        elif text is not None:
            if ended:
                return None
            line.put(text.decode("utf-8", "replace"))
        elif final is not None and not line.control(final, int(parameters) if parameters.isdigit() else 1):
            return None
    return "".join(line.cells).rstrip() or None
