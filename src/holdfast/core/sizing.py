"""Decide whose size the terminal has (R31). The driver's size is the session's; everybody else sees it cropped.

The driver is the attachment that types: the first that attaches without observing, then whoever typed last. Leaving
never resizes. Not here: the right to type (control, which comes with grants).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Dimensions = tuple[int, int]  # rows, columns
ROWS: Final = range(1, 1000)
COLS: Final = range(1, 1000)


def clamped(rows: int, cols: int) -> Dimensions:
    """Return a size that a terminal can have; zero (a terminal that does not know its size) becomes 24 by 80."""
    rows, cols = rows or 24, cols or 80
    return min(max(rows, ROWS.start), ROWS.stop - 1), min(max(cols, COLS.start), COLS.stop - 1)


@dataclass(slots=True)
class Sizing:
    """``size`` is what the terminal has now."""

    size: Dimensions
    driver: int | None = None
    _wishes: dict[int, Dimensions | None] = field(default_factory=dict)
    _observers: set[int] = field(default_factory=set)

    def join(self, attachment: int, wish: Dimensions | None, *, observe: bool) -> Dimensions | None:
        """Add an attachment; return the new size if the session must be resized."""
        self._wishes[attachment] = wish
        if observe or wish is None:
            self._observers.add(attachment)
            return None
        if self.driver is None:
            return self._drive(attachment)
        return None

    def typed(self, attachment: int) -> Dimensions | None:
        """The attachment typed: it drives from now on. Return the new size if the session must be resized."""
        return None if self.settled(attachment) else self._drive(attachment)

    def settled(self, attachment: int) -> bool:
        """Tell whether typing there would leave the size and its driver as they are."""
        return attachment not in self._wishes or attachment in self._observers or attachment == self.driver

    def wish(self, attachment: int, wish: Dimensions) -> Dimensions | None:
        """The attachment's own window changed. Return the new size if it is the driver's, else None."""
        if attachment not in self._wishes:
            return None
        self._wishes[attachment] = wish
        if attachment == self.driver and wish != self.size:
            self.size = wish
            return wish
        return None

    def leave(self, attachment: int) -> None:
        """Remove an attachment. The size stays; the next that attaches or types drives."""
        self._wishes.pop(attachment, None)
        self._observers.discard(attachment)
        if self.driver == attachment:
            self.driver = None

    def forced(self, size: Dimensions) -> Dimensions | None:
        """An operator set the size without an attachment. Return it if it is a change."""
        if size == self.size:
            return None
        self.size = size
        return size

    def of(self, attachment: int) -> Dimensions | None:
        """Return the size this attachment's window has, if it told."""
        return self._wishes.get(attachment)

    @property
    def wishes(self) -> Mapping[int, Dimensions | None]:
        return self._wishes

    def _drive(self, attachment: int) -> Dimensions | None:
        self.driver = attachment
        wish = self._wishes[attachment]
        if wish is None or wish == self.size:
            return None
        self.size = wish
        return wish
