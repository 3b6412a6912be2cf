"""The asynchronous SDK. Run it: python examples/sdk_async.py"""

import asyncio

import holdfast as hf

COUNTS = "for i in $(seq 1 20); do echo count $i; sleep 0.05; done"


async def leave_and_come_back(host: hf.Client) -> None:
    """A handle is an id and a cursor: written down, it goes on at the very byte, in another program or on another day."""
    session = await host.open("example-count", argv=["sh", "-c", COUNTS])
    seen = b""
    async for event in session.events():  # from the first byte of a new session
        if isinstance(event, hf.Output):
            seen += event.data
            if b"count 5\r\n" in seen:
                break
    kept = session.id, str(session.cursor)
    print("left at", session.cursor.offset)

    again = await host.attach(kept[0], since=kept[1])
    async for event in again.events():
        match event:
            case hf.Output(data=data):
                seen += data
            case hf.Gap(start=start, end=end, why=why):  # never skipped silently
                print(f"bytes {start} to {end} are not kept any more: {why}")
            case hf.Ended(how=how, status=status):
                print(how, status)
    assert seen.split() == [word for n in range(1, 21) for word in (b"count", str(n).encode())]
    await again.forget()


async def look(host: hf.Client) -> None:
    session = await host.open("example-look", argv=["sh", "-c", "printf '\\033[1mbold\\033[m'; sleep 600"])
    async for event in session.events():
        if isinstance(event, hf.Output):
            break
    print("on the screen:", (await session.text()).lines[0])
    print("processes:", [each["comm"] for each in (await session.live())["processes"]])
    ended = await session.kill(grace=0.5)
    print("look", ended.how)


async def main() -> None:
    async with hf.connect() as host, asyncio.TaskGroup() as tasks:
        tasks.create_task(leave_and_come_back(host))
        tasks.create_task(look(host))


if __name__ == "__main__":
    asyncio.run(main())
