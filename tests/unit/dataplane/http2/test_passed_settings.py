"""What each side's SETTINGS become on the other."""

from __future__ import annotations

import pytest

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode
from tlsidecar.dataplane.http2.passed_settings import MAX_STREAMS, for_client, for_upstream

WINDOW, STREAMS = frames.INITIAL_WINDOW_SIZE, frames.MAX_CONCURRENT_STREAMS
LIST, PUSH = frames.MAX_HEADER_LIST_SIZE, frames.ENABLE_PUSH
GRPC_TRUE_BINARY, EXTENDED_CONNECT = 0xFE03, 0x8


def payload(*values: tuple[int, int]) -> bytes:
    return frames.settings(values)[9:]


def read(frame: bytes) -> list[tuple[int, int]]:
    assert frame[3:9] == bytes([frames.SETTINGS, 0, 0, 0, 0, 0])
    assert int.from_bytes(frame[:3]) == len(frame) - 9
    return frames.settings_in(frame[9:])


@pytest.mark.parametrize(
    ("said", "first", "passed"),
    [
        ([], True, [(PUSH, 0), (LIST, 8192)]),
        ([(WINDOW, 7), (PUSH, 1)], True, [(PUSH, 0), (WINDOW, 7), (LIST, 8192)]),
        ([(frames.HEADER_TABLE_SIZE, 1), (STREAMS, 2), (LIST, 3), (GRPC_TRUE_BINARY, 1)], False, []),
        ([(WINDOW, 1), (WINDOW, 2)], False, [(WINDOW, 1), (WINDOW, 2)]),  # in order: the last one counts
    ],
)
def test_a_clients_for_the_upstream(said: list[tuple[int, int]], first: bool, passed: list[tuple[int, int]]) -> None:
    assert read(for_upstream(payload(*said), 8192, first=first)) == passed


@pytest.mark.parametrize(
    ("said", "first", "passed"),
    [
        ([], True, [(STREAMS, MAX_STREAMS), (LIST, 8192)]),
        ([], False, []),
        ([(STREAMS, 7), (PUSH, 0)], True, [(STREAMS, 7), (LIST, 8192)]),
        ([(STREAMS, 100_000)], False, [(STREAMS, MAX_STREAMS)]),
        ([(STREAMS, 0)], False, [(STREAMS, 0)]),
        ([(WINDOW, 5), (EXTENDED_CONNECT, 1), (GRPC_TRUE_BINARY, 1)], False, [(WINDOW, 5)]),
    ],
)
def test_an_upstreams_for_the_client(said: list[tuple[int, int]], first: bool, passed: list[tuple[int, int]]) -> None:
    assert read(for_client(payload(*said), 8192, first=first)) == passed


def test_a_server_that_enables_push_breaks_the_protocol() -> None:
    with pytest.raises(ConnectionFault) as fault:
        for_client(payload((PUSH, 1)), 8192, first=True)
    assert fault.value.code is ErrorCode.PROTOCOL_ERROR
