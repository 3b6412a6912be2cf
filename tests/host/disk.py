"""A disk of a few hundred KiB that can be filled and freed: tmpfs, where mounting is allowed."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Use up all space but about ``leave`` bytes."""
        with self._ballast.open("ab", buffering=0) as file:
            for piece in (65536, 4096, 1):
                while True:
                    try:
                        if file.write(bytes(piece)) < piece:
                            break
                    except OSError:
                        break
        if leave:
            os.truncate(self._ballast, self._ballast.stat().st_size - leave)

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Mount ``size`` bytes of disk in ``folder`` for as long as the block lasts; skips the test where it may not."""
    folder.mkdir()
    options = f"size={size},mode=700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "holdfast-test", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount: {mounted.stderr.decode().strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
