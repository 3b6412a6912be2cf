"""Show what waits for approval over an attached terminal, and decide about just that with one key. Pure: answers in, lines and
messages out. Source: docs/gate.md, "At the keyboard".

Not here: the screen itself (terminal). A proposal that comes meanwhile never takes the place of the one that is shown, and
the decision names what was shown by id and digest.
"""

from __future__ import annotations

from holdfast.client import lean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HASH = 12  # digits of a digest that are shown
OVERLAY = "asked"


def pending(ref: int, session: str) -> bytearray:
    """Ask what waits."""
    return lean.frame("proposals", ref, session, 0)


class Asking:
    """The proposal that is shown. ``ref`` is the request under way, 0: none."""

    def __init__(self) -> None:
        self.ref = 0
        self.shown: dict[str, Any] | None = None

    def ask(self, ref: int, session: str) -> bytearray:
        """Return the message that asks what waits."""
        self.ref, self.shown = ref, None
        return pending(ref, session)

    def lines(self, message: list[Any], rows: int, cols: int) -> list[str]:
        """Return what to show of a ``pending`` answer, last line last; one line if there is nothing to decide here."""
        _, ref, now, found = message[:4]
        if ref != self.ref:
            return []
        self.ref = 0
        waits = [each for each in found if each.get("state") == "proposed"]
        if not waits:
            return ["nothing waits for approval"]
        lines = _told(waits[0], float(now), cols)
        more = f", {len(waits) - 1} more wait" if len(waits) > 1 else ""
        lines.append(f"y approves exactly this, n denies it, any other key leaves it{more}")
        if len(lines) > rows - 1:
            return [
                f"proposal {waits[0]['id']} has more than fits here: hold approve {waits[0]['name']} {waits[0]['id']}"
            ]
        self.shown = waits[0]
        return lines

    def decide(self, key: bytes, ref: int, session: str) -> bytearray | None:
        """Return the message by which ``key`` decides what is shown; None: it does not."""
        shown, self.shown = self.shown, None
        verdict = {b"y": "approve", b"Y": "approve", b"n": "deny", b"N": "deny"}.get(key)
        if shown is None or verdict is None:
            return None
        self.ref = ref
        return lean.frame("decide", ref, session, shown["id"], bytes(shown["digest"]), verdict, "", "", (), 0.0)

    def decided(self, message: list[Any]) -> str:
        """Return in a clause what a ``decided`` answer says; empty if it is not ours."""
        _, ref, each = message[:3]
        if ref != self.ref:
            return ""
        self.ref = 0
        more = (
            f": {each.get('outcome')}" if each.get("outcome") else f": {each['answer']}" if each.get("answer") else ""
        )
        return f"proposal {each['id']} is {each['state']}{more}"


def _told(each: dict[str, Any], now: float, cols: int) -> list[str]:
    from holdfast.client.endings import span
    from holdfast.core.visible import visible

    def clean(text: object) -> str:
        return visible(str(text).encode("utf-8", "replace"))

    behalf = f" for {each['on_behalf_of']}" if each.get("on_behalf_of") else ""
    lines = [
        f"proposal {each['id']} of {each['kind']} {clean(each['operator'])}{behalf}, {span(max(0.0, now - each['at']))} ago"
    ]
    what = (
        visible(bytes(each["data"])) or f"signal {each.get('signal')}{' to the whole tree' if each.get('tree') else ''}"
    )
    lines += _cut(f"{each['verb']}: ", what, cols - 2)
    ground = (
        "the session is as it was then" if each.get("holds", True) else "THE SESSION MOVED ON: approving types nothing"
    )
    lines += _cut(
        "",
        f"in {clean(each.get('cwd') or '?')}; {ground}; {clean(each.get('rule'))}: {clean(each.get('reason'))}",
        cols - 2,
    )
    if each.get("why"):
        lines += _cut("it says: ", clean(each["why"]), cols - 2)
    return [*lines, f"hash {bytes(each['digest']).hex()[:HASH]}"]


def _cut(head: str, text: str, room: int) -> list[str]:
    """Cut ``text`` into lines of at most ``room`` columns; what is no ASCII may take two, and nothing may fall off."""
    width, pieces, used = max(8, room - len(head)), [""], 0
    for char in text:
        wide = 1 if char.isascii() else 2
        if used + wide > width:
            pieces.append("")
            used = 0
        pieces[-1] += char
        used += wide
    return [f"{head if not at else ' ' * len(head)}{piece}" for at, piece in enumerate(pieces)]
