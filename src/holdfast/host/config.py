"""Every bound and default of a host, in one place, with the file that may change them. Source: I11, docs/operations.md."""

from pathlib import Path
from typing import Final

import msgspec

from holdfast.core.errors import HoldError
from holdfast.wire.messages import ReapPolicy

MIB: Final = 1 << 20


class BadConfig(HoldError):
    code = "bad-config"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be used: {why}; the host did not start and sessions run on without it",
            do="mend or remove the file; docs/operations.md lists every setting",
            path=str(path),
        )


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bytes unless the name says otherwise."""

    ring_bytes: int = (
        64 * MIB
    )  # address range of a session's ring; resident only what is not archived plus the last MiB
    archive_bytes: int = 256 * MIB  # compressed output kept per session
    journal_bytes: int = 64 * MIB  # journal kept per session
    lag_bytes: int = 4 * MIB  # a terminal viewer further behind gets state, not history
    sessions_max: int = 1000  # running at once
    memory_max: int | None = None  # of one session's processes together, where cgroups allow it; None: no limit
    attachments_max: int = 256  # per session
    control_silent_s: float = 60.0  # control lapses when its holder does nothing for so long; a person's, when gone
    ai_acts_per_s: float = 20.0  # of an operator that is no person, over time
    ai_acts_at_once: float = 200.0  # and in one go
    witness_s: float = 300.0  # between two sealed words to relays on where journals stand
    push_contact: str = "mailto:holdfast@example.com"  # whom a push service may write to about this host's notices
    push_near: tuple[str, ...] = ()  # names of push services that may be at a private address
    ended_keep_s: float = 7 * 86400.0  # how long the record of an ended session is kept
    ended_max: int = 500  # and how many of them
    reap: ReapPolicy = ReapPolicy()  # for sessions that bring no policy of their own


def load(path: Path) -> Config:
    """Return the settings of ``path``, or the defaults if there is no such file. Raises BadConfig."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise BadConfig(path, str(error)) from None
    try:
        config = msgspec.toml.decode(text, type=Config)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadConfig(path, str(error)) from None
    if config.ring_bytes < MIB or config.ring_bytes % 4096:
        raise BadConfig(path, "ring_bytes must be a multiple of 4096 and at least 1 MiB")
    return config
