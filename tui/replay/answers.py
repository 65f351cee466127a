"""What a recorded sidecar answers at a moment of the playback: the newest reply to the same call; for lists, what it
told then, filtered, sorted and cut as it would have been."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tlsidecar.api.connections import Connection
from tlsidecar.api.declare import Json
from tlsidecar.api.decode import decoded
from tlsidecar.api.filter import FilterError, matcher, parse
from tlsidecar.api.filter_fields import (
    VOCABULARIES,
    connection_readers,
    connection_texts,
    failure_matcher,
    refusal_matcher,
)
from tlsidecar.api.recording import Track
from tlsidecar.api.times import moment, timestamp
from tui.records import Failure, Refusal
from tui.replay.playback import Playback
from tui.text import SafeText, safe_text

SILENT_AFTER_S = 30.0
"""A recording in which a sidecar told nothing for so long does not know how it was."""

_LISTS = {"/v1/connections": "connections", "/v1/refusals": "refusals", "/v1/failures": "failures"}


class NotRecorded(Exception):
    """An error reply: its status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one sidecar."""

    track: Track
    playback: Playback

    def silence(self) -> SafeText | None:
        """Why it cannot be asked at this moment; None when it can."""
        t = self.playback.t
        told = self.track.reply("/v1/status", t)
        lost = self.track.lost_at(t)
        if lost is not None and (told is None or lost[0] > told[0]):
            return safe_text(lost[1])
        if told is None:
            return SafeText("nothing is recorded of it yet")
        if t - told[0] > SILENT_AFTER_S:
            return SafeText(f"nothing was recorded of it for {t - told[0]:.0f} s")
        return None

    def reply(self, target: str) -> Json:
        """Raises :class:`NotRecorded`."""
        t = self.playback.t
        told = self.track.reply(target, t)
        if told is not None:
            return self._of_now(*told)
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/v1/history":
            return self._history(query)
        if parts.path in _LISTS and "group" not in query:
            return self._list(parts.path, query)
        listed, _, number = parts.path.rpartition("/")
        if listed == "/v1/connections" and number.isdecimal():
            return self._connection(int(number))
        raise NotRecorded(404, "this is not in the recording")

    def _of_now(self, at: float, reply: Json) -> Json:
        """As if it had been told now: clocks would seem to differ."""
        told = moment(reply.get("now"))
        later = timedelta(seconds=self.playback.t - at)
        return reply if told is None else {**reply, "now": timestamp(told + later)}

    def _newest(self, path: str) -> tuple[float, Json]:
        told = [self.track.reply(target, self.playback.t) for target in self.track.targets(path)]
        known = [each for each in told if each is not None]
        if not known:
            raise NotRecorded(404, "this is not in the recording")
        return max(known, key=lambda each: each[0])

    def _history(self, query: Mapping[str, str]) -> Json:
        """What was told in the same steps; whose charts are in it was decided when it was recorded."""
        told = [
            each
            for target in self.track.targets("/v1/history")
            if _covers(dict(parse_qsl(urlsplit(target).query)), query)
            and (each := self.track.reply(target, self.playback.t)) is not None
        ]
        if not told:
            raise NotRecorded(404, "this is not in the recording")
        return self._of_now(*max(told, key=lambda each: each[0]))

    def _list(self, path: str, query: Mapping[str, str]) -> Json:
        at, reply = self._newest(path)
        name = _LISTS[path]
        listed = reply.get(name)
        rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        if wanted := query.get("filter", ""):
            try:
                parsed = parse(wanted, VOCABULARIES[name])
            except FilterError as error:
                raise NotRecorded(400, str(error)) from None
            matches = _matcher(name, parsed, self.playback.now())
            rows = [row for row in rows if matches(row)]
        sort = query.get("sort")
        if sort:
            rows.sort(key=lambda row: _key(row.get(sort)), reverse=query.get("order") == "desc")
        matched = len(rows) if wanted else reply.get("matched", len(rows))
        offset, limit = _number(query.get("offset"), 0), _number(query.get("limit"), 100)
        counts = {"matched": matched, "offset": offset, "limit": limit} if path == "/v1/connections" else {}
        return self._of_now(at, {**reply, **counts, name: rows[offset : offset + limit]})

    def _connection(self, number: int) -> Json:
        """Of one whose page was not recorded, what the list tells."""
        at, reply = self._newest("/v1/connections")
        rows = reply.get("connections")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and row.get("id") == number:
                return self._of_now(at, {"now": reply.get("now"), "connection": {**row, "chain": []}})
        raise NotRecorded(404, f"no connection {number}")


def _covers(told: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether it is of the same steps, and of as long a time or more."""
    spans = [query.get("since", "").removesuffix("s") for query in (told, wanted)]
    same = spans[0] == spans[1]
    longer = all(span.isdecimal() for span in spans) and int(spans[0]) >= int(spans[1])
    return told.get("step") == wanted.get("step") and (same or longer)


def _matcher(name: str, wanted: Any, now: datetime) -> Callable[[Json], bool]:
    if name == "connections":
        of_connection = matcher(wanted, VOCABULARIES[name], connection_readers(now), connection_texts)
        return lambda row: of_connection(decoded(Connection[SafeText], row))
    if name == "refusals":
        of_refusal = refusal_matcher(wanted, now)
        return lambda row: of_refusal(decoded(Refusal, row))
    of_failure = failure_matcher(wanted, now)
    return lambda row: of_failure(decoded(Failure, row))


def _key(value: object) -> tuple[bool, float, str]:
    """Numbers by size, all else by its text."""
    if isinstance(value, int | float):
        return False, value, ""
    return True, 0.0, str(value)


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 10 else otherwise


def error_body(status: int, message: str) -> bytes:
    """As a sidecar would have it."""
    code = {400: "bad_request", 404: "not_found"}.get(status, "refused")
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def event_octets(event: Json) -> bytes:
    """An event as the stream has it."""
    head = f"id: {_line(event.get('id'))}\nevent: {_line(event.get('event'))}\n"
    return f"{head}data: {json.dumps(event.get('data'))}\n\n".encode()


def _line(value: object) -> str:
    """Nothing in it can end the line."""
    return safe_text(value, 64)
