"""The fast paths find the same socket as everybody else, and trust no folder or listener of another user."""

import os
import socket
from pathlib import Path

import pytest

from holdfast.client import dial, places, start


@pytest.mark.parametrize("chosen", [None, "/somewhere"])
@pytest.mark.parametrize("lingering", [True, False])
def test_the_short_way_and_core_places_agree(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, lingering: bool
) -> None:
    monkeypatch.delenv("HOLDFAST_RUNTIME_DIR", raising=False)
    if chosen:
        monkeypatch.setenv("HOLDFAST_RUNTIME_DIR", chosen)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/elsewhere")
    monkeypatch.setattr(places, "lingers", lambda uid: lingering)
    assert places.socket_path() == str(places.here().host_socket)
    assert places.folder() == str(places.here().runtime)


def test_nobody_listening_is_told_from_a_fault(short_dir: Path) -> None:
    with pytest.raises(dial.Unreachable) as nobody:
        dial.dial(str(short_dir / "host.sock"))
    assert nobody.value.absent
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(short_dir / "host.sock"))
    stale.close()
    with pytest.raises(dial.Unreachable) as left_over:
        dial.dial(str(short_dir / "host.sock"))
    assert left_over.value.absent


def test_a_runtime_folder_is_made_for_one_user_alone(short_dir: Path) -> None:
    made = short_dir / "run"
    start.private_folder(made)
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    start.private_folder(made)
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_runtime_folder_that_is_a_link_or_anothers_is_refused(short_dir: Path) -> None:
    (short_dir / "link").symlink_to(short_dir)
    with pytest.raises(dial.Unreachable):
        start.private_folder(short_dir / "link")
    if os.getuid() == 0:
        (short_dir / "theirs").mkdir()
        os.chown(short_dir / "theirs", 65534, 65534)
        with pytest.raises(dial.Unreachable):
            start.private_folder(short_dir / "theirs")


@pytest.mark.parametrize("lingering", [True, False])
@pytest.mark.parametrize("explicit", [True, False])
def test_host_and_client_mean_the_same_places(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lingering: bool, explicit: bool
) -> None:
    """Neither may import the other; a client that looks elsewhere than its host serves is a client without a host."""
    from holdfast.host.places import here

    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HOLDFAST_RUNTIME_DIR", "HOLDFAST_STATE_DIR", "HOLDFAST_CONFIG"):
        if explicit:
            monkeypatch.setenv(name, str(tmp_path / name))
        else:
            monkeypatch.delenv(name, raising=False)
    if lingering:
        monkeypatch.setattr(os.path, "exists", lambda path: "linger" in str(path))
        monkeypatch.setattr(os.path, "isdir", lambda path: True)
        monkeypatch.setattr(Path, "exists", lambda path: "linger" in str(path))
        monkeypatch.setattr(Path, "is_dir", lambda path: True)
    assert here() == places.here()
    assert places.folder() == str(here().runtime)
    assert places.keys() == str(here().keys)
