"""The story t0 to t5 (R18 to R20), told through real clients, a real relay and a real build."""

from pathlib import Path

import pytest

from tests.acceptance import building, faces, systems
from tests.acceptance.story import STEPS, tell
from tests.desktop import screen
from tests.remote.conftest import Report

NAMES = ["desktop", "operator2", "operator3"]
STOOD_STILL = 3  # times what it takes alone: other tests share the machine, a wait for a client would be far longer


def alone(folder: Path) -> float:
    """Return the seconds that the work takes with nobody there."""
    folder.mkdir()
    return sum(building.undisturbed(folder, NAMES))


@pytest.mark.timeout(400)
def test_a_build_goes_on_from_client_to_client_and_who_did_what_is_known(tmp_path: Path, report: Report) -> None:
    """R20: begun in a terminal, gone on with in the window of `hold desktop`, on a phone, and by an AI operator."""
    followed = tmp_path / "followed"
    followed.mkdir()
    work = building.write(followed)
    assert not screen.missing(), f"{screen.missing()} is not installed, and `./test` could not install it"
    before = alone(tmp_path / "before")
    with systems.Holdfast([faces.Desktop, faces.Phone, faces.Ai]) as system:
        told = tell(system, work)
    assert told.held and not told.failed, str(told)
    assert set(told.held) == set(STEPS)
    with_company, after = sum(work.stages_s), alone(tmp_path / "after")
    report(
        f"{with_company:.2f} s of work, {before:.2f} s and {after:.2f} s with nobody there: "
        f"{2 * with_company / (before + after):.2f}x"
    )
    assert with_company < STOOD_STILL * max(before, after)
