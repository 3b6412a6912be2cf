"""Recordings and reference terminals, made once for all tests of this folder that a process runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.view import recordings as made
from tests.view.references import Tmux, Xterm, xterm_folder


@pytest.fixture(scope="session")
def recordings() -> dict[str, bytes]:
    """Output of real programs, by name."""
    return made.programs()


@pytest.fixture(scope="session")
def xterm() -> Iterator[Xterm]:
    folder, why = xterm_folder()
    if folder is None:
        pytest.skip(f"left out: comparison with xterm.js ({why})")
    reference = Xterm(folder)
    yield reference
    reference.close()


@pytest.fixture
def tmux(short_dir: Path) -> Iterator[Tmux]:
    if not made.installed("tmux"):
        pytest.skip("left out: comparison with tmux (it is not installed)")
    reference = Tmux(short_dir)
    yield reference
    reference.close()


@pytest.fixture(scope="session")
def crash_inputs() -> dict[str, bytes]:
    """Output that kills the engine when it gets there as it is. The first is the minimised one of the fuzz corpus."""
    links = b"".join(b"\x1b]8;;http://x/%d\x07a" % i for i in range(200))
    margins = b"\x1b[?2027h\x1b[?69h\x1b[3;9s\x1b[2;9r" + "e\u0301👨‍👩‍👧‍👦🇩🇪".encode() * 40 + b"\n" * 30
    return {
        "alternate screen of one hyperlink": bytes.fromhex("791b5b3f31303439681b5d383b3b901b5b34323932393662"),
        "many hyperlinks": links * 4,
        "clusters within margins": margins * 4,
    }
