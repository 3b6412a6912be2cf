"""The API reference is made from the code, and says what the code says."""

import re
import subprocess
import sys
from pathlib import Path

import holdfast as hf

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()


def test_the_reference_is_what_the_tool_writes_now() -> None:
    """Promise Q4."""
    done = subprocess.run([sys.executable, ROOT / "tools" / "api-reference", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_stands_in_the_reference() -> None:
    """Promise Q4."""
    missing = [
        name for name in hf.__all__ if name not in ("__version__", "until") and not re.search(rf"\b{name}\b", PAGE)
    ]
    assert missing == []


def test_everything_public_says_what_it_promises() -> None:
    """A method without a docstring is one whose promises are not written down."""
    for name in ("Client", "Session", "Proposal"):
        kind = getattr(hf, name)
        silent = [each for each, thing in vars(kind).items() if not each.startswith("_") and not isinstance(thing, property)
                  and callable(thing) and not thing.__doc__]  # fmt: skip
        assert silent == [], name
