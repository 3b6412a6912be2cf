"""Keep the name keys of one profile's tenant, and what its hosts were last called. Source: docs/identity.md, "Sealed names".

Not here: how a name is sealed (core.sealing), whom a new key is given to (issuing), when (sharing, upkeep).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from holdfast.client import storefiles
from holdfast.client.storefiles import FORMAT, File
from holdfast.core import sealing
from holdfast.core.errors import BadMessage
from holdfast.core.identity import HostRecord
from holdfast.core.sealing import CannotOpen, NameKey

KEYS_MAX: Final = 32  # a name that is older than so many revocations is shown as it was last called
KEYS, CALLED = "names", "called"  # the files


class Keys(File, frozen=True):
    format: int
    keys: tuple[tuple[int, bytes], ...]


class _Called(File, frozen=True):
    format: int
    hosts: tuple[tuple[bytes, str], ...]  # key, name


class Naming:
    """The names of one profile, in its folder ``path``. ``lock`` gives the profile's lock for as long as it lasts.

    Every method raises Unsafe for files that others can reach, Corrupt for what is none of ours.
    """

    def __init__(self, path: Path, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._path, self._lock = path, lock

    # ---- keys ----

    def name_keys(self) -> tuple[NameKey, ...]:
        """The tenant's name keys, newest first. Empty for a guest, who never gets any."""
        kept = storefiles.read(self._path / KEYS, Keys) or Keys(FORMAT, ())
        try:
            return tuple(NameKey(version, key) for version, key in sorted(kept.keys, reverse=True))
        except ValueError:
            raise storefiles.corrupt(self._path / KEYS) from None

    def learn(self, names: Mapping[int, bytes]) -> bool:
        """Keep the name keys ``names`` (version to key) beside those that are known; tell whether any was new.

        A version that is known stays what it is: whoever gives another key for it cannot make old names unreadable.
        Raises BadMessage for what is no name key.
        """
        try:
            fresh = [NameKey(version, key) for version, key in names.items()]
        except ValueError as error:
            raise BadMessage(f"what was given is no name key: {error}; nothing was changed") from None
        with self._lock():
            return self._learn(fresh)

    def rotate(self, random: Callable[[int], bytes]) -> NameKey:
        """Make a new key, with which names are sealed from now on: who had the former ones shall not read them."""
        with self._lock():
            former = self.name_keys()
            key = NameKey(former[0].version + 1 if former else 1, random(sealing.SECRET_BYTES))
            self._learn([key])
        return key

    def _learn(self, fresh: Iterable[NameKey]) -> bool:
        known = {key.version: key for key in self.name_keys()}
        both = {key.version: key for key in fresh} | known
        newest = sorted(both.values(), key=lambda key: key.version, reverse=True)[:KEYS_MAX]
        if [key.version for key in newest] == sorted(known, reverse=True):
            return False
        kept = tuple((key.version, key.key) for key in reversed(newest))
        storefiles.write(self._path / KEYS, Keys(FORMAT, kept))
        return True

    # ---- names ----

    def sealed(self, name: str, about: bytes, random: Callable[[int], bytes]) -> bytes:
        """Return ``name`` of ``about`` sealed under the newest key, empty if there is none or nothing to seal."""
        keys = self.name_keys()
        return (
            sealing.seal_name(name, keys[0], about=about, nonce=random(sealing.NONCE_BYTES)) if keys and name else b""
        )

    def of(self, record: HostRecord) -> str:
        """Return what a host is called; what it was last called, if its name is under a key that has not come here yet.
        Empty: it has no name, or none that can be read."""
        try:
            return self._opened(record)
        except CannotOpen as error:
            if error.details["reason"] != "key":
                return ""
        return dict(self._called()).get(record.host, "")

    def lacks(self, record: HostRecord) -> bool:
        """Tell whether the name in ``record`` is under a key newer than any here: the tenant has taken back a right since."""
        keys = self.name_keys()
        return bool(keys and record.name) and sealing.version_of(record.name) > keys[0].version

    def met(self, *records: HostRecord) -> None:
        """Remember the name of a host from the first of its ``records`` that can be read. The caller has the lock."""
        for record in records:
            try:
                name = self._opened(record)
            except CannotOpen:
                continue
            called = dict(self._called())
            if name and called.get(record.host) != name:
                called[record.host] = name
                storefiles.write(self._path / CALLED, _Called(FORMAT, tuple(called.items())))
            return

    def _opened(self, record: HostRecord) -> str:
        return sealing.open_name(record.name, self.name_keys(), about=record.host) if record.name else ""

    def _called(self) -> tuple[tuple[bytes, str], ...]:
        kept = storefiles.read(self._path / CALLED, _Called)
        return kept.hosts if kept else ()
