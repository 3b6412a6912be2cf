"""Show bytes to a person who is to decide about them: every one can be seen, and no two texts look alike. Pure.

Not here: where they are shown. An approval that hides a control character, or writes Unicode's invisible ones as they are,
approves something else than what was read.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def invisible(char: str) -> bool:
    """Tell whether a person cannot see ``char`` for what it is: controls, formats, separators that are no space."""
    if " " <= char <= "~":
        return False
    return unicodedata.category(char) in _UNSEEN


def visible(data: bytes) -> str:
    """Return ``data`` with ^M for Enter, ^[ for Escape, <U+202E> for what is invisible, \\xff for what is no text, and \\\\ and
    \\^ and \\< for those three characters themselves."""
    return "".join(_seen(char) for char in data.decode("utf-8", "surrogateescape"))


def _seen(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 32 or code == 127:
        return f"^{chr(code ^ 64)}"
    if char in "\\^<":
        return f"\\{char}"
    return f"<U+{code:04X}>" if invisible(char) else char
