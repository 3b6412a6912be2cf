"""The process that has the window. `hold desktop` starts it, detached, and waits for its first word on ``--ready-fd``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Final

from holdfast.client.places import here
from holdfast.core.errors import HoldError
from holdfast.faces.desktop import single

SOCKET: Final = "desktop.sock"
FOLDER: Final = "desktop"


def socket_path() -> Path:
    """Where the window of this user listens for links."""
    return here().runtime / SOCKET


def main() -> int:
    """Show the window until it is closed. The word on ``--ready-fd`` is an object: ``error`` and ``do`` are empty if all is
    well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ready-fd", type=int, default=-1)
    parser.add_argument("reference", nargs="?", default="")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    told = [args.ready_fd]

    def ready(error: str = "", do: str = "") -> None:
        if told[0] >= 0:
            os.write(told[0], json.dumps({"error": error, "do": do}).encode() + b"\n")
            os.close(told[0])
            told[0] = -1
        elif error:
            print(f"hold: {error}; {do}", file=sys.stderr)

    try:
        mine = single.first(socket_path())
        if mine is None:
            handed = single.hand_over(socket_path(), args.reference)
            ready("" if handed else "another window is about to open", "" if handed else "try again in a moment")
            return 0 if handed else 1
    except OSError as error:
        ready(f"{error.filename or socket_path()}: {error.strerror}", "see `hold doctor`")
        return 1
    try:
        from holdfast.faces.desktop.window import Window

        window = Window(here().state / FOLDER, args.reference, ready)
        mine.listen(window.open)
        window.run()
    except HoldError as error:
        ready(error.message, error.do)
        return 1
    except Exception as error:  # a browser engine that does not come up says so in its own words
        ready(f"the window did not open: {error}", "docs/desktop.md says what it needs")
        return 1
    finally:
        mine.close()
    return 0


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main())  # the engine's own threads are not waited for: it has written what it keeps
