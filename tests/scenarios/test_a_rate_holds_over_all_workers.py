"""An identity has one rate and one burst, in however many workers its connections lie."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support import configs
from support.h2_services import H2Service
from support.mtls import Peer, connect
from support.pki import Pki
from support.raw_http import Answer, read_answer, request
from support.services import http_service, serving
from support.several import in_every_worker, kill, pids_of, replaced, several_workers
from support.sidecar import Sidecar
from support.waiting import eventually
from unit.dataplane.http2.talk import Side, head

from tlsidecar.dataplane.http2 import frames

SLOW_S = 1200.0  # of 3/h: no test takes as long as one more request takes to be let in


def rated(rate: str, burst: int) -> str:
    return f'[listener.limits]\nrequest_rate = "{rate}"\nrequest_burst = {burst}\n'


@contextmanager
def limited(pki: Pki, tmp_path: Path, service: str, limits: str) -> Iterator[tuple[Sidecar, Callable[[], Peer]]]:
    """Two workers before ``service``, and what opens one more connection, always of the same identity."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http") + limits
    with several_workers(tmp_path / "sidecar", config) as sidecar:
        yield sidecar, lambda: connect(sidecar.port(), pki.trust, client)


def asked(peer: Peer) -> Answer:
    peer.send(request())
    return read_answer(peer)


def status_of(peer: Peer) -> int:
    return asked(peer).status


def answers_at_once(sock: socket.socket) -> None:
    while sock.recv(65536):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize("workers", [2, 3])
def test_one_burst_for_all_connections_of_an_identity(workers: int, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    greedy, modest = pki.issue("greedy", "greedy.test"), pki.issue("modest", "modest.test")
    with http_service() as service:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(service, protocol="http") + rated("3/h", 4)
        config += configs.terminate(service, protocol="http", name="other") + rated("3/h", 2)
        with several_workers(tmp_path / "sidecar", config, workers=workers) as sidecar:

            def opened(pair: object, name: str = "in") -> Peer:
                return connect(sidecar.port(name), pki.trust, pair)  # type: ignore[arg-type]

            theirs = in_every_worker(sidecar, 2, partial(opened, greedy))
            # One after the other of each worker, so that each has part in it.
            in_turn = [peer for peers in zip(*theirs, strict=True) for peer in peers]
            assert [status_of(peer) for peer in (in_turn * 3)[:8]] == [200] * 4 + [429] * 4
            for peer in in_turn:
                answer = asked(peer)
                assert answer.status == 429
                assert SLOW_S / 2 < int(answer.fields["retry-after"]) <= SLOW_S
            sidecar.counts(4 + len(in_turn), "tlsidecar_refusals_total", reason="rate_limited")

            # Nobody else has used any of it, and another listener counts for itself.
            others = in_every_worker(sidecar, 1, partial(opened, modest))
            assert [status_of(peer) for (peer,) in (others * 3)[:6]] == [200] * 4 + [429] * 2
            elsewhere = in_every_worker(sidecar, 1, partial(opened, greedy, "other"))
            assert [status_of(peer) for (peer,) in (elsewhere * 3)[:4]] == [200, 200, 429, 429]
            for peer in itertools.chain(*theirs, *others, *elsewhere):
                peer.close()


def test_the_rate_is_of_all_together(pki: Pki, tmp_path: Path) -> None:
    with http_service() as service, limited(pki, tmp_path, service, rated("20/s", 1)) as (sidecar, opened):
        peers = in_every_worker(sidecar, 1, opened)
        began, served = time.monotonic(), [0, 0]
        while min(served) < 8:
            # One at a time, so that no two workers write at once.
            for worker, (peer,) in enumerate(peers):
                served[worker] += status_of(peer) == 200
        # Twenty a second, however many are asked.
        assert time.monotonic() - began >= (sum(served) - 1) / 20 - 0.01
        for (peer,) in peers:
            peer.close()


def test_requests_that_come_at_once(pki: Pki, tmp_path: Path) -> None:
    """Two workers that look in the same instant may let one request too many through, and no more than that."""
    burst, ahead = 200, 200
    with (
        serving(answers_at_once) as service,
        limited(pki, tmp_path, service.address, rated("3/h", burst)) as (sidecar, opened),
    ):
        peers = in_every_worker(sidecar, 1, opened)
        go, served = threading.Barrier(len(peers)), [0] * len(peers)

        def asks(worker: int, peer: Peer) -> None:
            go.wait(20)
            for _ in range(ahead):
                served[worker] += status_of(peer) == 200

        threads = [threading.Thread(target=asks, args=(at, peer)) for at, (peer,) in enumerate(peers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert burst <= sum(served) <= burst + 1
        for (peer,) in peers:
            peer.close()


def test_a_worker_that_is_replaced_gives_no_new_burst(pki: Pki, tmp_path: Path) -> None:
    with http_service() as service, limited(pki, tmp_path, service, rated("3/h", 3)) as (sidecar, opened):
        before = in_every_worker(sidecar, 1, opened)
        assert [status_of(peer) for (peer,) in before * 2] == [200, 200, 200, 429]
        for number, pid in enumerate(pids_of(sidecar)):  # in the end none that was there has counted
            kill(pid)
            replaced(sidecar, number, pid)
        eventually(lambda: sidecar.status()["totals"]["connections_active"] == 0)
        after = in_every_worker(sidecar, 1, opened)
        assert [status_of(peer) for (peer,) in after] == [429, 429]
        for (peer,) in (*before, *after):
            peer.close()


def test_a_changed_rate_holds_for_new_connections_of_every_worker(pki: Pki, tmp_path: Path) -> None:
    with http_service() as service, limited(pki, tmp_path, service, rated("3/h", 3)) as (sidecar, opened):

        def changed(old: str, new: str) -> None:
            text = sidecar.config_path.read_text()
            assert old in text
            sidecar.config_path.write_text(text.replace(old, new))
            assert sidecar.call("POST", "/v1/reload")[1]["attempt"]["configuration"] == "applied"

        before = in_every_worker(sidecar, 1, opened)
        assert [status_of(peer) for (peer,) in before * 2] == [200, 200, 200, 429]
        # What has nothing to do with it gives nothing back.
        changed('allow = ["any"]', 'allow = ["dns:client.test"]')
        same = in_every_worker(sidecar, 1, opened)
        assert [status_of(peer) for (peer,) in same] == [429, 429]
        changed("request_burst = 3", "request_burst = 5")
        after = in_every_worker(sidecar, 1, opened)
        assert [status_of(peer) for (peer,) in after * 3] == [200] * 5 + [429]
        for (peer,) in (*before, *same, *after):
            peer.close()


def test_streams_of_http2_count_as_requests(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(H2Service()) as service:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http", http2="only") + rated("3/h", 4)
        with several_workers(tmp_path / "sidecar", config) as sidecar:

            def opened() -> Peer:
                return connect(sidecar.port(), pki.trust, client, protocols=[b"h2"])

            clients = [(peer, asker(peer)) for (peer,) in in_every_worker(sidecar, 1, opened)]
            heads = [ask() for _, ask in clients * 4]
            assert [fields[b":status"] for fields in heads] == [b"200"] * 4 + [b"429"] * 4
            assert all(SLOW_S / 2 < int(fields[b"retry-after"]) <= SLOW_S for fields in heads[4:])
            for peer, _ in clients:
                peer.close()


def asker(peer: Peer) -> Callable[[], dict[bytes, bytes]]:
    """Asks by one more stream at each call, and gives the head of the answer."""
    side, streams = Side(), itertools.count(1, 2)
    peer.send(frames.PREFACE + frames.settings([]))

    def ask() -> dict[bytes, bytes]:
        stream = next(streams)
        peer.send(head(stream))
        while not side.heads(stream):
            data = peer.recv()
            assert data, "ended before its answer"
            side.hear(data)
        return side.heads(stream)[0]

    return ask
