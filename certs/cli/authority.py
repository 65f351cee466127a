"""``certs init | rollover | crl``: what concerns the CA itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import click

from certs.authority import CRL_FILE, TRUST_FILE, Authority
from certs.authority_state import INTERMEDIATE_LIFETIME, ROOT_LIFETIME, AuthorityState, Plan
from certs.cli.at_once import ask_all
from certs.cli.context import (
    DIRECTORY,
    JSON,
    CertsContext,
    Duration,
    emit_done,
    note,
    reports_errors,
    requester,
)
from certs.cli.sidecars import names_sidecars
from certs.durations import duration_text
from certs.journal import time_text
from certs.probe import LivePeer, Served, SidecarProbe
from certs.profiles import Constraints
from certs.revocation import CRL_LIFETIME, write_crls
from certs.rollover import SidecarView, concerned, finish, start, switch
from certs.text import describe_certificate


@click.command(epilog="Example: tlsidecar certs init pki --name 'Dev CA'")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option("--name", default="Dev CA", show_default=True, help="What the CA's certificates are called.")
@click.option("--root-lifetime", type=Duration(), default=duration_text(ROOT_LIFETIME), show_default=True)
@click.option(
    "--intermediate-lifetime", type=Duration(), default=duration_text(INTERMEDIATE_LIFETIME), show_default=True
)
@click.option("--permit-dns", multiple=True, metavar="DOMAIN", help="May vouch for names in this domain only.")
@click.option("--permit-ip", multiple=True, metavar="NETWORK", help="May vouch for addresses in this network only.")
@click.option("--permit-trust-domain", multiple=True, metavar="TD", help="May vouch for this trust domain only.")
@JSON
@reports_errors
def init(
    directory: Path,
    name: str,
    root_lifetime: timedelta,
    intermediate_lifetime: timedelta,
    permit_dns: tuple[str, ...],
    permit_ip: tuple[str, ...],
    permit_trust_domain: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a local CA in DIR: a root, an intermediate that issues, a trust bundle."""
    constraints = Constraints(permit_dns, permit_ip, permit_trust_domain)
    plan = Plan(name, root_lifetime, intermediate_lifetime, constraints)
    authority = Authority.create(directory, plan, CertsContext.current().clock)
    generation = authority.state().active
    root = describe_certificate(authority.root(generation))
    intermediate = describe_certificate(authority.intermediate(generation))
    trust = directory / TRUST_FILE
    emit_done(
        {"directory": str(directory), "trust": str(trust), "root": root, "intermediate": intermediate},
        f"made {directory}\n"
        f"  root          {root['subject']}, until {root['not_after']}\n"
        f"  intermediate  {intermediate['subject']}, until {intermediate['not_after']}\n"
        f"  trust bundle  {trust}",
        as_json=as_json,
    )


@click.command(epilog="Example: tlsidecar certs rollover pki start")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.argument("step", type=click.Choice(["start", "switch", "finish"]))
@JSON
@reports_errors
@names_sidecars
def rollover(directory: Path, step: str, sidecars: Sequence[SidecarProbe], as_json: bool) -> None:
    """Change the CA in three steps, each refused while a sidecar named with --socket would be cut off by it.

    \b
    start   trust the old and a new CA; the old one still issues
    switch  issue with the new CA
    finish  trust only the new CA
    """
    authority = Authority(directory, CertsContext.current().clock)
    views: dict[str, SidecarView] = {}

    def ask(sidecar: SidecarProbe) -> tuple[tuple[LivePeer, ...], Served]:
        return sidecar.peers() if step == "finish" else (), sidecar.served()

    for sidecar, (peers, serves) in zip(sidecars, ask_all(sidecars, ask), strict=True):
        for served in concerned(authority, serves):
            name = f"{sidecar.name} (identity {served.identity})" if sidecar.name in views else sidecar.name
            views[name] = SidecarView(served, peers)
            peers = ()  # they are the sidecar's, whichever identity they came in under: named once is enough
    if step == "start":
        state = start(authority, requester())
    else:
        if not views:
            note(f"no --socket given: whether anybody is cut off by {step} was not checked")
        state = (switch if step == "switch" else finish)(authority, views, requester())
    _emit_rollover(authority, state, step, as_json=as_json)


def _emit_rollover(authority: Authority, state: AuthorityState, step: str, *, as_json: bool) -> None:
    following = {
        "start": "Give every sidecar the new trust bundle (certs rotate each published set; a sidecar that uses the CA "
        "directly takes it by itself), then: rollover switch",
        "switch": "Rotate every certificate of the old CA, then: rollover finish",
        "finish": "Rotate every published set once more, so that its trust bundle loses the old CA. Its keys are still "
        f"in {authority.directory}: keep or destroy them",
    }
    trusted = {name: describe_certificate(authority.root(name))["subject"] for name in state.trusted}
    emit_done(
        {"phase": state.phase.value, "active": state.active, "trusted": trusted},
        f"{step} done: {state.active} issues; trusted: {', '.join(trusted.values())}",
        as_json=as_json,
    )
    note(following[step])


@click.command(epilog="Example: tlsidecar certs crl pki --lifetime 1d")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option(
    "--lifetime",
    type=Duration(),
    default=duration_text(CRL_LIFETIME),
    show_default=True,
    help="Until the next one is due.",
)
@JSON
@reports_errors
def crl(directory: Path, lifetime: timedelta, as_json: bool) -> None:
    """Write the CA's revocation lists, with or without revocations, into DIR/ca.crl."""
    authority = Authority(directory, CertsContext.current().clock)
    path = directory / CRL_FILE
    lists = [
        {
            "issuer": written.issuer.text,
            "this_update": time_text(written.last_update_utc),
            "next_update": time_text(written.next_update_utc) if written.next_update_utc is not None else None,
            "revoked": len(written),
        }
        for written in write_crls(authority, lifetime)
    ]
    lines = [f"  {each['issuer']}: {each['revoked']} revoked, next by {each['next_update']}" for each in lists]
    emit_done({"crl": str(path), "lists": lists}, "\n".join([f"wrote {path}", *lines]), as_json=as_json)
