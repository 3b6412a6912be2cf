"""Say how a session ended, and turn it into the exit status of whoever waited for it. Pure; no imports, since every
face needs it, the fastest too. ``ending`` is wire.messages.Ending as a plain mapping."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DETACHED, NO_SUCH, REFUSED, UNREACHABLE, TIMED_OUT, UNKNOWN_STATUS = 120, 121, 122, 123, 124, 125
ENDED_FIRST, NOTHING_RAN = 126, 127
CONTRACT = (
    "exit: the session's own status if it ended here (128+n: by signal n); 120 detached, 121 no such session,\n"
    "122 refused, 123 unreachable (it may be running), 124 timeout of wait or run, 125 ended with a status\n"
    "nobody knows, 126 it ended before what was waited for, 127 typed and no command ran, 2 wrong usage"
)
_BY_CODE = {
    "no-such-session": NO_SUCH,
    "no-such-host": NO_SUCH,
    "relay-unreachable": UNREACHABLE,
    "host-unreachable": UNREACHABLE,
    "wrong-version": UNREACHABLE,
    "bad-message": UNREACHABLE,
    "host-failed": UNREACHABLE,
    "timeout": TIMED_OUT,
    "bad-name": 2,
}


def exit_code(code: str) -> int:
    """Return the exit status for an error of core.errors, by its code. What is not listed was refused."""
    return _BY_CODE.get(code, REFUSED)


def exit_status(ending: Mapping[str, Any]) -> int:
    """Return the session's own status as a process would have it: 0..255, 128+n for signal n, 125 if nobody knows."""
    status = ending.get("status")
    if status is None:
        return UNKNOWN_STATUS
    return 128 - int(status) if status < 0 else int(status) & 255


def span(seconds: float) -> str:
    """Return a duration in its two largest units: ``3m12s``, ``2d4h``, ``850ms``."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return "".join(parts[:2])


def _by_signal(number: int) -> str:
    from signal import Signals

    try:
        return f"by {Signals(number).name}"
    except ValueError:
        return f"by signal {number}"


def told(name: str, ending: Mapping[str, Any], created_at: float = 0.0) -> str:
    """Return one clause on how session ``name`` ended: ``build exited 2 after 3m12s``."""
    how, status, why = str(ending.get("how", "ended")), ending.get("status"), str(ending.get("why") or "")
    after = f" after {span(float(ending.get('at', 0)) - created_at)}" if created_at and ending.get("at") else ""
    left = len(ending.get("left_running") or ())
    rest = f"; {left} of its processes still run" if left else ""
    because = f": {why}" if why else ""
    if how == "exited" and status is not None:
        return (
            f"{name} exited {status}{after}{rest}"
            if status >= 0
            else f"{name} was ended {_by_signal(-status)}{after}{rest}"
        )
    if how == "exited":
        return f"{name} exited, its status is not known{after}{rest}"
    if why.startswith(f"{how} "):  # the host's words already say it
        return f"{name} was {why}{after}{rest}"
    verb = {"killed": "was killed", "reaped": "was reaped", "lost": "is lost"}.get(how, how)
    return f"{name} {verb}{after}{because}{rest}"
