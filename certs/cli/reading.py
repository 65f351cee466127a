"""``certs show | verify``: reading what is there, however hostile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from certs.certificate import Certificate
from certs.chain import arrange
from certs.cli.context import EXIT_USAGE, FILE, JSON, CertsContext, emit, reports_errors
from certs.durations import duration_text
from certs.errors import CertificateInvalid, MaterialError, MaterialReason
from certs.handshake import prove_handshake
from certs.hostile import PARSE_ERRORS
from certs.identity import Identity, Role, serial_text
from certs.journal import time_text
from certs.material import Material
from certs.pem import (
    CERTIFICATE,
    CRL,
    Block,
    certificates_in,
    missing,
    parse_certificate,
    parse_crl,
    read_blocks,
)
from certs.preflight import inspect
from certs.revocation_list import RevocationList
from certs.safe_files import Secrecy, read_file
from certs.sources.bundles import Bundles, TrustFile
from certs.sources.files import FileSource
from certs.text import describe_certificate, safe_text

_PURPOSE_NAMES = {role.purpose: f"{role.value}Auth" for role in Role}

_UNREADABLE: tuple[type[Exception], ...] = (MaterialError, CertificateInvalid, *PARSE_ERRORS)


@click.command(epilog="Example: tlsidecar certs show web/tls.crt")
@click.argument("files", metavar="FILE…", type=FILE, nargs=-1, required=True)
@JSON
@reports_errors
def show(files: tuple[Path, ...], as_json: bool) -> None:
    """Say what is in certificate and CRL files, PEM or DER. Keys are named, never shown."""
    now = CertsContext.current().clock.now()
    results = []
    texts = []
    for path in files:
        for item, text in _items_of(path, now):
            results.append({"file": str(path), **item})
            texts.append(f"{safe_text(str(path))}: {text}")
    emit({"items": results}, "\n\n".join(texts), as_json=as_json)
    if any("error" in item for item in results):
        click.get_current_context().exit(EXIT_USAGE)


@click.command(epilog="Example: tlsidecar certs verify web/tls.crt --trust web/ca.crt --host localhost")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--trust", type=FILE, required=True, help="The CAs that may vouch for it.")
@click.option("--key", type=FILE, help="Its private key: then a trial handshake is made, too.")
@click.option("--crl", type=FILE, help="Revocation lists.")
@click.option(
    "--role", type=click.Choice(["server", "client", "both"]), help="What it must be for; default: what it says."
)
@click.option("--host", default="", help="The DNS name or IP address it must be for.")
@JSON
@reports_errors
def verify(
    file: Path, trust: Path, key: Path | None, crl: Path | None, role: str | None, host: str, as_json: bool
) -> None:
    """Say whether the certificate in FILE, leaf then intermediates, would be served and accepted. Exit 2 if not."""
    now = CertsContext.current().clock.now()
    subject = FileSource(file, key, trust, crl).load() if key is not None else _without_key(file, trust, crl)
    identity, _ = _identity_of(subject.leaf)
    roles = _roles(role, identity)
    inspection = inspect(subject, roles, now, own_chain_suffices=False)
    found = inspection.problems
    if host and identity is not None and not identity.covers_host(host):
        found.append(MaterialError(MaterialReason.NAME_MISMATCH, host))
    if isinstance(subject, Material) and not found:
        for each in roles:
            try:
                prove_handshake(subject, each, now)
            except MaterialError as error:
                found.append(error)
    name = identity.name if identity is not None else str(file)
    until = f", valid until {time_text(identity.not_after)}" if identity is not None else ""
    lines = [f"{'not ok' if found else 'ok'}: {name}{until}"]
    lines += [f"  problem: {error}" for error in found]
    lines += [f"  warning: {warning}" for warning in inspection.warnings]
    emit(
        {
            "ok": not found,
            "identity": name,
            "roles": [each.value for each in roles],
            "problems": [
                {"reason": error.reason.value, "sentence": error.reason.sentence, "detail": error.detail}
                for error in found
            ],
            "warnings": inspection.warnings,
        },
        "\n".join(map(safe_text, lines)),
        as_json=as_json,
    )
    if found:
        click.get_current_context().exit(EXIT_USAGE)


@dataclass(frozen=True, slots=True)
class _KeylessSet:
    leaf: Certificate
    chain: tuple[Certificate, ...]
    trust: tuple[Certificate, ...]
    crls: tuple[RevocationList, ...]
    notes: tuple[str, ...]
    federated: Mapping[str, tuple[Certificate, ...]] = field(default_factory=dict)


def _without_key(file: Path, trust: Path, crl: Path | None) -> _KeylessSet:
    blocks = _blocks(file)
    certificates = certificates_in(blocks, file)
    if not certificates:
        raise MaterialError(MaterialReason.PEM_INVALID, missing("certificate", blocks), file)
    identities = [(each, _identity_of(each)[0]) for each in certificates]
    leaf = next((each for each, who in identities if who is not None and not who.is_ca), certificates[0])
    chain, notes = arrange(leaf, certificates)
    bundles = Bundles([TrustFile(trust)], crl)
    bundle = bundles.parse({path: read_file(path, Secrecy.PUBLIC) for path in bundles.paths()})
    return _KeylessSet(leaf, chain, bundle.trust, bundle.crls, (*notes, *bundle.notes))


def _blocks(path: Path) -> list[Block]:
    return read_blocks(read_file(path, Secrecy.PUBLIC), path)


def _roles(role: str | None, identity: Identity | None) -> Sequence[Role]:
    if role is None:
        return [each for each in Role if identity is not None and each.purpose in identity.purposes]
    return list(Role) if role == "both" else [Role(role)]


def _identity_of(certificate: Certificate) -> tuple[Identity | None, str]:
    """Who it says it is, or why that cannot be read."""
    try:
        return Identity.from_certificate(certificate), ""
    except CertificateInvalid as error:
        return None, str(error)


def _items_of(path: Path, now: datetime) -> list[tuple[dict[str, Any], str]]:
    """Of each, what is said of it as JSON and in lines, which nothing in a file or its name can add to."""
    try:
        data = read_file(path, Secrecy.PUBLIC)
        blocks = read_blocks(data, path) if b"-----" in data else [_der_block(data, path)]
    except MaterialError as error:
        return [({"kind": "file", "error": str(error)}, f"error: {safe_text(str(error))}")]
    return [_item(block, now) for block in blocks]


def _der_block(data: bytes, path: Path) -> Block:
    try:
        parse_certificate(data)
    except MaterialError:
        pass
    else:
        return Block(CERTIFICATE, data, b"")
    try:
        parse_crl(data)
    except MaterialError:
        raise MaterialError(MaterialReason.PEM_INVALID, "neither PEM nor a DER certificate or CRL", path) from None
    return Block(CRL, data, b"")


def _item(block: Block, now: datetime) -> tuple[dict[str, Any], str]:
    try:
        if block.label == CERTIFICATE:
            certificate = parse_certificate(block.der)
            return _certificate_item(certificate, now)
        if block.label == CRL:
            return _crl_item(parse_crl(block.der))
    except _UNREADABLE as error:
        return {"kind": block.label.lower(), "error": str(error)}, f"{block.label}: error: {safe_text(str(error))}"
    kind = "private key" if block.is_key else block.label.lower()
    return {"kind": kind}, f"{kind} (not shown)" if block.is_key else kind


def _certificate_item(certificate: Certificate, now: datetime) -> tuple[dict[str, Any], str]:
    described = describe_certificate(certificate)
    identity, defect = _identity_of(certificate)
    purposes = [_PURPOSE_NAMES.get(oid, oid) for oid in identity.purposes] if identity is not None else []
    remaining = certificate.not_valid_after_utc - now
    is_early = certificate.not_valid_before_utc > now
    state = "expired" if remaining.total_seconds() <= 0 else "not yet valid" if is_early else "valid"
    ends = f"{duration_text(-remaining)} ago" if state == "expired" else f"in {duration_text(remaining)}"
    svid_error = identity.svid_error if identity is not None else ""
    kind = "CA certificate" if described["is_ca"] else "certificate"
    rows = [
        ("subject", described["subject"] or "(empty)"),
        ("issuer", described["issuer"]),
        ("serial", described["serial"]),
        ("not before", described["not_before"]),
        ("not after", f"{described['not_after']} ({state}; ends {ends})"),
        ("names", ", ".join([*described["uris"], *described["dns"], *described["ips"]])),
        ("for", ", ".join(purposes)),
        ("key", described["key"]),
        ("signature", described["signature"]),
        ("sha256", described["sha256"]),
        ("spki-sha256", described["spki_sha256"]),
        ("not an SVID", svid_error),
        ("defect", defect),
    ]
    # Each value on one line: what a certificate says must not be able to forge a row.
    lines = [f"{kind} {safe_text(described['identity'])}"]
    lines += [f"  {title:<12} {safe_text(value)}" for title, value in rows if value]
    item = {"kind": "certificate", **described, "purposes": purposes, "state": state, "svid_error": svid_error}
    return item, "\n".join(lines)


def _crl_item(crl: RevocationList) -> tuple[dict[str, Any], str]:
    issuer = crl.issuer.text
    next_update = time_text(crl.next_update_utc) if crl.next_update_utc is not None else None
    serials = [serial_text(serial) for serial in crl]
    item = {
        "kind": "crl",
        "issuer": issuer,
        "this_update": time_text(crl.last_update_utc),
        "next_update": next_update,
        "revoked": len(serials),
        "serials": serials,
    }
    lines = [
        f"CRL of {safe_text(issuer)}",
        f"  this update  {time_text(crl.last_update_utc)}",
        f"  next update  {next_update or '(never)'}",
        f"  revoked      {len(serials)}",
        *(f"    {serial}" for serial in serials),
    ]
    return item, "\n".join(lines)
