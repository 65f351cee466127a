"""Listening sockets are had all or none, with or without IPv6, and an error says where to look."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from tlsidecar.dataplane import bind
from tlsidecar.settings import Address, ListenerSettings, Mode


def listener(host: str, port: int = 0) -> ListenerSettings:
    return ListenerSettings("web", Mode.TERMINATE, Address(host=host, port=port), (Address(host="127.0.0.1", port=1),))


def bound_to(host: str, port: int = 0) -> str:
    bound = bind.bind_all([listener(host, port)])
    try:
        return bind.bound_address(bound["web"])
    finally:
        bind.close_all(bound)


@pytest.fixture(params=[errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def _no_ipv6(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel built without IPv6 has no such sockets; with disable_ipv6 set it has them, and no address for them."""
    number = request.param

    class Socket(socket.socket):
        def __init__(self, family: int = socket.AF_INET, *arguments: Any, **named: Any) -> None:
            if family == socket.AF_INET6 and number == errno.EAFNOSUPPORT:
                raise OSError(number, "Address family not supported by protocol")
            super().__init__(family, *arguments, **named)

        def bind(self, name: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(number, "Cannot assign requested address")
            super().bind(name)

    monkeypatch.setattr(bind.socket, "socket", Socket)


def both(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]


@pytest.mark.usefixtures("_no_ipv6")
def test_a_name_with_both_kinds_is_had_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind.socket, "getaddrinfo", both)
    assert bound_to("localhost").startswith("127.0.0.1:")


@pytest.mark.usefixtures("_no_ipv6")
def test_ipv6_alone_is_said_to_be_missing() -> None:
    with pytest.raises(bind.BindError, match=r"listener web: .*\[::\]:0: .*its key is listen; .*no IPv6.*0\.0\.0\.0"):
        bound_to("::")


def test_both_kinds_of_a_name_have_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind.socket, "getaddrinfo", both)
    first, second = bound_to("localhost").split(", ")
    assert first.rpartition(":")[2] == second.rpartition(":")[2]


def test_a_port_in_use_leaves_nothing_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(bind.BindError, match=f"127.0.0.1:{port}: Address already in use"):
            bound_to("127.0.0.1", port)
