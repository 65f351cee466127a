"""What crosses between the controller and a worker arrives as it was, or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tlsidecar.dataplane.report import Opened, UpstreamChange
from tlsidecar.dataplane.snapshot import ConnectionQuery, ConnectionRecord
from tlsidecar.outcomes import Reason, Refusal, Side, Stage
from tlsidecar.recorder import Closed
from tlsidecar.workers.wire import WireError, pack, packed, plain_of, unpack, value_of

OPENED = Opened(7, "web", "terminate", "tcp", "127.0.0.1:1", "spiffe://prod.example/a", "any", 3)
CLOSED = Closed(7, "web", "127.0.0.1:1", "web\u2028\x1b[31m", Reason.PEER_RESET, 1, 2**40, 1.25)
REFUSED = Refusal(
    at=1.5,
    listener="web",
    peer_address="[::1]:1",
    side=Side.PEER,
    stage=Stage.VERIFY,
    reason=Reason.REFUSED_BY_PEER,
    detail="x",
    not_after=None,
)
CHANGED = UpstreamChange(1, "web", "127.0.0.1:80", False, "refused")


@pytest.mark.parametrize("value", [OPENED, CLOSED, REFUSED, CHANGED, ConnectionQuery(filter="a b")])
def test_it_arrives_as_it_was(value: Any) -> None:
    kind = type(value)
    arrived = unpack(kind, pack(kind, value))
    assert arrived == value
    assert [type(each) for each in _fields(arrived)] == [type(each) for each in _fields(value)]


def test_a_record_of_the_api_travels_with_its_times() -> None:
    fields: dict[str, Any] = dict.fromkeys(ConnectionRecord.__origin__.__dataclass_fields__, "x")
    numbers = ("id", "bytes_in", "bytes_out", "requests", "generation", "worker", "streams")
    record = ConnectionRecord(
        **{
            **fields,
            **dict.fromkeys(numbers, 7),
            "idle_s": 0.25,
            "opened_at": datetime(2026, 11, 23, 23, 15, 0, 250_000, tzinfo=UTC),
            "not_after": None,
        }
    )
    assert unpack(ConnectionRecord, pack(ConnectionRecord, record)) == record
    for forged in ("1e300", "true", '"2026"', "[]"):
        with pytest.raises(WireError):
            unpack(datetime, forged.encode())


def test_several_travel_in_one_message() -> None:
    message = packed([("opened", plain_of(Opened, OPENED)), ("closed", plain_of(Closed, CLOSED))])
    (_, opened), (_, closed) = json.loads(message)
    assert value_of(Opened, opened) == OPENED
    assert value_of(Closed, closed) == CLOSED


def test_a_whole_number_may_stand_for_a_fraction() -> None:
    assert unpack(Closed, pack(Closed, CLOSED._replace(duration_s=2))).duration_s == 2


@pytest.mark.parametrize(
    "wrong",
    [
        b"null",
        b"{}",
        b"[]",
        b'[7,"web"]',
        pack(Opened, OPENED),
        pack(Closed, CLOSED._replace(id=True)),
        pack(Closed, CLOSED._replace(identity=None)),  # type: ignore[arg-type]
        pack(Closed, CLOSED._replace(reason="no such reason")),  # type: ignore[arg-type]
        pack(Closed, CLOSED._replace(bytes_in=1.5)),  # type: ignore[arg-type]
        pack(Closed, CLOSED)[:-1],
        pack(Closed, CLOSED).replace(b"]", b",1]"),
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_does_not_fit_is_refused(wrong: bytes) -> None:
    with pytest.raises(WireError):
        unpack(Closed, wrong)


def _fields(value: Any) -> list[object]:
    return list(value) if isinstance(value, tuple) else [getattr(value, name) for name in type(value).__slots__]
