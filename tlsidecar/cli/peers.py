"""``tlsidecar kill | deny | undeny | denials``: end connections, and keep somebody out for a time."""

from __future__ import annotations

from urllib.parse import urlencode

import click

from tlsidecar.admin.client import AdminClient, rows_in
from tlsidecar.api.connections import ConnectionsEnded
from tlsidecar.api.decode import decoded, integer
from tlsidecar.api.denials import LONGEST_DENIAL_S, DenialEnded, DenialReply, Denials
from tlsidecar.api.filter import Filter
from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tlsidecar.api.text import SafeText
from tlsidecar.cli import completion
from tlsidecar.cli.context import (
    EXIT_REFUSED,
    CommandFailed,
    Number,
    Seconds,
    call,
    echo_json,
    expect_option,
    json_option,
    socket_option,
)
from tlsidecar.cli.filtering import filter_option
from tlsidecar.cli.text import say, table, time_text


@click.command()
@click.argument("connection_id", metavar="[ID]", type=Number(0), required=False, shell_complete=completion.connections)
@filter_option(CONNECTION_FIELDS)
@click.option(
    "--identity",
    default="",
    metavar="NAME",
    shell_complete=completion.identities,
    help="All whose certificate has this name, whole.",
)
@click.option("--dry-run", is_flag=True, help="Say how many there are, and close none.")
@expect_option
@socket_option
@json_option
def kill(
    client: AdminClient,
    connection_id: int | None,
    wanted: Filter,
    identity: str,
    dry_run: bool,
    expected: int | None,
    as_json: bool,
) -> None:
    """Close one connection, by the id that `tlsidecar connections` shows; or all that match a filter, or all of an
    identity. Exit code 4 when there are not about as many as expected, or as counted just before."""
    many = bool(wanted) or bool(identity)
    if (connection_id is None) != many or (not many and (dry_run or expected is not None)):
        raise click.UsageError("give an id, or --filter or --identity (with --expect and --dry-run)")
    if connection_id is not None:
        document = call(client, "DELETE", f"/v1/connections/{connection_id}", None, as_json)
        line = f"closed {connection_id}"
    else:
        which = {"filter": str(wanted) if wanted else "", "identity": identity}
        which = {name: text for name, text in which.items() if text}
        found = integer(client.get(f"/v1/connections?{urlencode({**which, 'limit': 1})}").get("matched"))
        if dry_run:
            document, line = {"matched": found}, f"{found} would be closed"
        else:
            query = urlencode({**which, "expected": found if expected is None else expected})
            document = call(client, "DELETE", f"/v1/connections?{query}", None, as_json)
            line = f"closed {decoded(ConnectionsEnded[SafeText], document).ended}"
    if as_json:
        echo_json(document)
    else:
        say(line)


@click.command()
@click.argument("identity", shell_complete=completion.identities)
@click.option("--for", "for_s", type=Seconds(), required=True, help="How long: 10m, 2h, at most a week.")
@expect_option
@socket_option
@json_option
def deny(client: AdminClient, identity: str, for_s: float, expected: int | None, as_json: bool) -> None:
    """Keep IDENTITY out for a time, whatever the access rules say, and cut the connections that it has open.

    IDENTITY is a name in the peer's certificate, whole (URI, DNS name, IP or e-mail address, CN, subject), or sha256:
    and the certificate's digest. It is in memory alone: a restart ends it, and so does `tlsidecar undeny`.
    """
    if not 1 <= for_s <= LONGEST_DENIAL_S:
        raise click.UsageError("--for is from 1s to 168h")
    body: dict[str, object] = {"identity": identity, "for_s": for_s}
    if expected is not None:
        body["expected"] = expected
    document = call(client, "POST", "/v1/denials", body, as_json)
    if as_json:
        echo_json(document)
        return
    reply = decoded(DenialReply[SafeText], document)
    say(f"{reply.denial.identity} is kept out until {time_text(reply.denial.until)}, {reply.closed} closed")


@click.command()
@click.argument("which", metavar="[IDENTITY|ID]", required=False, shell_complete=completion.denied)
@click.option("--all", "everybody", is_flag=True, help="End all denials.")
@socket_option
@json_option
def undeny(client: AdminClient, which: str | None, everybody: bool, as_json: bool) -> None:
    """End a denial before its time, by the identity or by the number that `tlsidecar denials` shows."""
    if (which is None) is not everybody:
        raise click.UsageError("give an identity, a number, or --all")
    known = rows_in(client.get("/v1/denials"), "denials")
    wanted = [each for each in known if everybody or which in (each.get("identity"), str(each.get("id")))]
    if not wanted and not everybody:
        raise CommandFailed(f"{which} is not kept out: see tlsidecar denials", EXIT_REFUSED)
    ended = [call(client, "DELETE", f"/v1/denials/{integer(each.get('id'))}", None, as_json) for each in wanted]
    if as_json:
        echo_json({"ended": [document.get("denial") for document in ended]})
        return
    for document in ended:
        say(f"{decoded(DenialEnded[SafeText], document).denial.identity} is kept out no more")


@click.command()
@socket_option
@json_option
def denials(client: AdminClient, as_json: bool) -> None:
    """Whom an operator keeps out for a time, and until when."""
    document = client.get("/v1/denials")
    if as_json:
        echo_json(document)
        return
    kept_out = decoded(Denials[SafeText], document)
    if not kept_out.denials:
        click.echo("Nobody is kept out by hand.")
        return
    rows = [
        (each.id, each.identity, time_text(each.since), time_text(each.until), each.by) for each in kept_out.denials
    ]
    click.echo(table(("ID", "IDENTITY", "SINCE", "UNTIL", "BY"), rows, frozenset({"ID"})))
