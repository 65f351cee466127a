"""Accepting: within the limits, past what fails, and not while there is nothing to accept with."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.clock import ClockLoop

from tlsidecar.dataplane import acceptor, descriptors
from tlsidecar.dataplane import listener as module
from tlsidecar.dataplane.acceptor import ACCEPTS_PER_EVENT
from tlsidecar.dataplane.denials import Denials
from tlsidecar.dataplane.listener import ACCEPT_PAUSE_S, Listener, connection_limit
from tlsidecar.dataplane.report import Opened, UpstreamChange
from tlsidecar.outcomes import AccessEntry, Reason, Refusal
from tlsidecar.settings import Address, Limits, Mode
from tlsidecar.settings import ListenerSettings as Settings

PEER = ("192.0.2.7", 4711)


class FakeReactor:
    def __init__(self) -> None:
        self.loop = ClockLoop()
        self.now = 0.0
        self.turn = 0
        self.handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        self.handlers[descriptor] = handler

    def rewatch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        self.handlers[descriptor] = handler

    def forget(self, descriptor: int) -> None:
        self.handlers.pop(descriptor, None)


class Accepted:
    """A socket that came in."""

    def __init__(self, number: int = 10) -> None:
        self.number = number
        self.closed = False

    def fileno(self) -> int:
        return self.number

    def setblocking(self, flag: bool) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Listening(Accepted):
    family = socket.AF_INET

    def __init__(self) -> None:
        super().__init__(3)
        self.waiting: deque[Accepted | OSError] = deque()
        self.in_vain = 0  # times that nobody waited

    def accept(self) -> tuple[Accepted, Any]:
        if not self.waiting:
            self.in_vain += 1
            raise BlockingIOError
        item = self.waiting.popleft()
        if isinstance(item, OSError):
            raise item
        return item, PEER

    def setsockopt(self, *_: object) -> None:
        pass

    def getsockname(self) -> Any:
        return ("127.0.0.1", 8443)


class Connection:
    identity = party = None
    bytes_in = bytes_out = 0

    def __init__(self, world: World, sock: Any, peer_address: str) -> None:
        self.world = world
        self.id = next(world.ids)
        self.peer_address = peer_address
        self.accepted_at = world.reactor.now
        self.ends: list[str] = []
        self.checked_at: list[float] = []

    def start(self) -> None:
        if self.world.crash_next:
            self.world.crash_next = False
            raise RuntimeError("a defect")

    def fail(self) -> None:
        self.ends.append("failed")
        self.world.gone(self)

    def retire(self, reason: Reason) -> None:
        self.ends.append(reason.value)

    def check_time(self, now: float) -> None:
        self.checked_at.append(now)


class World:
    """A listener whose sockets, reactor and connections are doubles; it is its own observer."""

    exchanged = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
        self.ids = iter(range(1, 1000))
        self.crash_next = False
        self.has_memory = True
        self.refusals: list[Refusal] = []
        self.reactor = FakeReactor()
        monkeypatch.setattr(acceptor, "take", lambda listening, _: listening.accept())
        monkeypatch.setattr(module, "connection_maker", lambda frontend: (self._make, lambda: None))
        self.monkeypatch = monkeypatch
        self.descriptors_left(True)
        clock = SimpleNamespace(timestamp=lambda: 1e9)
        shared = SimpleNamespace(
            reactor=self.reactor,
            observer=self,
            worker=0,
            wall=clock.timestamp,
            gone=lambda: None,
            challenges=None,
            current={"default": None},
            turnstile=None,
            identities=None,
            denials=Denials(),
        )
        network = SimpleNamespace(health=lambda address: None)
        settings = Settings(
            "web", Mode.TERMINATE, Address(port=1), (Address(port=2),), allow=("any",), limits=Limits(**limits)
        )
        self.sock = Listening()
        self.listener = Listener(cast("Any", shared), cast("Any", network), settings, [cast("Any", self.sock)])
        self.listener.start()

    def _make(self, sock: Any, peer_address: str) -> Any:
        if not self.has_memory:
            raise MemoryError
        return Connection(self, sock, peer_address)

    def gone(self, connection: Connection) -> None:
        self.listener._gone(connection.id, 3, 4)

    def descriptors_left(self, left: bool) -> None:
        self.monkeypatch.setattr(descriptors, "may_accept", lambda number: left)
        self.monkeypatch.setattr(descriptors, "have_room", lambda number: left)

    def come(self, *items: Accepted | OSError, events: int = 1) -> World:
        self.sock.waiting += items
        for _ in range(events):
            self.reactor.turn += 1
            self.reactor.handlers[self.sock.fileno()](1)
        return self

    @property
    def counts(self) -> dict[str, int]:
        return self.listener.tally.counters.connections

    @property
    def connections(self) -> list[Connection]:
        return cast("list[Connection]", list(self.listener.connections.values()))

    # The observer.

    def opened(self, connection: Opened) -> None: ...

    def closed(self, entry: AccessEntry) -> None: ...

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def failed(self, failure: object) -> None: ...

    def upstream_changed(self, change: UpstreamChange) -> None: ...


def test_who_comes_is_served_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch).come(Accepted())
    assert [connection.peer_address for connection in world.connections] == ["192.0.2.7:4711"]
    counters = world.listener.tally.counters
    assert (counters.connections_active, world.counts) == (1, {"accepted": 1})
    world.gone(world.connections[0])
    assert world.connections == []
    assert (counters.connections_active, counters.bytes_in, counters.bytes_out) == (0, 3, 4)


def test_more_are_taken_each_time_while_the_queue_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.sock.waiting += [Accepted() for _ in range(300)]
    taken = []
    for _ in range(9):
        before = len(world.sock.waiting)
        world.come()
        taken.append(before - len(world.sock.waiting))
    assert taken == [1, 2, 4, 8, 16, 32, ACCEPTS_PER_EVENT, ACCEPTS_PER_EVENT, ACCEPTS_PER_EVENT]


def test_nobody_else_is_looked_for_when_those_who_came_came_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    for _ in range(3):
        world.reactor.turn += 1  # in which nobody waited
        world.come(Accepted())
    assert world.sock.in_vain == 0
    assert len(world.connections) == 3


def test_over_the_limit_one_is_closed_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Accepted()
    world = World(monkeypatch, max_connections=1).come(Accepted(), late, events=2)
    assert late.closed
    (refusal,) = world.refusals
    assert (refusal.reason, refusal.peer_address) == (Reason.MAX_CONNECTIONS, "192.0.2.7:4711")
    assert world.counts == {"accepted": 2, "refused": 1}
    world.gone(world.connections[0])
    world.come(Accepted())
    assert len(world.connections) == 1


def test_over_the_limit_of_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, max_handshakes=1)
    world.listener.tally.handshake_began()
    world.come(Accepted())
    assert [refusal.reason for refusal in world.refusals] == [Reason.MAX_HANDSHAKES]


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM])
def test_what_is_wrong_with_one_is_passed_over(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch).come(OSError(number, "no"), Accepted(), events=2)
    assert len(world.connections) == 1


def test_out_of_descriptors_it_pauses_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.descriptors_left(False)
    world.come(OSError(errno.EMFILE, "Too many open files"))
    assert world.reactor.handlers == {}
    world.reactor.loop.pass_s(10 * ACCEPT_PAUSE_S)
    assert world.reactor.handlers == {}  # there are none yet
    assert [refusal.reason for refusal in world.refusals] == [Reason.FD_EXHAUSTED]
    world.descriptors_left(True)
    world.reactor.loop.pass_s(ACCEPT_PAUSE_S)
    world.come(Accepted())
    assert len(world.connections) == 1


def test_the_last_descriptor_is_served_before_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.descriptors_left(False)
    world.come(Accepted(), Accepted())
    assert len(world.connections) == 1
    assert world.reactor.handlers == {}


def test_a_defect_costs_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.crash_next = True
    world.come(Accepted(), Accepted(), events=2)
    assert len(world.connections) == 1
    assert world.connections[0].ends == []


def test_want_of_memory_costs_no_listening_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails before there is a connection leaves nobody to end but the listener, which must not be deaf then."""
    world = World(monkeypatch)
    world.has_memory = False
    handler = world.reactor.handlers[world.sock.fileno()]
    with pytest.raises(MemoryError):
        world.come(Accepted())
    owner = cast("Any", handler)
    world.reactor.forget(world.sock.fileno())  # as the real one has done, when it calls ...
    owner.fail()
    world.has_memory = True
    world.reactor.loop.pass_s(ACCEPT_PAUSE_S)
    world.come(Accepted())
    assert len(world.connections) == 1


def test_it_stops_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.descriptors_left(False)
    world.come(OSError(errno.EMFILE, "Too many open files"))
    world.listener.stop_accepting()
    world.descriptors_left(True)
    world.reactor.loop.pass_s(10 * ACCEPT_PAUSE_S)
    assert world.reactor.handlers == {}
    assert world.sock.closed


def test_the_sweep_retires_who_is_too_old_and_asks_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, max_connection_age_s=10.0).come(Accepted())
    world.reactor.now = 6.0
    world.come(Accepted())
    world.listener.sweep(11.0)
    assert [connection.ends for connection in world.connections] == [["max_age"], []]
    assert [connection.checked_at for connection in world.connections] == [[11.0], [11.0]]


def test_the_limit_from_the_descriptors_is_shared_by_the_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: 1024)
    assert connection_limit(None) == 460
    assert connection_limit(None, 2) == 230
    assert connection_limit(7, 2) == 7
    monkeypatch.setattr(descriptors, "limit", lambda: 16)
    assert connection_limit(None) == 1


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_what_is_taken_is_what_accept_gives(family: int, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    with listening, socket.socket(family) as client:
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            acceptor.take(listening, family)
        client.connect(listening.getsockname())
        monkeypatch.setattr(socket.socket, "accept", None)
        taken, name = acceptor.take(listening, family)
        with taken:
            assert (taken.family, taken.type, taken.proto) == (family, socket.SOCK_STREAM, 0)
            assert name == client.getsockname()
            assert not taken.get_inheritable()
            client.sendall(b"x")
            assert taken.recv(1) == b"x"
