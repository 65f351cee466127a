"""What happened a while ago can still be seen: requests, failures, handshakes and the moments of reloads and problems,
over all workers, without a client having watched."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scenarios.test_an_outage_is_critical_until_the_service_answers import answer, curl
from support import configs
from support import h2_suite as h2
from support.h2_services import H2Service
from support.mtls import Peer, client_context, connected
from support.pki import Pki
from support.ports import free_port
from support.services import Handler, echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


def history(sidecar: Sidecar, query: str = "since=1m&step=1s") -> Any:
    return sidecar.json(f"/v1/history?{query}")


def marks(sidecar: Sidecar) -> list[tuple[str, str]]:
    return [(mark["kind"], mark["name"]) for mark in history(sidecar)["marks"]]


def tlsidecar(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tlsidecar", *arguments, "--socket", str(sidecar.socket_path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_outage_is_still_seen_when_it_is_over(pki: Pki, tmp_path: Path, workers: str) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    config = configs.identity(server, pki.trust)
    config += configs.terminate(f"127.0.0.1:{port}", protocol="http")
    config += configs.terminate(f"127.0.0.1:{port}", name="raw")
    with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": workers}) as sidecar:
        for _ in range(4):
            assert curl(sidecar, pki, client) == "502"
        eventually(lambda: ("problem", "upstream_down") in marks(sidecar))
        with serving(answer(b"200 OK"), port=port):
            assert eventually(lambda: curl(sidecar, pki, client) == "200")
            for _ in range(5):
                assert curl(sidecar, pki, client) == "200"
            eventually(lambda: ("problem_over", "upstream_down") in marks(sidecar))
        sidecar.call("POST", "/v1/reload")
        eventually(lambda: ("reload", "unchanged") in marks(sidecar))

        # The last connection's end is counted, too, before anything is compared.
        sidecar.settles()

        def counted() -> Any:
            told = history(sidecar)
            of_one = next(each for each in told["listeners"] if each["name"] == "in")
            assert sum(of_one["requests"]["2xx"]) >= 6
            split = history(sidecar, f"since=1m&step=1s&upstream=127.0.0.1:{port}&identity=*")
            assert sum(split["identities"][0]["bytes_out"]) == sum(of_one["bytes_out"])
            return told, of_one, split

        told, of_one, split = eventually(counted)
        failed = sum(of_one["requests"]["5xx"])
        assert failed >= 4
        assert sum(of_one["failures"]["upstream_refused"]) == failed
        assert sum(of_one["handshakes"]) == sum(of_one["connections"]) == sum(told["total"]["connections"])
        assert sum(of_one["bytes_out"]) > 0
        assert any(of_one["handshake_p99_s"])
        assert any(of_one["request_p50_s"])
        assert {each["name"] for each in told["listeners"]} == {"in", "raw"}
        lists = [*of_one["requests"].values(), *(value for value in of_one.values() if isinstance(value, list))]
        assert {len(each) for each in lists} == {told["steps"]}

        # Of that upstream alone, of that client alone, and of whoever else there was.
        upstream = f"127.0.0.1:{port}"
        (to_it,) = split["upstreams"]
        by_it, others = split["identities"]
        assert (to_it["name"], by_it["name"], others["key"]) == (upstream, "client.test", "")
        assert [each["name"] for each in split["kept_upstreams"]] == [upstream]
        assert [each["key"] for each in split["kept_identities"]] == [by_it["key"]]
        assert sum(to_it["requests"]["2xx"]) == sum(by_it["requests"]["2xx"]) == sum(of_one["requests"]["2xx"])
        assert sum(to_it["failures"]["upstream_refused"]) == sum(by_it["requests"]["5xx"]) == failed
        assert sum(by_it["failures"]["upstream_refused"]) == failed
        assert sum(by_it["connections"]) == sum(of_one["connections"])
        assert sum(by_it["bytes_out"]) == sum(of_one["bytes_out"])
        assert any(by_it["handshake_p99_s"])
        assert (others["requests"], sum(others["connections"])) == ({}, 0)
        # As often as a service answered it was connected to, unless a connection was used again.
        assert 1 <= sum(to_it["connections"]) <= sum(to_it["requests"]["2xx"])
        assert history(sidecar, "since=1m&step=1s&identity=nobody")["identities"] == []

        # In the order in which it happened, at the steps where it was counted.
        assert marks(sidecar)[0] == ("reload", "applied")
        assert marks(sidecar).index(("problem", "upstream_down")) < marks(sidecar).index(
            ("problem_over", "upstream_down")
        )
        first_at = datetime.fromisoformat(told["first_at"])
        began = datetime.fromisoformat(next(each["at"] for each in told["marks"] if each["kind"] == "problem"))
        failing = [step for step, count in enumerate(of_one["requests"]["5xx"]) if count]
        assert abs((first_at + timedelta(seconds=failing[0]) - began).total_seconds()) < 10

        # And to people.
        table = tlsidecar(sidecar, "history", "--listener", "in")
        assert (table.returncode, table.stderr) == (0, "")
        assert table.stdout.split()[:4] == ["FROM", "REQUESTS", "4XX", "5XX"]
        assert "critical: upstream_down [in]: " in table.stdout
        assert "critical is over: upstream_down [in]" in table.stdout
        assert "reload unchanged (admin), generation 1" in table.stdout
        assert (
            json.loads(tlsidecar(sidecar, "history", "--since", "2m", "--step", "1s", "--json").stdout)["step_s"] == 1
        )
        for of in (("--upstream", upstream), ("--identity", "client.test"), ("--identity", by_it["key"])):
            table = tlsidecar(sidecar, "history", "--since", "2m", *of)
            assert (table.returncode, table.stderr) == (0, "")
            rows = table.stdout.split("\n\n")[0].splitlines()[1:]
            assert sum(int(row.split()[1]) for row in rows) >= 6
        nobody = tlsidecar(sidecar, "history", "--identity", "nobody.test")
        assert (nobody.returncode, nobody.stdout) == (2, "")
        assert "no identity that is kept is called 'nobody.test'; known: client.test" in nobody.stderr
        refused = tlsidecar(sidecar, "history", "--since", "yesterday")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "since is a time (RFC 3339) or a duration" in refused.stderr
        assert tlsidecar(sidecar, "history", "--listener", "nobody").returncode == 2


def test_a_connection_that_stays_open_is_counted_as_it_goes(pki: Pki, tmp_path: Path) -> None:
    """Over TCP, to two upstreams and from two identities: while they talk, not when they are done."""
    server = pki.issue("server", "localhost")
    names = ("one.test", "two.test")
    with serving(echo) as first, serving(echo) as second:
        upstreams = [f"127.0.0.1:{service.port}" for service in (first, second)]
        config = configs.identity(server, pki.trust)
        # A listener each: of one with two upstreams each worker would begin with the first.
        for name, upstream in zip(names, upstreams, strict=True):
            config += configs.terminate(upstream, name=name)
        with running(tmp_path / "sidecar", config) as sidecar:
            peers = [
                Peer(
                    client_context(pki.trust, pki.issue(name, name)),
                    socket.create_connection(("127.0.0.1", sidecar.port(name)), 10),
                    name="localhost",
                ).handshake()
                for name in names
            ]
            for size, peer in zip((1000, 50_000), peers, strict=True):
                peer.send(b"x" * size)
                assert len(peer.recv_exactly(size)) == size

            def told() -> Any:
                split = history(sidecar, "since=1m&step=1s&upstream=*&identity=*")
                moved = {each["name"]: sum(each["bytes_in"]) for each in split["identities"]}
                assert moved == {"one.test": 1000, "two.test": 50_000, "others": 0}
                return split

            split = eventually(told)
            assert sorted(sum(each["bytes_out"]) for each in split["upstreams"]) == [1000, 50_000]
            assert {each["name"] for each in split["upstreams"]} == set(upstreams)
            assert [each["connections_active"][-1] for each in split["upstreams"]] == [1, 1]
            for peer in peers:
                peer.close()


PART_IN, ALL_IN, PART_OUT, ALL_OUT = 32_000, 33_000, 65_535, 200_000
HEADS = 1_500
"""Bytes that heads and frames may come to beyond the bodies."""


def halfway(sock: socket.socket) -> None:
    """Over HTTP/1.1: begins to answer at once, and goes on when the whole request has come."""
    asked = sock.makefile("rb")
    while asked.readline().strip():
        pass
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ALL_OUT + b"x" * PART_OUT)
    asked.read(ALL_IN)
    sock.sendall(b"x" * (ALL_OUT - PART_OUT))


def exchange(peer: Peer) -> Iterator[None]:
    """A request over HTTP/1.1, of which a part is under way at each stop."""
    peer.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % ALL_IN + b"x" * PART_IN)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv_exactly(1)
    assert len(peer.recv_exactly(PART_OUT)) == PART_OUT
    yield
    peer.send(b"x" * (ALL_IN - PART_IN))
    assert len(peer.recv_exactly(ALL_OUT - PART_OUT)) == ALL_OUT - PART_OUT
    yield


def exchange_of_frames(peer: Peer) -> Iterator[None]:
    """The same over HTTP/2, where it is the client's window that holds up the answer."""
    client = h2.Client(peer)
    client.shake_hands()
    client.say(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, client.block(h2.POST)))
    for _ in range(2):
        client.say(h2.data(1, b"x" * (PART_IN // 2), end=False))

    def heard() -> int:
        return sum(len(event.payload) for event in client.heard if event.kind == h2.DATA)

    client.until(lambda _: heard() == PART_OUT)
    yield
    client.say(h2.data(1, b"x" * (ALL_IN - PART_IN)) + h2.window_update(0, ALL_OUT) + h2.window_update(1, ALL_OUT))
    client.until(lambda _: heard() == ALL_OUT)
    yield


@pytest.mark.parametrize("http2", ["off", "only"])
def test_an_exchange_under_way_is_counted_as_it_goes_and_once(pki: Pki, tmp_path: Path, http2: str) -> None:
    """On its listener, for its identity, and, of two upstreams, at its own."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    service: Handler = halfway
    talk, offered = exchange, [b"http/1.1"]
    if http2 == "only":
        service, talk, offered = H2Service(b"x" * ALL_OUT, prompt=True), exchange_of_frames, [b"h2"]
    with serving(service) as first, serving(service) as second:
        upstreams = [f"127.0.0.1:{each.port}" for each in (first, second)]
        config = configs.identity(server, pki.trust) + configs.terminate(upstreams, protocol="http", http2=http2)
        with running(tmp_path / "sidecar", config) as sidecar:

            def counted() -> list[tuple[str, int, int]]:
                """Whose, and the bytes there and back."""
                told = history(sidecar, "since=1m&step=1s&upstream=*&identity=client.test")
                rows = [*told["listeners"], *told["identities"], *told["upstreams"]]
                return [(each["name"], sum(each["bytes_in"]), sum(each["bytes_out"])) for each in rows]

            def moved(bytes_in: int, bytes_out: int) -> None:
                def told() -> bool:
                    found = {
                        name
                        for name, got, gave in counted()
                        if bytes_in <= got < bytes_in + HEADS and bytes_out <= gave < bytes_out + HEADS
                    }
                    assert {"in", "client.test"} < found, counted()
                    assert len(found & set(upstreams)) == 1, counted()
                    return True

                eventually(told, every_s=0.1)

            with connected(sidecar.port(), pki.trust, client, protocols=offered) as peer:
                for sizes, _ in zip(((PART_IN, PART_OUT), (ALL_IN, ALL_OUT)), talk(peer), strict=True):
                    moved(*sizes)
            eventually(lambda: sidecar.json("/v1/status")["totals"]["connections_active"] == 0)
            moved(ALL_IN, ALL_OUT)
