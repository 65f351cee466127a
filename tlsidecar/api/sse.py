"""Server-Sent Events (WHATWG HTML, 9.2.6): bytes in, messages out."""

from __future__ import annotations

from dataclasses import field

from tlsidecar.lazy_dataclass import dataclass

MAX_MESSAGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SseMessage:
    """One dispatched message. ``id`` is the last one set, which a resumed subscription names."""

    event: str
    data: str
    id: str


class SseOverflow(ValueError):
    """A message longer than :data:`MAX_MESSAGE_BYTES`."""


@dataclass(slots=True)
class SseParser:
    """Takes the stream in pieces of any size."""

    _pending: bytearray = field(default_factory=bytearray)
    _event: str = ""
    _data: list[str] = field(default_factory=list)
    _data_bytes: int = 0
    _id: str = ""

    def feed(self, chunk: bytes) -> list[SseMessage]:
        """The messages that ``chunk`` completes. Raises :class:`SseOverflow`."""
        self._pending += chunk
        *lines, rest = self._pending.split(b"\n")
        self._pending = rest
        if len(rest) > MAX_MESSAGE_BYTES:
            raise SseOverflow
        return [message for line in lines if (message := self._take(line.removesuffix(b"\r")))]

    def _take(self, line: bytes | bytearray) -> SseMessage | None:
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
                self._data_bytes += len(line)
                if self._data_bytes > MAX_MESSAGE_BYTES:
                    raise SseOverflow
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _dispatch(self) -> SseMessage | None:
        event, data = self._event, self._data
        self._event, self._data, self._data_bytes = "", [], 0
        if not data:
            return None
        return SseMessage(event or "message", "\n".join(data), self._id)
