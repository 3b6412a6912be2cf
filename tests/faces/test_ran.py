"""`hold commands` and `hold view --commands` on a real host: what a shell ran, listed, counted, followed."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faces.realhost import HOLD, RealHost

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def host(tmp_path: Path) -> RealHost:
    one = RealHost()
    one.env |= {"HOME": str(tmp_path), "SHELL": shutil.which("bash") or "/bin/bash"}
    return one


def test_what_a_shell_ran_is_listed_counted_and_followed(host: RealHost) -> None:
    with host:
        assert host.hold("new", "-d", "build").stdout == "build\n"
        follower = subprocess.Popen(
            [*HOLD, "commands", "build", "--follow", "--json"], env=host.env, stdout=subprocess.PIPE, text=True
        )
        try:
            assert follower.stdout is not None
            told: list[dict[str, object]] = []
            for text, status in (("echo one", 0), ("sh -c 'exit 4'", 4)):
                host.hold("send", "build", text, "--enter")
                while not told or (told[-1]["text"], told[-1]["state"]) != (text, "done"):
                    told.append(json.loads(follower.stdout.readline()))
                assert told[-1]["status"] == status
            host.hold("send", "build", "exit 7", "--enter")
            assert host.hold("wait", "build").returncode == 7
            rest = [json.loads(line) for line in follower.stdout]
            assert follower.wait(30) == 0
        finally:
            follower.kill()
            follower.communicate()
        assert [(each["id"], each["state"]) for each in [*told, *rest]][-1] == (3, "done")
        listed = host.hold("commands", "build").stdout.splitlines()
        assert listed[0].split() == ["ID", "WHO", "STATUS", "TOOK", "COMMAND"]
        assert [line.split()[2] for line in listed[1:]] == ["0", "4", "7"]
        assert all(" local:" in line for line in listed[1:])
        assert host.hold("view", "build", "--commands").stdout.splitlines()[0] == listed[0]
        last = json.loads(host.hold("commands", "build", "-n", "1", "--json").stdout)["commands"]
        assert [(each["id"], each["text"], each["source"]) for each in last] == [(3, "exit 7", "trusted")]


def test_a_session_without_marks_says_why_nothing_is_known(host: RealHost) -> None:
    with host:
        host.hold("new", "-d", "plain", "--no-integration")
        host.new("script", "sleep 100")
        for name in ("plain", "script"):
            said = host.hold("commands", name)
            assert (said.returncode, said.stdout) == (0, "")
            assert "--no-integration" in said.stderr
