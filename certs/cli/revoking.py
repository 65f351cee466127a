"""``certs list | revoke``: what the CA has issued, and what of it is good no longer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from certs.authority import CRL_FILE, Authority
from certs.cli.at_once import ask_each
from certs.cli.context import (
    DIRECTORY,
    EXIT_FAILED,
    EXIT_OK,
    JSON,
    CertsContext,
    Failure,
    emit,
    emit_done,
    exit_code_of,
    note,
    reports_errors,
    requester,
)
from certs.cli.sidecars import names_sidecars_to_tell
from certs.errors import CertsError
from certs.journal import parse_time, second_text, time_text
from certs.probe import Reloaded, Served, SidecarProbe
from certs.register import CertificateState, Issued, issued_by, meant_by
from certs.revocation import revoke_each
from certs.revocation_list import RevocationList
from certs.rollover import concerned


@click.command("list", epilog="Example: tlsidecar certs list pki --state valid")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option(
    "--state", type=click.Choice([state.value for state in CertificateState]), help="Only these.  [default: all]"
)
@click.option("--name", default="", metavar="NAME", help="Only those for this DNS name, IP address or URI.")
@JSON
@reports_errors
def list_issued(directory: Path, state: str | None, name: str, as_json: bool) -> None:
    """List what the CA in DIR has issued, the oldest first: serial, names, lifetime, state."""
    found = [
        each
        for each in issued_by(Authority(directory, CertsContext.current().clock))
        if (state is None or each.state == state)
        and (not name or name.casefold() in (known.casefold() for known in each.names))
    ]
    emit({"directory": str(directory), "issued": [_document(each) for each in found]}, _table(found), as_json=as_json)


@click.command(epilog="Example: tlsidecar certs revoke pki web.internal --reason stolen")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.argument("what", metavar="SERIAL|NAME|FILE")
@click.option("--all", "every", is_flag=True, help="Every valid certificate of that name.")
@click.option("--reason", default="", help="Why, for the journal.")
@JSON
@reports_errors
@names_sidecars_to_tell
def revoke(
    directory: Path, what: str, every: bool, reason: str, sidecars: Sequence[SidecarProbe], as_json: bool
) -> None:
    """Revoke a leaf and write the revocation list. The leaf is named by its SERIAL (hexadecimal, as certs list prints
    it), by a NAME it was issued for, or by a FILE that holds it (or the directory it was published into).

    Each sidecar named with --socket is told to read again, and asked whether it reads the list now: exit code 1 when
    one does not, 3 when one does not answer, 4 when one refuses to say. The leaf is revoked either way.
    """
    authority = Authority(directory, CertsContext.current().clock)
    serials = meant_by(what, issued_by(authority), every=every)
    revoked = revoke_each(authority, serials, requester(), reason)
    path = directory / CRL_FILE
    documents = [
        {
            "serial": each.serial,
            "names": list(each.names),
            "not_after": each.not_after,
            "revoked_at": each.revoked_at,
            "was_revoked_before": each.was_revoked_before,
        }
        for each in revoked
    ]
    lines = [
        f"{'had been revoked before' if each.was_revoked_before else 'revoked'}: {each.serial} "
        f"({', '.join(each.names)}), at {each.revoked_at}"
        for each in revoked
    ]
    lines.append(f"  revocation list  {path}")
    answers = ask_each(sidecars, lambda sidecar: (sidecar.reload(), sidecar.served()))
    readers = [_Reader(sidecar.name, answer, authority) for sidecar, answer in zip(sidecars, answers, strict=True)]
    lines += [f"  {reader.name}: {reader.obstacle or 'reads it'}" for reader in readers]
    emit_done(
        {
            **documents[0],
            "crl": str(path),
            "revoked": documents,
            "sidecars": [reader.document for reader in readers],
        },
        "\n".join(lines),
        as_json=as_json,
    )
    failing = [reader for reader in readers if reader.obstacle]
    for reader in failing:
        note(f"{reader.name}: {reader.obstacle}; revoked peers are let in there")
    if failing:
        click.get_current_context().exit(max(reader.exit_code for reader in failing))


class _Reader:
    """Whether one sidecar reads the list that was just written."""

    def __init__(self, name: str, answer: tuple[Reloaded, Served] | CertsError | Failure, authority: Authority) -> None:
        self.name = name
        if not isinstance(answer, tuple):
            self.obstacle = str(answer)
            self.exit_code = exit_code_of(answer)
            return
        reloaded, served = answer
        self.obstacle = _obstacle(authority, served)
        self.exit_code = EXIT_FAILED if self.obstacle else EXIT_OK
        if self.obstacle and reloaded.outcome == "refused":
            self.obstacle += f" ({reloaded.reason}: {reloaded.detail})"

    @property
    def document(self) -> dict[str, object]:
        return {"socket": self.name, "reads_list": not self.obstacle, "detail": self.obstacle}


def _obstacle(authority: Authority, served: Served) -> str:
    """Why revoked leaves of this CA would be let in by a sidecar; empty where they would not be."""
    active = authority.state().active
    issuer = authority.intermediate(active).subject
    written = [crl for crl in authority.crls() if crl.issuer == issuer]
    missing = [each for each in concerned(authority, served) if not _reads(each, written)]
    if not missing:
        return ""
    of = f" of the identity {', '.join(each.identity for each in missing)}" if served.others else ""
    older = any(crl.issuer == issuer.text for each in missing for crl in each.lists)
    return f"what it reads{of} is an older list" if older else f"no list of this CA is read{of}: set crl"


def _reads(served: Served, written: Iterable[RevocationList]) -> bool:
    """Whether each of these lists, or a newer one of its issuer, is in use."""
    return all(
        any(
            used.issuer == crl.issuer.text
            and (_moment(used.this_update), used.revoked) >= (crl.last_update_utc, len(crl))
            for used in served.lists
        )
        for crl in written
    )


def _moment(text: str) -> datetime:
    return parse_time(text) or datetime.min.replace(tzinfo=UTC)


def _document(issued: Issued) -> dict[str, Any]:
    begins, ends = issued.issued_at, issued.not_after
    return {
        "serial": issued.serial,
        "names": list(issued.names),
        "subject": issued.subject,
        "roles": list(issued.roles),
        "issued_at": time_text(begins) if begins is not None else None,
        "not_after": time_text(ends) if ends is not None else None,
        "lifetime_s": (ends - begins).total_seconds() if begins is not None and ends is not None else None,
        "state": issued.state.value,
        "revoked_at": time_text(issued.revoked_at) if issued.revoked_at is not None else None,
        "reason": issued.reason,
        "ca": issued.authority,
        "requester": issued.requester,
    }


def _table(issued: Sequence[Issued]) -> str:
    if not issued:
        return "nothing"
    rows = [("SERIAL", "STATE", "ISSUED", "EXPIRES", "NAMES")]
    rows += [
        (
            each.serial,
            each.state.value,
            second_text(each.issued_at) if each.issued_at is not None else "-",
            second_text(each.not_after) if each.not_after is not None else "-",
            ", ".join(each.names),
        )
        for each in issued
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    )
