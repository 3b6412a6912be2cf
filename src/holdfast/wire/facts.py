"""What a link tells its user, and what it refuses. Not here: when (wire.link)."""

from typing import NamedTuple

from holdfast.core.errors import HoldError
from holdfast.wire.packets import Cause


class LinkFull(HoldError):
    """More waits for the other end than may be kept. Nothing of this message was; what was said before is."""

    code = "link-full"

    def __init__(self, lane: int, kept: int) -> None:
        super().__init__(
            f"{kept} bytes already wait for the other end on lane {lane} or its like; this message was not taken",
            do="say state instead of history once there is room, or close the link and start a new one",
            lane=lane,
            kept=kept,
        )


class LinkOver(HoldError):
    """The link has ended and takes no messages and no carriers."""

    code = "link-over"

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"this link is over ({cause}); sessions are not touched by it",
            do="start a new link and reconcile by cursors and input numbers",
            cause=cause,
        )


class Superseded(HoldError):
    """A later carrier of the same link is in use; this one came too late."""

    code = "superseded"

    def __init__(self, carrier: int, latest: int) -> None:
        super().__init__(
            f"carrier {carrier} of the link was superseded by carrier {latest}, on which the link goes on",
            do="close this carrier",
            carrier=carrier,
            latest=latest,
        )


class Delivered(NamedTuple):
    """A message, complete, exactly once, in the order of its lane."""

    lane: int
    data: bytes


class Resumed(NamedTuple):
    """Both ends agree on where they are; ``room`` may be above 0 from now on.

    ``new``: nothing was there to be resumed. ``waiting``: bytes of bulk said before, which are sent first unless abandoned.
    """

    carrier: int
    new: bool
    waiting: int


class CarrierDead(NamedTuple):
    """Nothing was heard for too long. The carrier is over, the link waits for the next one."""

    silent_s: float


class CarrierEnded(NamedTuple):
    """The carrier is over, said the other end, or another one took its place. The link goes on."""

    cause: Cause
    text: str = ""


class Unresumable(NamedTuple):
    """The link is over and something said may not have arrived: start a new link, reconcile by cursors and input numbers."""

    cause: Cause
    text: str = ""


class Closed(NamedTuple):
    """The other end is done with the link."""

    text: str = ""


Event = Delivered | Resumed | CarrierDead | CarrierEnded | Unresumable | Closed
