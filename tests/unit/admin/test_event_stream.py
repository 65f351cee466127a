"""The event stream: live, resumed, and honest about what it lost."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from unit.admin.conftest import Served
from unit.admin.transcript import DEADLINE_S

from tlsidecar.admin.api import MAX_EVENT_STREAMS


@dataclass
class Doc:
    id: int
    event: str
    data: Any


class Listening:
    """A client of /v1/events that reads event by event (WHATWG HTML, "Server-sent events")."""

    def __init__(self, served: Served, last_event_id: str | None = None) -> None:
        self._connection = served.wire().connected()
        self._last_event_id = last_event_id
        self.head = ""

    async def __aenter__(self) -> Listening:
        self._reader, self._writer = await self._connection.__aenter__()
        resume = "" if self._last_event_id is None else f"Last-Event-ID: {self._last_event_id}\r\n"
        self._writer.write(f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n{resume}\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            self.head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        self._text = b""
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._connection.__aexit__(None, None, None)

    async def _block(self) -> bytes:
        while b"\n\n" not in self._text:
            size = int(await self._reader.readline(), 16)
            self._text += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        block, _, self._text = self._text.partition(b"\n\n")
        return block

    async def next(self) -> Doc:
        async with asyncio.timeout(DEADLINE_S):
            while (block := await self._block()).startswith(b":"):
                pass
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        return Doc(int(fields["id"]), fields["event"], json.loads(fields["data"]))

    async def comment(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self._block()


async def test_events_come_as_they_happen(served: Served) -> None:
    async with Listening(served) as stream:
        assert "Content-Type: text/event-stream" in stream.head
        assert await stream.comment() == b": events after 0"
        served.control.events.publish("opened", {"id": 7, "listener": "web"})
        told = await stream.next()
        assert (told.id, told.event) == (1, "opened")
        assert told.data.pop("at").endswith("Z")
        assert told.data == {"seq": 1, "id": 7, "listener": "web"}


async def test_a_new_reader_starts_with_what_comes_next(served: Served) -> None:
    served.control.events.publish("state", {"state": "ready"})
    async with Listening(served) as stream:
        assert await stream.comment() == b": events after 1"
        served.control.events.publish("opened", {"id": 1})
        assert (await stream.next()).id == 2


async def test_last_event_id_resumes(served: Served) -> None:
    for number in range(5):
        served.control.events.publish("opened", {"id": number})
    async with Listening(served, "3") as stream:
        assert [(await stream.next()).id for _ in range(2)] == [4, 5]


async def test_what_is_no_longer_kept_is_told_first(served: Served) -> None:
    for number in range(3000):
        served.control.events.publish("opened", {"id": number})
    async with Listening(served, "2") as stream:
        lost = await stream.next()
        assert (lost.event, lost.data["from"], lost.data["to"], lost.id) == ("lost", 3, 952, 952)
        assert (await stream.next()).id == 953


async def test_an_id_of_an_earlier_process_is_told_so(served: Served) -> None:
    served.control.events.publish("opened", {"id": 1})
    async with Listening(served, "500") as stream:
        lost = await stream.next()
        assert (lost.event, lost.data["restarted"]) == ("lost", True)
        assert (await stream.next()).id == 1


async def test_hostile_text_stays_inside_its_event(served: Served) -> None:
    async with Listening(served) as stream:
        await stream.comment()
        served.control.events.publish("refusal", {"subject": "CN=x\n\nevent: state\ndata: {}\n\n\x1b[31m\udc80"})
        served.control.events.publish("opened", {"id": 1})
        assert (await stream.next()).data["subject"] == "CN=x\n\nevent: state\ndata: {}\n\n\x1b[31m\\x80"
        assert (await stream.next()).event == "opened"


async def test_a_burst_reaches_two_readers_whole(served: Served) -> None:
    async with Listening(served) as first, Listening(served) as second:
        for stream in (first, second):
            await stream.comment()
        for number in range(1000):
            served.control.events.publish("opened", {"id": number})
        for stream in (first, second):
            assert [(await stream.next()).id for _ in range(1000)] == list(range(1, 1001))


async def test_a_stream_that_is_left_gives_its_place_back(served: Served) -> None:
    for _ in range(3 * MAX_EVENT_STREAMS):
        async with Listening(served) as stream:
            await stream.comment()
    await until_served(served)


async def test_streams_are_bounded_and_leave_room_for_calls(served: Served) -> None:
    streams = [Listening(served) for _ in range(MAX_EVENT_STREAMS)]
    for stream in streams:
        await stream.__aenter__()
        await stream.comment()
    answer = await served.wire().get("/v1/events")
    assert answer.error == (503, "unavailable")
    assert (await served.wire().get("/v1/status")).status == 200
    for stream in streams:
        await stream.__aexit__()
    await until_served(served)


async def test_closing_the_server_ends_the_streams(served: Served) -> None:
    async with Listening(served) as stream:
        await stream.comment()
        async with asyncio.timeout(20):
            await served.server.close()
            assert await stream._reader.read() == b""


async def until_served(served: Served) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with Listening(served) as stream:
                if " 200 " in stream.head.split("\r\n")[0]:
                    return
