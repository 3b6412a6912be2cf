"""The process around a relay: arguments, directory, socket, readiness, signals. Run as ``python -m holdfast.relay.main``.

``kill -9`` of it costs its peers a reconnect: hosts come back and publish themselves anew.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import resource
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from holdfast.core.errors import HoldError
from holdfast.core.signed import is_key
from holdfast.relay.clerk import Clerk
from holdfast.relay.directory import Conflict, DirectoryStore
from holdfast.relay.gate import Gate
from holdfast.relay.hub import Hub
from holdfast.relay.limits import Limits, limits_from
from holdfast.relay.logs import to_stderr
from holdfast.relay.rooms import Now
from holdfast.relay.server import RelayServer, Settings
from holdfast.relay.sockets import Network, listening
from holdfast.relay.sqlite_store import SqliteStore
from holdfast.relay.tls import load_certificate, tls_context
from holdfast.wire.relay import PATH

log = logging.getLogger("holdfast.relay")

USAGE: Final = 64  # exit statuses of sysexits.h
FAILED: Final = 69
FILES_KEPT: Final = 64  # descriptors that are not peers' sockets
LOOPBACK: Final = "127.0.0.0/8,::1/128"


class BadArgument(HoldError):
    code = "bad-argument"


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line. None of what it takes is secret."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.relay.main", description="Run a relay.")
    add = parser.add_argument
    add("--listen", required=True, metavar="HOST:PORT", help="port 0: any free one")
    add("--state", required=True, type=Path, metavar="DIR", help="what it remembers; one relay per directory")
    add("--cert", type=Path, help="PEM chain for TLS; without it speak plainly, behind a proxy or on this machine")
    add("--key", type=Path, help="its private key")
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--tenant", action="append", metavar="ROOTKEY", help="serve this tenant: 64 hexadecimal digits")
    whom.add_argument("--open", action="store_true", help="serve every tenant that comes")
    add("--name", action="append", default=[], metavar="URL", help="an address it is dialled by; others are refused")
    add("--origin", action="append", default=[], help="a web origin, beside its own, whose pages may dial")
    add("--trust-proxy", default="", metavar="NETWORKS", help="proxies whose X-Forwarded-For counts")
    add("--metrics-from", default=LOOPBACK, metavar="NETWORKS", help="who may read /metrics (%(default)s)")
    add("--limit", action="append", default=[], metavar="NAME=NUMBER", help="see docs/relay.md")
    add("--grace", type=float, default=5.0, metavar="S", help="from SIGTERM to the end (%(default)s)")
    add("--ready-fd", type=int, metavar="N", help="gets one line of JSON, url and port, when it serves")
    add("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


def address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``. Raises BadArgument."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise BadArgument(f"{text!r} is no HOST:PORT", do="write for example 127.0.0.1:8443 or [::]:443")
    return host.removeprefix("[").removesuffix("]"), int(port)


def networks(text: str) -> list[Network]:
    """Return networks that stand in ``text``, separated by commas. Raises BadArgument."""
    try:
        return [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise BadArgument(f"{text!r} is no list of networks: {error}", do="write for example 10.0.0.0/8") from None


def roots(given: Sequence[str] | None) -> list[bytes] | None:
    """Return the tenants' root keys; None: any. Raises BadArgument."""
    if given is None:
        return None
    try:
        keys = [bytes.fromhex(text) for text in given]
    except ValueError:
        keys = [b""]
    if not all(map(is_key, keys)):
        raise BadArgument("a tenant is given by its root's public key", do="write it as 64 hexadecimal digits")
    return keys


def host_names(given: Sequence[str], listen: str) -> list[str]:
    """Return the host names under which peers may dial: those of the given URLs, or what this machine is called."""
    if given:
        return [urlsplit(name if "://" in name else f"wss://{name}").hostname or name for name in given]
    local = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    return local if listen in ("", "0.0.0.0", "::") else [listen, *local]


def web_origins(given: Sequence[str], names: Sequence[str], port: int, *, tls: bool) -> list[str]:
    """Return the origins of this relay's own web pages."""
    urls = [name if "://" in name else f"wss://{name}" for name in given]
    if not urls:
        shown = [f"[{name}]" if ":" in name else name for name in names]
        urls = [f"{'wss' if tls else 'ws'}://{name}:{port}" for name in shown]
    found = []
    for url in urls:
        scheme, _, rest = url.partition("://")
        found.append(f"{'https' if scheme in ('wss', 'https') else 'http'}://{rest.partition('/')[0]}")
    return found


def fitting(limits: Limits) -> Limits:
    """Return ``limits`` with no more sockets than this process may have descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections_max + FILES_KEPT
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return limits
    log.warning("fewer connections than wanted: raise the limit of open files", extra={"connections_max": soft})
    return replace(limits, connections_max=max(soft - FILES_KEPT, 1))


async def relay_id(store: DirectoryStore) -> str:
    """Return the name under which this relay holds leases: made once, kept with its state."""
    known = await store.get("relay")
    if known is None:
        try:
            await store.cas("relay", f"r-{secrets.token_hex(8)}".encode(), revision=0)
        except Conflict:
            pass
        known = await store.get("relay")
    assert known is not None
    return known.value.decode()


async def run(args: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends the grace. Raises HoldError if it cannot start."""
    host, port = address(args.listen)
    names = host_names(args.name, host)
    limits = fitting(limits_from(args.limit))
    gate = Gate(limits)
    trusted = networks(args.trust_proxy)
    settings = Settings(args.origin, trusted, networks(args.metrics_from), args.grace)
    hub = Hub(names=names, served=roots(args.tenant), limits=limits)
    tls = _tls(args)
    store = SqliteStore.opened(args.state, time.time)
    try:
        clerk = Clerk(hub, store, relay=await relay_id(store))
        await clerk.load(now=Now(asyncio.get_running_loop().time(), time.time()))
        listener = listening(host, port, gate, trusted)
        port = listener.getsockname()[1]
        server = RelayServer(hub, gate, clerk, settings)
        await server.open(listener, web_origins(args.name, names, port, tls=tls is not None), tls)
        shown = f"[{names[0]}]" if ":" in names[0] else names[0]
        url = args.name[0] if args.name and "://" in args.name[0] else f"{'wss' if tls else 'ws'}://{shown}:{port}"
        log.info("serving", extra={"url": url + PATH, "pid": os.getpid(), "available": "one process, one disk"})
        _ready(args.ready_fd, {"url": url + PATH, "port": port, "pid": os.getpid()})
        await _until_told(server, clerk, args, tls)
    finally:
        await store.close()


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    if (args.cert is None) != (args.key is None):
        raise BadArgument("a certificate without its key, or the reverse", do="give both --cert and --key, or none")
    return None if args.cert is None else tls_context(args.cert, args.key)


def _ready(fd: int | None, what: dict[str, object]) -> None:
    if fd is None:
        return
    try:
        os.write(fd, json.dumps(what).encode() + b"\n")
        os.close(fd)
    except OSError as error:  # who asked is gone; the relay is wanted all the same
        log.warning("nobody waits for readiness", extra={"why": str(error)})


async def _until_told(server: RelayServer, clerk: Clerk, args: argparse.Namespace, tls: ssl.SSLContext | None) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, args, tls)
    async with asyncio.TaskGroup() as group:
        kept = [group.create_task(server.tick(), name="tick"), group.create_task(clerk.run(), name="clerk")]
        await told.wait()
        told.clear()
        drain = group.create_task(server.drain(), name="drain")
        again = group.create_task(told.wait(), name="second signal")
        await asyncio.wait({drain, again}, return_when=asyncio.FIRST_COMPLETED)
        if not drain.done():
            drain.cancel()
            await server.close()
        for task in (*kept, again):
            task.cancel()
    await clerk.close()
    log.info("closed")


def _reload(args: argparse.Namespace, tls: ssl.SSLContext | None) -> None:
    """Read certificate and key again: what a renewal calls for."""
    if tls is None:
        return
    try:
        load_certificate(tls, args.cert, args.key)
    except HoldError as error:
        log.error("the new certificate is not used", extra={"why": error.message})
    else:
        log.info("the certificate was read again")


def main() -> int:
    """Run a relay; return an exit status."""
    args = arguments().parse_args()
    to_stderr(args.log_level)
    try:
        asyncio.run(run(args))
    except HoldError as error:
        log.error("not started", extra={"code": error.code, "why": error.message, "do": error.do})
        return USAGE if error.code in ("bad-argument", "bad-limit") else FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
