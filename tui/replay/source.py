"""A recording as a target: an endpoint for each sidecar in it, whose connections are answered here."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import h11

from tlsidecar.api.errors import Unreachable
from tui.reach.channel import Channel
from tui.reach.sources import OneEndpoint, Source
from tui.replay.answers import Answers, NotRecorded, error_body, event_octets
from tui.replay.playback import Playback
from tui.text import EMPTY, SafeText, safe_text

_LOOK_S = 0.1
_KEEP_ALIVE_S = 10.0


@dataclass(frozen=True, slots=True)
class ReplayEndpoint:
    """One sidecar of a recording."""

    name: SafeText
    answers: Answers
    login_s: float = 0.0
    longest_retry_s: float = 1.0

    @property
    def label(self) -> SafeText:
        return self.name

    async def open(self) -> Channel:
        silence = self.answers.silence()
        if silence is not None:
            raise Unreachable(silence)
        return _ReplayChannel(self.answers)


def replay_sources(playback: Playback) -> tuple[Source, ...]:
    """One target for each sidecar, in their order; those of the same name are told apart."""
    sources: dict[str, Source] = {}
    for number, track in sorted(playback.recording.tracks.items()):
        name = safe_text(track.name)
        if name in sources:
            name = SafeText(f"{name} ({number})")
        sources[name] = OneEndpoint(ReplayEndpoint(name, Answers(track, playback)))
    return tuple(sources.values())


class _ReplayChannel(Channel):
    """A connection whose other end is the recording."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._http = h11.Connection(h11.SERVER)
        self._pending = bytearray()
        self._next_event: int | None = None  # of a stream: the number of the next one

    async def send(self, octets: bytes) -> None:
        self._http.receive_data(octets)
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._answer(event)
            elif isinstance(event, h11.EndOfMessage):
                if self._http.our_state is h11.DONE:
                    self._http.start_next_cycle()
            elif not isinstance(event, h11.Data):
                return

    def _answer(self, request: h11.Request) -> None:
        target = request.target.decode("ascii", "replace")
        silence = self._answers.silence()
        if silence is not None:
            self._http = h11.Connection(h11.SERVER)  # nothing more is said: it ends
            self._pending.clear()
            self._next_event = None
            raise ConnectionResetError(0, silence)
        if request.method != b"GET":
            self._respond(409, error_body(409, "this is a recording"))
        elif target.partition("?")[0] == "/v1/events":
            self._begin_events(request)
        else:
            try:
                self._respond(200, json.dumps(self._answers.reply(target)).encode())
            except NotRecorded as error:
                self._respond(error.status, error_body(error.status, str(error)))

    def _respond(self, status: int, body: bytes) -> None:
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(body), h11.EndOfMessage()):
            self._pending += self._http.send(event) or b""

    def _begin_events(self, request: h11.Request) -> None:
        after = dict(request.headers).get(b"last-event-id", b"")
        events = self._answers.track.events_between(0, self._answers.playback.t)
        seen = [str(event.get("id")) for event in events]
        known = after.decode("ascii", "replace")
        self._next_event = seen.index(known) + 1 if known in seen else 0 if known == "0" else len(seen)
        head = h11.Response(status_code=200, headers=[("Content-Type", "text/event-stream")])
        self._pending += (self._http.send(head) or b"") + (self._http.send(h11.Data(b":\n\n")) or b"")

    async def receive(self) -> bytes:
        if not self._pending and self._next_event is not None:
            await self._wait_for_events()
        octets = bytes(self._pending)
        self._pending.clear()
        return octets

    async def _wait_for_events(self) -> None:
        """Something to send: what happens up to the moment of the playback, or a sign of life."""
        assert self._next_event is not None
        for _ in range(round(_KEEP_ALIVE_S / _LOOK_S)):
            events = list(self._answers.track.events_between(self._next_event, self._answers.playback.t))
            if events:
                self._next_event += len(events)
                self._pending += self._http.send(h11.Data(b"".join(map(event_octets, events)))) or b""
                return
            await asyncio.sleep(_LOOK_S)
        self._pending += self._http.send(h11.Data(b":\n\n")) or b""

    async def why(self) -> SafeText:
        return self._answers.silence() or EMPTY

    def close(self) -> None:
        self._next_event = None
