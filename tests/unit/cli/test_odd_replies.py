"""Commands before an admin socket whose replies are odd: of a sidecar of another version, or of something else.

What lists and shows takes what it can use of a reply. What is no reply of an admin API at all is exit code 3.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import click
import pytest
from unit.admin.fake_control import HOSTILE
from unit.cli.conftest import tlsidecar

from tlsidecar.admin.api import _match
from tlsidecar.admin.client import AdminClient
from tlsidecar.admin.routes import ROUTES
from tlsidecar.api.declare import Field, fields_of
from tlsidecar.api.recording import read_recording
from tlsidecar.cli import completion, reads
from tlsidecar.cli.sidecar_probe import AdminProbe

NOW = "2026-11-23T23:15:00.000Z"
READS = (
    *("status", "connections", "connections --group identity", "certificates", "refusals", "refusals --groups"),
    *("failures", "history", "denials", "explain r1", "explain 1", "explain c1"),
)
CHANGES = (
    *("reload", "rotate", "drain", "drain --old-generations", "undrain", "shutdown", "log-level info"),
    *("kill 1", "kill --filter web", "deny somebody --for 1m", "undeny --all"),
)
Reply = Callable[[type], object]


class Answering(socketserver.ThreadingUnixStreamServer):
    """Gives each call of the API what ``reply`` makes of the record that it is to have."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.path = path
        self.reply: Reply = lambda record: {}
        self.text = b""  # of what is no JSON: events, metrics

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has seen enough."""

    def run(self, line: str) -> int:
        """The exit code of a command, whose output may act on no terminal. An exception in it is one here."""
        words = line.split()
        done = tlsidecar(words[0], "--socket", self.path, *words[1:])
        assert (done.out + done.err).replace("\n", "").isprintable()
        return done.code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Answering

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        route = next(each for each in ROUTES if each.method == self.command and _match(each.path, path) is not None)
        body = (
            json.dumps(self.server.reply(route.reply)).encode() if isinstance(route.reply, type) else self.server.text
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answering]:
    with Answering(tmp_path / "odd.sock") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def nothing_but_the_time(record: type) -> object:
    return {"now": NOW}


def of_other_types(record: type) -> object:
    """Every field a number where it is text or a list, and text where it is a number."""
    return {
        field.name: HOSTILE if field.kind in (int, float, bool) or field.is_time else -7 for field in fields_of(record)
    } | {"now": NOW}


def extreme(record: type) -> dict[str, object]:
    """Of the right form, each value as far out as it can be, and rubbish beside each row."""
    return {field.name: _extreme(field) for field in fields_of(record)} | {"now": NOW}


def _extreme(field: Field) -> object:
    if field.is_tuple:
        item: object = extreme(field.record) if field.record is not None else _extreme_value(field.item)
        return [item, None, 7, item]
    if field.record is not None:
        return extreme(field.record)
    if field.is_counters:
        return {HOSTILE: [10**30] if field.is_series else 10**30}
    return _extreme_value(field.kind)


def _extreme_value(kind: Any) -> object:
    if kind is int:
        return 10**30
    if kind is float:
        return 1e308
    if kind is bool:
        return True
    return "9999-12-31T23:59:59Z" if getattr(kind, "__name__", "") == "datetime" else HOSTILE


@pytest.mark.parametrize("reply", [nothing_but_the_time, of_other_types, extreme])
@pytest.mark.parametrize("command", READS)
def test_what_can_be_used_of_a_reply_is_shown(
    answering: Answering, monkeypatch: pytest.MonkeyPatch, command: str, reply: Reply
) -> None:
    monkeypatch.setattr(reads, "RATES_WITHIN_S", 0)
    answering.reply = reply
    allowed = command.startswith("explain") and reply is extreme
    assert answering.run(command) == (4 if command.startswith("explain") and not allowed else 0)


@pytest.mark.parametrize("reply", [nothing_but_the_time, of_other_types, extreme])
@pytest.mark.parametrize("command", CHANGES)
def test_a_change_is_said_as_far_as_the_reply_tells(answering: Answering, command: str, reply: Reply) -> None:
    answering.reply = reply
    assert answering.run(command) in (0, 1, 4)


@pytest.mark.parametrize("command", [*READS, *CHANGES])
def test_what_tells_no_time_is_no_admin_api(answering: Answering, command: str) -> None:
    answering.reply = lambda record: {"hello": "world"}
    assert answering.run(command) == 3


@pytest.mark.parametrize("reply", [nothing_but_the_time, of_other_types, extreme])
def test_a_shell_is_given_nothing_that_acts(answering: Answering, reply: Reply) -> None:
    answering.reply = reply
    context = click.Context(click.Command("x"))
    context.params["socket_path"] = answering.path
    asked = (completion.connections, completion.explainable, completion.identities, completion.denied)
    for complete in asked:
        for item in complete(context, click.Argument(["x"]), ""):
            assert item.value.isascii()
            assert item.value.isprintable()


@pytest.mark.parametrize("reply", [nothing_but_the_time, of_other_types])
def test_commands_on_certificates_say_that_it_is_not_understood(answering: Answering, reply: Reply) -> None:
    from certs.probe import SidecarUnreachable

    answering.reply = reply
    probe = AdminProbe("web", AdminClient(answering.path))
    for ask in (probe.served, probe.reload, probe.peers):
        with pytest.raises(SidecarUnreachable, match=r"^web: "):
            ask()


@pytest.mark.parametrize("data", [b"[1]", b"7", b"{", b"\xff", b"[" * 5000])
def test_an_event_that_is_no_object_is_of_no_admin_api(answering: Answering, data: bytes) -> None:
    answering.text = b"id: 1\nevent: opened\ndata: " + data + b"\n\n"
    assert answering.run("events --no-follow") == answering.run("events --no-follow --json") == 3


def test_an_event_that_tells_nothing_is_shown(answering: Answering) -> None:
    answering.text = b"event: \x1b[31m\ndata: {}\n\n"
    assert answering.run("events --no-follow") == 0


@pytest.mark.parametrize("reply", [nothing_but_the_time, of_other_types, extreme])
def test_a_snapshot_has_what_there_is(answering: Answering, tmp_path: Path, reply: Reply) -> None:
    answering.reply = reply
    file = tmp_path / "x.tlsidecar.gz"
    assert answering.run(f"snapshot -o {file}") == 0
    assert [track.targets("/v1/status") for track in read_recording(file).tracks.values()] == [["/v1/status"]]
