"""Why a connection or a request ended: one enumeration, used unchanged in the access log, the metric labels, the
refusal records, the admin API and the terminal UI.

Nothing here does anything. Each reason names its culprit and carries one sentence a person understands, so that the
same words stand wherever the reason is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

from tlsidecar.lazy_dataclass import dataclass


class Culprit(StrEnum):
    """Whose doing an end was."""

    NOBODY = "nobody"
    PEER = "peer"
    POLICY = "policy"
    UPSTREAM = "upstream"
    OPERATOR = "operator"
    CONFIGURATION = "configuration"
    US = "us"


class Stage(StrEnum):
    """How far a connection or request had come when it was turned away."""

    ACCEPT = "accept"
    HANDSHAKE = "handshake"
    VERIFY = "verify"
    AUTHORIZE = "authorize"
    REQUEST = "request"
    UPSTREAM = "upstream"


class Side(StrEnum):
    """Who turned it away: this sidecar (``local``) or the other end (``peer``)."""

    LOCAL = "local"
    PEER = "peer"


class Reason(StrEnum):
    """Why it ended. The value is the label; :attr:`sentence` is for people; :attr:`culprit` groups them."""

    culprit: Culprit
    sentence: str

    def __new__(cls, label: str, culprit: Culprit = Culprit.NOBODY, sentence: str = "") -> Reason:
        member = str.__new__(cls, label)
        member._value_ = label
        member.culprit = culprit
        member.sentence = sentence
        return member

    # How connections end when nobody was turned away.
    COMPLETED = "completed", Culprit.NOBODY, "both sides finished"
    IDLE_TIMEOUT = "idle_timeout", Culprit.NOBODY, "nothing was sent either way for the idle timeout"
    CLOSED_BY_ADMIN = "closed_by_admin", Culprit.OPERATOR, "closed over the admin socket"
    DRAINED = "drained", Culprit.OPERATOR, "ended by a drain, after its last exchange"
    DRAIN_FORCED = "drain_forced", Culprit.OPERATOR, "cut because the drain timeout ran out"
    MAX_AGE = "max_age", Culprit.POLICY, "older than the listener's max_connection_age"
    GENERATION_DRAINED = (
        "generation_drained",
        Culprit.OPERATOR,
        "ended by a drain of older generations, after its last exchange",
    )
    POLICY_CHANGED = "policy_changed", Culprit.POLICY, "the access rules changed and let the peer in no more"
    PEER_CERTIFICATE_EXPIRED = (
        "peer_certificate_expired",
        Culprit.PEER,
        "the peer's certificate expired while connected",
    )
    PEER_CERTIFICATE_REVOKED = (
        "peer_certificate_revoked",
        Culprit.PEER,
        "the peer's certificate was revoked meanwhile",
    )

    # The peer, on the wire.
    TRUNCATED = "truncated", Culprit.PEER, "the peer closed without close_notify: data may be missing"
    PEER_RESET = "peer_reset", Culprit.PEER, "the peer reset the connection"
    SLOW_READER = "slow_reader", Culprit.PEER, "the peer did not read what was sent to it"
    CLOSE_TIMEOUT = "close_timeout", Culprit.PEER, "the other side did not finish within the close timeout"
    APP_RESET = "app_reset", Culprit.PEER, "the local application reset the connection"

    # The handshake.
    HANDSHAKE_TIMEOUT = "handshake_timeout", Culprit.PEER, "no complete handshake within the handshake timeout"
    HANDSHAKE_ABORTED = "handshake_aborted", Culprit.PEER, "the peer left in the middle of the handshake"
    PLAINTEXT = "plaintext", Culprit.PEER, "plain HTTP was sent to the TLS port"
    STARTTLS_REFUSED = (
        "starttls_refused",
        Culprit.PEER,
        "the peer did not agree on TLS in its protocol's own words, or does not keep to them",
    )
    NOT_TLS = "not_tls", Culprit.PEER, "what was sent is not TLS"
    UNSUPPORTED_VERSION = "unsupported_version", Culprit.PEER, "no TLS version in common"
    NO_SHARED_CIPHER = "no_shared_cipher", Culprit.PEER, "no cipher suite, group or signature algorithm in common"
    PROTOCOL_ERROR = "protocol_error", Culprit.PEER, "the peer broke the TLS protocol"
    RECORD_FLOOD = "record_flood", Culprit.PEER, "too many TLS records that carry no data"
    REFUSED_BY_PEER = "refused_by_peer", Culprit.PEER, "the peer refused our certificate or the handshake"

    # The peer's certificate.
    NO_CERTIFICATE = "no_certificate", Culprit.PEER, "the peer showed no certificate"
    NO_CERTIFICATE_REQUEST = (
        "no_certificate_request",
        Culprit.PEER,
        "the remote does not ask for our certificate: it would not be mutual",
    )
    UNKNOWN_CA = "unknown_ca", Culprit.PEER, "the peer's certificate does not lead to a CA in the trust bundle"
    CERTIFICATE_EXPIRED = "certificate_expired", Culprit.PEER, "the peer's certificate has expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid", Culprit.PEER, "the peer's certificate is not valid yet"
    CERTIFICATE_REVOKED = "certificate_revoked", Culprit.PEER, "the peer's certificate has been revoked"
    CRL_MISSING = "crl_missing", Culprit.CONFIGURATION, "no revocation list for the peer's issuer"
    CRL_EXPIRED = "crl_expired", Culprit.CONFIGURATION, "the revocation list for the peer's issuer has expired"
    WRONG_PURPOSE = "wrong_purpose", Culprit.PEER, "the peer's certificate is not for this use (extended key usage)"
    BAD_SIGNATURE = (
        "bad_signature",
        Culprit.PEER,
        "a signature does not verify: in the peer's chain, or the proof that it holds its key",
    )
    WEAK_KEY = "weak_key", Culprit.PEER, "a key or signature in the peer's chain is too weak"
    CERTIFICATE_INVALID = "certificate_invalid", Culprit.PEER, "the peer's certificate or chain breaks RFC 5280"
    NO_SUBJECT_ALTERNATIVE_NAME = "no_subject_alternative_name", Culprit.PEER, "the peer's certificate has no SAN"
    INVALID_SVID = "invalid_svid", Culprit.PEER, "the peer's certificate is not a valid SPIFFE X.509-SVID"
    NAME_MISMATCH = "name_mismatch", Culprit.PEER, "the peer's certificate is for another name"

    # Policy and limits.
    NOT_ALLOWED = "not_allowed", Culprit.POLICY, "no access rule allows this identity"
    NOT_EXPECTED = "not_expected", Culprit.POLICY, "the remote is not one of the expected identities"
    IDENTITY_DENIED = "identity_denied", Culprit.OPERATOR, "an operator keeps this identity out for a time"
    ROUTE_DENIED = "route_denied", Culprit.POLICY, "the route's rules do not allow this identity"
    MAX_CONNECTIONS = "max_connections", Culprit.POLICY, "the connection limit is reached"
    MAX_HANDSHAKES = "max_handshakes", Culprit.POLICY, "too many handshakes at once"
    DRAINING = "draining", Culprit.OPERATOR, "the sidecar is draining"
    FD_EXHAUSTED = "fd_exhausted", Culprit.US, "no file descriptor is left for a connection"
    RATE_LIMITED = "rate_limited", Culprit.POLICY, "this identity is over its request rate"
    SHED = "shed", Culprit.POLICY, "too many requests at once on this listener"

    # The upstream, or on the originate side the remote.
    UPSTREAM_REFUSED = "upstream_refused", Culprit.UPSTREAM, "the upstream refused the connection"
    UPSTREAM_UNREACHABLE = "upstream_unreachable", Culprit.UPSTREAM, "there is no route to the upstream"
    UPSTREAM_TIMEOUT = "upstream_timeout", Culprit.UPSTREAM, "the upstream did not answer in time"
    UPSTREAM_UNRESOLVED = "upstream_unresolved", Culprit.UPSTREAM, "the upstream's name does not resolve"
    UPSTREAM_RESET = "upstream_reset", Culprit.UPSTREAM, "the upstream reset the connection"
    UPSTREAM_CLOSED = "upstream_closed", Culprit.UPSTREAM, "the upstream closed before its response was complete"
    UPSTREAM_TLS = "upstream_tls", Culprit.UPSTREAM, "the TLS handshake with the upstream failed"
    UPSTREAM_HANDSHAKE_TIMEOUT = (
        "upstream_handshake_timeout",
        Culprit.UPSTREAM,
        "the upstream did not finish the TLS handshake in time",
    )
    UPSTREAM_BAD_RESPONSE = (
        "upstream_bad_response",
        Culprit.UPSTREAM,
        "what the upstream answers is not valid in its protocol",
    )
    UPSTREAM_NO_H2 = "upstream_no_h2", Culprit.UPSTREAM, "the remote did not agree on HTTP/2 (ALPN)"
    UPSTREAM_EJECTED = "upstream_ejected", Culprit.UPSTREAM, "every upstream address is ejected or unhealthy"

    # HTTP requests.
    HEAD_TIMEOUT = "head_timeout", Culprit.PEER, "no complete request head within the head timeout"
    BODY_TIMEOUT = "body_timeout", Culprit.PEER, "the request body stopped arriving"
    BAD_REQUEST_LINE = "bad_request_line", Culprit.PEER, "the request line is malformed"
    BAD_TARGET = "bad_target", Culprit.PEER, "the request target is malformed"
    BAD_HEADER = "bad_header", Culprit.PEER, "a header line is malformed"
    BAD_HOST = "bad_host", Culprit.PEER, "Host is missing, doubled or malformed"
    BARE_LINE_FEED = "bare_line_feed", Culprit.PEER, "a CR or LF stands alone in the head"
    OBSOLETE_FOLD = "obsolete_fold", Culprit.PEER, "a header line is folded"
    UNDERSCORE_HEADER = "underscore_header", Culprit.PEER, "a header name has an underscore"
    AMBIGUOUS_FRAMING = "ambiguous_framing", Culprit.PEER, "Content-Length and Transfer-Encoding in one message"
    BAD_CONTENT_LENGTH = "bad_content_length", Culprit.PEER, "Content-Length is malformed"
    BAD_TRANSFER_ENCODING = "bad_transfer_encoding", Culprit.PEER, "Transfer-Encoding is malformed or not allowed here"
    UNKNOWN_TRANSFER_CODING = "unknown_transfer_coding", Culprit.PEER, "a transfer coding other than chunked"
    BAD_CHUNK = "bad_chunk", Culprit.PEER, "a chunk is malformed"
    BAD_TRAILER = "bad_trailer", Culprit.PEER, "a trailer field is malformed or forbidden"
    BAD_VERSION = "bad_version", Culprit.PEER, "not HTTP/1.0 or HTTP/1.1"
    BAD_PATH = "bad_path", Culprit.PEER, "the path could be read in two ways"
    METHOD_REFUSED = "method_refused", Culprit.PEER, "this method is not served"
    EXPECTATION_FAILED = "expectation_failed", Culprit.PEER, "Expect asks for something other than 100-continue"
    HEAD_TOO_LARGE = "head_too_large", Culprit.PEER, "the request head is over its limit"
    TARGET_TOO_LONG = "target_too_long", Culprit.PEER, "the request target is over its limit"
    BODY_TOO_LARGE = "body_too_large", Culprit.PEER, "the request body is over its limit"
    INCOMPLETE_REQUEST = "incomplete_request", Culprit.PEER, "the peer left before its request was complete"

    # HTTP/2.
    H2_PROTOCOL_ERROR = "h2_protocol_error", Culprit.PEER, "the peer broke the HTTP/2 protocol"
    H2_FLOOD = "h2_flood", Culprit.PEER, "more HTTP/2 frames, fields or streams than a connection may have"
    STREAM_RESET = "stream_reset", Culprit.PEER, "the client cancelled the request"

    WORKER_LOST = "worker_lost", Culprit.US, "the worker process that served it ended"
    INTERNAL_ERROR = "internal_error", Culprit.US, "a defect in the sidecar: please report the log line"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One connection or request turned away, with who it was where a certificate was shown.

    ``at`` is POSIX seconds; ``serial`` is lowercase hex; ``not_after`` POSIX seconds. Everything from the peer is
    hostile text: escape it before it reaches a terminal.
    """

    at: float
    listener: str
    peer_address: str
    side: Side
    stage: Stage
    reason: Reason
    detail: str = ""
    identity: str = ""
    subject: str = ""
    issuer: str = ""
    serial: str = ""
    not_after: float | None = None
    rule: str = ""
    connection_id: int = 0
    status: int = 0
    method: str = ""
    target: str = ""
    request_id: str = ""
    upstream: str = ""  # where it was to go, as far as that had been chosen
    leaf: str = ""  # the SHA-256 of the certificate that was shown, in hex
    chain: tuple[bytes, ...] = ()  # its DER and that of those above it; with the first refusal of a connection only
    own_identity: str = ""  # which of ours it was to be served under, by name

    @property
    def is_failure(self) -> bool:
        """Whether nobody was turned away: what was asked for could not be done."""
        return self.stage is Stage.UPSTREAM and self.reason.culprit not in (Culprit.OPERATOR, Culprit.POLICY)


@dataclass(frozen=True, slots=True)
class Failure:
    """One connection or request that could not be served, and is nobody's guilt who asked: the upstream's doing, or
    ours. ``at`` is POSIX seconds; ``upstream`` is the address, empty where none was chosen; the last four are a
    request's. Text from the peer is hostile: escape it before it reaches a terminal."""

    at: float
    listener: str
    upstream: str
    reason: Reason
    detail: str = ""
    peer_address: str = ""
    identity: str = ""
    connection_id: int = 0
    status: int = 0
    method: str = ""
    target: str = ""
    request_id: str = ""

    @classmethod
    def of(cls, refusal: Refusal) -> Failure:
        """What is told in the form of a refusal, and is none."""
        return cls(
            at=refusal.at,
            listener=refusal.listener,
            upstream=refusal.upstream,
            reason=refusal.reason,
            detail=refusal.detail,
            peer_address=refusal.peer_address,
            identity=refusal.identity,
            connection_id=refusal.connection_id,
            status=refusal.status,
            method=refusal.method,
            target=refusal.target,
            request_id=refusal.request_id,
        )


class Trace(NamedTuple):
    """Our span of one request, where tracing is on: ids in lowercase hex; no parent where the trace begins here."""

    trace_id: str
    span_id: str
    parent_id: str
    sampled: bool
    kind: str  # "server" when terminating, "client" when originating


class AccessEntry(NamedTuple):
    """One connection (TCP) or request (HTTP) as it ended: one line of the access log.

    ``at`` is POSIX seconds, at the end; the durations are seconds. A connection's ``total_s`` is split into the
    handshake, the wait for an upstream connection and the rest, a request's into the wait for its turn and for an
    upstream connection (``wait_s``) and what followed (``upstream_s``): it begins at its head's last byte.
    ``protocol`` is "tcp" or "http"; ``method`` to ``trace`` are for requests. ``own_identity`` is which of ours, by
    name. Text from a peer stays as it was: the access log escapes it.
    """

    at: float
    protocol: str
    listener: str
    connection_id: int
    generation: int
    peer_address: str
    identity: str
    rule: str
    reason: Reason
    upstream: str
    bytes_in: int
    bytes_out: int
    handshake_s: float
    wait_s: float
    upstream_s: float
    total_s: float
    method: str = ""
    target: str = ""
    status: int = 0
    request_id: str = ""
    trace: Trace | None = None
    own_identity: str = ""


class EndedRequest(Protocol):
    """A request that is over, as it was served: what an ordinary line of the access log needs, and :meth:`entry` for
    every other use. To make an entry of each request costs more than its line.

    ``begun_at`` and ``attached_at`` (when it had its upstream connection) are monotonic seconds; ``upstream`` is empty
    where it never had one; ``reason`` is ``None`` for one that ran its course. ``identity`` and ``rule`` are the same
    object, or equal, while they are the same for a connection.
    """

    @property
    def downstream(self) -> EndedRequestsConnection: ...
    @property
    def request(self) -> AskedFor: ...
    @property
    def begun_at(self) -> float: ...
    @property
    def attached_at(self) -> float: ...
    @property
    def status(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def upstream(self) -> str: ...
    @property
    def identity(self) -> object: ...
    @property
    def rule(self) -> str: ...
    @property
    def reason(self) -> Reason | None: ...

    def entry(self, now: float) -> AccessEntry:
        """All of it, as it ended at ``now`` (monotonic seconds)."""
        ...


class EndedRequestsConnection(Protocol):
    """The connection it came on: its id, and the clock in POSIX seconds."""

    @property
    def connection_id(self) -> int: ...
    @property
    def wall(self) -> Callable[[], float]: ...


class AskedFor(Protocol):
    """What it asked for."""

    @property
    def method(self) -> bytes: ...
    @property
    def target(self) -> bytes: ...
    @property
    def request_id(self) -> bytes: ...
    @property
    def trace(self) -> Trace | None: ...
