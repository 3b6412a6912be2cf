"""What an AI host does, without the model: call the tools of `hold mcp`. Run it: python examples/mcp_client.py

Needs holdfast[mcp]. What it does is done by an AI operator of its own, on your behalf: `hold mcp who` shows who that is.
"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

SERVER = StdioServerParameters(
    command=sys.executable, args=["-m", "holdfast.faces.cli.main", "mcp", "--as", "example"], env=dict(os.environ)
)


async def main() -> None:
    async with Client(stdio_client(SERVER)) as client:

        async def call(tool: str, **arguments: object) -> str:
            answer = await client.call_tool(tool, dict(arguments))
            text = "\n".join(part.text for part in answer.content if part.type == "text")
            print(f"--- {tool} {arguments}{' (an error)' if answer.is_error else ''}\n{text}")
            return text

        await call("open_session", name="example-mcp", command=["bash"])
        await call("run", session="example-mcp", command="echo working in $PWD; exit_soon() { return 3; }; exit_soon")
        await call("run", session="example-mcp", command="read -p 'Continue? ' answer && echo \"you said $answer\"")
        await call("send", session="example-mcp", text="yes", keys=["Enter"])
        await call("observe", session="example-mcp", view="commands")
        await call("run", session="no-such-session", command="true")
        await call("send", session="example-mcp", text="exit", keys=["Enter"])
        await call("wait", session="example-mcp", until=["exit"], timeout_s=20)


if __name__ == "__main__":
    asyncio.run(main())
