"""The access log: one line for each connection or request, whatever the peer put into it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlsidecar.dataplane.http.exchange import Downstream, Exchange
from tlsidecar.dataplane.http.message import Request
from tlsidecar.observe import access_log
from tlsidecar.observe.access_log import LOGGED_TEXT_CHARACTERS, TEMPLATES, AccessLog
from tlsidecar.observe.sink import LineSink
from tlsidecar.outcomes import AccessEntry, Reason, Trace
from tlsidecar.settings import Log

REQUEST = AccessEntry(
    at=1763939700.0125,
    protocol="http",
    listener="web",
    connection_id=17,
    generation=3,
    peer_address="10.0.0.7:51234",
    identity="spiffe://prod.example/ns/shop/sa/web",
    rule="spiffe://prod.example/ns/*/sa/web",
    reason=Reason.COMPLETED,
    upstream="127.0.0.1:8080",
    bytes_in=120,
    bytes_out=4096,
    handshake_s=0.0025,
    wait_s=0.0001,
    upstream_s=0.004,
    total_s=0.0066,
    method="GET",
    target="/things?x=1",
    status=200,
    request_id="0af7651916cd43dd",
)
CONNECTION = REQUEST._replace(protocol="tcp", method="", target="", status=0, request_id="")


class Lines(LineSink):
    """A sink whose lines stay where the test can see them."""

    def __init__(self) -> None:
        super().__init__(2)
        self.close()  # it has no use for a descriptor
        self.lines: list[str] = []

    def write_bytes(self, line: bytes) -> bool:
        self.lines.append(line.decode())
        return True


def logged(entry: AccessEntry, access: str = "json") -> str:
    sink = Lines()
    AccessLog(Log(access=access), sink).record(entry)
    (line,) = sink.lines
    return line


def test_a_request_as_json() -> None:
    assert json.loads(logged(REQUEST)) == {
        "time": "2025-11-23T23:15:00.012Z",
        "access": "request",
        "listener": "web",
        "peer": "10.0.0.7:51234",
        "identity": "spiffe://prod.example/ns/shop/sa/web",
        "method": "GET",
        "target": "/things?x=1",
        "status": 200,
        "request_id": "0af7651916cd43dd",
        "bytes_in": 120,
        "bytes_out": 4096,
        "handshake_s": 0.0025,
        "wait_s": 0.0001,
        "upstream_s": 0.004,
        "total_s": 0.0066,
        "upstream": "127.0.0.1:8080",
        "connection": 17,
        "generation": 3,
        "reason": "completed",
        "rule": "spiffe://prod.example/ns/*/sa/web",
    }


def test_a_connection_as_json_has_no_request_fields() -> None:
    line = json.loads(logged(CONNECTION))
    assert line["access"] == "connection"
    assert not {"method", "target", "status", "request_id"} & set(line)


def test_a_request_as_text() -> None:
    assert logged(REQUEST, "text") == (
        "2025-11-23T23:15:00.012Z web 10.0.0.7:51234 spiffe://prod.example/ns/shop/sa/web "
        '"GET /things?x=1" 200 id=0af7651916cd43dd completed in=120 out=4096 handshake=0.002500 wait=0.000100 '
        "upstream=0.004000 total=0.006600 to=127.0.0.1:8080 connection=17 generation=3 "
        "rule=spiffe://prod.example/ns/*/sa/web"
    )


def test_which_of_our_identities_is_told_where_they_have_names() -> None:
    for access, wanted in (("json", '"connection":17,"own_identity":"mesh","generation":3'), ("text", "as=mesh gen")):
        sink = Lines()
        log = AccessLog(Log(access=access), sink)
        log.record(REQUEST._replace(own_identity="mesh"))
        log.record(REQUEST._replace(own_identity="default"))
        assert [wanted in line for line in sink.lines] == [True, False]
        assert "default" not in sink.lines[1]


class Unheard:
    """Whom these exchanges do not report to."""


def exchange(**changes: Any) -> tuple[Exchange, float]:
    """A request as it ended, and when; ``changes`` as to :data:`REQUEST`, latin-1 where it is bytes on the wire."""
    entry = REQUEST._replace(**changes)
    connection = Downstream(
        cast("Any", Unheard()),
        cast("Any", Unheard()),
        wall=lambda: entry.at,
        listener=entry.listener,
        connection_id=entry.connection_id,
        generation=entry.generation,
        peer_address=entry.peer_address,
        handshake_s=entry.handshake_s,
        identity=cast("Any", SimpleNamespace(name=entry.identity)),
        rule=entry.rule,
        own_identity=entry.own_identity,
    )
    request = Request(entry.method.encode("latin-1"), entry.target.encode("latin-1"), b"a")
    request.request_id = entry.request_id.encode("latin-1")
    request.trace = entry.trace
    ended = Exchange(connection, request, 100.0)
    if entry.upstream:
        ended.attach(entry.upstream, 100.0 + entry.wait_s)
    ended.status, ended.bytes_in, ended.bytes_out = entry.status, entry.bytes_in, entry.bytes_out
    ended.reason = None if entry.reason is Reason.COMPLETED else entry.reason
    return ended, 100.0 + entry.total_s


_TEXT = st.text(st.characters(max_codepoint=0xFF), max_size=6)
_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "target": st.sampled_from(["/", "/a%20b?c=%", '/"', "/\\", "/é", "/" + "x" * 2047, "/" + "x" * 2048, "*"])
        | _TEXT,
        "method": st.sampled_from(["POST", "M-SEARCH", ""]) | _TEXT,
        "request_id": st.sampled_from(["0" * 32, "a-b", 'a"b', "", "é"]) | _TEXT,
        "status": st.sampled_from([0, 101, 999]),
        "reason": st.sampled_from([Reason.COMPLETED, Reason.PEER_RESET]),
        "identity": st.sampled_from(["", "100%s", 'a"\\b', "é", "x" * 3000]),
        "rule": st.sampled_from(["", "%d"]),
        "upstream": st.sampled_from(["", "unix:/run/%s", 'unix:/"é', "127.0.0.1:2"]),
        "handshake_s": st.sampled_from([0.0, 1.5]),
        "wait_s": st.sampled_from([0.0, 12.25]),
        "total_s": st.sampled_from([0.0, 15.0]),
        "bytes_out": st.sampled_from([0, 1 << 40]),
        "trace": st.sampled_from([None, Trace("1" * 32, "2" * 16, "", sampled=True, kind="server")]),
        "connection_id": st.sampled_from([17, 18]),
    },
)
_OF_A_CONNECTION = {
    17: {"peer_address": "unix", "generation": 4, "own_identity": "default"},
    18: {"peer_address": "[::1]:5", "listener": "100%", "own_identity": "mesh"},
}


@given(changes=st.lists(_CHANGES, max_size=6))
def test_a_template_says_what_the_entry_says(changes: list[dict[str, Any]]) -> None:
    sink = Lines()
    log = AccessLog(Log(), sink)
    for number, change in enumerate(changes):
        fixed = _OF_A_CONNECTION[change.setdefault("connection_id", 17)] | {"handshake_s": 0.25}
        ended, now = exchange(**change | fixed)
        now += number  # in the same turn it would have the same time
        log.request(ended, now)
        log.record(ended.entry(now))
        assert sink.lines[-2] == sink.lines[-1]


def test_an_ordinary_request_is_written_by_its_connections_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that stays is formatted or escaped again, no entry is made, and the clock is read once a turn."""
    sink = Lines()
    log = AccessLog(Log(), sink)
    first, now = exchange()
    log.request(first, now)
    monkeypatch.setattr(access_log, "quote", None)
    monkeypatch.setattr(Exchange, "entry", None)
    for number in range(100):
        ended, _ = exchange(target=f"/things/{number}", request_id=f"{number:032x}", total_s=0.0066)
        ended.identity, ended.downstream.wall = first.identity, cast("Any", None)
        log.request(ended, now)
    assert len(sink.lines) == 101


def test_few_templates_are_kept() -> None:
    log = AccessLog(Log(), Lines())
    for number in range(TEMPLATES * 2 + 5):
        log.request(*exchange(connection_id=number, upstream=f"10.0.0.1:{number}"))
    assert 0 < len(log._templates) <= TEMPLATES
    assert 0 < len(log._upstreams) <= TEMPLATES


def test_off_writes_nothing() -> None:
    sink = Lines()
    log = AccessLog(Log(access="off"), sink)
    log.record(REQUEST)
    assert sink.lines == []
    assert not log.enabled


@pytest.mark.parametrize("access", ["json", "text"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(text=st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_from_a_peer_is_one_line_of_printable_ascii(access: str, text: str) -> None:
    line = logged(REQUEST._replace(target=text, identity=text, method=text, request_id=text, rule=text), access)
    assert line.isascii()
    assert line.isprintable()


@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\x7f")))
def test_unicode_text_comes_back_from_the_json_as_it_was(text: str) -> None:
    assert json.loads(logged(REQUEST._replace(identity=text)))["identity"] == text


def test_bytes_that_were_not_utf8_are_spelled_out() -> None:
    target = b"/\xff\x80caf\xc3\xa9\x7f".decode("utf-8", "surrogateescape")
    assert json.loads(logged(REQUEST._replace(target=target)))["target"] == "/\\xff\\x80café\\x7f"


def test_an_overlong_target_is_cut() -> None:
    target = json.loads(logged(REQUEST._replace(target="/" + "x" * 9000)))["target"]
    assert len(target) == LOGGED_TEXT_CHARACTERS
    assert target.endswith("x…")


def test_the_time_follows_a_clock_that_jumps_back() -> None:
    sink = Lines()
    log = AccessLog(Log(), sink)
    for at in (1000.5, 1000.999, 1001.0, 999.25, 999.0):
        log.record(REQUEST._replace(at=at))
    assert [json.loads(line)["time"][-10:] for line in sink.lines] == [
        "16:40.500Z",
        "16:40.999Z",
        "16:41.000Z",
        "16:39.250Z",
        "16:39.000Z",
    ]


def test_lines_reach_the_file(tmp_path: Path) -> None:
    sink = LineSink.file(tmp_path / "access.log")
    log = AccessLog(Log(), sink)
    log.record(REQUEST)
    log.record(CONNECTION)
    sink.close()
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert [json.loads(line)["access"] for line in lines] == ["request", "connection"]
    assert log.dropped_lines == 0
