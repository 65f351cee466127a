"""What sidecars told over a time, in one file: a recording of the console, or a snapshot, which is one of a moment.

gzip (RFC 1952) of lines of JSON. The first says what it is, the others hold one thing each, as it came::

    {"tlsidecar": "recording", "format": 1, "version": "0.1.0", "at": "2026-11-23T23:15:00.000Z"}
    {"sidecar": 0, "name": "/run/tlsidecar/admin.sock"}
    {"t": 0.002, "sidecar": 0, "get": "/v1/status", "reply": {…}}
    {"t": 0.005, "sidecar": 0, "get": "/metrics", "text": "…"}
    {"t": 1.250, "sidecar": 0, "event": "reload", "id": "17", "data": {…}}
    {"t": 9.001, "sidecar": 0, "lost": "nobody listens on …"}

``t`` is seconds since ``at``. Whoever reads one has it from a stranger: everything is bounded, a line that is none is
passed over, and what was cut short is read as far as it goes.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tlsidecar import __version__
from tlsidecar.api.declare import Json
from tlsidecar.api.text import EMPTY, SafeText, safe_text
from tlsidecar.api.times import moment, timestamp
from tlsidecar.lazy_dataclass import dataclass

FORMAT = 1
KIND = "recording"

MOST_PACKED_BYTES = 64 * 2**20
MOST_BYTES = 512 * 2**20
MOST_LINE_BYTES = 32 * 2**20
MOST_ENTRIES = 1_000_000
MOST_SIDECARS = 1000
MOST_SECONDS = 31 * 86400.0

_GZIP = 31  # zlib's number for a gzip header
_PIECE_BYTES = 256 * 1024
_FLUSH_BYTES = 64 * 1024
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class RecordingError(Exception):
    """A file that is no recording, or none that we read. The text is one line, safe to show."""


class Full(Exception):
    """The recording is as large as one may be: what is in it is whole."""


class Writer:
    """Writes a recording to ``file``, which it does not close."""

    def __init__(self, file: BinaryIO, at: datetime, most_packed_bytes: int = MOST_PACKED_BYTES) -> None:
        self.at = at
        self.packed_bytes = 0  # as large as the file is
        self._file = file
        self._zip = zlib.compressobj(wbits=_GZIP)
        self._most_packed_bytes = most_packed_bytes
        self._bytes = self._since_flush = 0
        self._names: list[str] = []
        head = {"tlsidecar": KIND, "format": FORMAT, "version": __version__, "at": timestamp(at)}
        self._write(head)

    def sidecar(self, name: str) -> int:
        """The number of the sidecar of this name. Raises :class:`Full` and OSError, as all here do."""
        if name not in self._names:
            self._names.append(name)
            self._write({"sidecar": len(self._names) - 1, "name": name})
        return self._names.index(name)

    def reply(self, t: float, sidecar: int, target: str, reply: Json) -> None:
        """What a call was answered; ``t`` is seconds since :attr:`at`, ``sidecar`` its number."""
        self._entry(t, sidecar, {"get": target, "reply": reply})

    def text(self, t: float, sidecar: int, target: str, text: str) -> None:
        """The same of a call whose answer is no JSON."""
        self._entry(t, sidecar, {"get": target, "text": text})

    def event(self, t: float, sidecar: int, kind: str, event_id: str, data: Json) -> None:
        """What an event told."""
        self._entry(t, sidecar, {"event": kind, "id": event_id, "data": data})

    def lost(self, t: float, sidecar: int, message: str) -> None:
        """It did not answer."""
        self._entry(t, sidecar, {"lost": message})

    def _entry(self, t: float, sidecar: int, what: Json) -> None:
        self._write({"t": round(t, 3), "sidecar": sidecar, **what})

    def _write(self, document: Json) -> None:
        line = json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"
        if len(line) > MOST_LINE_BYTES:
            return  # nobody could read it
        if self._bytes + len(line) > MOST_BYTES or self.packed_bytes > self._most_packed_bytes:
            raise Full
        self._put(self._zip.compress(line))
        self._bytes += len(line)
        self._since_flush += len(line)
        if self._since_flush >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """What is written so far can be read, whatever happens next."""
        self._since_flush = 0
        self._put(self._zip.flush(zlib.Z_SYNC_FLUSH))
        self._file.flush()

    def close(self) -> None:
        """The end of it; ``file`` stays open."""
        self._put(self._zip.flush())
        self._file.flush()

    def _put(self, octets: bytes) -> None:
        self._file.write(octets)
        self.packed_bytes += len(octets)


@dataclass(slots=True)
class Track:
    """What one sidecar told. Everything is in the order of its time."""

    name: str
    replies: dict[str, list[tuple[float, bytes]]] = field(default_factory=dict)  # packed JSON, by the call's target
    events: list[tuple[float, bytes]] = field(default_factory=list)
    lost: list[tuple[float, str]] = field(default_factory=list)

    def reply(self, target: str, t: float) -> tuple[float, Json] | None:
        """The newest reply to this call up to ``t``, and when it came."""
        told = self.replies.get(target, ())
        index = bisect_right(told, t, key=lambda entry: entry[0])
        return None if index == 0 else (told[index - 1][0], _unpacked(told[index - 1][1]))

    def targets(self, path: str) -> list[str]:
        """The calls of this path that were recorded, whatever their query."""
        return [target for target in self.replies if target.partition("?")[0] == path]

    def events_between(self, first: int, t: float) -> Iterator[Json]:
        """The events from number ``first`` on, up to ``t``."""
        for at, packed in self.events[first:]:
            if at > t:
                return
            yield _unpacked(packed)

    def lost_at(self, t: float) -> tuple[float, str] | None:
        """The newest moment up to ``t`` at which it did not answer."""
        index = bisect_right(self.lost, t, key=lambda entry: entry[0])
        return None if index == 0 else self.lost[index - 1]


@dataclass(slots=True)
class Recording:
    """A recording as it was read. ``end_s`` is its length; ``complaint`` what was wrong with it, empty for nothing."""

    at: datetime
    version: str
    tracks: dict[int, Track] = field(default_factory=dict)
    end_s: float = 0.0
    complaint: SafeText = EMPTY

    @property
    def start_s(self) -> float:
        """When the first status of any sidecar was told: before, there is nothing to show."""
        first = [track.replies["/v1/status"][0][0] for track in self.tracks.values() if "/v1/status" in track.replies]
        return min(first, default=0.0)

    def wall(self, t: float) -> datetime:
        """The time of day at ``t`` seconds."""
        return self.at + timedelta(seconds=t)


def read_recording(path: Path) -> Recording:
    """Raises :class:`RecordingError`."""
    shown = safe_text(str(path))
    try:
        # Not to wait for ever for the other end of a pipe.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise RecordingError(f"{shown} is not a regular file")
            return _Reader(shown).read(file)
    except OSError as error:
        raise RecordingError(f"cannot read {shown}: {safe_text(error.strerror or str(error), 80)}") from None


class _Reader:
    """Reads one file."""

    def __init__(self, shown: SafeText) -> None:
        self._shown = shown
        self._recording: Recording | None = None
        self._names: dict[int, str] = {}
        self._entries = self._bad = 0

    def read(self, file: BinaryIO) -> Recording:
        complaint = ""
        try:
            for line in _lines(file):
                self._take(line)
        except _Damaged as damage:
            complaint = str(damage)
        recording = self._recording
        if recording is None:
            raise RecordingError(f"{self._shown} is not a recording of tlsidecar")
        if not any(track.replies for track in recording.tracks.values()):
            raise RecordingError(f"{self._shown} holds no reply of a sidecar" + (f": {complaint}" if complaint else ""))
        for track in recording.tracks.values():
            track.events.sort(key=lambda entry: entry[0])
            track.lost.sort(key=lambda entry: entry[0])
            for told in track.replies.values():
                told.sort(key=lambda entry: entry[0])
        complaints = [complaint] if complaint else []
        if self._bad:
            complaints.append(f"{self._bad} lines are none of a recording and were passed over")
        recording.complaint = SafeText("; ".join(complaints))
        return recording

    def _take(self, line: bytes) -> None:
        try:
            document = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            document = {}
        if self._recording is None:
            self._recording = self._head(document)
            return
        if self._entries >= MOST_ENTRIES:
            raise _Damaged(f"it has more than {MOST_ENTRIES:,} entries: the rest was left out")
        self._entries += 1
        if not self._entry(self._recording, document):
            self._bad += 1

    def _head(self, document: dict[str, Any]) -> Recording:
        at = moment(document.get("at"))
        if document.get("tlsidecar") != KIND or at is None or not _EARLIEST <= at <= _LATEST:
            raise RecordingError(f"{self._shown} is not a recording of tlsidecar")
        if document.get("format") != FORMAT:
            raise RecordingError(
                f"{self._shown} was made by version {safe_text(document.get('version'), 40)}, in a format that this "
                f"one does not read"
            )
        return Recording(at, str(document.get("version")))

    def _entry(self, recording: Recording, document: dict[str, Any]) -> bool:
        """Whether it was one."""
        number, name = document.get("sidecar"), document.get("name")
        if not isinstance(number, int) or not 0 <= number < MOST_SIDECARS:
            return False
        if isinstance(name, str):
            self._names[number] = name
            return True
        t = document.get("t")
        if isinstance(t, bool) or not isinstance(t, int | float) or not 0 <= t <= MOST_SECONDS:
            return False
        track = recording.tracks.get(number)
        if track is None:
            track = recording.tracks[number] = Track(self._names.get(number, f"sidecar {number}"))
        if not _told(track, float(t), document):
            return False
        recording.end_s = max(recording.end_s, float(t))
        return True


def _told(track: Track, t: float, document: dict[str, Any]) -> bool:
    target, reply, text = document.get("get"), document.get("reply"), document.get("text")
    if isinstance(target, str) and isinstance(reply, dict):
        track.replies.setdefault(target, []).append((t, _packed(reply)))
    elif isinstance(document.get("event"), str) and isinstance(document.get("data"), dict):
        kept = {name: document.get(name) for name in ("event", "id", "data")}
        track.events.append((t, _packed(kept)))
    elif isinstance(document.get("lost"), str):
        track.lost.append((t, document["lost"]))
    else:
        return isinstance(target, str) and isinstance(text, str)
    return True


class _Damaged(Exception):
    """What follows cannot be read; what came before is kept."""


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Raises :class:`_Damaged` where it breaks off, after all lines before."""
    rest = b""
    for piece in _unzipped(file):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > MOST_LINE_BYTES:
            raise _Damaged(f"a line is longer than {MOST_LINE_BYTES >> 20} MiB: the rest was left out")
    if rest:
        raise _Damaged("it was cut short")


def _unzipped(file: BinaryIO) -> Iterator[bytes]:
    """The content piece by piece, none larger than asked for, however far it unpacks."""
    total, unzip, began = 0, zlib.decompressobj(wbits=_GZIP), False
    while octets := file.read(_PIECE_BYTES):
        while octets:
            before = unzip.copy()
            try:
                piece = unzip.decompress(octets, _PIECE_BYTES)
            except zlib.error:
                yield from _before_the_damage(before, octets)
                raise _Damaged("it is damaged: the rest was left out") from None
            began = True
            total += len(piece)
            if total > MOST_BYTES:
                raise _Damaged(f"it unpacks to more than {MOST_BYTES >> 20} MiB: the rest was left out")
            yield piece
            octets = unzip.unconsumed_tail
            if unzip.eof:
                octets, unzip = unzip.unused_data, zlib.decompressobj(wbits=_GZIP)
                began = began and bool(octets)
    if began and not unzip.eof:
        raise _Damaged("it was cut short")


def _before_the_damage(unzip: zlib._Decompress, octets: bytes) -> Iterator[bytes]:
    """What octets unpack to up to where they cannot be: zlib drops all of a call that fails."""
    try:
        for octet in octets:
            yield unzip.decompress(bytes((octet,)))
    except zlib.error:
        return


def _packed(document: Json) -> bytes:
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 1)


def _unpacked(packed: bytes) -> dict[str, Any]:
    document = json.loads(zlib.decompress(packed))
    assert isinstance(document, dict)
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
