"""Requests to the admin API as its routes see them, and the replies they make."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import field
from datetime import datetime
from typing import NoReturn

from tlsidecar.admin.access import Access
from tlsidecar.api.times import timestamp
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.observe.audit import Caller
from tlsidecar.observe.text import visible

REQUEST_BODY_BYTES = 64 * 1024
MAX_DRAIN_S = 86400.0
MAX_GENERATION_DRAIN_S = 600.0
MAX_IDENTITY_CHARACTERS = 2048
JSON_DEPTH = 32
MAX_DIGITS = 18

JSON = "application/json"
PLAIN_TEXT = "text/plain; charset=utf-8"
EVENT_STREAM = "text/event-stream"

ERROR_CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "refused",
    413: "too_large",
    414: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    431: "too_large",
    500: "internal",
    501: "not_implemented",
    503: "unavailable",
}


class ApiError(Exception):
    """A request that is answered with an error; whose doing it is the status says. ``position`` is where in a filter it
    is, in characters from 0."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        position: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.position = position
        self.headers = headers


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """One request, its body read and its query decoded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # by lower-case name
    body: bytes
    caller: Caller
    access: Access
    path_values: Mapping[str, str] = field(default_factory=dict)

    def json_body(self) -> Mapping[str, object]:
        """The body, a JSON object; empty when there is none. Raises ApiError."""
        if not self.body:
            return {}
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != JSON:
            raise ApiError(415, "a body is JSON, with Content-Type: application/json")
        return parse_object(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. ``afterwards`` is called once it has been handed to the kernel."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    audited: str = ""  # what the audit line says beside the call and its outcome
    afterwards: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A reply without an end: pieces as they come."""

    pieces: AsyncGenerator[bytes, None]
    content_type: str = EVENT_STREAM


def whole_number(text: str) -> int | None:
    """What a path or a query writes in ASCII digits, of which no counter of ours has more; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def encode(document: object) -> bytes:
    """JSON in ASCII. What is no Unicode text (lone surrogates: bytes that were not UTF-8) is spelled out, for strict
    readers refuse the whole document otherwise."""
    text = json.dumps(document, separators=(",", ":"), default=_plain)
    if "\\ud" in text:
        text = json.dumps(_all_visible(document), separators=(",", ":"), default=_plain)
    return text.encode("ascii")


def parse_object(body: bytes) -> Mapping[str, object]:
    """A JSON object of bounded depth (RFC 8259). Raises ApiError for anything else."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, "the body is not UTF-8") from None
    if _depth(text) > JSON_DEPTH:
        raise ApiError(400, f"the body is nested deeper than {JSON_DEPTH}")
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ApiError(400, "the body is not a JSON object")
    return document


def _depth(text: str) -> int:
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name is there twice")
    return document


def _plain(value: object) -> object:
    """Times in the fields of events; a view has made its own into text."""
    if isinstance(value, datetime):
        return timestamp(value)
    raise TypeError(f"{type(value).__name__} has no place in a reply")


def _all_visible(value: object) -> object:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(name)): _all_visible(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_all_visible(inner) for inner in value]
    return value
