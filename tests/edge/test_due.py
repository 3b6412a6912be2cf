"""When this user's certificates are looked at next: one file's time, moved forward by whoever finds something to do."""

import os
import time
from pathlib import Path

from holdfast.edge import due


def at(keys: Path) -> float:
    return (keys / due.FILE).stat().st_mtime


def test_what_is_found_to_do_is_due_at_once(tmp_path: Path) -> None:
    due.settle(str(tmp_path), time.time() + 3600)
    assert not due.claimed(str(tmp_path))
    due.sooner(str(tmp_path))
    assert due.claimed(str(tmp_path)) and not due.claimed(str(tmp_path))


def test_what_was_just_taken_up_or_failed_is_not_taken_up_again_at_once(tmp_path: Path) -> None:
    for soon in (due.CLAIM_S, due.SOON_S - 1):
        due.settle(str(tmp_path), until := float(int(time.time() + soon)))
        due.sooner(str(tmp_path))
        assert at(tmp_path) == until


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    due.sooner(str(tmp_path / "none"))
    assert not due.claimed(str(tmp_path / "none")) and os.listdir(tmp_path) == []
