"""What every test shares: the `--soak` switch and a private, short-named home for sockets and records."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

SOAK_S = 3600.0  # that one test may take with its full count

settings.register_profile(
    "house", deadline=None
)  # what one example takes says how busy the machine is, not what is wrong
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the full counts that issues name")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Full counts take their time: what hangs is then noticed after an hour, not after two minutes."""
    if config.getoption("--soak"):
        for item in items:
            item.add_marker(pytest.mark.timeout(SOAK_S), append=False)


@pytest.fixture
def soak(pytestconfig: pytest.Config) -> bool:
    """True when the full counts are wanted."""
    return bool(pytestconfig.getoption("--soak"))


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """An empty folder whose path leaves room for socket names (a Unix socket path holds 107 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix="hf-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
