"""Logs as one JSON object a line on standard error: who came, went, was refused. Never keys, certificates or sizes.

A flood of lines is cut to so many a second, and how many were left out is said: logs are bounded like everything else.
"""

import json
import logging
import sys
import time
from typing import Final

LINES_PER_S_MAX: Final = 100
_KNOWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """``at`` (RFC 3339, UTC), ``level``, ``event``, then what the call gave as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= {name: value for name, value in record.__dict__.items() if name not in _KNOWN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=True)


class Cut(logging.Filter):
    """Let at most so many lines a second through, and say what was left out with the next one."""

    def __init__(self, lines_per_s_max: int = LINES_PER_S_MAX) -> None:
        super().__init__()
        self._most = lines_per_s_max
        self._second, self._lines, self._left_out = 0, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        second = int(record.created)
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > self._most:
            self._left_out += 1
            return False
        if self._left_out:
            record.left_out, self._left_out = self._left_out, 0
        return True


def to_stderr(level: str) -> None:
    """Send every log of this process there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(Cut())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # what peers do wrong is counted, not traced
    logging.getLogger("asyncio").setLevel(logging.ERROR)
