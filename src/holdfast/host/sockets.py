"""Ask the kernel which sockets there are, by inode: NETLINK_SOCK_DIAG, or /proc/net where that is closed to us.

Source: sock_diag(7), linux/inet_diag.h, linux/unix_diag.h, proc_net(5). Not here: whose they are (host.tuple).
"""

import os
import socket
import struct
from pathlib import Path
from typing import Any, Final

_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_HEAD: Final = struct.Struct("=IHHII")
_INET: Final = (
    (socket.AF_INET, 6, "tcp"),
    (socket.AF_INET6, 6, "tcp6"),
    (socket.AF_INET, 17, "udp"),
    (socket.AF_INET6, 17, "udp6"),
)
_STATES: Final = (
    "", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "closed", "close-wait",
    "last-ack", "listening", "closing", "syn-received",
)  # fmt: skip
_TYPES: Final = {1: "stream", 2: "datagram", 5: "seqpacket"}
_ALL_STATES: Final = 0xFFFFFFFF
_NAME, _PEER = 0, 2  # attributes of a unix_diag answer
_SHOW_NAME_AND_PEER: Final = 1 | 4
_WAIT_S: Final = 1.0

Sockets = dict[int, dict[str, Any]]


def by_inode(pid: int | str = "self") -> tuple[Sockets, str]:
    """Return every TCP, UDP and Unix socket of this network namespace by inode, and why that is not all ("": it is).

    A socket is ``{"proto", "state", "local", "peer", "listening"}``; a Unix one has ``path`` and ``peer_inode`` instead
    of addresses. If netlink is refused, /proc/``pid``/net is read, which knows no Unix peers.
    """
    try:
        return _diag(), ""
    except OSError as error:
        return of_namespace(pid), f"sock_diag: {error.strerror or error}; read from /proc instead, without Unix peers"


def of_namespace(pid: int | str) -> Sockets:
    """Return the sockets of the network namespace that process ``pid`` is in, as far as /proc lets us read them."""
    found: Sockets = {}
    for proto in ("tcp", "tcp6", "udp", "udp6"):
        for line in _lines(pid, proto):
            fields = line.split()
            if len(fields) > 9:
                local, peer = _hex_address(fields[1]), _hex_address(fields[2])
                found[int(fields[9])] = _inet(proto, int(fields[3], 16), local, peer)
    for line in _lines(pid, "unix"):
        fields = line.split(maxsplit=7)
        if len(fields) >= 7:
            listening = int(fields[3], 16) & 0x10000 != 0  # __SO_ACCEPTCON
            path = fields[7] if len(fields) > 7 else ""
            found[int(fields[6])] = _unix(int(fields[4], 16), listening, int(fields[5], 16) == 3, path, 0)
    return found


def _lines(pid: int | str, name: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/net/{name}").read_text(errors="replace").splitlines()[1:]
    except OSError:
        return []


def _hex_address(text: str) -> str:
    raw, port = text.split(":")
    words = bytes.fromhex(raw)
    ordered = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))  # each word is in host order
    return _address(ordered, int(port, 16))


def _address(raw: bytes, port: int) -> str:
    if len(raw) == 4:
        return f"{raw[0]}.{raw[1]}.{raw[2]}.{raw[3]}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]:{port}"


def _inet(proto: str, state: int, local: str, peer: str) -> dict[str, Any]:
    named = _STATES[state] if state < len(_STATES) else str(state)
    udp = proto.startswith("udp")
    # A UDP socket without a peer takes datagrams from anybody: that is what listening means there.
    listening = state == 10 if not udp else state == 7 and not local.endswith(":0")
    if udp:
        named = "connected" if state == 1 else "bound"
    return {"proto": proto, "state": named, "local": local, "peer": "" if listening else peer, "listening": listening}


def _unix(kind: int, listening: bool, connected: bool, path: str, peer: int) -> dict[str, Any]:
    state = "listening" if listening else "connected" if connected else "unconnected"
    return {
        "proto": "unix", "type": _TYPES.get(kind, str(kind)), "state": state, "path": path, "peer_inode": peer,
        "listening": listening,
    }  # fmt: skip


def _diag() -> Sockets:
    found: Sockets = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _DIAG) as link:
        link.settimeout(_WAIT_S)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        link.bind((0, 0))
        for family, number, proto in _INET:
            ask = struct.pack("=BBBBI", family, number, 0, 0, _ALL_STATES) + bytes(48)
            try:
                _dump_inet(link, ask, 4 if family == socket.AF_INET else 16, proto, found)
            except FileNotFoundError:  # a kernel without this family, or without its diag module
                continue
        ask = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _ALL_STATES, 0, _SHOW_NAME_AND_PEER, 0, 0)
        _dump_unix(link, ask, found)
    return found


def _answers(link: socket.socket, ask: bytes) -> list[bytes]:
    link.send(_HEAD.pack(_HEAD.size + len(ask), _BY_FAMILY, _DUMP, 1, 0) + ask)
    bodies: list[bytes] = []
    while True:
        data = link.recv(1 << 18)
        at = 0
        while at + _HEAD.size <= len(data):
            size, kind = struct.unpack_from("=IH", data, at)
            if kind == _DONE:
                return bodies
            if kind == _ERROR:
                (number,) = struct.unpack_from("=i", data, at + _HEAD.size)
                raise OSError(-number, os.strerror(-number))  # ENOENT becomes a FileNotFoundError
            bodies.append(data[at + _HEAD.size : at + size])
            at += max((size + 3) & ~3, _HEAD.size)


def _dump_inet(link: socket.socket, ask: bytes, width: int, proto: str, found: Sockets) -> None:
    for body in _answers(link, ask):
        state = body[1]
        from_port, to_port = struct.unpack_from(">HH", body, 4)
        (inode,) = struct.unpack_from("=I", body, 68)
        if inode:  # 0: a connection that no process holds any more
            local, peer = _address(body[8 : 8 + width], from_port), _address(body[24 : 24 + width], to_port)
            found[inode] = _inet(proto, state, local, peer)


def _dump_unix(link: socket.socket, ask: bytes, found: Sockets) -> None:
    for body in _answers(link, ask):
        _, kind, state, _, inode = struct.unpack_from("=BBBBI", body, 0)
        path, peer = "", 0
        at = 16
        while at + 4 <= len(body):
            size, name = struct.unpack_from("=HH", body, at)
            if name == _NAME:
                raw = body[at + 4 : at + size]
                shown = b"@" + raw[1:] if raw[:1] == b"\0" else raw  # abstract: as ss and /proc show it
                path = shown.rstrip(b"\0").decode("utf-8", "replace")
            elif name == _PEER and size >= 8:
                (peer,) = struct.unpack_from("=I", body, at + 4)
            at += max((size + 3) & ~3, 4)
        found[inode] = _unix(kind, state == 10, state == 1, path, peer)
