"""What happened a while ago can still be seen: requests, failures, handshakes and the moments of reloads and problems,
over all workers, without a client having watched."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scenarios.test_an_outage_is_critical_until_the_service_answers import answer, curl
from support import configs
from support.pki import Pki
from support.ports import free_port
from support.services import serving
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

        def counted() -> Any:
            told = history(sidecar)
            of_one = next(each for each in told["listeners"] if each["name"] == "in")
            assert sum(of_one["requests"]["2xx"]) >= 6
            return told, of_one

        told, of_one = eventually(counted)
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
        refused = tlsidecar(sidecar, "history", "--since", "yesterday")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "since is a time (RFC 3339) or a duration" in refused.stderr
        assert tlsidecar(sidecar, "history", "--listener", "nobody").returncode == 2
