"""What must never go back is on the disk when that is said; what could not be written leaves what was there before.

A power cut cannot be had in a test: the order of the calls that matter to the kernel is held instead.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.client import private
from holdfast.core.errors import StorageFailed
from holdfast.edge import files
from holdfast.host.identity import Identity
from holdfast.host.store import Sheet, Shelf
from holdfast.wire.messages import ReapPolicy

Calls = list[tuple[str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What was synced, under which name, and what was renamed to what, in order."""
    found: Calls = []
    fsync, replace = os.fsync, os.replace

    def synced(fd: int) -> None:
        found.append(("sync", Path(os.readlink(f"/proc/self/fd/{fd}")).name))
        fsync(fd)

    def replaced(fresh: Any, path: Any) -> None:
        found.append(("replace", Path(path).name))
        replace(fresh, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return found


def fresh(name: str) -> str:
    return f".{name}.{os.getpid()}"


@pytest.mark.parametrize("write", [files.write_durably, private.write])
def test_a_file_is_synced_before_it_takes_its_name_and_its_folder_after(
    write: Callable[[Path, bytes], None], tmp_path: Path, calls: Calls
) -> None:
    write(tmp_path / "keys", b"one")
    assert calls == [("sync", fresh("keys")), ("replace", "keys"), ("sync", tmp_path.name)]
    assert (tmp_path / "keys").read_bytes() == b"one"
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_the_keys_of_a_host_are_on_the_disk_before_it_uses_them(tmp_path: Path, calls: Calls) -> None:
    folder = tmp_path / "state" / "identity"
    key = Identity(folder).pair.key
    assert calls == [
        ("sync", tmp_path.name), ("sync", "state"),  # the folders it made
        ("sync", fresh("keys")), ("replace", "keys"), ("sync", "identity"),
    ]  # fmt: skip
    assert Identity(folder).pair.key == key


def test_what_a_host_gives_up_is_gone_for_good(tmp_path: Path, calls: Calls) -> None:
    identity = Identity(tmp_path)
    identity.leave()  # of nothing: no reason to fail
    (tmp_path / "membership").write_bytes(b"")
    identity.leave()
    assert calls == [("sync", tmp_path.name)] and not (tmp_path / "membership").exists()


def test_a_sheet_costs_no_sync_and_is_whole_all_the_same(tmp_path: Path, calls: Calls) -> None:
    policy = ReapPolicy(idle_s=None, grace_s=1.0, max_s=None)
    Shelf(tmp_path).create(Sheet(id="s-x", name="x", argv=("sh",), cwd="/", created_at=1.0, policy=policy))
    assert calls == [("replace", "session.json")]


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
@pytest.mark.parametrize("write", [files.write_durably, files.write_whole])
def test_what_cannot_be_written_leaves_what_was_there_before(
    write: Callable[[Path, bytes], None], broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    write(path, b"before")

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    if write is files.write_whole and broken == "fsync":
        write(path, b"before")
    else:
        with pytest.raises(StorageFailed, match="what was there before still is"):
            write(path, b"after")
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / fresh("keys")).write_bytes(b"half")
    files.write_durably(tmp_path / "keys", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_file_that_must_be_new_is_never_replaced(tmp_path: Path, calls: Calls) -> None:
    files.create_durably(tmp_path / "root", b"one")
    assert calls == [("sync", "root"), ("sync", tmp_path.name)]
    with pytest.raises(StorageFailed):
        files.create_durably(tmp_path / "root", b"two")
    assert (tmp_path / "root").read_bytes() == b"one"
