"""Speak MCP: on standard input and output, or over HTTP on this machine. The only module that knows the `mcp` package.

Not here: what the tools do (acts). Text is all that is returned: AI hosts differ in what they do with anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from holdfast import __version__
from holdfast.core.errors import HoldError
from holdfast.faces.mcp import shapes, words
from holdfast.faces.mcp.acts import Acts
from holdfast.faces.mcp.desk import Desk

log = logging.getLogger(__name__)

CALL_S: Final = shapes.WAIT_S_MAX + 10.0  # nothing that a call does outlives this
PROGRESS_S: Final = 5.0
INSTRUCTIONS: Final = (
    "Terminals that people and you share. observe before you act; every result begins with a line of state: rev is what a "
    "decision stands on, ctl who may type. People can take over at any time: then stop, do not retry. run is for the shell's "
    "prompt, send for any other program. Commands go on when a wait is over."
)


def server(desk: Desk) -> Server[Any]:
    """Return the MCP server of one AI operator."""
    acts = Acts(desk)

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool(kind) for kind in shapes.TOOLS])

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            call = shapes.arguments(params.name, params.arguments)
            async with asyncio.timeout(CALL_S), _progress(context):
                return _said(await acts.do(call))
        except shapes.BadArguments as error:
            return _said(f"bad-arguments: {error}.", wrong=True)
        except HoldError as error:
            return _said(words.refusal(error), wrong=True)
        except TimeoutError:
            return _said(
                "timeout: this took too long and was given up; nothing was stopped. Next: observe.", wrong=True
            )
        except Exception:
            log.exception("%s failed", params.name)
            return _said("internal: a defect of Holdfast was met; sessions are untouched. Next: observe.", wrong=True)

    return Server(
        "holdfast", version=__version__, instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def tool(kind: type[shapes.Tool]) -> types.Tool:
    """Return what a model is told of a tool."""
    name = str(kind.__struct_config__.tag)
    reads = name in shapes.READ_ONLY
    about = " ".join((kind.__doc__ or "").split())
    hints = types.ToolAnnotations(read_only_hint=True) if reads else types.ToolAnnotations(open_world_hint=True)
    return types.Tool(name=name, description=about, input_schema=shapes.schema(kind), annotations=hints)


def _said(text: str, *, wrong: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=wrong)


@contextlib.asynccontextmanager
async def _progress(context: Any) -> AsyncIterator[None]:
    """Say every few seconds that a call goes on, to a client that wants to hear it."""

    async def tell() -> None:
        count = 0
        while True:
            await asyncio.sleep(PROGRESS_S)
            count += 1
            with contextlib.suppress(Exception):  # a client that is gone needs no progress
                await context.session.report_progress(count * PROGRESS_S, None, "still waiting")

    telling = asyncio.get_running_loop().create_task(tell(), name="progress")
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


# ---- standard input and output ---------------------------------------------------------------------------------------


async def on_stdio(name: str) -> None:
    """Serve the AI host that started this process, until it hangs up."""
    desk = Desk(name)
    made = server(desk)
    try:
        async with stdio_server() as (reading, writing):
            await made.run(reading, writing, made.create_initialization_options())
    finally:
        await desk.close()


# ---- HTTP ------------------------------------------------------------------------------------------------------------

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Bearers:
    """Let through who brings the token; everybody else gets 401 and nothing more."""

    def __init__(self, app: Any, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            word, _, given = headers.get(b"authorization", b"").partition(b" ")
            if word.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                start = {"type": "http.response.start", "status": 401}
                await send(start | {"headers": [(b"www-authenticate", b"Bearer"), (b"content-type", b"text/plain")]})
                await send({"type": "http.response.body", "body": b"the token of `hold mcp --http` is needed\n"})
                return
        await self._app(scope, receive, send)


def token_at(path: Path) -> str:
    """Return the token kept in ``path``, made now if there is none; for this user alone. Raises OSError."""
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        found = os.lstat(path)
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{path} can be read by others; remove it, and a new token is made") from None
        return path.read_text().strip()
    token = secrets.token_urlsafe(32)
    with os.fdopen(made, "w") as file:
        file.write(token + "\n")
    return token


async def on_http(name: str, host: str, port: int, token_path: Path) -> None:
    """Serve on ``host``, which is an address of this machine alone, until the process is ended. Says where on stderr."""
    import uvicorn

    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    token = token_at(token_path)
    desk = Desk(name)
    app = server(desk).streamable_http_app(host=host)
    config = uvicorn.Config(Bearers(app, token), log_level="warning", access_log=False, lifespan="on")
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{listening.getsockname()[1]}/mcp (token in {token_path})", file=sys.stderr, flush=True)
    try:
        await uvicorn.Server(config).serve(sockets=[listening])
    finally:
        await desk.close()
