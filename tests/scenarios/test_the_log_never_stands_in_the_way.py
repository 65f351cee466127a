"""A log that is rotated, full or blocked: lines go to the right file or are counted as lost; the traffic goes on, and
only changes that would leave no trace are refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, connected
from support.pki import Pki
from support.services import echo, http_service, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


def _log(path: Path) -> str:
    return f"[log]\nfile = {json.dumps(str(path))}\n"


def _talk(sidecar: Sidecar, pki: Pki, client) -> None:  # type: ignore[no-untyped-def]
    with connected(sidecar.port(), pki.trust, client) as peer:
        peer.send(b"hello")
        assert peer.recv_exactly(5) == b"hello"
        peer.end_writing()
        assert peer.recv_all() == b""


def test_hup_reopens_the_file_after_a_rotation(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    path, rotated = tmp_path / "sidecar.log", tmp_path / "sidecar.log.1"
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address) + _log(path)
        with running(tmp_path / "sidecar", config) as sidecar:
            _talk(sidecar, pki, client)
            eventually(lambda: path.read_text().count('"access"') == 1)
            path.rename(rotated)
            _talk(sidecar, pki, client)
            eventually(lambda: rotated.read_text().count('"access"') == 2)  # until it is told, the old file goes on
            sidecar.signal(signal.SIGHUP)
            eventually(path.exists)
            assert path.stat().st_mode & 0o777 == 0o640
            _talk(sidecar, pki, client)
            eventually(lambda: path.read_text().count('"access"') == 1)
            assert rotated.read_text().count('"access"') == 2
            assert sidecar.status()["log_lines_dropped"] == 0


def test_a_file_that_cannot_be_reopened_leaves_the_old_one(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    path, rotated = tmp_path / "logs" / "sidecar.log", tmp_path / "moved" / "sidecar.log"
    path.parent.mkdir()
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address) + _log(path)
        with running(tmp_path / "sidecar", config) as sidecar:
            path.parent.rename(rotated.parent)
            sidecar.signal(signal.SIGHUP)
            eventually(lambda: "goes on in the file that is open" in rotated.read_text())
            _talk(sidecar, pki, client)
            eventually(lambda: rotated.read_text().count('"access"') == 1)


def test_a_hup_during_the_start_does_not_end_it(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:9")
    sidecar = Sidecar(tmp_path / "sidecar", config)
    try:
        sidecar.start(wait=False)
        # Before our code runs the default holds, and nothing of ours can change that.
        ignored = 1 << (signal.SIGHUP - 1)

        def ours() -> bool:
            text = Path(f"/proc/{sidecar.pid}/status").read_text()
            masks = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Sig"))
            return bool((int(masks["SigIgn"], 16) | int(masks["SigCgt"], 16)) & ignored)

        eventually(ours, every_s=0.001)
        for _ in range(50):
            sidecar.signal(signal.SIGHUP)
        sidecar.answers()
        assert sidecar.stop() == 0
    finally:
        sidecar.kill()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_costs_lines_and_holds_up_changes_only(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address) + _log(Path("/dev/full"))
        with running(tmp_path / "sidecar", config) as sidecar:
            for _ in range(5):
                _talk(sidecar, pki, client)
            eventually(lambda: sidecar.status()["log_lines_dropped"] >= 5)
            assert [problem["code"] for problem in sidecar.problems()] == ["log_lines_dropped"]
            _changes_are_refused(sidecar)


def test_a_blocked_pipe_holds_up_changes_only(pki: Pki, tmp_path: Path) -> None:
    """Once the buffer is full no trace of a change could be written: then nothing may be changed. With several workers
    the trail is the controller's, which has a buffer of its own that traffic cannot fill."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with http_service() as service:
            config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
            with running(tmp_path / "sidecar", config + _log(fifo)) as sidecar:
                assert sidecar.call("PUT", "/v1/log-level", {"level": "warning"})[0] == 200
                with connected(sidecar.port(), pki.trust, client) as peer:
                    _fill_the_log(peer, sidecar)
                    changed_to = ["warning"]
                    if sidecar.workers == 1:
                        _changes_are_refused(sidecar)
                    else:
                        assert sidecar.call("PUT", "/v1/log-level", {"level": "error"})[0] == 200
                        changed_to.append("error")
                    began = time.monotonic()
                    _request(peer)
                    assert time.monotonic() - began < 10  # nobody reads the pipe meanwhile
                assert sidecar.status()["log_level"] == changed_to[-1]
                written = bytearray()

                def is_taken_again() -> bool:
                    written.extend(_drained(reader))
                    return sidecar.call("PUT", "/v1/log-level", {"level": "info"})[0] == 200

                def all_is_told() -> bool:
                    written.extend(_drained(reader))
                    whole = written[: written.rfind(b"\n") + 1].splitlines()
                    lines = [json.loads(line) for line in whole if b'"tlsidecar.audit"' in line]
                    assert [line["verb"] for line in lines] == ["PUT /v1/log-level"] * (len(changed_to) + 1)
                    return [line["seq"] for line in lines] == list(range(1, len(lines) + 1))

                eventually(is_taken_again)
                # What was changed has left its line, and nothing else was changed.
                eventually(all_is_told)
    finally:
        os.close(reader)


def _changes_are_refused(sidecar: Sidecar) -> None:
    status, answer = sidecar.call("PUT", "/v1/log-level", {"level": "debug"})
    assert status == 503, answer
    assert "audit trail cannot be written" in answer["error"]["message"]
    assert sidecar.call("POST", "/v1/reload")[0] == 503


def _fill_the_log(peer: Peer, sidecar: Sidecar) -> None:
    """Three megabytes of access lines, two kilobytes each."""
    for _ in range(1600):
        _request(peer)
    assert sidecar.status()["log_lines_dropped"] == 0


def _request(peer: Peer) -> None:
    peer.send(b"HEAD /" + b"a" * 1990 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += peer.recv()


def _drained(reader: int) -> bytes:
    """All that is in the pipe by now."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(reader, 1 << 20):
            data += more
    return data
