"""Plant a defect in a host that a test starts: loaded by the interpreter itself where PYTHONPATH leads here, and only then."""

import os
import sys
from typing import Any


def _not_flushed() -> None:
    """What the terminal has and nobody read stays there."""
    from holdfast.host.holders import Holder

    really = Holder.fence

    async def fence(self: Holder, term: int, *, flush: bool) -> Any:
        return await really(self, term, flush=False)

    Holder.fence = fence  # type: ignore[method-assign]


def _not_cut() -> None:
    """What waited is typed all the same, in the new term."""
    from holdfast.host.judge import Judge

    def still(self: Judge, author: str, term: int) -> None:
        return

    Judge.still = still  # type: ignore[method-assign]


PLANTED = {"not flushed": _not_flushed, "not cut": _not_cut}
name = os.environ.get("HOLDFAST_PLANTED", "")
if name and "holdfast.host.daemon" in sys.orig_argv:
    PLANTED[name]()
