"""One client's HTTP/2 connection and the one upstream connection that belongs to it: the machine between them.

Bytes and events come in; bytes for either side, and the end, come out. Stream ids are the same on both sides. DATA,
WINDOW_UPDATE, PING, RST_STREAM and GOAWAY go on as they came, so flow control is end to end and nothing of a body is
kept here; HEADERS and SETTINGS are made anew. A stream is an exchange (:mod:`..http.exchange`).

    OPENING ──ready──▶ RELAYING ──the upstream is gone──▶ ALONE
       └───────missed───────────────────────────────────────▲

ALONE answers for an upstream that is not there, and says goodbye. The session is over once ``end`` says so: what is in
``to_client`` is still to be written then.
"""

from __future__ import annotations

import secrets
from typing import Final

from certs.identity import Identity
from tlsidecar.dataplane.http.refusal import MessageRefused, upstream_failed
from tlsidecar.dataplane.http2 import answers, frames, passed_settings
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode, Flood, Http2Error, broken
from tlsidecar.dataplane.http2.forwarding import block_since, pass_on
from tlsidecar.dataplane.http2.frames import Buffer
from tlsidecar.dataplane.http2.ordinary import OrdinaryFrames
from tlsidecar.dataplane.http2.streams import ALONE, CLIENT, RELAYING, UPSTREAM, WAITING_FRAMES, Stream
from tlsidecar.dataplane.parties import Party
from tlsidecar.outcomes import Culprit, Reason, Side, Stage

SHUTDOWN_WAIT_S: Final = 1.0  # for the answer to it, before the second GOAWAY
MISSED_ANSWERS_S: Final = 1.0  # how long streams are answered where the upstream was not reached
USELESS_S: Final = 1.0  # an upstream that was asked nothing and ends so soon was none


class Session(OrdinaryFrames):
    """See the module."""

    __slots__ = ()

    def receive_client(self, buffer: Buffer, size: int) -> None:
        """The first ``size`` bytes of ``buffer`` came from the client. What goes on may be views on it."""
        self.active_at = self._clock.now
        if self._preface:
            begun = bytes(memoryview(buffer)[: min(size, len(self._preface))])
            if not self._preface.startswith(begun):
                self._not_http2(bytes(memoryview(buffer)[:size]))
                return
            self._preface = self._preface[len(begun) :]
            if self._preface:
                return
            self.to_upstream.append(frames.PREFACE)
            buffer = bytes(memoryview(buffer)[len(begun) : size])
            size = len(buffer)
        if self.end is not None:
            return
        done = self._ordinary_client_frames(buffer, size)
        if done == size and not self._made_client:
            return
        if done:
            buffer = bytes(memoryview(buffer)[done:size])
            size -= done
        reader = self._client
        begin, found = reader.read(buffer, size)
        if begin and not self._client_passes:
            self._give_back_client(begin)
        run = 0 if self._client_passes else begin
        fault = pass_on(reader, found, begin, run, self._client_frame, self.to_upstream, self._made_upstream)
        if fault is not None:
            self._client_fault(fault)
            return
        reader.data = b""
        if reader.in_a_block or self._client_block_since:
            self._client_block_since = block_since(reader, found, begin, self._client_block_since, self.active_at)
        self._settle()
        if self.state is ALONE:
            self.to_upstream.clear()

    def receive_upstream(self, buffer: Buffer, size: int) -> None:
        """The first ``size`` bytes of ``buffer`` came from the upstream. What goes on may be views on it."""
        self.active_at = self._clock.now
        if self.state is not RELAYING or self.end is not None:
            return
        if not self._has_upstream_settings and bytes(memoryview(buffer)[: min(size, 7)]) == b"HTTP/1.":
            self._upstream_broke(broken("it speaks HTTP/1"))  # as a frame it would be over the limit
            return
        done = self._ordinary_upstream_frames(buffer, size)
        if done == size:
            return
        if done:
            buffer = bytes(memoryview(buffer)[done:size])
            size -= done
        reader = self._upstream
        begin, found = reader.read(buffer, size)
        if begin and not self._upstream_passes:
            self._give_back_upstream(begin)
        run = 0 if self._upstream_passes else begin
        fault = pass_on(reader, found, begin, run, self._upstream_frame, self.to_client, self._made_client)
        if fault is not None:
            self._upstream_broke(fault)
            return
        reader.data = b""
        if reader.in_a_block or self._upstream_block_since:
            self._upstream_block_since = block_since(reader, found, begin, self._upstream_block_since, self.active_at)
        self._settle()

    def _settle(self) -> None:
        """Hand over what is ours, where no DATA frame is in the middle; end what has nothing left to do."""
        is_over = self._said_last and not self.streams and not self._dismissed
        if is_over:
            self._stand_in()
        # SETTINGS come first (RFC 9113 section 3.4): until the upstream's are there our own frames wait, too.
        if self._has_upstream_settings and not (self._upstream.left and self._upstream_passes):
            if self._client_window:
                self._made_client.append(frames.window_update(0, min(self._client_window, frames.MAX_WINDOW)))
                self._client_window = 0
            if self._owes_goaway and self._may_say_goaway:
                self._owes_goaway = False
                self._made_client.append(frames.goaway(self._taken_last, ErrorCode.NO_ERROR))
            if self._made_client:
                self.to_client += self._made_client
                self._made_client.clear()
        if not (self._client.left and self._client_passes):
            if self._upstream_window:
                self._made_upstream.append(frames.window_update(0, min(self._upstream_window, frames.MAX_WINDOW)))
                self._upstream_window = 0
            if self._made_upstream:
                self.to_upstream += self._made_upstream
                self._made_upstream.clear()
        if is_over and self.end is None:
            self.end = (self._shutdown or Reason.COMPLETED, "")

    @property
    def _may_say_goaway(self) -> bool:
        """Not beside an answer to a client that still sends, which may take it for a failure."""
        return not self._dismissed and (self._said_last or self._clock.now >= self._goaway_at)

    @property
    def is_quiet(self) -> bool:
        """Whether it wants nothing but what is in ``to_client`` and ``to_upstream`` to be written."""
        return (
            self.state is RELAYING
            and not self._made_client
            and not self._made_upstream
            and self.end is None
            and self.fault is None
        )

    @property
    def client_must_wait(self) -> bool:
        """Whether too much that the client made us say cannot be said yet, so that it is not to be read."""
        return len(self._made_client) > WAITING_FRAMES

    @property
    def upstream_must_wait(self) -> bool:
        return len(self._made_upstream) > WAITING_FRAMES

    @property
    def is_begun(self) -> bool:
        """Whether the preface is there: the upstream is wanted from then on."""
        return not self._preface

    def knows_remote(
        self, identity: Identity | None, rule: str, side: Side = Side.LOCAL, party: Party | None = None
    ) -> None:
        """Who is at the upstream's end, where that shows a certificate."""
        self._remote = (identity, rule, side, party)
        for stream in self.streams.values():
            stream.exchange.knows_remote(identity, rule, side, party)

    @property
    def loss(self) -> tuple[Reason, str]:
        """Why the upstream is gone, once the state is ALONE."""
        return self._gone[:2]

    def upstream_ready(self, address: str) -> None:
        """What was and will be in ``to_upstream`` goes there from now on."""
        self.state = RELAYING
        self._address = address
        now = self._ready_at = self._clock.now
        for stream in self.streams.values():
            stream.exchange.attach(address, now)

    def upstream_missed(
        self, reason: Reason, detail: str = "", stage: Stage = Stage.UPSTREAM, *, address: str = ""
    ) -> None:
        """It was not reached, at ``address`` last. The client is told on each stream for a moment, and only then to
        dial anew: told at once it would do so at once, and again."""
        self._address = address
        self._alone_until = self._clock.now + MISSED_ANSWERS_S
        self._lose_upstream(reason, detail, stage)

    def upstream_gone(self, reason: Reason, detail: str = "", stage: Stage = Stage.UPSTREAM) -> None:
        """It ended: every stream is answered for, or cut, and the client may dial anew. But one that never spoke
        HTTP/2, or went before it was asked anything, is as good as one that was not reached: many clients ask nothing
        before they have its SETTINGS, and would dial for ever and never be told why."""
        if self.state is ALONE or self.end is not None:
            return
        now = self._clock.now
        is_useless = not self._has_upstream_settings or (not self._last_passed and now - self._ready_at < USELESS_S)
        if is_useless:
            self._alone_until = now + MISSED_ANSWERS_S
        self._lose_upstream(reason, detail, stage)
        if not self.loss_is_told and (is_useless or reason is not Reason.UPSTREAM_CLOSED):
            self.unasked = reason

    def _lose_upstream(self, reason: Reason, detail: str, stage: Stage) -> None:
        if self.state is ALONE or self.end is not None:
            return
        self.state = ALONE
        self._gone = (reason, detail, stage)
        self.loss_is_told = any(
            not stream.answered or (stream.open & UPSTREAM and reason.culprit is Culprit.UPSTREAM)
            for stream in self.streams.values()
        )
        self.to_upstream.clear()
        self._made_upstream.clear()
        self._upstream_window = 0
        self._client_passes = False
        if self._upstream.left and self._upstream_passes:
            # The client waits for the rest of a DATA frame, and would take whatever comes for it.
            self._abandon(reason, detail)
            self.end = (reason, detail)
            return
        self._stand_in()
        for stream in list(self.streams.values()):
            stream.exchange.tried = self._address
            self._refuse(stream, upstream_failed(reason, detail, stage))
        if not self._alone_until:
            self._shutdown = self._shutdown or Reason.COMPLETED
            self._say_last()
        self._settle()

    def _stand_in(self) -> None:
        """Say SETTINGS where the upstream's have not come: they come first, whatever else is said (RFC 9113 section
        3.4)."""
        if not self._has_upstream_settings:
            self._has_upstream_settings = True
            ours = [passed_settings.for_client(b"", self._limits.max_header_bytes, first=True)]
            self._made_client[:0] = [*ours, frames.SETTINGS_ACK] if self._has_client_settings else ours

    def _check_half_frames(self, now: float, *, is_stuck: bool) -> None:
        """Who is in the middle of a DATA frame, and keeps what is ours from the other side for too long, is not waited
        for: both ends may be such a one."""
        upstream_holds = self._upstream.left and self._upstream_passes and (self._made_client or self._client_window)
        client_holds = self._client.left and self._client_passes and (self._made_upstream or self._upstream_window)
        if is_stuck or not (upstream_holds or client_holds):
            self._held_since = 0.0
        elif not self._held_since:
            self._held_since = now
        elif now - self._held_since > self._limits.body_idle_timeout_s:
            if upstream_holds:
                self.upstream_gone(Reason.UPSTREAM_TIMEOUT, "half a DATA frame")
            else:
                self._client_fault(_late("half a DATA frame"), Reason.BODY_TIMEOUT)

    def client_gone(self, reason: Reason, detail: str = "") -> None:
        """Nothing can be told to it any more."""
        self._abandon(reason, detail)
        self.end = self.end or (reason, detail)

    def shut_down(self, reason: Reason) -> None:
        """Take no further stream, in two steps (RFC 9113 section 6.8), and end after the last one."""
        if self._shutdown is not None or self.end is not None:
            return
        self._shutdown = reason
        self._shutdown_at = self._clock.now
        if not self.is_begun:
            self.end = (reason, "")
            return
        self._made_client.append(frames.goaway(self._taken_last, ErrorCode.NO_ERROR))
        self._shutdown_ping = secrets.token_bytes(8)  # so that nobody's PING before it is taken for it
        self._made_client.append(frames.frame(frames.PING, 0, 0, self._shutdown_ping))
        self._client_credit += 1
        self._settle()

    def check_time(self, now: float, *, is_stuck: bool) -> None:
        """End what has taken too long at ``now``. ``is_stuck``: a side does not take what is written to it, or is not
        there yet, and the other may not be read for that, and so is late with nothing."""
        if self.end is not None:
            return
        self._check_half_frames(now, is_stuck=is_stuck)
        if self.end is not None:
            return
        for number in self._dismissed.due(now):
            self._ask_to_stop(number)
        limits = self._limits
        if is_stuck:
            self._client_block_since = self._client_block_since and now
            self._upstream_block_since = self._upstream_block_since and now
        if not self._has_client_settings:
            if not is_stuck and now - self._begun_at > limits.head_timeout_s:
                self._client_fault(_late("no preface and SETTINGS in time"), Reason.HEAD_TIMEOUT)
            return
        if self._shutdown is not None and not self._said_last and now - self._shutdown_at > SHUTDOWN_WAIT_S:
            self._say_last()
            self._settle()
        if self._alone_until and now > self._alone_until:
            self._shutdown = self._shutdown or Reason.COMPLETED
            self._say_last()
            self._settle()
        if self.state is RELAYING and not self._has_upstream_settings and now - self._ready_at > limits.head_timeout_s:
            self.upstream_gone(Reason.UPSTREAM_TIMEOUT, "no SETTINGS in time")
            return
        if self._client_block_since and now - self._client_block_since > limits.head_timeout_s:
            self._client_fault(_late("half a frame"), Reason.HEAD_TIMEOUT)
            return
        if self._upstream_block_since and now - self._upstream_block_since > limits.head_timeout_s:
            self.upstream_gone(Reason.UPSTREAM_TIMEOUT, "half a frame")
            return
        for stream in list(self.streams.values()):
            silent_s = now - stream.active_at
            if silent_s > limits.stream_idle_timeout_s:
                self._idle_stream(stream)
            elif silent_s > limits.response_timeout_s and stream.is_awaited:
                self._refuse(stream, upstream_failed(Reason.UPSTREAM_TIMEOUT))
        self._settle()
        if not self.streams and now - self._idle_since > limits.keepalive_timeout_s:
            self._known_requests.clear()
            self._response_blocks.clear()
            self._shutdown = self._shutdown or Reason.IDLE_TIMEOUT
            self._say_last()
            self._settle()

    def _idle_stream(self, stream: Stream) -> None:
        if stream.open & CLIENT and not stream.answered:
            self._refuse(stream, MessageRefused(408, Reason.BODY_TIMEOUT))
        else:
            self._refuse(stream, upstream_failed(Reason.UPSTREAM_TIMEOUT))

    def _not_http2(self, begun: bytes) -> None:
        """What came is not the preface. Who speaks HTTP/1 is told so in its own words: frames would tell it nothing."""
        if not answers.is_http1(begun):
            self._client_fault(broken("not the HTTP/2 preface"))
            return
        self.fault = self.end = (Reason.H2_PROTOCOL_ERROR, "HTTP/1, where HTTP/2 alone is spoken")
        self.to_client.append(answers.HTTP2_ALONE)

    def _client_fault(self, fault: Http2Error, reason: Reason | None = None) -> None:
        """The client broke the rules, or its budget: everything ends."""
        if reason is None:
            reason = Reason.H2_FLOOD if isinstance(fault, Flood) else Reason.H2_PROTOCOL_ERROR
        self.fault = (reason, fault.detail)
        if not (self._upstream.left and self._upstream_passes):
            self._stand_in()
            self.to_client += self._made_client
            self.to_client.append(frames.goaway(min(self._last, self._taken_last), fault.code))
        self._made_client.clear()
        self._abandon(reason, fault.detail)
        self.end = (reason, fault.detail)

    def _upstream_broke(self, fault: Http2Error) -> None:
        """The upstream did: the client loses its streams, and may dial anew."""
        detail = f"a flood: {fault.detail}" if isinstance(fault, Flood) else fault.detail
        if not self._has_upstream_settings:
            detail = f"not HTTP/2: {detail}"
        in_the_middle = self._client.left and self._client_passes
        self.upstream_gone(Reason.UPSTREAM_BAD_RESPONSE, detail)
        if not in_the_middle:
            self.to_upstream.append(frames.goaway(0, fault.code))


def _late(detail: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.NO_ERROR, detail)
