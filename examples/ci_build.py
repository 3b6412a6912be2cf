"""A build step for CI that survives its runner: python examples/ci_build.py NAME -- COMMAND...

Starts COMMAND in the session NAME and streams its output. If this script or its runner is killed, the build runs on; the same
line again finds it, goes on where the output was left, and ends with the build's own exit status. Where it was left is kept in
a file, so that a retried job does not print everything anew.
"""

import argparse
import sys
from pathlib import Path

import holdfast.sync as hf


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a build in a session that outlives this script.")
    parser.add_argument("name")
    parser.add_argument("command", nargs="+", help="after --")
    parser.add_argument("--state", type=Path, default=Path(), help="where the place in the output is kept")
    asked = parser.parse_args()
    place = asked.state / f".{asked.name}.cursor"
    with hf.connect() as host:
        known = place.read_text().split() if place.exists() else []
        try:
            session = host.attach(known[0], since=known[1]) if known else begin(host, asked.name, asked.command)
        except hf.NoSuchSession:  # its record is gone: this is another build
            session = begin(host, asked.name, asked.command)
        for event in session.events():
            match event:
                case hf.Output(data=data):
                    sys.stdout.buffer.write(data)
                    sys.stdout.flush()
                case hf.Gap(start=start, end=end):
                    print(f"[bytes {start} to {end} are not kept any more]", flush=True)
                case hf.Ended(how=how, status=status):
                    place.unlink(missing_ok=True)
                    print(f"[{asked.name}: {how}, status {status}]", file=sys.stderr)
                    return status if status is not None and status >= 0 else 1
            place.write_text(f"{session.id} {session.cursor}\n")
    return 1


def begin(host: hf.Client, name: str, command: list[str]) -> hf.Session:
    """Start the build, or find it if it runs; either way from its first byte."""
    session = host.open(name, argv=command, size=(24, 160))
    return host.attach(session.id, since=session.cursor._replace(offset=0))


if __name__ == "__main__":
    sys.exit(main())
