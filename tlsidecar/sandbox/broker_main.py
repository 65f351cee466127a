"""The broker's own process: see :mod:`.broker`. It has no keys, no listening socket and no connection, and ends when
the last process that could ask has ended.

An interpreter of its own, and a bare one: a fork of the sidecar would keep 12 MB of it alive, this needs less than half
(docs/decisions.md). So it goes without pathlib and typing, which nobody else here wants; the configuration is read only
once it has changed, by a process that ends then.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

from tlsidecar.process import give_back_memory, keep_memory_private, name_process
from tlsidecar.sandbox.places import directories_of, is_below

TYPE_CHECKING = False  # as mypy knows it, without importing typing
if TYPE_CHECKING:
    from typing import Any

_MESSAGE_BYTES = 65536
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW | os.O_DIRECTORY


def main(told: Mapping[str, Any]) -> None:
    """Answer what comes at standard input, until nobody is left to ask."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody collects those that run programs
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    del os.environ["PYTHONPATH"]  # which only we needed
    if told["python_path"] is not None:
        os.environ["PYTHONPATH"] = told["python_path"]
    keep_memory_private()
    name_process("sidecar-broker")
    sock = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    grants = Grants(told)
    give_back_memory()
    serve(sock, grants)


def serve(sock: socket.socket, grants: Grants) -> None:
    """Answer until the other side is closed."""
    while True:
        question, descriptors, _, _ = socket.recv_fds(sock, _MESSAGE_BYTES, 2)
        if not question:
            return
        try:
            if descriptors:
                with socket.socket(fileno=descriptors.pop(0)) as answers:
                    _answer(json.loads(question), descriptors, answers, grants)
        except Exception:  # noqa: S112 - whoever asks so gets no answer, and must not end it for the others
            continue
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def fingerprint(file: str | os.PathLike[str] | None) -> tuple[int, ...]:
    """Another one when the file has changed."""
    if file is None:
        return ()
    try:
        status = os.stat(file)
    except OSError as error:
        return (error.errno or 0,)
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Grants:
    """What the configuration names: as it was at the start, and in every valid form that it had when something was
    asked for. One of them is in force."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """``told`` is what the sidecar says as it starts us (:mod:`.broker`)."""
        self._told = told
        self._file: str | None = told["file"]
        self._seen: Sequence[int] = tuple(told["seen"])
        self._material: set[str] = set(told["material"])
        self._ports: set[int] = set()
        self._programs = {_of_program(argv, variables) for argv, variables in told["programs"]}

    def may_read(self, path: str) -> bool:
        """Where links lead by now."""
        self._look()
        return any(is_below(path, directories_of(file)) for file in self._material)

    def may_connect(self, port: int) -> bool:
        self._look()
        return port in self._ports

    def may_run(self, argv: list[str], variables: list[str]) -> bool:
        self._look()
        return _of_program(argv, variables) in self._programs

    def _look(self) -> None:
        found = fingerprint(self._file)
        if found == self._seen:
            return
        self._seen = found
        named = _named(self._told)
        self._material |= set(named["material"])
        self._ports |= set(named["ports"])
        self._programs |= {_of_program(argv, variables) for argv, variables in named["programs"]}


def _named(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration names now, nothing when it is not valid: found out by a process of its own, for what reads
    a configuration is three times as large as we are."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.close(reading)
            with open(writing, "w") as answer:
                json.dump(_read(told), answer)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        text = answer.read()
    return json.loads(text) if text else {"material": [], "ports": [], "programs": []}


def _read(told: Mapping[str, Any]) -> dict[str, Any]:
    """Raises ConfigError."""
    from pathlib import Path

    from tlsidecar.config import load
    from tlsidecar.sandbox.needs import material_of, needs_of

    config = told["config"]
    settings = load(None if config is None else Path(config), told["flags"], os.environ)
    return {
        "material": [str(path) for each in settings.identities for _, path in material_of(each)],
        "ports": sorted(needs_of(settings).connect),
        "programs": [[each.command, each.command_env] for each in settings.identities if each.command],
    }


def _of_program(argv: Any, variables: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(argv), tuple(variables)


def _answer(question: dict[str, Any], descriptors: list[int], answers: socket.socket, grants: Grants) -> None:
    match question["ask"]:
        case "open":
            _open(question["name"], question["flags"], descriptors, answers, grants)
        case "connect":
            address = tuple(question["address"])
            number = errno.EACCES
            if grants.may_connect(address[1]):
                with socket.socket(fileno=os.dup(descriptors[0])) as connecting:
                    number = connecting.connect_ex(address)
            answers.send(b"%d" % number)
        case "run":
            program = question["program"]
            if grants.may_run(program["argv"], program["variables"]) and os.fork() == 0:
                _run(program, answers)


def _open(name: str, flags: int, descriptors: list[int], answers: socket.socket, grants: Grants) -> None:
    """What was opened is judged, not its name: a link may lead anywhere."""
    try:
        opened = os.open(name, flags & _READING, dir_fd=descriptors[0] if descriptors else None)
    except OSError as error:
        answers.send(b"%d" % (error.errno or errno.EACCES))
        return
    try:
        if grants.may_read(os.readlink(f"/proc/self/fd/{opened}")):
            socket.send_fds(answers, [b"0"], [opened])
        else:
            answers.send(b"%d" % errno.EACCES)
    finally:
        os.close(opened)


def _run(asked: dict[str, Any], answers: socket.socket) -> None:
    """In a process of its own, so that it keeps nobody waiting. Never returns."""
    try:
        from certs.program import Program, run_program

        for number in (*_IGNORED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        ran = run_program(Program(**{**asked, "argv": tuple(asked["argv"]), "variables": tuple(asked["variables"])}))
        facts = {"code": ran.code, "is_late": ran.is_late, "is_too_long": ran.is_too_long, "failure": ran.failure}
        head = json.dumps({**facts, "output": len(ran.output)}).encode()
        answers.sendall(head + b"\n" + ran.output + ran.errors)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
