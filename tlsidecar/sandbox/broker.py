"""The broker: a process outside the sandbox that does for the one inside what the configuration asks for by now.

A sandbox cannot be widened, and a configuration changes: an upstream gets another port, material another directory, a
directory is replaced as a whole. And the program that issues certificates (``identity.command``) needs what only it
knows. So before the sandbox is entered one process is started that can do three things, each as the configuration says
that the broker itself reads:

    open     a file to be read, in the directories that material is in
    connect  a TCP socket, to a port of an upstream
    run      the program that issues

Whoever takes over a process in the sandbox can ask for nothing else, and cannot change the configuration. Each question
is one message with its descriptors: first a socket for the answer, then what it is about. Here is the side that asks;
:mod:`.broker_main` answers.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsidecar.config import Recipe
from tlsidecar.sandbox.broker_main import fingerprint
from tlsidecar.sandbox.needs import material_of
from tlsidecar.settings import Settings

if TYPE_CHECKING:
    from certs.program import Program, Ran

MESSAGE_BYTES = 65536
ANSWER_S = 5.0  # opening and connecting do not wait; the machine may be busy
END_S = 1.0
_GRACE_S = 3.0


class Broker:
    """The side in the sandbox. Its methods may be called on any thread, and in any process that has its socket."""

    def __init__(self, sock: socket.socket, pid: int = 0) -> None:
        self._socket = sock
        self._pid = pid
        self._unanswered: socket.socket | None = None  # where the answer about a connection will come, if it comes

    def __repr__(self) -> str:
        return f"<Broker pid={self._pid} fd {self._socket.fileno()}>"

    @classmethod
    def start(cls, settings: Settings, recipe: Recipe) -> Broker:
        """Start it: before the sandbox is entered. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = [
                sys.executable,
                "-PS",  # what there is to import stands in PYTHONPATH
                "-m",
                "tlsidecar.sandbox.broker_main",
                json.dumps(_told(settings, recipe)),
            ]
            pid = os.posix_spawn(
                sys.executable,
                arguments,
                {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), (os.POSIX_SPAWN_DUP2, 2, 1)],
                setsigmask=signal.valid_signals(),  # until it ignores what is not for it
            )
        return cls(ours, pid)

    @classmethod
    def inherited(cls, descriptor: int) -> Broker:
        """That of the process that we were forked from."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        return self._socket.fileno()

    def open(self, name: str | Path, flags: int, dir_fd: int | None) -> int:
        """As os.open(2), to read. Raises OSError."""
        question: dict[str, object] = {"ask": "open", "name": os.fspath(name), "flags": flags}
        with self._ask(question, [] if dir_fd is None else [dir_fd]) as answers:
            answers.settimeout(ANSWER_S)
            data, descriptors, _, _ = socket.recv_fds(answers, MESSAGE_BYTES, 1)
        if not descriptors:
            number = int(data or errno.EACCES)
            raise OSError(number, os.strerror(number), os.fspath(name))
        return descriptors[0]

    def connect(self, sock: socket.socket, address: Any) -> int:
        """As connect_ex of a socket that does not block: an errno, 0 when it is connected. For the loop's thread, which
        a broker that is stopped holds up once, and not at each connection."""
        if self._is_silent():
            return errno.EACCES
        question: dict[str, object] = {"ask": "connect", "address": list(address)}
        try:
            answers = self._ask(question, [sock.fileno()], socket.MSG_DONTWAIT)
        except OSError:
            return errno.EACCES
        try:
            answers.settimeout(ANSWER_S)
            number = int(answers.recv(MESSAGE_BYTES) or errno.EACCES)
        except TimeoutError:
            self._unanswered = answers
            return errno.EACCES
        except (OSError, ValueError):
            number = errno.EACCES
        answers.close()
        return number

    def _is_silent(self) -> bool:
        """Whether a connection that was asked for too long ago has still no answer."""
        answers = self._unanswered
        if answers is None:
            return False
        answers.setblocking(False)
        try:
            answers.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            pass
        answers.close()
        self._unanswered = None
        return False

    def run(self, program: Program) -> Ran:
        """Run it to its end. Raises OSError when there is nobody to do it."""
        from certs.program import Ran  # which a configuration without such a program does without

        with self._ask({"ask": "run", "program": asdict(program)}, []) as answers:
            deadline = time.monotonic() + program.deadline_s + _GRACE_S
            pieces = bytearray()
            while True:
                answers.settimeout(max(0.01, deadline - time.monotonic()))
                piece = answers.recv(MESSAGE_BYTES)
                if not piece:
                    break
                pieces += piece
        if not pieces:
            raise OSError(errno.EACCES, "the broker does not run it: it is not what the configuration names")
        head, _, rest = bytes(pieces).partition(b"\n")
        facts = json.loads(head)
        length = facts.pop("output")
        return Ran(output=rest[:length], errors=rest[length:], **facts)

    def close(self) -> None:
        """Let it go; it ends, unless workers that are left behind still need it."""
        self._socket.close()
        if self._unanswered is not None:
            self._unanswered.close()
        if not self._pid:
            return
        deadline = time.monotonic() + END_S
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.005)

    def _ask(self, question: dict[str, object], descriptors: list[int], flags: int = 0) -> socket.socket:
        """The socket for the answer. Raises OSError when the broker is gone."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                socket.send_fds(self._socket, [json.dumps(question).encode()], [theirs.fileno(), *descriptors], flags)
            except OSError as error:
                ours.close()
                gone = "the sandbox's broker is gone, and comes back with a restart"
                raise OSError(error.errno, gone) from None
        return ours


def _told(settings: Settings, recipe: Recipe) -> dict[str, object]:
    """What holds at the start, and where to read what holds later; nothing secret. See :class:`.broker_main.Grants`."""
    return {
        "file": None if settings.config_file is None else str(settings.config_file.absolute()),
        "config": None if recipe.config_file is None else str(recipe.config_file),
        "flags": dict(recipe.flags),
        "material": [str(path.absolute()) for each in settings.identities for _, path in material_of(each)],
        "seen": fingerprint(settings.config_file),
        "python_path": os.environ.get("PYTHONPATH"),
        "programs": [[each.command, each.command_env] for each in settings.identities if each.command],
    }
