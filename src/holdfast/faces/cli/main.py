"""Where `hold` begins: the plain forms of attach and new go the short way, everything else to click."""

from __future__ import annotations

import os
import sys

from holdfast.faces.cli.options import parse


def main() -> None:
    """Run the command line and exit with the status the help promises."""
    plain = parse(sys.argv[1:])
    if plain is None:
        from holdfast.faces.cli.commands import cli

        cli(prog_name="hold")
        return
    from holdfast.faces.cli import fast

    command, parameters = plain
    status = fast.run(fast.attach if command == "attach" else fast.new, parameters)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or 1
    os._exit(status)  # tearing the interpreter down takes 3 ms of a 60 ms budget and frees nothing the kernel does not


if __name__ == "__main__":
    main()
