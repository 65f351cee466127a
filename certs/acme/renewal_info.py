"""When the CA wants a certificate renewed (RFC 9773, ARI)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from certs.acme.account import base64url
from certs.acme.messages import AcmeError, Walk
from certs.acme.session import Session, json_object
from certs.certificate import Certificate
from certs.renewal import RandomUnit

# RFC 9773 section 4.3: what to ask again after where the CA names no time, and the bounds of what it names.
DEFAULT_ASK_AGAIN = timedelta(hours=6)
MIN_ASK_AGAIN = timedelta(minutes=1)
MAX_ASK_AGAIN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RenewalInfo:
    """The window in which the CA suggests to renew, when to ask again, and where its reasons are explained."""

    start: datetime
    end: datetime
    ask_again: timedelta
    explanation: str = ""

    def moment(self, random_unit: RandomUnit) -> datetime:
        """A time in the window by chance, so that a fleet does not come at once (RFC 9773 section 4.2)."""
        return self.start + (self.end - self.start) * random_unit()


def certificate_identifier(certificate: Certificate) -> str:
    """The certificate's name in renewal requests (RFC 9773 section 4.1); empty where it has no authority key
    identifier, and so none."""
    extension = certificate.extension(x509.AuthorityKeyIdentifier)
    key_identifier = extension.key_identifier if extension is not None else None
    if not key_identifier:
        return ""
    serial = certificate.serial_number
    # DER of an INTEGER: one more bit than the number has, for the sign.
    return f"{base64url(key_identifier)}.{base64url(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def renewal_info(session: Session, identifier: str) -> Walk[RenewalInfo | None]:
    """What the CA says of a certificate; None where it does not speak ARI. Raises :class:`AcmeError`."""
    yield from session.open()
    base = session.resource("renewalInfo")
    if not base or not identifier:
        return None
    answer = yield from session.get(f"{base.rstrip('/')}/{identifier}")
    asked_s = session.retry_after_s(answer)
    ask_again = DEFAULT_ASK_AGAIN if asked_s is None else timedelta(seconds=asked_s)
    ask_again = min(max(ask_again, MIN_ASK_AGAIN), MAX_ASK_AGAIN)
    try:
        found = json_object(answer.body)
        window = found["suggestedWindow"]
        start, end = (_time(window[key]) for key in ("start", "end"))
        explanation = found.get("explanationURL", "")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise AcmeError("the CA's renewal information is not as RFC 9773 has it") from None
    if end <= start:
        raise AcmeError("the CA's renewal window ends before it starts")
    return RenewalInfo(start, end, ask_again, explanation if isinstance(explanation, str) else "")


def _time(text: str) -> datetime:
    """RFC 3339. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment
