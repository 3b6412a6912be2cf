"""Have an interactive shell mark its prompts and commands; nobody's dotfiles change. Source: docs/shell-integration.md.

Bash, zsh and fish are started with a script of ours, which loads what the user has and then adds the marks. What proves
the marks is a seed on a descriptor that the shell reads and wipes. Not here: reading marks (core.marks, commands).
"""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from holdfast.core.marks import SEED_BYTES, Drawn, Values
from holdfast.edge.files import write_whole
from holdfast.holder import protocol as p
from holdfast.host.holders import Plan

SCRIPTS: Final = Path(__file__).resolve().parent / "shell"
FILE: Final = "shell"  # in a session's folder, for its host alone
_INTERACTIVE: Final = {
    "bash": ({"-i"}, {"-l", "--login", "-il", "-li"}),
    "zsh": ({"-i"}, {"-l", "--login", "-il", "-li"}),
    "fish": ({"-i", "--interactive"}, {"-l", "--login", "-il", "-li"}),
}
"""Options with which a shell of that name is still an interactive one: others, and those of a login shell."""


class Shell(msgspec.Struct, kw_only=True):
    """What a host must keep of a session's shell to believe its marks, and how far it has looked: a successor goes on there."""

    kind: str
    seed: str  # hexadecimal
    drawn: Drawn
    offset: int = 0  # output before it was looked at
    spent: int = 0  # values below this number are good no more
    prompt: int | None = None  # offset after the prompt at which the shell waits

    @property
    def values(self) -> Values:
        """The list from which its marks spend."""
        return Values(bytes.fromhex(self.seed), self.drawn)

    def save(self, folder: Path) -> None:
        """Write it down, readable for its user only. Raises StorageFailed."""
        write_whole(folder / FILE, msgspec.json.encode(self))


def kept(folder: Path) -> Shell | None:
    """Return what was saved in ``folder``; None: the session's shell, if it is one, marks nothing."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Shell)
    except (OSError, msgspec.MsgspecError):
        return None


class Marking(NamedTuple):
    """How to start a shell that marks: ``given`` is what its descriptor says."""

    argv: Sequence[str]
    env: Mapping[str, str]
    given: bytes
    shell: Shell


def marking(argv: Sequence[str], env: Mapping[str, str]) -> Marking | None:
    """Return how to start ``argv`` so that it marks; None: it is no interactive shell of a kind we know, and starts as it is."""
    kind, options = os.path.basename(argv[0]), set(argv[1:])
    if kind not in _INTERACTIVE:
        return None
    plain, login = _INTERACTIVE[kind]
    if options - plain - login:
        return None
    as_login = bool(options & login)
    made = {"bash": _bash, "zsh": _zsh, "fish": _fish}[kind](argv, env, as_login)
    if made is None:
        return None
    drawn = Drawn.SHA512 if kind == "fish" else Drawn.CHACHA20
    shell = Shell(kind=kind, seed=secrets.token_bytes(SEED_BYTES).hex(), drawn=drawn)
    words, more, extra = made
    return Marking(words, {**env, **more, "HOLDFAST_MARKS": str(p.MARKS_FD)}, f"{shell.seed}{extra}\n".encode(), shell)


_Made = tuple[list[str], dict[str, str], str] | None


def _bash(argv: Sequence[str], env: Mapping[str, str], login: bool) -> _Made:
    script = str(SCRIPTS / "hold.bash")
    if "POSIXLY_CORRECT" in env:
        return None
    if not login:
        return [argv[0], "--init-file", script, *argv[1:]], {}, ""
    more = {"ENV": script, "HOLDFAST_LOGIN": "1"}  # a login bash reads no other file of ours than, as a posix one, ENV
    if "ENV" in env:
        more["HOLDFAST_ENV"] = env["ENV"]
    return [argv[0], "--posix", *argv[1:]], more, ""


def _zsh(argv: Sequence[str], env: Mapping[str, str], login: bool) -> _Made:
    more = {"ZDOTDIR": str(SCRIPTS / "zsh")}
    if "ZDOTDIR" in env:
        more["HOLDFAST_ZDOTDIR"] = env["ZDOTDIR"]
    return list(argv), more, ""


def _fish(argv: Sequence[str], env: Mapping[str, str], login: bool) -> _Made:
    digest = shutil.which("sha512sum", path=env.get("PATH", os.defpath))
    if digest is None or any(c in digest for c in " \n"):
        return None
    script = str(SCRIPTS / "hold.fish").replace("\\", "\\\\").replace("'", "\\'")
    return [argv[0], "--init-command", f"source '{script}'", *argv[1:]], {}, f" {os.path.abspath(digest)}"


def marked(plan: Plan, folder: Path) -> Plan:
    """Return ``plan`` with a shell in it that marks, and what proves that in ``folder``; ``plan`` itself if it runs none.

    Raises StorageFailed.
    """
    made = marking(plan.argv, plan.env)
    if made is None:
        return plan
    made.shell.save(folder)
    return replace(plan, argv=made.argv, env=made.env, marks=made.given)


def wipe(root_pid: int) -> None:
    """Empty the descriptor of a shell that did not take its seed, so that no child of it reads it one day."""
    path = f"/proc/{root_pid}/fd/{p.MARKS_FD}"
    try:
        if os.readlink(path).startswith("/memfd:hold-marks"):
            os.truncate(path, 0)
    except OSError:
        pass  # taken and closed, as it should be
