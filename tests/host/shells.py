"""A marked shell in a session of a real host, for tests: type a line, get the command that it became."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.commands import Command, Prompt
from holdfast.core.journal import Kind, decoded
from holdfast.wire import messages as wire
from tests.host.talk import Machine, Talk, talk

KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(shutil.which(kind) is None, reason=f"{kind} is not installed"))
    for kind in ("bash", "zsh", "fish")
]
EACH_SHELL = pytest.mark.parametrize("kind", KINDS)
RC = {
    "bash": (".bashrc", "PS1='user> '\nalias greet='echo hello'\nHISTCONTROL=ignoreboth\nrc=loaded\n"),
    "zsh": (".zshrc", "PS1='user> '\nalias greet='echo hello'\nsetopt hist_ignore_space\nrc=loaded\n"),
    "fish": (
        ".config/fish/config.fish",
        "function fish_prompt; echo -n 'user> '; end\nfunction greet; echo hello; end\nset -g rc loaded\nset -g fish_greeting\n",
    ),
}


class Shell:
    """One shell of ``kind``, followed by the ``commands`` view. ``changes`` are the commands as they changed."""

    def __init__(self, line: Talk, info: wire.SessionInfo) -> None:
        self.line, self.id, self.info = line, info.id, info
        self.prompt = Prompt()
        self.changes: list[Command] = []

    @classmethod
    async def start(
        cls, line: Talk, kind: str, home: Path, *options: str, env: dict[str, str] | None = None, cwd: str = "/",
        integration: bool = True,
    ) -> "Shell":  # fmt: skip
        """Start it with a home folder of its own, and wait for its first prompt."""
        place, text = RC[kind]
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        if not (home / place).exists():
            (home / place).write_text(text)
        whole = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **(env or {})}
        opened = await line.ask(
            wire.Open, argv=(shutil.which(kind) or kind, *options), env=whole, cwd=cwd, size=wire.Size(24, 80),
            integration=integration,
        )  # fmt: skip
        shell = cls(line, opened.session)
        await shell.follow()
        if integration:
            await shell.until(lambda: shell.prompt.at_prompt)
        return shell

    async def follow(self) -> None:
        """Attach with the view; once for each connection."""
        await self.line.attach(self.id, "commands", attachment=77, observe=True)

    async def until(self, come: Callable[[], bool], timeout: float = 30) -> None:
        """Return when ``come`` holds; it is asked after each thing that is told."""
        async with asyncio.timeout(timeout):
            while not come():
                told = await self.line.next(wire.Shell, timeout)
                self.prompt = told.prompt
                self.changes += told.commands

    def ended(self, after: int) -> list[Command]:
        """The commands after ``after`` that are over."""
        return [each for each in self.changes if each.id > after and each.state != "running"]

    async def run(self, text: str | bytes, *, by: Talk | None = None) -> Command:
        """Type ``text`` and Enter, and return the command when the shell is at its prompt again."""
        before, since = self.prompt.last, self.prompt.since
        data = text.encode() if isinstance(text, str) else text
        await (by or self.line).type(self.id, data + b"\r")
        await self.until(lambda: bool(self.ended(before)) and self.prompt.at_prompt and self.prompt.since > since)
        return self.ended(before)[-1]

    async def nothing(self, data: bytes) -> None:
        """Type ``data``, by which nothing runs but another prompt comes."""
        before, since = self.prompt.last, self.prompt.since
        await self.line.type(self.id, data)
        await self.until(lambda: self.prompt.at_prompt and self.prompt.since > since)
        assert self.prompt.last == before

    async def output(self, command: Command) -> bytes:
        """Return what ``command`` put out."""
        assert command.end is not None
        if command.end == command.start:
            return b""
        ask = {"session": self.id, "offset": command.start, "size": command.end - command.start}
        return (await self.line.ask(wire.ReadOutput, **ask)).data

    async def records(self) -> list[dict[str, Any]]:
        """Return the bodies of the journal's records of commands."""
        got = await self.line.ask(wire.ReadJournal, session=self.id, position=1, limit=1000)
        return [each.body for each in map(decoded, got.records) if each.kind == Kind.COMMAND]


__all__ = ["EACH_SHELL", "KINDS", "Command", "Machine", "Shell", "talk"]
