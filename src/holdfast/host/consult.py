"""Ask an external program about an act: JSON in, JSON out, bounded time, and no answer means no (R67).

Not here: whether it has to be asked, and what follows (gate). Source: docs/gate.md, "A program of your own".
"""

import asyncio
import contextlib
import json
import logging
from typing import Any, Final

from holdfast.core.gate import Decision
from holdfast.core.policy import Effect, Program

log = logging.getLogger(__name__)

ANSWER_BYTES_MAX: Final = 64 << 10
WHY_MAX: Final = 500  # characters of its reason that are passed on
AT_ONCE_MAX: Final = 8  # runs of the program at one time, for the whole host


class Consultant:
    """Runs the program. One for the host."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    async def ask(self, program: Program, question: dict[str, Any]) -> Decision:
        """Return its decision. Whatever goes wrong, in time or in form, is Effect.ASK: a person sees it. Never raises."""
        data = json.dumps(question, ensure_ascii=True).encode()
        try:
            async with asyncio.timeout(program.timeout_s), self._room:
                said = await _said(program.command, data)
            answer = json.loads(said)
            effect, why = Effect(answer["decision"]), str(answer.get("why", ""))[:WHY_MAX]
        except TimeoutError:
            why = f"it did not answer within {program.timeout_s:g} s"
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"its answer cannot be used ({error})"
        else:
            return Decision(effect, "exec", why or f"{program.command[0]} says {effect.value}")
        log.warning("policy program %s: %s", program.command[0], why)
        return Decision(Effect.ASK, "exec", f"{program.command[0]}: {why}")


async def _said(command: tuple[str, ...], data: bytes) -> bytes:
    """Run it and return what it wrote. Raises OSError, ValueError. It does not outlive this call."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        cwd="/", env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # it need not read what it does not want to know
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.close()
        said = await process.stdout.read(ANSWER_BYTES_MAX + 1)
        while len(said) <= ANSWER_BYTES_MAX and (more := await process.stdout.read(ANSWER_BYTES_MAX)):
            said += more
        if len(said) > ANSWER_BYTES_MAX:
            raise ValueError(f"more than {ANSWER_BYTES_MAX} bytes")
        if (status := await process.wait()) != 0:
            raise ValueError(f"it ended with status {status}")
        return said
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
