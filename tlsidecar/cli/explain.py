"""``tlsidecar explain``: why a peer is let in or not, rule by rule, and the line that would allow it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.certificates import Certificate
from tlsidecar.api.decode import decoded
from tlsidecar.api.errors import Refused
from tlsidecar.api.explanations import Explanation, Judgement, as_text
from tlsidecar.api.refusals import Refusal
from tlsidecar.api.text import SafeText
from tlsidecar.cli import completion
from tlsidecar.cli.context import EXIT_BAD_INPUT, EXIT_REFUSED, CommandFailed, echo_json, json_option, socket_option
from tlsidecar.cli.settings_options import report
from tlsidecar.cli.text import say, time_text

_NOT_FOUND = 404
_BAD_REQUEST = 400
_TOO_LONG = (414, 431)


@click.command()
@click.argument("wanted", metavar="[ID]", required=False, shell_complete=completion.explainable)
@click.option(
    "--cert", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A certificate, and its chain."
)
@click.option("--listener", default="", metavar="NAME", help="The listener it comes to.  [default: all it may come to]")
@click.option("--path", default="", metavar="PATH", help="The path of a request to ask about.")
@click.option("--method", default="", metavar="METHOD", help="The method of that request.  [default: GET]")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Judge by this configuration and its trust, and ask no sidecar.",
)
@socket_option
@json_option
def explain(
    client: AdminClient,
    wanted: str | None,
    cert: Path | None,
    listener: str,
    path: str,
    method: str,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Say why a peer is let in or not: each rule that was tried and why it does not match, the route that decides,
    and the line of configuration that would let in exactly this peer.

    ID is a refusal (r17) or a connection (c42, open or refused), as a running sidecar shows them; a number alone is
    the connection that is open, else the refusal. With --cert it is a certificate in hand, and with --config no sidecar
    need run. Exit code 0 when some listener asked about would let it in, 4 when it would be refused.
    """
    if (wanted is None) == (cert is None):
        raise click.UsageError("give the id of a refusal or a connection, or --cert FILE")
    if wanted is not None and (listener or path or method or config_file):
        raise click.UsageError("--listener, --path, --method and --config are for --cert: an id has its own")
    if cert is not None:
        document = _of_certificate(client, cert, listener, path, method, config_file)
    else:
        document = _of_id(client, str(wanted))
    explanation = decoded(Explanation[SafeText], document.get("explanation"))
    if as_json:
        echo_json(document)
    else:
        for line in _lines(explanation, document.get("refusal")):
            say(line)
    if not explanation.allowed:
        click.get_current_context().exit(EXIT_REFUSED)


def _of_certificate(
    client: AdminClient, cert: Path, listener: str, path: str, method: str, config_file: Path | None
) -> dict[str, Any]:
    from certs.errors import MaterialError
    from tlsidecar.explain.in_hand import chain_in
    from tlsidecar.explain.judging import Asked, CannotAsk

    try:
        chain = chain_in(cert)
        Asked.of(method, path)
    except (MaterialError, CannotAsk) as error:
        raise CommandFailed(str(error), EXIT_BAD_INPUT) from None
    if config_file is not None:
        return _without_a_sidecar(chain, listener, path, method, config_file)
    question = {"certificate": as_text(chain), "listener": listener, "path": path, "method": method}
    try:
        return client.get(f"/v1/explain?{urlencode({name: text for name, text in question.items() if text})}")
    except Refused as error:
        if error.status == _BAD_REQUEST:
            raise CommandFailed(str(error.message), EXIT_BAD_INPUT) from None
        if error.status in _TOO_LONG:
            raise CommandFailed("the chain is too long to ask a sidecar about: give --config", EXIT_BAD_INPUT) from None
        raise


def _without_a_sidecar(
    chain: tuple[bytes, ...], listener: str, path: str, method: str, config_file: Path
) -> dict[str, Any]:
    from certs.clock import SYSTEM_CLOCK
    from certs.errors import CertsError
    from tlsidecar.admin.explaining import asked_about, explained
    from tlsidecar.api.encode import encoded
    from tlsidecar.api.explanations import ExplanationReply
    from tlsidecar.config import ConfigError, load
    from tlsidecar.explain.in_hand import contexts_of
    from tlsidecar.explain.judging import Asked, CannotAsk

    try:
        settings = load(config_file, {}, os.environ)
        asked = Asked.of(method, path)
        listeners = asked_about(settings.listeners, listener, chain, asked)
        explanation = explained(chain, listeners, lambda name: contexts_of(settings, name, SYSTEM_CLOCK), asked)
    except ConfigError as error:
        report(error)
    except (CertsError, CannotAsk) as error:
        raise CommandFailed(str(error), EXIT_BAD_INPUT) from None
    return encoded(ExplanationReply(SYSTEM_CLOCK.now(), explanation))


def _of_id(client: AdminClient, wanted: str) -> dict[str, Any]:
    kind, number = wanted[:1].lower(), wanted.lstrip("rcRC")
    if not (number.isascii() and number.isdigit() and len(wanted) - len(number) <= 1 and len(number) <= 18):
        raise CommandFailed(f"{wanted!a} is no id: a refusal's is like r17, a connection's like c42", EXIT_BAD_INPUT)
    if kind != "r":
        found = _get(client, f"/v1/connections/{number}/explanation")
        if found is not None:
            return found
    of_refusals = {"r": [f"r{number}"], "c": [f"c{number}"]}.get(kind, [f"r{number}", f"c{number}"])
    for each in of_refusals:
        found = _get(client, f"/v1/refusals/{each}")
        if found is not None:
            return found
    what = "refusal is kept" if kind == "r" else "connection is open, and no refusal is kept,"
    raise CommandFailed(f"no {what} with the id {wanted}", EXIT_BAD_INPUT)


def _get(client: AdminClient, target: str) -> dict[str, Any] | None:
    try:
        return client.get(target)
    except Refused as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def _lines(explanation: Explanation[SafeText], refusal: object) -> Iterator[str]:
    """``refusal`` is that of the reply, None where it is not about one."""
    if refusal is not None:
        yield from _of_refusal(decoded(Refusal[SafeText], refusal))
    yield "would be let in" if explanation.allowed else "would be refused"
    if explanation.note:
        yield explanation.note
    for each in explanation.judgements:
        yield ""
        yield from _of_judgement(each)
    for number, certificate in enumerate(explanation.chain):
        yield ""
        yield from _of_certificate_shown(certificate, "certificate" if not number else f"issuer {number}")


def _of_refusal(refusal: Refusal[SafeText]) -> Iterator[str]:
    request = f"{refusal.method} {refusal.target}, answered {refusal.status}: " if refusal.method else ""
    peer = refusal.peer_address
    whose = peer if refusal.who == peer else f"{refusal.who} from {peer}"
    yield (
        f"{refusal.id}: {whose} was refused on {refusal.listener} "
        f"at {time_text(refusal.at)}: {request}{refusal.sentence} ({refusal.stage}, {refusal.reason})"
    )
    if refusal.detail:
        yield f"  {refusal.detail}"


def _of_judgement(judged: Judgement[SafeText]) -> Iterator[str]:
    request = f", {judged.method} {judged.path}" if judged.method else ""
    asked_for = f", as {judged.own_identity}" if judged.own_identity not in ("", "default") else ""
    where = f"{judged.listener} ({judged.mode}{asked_for}){request}"
    if judged.allowed:
        by = f" by {judged.rule}" if judged.rule else ""
        yield f"{where}: let in{by}"
    else:
        status = f", status {judged.status}" if judged.status else ""
        yield f"{where}: refused: {judged.sentence} ({judged.stage}, {judged.reason}{status})"
        if judged.detail:
            yield f"  {judged.detail}"
    verified = "verifies" if judged.verified else "does not verify"
    yield f"  the chain {verified} against the trust in force"
    if judged.method:
        yield f"  decided by the route {judged.route}" if judged.route else "  no route matches"
    for tried in judged.rules:
        yield f"  {tried.rule} ({tried.place}): {'matches' if tried.matches else tried.why}"
    for each in judged.lines:
        yield f"  to let in exactly this peer, in {each.place}:"
        yield f"    {each.line}"
    if judged.note:
        yield f"  {judged.note}"


def _of_certificate_shown(certificate: Certificate[SafeText], what: str) -> Iterator[str]:
    names = ", ".join((*certificate.uris, *certificate.dns, *certificate.ips))
    yield f"{what} {certificate.identity}"
    for title, value in (
        ("subject", certificate.subject),
        ("issuer", certificate.issuer),
        ("serial", certificate.serial),
        ("names", names),
        ("valid", f"{time_text(certificate.not_before)} to {time_text(certificate.not_after)}"),
        ("key", certificate.key),
        ("sha256", certificate.sha256),
    ):
        if value:
            yield f"  {title:<9} {value}"
