"""Where `hold` begins: the plain forms of attach and new go the short way, everything else to click."""

from __future__ import annotations

import os
import sys

from holdfast.client.aside import keep_up
from holdfast.faces.cli.options import parse

BRIEF = """\
Holdfast keeps what you run alive without you.

  hold new build -- make -j8   start something in a session, and watch it; Ctrl-\\ d leaves it running
  hold ls                      what is running
  hold attach build            come back, from any terminal

All commands: hold --help   See it at work: hold demo
"""


def main() -> None:
    """Run the command line and exit with the status the help promises."""
    arguments = sys.argv[1:]
    plain = parse(arguments)
    if plain is not None:
        from holdfast.faces.cli import fast

        command, parameters = plain
        status = fast.run(fast.attach if command == "attach" else fast.new, parameters)
    elif not arguments and "_HOLD_COMPLETE" not in os.environ:
        sys.stdout.write(BRIEF)
        status = 0
    else:
        from holdfast.faces.cli.commands import run

        status = run(arguments)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever read it is gone
        status = status or 1
    keep_up()
    os._exit(status)  # tearing the interpreter down takes 3 ms of a 60 ms budget and frees nothing the kernel does not


if __name__ == "__main__":
    main()
