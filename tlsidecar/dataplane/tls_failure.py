"""What went wrong in TLS, in our own words, once: from OpenSSL's codes and alerts to a reason and a sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from enum import Enum, auto

from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason

# OpenSSL reports an alert that the peer sent as this plus the alert's number (include/openssl/sslerr.h).
_ALERT_REASONS_FROM = 1000
_ALERT_REASONS_TO = 1255

# RFC 8446 section 6.2, and what remains of RFC 5246 section 7.2.
ALERTS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    21: "decryption_failed",
    22: "record_overflow",
    30: "decompression_failure",
    40: "handshake_failure",
    41: "no_certificate",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    60: "export_restriction",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    115: "unknown_psk_identity",
    116: "certificate_required",
    120: "no_application_protocol",
}

_TRUNCATED_TEXT = "unexpected eof while reading"

FLOOD_TEXT = "too many key updates or renegotiations"  # found by us

_WRONG_CURVE = "wrong curve"
# Where OpenSSL's words leave people guessing.
SENTENCES = {
    _WRONG_CURVE: "the peer's certificate has a key on a curve that is not among tls.groups, as TLS 1.2 needs it",
    "no suitable key share": "the peer offers no group for the key exchange that is among tls.groups",
    "no suitable groups": "the peer offers no group for the key exchange that is among tls.groups",
}

_PASSED_ON = frozenset({"record layer failure", "nested asn1 error", "ssl lib", "evp lib", "x509 lib", "asn1 lib"})

_BY_TEXT = {
    "http request": Reason.PLAINTEXT,
    "https proxy request": Reason.PLAINTEXT,
    "wrong version number": Reason.NOT_TLS,
    "unknown protocol": Reason.NOT_TLS,
    "packet length too long": Reason.NOT_TLS,
    "bad packet length": Reason.NOT_TLS,
    "record layer failure": Reason.NOT_TLS,
    "unexpected message": Reason.PROTOCOL_ERROR,
    "unsupported protocol": Reason.UNSUPPORTED_VERSION,
    "unsupported protocol version": Reason.UNSUPPORTED_VERSION,
    "version too low": Reason.UNSUPPORTED_VERSION,
    "no shared cipher": Reason.NO_SHARED_CIPHER,
    "no suitable key share": Reason.NO_SHARED_CIPHER,
    "no suitable groups": Reason.NO_SHARED_CIPHER,
    "no suitable signature algorithm": Reason.NO_SHARED_CIPHER,
    "no shared signature algorithms": Reason.NO_SHARED_CIPHER,
    "no ciphers available": Reason.NO_SHARED_CIPHER,
    "no application protocol": Reason.NO_SHARED_CIPHER,
    "peer did not return a certificate": Reason.NO_CERTIFICATE,
    "bad signature": Reason.BAD_SIGNATURE,
    "bad rsa signature": Reason.BAD_SIGNATURE,
    "bad ecc signature": Reason.BAD_SIGNATURE,
    "wrong signature type": Reason.NO_SHARED_CIPHER,
    _WRONG_CURVE: Reason.NO_SHARED_CIPHER,
    "bad key share": Reason.PROTOCOL_ERROR,
    FLOOD_TEXT: Reason.RECORD_FLOOD,
    "record too small": Reason.RECORD_FLOOD,
    "too many warn alerts": Reason.RECORD_FLOOD,
}


class FailureKind(Enum):
    """Who ended a TLS stream, and how far one can tell."""

    TRUNCATED = auto()  # the transport ended without close_notify
    RESET = auto()  # the transport failed
    ALERT = auto()  # the peer sent a fatal alert
    PROTOCOL = auto()  # we found fault with what the peer sent


@dataclass(frozen=True, slots=True)
class SslFailure:
    """Why a TLS stream failed. ``text`` is OpenSSL's or the system's own, never the peer's."""

    kind: FailureKind
    text: str
    alert: str = ""

    @classmethod
    def from_errno(cls, number: int) -> SslFailure:
        if not number:
            return cls(FailureKind.TRUNCATED, "the connection ended without close_notify")
        return cls(FailureKind.RESET, f"{errno.errorcode.get(number, number)}: {os.strerror(number)}")

    @classmethod
    def from_queue(cls, queue: Sequence[tuple[int | None, str]]) -> SslFailure:
        """From OpenSSL's queue of errors, oldest first: reason codes, where the API gives them, and texts.

        The newest is what it came to; those before are how ("first octet invalid", and then "bad signature"). Newer
        ones that only pass an error on, or tell that an alert could not be sent any more, say nothing.
        """
        told = [entry for entry in queue if entry[1] and entry[1] not in _PASSED_ON] or [*queue]
        if not told:
            return cls.from_errno(0)
        code, text = told[-1]
        return cls.from_text(text) if code is None else cls.from_code(code, text)

    @classmethod
    def from_code(cls, code: int, text: str) -> SslFailure:
        """From OpenSSL's reason code and its text."""
        if text == _TRUNCATED_TEXT:
            return cls.from_errno(0)
        if _ALERT_REASONS_FROM <= code <= _ALERT_REASONS_TO:
            number = code - _ALERT_REASONS_FROM
            alert = ALERTS.get(number, f"alert_{number}")
            return cls(FailureKind.ALERT, f"the peer sent the alert {alert}", alert)
        return cls(FailureKind.PROTOCOL, text or f"OpenSSL reason {code}")

    @classmethod
    def from_text(cls, text: str) -> SslFailure:
        """From OpenSSL's reason text alone, which is all the public API gives."""
        if text == _TRUNCATED_TEXT or not text:
            return cls.from_errno(0)
        _, found, name = text.partition(" alert ")
        if found:
            alert = name.replace(" ", "_")
            return cls(FailureKind.ALERT, f"the peer sent the alert {alert}", alert)
        return cls(FailureKind.PROTOCOL, text)

    @property
    def was_alerted(self) -> bool:
        """Whether OpenSSL has told the peer by an alert, which a reset would destroy before it is read. A flood is no
        peer that wants to read one."""
        return self.kind is FailureKind.PROTOCOL and self.stream_reason() is not Reason.RECORD_FLOOD

    def handshake_reason(self) -> Reason:
        """The reason of a handshake that ended so."""
        return Reason.HANDSHAKE_ABORTED if self.kind is FailureKind.TRUNCATED else self.stream_reason()

    def stream_reason(self) -> Reason:
        """The reason of an established connection that ended so."""
        match self.kind:
            case FailureKind.TRUNCATED:
                return Reason.TRUNCATED
            case FailureKind.RESET:
                return Reason.PEER_RESET
            case FailureKind.ALERT:
                return Reason.REFUSED_BY_PEER
            case FailureKind.PROTOCOL:
                return _BY_TEXT.get(self.text, Reason.PROTOCOL_ERROR)


# OpenSSL's X509_V_ERR numbers (include/openssl/x509_vfy.h), as reasons of ours.
_BY_VERIFY_ERROR = {
    2: Reason.UNKNOWN_CA,  # unable to get issuer certificate
    3: Reason.CRL_MISSING,
    5: Reason.CRL_MISSING,
    7: Reason.BAD_SIGNATURE,
    8: Reason.CRL_MISSING,  # the CRL's signature is wrong: as good as none
    9: Reason.CERTIFICATE_NOT_YET_VALID,
    10: Reason.CERTIFICATE_EXPIRED,
    11: Reason.CRL_EXPIRED,  # not yet valid
    12: Reason.CRL_EXPIRED,
    18: Reason.UNKNOWN_CA,
    19: Reason.UNKNOWN_CA,
    20: Reason.UNKNOWN_CA,
    21: Reason.UNKNOWN_CA,
    23: Reason.CERTIFICATE_REVOKED,
    26: Reason.WRONG_PURPOSE,
    27: Reason.UNKNOWN_CA,
    # Lists that are there and of no use are as good as none, and none of the peer's doing:
    33: Reason.CRL_MISSING,
    36: Reason.CRL_MISSING,
    44: Reason.CRL_MISSING,
    54: Reason.CRL_MISSING,
    62: Reason.NAME_MISMATCH,
    64: Reason.NAME_MISMATCH,
    66: Reason.WEAK_KEY,  # EE key too small
    67: Reason.WEAK_KEY,  # CA key too small
    68: Reason.WEAK_KEY,  # CA signature digest too weak
}

CRL_ERRORS = frozenset({3, 8, 11, 12})
NO_CRL = 3


def verify_reason(error: int) -> Reason:
    """The reason for OpenSSL's verification error number."""
    return _BY_VERIFY_ERROR.get(error, Reason.CERTIFICATE_INVALID)
