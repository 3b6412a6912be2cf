"""Kill host link, holder and keeper at random moments under saturated output and input (I2, I4, I5).

The producer writes a known pattern as fast as its terminal takes it, so a lost, doubled or moved byte shows by content.
What may miss is what a mark states, and for text that is nothing. Source: notes on the live tuple, 4.3.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from holdfast.core.errors import HolderLost
from holdfast.host.holders import Holder, Written
from holdfast.host.ring import Mark, Overrun
from tests.holder.conftest import Story, play
from tests.holder.rig import WAIT_S, Rig, everything, gone, output, until

__all__ = ["play"]  # a fixture
Play = Callable[[Story], None]
SEED = 20240607


RING_BYTES = (
    256 << 20
)  # seconds of what `cat` puts out: a reader that is not let run for a while is no fault of the holder's


class Pattern:
    """Endless output whose every byte is known: one file, again and again."""

    def __init__(self, folder: Path, *, text: bool) -> None:
        lines = b"".join(b"%07d \xc3\xa9\xe2\x82\xac %05d\n" % (n, n * 7919 % 100_003) for n in range(60_000))
        self.data = lines if text else random.Random(SEED).randbytes(1_500_007)
        self.twice = self.data * 2
        (folder / "p").write_bytes(self.data)
        self.argv = ("sh", "-c", "stty raw -echo; exec cat " + "p " * 20_000)

    def at(self, phase: int, size: int) -> bytes:
        phase %= len(self.data)
        return self.twice[phase : phase + size]


class Verifier:
    """Compares the output with the pattern as it comes, and forgives only what a restart mark states."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.offset = self.phase = 0
        self.lost = self.recovered = 0
        self._seams: dict[int, int] = {}  # offset -> most bytes that may miss there

    def mark(self, marks: list[Mark]) -> None:
        self.recovered += sum(mark.b for mark in marks if mark.kind == "restart")
        self._seams.update({mark.offset + mark.b: mark.c for mark in marks if mark.kind == "restart"})

    def feed(self, data: bytes) -> None:
        while data:
            seam = min((at for at in self._seams if at > self.offset), default=self.offset + len(data))
            part = data[: min(seam - self.offset, len(self.pattern.data))]
            if part != self.pattern.at(self.phase, len(part)):
                raise AssertionError(f"not the pattern after offset {self.offset}")
            self.offset, self.phase, data = self.offset + len(part), self.phase + len(part), data[len(part) :]
            if self.offset in self._seams and data:
                self._resume(data[:64], self._seams[self.offset])

    def _resume(self, data: bytes, most: int) -> None:
        missing = next(k for k in range(most + 1) if self.pattern.at(self.phase + k, len(data)) == data)
        self.phase, self.lost = self.phase + missing, self.lost + missing


class Reader:
    """What a host is to its holder: reads by offset, archives, comes back after every cut."""

    def __init__(self, made: Rig, holder: Holder, verifier: Verifier) -> None:
        self.made, self.holder, self.verifier = made, holder, verifier
        self.seq = 0

    def pull(self) -> int:
        """Take what there is; return the offset reached. Raises AssertionError for an unstated gap."""
        ring = self.holder.ring
        head = ring.head  # before the marks: whatever restart lies below it is in the marks already
        marks = ring.marks(self.seq)
        self.seq = marks[-1].seq if marks else self.seq
        self.verifier.mark(marks)
        while self.verifier.offset < head:
            try:
                data = ring.read(self.verifier.offset, min(1 << 20, head - self.verifier.offset))
            except Overrun as overrun:
                raise AssertionError(f"the ring begins at {overrun.start}, {self.verifier.offset} was next") from None
            self.verifier.feed(data)
            ring.archived(self.verifier.offset)
        return head

    async def more(self, bytes_: int) -> None:
        """Wait until so much more has come: proof that the execution goes on."""
        wanted = self.verifier.offset + bytes_
        await until(self.holder, lambda: self.pull() >= wanted)

    async def adopt(self) -> None:
        await self.holder.close()
        self.holder = await self.made.adopt(self.holder.path)


async def kill_holder(reader: Reader) -> None:
    os.kill(reader.holder.hello.holder_pid, signal.SIGKILL)
    await asyncio.wait_for(reader.holder.lost.wait(), WAIT_S)
    await reader.adopt()


async def kill_link(reader: Reader) -> None:
    """What a kill -9 of the host is to a holder: the socket closes without a word, and a higher generation comes."""
    reader.made.generation += 1
    await reader.adopt()


async def kill_keeper(reader: Reader) -> None:
    pid = reader.made.keeper.pid
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    await reader.made.keeper.close()
    await reader.made.reach()


async def upgrade_holder(reader: Reader) -> None:
    await reader.holder.upgrade()


async def upgrade_keeper(reader: Reader) -> None:
    await reader.made.keeper.upgrade()


Deed = Callable[[Reader], Coroutine[None, None, None]]
DEEDS: dict[str, list[Deed]] = {
    "holder": [kill_holder],
    "host": [kill_link],
    "keeper": [kill_keeper, kill_holder],
    "any": [kill_holder, kill_holder, kill_link, kill_keeper, upgrade_holder, upgrade_keeper],
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("victim", "text", "few", "many"),  # how often without and with --soak
    [
        ("holder", True, 200, 1000),
        ("holder", False, 200, 1000),
        ("host", True, 100, 500),
        ("keeper", True, 30, 300),
        ("any", True, 60, 600),
    ],
)
def test_output_is_exact_whoever_is_killed(
    play: Play, short_dir: Path, soak: bool, victim: str, text: bool, few: int, many: int
) -> None:
    pattern = Pattern(short_dir, text=text)
    verifier = Verifier(pattern)
    chance = random.Random(SEED + few)

    async def story(made: Rig) -> None:
        holder = await made.start(*pattern.argv, ring_bytes=RING_BYTES)
        root = (holder.hello.root_pid, holder.hello.root_started)
        reader = Reader(made, holder, verifier)
        await reader.more(100_000)
        deeds = [chance.choice(DEEDS[victim]) for _ in range(many if soak else few)]
        for deed in deeds:
            await reader.more(chance.randrange(1, 400_000))
            await asyncio.sleep(chance.random() * 0.004)  # a moment that nothing else decides
            await deed(reader)
            assert (reader.holder.hello.root_pid, reader.holder.hello.root_started) == root
        await reader.more(1_000_000)
        kills = deeds.count(kill_holder)
        assert reader.holder.hello.restarts == kills
        assert not [mark for mark in reader.holder.ring.marks() if mark.kind == "gap"]
        print(f"{victim}: {len(deeds)} deeds, {kills} holders, {verifier.offset} bytes, "
              f"{verifier.recovered} recovered, {verifier.lost} lost")  # fmt: skip
        assert verifier.lost == 0 if text else verifier.lost <= kills  # binary: one byte in 256 kills is like poison
        await reader.holder.signal(signal.SIGKILL, tree=True)
        await until(reader.holder, lambda: reader.holder.ended is not None)
        reader.pull()

    play(story)


@pytest.mark.timeout(600)
def test_input_is_typed_at_most_once_whoever_is_killed(play: Play, soak: bool) -> None:
    """I5: every line said to be applied is there once, every unknown at most once, none twice, none out of order."""
    chance = random.Random(SEED)

    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "stty raw -echo; echo ready; exec cat")
        start = len(await output(holder, b"ready\n"))
        outcomes: Counter[str] = Counter()
        certain: list[int] = []
        possible: list[int] = []
        for position in range(1, 5001 if soak else 1001):
            line = b"<%06d>" % position
            if chance.random() < 0.25:
                asyncio.get_running_loop().call_later(chance.random() * 0.001, _kill, holder.hello.holder_pid)
            holder, written = await type_once(made, holder, position, line)
            outcomes[written.outcome] += 1
            if written.outcome == "applied":
                certain.append(position)
            elif written.outcome == "unknown":
                possible.append(position)
            else:  # killed between taking the position and touching the terminal: certainly not typed
                assert (written.outcome, written.written) == ("partial", 0)
        await asyncio.sleep(0.002)  # the last kill that is on its way
        for position in range(10**6, 10**6 + 9):
            holder, written = await type_once(made, holder, position, b"<000000>")
            if written.outcome == "applied":
                break
        said = await output(holder, b"<000000>", start)
        seen = [int(one.strip(b"<>")) for one in said.replace(b">", b"> ").split()][:-1]
        assert seen == sorted(set(seen))
        assert set(certain) <= set(seen) <= {*certain, *possible}
        print(f"input: {dict(outcomes)}, {holder.hello.restarts} holders killed")

    play(story)


async def type_once(made: Rig, holder: Holder, position: int, data: bytes) -> tuple[Holder, Written]:
    """Type as a host does: when the holder dies under it, ask its successor with the same position."""
    while True:
        try:
            return holder, await holder.write(position, data)
        except HolderLost:
            await holder.close()
            holder = await made.adopt(holder.path)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.mark.timeout(600)
def test_the_end_is_kept_whoever_is_killed_around_it(play: Play, soak: bool) -> None:
    """The exit status and the last words survive a holder killed before, at or after the end."""
    chance = random.Random(SEED)

    async def story(made: Rig) -> None:
        for number in range(1, 501 if soak else 51):
            holder = await made.start("sh", "-c", "read x; echo last words; exit 23")
            pid = holder.hello.holder_pid
            loop = asyncio.get_running_loop()
            loop.call_later(chance.random() * 0.006, _kill, pid)
            try:
                await holder.write(1, b"\n")
            except HolderLost:
                pass
            await asyncio.wait_for(holder.lost.wait(), WAIT_S)
            await holder.close()
            holder = await made.adopt(holder.path)
            await holder.write(1, b"\n") if holder.ring.input_position == 0 else None
            await until(holder, lambda: holder.ended is not None)  # noqa: B023 - awaited at once
            assert holder.ended is not None
            assert holder.ended.status == 23 << 8
            assert everything(holder).endswith(b"last words\r\n")
            await until(holder, lambda: holder.ring.exit_durable)  # noqa: B023 - awaited at once
            assert f'"status": {23 << 8}' in made.exit_file(number).read_text()
            await holder.release()
            await holder.close()

    play(story)
