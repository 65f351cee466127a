"""The user's own programs that carry the admin protocol: started a few at once, ended with the console.

Each gets one end of a socket pair as its stdin and stdout, so that it sees the end of the console however that comes,
and a session of its own: no terminal to ask for a password on, and one signal ends all that it started. What it writes
to stderr stays in the kernel's pipe until it is wanted; who writes more than that holds has to wait.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import PurePath

from tlsidecar.api.errors import Unreachable, os_error
from tui.reach.channel import Channel
from tui.text import EMPTY, SafeText, safe_text

STARTED_AT_ONCE = 8
"""Programs that have been started and have not brought a byte yet. A hundred logins at one moment are an attack."""

_LAST_WORDS_S = 0.5
_TERM_S = 2.0
_STDERR_BYTES = 64 * 1024
_SAID_CHARACTERS = 200
_OUTPUT_BYTES = 8 * 1024 * 1024

# What the programs in between say about a command that failed: the line before is the command's own.
_SAID_OF_OTHERS = ("command terminated with exit code", "Connection to ", "Shared connection to ")


class Processes:
    """All that were started and have not ended. :meth:`close` belongs to whoever owns it."""

    def __init__(self, at_once: int = STARTED_AT_ONCE) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._running: set[Process] = set()

    def __repr__(self) -> str:
        return f"<Processes {len(self._running)} running>"

    @property
    def count(self) -> int:
        """How many run."""
        return len(self._running)

    async def output(self, command: Sequence[str], timeout_s: float) -> bytes:
        """All that ``command`` prints. Raises Unreachable when it cannot be run, fails, takes longer or never stops."""
        channel = await self.channel(command)
        printed = b""
        try:
            async with asyncio.timeout(timeout_s):
                while octets := await channel.receive():
                    printed += octets
                    if len(printed) > _OUTPUT_BYTES:
                        raise Unreachable(SafeText(f"{channel.program}: printed more than {_OUTPUT_BYTES >> 20} MiB"))
                await channel.process.ended.wait()
            if channel.process.has_failed:
                raise Unreachable(await channel.why())
        except TimeoutError:
            why = await channel.why()
            raise Unreachable(SafeText(f"{why or channel.program}: no answer within {timeout_s:g} s")) from None
        except OSError as error:
            raise Unreachable(SafeText(f"{channel.program}: {os_error(error)}")) from None
        finally:
            channel.close()
        return printed

    async def channel(self, command: Sequence[str]) -> ProcessChannel:
        """The stdin and stdout of ``command``, which is looked for on PATH and run when its turn comes. Raises
        Unreachable."""
        slot = _Slot(self._slots)
        await slot.take()
        with ExitStack() as undo:
            undo.callback(slot.leave)
            try:
                process = Process(command, self._running)
                undo.callback(process.close)
                undo.callback(process.socket.close)
                reader, writer = await asyncio.open_unix_connection(sock=process.socket)
            except OSError as error:
                raise Unreachable(_not_started(command[0], error)) from None
            undo.pop_all()
        return ProcessChannel(reader, writer, process, slot)

    async def close(self) -> None:
        """End them all, and wait until they have."""
        for process in list(self._running):
            process.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_TERM_S):
                await self._ended()
        self.kill()
        await self._ended()

    async def _ended(self) -> None:
        while self._running:
            await next(iter(self._running)).ended.wait()

    def kill(self) -> None:
        """End them all at once, whether anybody waits or not."""
        for process in list(self._running):
            process.signal(signal.SIGKILL)


class _Slot:
    """One of the places for programs that have not brought a byte yet."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._is_taken = False

    async def take(self) -> None:
        await self._slots.acquire()
        self._is_taken = True

    def leave(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._slots.release()


class Process:
    """One of them. Raises OSError when it cannot be run."""

    def __init__(self, command: Sequence[str], running: set[Process]) -> None:
        self.program = safe_text(PurePath(command[0]).name, 32)
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._running = running
        self._stderr = b""
        with ExitStack() as theirs, ExitStack() as undo:
            self.socket, their_socket = socket.socketpair()
            undo.callback(self.socket.close)
            theirs.callback(their_socket.close)
            self._errors, their_errors = os.pipe()
            undo.callback(os.close, self._errors)
            theirs.callback(os.close, their_errors)
            os.set_blocking(self._errors, False)
            self._process = subprocess.Popen(  # noqa: S603 - what the user named; no shell
                list(command),
                stdin=their_socket.fileno(),
                stdout=their_socket.fileno(),
                stderr=their_errors,
                start_new_session=True,
            )
            self._watch = self._watched()
            undo.pop_all()
        running.add(self)
        self._loop.add_reader(self._watch, self._has_ended)

    def __repr__(self) -> str:
        state = "ended" if self.ended.is_set() else "running"
        return f"<Process {self.program} pid {self._process.pid}, {state}>"

    def _watched(self) -> int:
        """A descriptor that is readable once it has ended."""
        try:
            return os.pidfd_open(self._process.pid)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    def close(self) -> None:
        """Ask it to end; it is made to when it does not."""
        if not self.ended.is_set():
            self.signal(signal.SIGTERM)
            self._loop.call_later(_TERM_S, self.signal, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """To it and to all that it started, unless it has ended: its number may be somebody else's then."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _has_ended(self) -> None:
        """It is still a zombie, and its group its own until it is reaped."""
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        self.signal(signal.SIGTERM)
        self._process.wait()
        self._read_errors()
        os.close(self._errors)
        self.ended.set()
        self._running.discard(self)

    def _read_errors(self) -> None:
        with suppress(BlockingIOError):
            while len(self._stderr) < _STDERR_BYTES and (octets := os.read(self._errors, _STDERR_BYTES)):
                self._stderr += octets

    @property
    def said(self) -> SafeText:
        """The last line of its stderr; empty when there is none."""
        if not self.ended.is_set():
            self._read_errors()
        lines = [line.strip() for line in self._stderr.decode(errors="replace").splitlines()]
        said = [line for line in lines if line and not line.startswith(_SAID_OF_OTHERS)]
        return safe_text(said[-1].removeprefix("Error: "), _SAID_CHARACTERS) if said else EMPTY

    @property
    def has_failed(self) -> bool:
        return self._process.returncode not in (None, 0)

    @property
    def end(self) -> SafeText:
        """How it ended; empty while it runs."""
        code = self._process.returncode
        if code is None:
            return EMPTY
        return SafeText(f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}, saying nothing")


class ProcessChannel(Channel):
    """A process' stdin and stdout."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, process: Process, slot: _Slot
    ) -> None:
        super().__init__(reader, writer)
        self.process = process
        self._slot = slot

    @property
    def program(self) -> SafeText:
        return self.process.program

    async def receive(self) -> bytes:
        octets = await super().receive()
        self._slot.leave()
        return octets

    async def why(self) -> SafeText:
        """What it said last, or, when it has not said anything, how it ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self.process.ended.wait()
        program, said = self.program, self.process.said
        if said.startswith(f"{program}: "):
            return said
        if said:
            return SafeText(f"{program}: {said}")
        return SafeText(f"{program} {self.process.end}") if self.process.end else EMPTY

    def close(self) -> None:
        self._slot.leave()
        super().close()
        self.process.close()


def _not_started(program: str, error: OSError) -> SafeText:
    shown = safe_text(program, 64)
    match error:
        case FileNotFoundError():
            return SafeText(f"{shown}: no such program on PATH")
        case _:
            return SafeText(f"{shown}: cannot be run: {safe_text(error.strerror or str(error), 80)}")
