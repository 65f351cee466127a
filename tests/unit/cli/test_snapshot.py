"""``tlsidecar snapshot``: one file with all that the admin API shows, for its owner only, and no key."""

from __future__ import annotations

import gzip
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from unit.admin.fake_control import HOSTILE, critical, made_connection, made_refusal
from unit.cli.conftest import COMMAND_S, Served, tlsidecar

from tlsidecar.admin.routes import ROUTES
from tlsidecar.api.recording import read_recording
from tlsidecar.cli.snapshot import CALLS, TEXTS


def test_it_has_all_that_the_api_shows(served: Served, tmp_path: Path) -> None:
    served.control.records = [made_connection(number) for number in range(1, 1500)]
    served.control.refusals.record(made_refusal(identity=HOSTILE))
    served.control.found_problems = [critical()]
    file = tmp_path / "ticket.gz"
    done = served.run("snapshot", "-o", str(file))
    assert (done.code, done.out) == (0, f"{file}\n")
    assert f"tlsidecar ui --replay {file}" in done.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    track = read_recording(file).tracks[0]
    assert track.name == str(served.socket)
    paths = {target.partition("?")[0] for target in track.replies}
    assert paths >= {f"/v1/{name}" for name in ("status", "certificates", "connections", "refusals", "failures")}
    assert len(track.targets("/v1/history")) == 3
    assert sum(path.startswith("/v1/connections/") for path in paths) == 100
    (pages,) = track.targets("/v1/connections")
    told = track.reply(pages, 1e9)
    assert told is not None
    assert len(told[1]["connections"]) == 1000
    texts = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert {line["get"] for line in texts if "text" in line} == {"/metrics", "/healthz", "/readyz"}
    assert b"PRIVATE KEY" not in gzip.decompress(file.read_bytes())


def test_the_events_that_are_kept_are_in_it(served: Served, tmp_path: Path) -> None:
    served.soon(served.control.events.publish, "state", {"state": "ready"})
    file = tmp_path / "ticket.gz"
    assert served.run("snapshot", "-o", str(file)).code == 0
    assert [event["event"] for event in read_recording(file).tracks[0].events_between(0, 1e9)] == ["state"]


def test_its_name_tells_the_node_and_the_time(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = served.run("snapshot")
    assert done.code == 0
    (file,) = tmp_path.glob("tlsidecar-*.tlsidecar.gz")
    assert done.out == f"{file.name}\n"


def test_it_goes_to_stdout(served: Served) -> None:
    command = [sys.executable, "-m", "tlsidecar", "snapshot", "-o", "-", "--socket", str(served.socket)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=COMMAND_S)
    assert json.loads(gzip.decompress(done.stdout).splitlines()[0])["tlsidecar"] == "recording"
    assert done.stderr == b""


def test_no_read_of_the_api_is_forgotten() -> None:
    exempt = {
        "/v1/openapi.json",  # of the version, not of the sidecar
        "/v1/explain",  # about a certificate in hand
        "/v1/connections/{id}/explanation",  # computed when asked for
        "/v1/events",  # read as a stream
    }
    asked = {target.partition("?")[0] for target in (*CALLS, *TEXTS)} | {"/v1/connections/{id}", "/v1/refusals/{id}"}
    assert {route.path for route in ROUTES if route.method == "GET"} - exempt == asked


def test_one_with_a_name_replaces_what_is_there_as_a_whole(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "ticket.gz"
    file.write_text("before")
    file.chmod(0o644)
    assert served.run("snapshot", "-o", str(file)).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_recording(file).tracks
    assert list(tmp_path.glob(".ticket*")) == []


def test_nothing_is_left_when_it_cannot_be_written(served: Served, tmp_path: Path) -> None:
    done = served.run("snapshot", "-o", str(tmp_path / "missing" / "ticket.gz"))
    assert (done.code, done.out) == (1, "")
    assert "cannot write" in done.err
    done = served.run("snapshot", "-o", str(tmp_path))
    assert (done.code, len(done.err.splitlines())) == (1, 1)


def test_a_full_disk_is_said(served: Served) -> None:
    done = served.run("snapshot", "-o", "/dev/full")
    assert (done.code, done.out) == (1, "")
    assert "No space left on device" in done.err


def test_without_a_sidecar_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = tlsidecar("snapshot", "--socket", tmp_path / "nobody.sock")
    assert (done.code, done.out) == (3, "")
    assert list(tmp_path.iterdir()) == []
