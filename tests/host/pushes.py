"""A push service of a test: takes what hosts send by https, checks who signed it, and opens it as the browser would."""

import base64
import contextlib
import json
import os
import queue
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import http_ece
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.relay.peers import tls_files


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Browser:
    """One subscription: its keys, and what it can read."""

    def __init__(self) -> None:
        self._secret = ec.generate_private_key(ec.SECP256R1())
        self.auth = os.urandom(16)
        self.key = self._secret.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def read(self, body: bytes) -> dict[str, Any]:
        opened = http_ece.decrypt(body, private_key=self._secret, auth_secret=self.auth, version="aes128gcm")
        found: dict[str, Any] = json.loads(opened)
        return found


class Push(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


def signed_by(push: Push, audience: str) -> bytes:
    """Return the public key that signed for ``audience``; fails if the signature is not good (RFC 8292)."""
    fields = dict(
        part.strip().split("=", 1) for part in push.headers["authorization"].removeprefix("vapid ").split(",")
    )
    head, claims, signature = fields["t"].split(".")
    assert json.loads(unpadded(claims))["aud"] == audience
    raw, key = unpadded(signature), unpadded(fields["k"])
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    public.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    return key


class PushService:
    """Listens on 127.0.0.1 with a certificate of its own, ``ca``. ``answers`` are the next statuses, then 201; ``go``:
    nothing is answered until it is set. What is posted to ``/drips`` is answered a byte a while, without end; every
    redirect points to ``/elsewhere``. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.ca, key, _ = tls_files(folder)
        self.got: queue.Queue[Push] = queue.Queue()
        self.answers: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.over = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.go.wait(60)
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.got.put(Push(self.path, headers, body))
                if self.path == "/drips":
                    self.drip()
                    return
                self.send_response(service.answers.pop(0) if service.answers else 201)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def drip(self) -> None:
                with contextlib.suppress(OSError):  # until whoever waits for it has had enough
                    self.wfile.write(b"HTTP/1.1 201 ")
                    while not service.over.wait(0.2):
                        self.wfile.write(b"x")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "PushService":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.go.set()
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
