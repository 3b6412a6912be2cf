"""The systemd user unit of the host, and what a person has to do around it. Not here: writing it (hosting)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from holdfast.client import places

NAME = "holdfast.service"


def path() -> Path:
    """Where user units live."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path(places.home()) / ".config") / "systemd" / "user" / NAME


def text() -> str:
    """Return the unit. Stopping it stops the daemon alone: KillMode=process leaves keeper, holders and sessions be."""
    chosen = "".join(
        f"Environment={_escaped(name + '=' + os.environ[name])}\n"
        for name in ("HOLDFAST_RUNTIME_DIR", "HOLDFAST_STATE_DIR")
        if os.environ.get(name)
    )
    return f"""\
[Unit]
Description=Holdfast host: looks after sessions that outlive their terminals

[Service]
Type=exec
ExecStart={_escaped(sys.executable)} -m holdfast.host.daemon
{chosen}KillMode=process
Delegate=yes
Restart=on-failure
RestartSec=1
OOMPolicy=continue

[Install]
WantedBy=default.target
"""


def _escaped(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def next_steps() -> list[str]:
    """Return what to do next, one line each."""
    steps = [
        "to start it now and at every login: systemctl --user daemon-reload && systemctl --user enable --now holdfast"
    ]
    if not places.lingers(os.getuid()):
        steps.append(
            "your user does not linger, so logout may end your sessions; to let them run on: loginctl enable-linger"
        )
        if not os.environ.get("HOLDFAST_RUNTIME_DIR"):
            steps.append(
                "(that moves the runtime folder to /run/user: end running sessions and `hold host down` first)"
            )
    return steps
