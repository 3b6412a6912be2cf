"""The story t0 to t5 (R18 to R20), told through real clients, a real relay and a real build."""

from pathlib import Path

import pytest

from tests.acceptance import building, faces, systems
from tests.acceptance.story import STEPS, tell
from tests.desktop import screen
from tests.remote.conftest import Report

NAMES = ["desktop", "operator2", "operator3"]


@pytest.mark.timeout(400)
def test_a_build_goes_on_from_client_to_client_and_who_did_what_is_known(tmp_path: Path, report: Report) -> None:
    """R20: begun in a terminal, gone on with in the window of `hold desktop`, on a phone, and by an AI operator."""
    alone, followed = tmp_path / "alone", tmp_path / "followed"
    alone.mkdir()
    followed.mkdir()
    work = building.write(followed)
    assert not screen.missing(), f"{screen.missing()} is not installed, and `./test` could not install it"
    with systems.Holdfast([faces.Desktop, faces.Phone, faces.Ai]) as system:
        told = tell(system, work)
    assert told.held and not told.failed, str(told)
    assert set(told.held) == set(STEPS)
    undisturbed = building.undisturbed(alone, NAMES)
    with_company, alone_s = sum(work.stages_s), sum(undisturbed)
    report(f"{with_company:.2f} s of work, {alone_s:.2f} s with nobody there: {with_company / alone_s:.2f}x")
