"""A session as a transcript: what the client and the upstream say, and what each of them hears."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import FlowControlError, ProtocolError
from unit.dataplane.http1.conversation import Ledger, identity_headers, listener

from certs.identity import Identity
from tlsidecar.dataplane.http.exchange import Admission, Downstream
from tlsidecar.dataplane.http.routes import RouteTable
from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.http2 import frames, hpack
from tlsidecar.dataplane.http2.errors import ErrorCode
from tlsidecar.dataplane.http2.frames import FrameReader
from tlsidecar.dataplane.http2.heads import Heads
from tlsidecar.dataplane.http2.session import Session
from tlsidecar.outcomes import Reason
from tlsidecar.settings import ListenerSettings, Route

Field = tuple[bytes, bytes]

GET: Sequence[Field] = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"a.test"),
    (b":path", b"/x"),
)
CALL: Sequence[Field] = (
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"a.test"),
    (b":path", b"/demo.Echo/Unary"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)
OK: Sequence[Field] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS: Sequence[Field] = ((b"grpc-status", b"0"),)


def coded(fields: Iterable[Field]) -> bytes:
    return b"".join([hpack.literal(name, value) for name, value in fields])


def head(stream: int, fields: Iterable[Field] = GET, *, end: bool = True) -> bytes:
    return frames.headers(stream, coded(fields), end_stream=end)


def without(fields: Sequence[Field], *names: bytes) -> list[Field]:
    return [field for field in fields if field[0] not in names]


def _code(payload: bytes) -> str:
    number = frames.number(payload)
    return ErrorCode(number).name if number in list(ErrorCode) else str(number)


def pong(talk: Talk) -> bytes:
    """The client's answer to the last PING that it heard."""
    payload = talk.at_client.of("ping")[-1][1]
    assert isinstance(payload, bytes)
    return frames.frame(frames.PING, frames.ACK, 0, payload)


class Clock:
    now = 1000.0


class GrpcCodes:
    def __init__(self) -> None:
        self.codes: list[str] = []

    def grpc_answered(self, status: str, *, http_status: int = 0) -> None:
        self.codes.append(status)


class Side:
    """What one side has heard, as a reader of its own understands it."""

    def __init__(self) -> None:
        self.raw = b""
        self._reader = FrameReader()
        self._decoder = hpack.Decoder(200, 1 << 20)
        self.heard: list[tuple[object, ...]] = []

    def hear(self, data: bytes) -> None:
        self.raw += data
        if self.raw.startswith(b"HTTP/1.1 505 "):
            return  # what a client is told that does not speak HTTP/2
        begin, found = self._reader.read(data, len(data))
        source = self._reader.data
        if begin:
            last = self.heard[-1]
            self.heard[-1] = (*last[:2], last[2] + bytes(source[:begin]), last[3])  # type: ignore[operator]
        for kind, flags, stream, at, end, payload in found:
            ends = bool(flags & frames.END_STREAM)
            if kind == frames.DATA:
                self.heard.append(("data", stream, bytes(source[at + 9 : end]), ends))
            elif kind == frames.HEADERS:
                self.heard.append(("head", stream, self._decoder.decode(payload), ends))
            elif kind == frames.RST_STREAM:
                self.heard.append(("reset", stream, _code(payload)))
            elif kind == frames.GOAWAY:
                last = frames.number(payload[:4])
                self.heard.append(("goaway", last, _code(payload[4:8])))
            elif kind == frames.SETTINGS:
                self.heard.append(("ack",) if flags & 1 else ("settings", dict(frames.settings_in(payload))))
            elif kind == frames.WINDOW_UPDATE:
                self.heard.append(("window", stream, frames.number(payload)))
            elif kind == frames.PING:
                self.heard.append(("pong" if flags & 1 else "ping", payload))
        assert self._reader.fault is None, self._reader.fault

    def of(self, *kinds: str) -> list[tuple[object, ...]]:
        return [each for each in self.heard if each[0] in kinds]

    def heads(self, stream: int) -> list[dict[bytes, bytes]]:
        return [dict(each[2]) for each in self.of("head") if each[1] == stream]  # type: ignore[call-overload]

    def data(self, stream: int) -> bytes:
        return b"".join([each[2] for each in self.of("data") if each[1] == stream])  # type: ignore[misc]


class Talk:
    """``Talk().client(head(1)).upstream(head(1, OK))``: prefaces and settings are there unless ``bare``."""

    def __init__(
        self,
        settings: ListenerSettings | None = None,
        *,
        client: Identity | None = None,
        routes: tuple[Route, ...] = (),
        admission: Admission | None = None,
        bare: bool = False,
        reaches: bool = True,
        step: int = 1 << 20,
        session: type[Session] = Session,
    ) -> None:
        settings = settings or replace(listener(), http2="only")
        rules = HttpRules.of(replace(settings, routes=routes))
        self.ledger = Ledger()
        self.clock = Clock()
        self.grpc = GrpcCodes()
        guard = RouteTable(routes, ["any"]).guard(client) if routes else None
        downstream = Downstream(
            self.ledger, identity_headers(settings), guard, admission, wall=lambda: 1.7e9, identity=client, rule="any"
        )
        self.session = session(Heads(rules, terminates=True), downstream, self.clock, self.grpc)
        self.at_client = Side()
        self.at_upstream = Side()
        self._to_upstream = b""
        self._preface_left = frames.PREFACE
        self._step = step
        self.faults: list[tuple[Reason, str]] = []
        if not bare:
            self.client(frames.PREFACE + frames.settings([]))
            if reaches:
                self.reached()
                self.upstream(frames.settings([]) + frames.SETTINGS_ACK)
                self.client(frames.SETTINGS_ACK)
                self.at_client.heard.clear()
                self.at_upstream.heard.clear()

    def client(self, *data: bytes, cuts: Iterable[int] = ()) -> Talk:
        for piece in self._pieces(b"".join(data), cuts):
            if self.session.end is None:
                self.session.receive_client(_as_read(piece), len(piece))
                self._collect()
        return self

    def upstream(self, *data: bytes, cuts: Iterable[int] = ()) -> Talk:
        for piece in self._pieces(b"".join(data), cuts):
            self.session.receive_upstream(_as_read(piece), len(piece))
            self._collect()
        return self

    def _pieces(self, data: bytes, cuts: Iterable[int]) -> list[bytes]:
        places = sorted({cut % (len(data) + 1) for cut in cuts} | {*range(0, len(data), self._step), len(data)})
        return [data[start:end] for start, end in pairwise(places)]

    def reached(self) -> Talk:
        self.session.upstream_ready("127.0.0.1:50051")
        self._collect()
        return self

    def gone(self, reason: Reason = Reason.UPSTREAM_CLOSED, detail: str = "") -> Talk:
        self.session.upstream_gone(reason, detail)
        self._collect()
        return self

    def missed(self, reason: Reason = Reason.UPSTREAM_REFUSED, detail: str = "") -> Talk:
        self.session.upstream_missed(reason, detail)
        self._collect()
        return self

    def shut_down(self, reason: Reason = Reason.DRAINED) -> Talk:
        self.session.shut_down(reason)
        self._collect()
        return self

    def wait(self, seconds: float, *, is_stuck: bool = False) -> Talk:
        self.clock.now += seconds
        self.session.check_time(self.clock.now, is_stuck=is_stuck)
        self._collect()
        return self

    def _collect(self) -> None:
        session = self.session
        self.at_client.hear(b"".join(session.to_client))
        session.to_client = []
        self._to_upstream += b"".join(session.to_upstream)
        session.to_upstream = []
        if session.state.name != "OPENING" and self._to_upstream:
            data, self._to_upstream = self._to_upstream, b""
            begun = data[: len(self._preface_left)]
            assert self._preface_left.startswith(begun)
            self._preface_left = self._preface_left[len(begun) :]
            self.at_upstream.hear(data[len(begun) :])
        if session.fault is not None:
            self.faults.append(session.fault)
            session.fault = None

    @property
    def end(self) -> Reason | None:
        return self.session.end[0] if self.session.end is not None else None

    @property
    def reasons(self) -> list[Reason]:
        """How the exchanges ended."""
        return [entry.reason for entry in self.ledger.entries]

    @property
    def statuses(self) -> list[int]:
        return [entry.status for entry in self.ledger.entries]


def takes_what_goes_on(wire: bytes, cuts: Iterable[int]) -> None:
    """Whatever a client says, hyper h2 as the upstream finds nothing wrong with what is made of it."""
    talk = Talk(bare=True).client(wire, cuts=cuts).reached()
    server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    begun = frames.PREFACE[: len(frames.PREFACE) - len(talk._preface_left)]
    try:
        server.receive_data(begun + talk.at_upstream.raw)
    except FlowControlError:
        pass  # windows are for the ends to keep
    except ProtocolError:
        # h2 takes nothing after a GOAWAY; RFC 9113 section 6.8 lets its sender go on with the streams that are open.
        if not talk.at_upstream.of("goaway"):
            raise


def _as_read(piece: bytes) -> frames.Buffer:
    """As the connection gives it: little is copied, of much the shared buffer is handed on."""
    return piece if len(piece) <= frames.COPIED_BYTES else bytearray(piece)


ASKED: Sequence[Sequence[Field]] = (
    GET,
    CALL,
    [(name, b"HEAD" if name == b":method" else value) for name, value in GET],
)


def hears_what_it_may(wire: bytes, cuts: Iterable[int]) -> None:
    """Whatever a service says, hyper h2 as the client finds nothing wrong with what is made of it, up to a GOAWAY: h2
    takes nothing after one."""
    client = H2Connection(H2Configuration(header_encoding=None))
    client.initiate_connection()
    for number, fields in zip((1, 3, 5), ASKED, strict=True):
        client.send_headers(number, fields, end_stream=number != 3)
    talk = Talk(bare=True).client(client.data_to_send()).reached().upstream(wire, cuts=cuts).wait(1)
    client.receive_data(_before_goaway(talk.at_client.raw))


def _before_goaway(raw: bytes) -> bytes:
    at = 0
    while at < len(raw) and raw[at + 3] != frames.GOAWAY:
        at += frames.HEAD_BYTES + int.from_bytes(raw[at : at + 3], "big")
    return raw[:at]
