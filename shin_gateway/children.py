"""The supervisor's children: each says on a pipe that it serves, and is started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence

from shin_gateway.lifetime import READY

log = logging.getLogger(__name__)

START = 60.0
"""Seconds that a child gets to open its ports."""
PAUSES = (0.2, 10.0)
"""Seconds before a child that died is started again: the first time, and at most."""
SETTLED = 60.0
"""Seconds after which a child that dies counts as one that dies for the first time."""
_WORDS = 4096


class CannotStart(Exception):
    """Why something does not run, in words for the person who typed the command."""


class Child:
    """A process that is started again when it dies.

    `command` gets one more argument, the descriptor of the pipe. `holds` are descriptors that the process
    keeps open for as long as it lives.
    """

    def __init__(self, name: str, command: Sequence[str], holds: Sequence[int] = ()) -> None:
        self.name = name
        self._command = command
        self._holds = holds
        self.serves = False
        """Whether it has begun to; before that, a signal may find no handler."""
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it serves. Raises CannotStart."""
        self.serves = False
        reading, writing = os.pipe()
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *self._command,
                str(writing),
                pass_fds=[writing, *self._holds],
                stdin=asyncio.subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the supervisor, which lets calls end; a new session would void nice
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        words = await _first_words(reading)
        if words != READY:
            raise CannotStart(words.strip() or await self._failure(process))
        self.serves = True

    async def _failure(self, process: asyncio.subprocess.Process) -> str:
        """What became of a child that said nothing; it is not left running."""
        try:
            code = await asyncio.wait_for(process.wait(), 1)
        except TimeoutError:
            await _killed(process)
            return f"the {self.name} did not serve within {START:.0f} s"
        return f"the {self.name} did not start (exit status {code}; its own words are above)"

    def keep(self) -> None:
        """From now on start it again whenever it dies."""
        self._keeping = asyncio.create_task(self._keep(), name=f"keeps the {self.name}")

    async def _keep(self) -> None:
        pause = PAUSES[0]
        while True:
            began = time.monotonic()
            code = await self._process.wait() if self._process else None
            pause = PAUSES[0] if time.monotonic() - began > SETTLED else pause
            log.error("the %s ended with status %s; starting it again", self.name, code)
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSES[1])
            try:
                await self.start()
            except (CannotStart, OSError) as error:
                log.error("%s", error)

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, patience: float) -> None:
        """End it in order, and by force after `patience` seconds. It stays ended."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            log.warning("the %s did not end in %.0f s and is killed", self.name, patience)
            await _killed(self._process)


async def _killed(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _first_words(descriptor: int) -> str:
    """What the child says before it closes its end of the pipe; "" when that is nothing, or comes too late."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    try:
        async with asyncio.timeout(START):
            return (await reader.read(_WORDS)).decode(errors="replace")
    except TimeoutError:
        return ""
    finally:
        transport.close()
