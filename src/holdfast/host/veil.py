"""Keep what was put out while a session was private from whoever is no person, also afterwards. Source: docs/operators.md.

Not here: when it is private (core.control), which stretches that were (core.turns). What still stands on the screen when the
session is public again is not kept from anybody: whoever ends it sees that, too.
"""

from holdfast.core.turns import Turns
from holdfast.host.output import Chunk, Output

WHY = "private"  # of the gap that stands for what is not shown


def read(turns: Turns, kind: str, output: Output, start: int, most: int) -> Chunk:
    """Return output from ``start`` as an operator of ``kind`` may see it: what comes before the chunk's offset is a gap."""
    if kind == "human" or not turns.private:
        return output.read(start, most)
    asked = start
    for begin, end in turns.private:
        if begin <= start and (end is None or start < end):
            if end is None:
                return Chunk(start, b"", WHY)
            start = end
        elif start < begin < start + most:
            most = begin - start
    chunk = output.read(start, most)
    return chunk._replace(why=WHY) if start > asked and not chunk.why else chunk
