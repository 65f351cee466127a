"""What the certificate commands want to know of running sidecars, asked over the admin socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from certs.probe import ChainLink, ListInUse, LivePeer, Reloaded, Served, SidecarRefused, SidecarUnreachable
from tlsidecar.admin.client import AdminClient
from tlsidecar.api.errors import BadReply, Refused, Unreachable

PAGE_ROWS = 1000

T = TypeVar("T")


class AdminProbe:
    """Implements certs.probe.SidecarProbe."""

    def reload(self, socket: Path) -> Reloaded:
        """A refused candidate is an answer, not an error. Raises as :meth:`served`."""

        def ask() -> Reloaded:
            try:
                document = AdminClient(socket).call("POST", "/v1/reload")
            except Refused as error:
                if "attempt" not in error.body:
                    raise
                document = error.body
            attempt = document["attempt"]
            good = [each["serial"] for each in document["attempts"] if each["outcome"] != "refused"]
            return Reloaded(document["outcome"], attempt["reason"], attempt["detail"], tuple(good))

        return _asked(socket, ask)

    def served(self, socket: Path) -> Served:
        """Raises SidecarUnreachable and SidecarRefused."""

        def ask() -> Served:
            client = AdminClient(socket)
            status, material = client.get("/v1/status"), client.get("/v1/certificates")
            served = [_served(each, status) for each in material["identities"] if each["leaf"] is not None]
            if not served:
                raise SidecarRefused(f"{socket}: it serves no certificate yet")
            return replace(served[0], others=tuple(served[1:]))

        return _asked(socket, ask)

    def peers(self, socket: Path) -> tuple[LivePeer, ...]:
        """Raises as :meth:`served`. A connection that ends while it is asked about is left out."""
        return _asked(socket, lambda: tuple(_peers(AdminClient(socket))))


def _served(identity: dict[str, Any], status: dict[str, Any]) -> Served:
    """One identity; a listener that chooses among several shows it to who asks for a name of it."""
    return Served(
        serial=identity["leaf"]["serial"],
        generation=identity["generation"],
        source=identity["source"],
        trust=tuple(authority["sha256"] for authority in identity["trust"]),
        chain=_links([identity["leaf"], *identity["chain"]]),
        listeners=tuple(
            address.strip()
            for listener in status["listeners"]
            if listener["mode"] == "terminate" and listener["bound"] and _shows(listener, identity)
            for address in listener["bound"].split(",")  # one for each address a name resolved to
        ),
        identity=identity["name"],
        lists=tuple(ListInUse(crl["issuer"], crl["this_update"], crl["revoked"]) for crl in identity["crls"]),
    )


def _shows(listener: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether whoever asks for the leaf there is shown it: one without a DNS name only as the default."""
    names = listener["identities"]
    return identity["name"] in names and (identity["name"] == names[0] or bool(identity["leaf"]["dns"]))


def _peers(client: AdminClient) -> Iterator[LivePeer]:
    offset = 0
    while True:
        page = client.get(f"/v1/connections?limit={PAGE_ROWS}&offset={offset}")
        for row in page["connections"]:
            try:
                detail = client.get(f"/v1/connections/{row['id']}")["connection"]
            except Refused as error:
                if error.status == 404:
                    continue
                raise
            if detail["chain"]:
                yield LivePeer(row["id"], row["listener"], row["identity"], _links(detail["chain"]))
        offset += len(page["connections"])
        if not page["connections"] or offset >= page["matched"]:
            return


def _links(certificates: list[dict[str, Any]]) -> tuple[ChainLink, ...]:
    return tuple(ChainLink(certificate["sha256"], certificate["issuer"]) for certificate in certificates)


def _asked(socket: Path, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except (Unreachable, BadReply) as error:
        raise SidecarUnreachable(str(error)) from None
    except Refused as error:
        raise SidecarRefused(f"{socket}: {error.code}: {error.message}") from None
