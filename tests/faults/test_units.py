"""Several writers at once, each with lines of its own: no line is spliced, every byte has one author, all see one order."""

import asyncio
import os
import subprocess
import sys

import holdfast as hf
from holdfast.core import journal
from holdfast.core.journal import Kind, decoded
from holdfast.wire import messages as wire
from tests.host.talk import Machine, machine, talk

WRITERS = 8
WRITER = """
import sys, random
from holdfast.sync import connect
path, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(number)
with connect(path, start=False) as client:
    session = client.attach("shared")
    print("ready", flush=True)
    sys.stdin.readline()
    for at in range(count):
        word = "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(chance.randint(5, 60)))
        line = f"echo w{number}-{at}-{word}"
        done = session.run(line, patience=600, timeout=600)
        assert (done.text, done.output.text, done.exit_code) == (line, line[5:] + "\\n", 0), done
        print(line, flush=True)
"""


def started(one: Machine, number: int, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(one.socket), str(number), str(count)], env=os.environ | {"HOME": "/nonexistent"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


async def written(one: Machine, count: int) -> dict[int, list[str]]:
    """Have all writers write at once; return what each was told that it ran, by its process."""
    writers = [started(one, number, count) for number in range(WRITERS)]
    try:
        for each in writers:
            assert each.stdout is not None and each.stdin is not None
            assert await asyncio.to_thread(each.stdout.readline) == "ready\n"
        for each in writers:
            each.stdin.write("go\n")  # type: ignore[union-attr]
            each.stdin.flush()  # type: ignore[union-attr]
        said = await asyncio.gather(*(asyncio.to_thread(each.communicate) for each in writers))
        assert [each.returncode for each in writers] == [0] * WRITERS
        return {each.pid: out.splitlines() for each, (out, _) in zip(writers, said, strict=True)}
    finally:
        for each in writers:
            each.kill()
            each.wait()


async def whole(client: hf.Client, name: str) -> bytes:
    session = await client.attach(name)
    return b"".join([part.data async for part in session.output() if isinstance(part, hf.Output)])


def test_eight_writers_at_once_are_not_spliced_and_every_byte_has_one_author(soak: bool) -> None:
    """Promise U4."""
    count = 1000 if soak else 40

    async def story(one: Machine) -> None:
        async with (
            talk(one) as line,
            talk(one, client="c-other") as other,
            hf.connect(str(one.socket), start=False) as sdk,
        ):
            opened = await line.open("bash", "-i", name="shared")
            for view in (line, other):
                await view.attach("shared", "stream", attachment=1, offset=0, observe=True, credit=1 << 30)
                await view.attach("shared", "commands", attachment=2, observe=True, credit=1 << 30)
            await (await sdk.attach("shared")).run("true", patience=60)
            lines = await written(one, count)
            ran = await commands(sdk, WRITERS * count)
            # Each line ran once, whole, as its writer's, in the order in which its writer wrote.
            for pid, mine in lines.items():
                assert len(mine) == count
                assert [each.text for each in ran if each.author.endswith(f"/{pid}")] == mine
            assert len(ran) == WRITERS * count
            assert all(not each.others and each.source == "trusted" for each in ran)
            # Every byte that was typed belongs to one author's record, and they are the lines and nothing else.
            records = await chain(line, opened.id)
            typed = [record for record in map(decoded, records) if record.kind == Kind.INPUT][1:]
            assert [(record.operator, record.body["data"].decode()) for record in typed] == [
                (each.author, each.text + "\r") for each in ran
            ]
            assert [each.position for each in ran] == [record.position for record in typed]
            verdict = journal.verify(records)
            assert verdict.whole, verdict
            # And everybody was shown the same bytes and the same commands in the same order.
            shown = [await seen(view, len(ran)) for view in (line, other)]
            assert shown[0][1] == shown[1][1]
            output = await whole(sdk, "shared")
            assert all(output.startswith(bytes_) for bytes_, _ in shown)  # one may have the next prompt already
            assert [number for number, text in shown[0][1] if text != "true"] == [each.id for each in ran]
            for each in ran:
                assert output[each.start : each.end] == each.text[5:].encode() + b"\r\n"

    with machine() as one:
        one.up()
        asyncio.run(story(one))


async def commands(client: hf.Client, most: int) -> list[hf.Command]:
    session, found, after = await client.attach("shared"), [], 1
    while page := await session.commands(after=after, limit=1000):
        found += page
        after = page[-1].id
        assert len(found) <= most
    return found


async def chain(line, session: str) -> list[bytes]:  # type: ignore[no-untyped-def]
    records: list[bytes] = []
    while True:
        page = await line.ask(wire.ReadJournal, session=session, position=len(records) + 1, limit=1024)
        records += page.records
        if not page.records:
            return records


async def seen(line, count: int) -> tuple[bytes, list[tuple[int, str]]]:  # type: ignore[no-untyped-def]
    """Return the bytes and the commands, as they began, that an attachment was told, up to the last command's end."""
    output, begun, ended = bytearray(), {}, 0
    async with asyncio.timeout(60):
        while ended < count + 1:
            message = await line.told.get()
            if isinstance(message, wire.Output):
                output += message.data
            elif isinstance(message, wire.Shell):
                for each in message.commands:
                    begun.setdefault(each.id, each.text)
                    ended = max(ended, each.id if each.state == "done" else 0)
    return bytes(output), list(begun.items())
