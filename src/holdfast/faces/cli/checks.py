"""What `hold doctor` looks at: this machine as the client sees it, then what the running host says. Starts nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from holdfast import __version__
from holdfast.client import places
from holdfast.client.connection import Connection
from holdfast.core.errors import HoldError
from holdfast.core.places import SOCKET_PATH_MAX

OK, WARN, FAIL = "ok", "warn", "fail"
ENGINE = "pyghostty"
SOCKET_NAME = "/h/s-" + 26 * "x" + ".sock"  # the longest name below the runtime folder
ROOM_MIN = 64 << 20  # bytes free below which records will soon be dropped


class Check:
    """One finding: ``verdict`` ok, warn or fail; ``do`` is the next step, empty if there is none."""

    def __init__(self, name: str, verdict: str, found: str, do: str = "") -> None:
        self.name, self.verdict, self.found, self.do = name, verdict, found, do


def all_of() -> list[Check]:
    """Return every finding. A check that fails by itself is a finding, not an error."""
    found = []
    for name, check in CHECKS:
        try:
            found.append(check())
        except Exception as error:  # whatever a strange machine makes of a check, the others are still wanted
            found.append(
                Check(
                    name,
                    WARN,
                    f"could not be checked: {error}",
                    "please report it with the output of `hold doctor --json`",
                )
            )
    return found


def python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", OK, f"{version}, {sys.executable}")


def runtime() -> Check:
    folder = places.here().runtime
    if len(os.fsencode(folder)) + len(SOCKET_NAME) > SOCKET_PATH_MAX:
        return Check(
            "runtime folder",
            FAIL,
            f"{folder} is too long for sockets in it",
            "choose a shorter one with HOLDFAST_RUNTIME_DIR",
        )
    if not os.path.lexists(folder):
        return Check("runtime folder", OK, f"{folder} (made when the host starts)")
    seen = folder.lstat()
    if folder.is_symlink() or not folder.is_dir() or seen.st_uid != os.getuid():
        return Check(
            "runtime folder",
            FAIL,
            f"{folder} is not a folder of yours",
            "remove it, or choose another with HOLDFAST_RUNTIME_DIR",
        )
    if seen.st_mode & 0o077:
        return Check("runtime folder", WARN, f"{folder} is open to other users", f"chmod 700 {folder}")
    return Check("runtime folder", OK, str(folder))


def state() -> Check:
    folder = places.here().state
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Check(
            "state folder",
            FAIL,
            f"{there} cannot be written: sessions run, but nothing of them is kept",
            "choose another with HOLDFAST_STATE_DIR",
        )
    room = shutil.disk_usage(there).free
    if room < ROOM_MIN:
        return Check(
            "state folder",
            WARN,
            f"{folder}: only {room >> 20} MiB free",
            "make room; a full disk loses records, never a session",
        )
    return Check("state folder", OK, f"{folder}, {room >> 30} GiB free")


def cgroups() -> Check:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    unified = next((line.partition("::")[2] for line in lines if line.startswith("0::")), None)
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if unified is not None and (root / "cgroup.controllers").exists():
            mine = root / unified.lstrip("/")
            if os.access(mine / "cgroup.procs", os.W_OK):
                return Check("cgroups", OK, f"version 2, {mine} may be divided")
            return Check(
                "cgroups",
                WARN,
                "version 2, not delegated to you: children that fork away are found by walking the tree",
                "`hold host install` runs the host under systemd with Delegate=yes",
            )
    usable = [name for name in ("memory", "pids", "freezer") if os.access(f"/sys/fs/cgroup/{name}", os.W_OK)]
    if usable:
        return Check("cgroups", OK, f"version 1, writable: {', '.join(usable)}")
    return Check(
        "cgroups",
        WARN,
        "none that you may write: children that fork away are found by walking the tree",
        "not needed for one session at a time",
    )


def engine() -> Check:
    wanted = next((need for need in metadata.requires("holdfast") or () if need.startswith(ENGINE)), ENGINE)
    try:
        version = metadata.version(ENGINE)
    except metadata.PackageNotFoundError:
        return Check(
            "terminal engine", FAIL, f"{ENGINE} is not installed: no screens, no repaints", f"pip install '{wanted}'"
        )
    if "==" in wanted and wanted.rpartition("==")[2] != version:
        return Check("terminal engine", FAIL, f"{ENGINE} {version}, built against another", f"pip install '{wanted}'")
    done = subprocess.run(
        [sys.executable, "-c", f"import {ENGINE}"], capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode:
        return Check(
            "terminal engine",
            FAIL,
            f"{ENGINE} {version} does not load: {done.stderr.strip().rpartition(chr(10))[2]}",
            f"pip install --force-reinstall '{wanted}'",
        )
    return Check("terminal engine", OK, f"{ENGINE} {version}")


def lingering() -> Check:
    if not Path("/run/systemd/system").exists():
        return Check("logout", OK, "no systemd here: nothing ends your processes at logout")
    if places.lingers(os.getuid()):
        return Check("logout", OK, "your user lingers: sessions survive logout")
    kills = _logind("KillUserProcesses")
    if kills == "yes":
        return Check(
            "logout",
            FAIL,
            "logind kills your processes at logout (KillUserProcesses=yes) and your user does not linger",
            "loginctl enable-linger",
        )
    return Check(
        "logout",
        WARN,
        "your user does not linger: sessions run on after logout, services of yours do not",
        "loginctl enable-linger, if you use `hold host install`",
    )


def _logind(name: str) -> str:
    """Return a setting of logind as its files have it, later ones first; empty if none sets it."""
    folder = Path("/etc/systemd/logind.conf.d")
    files = (
        [*sorted(folder.glob("*.conf"), reverse=True), Path("/etc/systemd/logind.conf")]
        if folder.is_dir()
        else [Path("/etc/systemd/logind.conf")]
    )
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in reversed(lines):
            key, equals, value = line.partition("=")
            if equals and key.strip() == name:
                return value.strip().lower()
    return ""


def host() -> Check:
    try:
        with Connection(start=False) as link:
            found = link.status()
    except HoldError as error:
        if "No such file" in str(error):
            return Check("host", OK, "not running; it starts with the first session")
        return Check("host", FAIL, str(error).partition(";")[0], "hold host restart")
    text = f"pid {found.pid}, {found.software}, {found.sessions} sessions, keeper pid {found.keeper_pid}"
    notes = "; ".join(found.notes)
    if __version__ not in found.software:
        return Check("host", WARN, f"{text}; installed is {__version__}", "hold host restart (sessions run on)")
    return Check("host", WARN if notes else OK, f"{text}; {notes}" if notes else text)


def policy() -> Check:
    from holdfast.core.policy import BadPolicy, parse

    file = places.here().policy
    if not file.exists():
        return Check("policy", OK, "no policy.toml: everybody may have typed what their grants allow")
    mend = f"mend it (hold policy check {file}); until then everybody but people is asked about"
    try:
        if file.stat().st_mode & 0o022:
            return Check("policy", FAIL, f"{file} can be written by others, so it is not used", f"chmod go-w {file}")
        found = parse(file.read_bytes().decode())
    except BadPolicy as error:
        return Check("policy", FAIL, f"{file}: {error.message}", mend)
    except (OSError, UnicodeDecodeError) as error:
        return Check("policy", FAIL, f"{file} cannot be read: {error}", mend)
    return Check("policy", OK, f"{file}, {len(found.rules)} rules")


CHECKS: tuple[tuple[str, Callable[[], Check]], ...] = (
    ("python", python),
    ("runtime folder", runtime),
    ("state folder", state),
    ("cgroups", cgroups),
    ("terminal engine", engine),
    ("logout", lingering),
    ("policy", policy),
    ("host", host),
)
