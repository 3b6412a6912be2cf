"""Hold the policy file of this host: read again when it changed, and what goes wrong is said and never looser.

Not here: what a policy says (core.policy), what follows (core.gate). Source: docs/gate.md, "The policy file".
"""

import logging
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.core.policy import TEXT_BYTES_MAX, BadPolicy, Policy, parse

log = logging.getLogger(__name__)

_FREE: Final = Policy()


class InForce(NamedTuple):
    """``broken``: why the file cannot be used; then ``policy`` is none, and only people go on unasked."""

    policy: Policy = _FREE
    broken: str = ""


_UNSEEN: Final = (0, 0, 0)


class PolicyFile:
    """The policy in ``path``; no such file: nothing beyond admission and control."""

    def __init__(self, path: Path) -> None:
        self.path, self._name = path, str(path)
        self._seen: tuple[int, int, int] | None = _UNSEEN  # None: there was none
        self._in_force = InForce()

    def current(self) -> InForce:
        """Return what holds now. Asked more than once for every act: one stat(2) each while the file stays as it is."""
        try:
            found = os.stat(self._name)
            seen = (found.st_ctime_ns, found.st_size, found.st_ino)  # a change of its mode counts too
        except FileNotFoundError:
            seen = None
        except OSError as error:
            return InForce(_FREE, f"{self.path} cannot be read: {error.strerror}")
        if seen != self._seen:
            never = seen is None and self._seen == _UNSEEN
            self._seen, self._in_force = seen, self._read() if seen is not None else InForce()
            said = self._in_force.broken or ("in force" if seen is not None else "gone; nothing is asked about")
            if not never:
                log.warning("policy %s: %s", self.path, said)
        return self._in_force

    @property
    def notes(self) -> list[str]:
        """What the host has to say about it."""
        broken = self.current().broken
        if not broken:
            return []
        return [f"{broken}; until it is mended, people go on and everything else is asked about"]

    def _read(self) -> InForce:
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_uid not in (0, os.getuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    return InForce(_FREE, f"{self.path} is not used: others than you can write it (chmod go-w it)")
                text = file.read(TEXT_BYTES_MAX + 1)
            return InForce(parse(text.decode()))
        except BadPolicy as error:
            return InForce(_FREE, f"{self.path}: {error.message}")
        except UnicodeDecodeError:
            return InForce(_FREE, f"{self.path}: it is no UTF-8 text")
        except OSError as error:
            return InForce(_FREE, f"{self.path} cannot be read: {error.strerror}")
