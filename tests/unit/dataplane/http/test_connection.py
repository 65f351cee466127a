"""What both versions' connections begin and end with: who is served, what is counted, and how a client is left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.http.identities import identity
from unit.dataplane.http1.conversation import listener
from unit.dataplane.shells import End, HttpFrontend

from tlsidecar.dataplane.connection import ConnectionState
from tlsidecar.dataplane.ending import Ending
from tlsidecar.dataplane.http import connection as module
from tlsidecar.dataplane.http.connection import HttpConnection
from tlsidecar.dataplane.http.exchange import Downstream
from tlsidecar.dataplane.reactor import READ
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Mode


class Connection(HttpConnection):
    """Of no version: ``done`` is what it was asked for."""

    active_at = 0.0

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.done: list[str] = []

    def _converse(self, client: Any, downstream: Downstream) -> None:
        self.done.append(f"converses while {self.state.value}")

    def _client_readable(self, events: int) -> None:
        self.done.append(f"reads {events}")

    def drained(self) -> None:
        self.done.append("drained")

    def broken(self) -> None:
        self.done.append("broken")

    def retire(self, reason: Reason) -> None:
        self.done.append(f"retires: {reason.value}")

    def check_time(self, now: float) -> None:
        pass

    def stop(self, ending: Ending) -> None:
        self._leave_client(ending)


class World(HttpFrontend):
    def __init__(self, monkeypatch: pytest.MonkeyPatch, mode: Mode = Mode.TERMINATE) -> None:
        super().__init__(listener(mode=mode))
        self.client = End("client")
        for kind in ("TlsEndpoint", "PlainEndpoint"):
            monkeypatch.setattr(module, kind, lambda *_, kind=kind: (self.counted.append(kind), self.client)[1])
        monkeypatch.setattr(Connection, "shake_hands", lambda _: self.counted.append("shakes hands"))
        self.sock = SimpleNamespace()
        self.connection = Connection(self.seen, self.services, self.sock, "192.0.2.7:4711")

    def is_authorised(self) -> None:
        stream = SimpleNamespace(peer_chain=lambda: ())
        self.connection.peer = cast("Any", SimpleNamespace(stream=stream, identity=identity(), rule="any", party=None))
        self.connection.authorised()


def test_terminating_who_is_authorised_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.connection.start()
    assert (world.counted, world.connection.done) == (["shakes hands"], [])
    world.is_authorised()
    # OpenSSL may have read the first request along with the handshake: no event tells of that.
    assert world.connection.done == ["converses while handshaking", f"reads {READ}"]
    assert world.client.readable == world.connection._client_readable
    assert (world.counted[1:], len(world.opened)) == (["TlsEndpoint"], 1)
    assert world.connection.state is ConnectionState.RELAYING


def test_originating_an_application_is_served_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Mode.ORIGINATE)
    world.connection.start()
    assert (world.counted, len(world.opened)) == (["PlainEndpoint"], 1)
    assert world.connection.done == ["converses while handshaking"]


@pytest.mark.parametrize(("mode", "counted"), [(Mode.TERMINATE, (3, 4)), (Mode.ORIGINATE, (4, 3))])
def test_in_is_what_comes_from_the_network(
    mode: Mode, counted: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, mode)
    world.connection._received, world.connection._sent = 3, 4
    assert (world.connection.bytes_in, world.connection.bytes_out) == counted


def test_a_drain_turns_away_who_is_not_served_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.connection.start()
    world.connection.drain()
    assert [refusal.reason for refusal in world.turned_away] == [Reason.DRAINING]
    assert world.left == [(world.sock, "lingers")]

    world = World(monkeypatch)
    world.is_authorised()
    world.connection.drain()
    assert (world.connection.done[-1], world.connection.draining) == ("retires: drained", True)
    assert world.turned_away == []


@pytest.mark.parametrize(
    ("ending", "left"),
    [
        (Ending.ENDED, "in order"),
        (Ending.POLITE, "in order"),
        (Ending.CUT, "cut"),
        (Ending.KILLED, "reset"),
    ],
)
def test_how_a_client_is_left(ending: Ending, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.is_authorised()
    world.connection.stop(ending)
    assert world.client.closed == left
