"""The controller's end of the fork server: workers are born here, and how they ended is heard of here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from tlsidecar.settings import Protocol, Settings
from tlsidecar.workers.fork_server_main import MAX_DESCRIPTORS

# Importing everything takes 0.3 s on an idle core; a machine that boots is not idle.
FORK_WITHIN_S = 20.0

# How long after a worker's end the fork server may take to report it.
TELL_WITHIN_S = 0.2

_log = logging.getLogger("tlsidecar.workers")


class ForkServerError(Exception):
    """No worker could be forked; the text says why."""


class ForkServer:
    """Runs the fork server, and starts another one when it is lost: workers live on without it."""

    def __init__(self, settings: Settings, broker: int = -1) -> None:
        """``broker`` is the descriptor by which a sandbox's broker is asked, where there is one."""
        self._broker = broker
        self._modules = _modules_for(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._forked: asyncio.Future[int] | None = None
        self._turn = asyncio.Lock()
        self._endings: dict[int, int] = {}
        self._heard_of_an_end = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ForkServer pid={self._process.pid if self._process else 0}>"

    def start(self) -> None:
        """Start the fork server; it need not be ready yet when the first worker is asked for."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = [
            sys.executable,
            "-P",
            "-m",
            "tlsidecar.workers.fork_server_main",
            str(theirs.fileno()),
            str(self._broker),
            *self._modules,
        ]
        passed = [number for number in (theirs.fileno(), self._broker) if number >= 0]
        # It finds its modules where we found ours. The signals that it will ignore wait until it does.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                arguments, stdin=subprocess.DEVNULL, pass_fds=passed, env=environment
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            theirs.close()
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._heard)

    async def fork(self, number: int, descriptors: Sequence[int]) -> int:
        """A new worker with these descriptors; its process id. Raises :class:`ForkServerError`."""
        if len(descriptors) > MAX_DESCRIPTORS:
            raise ForkServerError(
                f"{len(descriptors)} descriptors for one worker; {MAX_DESCRIPTORS} can be handed over"
            )
        async with self._turn:
            if self._socket is None:
                self.start()
            assert self._socket is not None
            self._forked = asyncio.get_running_loop().create_future()
            try:
                socket.send_fds(self._socket, [b"fork %d" % number], list(descriptors))
                async with asyncio.timeout(FORK_WITHIN_S):
                    return await self._forked
            except (OSError, TimeoutError) as error:
                self._lost()
                raise ForkServerError(f"the fork server does not answer: {error or type(error).__name__}") from None
            finally:
                self._forked = None

    async def ending(self, pid: int) -> str:
        """How a worker ended, in words; empty when nobody tells. Its socket's end is heard of a moment earlier."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_WITHIN_S):
                while pid not in self._endings and self._socket is not None:
                    self._heard_of_an_end.clear()
                    await self._heard_of_an_end.wait()
        status = self._endings.pop(pid, None)
        if status is None:
            _reap(pid)
            return ""
        if os.WIFSIGNALED(status):
            return f"ended by {_signal_name(os.WTERMSIG(status))}"
        return f"ended with {os.waitstatus_to_exitcode(status)}"

    def close(self) -> None:
        """End the fork server; workers do not notice."""
        process, self._process = self._process, None
        self._forget_socket()
        if process is not None:
            process.kill()
            process.wait()

    def _heard(self) -> None:
        assert self._socket is not None
        try:
            message = self._socket.recv(256)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lost()
            return
        what, one, other = message.split()
        if what == b"ended":
            self._endings[int(one)] = int(other)
            self._heard_of_an_end.set()
        elif self._forked is not None and not self._forked.done():
            if what == b"failed":
                self._forked.set_exception(ForkServerError(f"it cannot be forked: {os.strerror(int(other))}"))
            else:
                self._forked.set_result(int(other))

    def _lost(self) -> None:
        if self._socket is None:
            return
        _log.error("the fork server is gone: the next worker starts another one")
        self.close()
        if self._forked is not None and not self._forked.done():
            self._forked.set_exception(ForkServerError("the fork server ended"))

    def _forget_socket(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None


def _modules_for(settings: Settings) -> list[str]:
    modules = []
    if any(listener.protocol is Protocol.HTTP for listener in settings.listeners):
        modules += ["tlsidecar.dataplane.http1.connection", "tlsidecar.dataplane.http.services"]
    if settings.event_loop == "uvloop":
        modules.append("uvloop")
    return modules


def _reap(pid: int) -> None:
    """Its fork server was lost first: then it may be our own child, in a container whose first process we are."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
