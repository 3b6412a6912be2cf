"""Keep one small file per session that says what it is, and how it ended. Not here: what happened in it (journal)."""

import shutil
from pathlib import Path

import msgspec

from holdfast.core.errors import StorageFailed
from holdfast.edge.files import write_whole
from holdfast.wire.messages import Ending, ReapPolicy

PLAN = "session.json"
EXIT = "exit.json"
LAST_SCREEN = "last.keyframe"
VIEW = "view.keyframe"
_OFFSET = 8  # bytes of the offset that stands before a stored keyframe


class Sheet(msgspec.Struct, kw_only=True):
    """What must be known of a session before its holder or journal is read. Rewritten whole, atomically."""

    id: str
    name: str
    argv: tuple[str, ...]
    cwd: str
    created_at: float
    policy: ReapPolicy
    incarnation: int = 1
    keep_until: float | None = None
    root_pid: int = 0
    root_started: int = 0
    rows: int = 24  # now
    cols: int = 80
    born_rows: int = 24
    born_cols: int = 80
    ending: Ending | None = None
    output_end: int = 0  # of an ended session
    title: str = ""
    key: str = ""  # client and idempotency key of its creation, or nothing


class Exit(msgspec.Struct):
    """The exit file a holder or keeper leaves: ``status`` is a raw wait status, None if nobody could know it."""

    status: int | None
    at: float
    by: str = ""


class Shelf:
    """The folder of all sessions' folders. Sheets and views are not synced: they end with the machine, or are made again from
    journal and output, which are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, session: str) -> Path:
        """Return the folder of one session."""
        return self.folder / session

    def create(self, sheet: Sheet) -> Path:
        """Make a session's folder with its sheet. Raises StorageFailed."""
        folder = self.of(sheet.id)
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise StorageFailed(
                f"no folder for the session could be made ({error.strerror}: {folder}); no session was started",
                do="make the state directory writable, or set HOLDFAST_STATE_DIR",
                path=str(folder),
            ) from None
        self.save(sheet)
        return folder

    def save(self, sheet: Sheet) -> None:
        """Write the sheet. Raises StorageFailed."""
        write_whole(self.of(sheet.id) / PLAN, msgspec.json.encode(sheet))

    def sheets(self) -> list[Sheet | Path]:
        """Return every sheet; a folder whose sheet cannot be read is returned as its path."""
        found: list[Sheet | Path] = []
        if not self.folder.is_dir():
            return found
        for folder in sorted(self.folder.iterdir()):
            try:
                found.append(msgspec.json.decode((folder / PLAN).read_bytes(), type=Sheet))
            except (OSError, msgspec.MsgspecError):
                found.append(folder)
        return found

    def exit_of(self, session: str) -> Exit | None:
        """Return what the holder or keeper left of a session's end, or None."""
        try:
            return msgspec.json.decode((self.of(session) / EXIT).read_bytes(), type=Exit)
        except (OSError, msgspec.MsgspecError):
            return None

    def save_view(self, session: str, name: str, offset: int, keyframe: bytes) -> None:
        """Keep the state of a view at ``offset``. Raises StorageFailed."""
        write_whole(self.of(session) / name, offset.to_bytes(_OFFSET, "big") + keyframe)

    def view_of(self, session: str, name: str) -> tuple[int, bytes] | None:
        """Return the kept state of a view and its offset, or None."""
        try:
            data = (self.of(session) / name).read_bytes()
        except OSError:
            return None
        return int.from_bytes(data[:_OFFSET], "big"), data[_OFFSET:]

    def remove(self, session: str) -> None:
        """Remove everything kept of a session."""
        shutil.rmtree(self.of(session), ignore_errors=True)
