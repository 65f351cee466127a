"""From names to a certificate: order, authorizations, challenges, finalization, download (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certs.acme.account import ExternalAccount, base64url
from certs.acme.challenges import Challenge, ChallengeType, is_token
from certs.acme.messages import AcmeError, AcmeResponse, Pause, Present, Walk, Withdraw
from certs.acme.session import Json, Session, problem_error

# What the server is asked again after, where it names no time itself, doubling up to the most.
FIRST_POLL_S = 0.5
MAX_POLL_S = 10.0

# So often: with the pauses above, about ten minutes.
MAX_POLLS = 70


@dataclass(frozen=True, slots=True)
class CertificateOrder:
    """What to ask for. ``replaces`` is the renewal identifier of the certificate that this one follows (RFC 9773
    section 5), empty for none."""

    names: tuple[str, ...]
    contact: tuple[str, ...] = ()
    terms_agreed: bool = False
    external: ExternalAccount | None = None
    challenge: ChallengeType = ChallengeType.TLS_ALPN_01
    profile: str = ""
    replaces: str = ""


SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def issue(session: Session, order: CertificateOrder, key: SigningKey) -> Walk[bytes]:
    """A certificate for ``key``: PEM, the leaf first. Raises :class:`AcmeError`.

    Each challenge that was presented is withdrawn when the CA has judged it; whoever closes the walk early withdraws
    what is left (:func:`certs.acme.transport.carry_out` does).
    """
    yield from session.begin(order.contact, terms_agreed=order.terms_agreed, external=order.external)
    url, placed = yield from _place(session, order)
    authorizations = _urls(placed.get("authorizations"))
    if not authorizations:
        raise AcmeError("the CA's order names no authorizations")
    for authorization in authorizations:
        yield from _prove(session, authorization, order)
    ready = yield from _until(session, url, ("ready", "valid"), "the order")
    if ready["status"] == "ready":
        request = base64url(signing_request(order.names, key))
        _, ready = yield from session.post(_url(ready, "finalize"), {"csr": request})
        if ready.get("status") != "valid":
            ready = yield from _until(session, url, ("valid",), "the order")
    answer = yield from session.post_raw(_url(ready, "certificate"), None)
    return answer.body


def signing_request(names: Iterable[str], key: SigningKey) -> bytes:
    """DER of a PKCS #10 request for these DNS names and addresses, and no subject (RFC 8555 section 7.4)."""
    sans: list[x509.GeneralName] = []
    for name in names:
        try:
            sans.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            sans.append(x509.DNSName(name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _place(session: Session, order: CertificateOrder) -> Walk[tuple[str, Json]]:
    payload: Json = {"identifiers": [_identifier(name) for name in order.names]}
    if order.profile:
        payload["profile"] = order.profile
    if order.replaces and session.resource("renewalInfo"):
        payload["replaces"] = order.replaces
    try:
        answer, placed = yield from session.post(session.resource("newOrder"), payload)
    except AcmeError as error:
        # The certificate was replaced already, or the CA does not know it: what we want is a new one all the same.
        if "replaces" not in payload or error.kind not in ("alreadyReplaced", "malformed"):
            raise
        del payload["replaces"]
        answer, placed = yield from session.post(session.resource("newOrder"), payload)
    url = answer.headers.get("location", "")
    if not url:
        raise AcmeError("the CA gave the order no address (Location)")
    return url, placed


def _prove(session: Session, url: str, order: CertificateOrder) -> Walk[None]:
    """One authorization: nothing to do where the CA still remembers that the name is ours."""
    wanted = order.challenge
    _, authorization = yield from session.post(url, None)
    if authorization.get("status") == "valid":
        return
    identifier = authorization.get("identifier")
    name = str(identifier.get("value", "")).lower() if isinstance(identifier, dict) else ""
    # Of a wildcard the domain is proved (RFC 8555 section 7.1.3).
    if name not in (_identifier(each)["value"].lower().removeprefix("*.") for each in order.names):
        raise AcmeError(f"the CA wants {name!a} to be proved, which was not ordered")
    if authorization.get("status") != "pending":
        raise AcmeError(f"{name}: the CA's authorization is {authorization.get('status')}")
    offered = [each for each in _list(authorization.get("challenges")) if isinstance(each, dict)]
    chosen = next((each for each in offered if each.get("type") == wanted), None)
    if chosen is None:
        types = ", ".join(sorted(str(each.get("type")) for each in offered)) or "nothing"
        raise AcmeError(f"{name}: the CA does not offer {wanted}, but {types}")
    token = chosen.get("token")
    if not is_token(token):
        raise AcmeError(f"{name}: the CA's token is not base64url")
    challenge = Challenge(wanted, name, str(token), session.key.key_authorization(str(token)))
    yield Present(challenge)
    try:
        yield from session.post(_url(chosen, "url"), {})
        yield from _until(session, url, ("valid",), name)
    except AcmeError:
        yield Withdraw(challenge)
        raise
    yield Withdraw(challenge)


def _until(session: Session, url: str, states: Sequence[str], what: str) -> Walk[Json]:
    """Ask until ``url`` is in one of these states (RFC 8555 section 7.1.6)."""
    wait_s = FIRST_POLL_S
    for _ in range(MAX_POLLS):
        answer, found = yield from session.post(url, None)
        status = found.get("status")
        if status in states:
            return found
        if status not in ("pending", "processing", "ready"):
            raise _failure(found, f"{what}: the CA says {status}")
        yield Pause(_pause_s(session, answer, wait_s))
        wait_s = min(wait_s * 2, MAX_POLL_S)
    raise AcmeError(f"{what}: the CA did not come to an end with it")


def _pause_s(session: Session, answer: AcmeResponse, otherwise_s: float) -> float:
    asked_s = session.retry_after_s(answer)
    return otherwise_s if asked_s is None else min(max(asked_s, FIRST_POLL_S), 60.0)


def _failure(found: Json, fallback: str) -> AcmeError:
    """The CA's reason: of an order its own, of an authorization that of the challenge that failed."""
    problems: list[Any] = [found.get("error")]
    problems += [each.get("error") for each in _list(found.get("challenges")) if isinstance(each, dict)]
    told = next((each for each in problems if isinstance(each, dict)), {})
    error = problem_error(told, "")
    return AcmeError(f"{fallback}: {error}" if str(error) else fallback, error.kind)


def _identifier(name: str) -> dict[str, str]:
    try:
        return {"type": "ip", "value": str(ip_address(name))}  # RFC 8738
    except ValueError:
        return {"type": "dns", "value": name}


def _url(found: Json, key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not value:
        raise AcmeError(f"the CA's answer has no {key} address")
    return value


def _urls(value: object) -> list[str]:
    return [each for each in _list(value) if isinstance(each, str)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
