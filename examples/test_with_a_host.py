"""Tests of your own with a temporary host: pytest examples/test_with_a_host.py

The fixtures come with Holdfast. While a test uses one, programs that name no host mean that one, also those the test starts.
"""

import subprocess
import sys
from pathlib import Path

from holdfast import until

CI_BUILD = Path(__file__).with_name("ci_build.py")


def test_the_build_step_passes_on_the_status(holdfast_host, tmp_path):  # type: ignore[no-untyped-def]
    build = [sys.executable, str(CI_BUILD), "build", "--state", str(tmp_path), "--", "sh", "-c", "echo built; exit 3"]
    done = subprocess.run(build, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "built" in done.stdout


def test_a_shell_answers(holdfast_session):  # type: ignore[no-untyped-def]
    holdfast_session.wait_for(until.input("prompt"), timeout=30, since=0)
    assert holdfast_session.run("echo $((6 * 7))").output.text == "42\n"
