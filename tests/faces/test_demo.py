"""`hold demo`: the story that needs no faith (R79), told whole, interrupted, and with the other workload."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.faces.demo import chromium, visitors, workload
from holdfast.faces.demo.story import NotHeldError, Story, processes_in

TELL = "import sys; from holdfast.faces.demo import telling; sys.exit(telling.run(json='json' in sys.argv))"
NO_BROWSER = "from holdfast.faces.demo import chromium; chromium.program = lambda: None; " + TELL
LEFT_OUT = {"desk and phone": "no Chromium or Chrome was found"}


def told(folder: Path, *words: str, tell: str = TELL) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST")}
    return subprocess.Popen(
        [sys.executable, "-c", tell, *words],
        env={**environment, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Also told without a browser under --soak: that takes as long again."""
    if "steps" in metafunc.fixturenames:
        kinds = {"whole": (TELL, 12)} | (
            {"no browser": (NO_BROWSER, 10)} if metafunc.config.getoption("--soak") else {}
        )
        metafunc.parametrize(("tell", "steps"), list(kinds.values()), ids=list(kinds))


@pytest.mark.timeout(300)
def test_the_demo_holds_and_leaves_nothing(short_dir: Path, tell: str, steps: int) -> None:
    """Promise D1: with a desk, a phone and an AI operator; where no browser is, without the former two."""
    if steps == 12 and chromium.program() is None:
        pytest.skip("chromium is not installed")
    demo = told(short_dir, "json", tell=tell)
    out, _ = demo.communicate(timeout=240)
    verdict = json.loads(out.splitlines()[-1])
    assert (verdict["why"], verdict["held"], demo.returncode) == ("", True, 0)
    assert len(verdict["steps"]) == steps
    assert verdict["left_out"] == ({} if steps == 12 else LEFT_OUT)
    assert all(step["held"] and step["evidence"] for step in verdict["steps"])
    assert list(short_dir.iterdir()) == []
    assert processes_in(short_dir) == []


def test_who_cannot_come_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise D1."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(chromium, "APPLICATIONS", ())
    assert visitors.left_out() == LEFT_OUT
    story = Story(quiet=True)
    for who, why in visitors.left_out().items():
        story.leave_out(who, why)
    assert story.left_out == LEFT_OUT and story.verdict() == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(short_dir: Path, number: signal.Signals) -> None:
    """Promise D2."""
    demo = told(short_dir)
    assert demo.stdout is not None
    while not demo.stdout.readline().startswith("held  1."):
        assert demo.poll() is None
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert list(short_dir.iterdir()) == []
    assert processes_in(short_dir) == []


def test_one_step_that_breaks_breaks_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(quiet=False)
    story.check("this holds", True, pid=1)
    with pytest.raises(NotHeldError):
        story.check("this does not", False, pid=2)
    assert story.verdict() == 1
    assert "NOT held" in capsys.readouterr().out


def test_a_story_without_steps_proves_nothing() -> None:
    assert Story(quiet=True).verdict() == 1


def test_without_a_compiler_python_is_built_and_computes_the_same_kind_of_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "UNITS", 24)  # as the demo, but shorter
    build = workload.write(tmp_path, compiler=False)
    done = subprocess.run(build.argv, cwd=tmp_path, capture_output=True, check=True)
    assert [done.stdout.count(build.said(unit) + b"\n") for unit in range(workload.UNITS)] == [1] * workload.UNITS
    assert subprocess.run(build.program, capture_output=True, text=True, check=True).stdout == build.result
