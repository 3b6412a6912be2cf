"""`--seed N`: run that one world of whatever kinds are selected, instead of all."""

import pytest

from tests.simulation.world import SHAPES

NORMAL = {"faults": 600, "rights": 600, "hostile": 600, "everything": 200}
"""Worlds of each shape in an ordinary run, seeds from 0 on: about 45 s on one core. `--soak` runs SOAK of them."""
SOAK = {"faults": 6000, "rights": 6000, "hostile": 6000, "everything": 3000}
BLOCK = 50  # worlds in one test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="of the one simulated world to run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" not in metafunc.fixturenames:
        return
    seed: int | None = metafunc.config.getoption("--seed", None)
    counts = SOAK if metafunc.config.getoption("--soak") else NORMAL
    blocks: list[tuple[str, range]] = []
    for shape in SHAPES:
        if seed is not None:
            blocks.append((shape, range(seed, seed + 1)))
            continue
        blocks += [(shape, range(at, min(at + BLOCK, counts[shape]))) for at in range(0, counts[shape], BLOCK)]
    metafunc.parametrize(("shape", "seeds"), blocks, ids=[f"{shape}-{seeds.start}" for shape, seeds in blocks])
