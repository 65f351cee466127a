"""The metrics, read back by Prometheus's own parser."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from unit.admin.fake_control import STARTED_AT, FakeControl, critical

from tlsidecar.admin.metrics import exposition
from tlsidecar.control.interface import State
from tlsidecar.settings import Admin

CONTRACT = {
    "tlsidecar_connections_active": ("gauge", {"listener"}),
    "tlsidecar_connections_total": ("counter", {"listener", "outcome"}),
    "tlsidecar_handshakes_total": ("counter", {"listener", "outcome", "reason"}),
    "tlsidecar_handshake_duration_seconds": ("histogram", {"listener"}),
    "tlsidecar_http_exchange_duration_seconds": ("histogram", {"listener"}),
    "tlsidecar_bytes_total": ("counter", {"listener", "direction"}),
    "tlsidecar_requests_total": ("counter", {"listener", "code"}),
    "tlsidecar_grpc_calls_total": ("counter", {"listener", "code"}),
    "tlsidecar_http2_streams_active": ("gauge", {"listener"}),
    "tlsidecar_refusals_total": ("counter", {"listener", "stage", "reason"}),
    "tlsidecar_certificate_not_after_timestamp_seconds": ("gauge", {"role", "serial"}),
    "tlsidecar_certificate_generation": ("gauge", set()),
    "tlsidecar_reloads_total": ("counter", {"outcome", "reason"}),
    "tlsidecar_last_reload_success_timestamp_seconds": ("gauge", set()),
    "tlsidecar_failures_total": ("counter", {"listener", "reason"}),
    "tlsidecar_dropped_headers_total": ("counter", {"listener"}),
    "tlsidecar_upstream_errors_total": ("counter", {"listener", "reason"}),
    "tlsidecar_state": ("gauge", {"state"}),
    "tlsidecar_ready": ("gauge", set()),
    "tlsidecar_problem": ("gauge", {"code"}),
    "tlsidecar_log_lines_dropped_total": ("counter", set()),
    "tlsidecar_build_info": ("gauge", {"version", "python", "openssl"}),
    "process_cpu_seconds_total": ("counter", set()),
    "process_resident_memory_bytes": ("gauge", set()),
    "process_virtual_memory_bytes": ("gauge", set()),
    "process_start_time_seconds": ("gauge", set()),
    "process_open_fds": ("gauge", set()),
    "process_max_fds": ("gauge", set()),
}


@pytest.fixture
def control() -> FakeControl:
    return FakeControl(Admin(socket=Path("unused")))


class Scrape:
    """One scrape, parsed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def family(self, name: str) -> Any:
        """By the name in the text; the parser takes the ``_total`` off a counter."""
        return self.families.get(name) or self.families[name.removesuffix("_total")]

    def value(self, name: str, **labels: str) -> float:
        base = re.sub("_(bucket|sum|count)$", "", name)
        (value,) = [
            sample.value
            for sample in self.family(base).samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return float(value)


async def scrape(control: FakeControl) -> Scrape:
    return Scrape(await exposition(control))


@pytest.mark.parametrize("name", CONTRACT)
async def test_every_metric_of_the_contract_is_there(control: FakeControl, name: str) -> None:
    control.found_problems = [critical()]
    kind, labels = CONTRACT[name]
    family = (await scrape(control)).family(name)
    assert family.type == kind
    assert family.samples
    for sample in family.samples:
        assert set(sample.labels) - {"le"} == labels
        if kind == "counter":
            assert sample.name == name
            assert not sample.name.endswith("_total_total")


async def test_each_family_is_told_once_with_its_help(control: FakeControl) -> None:
    text = (await scrape(control)).text
    types = re.findall(r"^# TYPE (\S+)", text, re.M)
    assert len(types) == len(set(types))
    assert types == re.findall(r"^# HELP (\S+) \S", text, re.M)
    assert text.endswith("\n")


async def test_every_metric_is_documented(control: FakeControl) -> None:
    control.workers, control.first_pid = 1, os.getppid()  # a worker that is a process of its own
    documented = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    assert "tlsidecar_worker_cpu_seconds_total" in (await scrape(control)).text
    for name in re.findall(r"^# TYPE (\S+)", (await scrape(control)).text, re.M):
        assert f"`{name}`" in documented or f"`{name}{{" in documented, name


async def test_the_values_of_one_worker(control: FakeControl) -> None:
    told = await scrape(control)
    assert told.value("tlsidecar_connections_total", outcome="accepted") == 42
    assert told.value("tlsidecar_handshakes_total", outcome="failed", reason="no_certificate") == 2
    assert told.value("tlsidecar_bytes_total", listener="web", direction="out") == 456
    assert told.value("tlsidecar_reloads_total", outcome="refused", reason="key_mismatch") == 1
    assert told.value("tlsidecar_last_reload_success_timestamp_seconds") == STARTED_AT.timestamp()
    assert told.value("tlsidecar_certificate_generation") == 3
    assert (
        told.value("tlsidecar_certificate_not_after_timestamp_seconds", role="leaf") == STARTED_AT.timestamp() + 86400
    )


async def test_workers_are_added_up(control: FakeControl) -> None:
    control.workers = 3
    told = await scrape(control)
    assert told.value("tlsidecar_connections_total", outcome="accepted") == 126
    assert told.value("tlsidecar_handshake_duration_seconds_count") == 12
    assert told.value("tlsidecar_log_lines_dropped_total") == 21
    assert told.value("tlsidecar_upstream_healthy", upstream="127.0.0.1:8080") == 0


async def test_a_histogram_is_cumulative_and_ends_in_everything(control: FakeControl) -> None:
    told = await scrape(control)
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in told.family("tlsidecar_handshake_duration_seconds").samples
        if sample.name.endswith("_bucket")
    ]
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert buckets[:3] == [("0.001", 0), ("0.0025", 1), ("0.005", 2)]
    assert buckets[-1] == ("+Inf", 4)
    assert told.value("tlsidecar_handshake_duration_seconds_sum") == pytest.approx(99.205)


async def test_state_readiness_and_problems(control: FakeControl) -> None:
    control.state = State.DEGRADED
    control.found_problems = [critical("reload_refused"), critical("reload_refused"), critical("expiring")]
    told = await scrape(control)
    assert told.value("tlsidecar_state", state="degraded") == 1
    assert told.value("tlsidecar_state", state="ready") == 0
    assert told.value("tlsidecar_ready") == 1
    assert {sample.labels["code"] for sample in told.family("tlsidecar_problem").samples} == {
        "reload_refused",
        "expiring",
    }


async def test_before_there_is_material(control: FakeControl) -> None:
    control.generation = None
    control.counts.last_success_at = None
    told = await scrape(control)
    assert told.value("tlsidecar_certificate_generation") == 0
    assert "tlsidecar_last_reload_success_timestamp_seconds" not in told.families


async def test_no_peer_identity_is_anywhere(control: FakeControl) -> None:
    text = (await scrape(control)).text
    for record in control.records:
        assert record.identity not in text
        assert record.peer_address not in text


async def test_a_hostile_label_value_stays_in_its_label(control: FakeControl) -> None:
    hostile = 'a"b\\c\nd\udc80'
    control.counts.by_outcome = {("refused", hostile): 1}
    told = await scrape(control)
    assert told.value("tlsidecar_reloads_total", reason='a"b\\c\nd\\udc80') == 1


async def test_the_process_figures_are_those_of_this_process(control: FakeControl) -> None:
    told = await scrape(control)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert told.value("process_cpu_seconds_total") == pytest.approx(usage.ru_utime + usage.ru_stime, abs=0.5)
    assert told.value("process_max_fds") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert told.value("process_open_fds") == pytest.approx(len(os.listdir("/proc/self/fd")), abs=3)
    assert 1e6 < told.value("process_resident_memory_bytes") < told.value("process_virtual_memory_bytes")
    boot = float(re.search(r"btime (\d+)", Path("/proc/stat").read_text())[1])  # type: ignore[index] - it is there
    assert boot < told.value("process_start_time_seconds")
