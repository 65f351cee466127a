"""``tlsidecar admin-pipe`` in a process of its own: bytes both ways, both ends, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from unit.cli.conftest import COMMAND_S, Served, tlsidecar_process

GET = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENTS = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


@contextmanager
def piped(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command on a socket, with its three streams in our hands."""
    command = [sys.executable, "-m", "tlsidecar", "admin-pipe", "--socket", str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(stream: IO[bytes], end: bytes) -> bytes:
    told = b""
    while end not in told:
        octets = os.read(stream.fileno(), 65536)
        assert octets, told
        told += octets
    return told


def read_answer(stream: IO[bytes]) -> bytes:
    """One whole answer; its body."""
    head, _, body = read_until(stream, b"\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    length = next(int(line.split()[1]) for line in head.splitlines() if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += os.read(stream.fileno(), length - len(body))
    return body


def test_calls_on_one_connection_and_the_end_of_input_is_passed_on(served: Served) -> None:
    with piped(served.socket) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(2):
            process.stdin.write(GET)
            assert json.loads(read_answer(process.stdout))["version"]
        process.stdin.write(GET)
        process.stdin.close()
        last = process.stdout.read()
        assert json.loads(last.partition(b"\r\n\r\n")[2])["version"]
        assert process.wait(COMMAND_S) == 0
        assert process.stderr.read() == b""


def test_input_may_be_a_file(served: Served, tmp_path: Path) -> None:
    request = tmp_path / "request"
    request.write_bytes(GET)
    with request.open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "tlsidecar", "admin-pipe", "--socket", str(served.socket)],
            stdin=stdin,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"HTTP/1.1 200 ")


def test_a_stream_ends_with_its_reader(served: Served) -> None:
    """Nothing is left behind in a container when the console is gone."""
    with piped(served.socket) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(EVENTS)
        read_until(process.stdout, b"\r\n\r\n")
        process.stdin.close()
        assert process.wait(COMMAND_S) == 0


def test_a_reader_that_left_is_no_failure(served: Served) -> None:
    with piped(served.socket) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(GET)
        assert process.wait(COMMAND_S) == 0
        assert process.stderr.read() == b""


def test_a_sidecar_that_leaves(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(COMMAND_S)
        with piped(path) as process:
            peer, _ = listener.accept()
            assert process.stdin is not None
            process.stdin.write(b"x" * 10)
            assert peer.recv(1) == b"x"
            peer.close()  # with bytes unread: the kernel resets
            assert process.stderr is not None
            assert process.wait(COMMAND_S) == 1
            assert process.stderr.read().count(b"\n") == 1
        with piped(path) as process:
            peer, _ = listener.accept()
            peer.sendall(b"all")
            peer.close()
            assert process.stdout is not None
            assert process.stdout.read() == b"all"
            assert process.wait(COMMAND_S) == 0


def test_what_is_large_and_read_slowly_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    there, back = os.urandom(1 << 17), os.urandom(3 << 20)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(COMMAND_S)
        with piped(path) as process:
            peer, _ = listener.accept()
            with peer:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(there)
                process.stdin.close()
                got = b""
                while octets := peer.recv(1 << 16):
                    got += octets
                assert got == there
                peer.settimeout(COMMAND_S)
                reader = subprocess.Popen(["wc", "-c"], stdin=process.stdout, stdout=subprocess.PIPE)
                peer.sendall(back)
            out, _ = reader.communicate(timeout=COMMAND_S)
            assert int(out) == len(back)
            assert process.wait(COMMAND_S) == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_stream_that_is_closed(served: Served, closed: str) -> None:
    """The socket must not take the number of a stream."""
    line = f'exec "{sys.executable}" -m tlsidecar admin-pipe --socket "{served.socket}" {closed}'
    done = subprocess.run(["sh", "-c", line], input=GET, capture_output=True, timeout=COMMAND_S, check=False)
    said = {"<&-": (0, b""), ">&-": (1, b"Error: standard output: Bad file descriptor\n"), "2>&-": (0, b"")}
    assert (done.returncode, done.stderr) == said[closed]


def test_nobody_there_is_3_and_one_line(tmp_path: Path) -> None:
    done = tlsidecar_process("admin-pipe", "--socket", tmp_path / "admin.sock")
    assert (done.code, done.out) == (3, "")
    assert done.err == f"Error: no socket at {tmp_path / 'admin.sock'}: is tlsidecar running?\n"
