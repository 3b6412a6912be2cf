"""`hold mcp install`: what AI hosts are told, and that nobody's file is harmed."""

import json
import tomllib
from pathlib import Path

import pytest

from holdfast.faces.mcp import install
from tests.faces.realhost import RealHost

HOW = install.Start("/opt/bin/hold", ("mcp", "--as", "x"), {"HOLDFAST_STATE_DIR": "/srv/s"})


@pytest.mark.parametrize("host", install.HOSTS)
def test_what_is_printed_is_what_is_written_into_an_empty_file(host: str, tmp_path: Path) -> None:
    path, changed = install.write(host, HOW, home=tmp_path, here=tmp_path)
    assert changed
    assert path.read_text() == install.text(host, HOW)
    whole = tomllib.loads(path.read_text()) if path.suffix == ".toml" else json.loads(path.read_text())
    [table] = whole.values()
    assert table["holdfast"]["command"] == "/opt/bin/hold"
    assert table["holdfast"]["args"] == ["mcp", "--as", "x"]
    assert table["holdfast"]["env"] == {"HOLDFAST_STATE_DIR": "/srv/s"}
    assert path.stat().st_mode & 0o077 == 0
    assert install.write(host, HOW, home=tmp_path, here=tmp_path) == (path, False)  # again: nothing to do


@pytest.mark.parametrize("host", ["cursor", "vscode", "gemini"])
def test_what_is_not_ours_stays(host: str, tmp_path: Path) -> None:
    path = install.HOSTS[host].file(tmp_path, tmp_path)
    path.parent.mkdir(parents=True)
    [key] = install.HOSTS[host].keys
    path.write_text(json.dumps({"theme": "ü", key: {"other": {"command": "x"}, "holdfast": {"command": "old"}}}))
    path.chmod(0o640)
    install.write(host, HOW, home=tmp_path, here=tmp_path)
    whole = json.loads(path.read_text())
    assert whole["theme"] == "ü" and whole[key]["other"] == {"command": "x"}
    assert whole[key]["holdfast"]["command"] == "/opt/bin/hold"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_toml_file_keeps_its_comments(tmp_path: Path) -> None:
    path = tmp_path / ".codex" / "config.toml"
    path.parent.mkdir()
    path.write_text('# mine\nmodel = "m"\n\n[mcp_servers.other]\ncommand = "x"')
    install.write("codex", HOW, home=tmp_path, here=tmp_path)
    text = path.read_text()
    assert text.startswith('# mine\nmodel = "m"\n\n[mcp_servers.other]\ncommand = "x"\n')
    assert tomllib.loads(text)["mcp_servers"]["holdfast"]["tool_timeout_sec"] == install.CALL_S
    path.write_text(text.replace("/opt/bin/hold", "/usr/bin/hold"))
    with pytest.raises(install.Cannot, match="another"):
        install.write("codex", HOW, home=tmp_path, here=tmp_path)


@pytest.mark.parametrize("former", ["{ // a comment\n}", "[]", '{"mcpServers": []}', "{"])
def test_a_file_that_is_not_understood_is_left_alone(former: str, tmp_path: Path) -> None:
    path = tmp_path / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text(former)
    with pytest.raises(install.Cannot, match="not changed"):
        install.write("cursor", HOW, home=tmp_path, here=tmp_path)
    assert path.read_text() == former


def test_the_command_says_who_may_what() -> None:
    with RealHost() as host:
        shown = host.hold("mcp", "install", "codex", "--print")
        assert shown.returncode == 0
        assert tomllib.loads(shown.stdout)["mcp_servers"]["holdfast"]["args"][-3:] == ["mcp", "--as", "codex"]
        host.new("its", "exec cat")
        made = host.hold("mcp", "allow", "--as", "codex", "--observe", "--session", "its", "--json")
        assert made.returncode == 0, made.stderr
        first = json.loads(made.stdout)
        assert first["may"] == "observe its"
        assert host.hold("mcp", "allow", "--as", "codex", "--manage").returncode == 122
        assert host.hold("mcp", "allow", "--as", "codex", "--session", "nothing").returncode == 121
        again = json.loads(host.hold("mcp", "who", "--as", "codex", "--json").stdout)
        assert again["id"] == first["id"]
        assert host.hold("mcp", "forget", "--as", "codex").returncode == 0
        assert "codex" not in host.hold("operator", "ls").stdout
        assert host.hold("mcp", "--http", "0.0.0.0:1").returncode == 2
