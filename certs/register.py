"""What a local CA has issued, as its journal has it, and which of it somebody means."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from certs.authority import Authority
from certs.errors import AuthorityError
from certs.identity import serial_text
from certs.journal import Entry, parse_time, second_text
from certs.pem import certificates_in, read_blocks
from certs.safe_files import Secrecy, read_file

# Candidates that are named in one error.
MAX_NAMED = 20

_SERIAL = re.compile(r"(?:0x)?([0-9a-f]{1,40})", re.IGNORECASE)


class CertificateState(StrEnum):
    """What a leaf is good for now. A revoked one stays revoked when it expires."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Issued:
    """One leaf as it was issued, and what became of it. A time that the journal does not have is None."""

    serial: str
    names: tuple[str, ...]
    subject: str
    roles: tuple[str, ...]
    issued_at: datetime | None
    not_after: datetime | None
    authority: str  # the generation of the CA that issued it
    requester: str
    state: CertificateState
    revoked_at: datetime | None = None
    reason: str = ""


class Ambiguous(AuthorityError):
    """Several leaves are meant, and one was to be: the text lists them."""


def parse_serial(text: str) -> str:
    """Lowercase hex as everywhere else, from hex with or without colons, ``0x`` or leading zeros. Raises
    :class:`AuthorityError`."""
    match = _SERIAL.fullmatch(text.strip().replace(":", ""))
    if match is None:
        raise AuthorityError(f"{text!a} is not a serial number in hexadecimal")
    return serial_text(int(match[1], 16))


def issued_by(authority: Authority) -> tuple[Issued, ...]:
    """Every leaf that the CA has issued, oldest first. Raises :class:`AuthorityError`."""
    now = authority.clock.now()
    found: dict[str, Issued] = {}
    for entry in authority.journal.entries():
        serial = str(entry.get("serial", ""))
        if entry["event"] == "issue":
            found[serial] = _issued(serial, entry, now)
        elif entry["event"] == "revoke" and serial in found and found[serial].state is not CertificateState.REVOKED:
            reason = str(entry.get("reason", ""))
            at = parse_time(entry["at"])
            found[serial] = replace(found[serial], state=CertificateState.REVOKED, revoked_at=at, reason=reason)
    return tuple(found.values())


def meant_by(what: str, issued: Sequence[Issued], *, every: bool = False) -> tuple[str, ...]:
    """The serials of the leaves that ``what`` names: a serial, a file or published directory that holds the leaf, or
    a name that the leaf was issued for. A name means the leaves that are valid; several need ``every``.

    Raises :class:`Ambiguous` with the candidates, :class:`AuthorityError` or :class:`certs.errors.MaterialError`.
    """
    serial = _serial_or_nothing(what)
    if any(each.serial == serial for each in issued):
        return (serial,)
    named = [each for each in issued if what.casefold() in (name.casefold() for name in each.names)]
    path = Path(what)
    is_file = os.path.exists(path)  # asked so, it raises nothing over what can be no path
    if is_file and named:
        raise Ambiguous(f"{what!a} is a file here and a name of certificates, too: write ./{what} for the file")
    if is_file:
        return (_serial_of(path),)
    if not named:
        if serial:
            return (serial,)  # whoever revokes it says that it was not issued here
        raise AuthorityError(f"{what!a} is no serial, no file, and no name of a certificate of this CA: see certs list")
    valid = [each for each in named if each.state is CertificateState.VALID]
    if not valid:
        raise AuthorityError(
            f"no certificate for {what!a} is valid any more:\n{_listed(named)}\nname one by its serial"
        )
    if len(valid) > 1 and not every:
        raise Ambiguous(f"{len(valid)} certificates for {what!a} are valid:\n{_listed(valid)}\nname one, or add --all")
    return tuple(each.serial for each in valid)


def _issued(serial: str, entry: Entry, now: datetime) -> Issued:
    ends = parse_time(entry.get("not_after"))
    return Issued(
        serial=serial,
        names=_texts(entry.get("names")),
        subject=str(entry.get("subject", "")),
        roles=_texts(entry.get("roles")),
        issued_at=parse_time(entry["at"]),
        not_after=ends,
        authority=str(entry.get("ca", "")),
        requester=str(entry.get("requester", "")),
        state=CertificateState.EXPIRED if ends is not None and ends <= now else CertificateState.VALID,
    )


def _texts(found: object) -> tuple[str, ...]:
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _serial_or_nothing(text: str) -> str:
    try:
        return parse_serial(text)
    except AuthorityError:
        return ""


def _serial_of(path: Path) -> str:
    """Of the leaf in a file, or in a directory that a set was published into."""
    file = path / "tls.crt" if path.is_dir() else path
    certificates = certificates_in(read_blocks(read_file(file, Secrecy.PUBLIC), file), file)
    if not certificates:
        raise AuthorityError(f"{file}: there is no certificate in it")
    return serial_text(certificates[0].serial_number)


def _listed(candidates: Iterable[Issued]) -> str:
    lines = [
        f"  {each.serial}  {each.state.value}, until {second_text(each.not_after) if each.not_after else '?'}, "
        f"{', '.join(each.names)}"
        for each in candidates
    ]
    if len(lines) > MAX_NAMED:
        lines[MAX_NAMED:] = [f"  and {len(lines) - MAX_NAMED} more"]
    return "\n".join(lines)
