"""Search output for a regular expression that a client gave, in time linear in the output whatever the expression.

The engine is RE2: it does not backtrack, so no pattern and no output can stall the host; it holds no interpreter lock while
it searches. What it cannot do in linear time, look-around and back references, it refuses. Source: docs/commands.md.
"""

from typing import Any, Final

from holdfast.core.errors import BadPattern
from holdfast.core.waits import Found, Search

PATTERNS_MAX: Final = 8  # in one wait
PATTERN_BYTES_MAX: Final = 1024
PROGRAM_MAX: Final = 2000  # instructions of a compiled pattern: at its slowest it still searches about 1 MB/s
_MEMORY: Final = 1 << 20  # bytes of state one pattern may use


def compiled(patterns: tuple[str, ...]) -> tuple[Search, ...]:
    """Return what searches for each of ``patterns``. ``^`` and ``$`` are the ends of lines. Raises BadPattern."""
    if len(patterns) > PATTERNS_MAX:
        raise BadPattern(patterns[PATTERNS_MAX], f"one wait has at most {PATTERNS_MAX} patterns")
    return tuple(_compiled(pattern) for pattern in patterns)


def _compiled(pattern: str) -> Search:
    import re2  # 14 ms: only whoever waits for a match pays them

    if not pattern or len(pattern.encode()) > PATTERN_BYTES_MAX:
        raise BadPattern(pattern, f"it has to have 1 to {PATTERN_BYTES_MAX} bytes")
    options = re2.Options()
    options.max_mem, options.log_errors = _MEMORY, False
    try:
        # On its own first: "a)(b" must not become a pattern by what is put around it.
        re2.compile(pattern.encode(), options)
        program: Any = re2.compile(b"(?m:" + pattern.encode() + b")", options)
    except re2.error as error:
        raise BadPattern(pattern, _words(error)) from None
    if program.programsize > PROGRAM_MAX:
        raise BadPattern(pattern, "it is too large, as its repetitions are counted out")
    if program.search(b"") is not None:
        raise BadPattern(pattern, "it matches nothing at all, which is everywhere")

    def search(text: bytes, start: int) -> Found | None:
        hit = program.search(text, start)
        if hit is None:
            return None
        return Found(hit.start(), hit.end(), tuple(group or b"" for group in hit.groups()))

    return search


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
