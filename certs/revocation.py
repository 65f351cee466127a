"""Revoking leaves of the local CA, and writing its revocation lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding

from certs.authority import CRL_FILE, Authority
from certs.authority_state import AuthorityState
from certs.durable import PUBLIC_FILE_MODE, replace_file
from certs.errors import AuthorityError
from certs.journal import Entry, parse_time, time_text
from certs.names import Name
from certs.profiles import revocation_list
from certs.register import parse_serial
from certs.revocation_list import RevocationList

CRL_LIFETIME = timedelta(days=7)
ROOT_CRL_LIFETIME = timedelta(days=365)  # signed whenever the root's key is at hand, which may be seldom
KEPT_AFTER_EXPIRY = timedelta(days=30)  # then a revoked leaf leaves the list; RFC 5280 section 3.3 wants one list more


@dataclass(frozen=True, slots=True)
class Revoked:
    """One revocation; ``names`` and ``not_after`` as they were issued."""

    serial: str
    names: tuple[str, ...]
    not_after: str
    revoked_at: str
    was_revoked_before: bool


def revoke(authority: Authority, serial: str, requester: str, reason: str = "") -> Revoked:
    """Journals that a leaf is revoked, then writes the lists. Raises :class:`AuthorityError` for a serial that this CA
    did not issue as a leaf."""
    (revoked,) = revoke_each(authority, [serial], requester, reason)
    return revoked


def revoke_each(authority: Authority, serials: Sequence[str], requester: str, reason: str = "") -> tuple[Revoked, ...]:
    """As :func:`revoke`, for several at once: all of them or none."""
    serials = [parse_serial(serial) for serial in serials]
    with authority.changing() as state:
        found = [_to_revoke(authority, serial) for serial in serials]
        now = authority.clock.now()
        for serial, (issued, earlier) in zip(serials, found, strict=True):
            if earlier is None:
                authority.journal.append(
                    "revoke",
                    now,
                    serial=serial,
                    ca=issued.get("ca"),
                    not_after=issued.get("not_after"),
                    reason=reason,
                    requester=requester,
                )
        write_crls_of(authority, state, CRL_LIFETIME)
        return tuple(
            Revoked(
                serial=serial,
                names=tuple(str(name) for name in issued.get("names", ())),
                not_after=str(issued.get("not_after", "")),
                revoked_at=time_text(now) if earlier is None else str(earlier["at"]),
                was_revoked_before=earlier is not None,
            )
            for serial, (issued, earlier) in zip(serials, found, strict=True)
        )


def _to_revoke(authority: Authority, serial: str) -> tuple[Entry, Entry | None]:
    """The journal's entry of a leaf, and of its revocation where that was before."""
    issued = earlier = None
    for entry in authority.journal.entries():
        if entry.get("serial") != serial:
            continue
        if entry["event"] == "certify":
            raise AuthorityError(f"{serial} is one of the CA's own certificates: replace the CA with a rollover")
        if entry["event"] == "issue":
            issued = entry
        elif entry["event"] == "revoke":
            earlier = entry
    if issued is None:
        raise AuthorityError(f"{serial} was not issued by this CA: it is not in its journal")
    return issued, earlier


def write_crls(authority: Authority, lifetime: timedelta = CRL_LIFETIME) -> tuple[RevocationList, ...]:
    """Signs and publishes the lists of every trusted generation. Raises :class:`AuthorityError`."""
    with authority.changing() as state:
        return write_crls_of(authority, state, lifetime)


def write_crls_of(authority: Authority, state: AuthorityState, lifetime: timedelta) -> tuple[RevocationList, ...]:
    """As :func:`write_crls`, for whoever holds the lock and has a state that may not be written yet."""
    now = authority.clock.now()
    revoked: dict[str, list[tuple[int, datetime]]] = {}
    number = 0
    for entry in authority.journal.entries():
        if entry["event"] == "revoke":
            ended = parse_time(entry.get("not_after"))
            if ended is not None and ended + KEPT_AFTER_EXPIRY < now:
                continue
            moment = parse_time(entry["at"]) or now
            revoked.setdefault(str(entry.get("ca")), []).append((int(entry["serial"], 16), moment))
        elif entry["event"] == "crl":
            number = max(number, int(entry.get("number", 0)))
    number += 1
    # A number is journaled before it is used: two lists never carry the same one (RFC 5280 section 5.2.3).
    authority.journal.append("crl", now, number=number, next_update=time_text(now + lifetime))
    earlier = {crl.issuer: crl for crl in authority.crls()}
    crls: list[RevocationList] = []
    for generation in state.trusted:
        issuer = authority.intermediate_issuer(generation)
        written = revocation_list(issuer, revoked.get(generation, []), number, now, lifetime)
        crls.append(RevocationList.of(written))
        crls += _root_list(authority, generation, number, now, earlier)
    path = authority.directory / CRL_FILE
    try:
        replace_file(path, b"".join(crl.public_bytes(Encoding.PEM) for crl in crls), PUBLIC_FILE_MODE)
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from None
    return tuple(crls)


def refresh_crls(authority: Authority) -> None:
    """Signs the lists anew when there are any and one is past two thirds of its time, or a trusted CA has none.
    Raises :class:`AuthorityError`."""
    present = authority.crls()
    if not present:
        return
    now = authority.clock.now()
    issuers = {authority.intermediate(generation).subject for generation in authority.state().trusted}
    is_complete = issuers <= {crl.issuer for crl in present}
    if is_complete and not any(_is_due(crl, now) for crl in present if crl.issuer in issuers):
        return
    write_crls(authority)


def _is_due(crl: RevocationList, now: datetime) -> bool:
    ends = crl.next_update_utc
    return ends is not None and now > crl.last_update_utc + (ends - crl.last_update_utc) * 2 / 3


def _root_list(
    authority: Authority,
    generation: str,
    number: int,
    now: datetime,
    earlier: Mapping[Name, RevocationList],
) -> list[RevocationList]:
    """The root's list, which is empty: an intermediate is replaced by a rollover. Verifiers that check every level
    need it. With the root's key offline the earlier one stays."""
    if authority.has_root_key(generation):
        empty = revocation_list(authority.root_issuer(generation), [], number, now, ROOT_CRL_LIFETIME)
        return [RevocationList.of(empty)]
    kept = earlier.get(authority.root(generation).subject)
    return [kept] if kept is not None else []
