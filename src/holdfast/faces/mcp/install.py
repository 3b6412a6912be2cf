"""Tell AI hosts how to start `hold mcp`: the configuration of each, printed or merged into its file.

Not here: serving (serve). Nothing of a user's file is lost: what is not ours stays as it is, and a file that is not understood
is left alone. Where the files are was read in the makers' documentation; see docs/mcp.md.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.core.errors import Refused

NAME: Final = "holdfast"
PASSED: Final = (
    "HOLDFAST_RUNTIME_DIR",
    "HOLDFAST_STATE_DIR",
    "HOLDFAST_CONFIG",
)  # AI hosts start servers with little else
CALL_S: Final = 90  # for one call, where an AI host lets that be said: above our longest wait
START_S: Final = 30


class Cannot(Refused):
    """The file of an AI host cannot be changed safely; the text says why, and nothing was written."""

    code = "cannot-install"


class Start(NamedTuple):
    """How the server is started."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]


class Host(NamedTuple):
    """An AI host: where its configuration is, and what is written there."""

    file: Callable[[Path, Path], Path]  # from home and the present folder
    keys: tuple[str, ...]  # the table of servers
    entry: Callable[[Start], dict[str, Any]]
    after: str


def _plain(start: Start) -> dict[str, Any]:
    env = {"env": dict(start.env)} if start.env else {}
    return {"command": start.command, "args": list(start.args)} | env


def _typed(start: Start) -> dict[str, Any]:
    return {"type": "stdio"} | _plain(start)


def _codex(start: Start) -> dict[str, Any]:
    return _plain(start) | {"startup_timeout_sec": START_S, "tool_timeout_sec": CALL_S}


def _at(*parts: str) -> Callable[[Path, Path], Path]:
    return lambda home, here: home.joinpath(*parts)


HOSTS: Final[Mapping[str, Host]] = {
    "claude-code": Host(lambda home, here: here / ".mcp.json", ("mcpServers",), _typed, "for this folder; start `claude` in it"),
    "claude-desktop": Host(_at(".config", "Claude", "claude_desktop_config.json"), ("mcpServers",), _plain, "restart it"),
    "codex": Host(_at(".codex", "config.toml"), ("mcp_servers",), _codex, "restart it; /mcp shows the server"),
    "cursor": Host(_at(".cursor", "mcp.json"), ("mcpServers",), _plain, "enable it in the settings, under MCP"),
    "gemini": Host(_at(".gemini", "settings.json"), ("mcpServers",), _plain, "restart it; /mcp shows the server"),
    "vscode": Host(_at(".config", "Code", "User", "mcp.json"), ("servers",), _typed, "start it with `MCP: List Servers`"),
    "windsurf": Host(_at(".codeium", "windsurf", "mcp_config.json"), ("mcpServers",), _plain, "refresh its MCP servers"),
}  # fmt: skip


def start(operator: str, environ: Mapping[str, str]) -> Start:
    """Return how an AI host starts the server for this operator: by the `hold` of this installation."""
    beside = Path(sys.executable).with_name("hold")
    found = str(beside) if beside.exists() else shutil.which("hold")
    args = ("mcp", "--as", operator)
    env = {name: environ[name] for name in PASSED if name in environ}
    if found is None:
        return Start(sys.executable, ("-m", "holdfast.faces.cli.main", *args), env)
    return Start(found, args, env)


def text(host: str, how: Start) -> str:
    """Return what is to stand in the file of ``host``, by itself."""
    it = HOSTS[host]
    if it.file(Path(), Path()).suffix == ".toml":
        return _toml(it.keys, it.entry(how))
    whole: dict[str, Any] = {NAME: it.entry(how)}
    for key in reversed(it.keys):
        whole = {key: whole}
    return json.dumps(whole, indent=2) + "\n"


def write(host: str, how: Start, *, home: Path, here: Path) -> tuple[Path, bool]:
    """Put the server into the file of ``host``; return which, and whether it was changed. Raises Cannot, OSError."""
    it = HOSTS[host]
    path = it.file(home, here)
    former = path.read_text() if path.exists() else ""
    fresh = _merged_toml(path, former, it, how) if path.suffix == ".toml" else _merged_json(path, former, it, how)
    if fresh == former:
        return path, False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600  # such files hold tokens of other servers
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "w") as file:
        file.write(fresh)
    os.replace(beside, path.resolve())  # through a link of the user's own, not over it
    return path, True


def _merged_json(path: Path, former: str, it: Host, how: Start) -> str:
    try:
        whole = json.loads(former) if former.strip() else {}
    except ValueError as error:
        raise _not_understood(path, f"it is not plain JSON ({error})") from None
    table = whole
    for key in it.keys:
        table = table.setdefault(key, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise _not_understood(path, f"{'.'.join(it.keys)} is no table there")
    if table.get(NAME) == it.entry(how):
        return former
    table[NAME] = it.entry(how)
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _merged_toml(path: Path, former: str, it: Host, how: Start) -> str:
    try:
        whole = tomllib.loads(former)
    except tomllib.TOMLDecodeError as error:
        raise _not_understood(path, f"it is not TOML ({error})") from None
    table: Any = whole
    for key in it.keys:
        table = table.get(key, {})
    if NAME in table:
        if table[NAME] == it.entry(how):
            return former
        raise _not_understood(path, f"it has another {'.'.join((*it.keys, NAME))}, which was left as it is")
    gap = "" if not former else "\n" if former.endswith("\n") else "\n\n"
    return f"{former}{gap}{_toml(it.keys, it.entry(how))}"


def _toml(keys: Sequence[str], entry: Mapping[str, Any]) -> str:
    rows = [f"[{'.'.join((*keys, NAME))}]"]
    for key, value in entry.items():
        if isinstance(value, dict):
            pairs = ", ".join(f"{name} = {json.dumps(each)}" for name, each in value.items())
            rows.append(f"{key} = {{ {pairs} }}")
        else:
            rows.append(f"{key} = {json.dumps(value)}")
    return "\n".join(rows) + "\n"


def _not_understood(path: Path, why: str) -> Cannot:
    return Cannot(
        f"{path} was not changed: {why}", do="put in by hand what `hold mcp install --print` prints", path=str(path)
    )
