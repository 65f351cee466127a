"""Binding the listening sockets, all or none, before anything else is started."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tlsidecar.dataplane.addresses import ready_to_look_up
from tlsidecar.settings import Address, ListenerSettings

BACKLOG = 4096

# What a machine without IPv6, or with it switched off, says to an IPv6 address.
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class BindError(Exception):
    """A listening address cannot be had; the text names the listener, the address and why."""


class HeldSocket(socket.socket):
    """A listening socket that somebody else holds, too, and may hand to the next: our copy may be closed, no more.

    Without slots of its own, so that a socket may become one, and cease to be one (``__class__``)."""

    __slots__ = ()


def held(sockets: Iterable[socket.socket]) -> list[socket.socket]:
    """The same, as sockets that somebody else holds from now on; Unix sockets stay as they are, for they are bound anew
    by their path."""
    return [sock if sock.family == socket.AF_UNIX else HeldSocket(fileno=sock.detach()) for sock in sockets]


def bind_all(
    listeners: Iterable[ListenerSettings], handed: Mapping[str, list[socket.socket]] | None = None
) -> dict[str, list[socket.socket]]:
    """The listening sockets of each listener by its name: those that were handed over, else bound here. Raises
    :class:`BindError`, with nothing left bound."""
    bound: dict[str, list[socket.socket]] = dict(handed or {})
    try:
        for listener in listeners:
            if listener.name not in bound:
                bound[listener.name] = _bind(listener)
    except BindError:
        close_all(bound)
        raise
    return bound


class Rebinding:
    """The same addresses once more, after listening has ended. A port that was chosen for us is asked for again; where
    it cannot be had (the sandbox knows only that it was any), another one is chosen."""

    def __init__(self, bound: dict[str, list[socket.socket]]) -> None:
        """``bound`` holds what is listened on; what is bound anew takes its place there."""
        self._bound = bound
        self._ports = {name: _port(sockets) for name, sockets in bound.items()}
        self._held = [name for name, sockets in bound.items() if any(isinstance(each, HeldSocket) for each in sockets)]

    def __call__(self, listeners: Iterable[ListenerSettings]) -> dict[str, list[socket.socket]]:
        """Raises :class:`BindError`, with nothing left bound."""
        if self._held:
            raise BindError(f"the sockets of {', '.join(self._held)} are the service manager's: restart the sidecar")
        fresh: dict[str, list[socket.socket]] = {}
        try:
            for listener in listeners:
                fresh |= self._bind(listener)
        except BindError:
            close_all(fresh)
            raise
        self._bound.update(fresh)
        return fresh

    def _bind(self, listener: ListenerSettings) -> dict[str, list[socket.socket]]:
        address = listener.listen
        if not address.is_unix and not address.port:
            as_before = replace(listener, listen=replace(address, port=self._ports[listener.name]))
            with contextlib.suppress(BindError):
                return bind_all([as_before])
        return bind_all([listener])


def _port(sockets: Iterable[socket.socket]) -> int:
    return next((int(sock.getsockname()[1]) for sock in sockets if sock.family != socket.AF_UNIX), 0)


def close_all(bound: dict[str, list[socket.socket]]) -> None:
    """Close every socket and remove the Unix sockets among them."""
    for sockets in bound.values():
        for sock in sockets:
            close_listening(sock)


def close_listening(sock: socket.socket, *, unlink: bool = True) -> None:
    """Close one listening socket and remove its path if it is a Unix socket; nothing happens when it is closed.

    One of several processes that share the socket leaves the path alone: by then it may be somebody else's.
    """
    if sock.fileno() < 0:
        return
    unlink = unlink and not isinstance(sock, HeldSocket)
    path = sock.getsockname() if unlink and sock.family == socket.AF_UNIX else ""
    sock.close()
    if path:
        with contextlib.suppress(OSError):
            os.unlink(path)


def stop_listening(sockets: Iterable[socket.socket]) -> None:
    """End listening at once, in every process that shares these sockets: connecting is refused from now on.

    Linux ends a listening socket at shutdown(2), whoever else has it open; accept(2) then fails with EINVAL.
    """
    for sock in sockets:
        if isinstance(sock, HeldSocket):
            continue
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def bound_address(sockets: Iterable[socket.socket]) -> str:
    """What was really bound, as ``host:port`` or ``unix:/path``; several joined by a comma."""
    texts = []
    for sock in sockets:
        name = sock.getsockname()
        texts.append(str(Address(path=name) if sock.family == socket.AF_UNIX else Address(host=name[0], port=name[1])))
    return ", ".join(texts)


def _bind(listener: ListenerSettings) -> list[socket.socket]:
    address = listener.listen
    if address.is_unix:
        return [_bind_unix(listener.name, address.path)]
    try:
        host = ready_to_look_up(address.host) or None
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        text = f"listener {listener.name}: cannot listen on {address}: {error.strerror or error}"
        raise BindError(f"{text} (its key is listen)") from None
    sockets: list[socket.socket] = []
    try:
        port = address.port
        names = sorted(dict.fromkeys((family, name) for family, _, _, _, name in found))
        for family, name in names:
            try:
                sock = _bind_one(family, (name[0], port, *name[2:]), alone=len(names) == 1)
            except OSError as error:
                # A name may have an IPv6 address where there is no IPv6: its other one does.
                if family != socket.AF_INET6 or error.errno not in _NO_IPV6 or not sockets:
                    raise
                continue
            sockets.append(sock)
            port = sock.getsockname()[1]  # a port 0 is chosen once, for all addresses of the name
    except OSError as error:
        for sock in sockets:
            sock.close()
        text = f"listener {listener.name}: cannot listen on {address}: {error.strerror}"
        raise BindError(f"{text} (its key is listen{_hint(address, error.errno)})") from None
    return sockets


def _bind_one(family: int, name: tuple[Any, ...], *, alone: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Several answers mean that IPv4 is bound on its own; "::" alone serves both, as Linux does.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not alone))
        sock.bind(name)
        _listen(sock)
    except OSError:
        sock.close()
        raise
    return sock


def _hint(address: Address, number: int | None) -> str:
    if number in _NO_IPV6 and ":" in address.host:
        return "; this machine may have no IPv6: an IPv4 address, 0.0.0.0 for all of them, does without"
    if number == errno.EACCES and 0 < address.port < 1024:
        return "; ports under 1024 need CAP_NET_BIND_SERVICE"
    return ""


def _bind_unix(name: str, path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_dead_socket(path):
                raise
            os.unlink(path)
            sock.bind(path)
        _listen(sock)
    except OSError as error:
        sock.close()
        raise BindError(
            f"listener {name}: cannot listen on unix:{path}: {error.strerror} (its key is listen)"
        ) from None
    return sock


def _is_dead_socket(path: str) -> bool:
    """Whether the path is a socket of ours that nobody listens on any more."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _listen(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.listen(BACKLOG)
