"""The host's own record: one at a time, the same for whoever asks, and never an older one after a newer."""

from pathlib import Path

import pytest

from holdfast.core import identity as core
from holdfast.core import signed
from holdfast.core.identity import HostRecord, Kind
from holdfast.host.identity import RESIGN_S, Identity
from tests.core.tenants import NOW, Tenant

T = Tenant()
URL = "wss://relay.example"


def enrol(host: Identity, name: bytes = b"", *, now: int = NOW) -> None:
    chain = T.issued(Kind.HOST, host.pair, now=now)
    host.enrol(tenant=T.key, certificates=chain, relays=(URL,), name=name, now=now)


def read(record: bytes) -> HostRecord:
    return signed.peeked(record, HostRecord, most=core.RECORD_BYTES_MAX)


@pytest.fixture
def host(tmp_path: Path) -> Identity:
    found = Identity(tmp_path / "identity")
    enrol(found)
    return found


def test_whoever_asks_is_given_the_same_record_until_it_is_old(host: Identity) -> None:
    first = host.record(now=NOW)
    assert host.record(now=NOW + RESIGN_S - 1) == first
    later = host.record(now=NOW + RESIGN_S)
    assert read(later).version > read(first).version and read(later).not_after > read(first).not_after
    assert host.record(now=NOW + RESIGN_S) == later


def test_a_record_that_says_something_else_or_was_refused_has_a_higher_version(host: Identity) -> None:
    versions = [read(host.record(now=NOW)).version]
    enrol(host, b"sealed")
    assert read(host.record(now=NOW)).name == b"sealed"
    versions.append(read(host.record(now=NOW)).version)
    host.resign()
    versions.append(read(host.record(now=NOW)).version)
    versions.append(read(host.record(now=NOW - 5)).version)  # the clock was set back
    assert versions == sorted(set(versions))


def test_the_next_host_process_never_signs_an_older_one(host: Identity, tmp_path: Path) -> None:
    last = read(host.record(now=NOW)).version
    assert read(Identity(tmp_path / "identity").record(now=NOW - 100)).version > last
