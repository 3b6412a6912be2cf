"""Decide where sockets and records of one user live. The caller looks at the machine; nothing here touches it."""

from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_MAX = 107  # sun_path holds 108 bytes with its terminating zero


@dataclass(frozen=True, slots=True)
class Places:
    """``runtime`` holds sockets, ``state`` what must survive a reboot. Both are 0700 and belong to ``uid``."""

    uid: int
    runtime: Path
    state: Path
    config: Path  # host.toml; may be absent

    @property
    def host_socket(self) -> Path:
        return self.runtime / "host.sock"

    @property
    def keeper_socket(self) -> Path:
        return self.runtime / "keeper.sock"

    @property
    def holders(self) -> Path:
        """The folder with one socket per holder, ``<session id>.sock``."""
        return self.runtime / "h"

    @property
    def sessions(self) -> Path:
        """The folder with one folder per session, named by its id."""
        return self.state / "sessions"

    @property
    def keys(self) -> Path:
        """The folder with this user's own keys and certificates, one folder a profile."""
        return self.state / "keys"

    @property
    def policy(self) -> Path:
        """Who may have what typed (core.policy); may be absent."""
        return self.config.with_name("policy.toml")

    @property
    def host_log(self) -> Path:
        return self.state / "host.log"


def places(
    *,
    uid: int,
    home: Path,
    lingers: bool,
    runtime: str | None = None,
    state: str | None = None,
    config: str | None = None,
) -> Places:
    """Return the places of user ``uid``.

    ``runtime``, ``state``, ``config`` are the explicit choices (HOLDFAST_RUNTIME_DIR, HOLDFAST_STATE_DIR,
    HOLDFAST_CONFIG). Without them the
    runtime folder is derived from the uid alone, never from XDG_RUNTIME_DIR: su, cron and ssh set that differently, and
    two shells of one user must meet the same host. /run/user/UID is used only for a user who lingers, since logout
    removes it under running sessions otherwise.
    """
    chosen = (
        Path(runtime) if runtime else Path(f"/run/user/{uid}/holdfast") if lingers else Path(f"/tmp/holdfast-{uid}")
    )
    kept = Path(state) if state else home / ".local" / "state" / "holdfast"
    settings = Path(config) if config else home / ".config" / "holdfast" / "host.toml"
    return Places(uid=uid, runtime=chosen, state=kept, config=settings)
