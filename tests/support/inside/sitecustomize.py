"""What somebody could do who has taken over a process of the sidecar: tried in the process itself, when it gets SIGNAL.

Python imports this at its start where PYTHONPATH says so. Which things are tried stands in the environment (PROBE, as
JSON); how each went is written to standard error, as a line that begins with REPORT.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Callable

SIGNAL = signal.SIGRTMIN + 2
REPORT = "PROBE "


def _connect(kind: int, address: object) -> None:
    with socket.socket(kind, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(address)


def _bind(port: int) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))


def _run(program: str) -> None:
    os.waitpid(os.posix_spawn(program, [program], {}), 0)


def _ask_to_open(path: str) -> None:
    from certs import safe_files

    assert safe_files._opener is not None, "there is no broker"
    os.close(safe_files._opener(path, os.O_RDONLY, None))


def _ask_to_connect(port: int) -> None:
    from certs import safe_files

    broker = safe_files._opener.__self__
    with socket.socket() as sock:
        sock.setblocking(False)
        number = broker.connect(sock, ("127.0.0.1", port))
    if number not in (0, errno.EINPROGRESS):
        raise OSError(number, os.strerror(number))


def _ask_to_run(program: str) -> None:
    from certs import safe_files
    from certs.program import Program

    safe_files._opener.__self__.run(Program((program,), program, (), 5.0))


TRIES: dict[str, Callable[..., object]] = {
    "read": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "list": os.listdir,
    "write": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)),
    "append": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_APPEND)),
    "remove": os.unlink,
    "truncate": lambda path: os.truncate(path, 0),
    "bind": _bind,
    "connect": lambda port: _connect(socket.AF_INET, ("127.0.0.1", port)),
    "connect_abstract": lambda name: _connect(socket.AF_UNIX, "\0" + name),
    "signal": lambda pid: os.kill(pid, 0),
    "run": _run,
    "ask_to_open": _ask_to_open,
    "ask_to_connect": _ask_to_connect,
    "ask_to_run": _ask_to_run,
}


def _probe() -> None:
    found = []
    for what, argument in json.loads(os.environ["PROBE"]):
        try:
            TRIES[what](argument)
        except OSError as error:
            found.append([what, argument, errno.errorcode.get(error.errno or 0, str(error))])
        except (AssertionError, AttributeError):
            found.append([what, argument, "no broker here"])
        else:
            found.append([what, argument, "done"])
    os.write(2, f"{REPORT}{json.dumps([os.getpid(), found])}\n".encode())


if "PROBE" in os.environ:
    signal.signal(SIGNAL, lambda *_: _probe())
