"""The client's own modules in node: what is asked of them here runs there, bytes and all."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Final

APP: Final = Path(__file__).resolve().parents[2] / "src" / "holdfast" / "faces" / "web" / "app"
NODE_MAJOR: Final = 20  # the first whose WebCrypto has Ed25519 and X25519, and a WebSocket behind a switch


def missing() -> str:
    """Return why no node can be used here; empty: one can."""
    node = shutil.which("node")
    if node is None:
        return "node is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return "" if int(version[1:].split(".")[0]) >= NODE_MAJOR else f"node {version} is older than {NODE_MAJOR}"


class Failed(Exception):
    """What was thrown there. ``code``: of a HoldError."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(said["message"])
        self.code, self.details = said.get("code", ""), said.get("details") or {}


def _out(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$b": base64.b64encode(value).decode()}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 53:
        return {"$n": str(value)}
    if isinstance(value, dict):
        return {"$m": [[_out(key), _out(each)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return [_out(each) for each in value]
    return value


def _in(value: Any) -> Any:
    if isinstance(value, dict):
        if "$b" in value:
            return base64.b64decode(value["$b"])
        if "$n" in value:
            return int(value["$n"])
        return {key: _in(each) for key, each in value.items()}
    return [_in(each) for each in value] if isinstance(value, list) else value


class Core:
    """A node process. ``run`` evaluates the body of a function of ``m`` (every module, by file name) and ``a`` (arguments);
    ``kept`` is an object that stays from call to call."""

    def __init__(self) -> None:
        self._node = subprocess.Popen(
            ["node", "--experimental-websocket", "--no-warnings", str(Path(__file__).parent / "rig.mjs"), str(APP)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, body: str, *arguments: Any) -> Any:
        """Return what ``body`` returns, waited for. Raises Failed."""
        assert self._node.stdin is not None and self._node.stdout is not None
        self._node.stdin.write(json.dumps({"body": body, "arguments": _out(list(arguments))}) + "\n")
        self._node.stdin.flush()
        said = json.loads(self._node.stdout.readline())
        if "failed" in said:
            raise Failed(said["failed"])
        return _in(said["value"])

    def close(self) -> None:
        assert self._node.stdin is not None and self._node.stdout is not None
        self._node.stdin.close()
        try:
            self._node.wait(10)
        except subprocess.TimeoutExpired:
            self._node.kill()
            self._node.wait()
        self._node.stdout.close()

    def __enter__(self) -> "Core":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
