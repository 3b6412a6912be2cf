"""The harness discriminates (R80): each system that only looks like ours fails exactly the steps that it must fail."""

import shutil
from pathlib import Path

import pytest

from tests.acceptance import building, systems
from tests.acceptance.story import (
    FOURTH,
    ONCE,
    SECOND,
    START,
    SURVIVES,
    THIRD,
    TUPLE,
    WHO,
    WHOLE,
    tell,
)

DIES_WITH_ITS_CLIENT = {SURVIVES, SECOND, THIRD, FOURTH, WHOLE, ONCE, TUPLE, WHO}
NEEDED = {"ssh": "sshd", "tmux": "tmux"}


@pytest.mark.parametrize(
    ("control", "fails"),
    [
        (systems.InTheClient, DIES_WITH_ITS_CLIENT),
        (systems.Ssh, DIES_WITH_ITS_CLIENT),
        (systems.Kernel, {SECOND, THIRD, FOURTH, WHOLE, ONCE, TUPLE, WHO}),
        (systems.Tmux, {TUPLE, WHO}),
    ],
    ids=lambda each: each.name.split()[0] if isinstance(each, type) else "",
)
def test_a_control_fails_exactly_the_steps_that_it_must(
    control: type[systems.Control], fails: set[str], tmp_path: Path
) -> None:
    tool = NEEDED.get(control.name)
    if tool is not None and shutil.which(tool, path="/usr/local/sbin:/usr/sbin:/usr/bin:/bin") is None:
        pytest.fail(f"{tool} is not installed, and `./test` could not install it")
    with control() as system:
        report = tell(system, building.write(tmp_path))  # type: ignore[arg-type]
    assert set(report.failed) == fails, str(report)
    assert START in report.held
