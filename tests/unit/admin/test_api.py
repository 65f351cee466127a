"""Every route's reply, checked against the schema that the OpenAPI document shows."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from unit.admin.conftest import Served
from unit.admin.fake_control import HOSTILE, critical, made_connection, made_refusal
from unit.admin.schema_check import mismatches
from unit.admin.transcript import read_answer
from unit.certs.forge import ManualClock

from tlsidecar.admin.openapi import document
from tlsidecar.admin.routes import ROUTES
from tlsidecar.api.words import CONNECTION_SORT_KEYS
from tlsidecar.control.history import History
from tlsidecar.control.interface import DrainOutcome, Outcome, Severity, State, Trigger


def operation(method: str, path: str) -> Any:
    return document(tuple(ROUTES))["paths"][path][method.lower()]


def assert_as_documented(method: str, path: str, status: int, reply: object) -> None:
    schema = operation(method, path)["responses"][str(status)]["content"]["application/json"]["schema"]
    assert mismatches(reply, schema, document(tuple(ROUTES))) == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_in_the_document(route: Any) -> None:
    described = operation(route.method, route.path)
    assert described["summary"] == route.summary
    assert str(route.status) in described["responses"]


async def test_the_document_is_served(served: Served) -> None:
    answer = await served.wire().get("/v1/openapi.json")
    assert answer.json == json.loads(json.dumps(document(tuple(ROUTES))))


async def test_status(served: Served) -> None:
    served.control.found_problems = [critical()]
    reply = (await served.wire().get("/v1/status")).json
    assert_as_documented("GET", "/v1/status", 200, reply)
    (listener,) = reply["listeners"]
    assert (listener["connections_total"], listener["handshakes_failed"], listener["refusals_total"]) == (42, 2, 3)
    assert listener["allow"] == ["spiffe://prod.example/ns/*/sa/**"]
    assert (listener["handshake_p50_s"], listener["handshake_p99_s"]) == (0.005, 10.0)
    assert reply["totals"]["requests_total"] == 11
    assert reply["problems"][0]["code"] == "reload_refused"
    assert reply["certificate"]["identity"] == "spiffe://prod.example/ns/shop/sa/web"
    assert reply["openssl"].startswith("OpenSSL ")


async def test_status_adds_the_workers_up(served: Served) -> None:
    served.control.workers = 2
    reply = (await served.wire().get("/v1/status")).json
    assert_as_documented("GET", "/v1/status", 200, reply)
    assert [worker["pid"] for worker in reply["workers"]] == [4711, 4712]
    (listener,) = reply["listeners"]
    assert (listener["connections_total"], listener["max_connections"]) == (84, 18000)
    assert listener["upstreams"] == [
        {
            "address": "127.0.0.1:8080",
            "healthy": False,
            "active": 2,
            "idle": 4,
            "failures": 1,
            "ejected_until": None,
            "last_error": "",
            "checked": None,
            "checks_total": 0,
            "checks_failed": 0,
        }
    ]


async def test_status_before_there_is_material(served: Served) -> None:
    served.control.generation = None
    served.control.state = State.STARTING
    reply = (await served.wire().get("/v1/status")).json
    assert_as_documented("GET", "/v1/status", 200, reply)
    assert (reply["generation"], reply["certificate"], reply["ready"]) == (0, None, False)


async def test_connections_are_filtered_sorted_and_windowed(served: Served) -> None:
    served.control.records = [made_connection(number) for number in range(1, 251)]
    reply = (await served.wire().get("/v1/connections?filter=CLIENT-2&sort=bytes_in&order=desc&limit=3&offset=1")).json
    assert_as_documented("GET", "/v1/connections", 200, reply)
    assert [row["id"] for row in reply["connections"]] == [249, 248, 247]
    counts = {name: reply[name] for name in ("total", "matched", "offset", "limit")}
    assert counts == {"total": 250, "matched": 62, "offset": 1, "limit": 3}


async def test_connections_in_groups(served: Served) -> None:
    served.control.records = [made_connection(number, identity=f"client-{number % 3}") for number in range(7)]
    reply = (await served.wire().get("/v1/connections?group=identity&limit=2")).json
    assert_as_documented("GET", "/v1/connections", 200, reply)
    assert [(row["key"], row["connections"], row["requests_per_s"]) for row in reply["groups"]] == [
        ("client-0", 3, 1.5),
        ("client-2", 2, 1.0),
    ]
    assert (reply["total"], reply["matched"], reply["groups_matched"], reply["connections"]) == (7, 7, 3, [])
    served.control.group_rates_over_s = 0.0
    reply = (await served.wire().get("/v1/connections?group=identity&sort=key&offset=1")).json
    assert [(row["key"], row["failures_per_s"]) for row in reply["groups"]] == [("client-1", None), ("client-2", None)]
    for query in ("group=colour", "group=identity&sort=idle_s", "sort=key", "group=peer&filter=gen:x"):
        assert (await served.wire().get(f"/v1/connections?{query}")).status == 400, query


async def test_a_thousand_connections_in_one_reply(served: Served) -> None:
    served.control.records = [made_connection(number) for number in range(1, 3001)]
    reply = (await served.wire().get("/v1/connections?limit=1000")).json
    assert [row["id"] for row in reply["connections"]] == list(range(1, 1001))


async def test_connections_with_nothing_open(served: Served) -> None:
    served.control.records = []
    reply = (await served.wire().get("/v1/connections?filter=&sort=&order=&limit=&offset=")).json
    assert (reply["connections"], reply["total"], reply["limit"]) == ([], 0, 100)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1e3",
        "limit=%D9%A3",
        "limit=" + "9" * 400,
        "offset=x",
        "sort=secret",
        "order=up",
        "nonsense=1",
        "limit=1&limit=2",
        "filter=%ff",
        "limit",
        "&".join(f"a{number}=1" for number in range(40)),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(served: Served, query: str) -> None:
    assert (await served.wire().get(f"/v1/connections?{query}")).error == (400, "bad_request")


@pytest.mark.parametrize("key", CONNECTION_SORT_KEYS)
async def test_every_sort_key_sorts(served: Served, key: str) -> None:
    assert (await served.wire().get(f"/v1/connections?sort={key}")).status == 200


async def test_one_connection_with_its_chain(served: Served) -> None:
    reply = (await served.wire().get("/v1/connections/2")).json
    assert_as_documented("GET", "/v1/connections/{id}", 200, reply)
    leaf, broken = reply["connection"]["chain"]
    assert leaf["uris"] == ["spiffe://prod.example/ns/shop/sa/web"]
    assert (leaf["key"], leaf["signature"], leaf["is_ca"]) == ("EC P-256", "ecdsa-with-SHA256", False)
    assert (broken["subject"], len(broken["sha256"])) == ("", 64)


async def test_a_connection_that_is_not_there(served: Served) -> None:
    assert (await served.wire().get("/v1/connections/999")).error == (404, "not_found")
    assert (await served.wire().get("/v1/connections/x")).error == (400, "bad_request")


async def test_closing_a_connection(served: Served) -> None:
    reply = (await served.wire().call("DELETE", "/v1/connections/2")).json
    assert_as_documented("DELETE", "/v1/connections/{id}", 200, reply)
    assert (reply["closed"], reply["id"]) == (True, 2)
    assert (await served.wire().call("DELETE", "/v1/connections/2")).error == (404, "not_found")


async def test_certificates(served: Served) -> None:
    await served.wire().call("POST", "/v1/reload")
    reply = (await served.wire().get("/v1/certificates")).json
    assert_as_documented("GET", "/v1/certificates", 200, reply)
    assert reply["connections_by_generation"] == {"2": 1, "3": 11}
    assert reply["trust"][0]["is_ca"] is True
    assert reply["crls"][0] == {
        "issuer": "CN=Test CA",
        "this_update": "2026-11-23T23:15:00.000Z",
        "next_update": "2026-11-30T23:15:00.000Z",
        "revoked": 0,
    }
    assert reply["last_attempt"]["outcome"] == "applied"


async def test_refusals_newest_first(served: Served) -> None:
    for serial in ("0a", "0b", "0c"):
        served.control.refusals.record(made_refusal(serial=serial))
    reply = (await served.wire().get("/v1/refusals?limit=2")).json
    assert_as_documented("GET", "/v1/refusals", 200, reply)
    assert [(refusal["seq"], refusal["serial"]) for refusal in reply["refusals"]] == [(3, "0c"), (2, "0b")]
    assert reply["refusals"][0]["sentence"] == "no access rule allows this identity"
    assert reply["total"] == 3


async def test_hostile_text_is_escaped_and_comes_back_whole(served: Served) -> None:
    served.control.records = [made_connection(1, sni=HOSTILE)]
    answer = await served.wire().get("/v1/connections")
    assert answer.body.isascii()
    assert not any(byte < 0x20 for byte in answer.body)
    assert answer.json["connections"][0]["sni"] == HOSTILE.replace("\udcff", "\\xff")


@pytest.mark.parametrize("verb", ["reload", "rotate"])
async def test_an_attempt_that_is_applied(served: Served, verb: str) -> None:
    reply = (await served.wire().call("POST", f"/v1/{verb}")).json
    assert_as_documented("POST", f"/v1/{verb}", 200, reply)
    assert (reply["outcome"], reply["attempt"]["generation"]) == ("applied", 4)


@pytest.mark.parametrize("verb", ["reload", "rotate"])
async def test_an_attempt_that_is_refused_says_why(served: Served, verb: str) -> None:
    served.control.next_outcome = Outcome.REFUSED
    answer = await served.wire().call("POST", f"/v1/{verb}")
    assert answer.error == (409, "refused")
    assert answer.json["error"]["message"] == "key_mismatch: tls.key"
    assert answer.json["attempt"]["reason"] == "key_mismatch"


async def test_a_reload_answers_when_it_is_done_and_others_are_served_meanwhile(served: Served) -> None:
    served.control.hold = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        reload = tasks.create_task(served.wire().call("POST", "/v1/reload"))
        while "reload admin" not in served.control.calls:
            await asyncio.sleep(0.001)
        assert (await served.wire().get("/readyz")).status == 200
        assert not reload.done()
        served.control.hold.set()
    assert reload.result().status == 200


async def test_a_drain_with_and_without_a_timeout(served: Served) -> None:
    reply = (await served.wire().call("POST", "/v1/drain", {"timeout_s": 2.5})).json
    assert_as_documented("POST", "/v1/drain", 200, reply)
    assert reply["outcome"] == "drained"
    served.control.drain_outcome = DrainOutcome(drained=False, closed=2, forced=1, duration_s=2.5)
    assert (await served.wire().call("POST", "/v1/drain")).json["outcome"] == "forced"
    assert served.control.calls == ["drain 2.5", "drain None"]


@pytest.mark.parametrize("body", [{"timeout_s": "5"}, {"timeout_s": -1}, {"timeout_s": 1e9}, {"timeout_s": True}])
async def test_a_drain_timeout_that_makes_no_sense(served: Served, body: object) -> None:
    assert (await served.wire().call("POST", "/v1/drain", body)).error == (400, "bad_request")
    assert served.control.calls == []


async def test_shutdown_is_answered_before_it_begins(served: Served) -> None:
    answer = await served.wire().call("POST", "/v1/shutdown")
    assert answer.status == 202
    assert_as_documented("POST", "/v1/shutdown", 202, answer.json)
    async with asyncio.timeout(20):
        while served.control.calls != ["shutdown"]:
            await asyncio.sleep(0.001)


async def test_the_log_level(served: Served) -> None:
    reply = (await served.wire().call("PUT", "/v1/log-level", {"level": "debug"})).json
    assert_as_documented("PUT", "/v1/log-level", 200, reply)
    assert (reply["level"], reply["previous"], served.control.log_level) == ("debug", "info", "debug")
    for wrong in ({"level": "loud"}, {"level": 3}, {}, {"level": "info", "more": 1}):
        assert (await served.wire().call("PUT", "/v1/log-level", wrong)).error == (400, "bad_request")


async def test_health_and_readiness(served: Served) -> None:
    live, ready = await served.wire().get("/healthz"), await served.wire().get("/readyz")
    assert (live.status, live.body, ready.status, ready.body) == (200, b"live\n", 200, b"ready\n")
    served.control.state = State.DRAINING
    served.control.live = False
    served.control.found_problems = [critical("no_material", "line one\nline two")]
    live, ready = await served.wire().get("/healthz"), await served.wire().get("/readyz")
    assert (live.status, live.body) == (503, b"not live\n")
    assert (ready.status, ready.body) == (503, b"draining\nno_material: line one\\nline two\n")


async def test_head_is_get_without_the_body(served: Served) -> None:
    async with served.wire().connected() as (reader, writer):
        writer.write(b"HEAD /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await read_answer(reader, body=False)
        after = await read_answer(reader)
    assert head is not None
    assert after is not None
    assert (head.status, int(head.headers["content-length"]) > 500, after.body) == (200, True, b"live\n")


async def test_a_defect_of_ours_is_a_500_and_the_server_goes_on(served: Served, monkeypatch: Any) -> None:
    async def broken() -> None:
        raise RuntimeError("defect")

    monkeypatch.setattr(served.control, "snapshots", broken)
    assert (await served.wire().get("/v1/status")).error == (500, "internal")
    assert (await served.wire().get("/healthz")).status == 200


async def test_nothing_secret_is_in_any_reply(served: Served) -> None:
    assert served.control.generation is not None
    key = served.control.generation.material.key
    number = key.reveal().private_numbers().private_value  # type: ignore[union-attr] - an EC key
    traces = (b"PRIVATE KEY", f"{number:x}".encode(), str(number).encode(), key.to_der()[36:68])
    for route in ROUTES:
        if route.path != "/v1/events":
            answer = await served.wire().call(route.method, route.path.replace("{id}", "1"))
            assert not any(trace in answer.body for trace in traces), route.path


async def test_problems_of_each_severity_are_told(served: Served) -> None:
    served.control.found_problems = [replace(critical(), severity=severity) for severity in Severity]
    reply = (await served.wire().get("/v1/status")).json
    assert_as_documented("GET", "/v1/status", 200, reply)
    assert [problem["severity"] for problem in reply["problems"]] == ["critical", "warning", "notice"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_works(served: Served) -> None:
    async def curl(*arguments: str) -> bytes:
        command = ["curl", "-sS", "--max-time", "10", "--unix-socket", str(served.socket), *arguments]
        return await asyncio.to_thread(subprocess.check_output, command)

    assert json.loads(await curl("http://localhost/v1/status"))["state"] == "ready"
    assert json.loads(await curl("-X", "POST", "http://localhost/v1/reload"))["outcome"] == "applied"
    level = ("-X", "PUT", "-H", "Content-Type: application/json", "-d", '{"level":"debug"}')
    assert json.loads(await curl(*level, "http://localhost/v1/log-level"))["level"] == "debug"
    big = ("-X", "POST", "-H", "Content-Type: application/json", "--data-binary", "@-")
    command = [
        "curl",
        "-sS",
        "--max-time",
        "10",
        "--unix-socket",
        str(served.socket),
        *big,
        "http://localhost/v1/drain",
    ]
    done = await asyncio.to_thread(subprocess.run, command, input=b" " * 10_000_000, capture_output=True)
    assert json.loads(done.stdout)["error"]["code"] == "too_large", done.stderr


async def test_history(served: Served) -> None:
    served.control.found_problems = [critical()]
    served.control.history.note(served.control.found_problems)
    await served.control.reload(Trigger.ADMIN)
    served.control.last_attempt = replace(served.control.last_attempt, at=served.control.clock.now())
    served.control.history.observe(await served.control.snapshots())
    reply = (await served.wire().get("/v1/history?since=1m&step=1s")).json
    assert_as_documented("GET", "/v1/history", 200, reply)
    assert reply["step_s"] == 1
    assert {(mark["kind"], mark["name"]) for mark in reply["marks"]} == {
        ("reload", "applied"),
        ("problem", "reload_refused"),
    }


async def test_history_adds_the_workers_and_the_listeners_up(served: Served) -> None:
    served.control.workers = 2
    served.control.clock = clock = ManualClock()
    served.control.history = History(clock)
    clock.advance(timedelta(seconds=1))
    served.control.history.observe(await served.control.snapshots())
    reply = (await served.wire().get("/v1/history?since=2m&step=1s")).json
    assert_as_documented("GET", "/v1/history", 200, reply)
    (web,) = reply["listeners"]
    for series in (web, reply["total"]):
        assert sum(series["requests"]["2xx"]) == 20
        assert sum(series["failures"]["upstream_refused"]) == 2
        assert (sum(series["connections"]), series["connections_active"][-1], sum(series["refusals"])) == (84, 4, 6)
        assert (sum(series["handshakes"]), sum(series["handshakes_failed"])) == (8, 4)
        assert (sum(series["bytes_in"]), sum(series["bytes_out"])) == (246, 912)
        assert (series["handshake_p50_s"][-1], series["request_p99_s"][-1]) == (0.005, 60.0)
    whole = (await served.wire().get("/v1/history?since=2m&step=1s&upstream=*&identity=*")).json
    assert_as_documented("GET", "/v1/history", 200, whole)
    assert [each["name"] for each in whole["upstreams"]] == [each["name"] for each in whole["kept_upstreams"]]
    assert [each["name"] for each in whole["identities"]] == ["others"]  # nobody has a place
    assert whole["identities"][0]["requests"] == reply["total"]["requests"]
    assert all(len(series) == reply["steps"] for series in (web["refusals"], web["requests"]["5xx"], web["bytes_in"]))


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *((f"since={since}", "since") for since in ("15", "0s", "-5m", "yesterday", "1m%00", "2999-01-01T00:00:00Z")),
        *((f"since={since}", "since") for since in ("2026-11-23T23:15:00", "9" * 400, "2026-13-01T00:00:00Z")),
        *((f"step={step}", "step") for step in ("0s", "500ms", "1", "3h", "-1s", "often", "9" * 400 + "s")),
        ("since=1h&step=9s", "step"),
        ("until=now", "until"),
    ],
)
async def test_history_names_what_it_does_not_take(served: Served, query: str, name: str) -> None:
    answer = await served.wire().get(f"/v1/history?{query}")
    assert answer.status == 400
    assert name in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("query", "step_s"),
    [
        ("", 60),
        ("since=2m", 1),
        ("since=15m", 10),
        ("since=90m", 60),
        ("since=30d", 60),
        ("step=1s", 1),
        ("step=2500ms", 3),
        ("step=10s", 10),
        ("since=5m&step=15s", 20),
        ("since=2020-01-01T00:00:00Z", 60),
        ("since=2020-01-01T02:00:00%2B02:00", 60),
        ("since=2020-01-01T02:00:00+02:00", 60),
    ],
)
async def test_history_says_how_long_its_steps_are(served: Served, query: str, step_s: int) -> None:
    reply = (await served.wire().get(f"/v1/history?{query}")).json
    assert reply["step_s"] == step_s
