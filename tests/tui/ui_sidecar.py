"""A sidecar's admin socket for the tests: real HTTP/1.1 on a real Unix socket, telling what a World holds.

Run as a program it serves one until interrupted: ``python tests/tui/ui_sidecar.py --state degraded --socket PATH``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11

sys.path.insert(0, str(Path(__file__).parent))

import ui_world as worlds

_CHANGES = {
    ("POST", "/v1/reload"): "reload",
    ("POST", "/v1/rotate"): "rotate",
    ("POST", "/v1/drain"): "drain",
    ("PUT", "/v1/log-level"): "log-level",
}


@dataclass
class Sidecar:
    """Serves ``world``; ``requests`` are those received, ``changes`` those of them that change something."""

    socket: Path
    world: worlds.World
    requests: list[tuple[str, str]] = field(default_factory=list)
    changes: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections_accepted: int = 0
    denials: list[Any] = field(default_factory=list)
    refuses: str = ""  # the message of a 409 to every change
    hangs: bool = False  # takes requests and never answers
    hangs_on_changes: bool = False  # the same of what is no read
    closes_after: int | None = None  # requests a connection may have
    raw_reply: bytes | None = None  # in place of every reply
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _happened: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        self._stopping.clear()
        self._server = await asyncio.start_unix_server(self._serve, str(self.socket))

    async def stop(self) -> None:
        """Away, with every connection cut."""
        if self._server is None:
            return
        self._server.close()
        self._stopping.set()
        self._happened.set()
        while self._writers:  # each conversation ends by itself once it is cut
            self.cut()
            await asyncio.sleep(0)
        await self._server.wait_closed()
        self._server = None
        self.socket.unlink(missing_ok=True)

    def cut(self) -> None:
        """Cut every connection that is open."""
        for writer in list(self._writers):
            writer.transport.abort()

    def happen(self, kind: str, **fields: Any) -> None:
        self.world.happen(kind, **fields)
        self._happened.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_accepted += 1
        self._writers.add(writer)
        try:
            with suppress(OSError, h11.RemoteProtocolError):
                await self._converse(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        served = 0
        while True:
            request, body = await _request(http, reader)
            if request is None:
                return
            served += 1
            method, target = request.method.decode(), request.target.decode()
            self.requests.append((method, target))
            self.headers.append({name.decode(): value.decode() for name, value in request.headers})
            if self.hangs or (self.hangs_on_changes and method != "GET"):
                await self._stopping.wait()
                return
            if self.raw_reply is not None:
                writer.write(self.raw_reply)
                await writer.drain()
                return
            if urlsplit(target).path == "/v1/events":
                return await self._stream(http, writer, request)
            status, document = self._answer(method, target, body)
            payload = json.dumps(document).encode()
            head = h11.Response(
                status_code=status,
                headers=[("Content-Type", "application/json"), ("Content-Length", str(len(payload)))],
            )
            writer.write((http.send(head) or b"") + (http.send(h11.Data(payload)) or b""))
            writer.write(http.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            if served == self.closes_after:
                return
            http.start_next_cycle()

    async def _stream(self, http: h11.Connection, writer: asyncio.StreamWriter, request: h11.Request) -> None:
        headers = {name.decode(): value.decode() for name, value in request.headers}
        last = int(headers.get("last-event-id", self.world.events[-1][1]["seq"] if self.world.events else 0))
        head = h11.Response(status_code=200, headers=[("Content-Type", "text/event-stream")])
        writer.write(http.send(head) or b"")
        oldest = self.world.events[0][1]["seq"] if self.world.events else 1
        if last and last < oldest - 1:
            lost = {"from": last + 1, "to": oldest - 1, "seq": oldest - 1, "at": worlds.stamp(self.world.now)}
            self._send_event(http, writer, "lost", lost)
            last = oldest - 1
        while True:
            self._happened.clear()
            for kind, fields in self.world.events:
                if fields["seq"] > last:
                    last = fields["seq"]
                    self._send_event(http, writer, kind, fields)
            await writer.drain()
            await self._happened.wait()
            if self._stopping.is_set():
                return

    def _send_event(self, http: h11.Connection, writer: asyncio.StreamWriter, kind: str, fields: Any) -> None:
        text = f"id: {fields['seq']}\nevent: {kind}\ndata: {json.dumps(fields)}\n\n"
        writer.write(http.send(h11.Data(text.encode())) or b"")

    def _answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        world = self.world
        if method != "GET":
            return self._change(method, parts.path, query, body)
        match parts.path:
            case "/v1/status":
                return 200, world.document("status")
            case "/v1/certificates":
                return 200, world.document("certificates")
            case "/v1/failures":
                return 200, {**self._now(), **world.failures}
            case "/v1/history":
                span_s, step_s = (int(query[name].removesuffix("s")) for name in ("since", "step"))
                more = {name: query[name] for name in ("upstream", "identity") if name in query}
                return 200, world.past(span_s, step_s, **more)
            case "/v1/refusals":
                total = world.status["totals"]["refusals_total"]
                shown = world.refusals[: int(query["limit"])]
                groups = worlds.parties(world.refusals)[: int(query["limit"])]
                return 200, {**self._now(), "total": total, "refusals": shown, "groups": groups, "probes": 0}
            case "/v1/denials":
                return 200, {**self._now(), "denials": self.denials}
            case path if path.startswith("/v1/refusals/r"):
                refused = next((each for each in world.refusals if f"r{each['seq']}" == path.rpartition("/")[2]), None)
                if refused is None:
                    return 404, self._error("not_found", "no refusal of this id is kept")
                explained = worlds.explanation(refused, world.now)
                return 200, {**self._now(), "refusal": refused, "explanation": explained}
            case "/v1/connections":
                return 200, self._page(query)
            case path if path.startswith("/v1/connections/"):
                number = int(path.rpartition("/")[2])
                found = next((each for each in world.connections if each["id"] == number), None)
                if found is None:
                    return 404, self._error("not_found", f"no connection {number}")
                return 200, {**self._now(), "connection": {**found, "chain": world.chains.get(number, [])}}
            case _:
                return 404, self._error("not_found", "no such path")

    def _page(self, query: dict[str, str]) -> Any:
        wanted = query.get("filter", "").casefold()
        every = self.world.connections
        matched = [
            each for each in every if not wanted or any(wanted in str(value).casefold() for value in each.values())
        ]
        matched = [each for each in matched if query.get("identity", "") in ("", each["identity"])]
        if query.get("group"):
            return self._groups(query, len(every), matched)
        matched = sorted(matched, key=lambda each: each[query.get("sort", "id")], reverse=query.get("order") == "desc")
        offset, limit = int(query.get("offset", 0)), int(query["limit"])
        assert 1 <= limit <= 1000
        return {
            **self._now(),
            "total": len(every),
            "matched": len(matched),
            "offset": offset,
            "limit": limit,
            "connections": matched[offset : offset + limit],
        }

    def _groups(self, query: dict[str, str], total: int, matched: list[Any]) -> Any:
        """By identity; every group moves as much as it has connections."""
        counts = Counter(str(each["identity"]) for each in matched)
        rows = [
            {
                "key": name,
                "filter": f'identity:="{name}"',
                **dict.fromkeys(("connections", "requests", "bytes_in", "bytes_out"), number),
                **{f"{each}_per_s": number / 2 for each in ("requests", "bytes_in", "bytes_out")},
                "failures_per_s": 0.0,
            }
            for name, number in counts.items()
        ]
        rows.sort(key=lambda row: row[query["sort"]], reverse=query["order"] == "desc")
        first, most = int(query["offset"]), int(query["limit"])
        return {
            **self._now(),
            "total": total,
            "matched": len(matched),
            "offset": first,
            "limit": most,
            "connections": [],
            "groups": rows[first : first + most],
            "groups_matched": len(rows),
        }

    def _change(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        sent = json.loads(body) if body else None
        self.changes.append((method, path, sent))
        world = self.world
        if self.refuses:
            return 409, {**self._error("refused", self.refuses), "outcome": "refused"}
        if (method, path) == ("DELETE", "/v1/connections"):
            wanted, name = query.get("filter", "").casefold(), query.get("identity", "")
            meant = [
                each
                for each in world.connections
                if name in ("", each["identity"]) and any(wanted in str(value).casefold() for value in each.values())
            ]
            world.connections = [each for each in world.connections if each not in meant]
            return 200, {**self._now(), "ended": len(meant), "left": 0}
        if path == "/v1/undrain":
            world.status["state"] = "ready"
            return 200, {**self._now(), "outcome": "undrained"}
        if path == "/v1/drain-generations":
            return 200, {**self._now(), "ended": sent["expected"], "left": 0}
        if (method, path) == ("POST", "/v1/denials"):
            cut = [each for each in world.connections if each["identity"] == sent["identity"]]
            until = worlds.stamp(world.now + timedelta(seconds=sent["for_s"]))
            since = worlds.stamp(world.now)
            denial = {"id": 1, "identity": sent["identity"], "since": since, "until": until, "by": "uid 0"}
            self.denials = [denial]
            return 200, {**self._now(), "denial": denial, "closed": len(cut)}
        if method == "DELETE" and path.startswith("/v1/denials/"):
            denial = self.denials.pop()
            return 200, {**self._now(), "denial": denial}
        if method == "DELETE" and path.startswith("/v1/connections/"):
            number = int(path.rpartition("/")[2])
            before = len(world.connections)
            world.connections = [each for each in world.connections if each["id"] != number]
            if len(world.connections) == before:
                return 404, self._error("not_found", f"no connection {number}")
            return 200, {**self._now(), "closed": True, "id": number}
        match _CHANGES.get((method, path)):
            case "reload" | "rotate":
                world.status["generation"] += 1
                world.certificates["generation"] = world.status["generation"]
                attempt = {**world.certificates["last_attempt"], "generation": world.status["generation"]}
                return 200, {**self._now(), "outcome": "applied", "attempt": attempt}
            case "drain":
                closed = len(world.connections)
                world.connections = []
                world.status["state"] = "draining"
                return 200, {**self._now(), "outcome": "drained", "closed": closed, "forced": 0, "duration_s": 0.8}
            case "log-level":
                previous, world.status["log_level"] = world.status["log_level"], sent["level"]
                return 200, {**self._now(), "level": sent["level"], "previous": previous}
            case _:
                return 404, self._error("not_found", "no such path")

    def _now(self) -> dict[str, Any]:
        return {"now": worlds.stamp(self.world.now + self.world.skew)}

    def _error(self, code: str, message: str) -> dict[str, Any]:
        return {**self._now(), "error": {"code": code, "message": message}}


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request | None, bytes]:
    request: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return request, body
        else:
            return None, b""


@asynccontextmanager
async def running(socket: Path, world: worlds.World) -> AsyncIterator[Sidecar]:
    """A sidecar for the duration of a ``with`` block."""
    sidecar = Sidecar(socket, world)
    await sidecar.start()
    try:
        yield sidecar
    finally:
        await sidecar.stop()


async def _main() -> None:
    import argparse
    import random
    from datetime import UTC, datetime

    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--state", default="healthy")
    options = parser.parse_args()
    world = getattr(worlds, options.state)(datetime.now(UTC))
    async with running(options.socket, world) as sidecar:
        while True:
            await asyncio.sleep(1)
            world.advance(
                (datetime.now(UTC) - world.now).total_seconds(),
                bytes_in=random.randrange(20_000),
                bytes_out=random.randrange(900_000),
                connections=random.randrange(3),
            )
            if random.random() < 0.3:
                sidecar.happen("opened", id=random.randrange(9999), listener="web", peer_address="10.0.0.7:51234")
            if options.state == "degraded" and random.random() < 0.2:
                world.refuse()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main())
