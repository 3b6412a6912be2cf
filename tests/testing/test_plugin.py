"""The pytest plugin as a project of somebody else meets it: its fixtures work, and nothing is left."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from holdfast import sync
from holdfast.testing import TemporaryHost, TemporaryRelay

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
    import os
    import subprocess
    import sys
    import holdfast

    def test_a_host_of_our_own(holdfast_host):
        with holdfast_host.connect() as client:
            assert client.sessions() == ()
        # who names no host means it too, here and in programs that are started
        with holdfast.sync.connect(start=False) as client:
            assert client.open("mine", argv=["cat"]).name == "mine"
        said = subprocess.run([sys.executable, "-m", "holdfast.faces.cli.main", "ls"], capture_output=True, text=True)
        assert "mine" in said.stdout
        open(os.environ["NOTES"], "a").write(f"{holdfast_host.folder}\\n")

    def test_a_session_of_our_own(holdfast_host, holdfast_session):
        holdfast_session.send("echo $((40 + 2))\\r")
        seen = b""
        for event in holdfast_session.events():
            if isinstance(event, holdfast.Output):
                seen += event.data
                if b"42\\r\\n" in seen:
                    break
        holdfast_host.kill()
        holdfast_host.start()
        assert holdfast_session.info().state == "running"
        open(os.environ["NOTES"], "a").write(f"{holdfast_host.folder}\\n")

    def test_a_relay_of_our_own(holdfast_host, holdfast_relay):
        assert holdfast_host.link(holdfast_relay.url) == {holdfast_relay.url: "up"}
        with holdfast.sync.connect("@box") as client:
            assert client.open("far", argv=["cat"]).name == "far"
        open(os.environ["NOTES"], "a").write(f"{holdfast_host.folder}\\n{holdfast_relay.state}\\n")

    def test_each_has_its_own(holdfast_host):
        with holdfast.sync.connect(start=False) as client:
            assert client.sessions() == ()
"""


@pytest.mark.timeout(240)
def test_a_project_that_has_holdfast_has_its_fixtures(tmp_path: Path) -> None:
    """Promise Q3."""
    (tmp_path / "test_theirs.py").write_text("import holdfast.sync\n" + textwrap.dedent(TESTS))
    notes = tmp_path / "notes"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=60", str(tmp_path)],
        capture_output=True, text=True, timeout=220, cwd=tmp_path, env=os.environ | {"NOTES": str(notes)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    folders = notes.read_text().split()
    assert len(folders) == 4
    assert [folder for folder in folders if Path(folder).exists()] == []
    marks = [folder.encode() for folder in folders]
    assert [pid for pid, words in everything().items() if any(mark in words for mark in marks)] == []


def everything() -> dict[int, bytes]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found[int(entry.name)] = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
    return found


def test_the_plugin_costs_a_run_without_it_nothing() -> None:
    """Every run of pytest on a machine with Holdfast loads it: it must not load Holdfast."""
    code = "import sys, holdfast.testing.plugin; print(sorted(m for m in sys.modules if m.startswith('holdfast')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['holdfast', 'holdfast.testing', 'holdfast.testing.plugin']"


def test_a_host_that_was_killed_leaves_nothing_either() -> None:
    """Promise Q3."""
    with TemporaryHost() as host:
        host.start()
        with host.connect() as client:
            client.open("left", argv=["sh", "-c", "sleep 600 & setsid sleep 600 & wait"])
        host.kill()
        assert list(host.processes())
    assert list(host.processes()) == []
    assert not host.folder.exists()
    host.close()


def test_what_was_not_started_says_so() -> None:
    with TemporaryHost() as host, pytest.raises(RuntimeError, match="not started"):
        host.kill()
    relay = TemporaryRelay()
    with pytest.raises(RuntimeError, match="not started"):
        relay.kill()
    relay.close()


def test_the_environment_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SESSION", "s-of-this-shell")
    before = dict(os.environ)
    with TemporaryHost() as host:
        host.env["EXTRA"] = "1"
        with host.chosen():
            assert os.environ["EXTRA"] == "1"
            assert "HOLDFAST_SESSION" not in os.environ
            assert os.environ["HOLDFAST_RUNTIME_DIR"] == str(host.folder / "r")
        assert dict(os.environ) == before
    assert sync.__all__
