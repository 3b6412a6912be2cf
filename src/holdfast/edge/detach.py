"""Start a program as nobody's child, in a session of its own. Not here: which programs, and whether they are up."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

# The child must not become a zombie of a program that outlives it, so it is a grandchild; a forked interpreter that goes
# on running Python would be unsafe in a threaded program, so a fresh one forks.
_DETACH: Final = "import os, sys\nif os.fork() == 0:\n    os.execv(sys.argv[1], sys.argv[1:])\n"


def detached(
    command: Sequence[str], *, output: Any = subprocess.DEVNULL, pass_fds: tuple[int, ...] = (),
    env: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Start ``command``, without this program's terminal and folder. Raises OSError, CalledProcessError."""
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", _DETACH, *command],
        stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", pass_fds=pass_fds, start_new_session=True,
        env=env, check=True,
    )  # fmt: skip
