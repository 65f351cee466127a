"""``certs issue | rotate``: leaves, published as sets, and proved served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from certs.authority import Authority
from certs.cli.at_once import ask_all, ask_each, fail_for
from certs.cli.context import (
    DIRECTORY,
    EXIT_FAILED,
    EXIT_REFUSED,
    JSON,
    CertsContext,
    Duration,
    Failure,
    emit,
    emit_done,
    note,
    reports_errors,
    requester,
)
from certs.cli.sidecars import names_sidecars
from certs.errors import MaterialError
from certs.identity import Role, serial_text
from certs.issued import CERTIFICATE_FILE, Record, publish_issued, read_record
from certs.journal import time_text
from certs.material import Material
from certs.pem import certificates_in, read_blocks
from certs.probe import Served, SidecarProbe
from certs.profiles import LeafRequest
from certs.safe_files import Secrecy, read_file
from certs.served import HandshakeRefused, served_serial

POLL_INTERVAL_S = 0.05


@click.command(epilog="Example: tlsidecar certs issue pki --out web --dns localhost")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option("--out", metavar="OUT", type=DIRECTORY, required=True, help="Where tls.crt, tls.key and ca.crt go.")
@click.option("--dns", multiple=True, metavar="NAME", help="A DNS name; repeatable.")
@click.option("--ip", multiple=True, metavar="ADDRESS", help="An IP address; repeatable.")
@click.option("--spiffe", default="", metavar="URI", help="A SPIFFE ID.")
@click.option("--cn", default="", metavar="NAME", help="The subject's common name.")
@click.option("--ou", multiple=True, metavar="NAME", help="An organizational unit; repeatable.")
@click.option("--ttl", type=Duration(), default="24h", show_default=True)
@click.option("--client", "ends", flag_value="client", help="For clients only.")
@click.option("--server", "ends", flag_value="server", help="For servers only.")
@click.option("--both", "ends", flag_value="both", default="both", help="For both (default).")
@click.option("--unsafe-ttl", is_flag=True, help="Allow server certificates of more than 398 days.")
@JSON
@reports_errors
def issue(
    directory: Path,
    out: Path,
    dns: tuple[str, ...],
    ip: tuple[str, ...],
    spiffe: str,
    cn: str,
    ou: tuple[str, ...],
    ttl: timedelta,
    ends: str,
    unsafe_ttl: bool,
    as_json: bool,
) -> None:
    """Issue a leaf from the CA in DIR with a new key, and publish it into OUT at once."""
    roles = tuple(Role) if ends == "both" else (Role(ends),)
    request = LeafRequest(dns, ip, spiffe, cn, ou, ttl, roles).checked()
    if not (dns or ip or spiffe):
        note(f"the CN is its DNS name, too ({request.dns[0]}): a certificate needs a subject alternative name")
    clock = CertsContext.current().clock
    material = _issue_and_publish(Authority(directory, clock), request, out, unsafe_ttl=unsafe_ttl)
    identity = material.identity
    emit_done(
        {
            "out": str(out),
            "identity": identity.name,
            "subject": identity.subject,
            "serial": identity.serial,
            "not_after": time_text(identity.not_after),
        },
        f"issued {identity.name} into {out}\n"
        f"  serial       {identity.serial}\n"
        f"  valid until  {time_text(identity.not_after)}",
        as_json=as_json,
    )


@click.command(epilog="Example: tlsidecar certs rotate web --socket /run/tlsidecar/admin.sock")
@click.argument("out", metavar="OUT", type=DIRECTORY)
@click.option("--ca", "directory", metavar="DIR", type=DIRECTORY, help="The CA; default: the one that issued OUT.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--timeout", type=Duration(), default="30s", show_default=True, help="For each sidecar.")
@JSON
@reports_errors
@names_sidecars
def rotate(
    out: Path,
    directory: Path | None,
    sidecars: Sequence[SidecarProbe],
    dry_run: bool,
    timeout: timedelta,
    as_json: bool,
) -> None:
    """A new key and leaf for the same names as those in OUT, published at once, and proved served by the sidecars: by a
    handshake where they are on this machine, and elsewhere by what they say of themselves."""
    context = CertsContext.current()
    record = read_record(out)
    authority = Authority(directory or record.authority, context.clock)
    old_serial = _published_serial(out)
    # Asked before anything is changed: whoever cannot say what it serves could not be seen to take up the new leaf.
    serves = ask_all(sidecars, lambda sidecar: sidecar.served().showing(old_serial))
    if dry_run:
        before = {sidecar.name: served for sidecar, served in zip(sidecars, serves, strict=True)}
        _emit_plan(out, record, authority, old_serial, before, as_json=as_json)
        return
    started = context.clock.monotonic()
    material = _issue_and_publish(authority, record.request, out, unsafe_ttl=record.unsafe_ttl)
    published_s = context.clock.monotonic() - started
    new_serial = material.identity.serial
    waiting = _Waiting(context, material, timeout.total_seconds())
    proofs = _proofs(waiting, sidecars)
    lines = [
        f"rotated {out}",
        f"  old serial   {old_serial or '(none)'}",
        f"  new serial   {new_serial}",
        f"  valid until  {time_text(material.identity.not_after)}",
        f"  published in {published_s:.2f} s",
    ]
    lines += [f"  {_proof_text(proof, sidecar)}" for proof, sidecar in zip(proofs, sidecars, strict=True)]
    emit_done(
        {
            "out": str(out),
            "old_serial": old_serial,
            "new_serial": new_serial,
            "not_after": time_text(material.identity.not_after),
            "published_s": round(published_s, 4),
            "sidecars": proofs,
        },
        "\n".join(lines),
        as_json=as_json,
    )


@dataclass(slots=True)
class _Waiting:
    """Has sidecars take up new material, and waits until a fresh handshake shows it, or, on another machine, until they
    say that they serve it."""

    context: CertsContext
    material: Material
    timeout_s: float

    def until_served(self, sidecar: SidecarProbe) -> dict[str, Any]:
        """Raises :class:`Failure` when the sidecar refuses, or does not serve it in time."""
        clock = self.context.clock
        started = clock.monotonic()
        reloaded = sidecar.reload()
        expected = self.material.identity.serial
        if reloaded.outcome == "refused" and expected not in reloaded.serials:
            detail = f": {reloaded.detail}" if reloaded.detail else ""
            raise Failure(
                f"{sidecar.name}: the sidecar refused the new certificate ({reloaded.reason}{detail})", EXIT_REFUSED
            )
        while True:
            served = sidecar.served().showing(expected)
            tried = served.listeners if sidecar.is_here else ()
            obstacle = self._obstacle(served, tried)
            elapsed_s = clock.monotonic() - started
            if not obstacle:
                return {
                    "socket": sidecar.name,
                    "generation": served.generation,
                    "listeners": list(tried),
                    "after_s": round(elapsed_s, 4),
                }
            if elapsed_s > self.timeout_s:
                raise Failure(
                    f"{sidecar.name}: published, but not served after {elapsed_s:.0f} s: {obstacle}", EXIT_FAILED
                )
            self.context.sleep(POLL_INTERVAL_S)

    def _obstacle(self, served: Served, tried: Sequence[str]) -> str:
        expected = self.material.identity.serial
        if served.serial != expected:
            return f"the sidecar serves {served.serial} from {served.source}"
        for address in tried:
            try:
                shown = served_serial(address, self.material)
            except HandshakeRefused as error:
                return str(error)
            if shown != expected:
                return f"{address} still shows {shown}"
        return ""


def _proofs(waiting: _Waiting, sidecars: Sequence[SidecarProbe]) -> list[dict[str, Any]]:
    """Of each. Raises :class:`Failure` for those that have not taken it up, when the others have been said."""
    answers = ask_each(sidecars, waiting.until_served)
    proofs = [answer for answer in answers if isinstance(answer, dict)]
    if len(proofs) < len(answers):
        for sidecar, answer in zip(sidecars, answers, strict=True):
            if isinstance(answer, dict):
                note(_proof_text(answer, sidecar))
        fail_for(answers)
    return proofs


def _proof_text(proof: Mapping[str, Any], sidecar: SidecarProbe) -> str:
    how = "served, as it says itself,"
    if sidecar.is_here:
        how = f"served on {_listeners_text(proof['listeners'])}"
    return f"{proof['socket']}: generation {proof['generation']}, {how} after {proof['after_s']:.2f} s"


def _listeners_text(addresses: Sequence[str]) -> str:
    return ", ".join(addresses) or "no terminate listener"


def _issue_and_publish(authority: Authority, request: LeafRequest, out: Path, *, unsafe_ttl: bool) -> Material:
    material = authority.issue(request, requester(), unsafe_ttl=unsafe_ttl)
    for text in material.notes:
        note(text)
    record = Record(request, authority.directory.resolve(), material.identity.serial, unsafe_ttl)
    publish_issued(out, material, record, authority.clock.now())
    return material


def _emit_plan(
    out: Path,
    record: Record,
    authority: Authority,
    old_serial: str,
    served: Mapping[str, Served],
    *,
    as_json: bool,
) -> None:
    """``served`` is what each sidecar serves of it now, or, where it serves something else, that."""
    request = record.request
    names = [name for name in (request.spiffe, *request.dns, *request.ip) if name]
    lines = [
        f"would rotate {out} (dry run: nothing was changed)",
        f"  serial now   {old_serial or '(none)'}",
        f"  names        {', '.join(names)}",
        f"  issued by    {authority.directory}, {authority.state().active}",
    ]
    lines += [
        f"  {name}: generation {now.generation}, serves {now.serial} on {_listeners_text(now.listeners)}"
        for name, now in served.items()
    ]
    sidecars = [{"socket": name, "generation": now.generation, "serial": now.serial} for name, now in served.items()]
    emit(
        {"out": str(out), "dry_run": True, "old_serial": old_serial, "names": names, "sidecars": sidecars},
        "\n".join(lines),
        as_json=as_json,
    )


def _published_serial(out: Path) -> str:
    """The serial of what is published now; empty where that cannot be read, which rotating mends."""
    path = out / CERTIFICATE_FILE
    try:
        certificates = certificates_in(read_blocks(read_file(path, Secrecy.PUBLIC), path), path)
    except MaterialError as error:
        note(str(error))
        return ""
    return serial_text(certificates[0].serial_number) if certificates else ""
