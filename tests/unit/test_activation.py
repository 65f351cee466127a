"""Sockets that somebody else has opened: which are ours, and what is said of the others."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlsidecar.activation import FIRST_DESCRIPTOR, Handed
from tlsidecar.settings import Address, ListenerSettings, Mode


def listener(name: str, listen: Address) -> ListenerSettings:
    return ListenerSettings(name, Mode.TERMINATE, listen, (Address("127.0.0.1", 1),))


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def handed(*descriptors: tuple[str, int]) -> Handed:
    """As the environment would tell it, whose descriptors begin at 3: these are of this test."""
    return Handed([(name, os.dup(descriptor)) for name, descriptor in descriptors])


def address_of(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def test_the_environment_is_read_once_and_taken_out() -> None:
    environ = {"LISTEN_FDS": "3", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "web:admin", "HOME": "/"}
    found = Handed.from_environment(environ)
    assert found.descriptors == [
        ("web", FIRST_DESCRIPTOR),
        ("admin", FIRST_DESCRIPTOR + 1),
        ("", FIRST_DESCRIPTOR + 2),
    ]
    assert (found.complaints, environ) == ([], {"HOME": "/"})


@pytest.mark.parametrize(
    ("variables", "complains"),
    [
        ({}, False),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "1"}, False),  # meant for somebody before us
        ({"LISTEN_FDS": "2"}, True),
        ({"LISTEN_FDS": "-1", "LISTEN_PID": str(os.getpid())}, True),
        ({"LISTEN_FDS": "1025", "LISTEN_PID": str(os.getpid())}, True),
        ({"LISTEN_FDS": "two", "LISTEN_PID": str(os.getpid())}, True),
    ],
)
def test_what_is_not_for_us_is_left(variables: dict[str, str], complains: bool) -> None:
    found = Handed.from_environment(dict(variables))
    assert found.descriptors == []
    assert bool(found.complaints) is complains


def test_a_name_decides_and_else_the_address(listening: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listeners = [listener("web", Address("127.0.0.1", 1)), listener("raw", address_of(other))]
        found = handed(("web", listening.fileno()), ("", other.fileno()))
        sockets = found.sockets(listeners)
        got = {name: [sock.getsockname() for sock in each] for name, each in sockets.items()}
        assert got == {"web": [listening.getsockname()], "raw": [other.getsockname()]}
        assert all(not sock.get_inheritable() and not sock.getblocking() for each in sockets.values() for sock in each)
        assert (found.complaints, found.descriptors) == ([], [])
        for sock in (*sockets["web"], *sockets["raw"]):
            sock.close()


def test_a_unix_socket_is_known_by_its_path(tmp_path: Path) -> None:
    path = str(tmp_path / "web.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        (taken,) = handed(("", sock.fileno())).sockets([listener("web", Address(path=path))])["web"]
        taken.close()


def test_one_of_no_listener_is_closed_and_named(listening: socket.socket) -> None:
    found = handed(("stale", listening.fileno()))
    descriptor = found.descriptors[0][1]
    assert found.sockets([listener("web", Address("127.0.0.1", 1))]) == {}
    assert found.complaints == [
        f"descriptor {descriptor} ('stale'), handed over to listen on, is of no listener: closed"
    ]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_cannot_listen_is_named_and_left_alone(tmp_path: Path) -> None:
    connected, other = socket.socketpair()
    with connected, other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        with open(tmp_path / "file", "w") as file:
            found = handed(("a", file.fileno()), ("b", connected.fileno()), ("c", datagrams.fileno()))
            ours = [descriptor for _, descriptor in found.descriptors]
            closed = os.dup(file.fileno())
            os.close(closed)
            found.descriptors.append(("d", closed))
            assert found.sockets([listener("web", Address("127.0.0.1", 1))]) == {}
        assert [complaint.partition("listen on, ")[2] for complaint in found.complaints] == [
            "is no socket: it is not used",
            "does not listen: it is not used",
            "is no stream socket: it is not used",
            "is not open: it is not used",
        ]
        for descriptor in ours:
            os.close(descriptor)  # still open: they are somebody's
