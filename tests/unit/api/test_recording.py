"""A recording is read as it was written, as far as it goes, and never further than it may."""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlsidecar.api import recording as module
from tlsidecar.api.recording import Full, Recording, RecordingError, Writer, read_recording

AT = datetime(2026, 11, 23, 23, 15, tzinfo=UTC)
HEAD = {"tlsidecar": "recording", "format": 1, "version": "0.1.0", "at": "2026-11-23T23:15:00.000Z"}
STATUS = {"t": 1.0, "sidecar": 0, "get": "/v1/status", "reply": {"state": "ready"}}


def written(seconds: int = 60, **options: Any) -> bytes:
    """A recording of two sidecars over so many seconds."""
    file = io.BytesIO()
    writer = Writer(file, AT, **options)
    one, other = writer.sidecar("one"), writer.sidecar("other")
    for t in range(seconds):
        writer.reply(t, one, "/v1/status", {"t": t, "filler": os.urandom(40).hex()})
        if t % 10 == 0:
            writer.reply(t, other, "/v1/status", {"other": t})
            writer.event(t, one, "reload", str(t), {"seq": t})
    writer.text(seconds, one, "/metrics", "up 1\n")
    writer.lost(seconds, other, "gone")
    writer.close()
    return file.getvalue()


def lines(*documents: object) -> bytes:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in documents]
    return gzip.compress("".join(f"{text}\n" for text in texts).encode())


def read(octets: bytes, folder: Path) -> Recording:
    path = folder / "file"
    path.write_bytes(octets)
    return read_recording(path)


def test_what_was_told_is_found_at_its_time(tmp_path: Path) -> None:
    recording = read(written(), tmp_path)
    assert (recording.at, recording.end_s, recording.start_s, recording.complaint) == (AT, 60.0, 0.0, "")
    one, other = recording.tracks[0], recording.tracks[1]
    assert (one.name, other.name) == ("one", "other")
    told = one.reply("/v1/status", 7.9)
    assert told is not None
    assert (told[0], told[1]["t"]) == (7.0, 7)
    assert other.reply("/v1/status", 29.0) == (20.0, {"other": 20})
    assert other.reply("/v1/failures", 29.0) is None
    assert one.reply("/v1/status", -1.0) is None
    assert [event["id"] for event in one.events_between(1, 25.0)] == ["10", "20"]
    assert (other.lost_at(59.0), other.lost_at(60.0)) == (None, (60.0, "gone"))
    assert recording.wall(1.5).isoformat() == "2026-11-23T23:15:01.500000+00:00"


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.999])
def test_one_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path, part: float) -> None:
    whole = written(3000)
    recording = read(whole[: int(len(whole) * part)], tmp_path)
    assert recording.complaint == "it was cut short"
    assert 3000 * (part - 0.1) < recording.end_s <= 3000


def test_what_was_flushed_survives_a_kill(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = Writer(file, AT)
    writer.reply(1.0, writer.sidecar("one"), "/v1/status", {"t": 1})
    writer.flush()
    assert read(file.getvalue(), tmp_path).tracks[0].reply("/v1/status", 1.0) == (1.0, {"t": 1})


def test_a_damaged_one_is_read_up_to_there(tmp_path: Path) -> None:
    whole = bytearray(written(3000))
    middle = len(whole) // 2
    whole[middle : middle + 400] = os.urandom(400)
    recording = read(bytes(whole), tmp_path)
    assert recording.complaint
    told = recording.tracks[0].reply("/v1/status", 1000.5)
    assert told is not None
    assert told[0] == 1000.0


def test_damage_takes_nothing_that_stands_before_it(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    kept = packer.compress(f"{json.dumps(HEAD)}\n{json.dumps(STATUS)}\n".encode()) + packer.flush(zlib.Z_FULL_FLUSH)
    recording = read(kept + b"\xff" * 40, tmp_path)
    assert recording.complaint == "it is damaged: the rest was left out"
    assert recording.tracks[0].reply("/v1/status", 1.0) == (1.0, {"state": "ready"})


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"plain text\n",
        b"\x1f\x8b",
        gzip.compress(b""),
        gzip.compress(b"no json\n"),
        lines({"tlsidecar": "something else"}),
        lines({**HEAD, "at": "yesterday"}),
        lines({**HEAD, "at": "0001-01-01T00:00:00Z"}),
        lines({**HEAD, "at": "9999-12-31T23:59:59Z"}),
        lines([HEAD]),
        json.dumps(HEAD).encode(),
    ],
)
def test_what_is_none_is_said_so(tmp_path: Path, octets: bytes) -> None:
    with pytest.raises(RecordingError, match="is not a recording of tlsidecar") as told:
        read(octets, tmp_path)
    assert "\n" not in str(told.value)


def test_one_of_a_later_format(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"was made by version 9\.9\.9, in a format"):
        read(lines({**HEAD, "format": 2, "version": "9.9.9"}), tmp_path)


def test_one_without_a_reply(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no reply of a sidecar"):
        read(lines(HEAD), tmp_path)


@pytest.mark.parametrize("what", ["missing", "directory", "fifo"])
def test_what_is_no_file(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x"
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    with pytest.raises(RecordingError, match=r"cannot read|not a regular file"):
        read_recording(path)


def test_a_name_that_a_terminal_would_obey(tmp_path: Path) -> None:
    with pytest.raises(RecordingError) as told:
        read_recording(tmp_path / "\x1b[31m")
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    "bad",
    [
        *("", "[]", "{", "NaN", '{"t": NaN, "sidecar": 0, "get": "/", "reply": {}}', "[" * 100_000),
        *({**STATUS, "t": t} for t in (-1, 1e300, "1", None, True)),
        *({**STATUS, "sidecar": number} for number in (-1, 10**9, "0", None)),
        {**STATUS, "reply": []},
        {**STATUS, "get": 7},
        {"t": 1, "sidecar": 0, "event": "x", "data": "y"},
        {"t": 1, "sidecar": 0},
    ],
)
def test_a_forged_line_is_passed_over(tmp_path: Path, bad: object) -> None:
    recording = read(lines(HEAD, bad, STATUS), tmp_path)
    assert recording.complaint == "1 lines are none of a recording and were passed over"
    assert recording.tracks[0].reply("/v1/status", 1.0) == (1.0, {"state": "ready"})


def test_times_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    recording = read(lines(HEAD, {**STATUS, "t": 5}, {**STATUS, "t": 2, "reply": {"state": "x"}}), tmp_path)
    assert recording.tracks[0].reply("/v1/status", 3.0) == (2.0, {"state": "x"})


def test_a_bomb_unpacks_no_further_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 4 * 2**20)
    monkeypatch.setattr(module, "MOST_LINE_BYTES", 2**20)
    bomb = gzip.compress((b" " * 2**16 + b"\n") * 1024, 9)
    recording = read(lines(HEAD, STATUS) + bomb, tmp_path)
    assert "it unpacks to more than 4 MiB" in recording.complaint
    recording = read(lines(HEAD, STATUS, " " * 2**22), tmp_path)
    assert recording.complaint == "a line is longer than 1 MiB: the rest was left out"
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    recording = read(lines(HEAD, STATUS, STATUS, STATUS), tmp_path)
    assert recording.complaint == "it has more than 2 entries: the rest was left out"


def test_several_members_are_one_file(tmp_path: Path) -> None:
    recording = read(lines(HEAD, STATUS) + lines({**STATUS, "t": 9}), tmp_path)
    assert (recording.end_s, recording.complaint) == (9.0, "")


def test_a_writer_ends_where_the_file_is_as_large_as_it_may_be(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = Writer(file, AT, most_packed_bytes=20_000)

    def fill() -> None:
        for t in range(10_000):
            writer.reply(t, writer.sidecar("one"), "/v1/status", {"filler": os.urandom(500).hex()})

    with pytest.raises(Full):
        fill()
    writer.close()
    assert len(file.getvalue()) < 100_000
    assert read(file.getvalue(), tmp_path).complaint == ""


def test_any_name_and_text_is_one_line_of_ascii(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = Writer(file, AT)
    hostile = "\x1b]0;owned\x07\n\udcff\u202e"
    writer.reply(0.0, writer.sidecar(hostile), "/v1/status", {hostile: hostile})
    writer.close()
    text = gzip.decompress(file.getvalue())
    assert text.isascii()
    assert text.count(b"\n") == 3
    assert read(file.getvalue(), tmp_path).tracks[0].reply("/v1/status", 0.0) == (0.0, {hostile: hostile})


@given(st.binary(max_size=300), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_garbage_is_refused_or_survived(tmp_path: Path, garbage: bytes, zipped: bool) -> None:
    head = json.dumps(HEAD).encode() + b"\n" + json.dumps(STATUS).encode() + b"\n"
    octets = gzip.compress(head + garbage) if zipped else zlib.compress(head) + garbage
    if zipped:
        assert read(octets, tmp_path).tracks[0].replies
    else:
        with pytest.raises(RecordingError):
            read(octets, tmp_path)
