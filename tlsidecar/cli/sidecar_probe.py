"""What the certificate commands want to know of running sidecars, asked over the admin socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from certs.probe import ChainLink, LivePeer, Reloaded, Served, SidecarRefused, SidecarUnreachable
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
            return Reloaded(document["outcome"], attempt["reason"], attempt["detail"])

        return _asked(socket, ask)

    def served(self, socket: Path) -> Served:
        """Raises SidecarUnreachable and SidecarRefused."""

        def ask() -> Served:
            client = AdminClient(socket)
            status, material = client.get("/v1/status"), client.get("/v1/certificates")
            leaf = material["leaf"]
            if leaf is None:
                raise SidecarRefused(f"{socket}: it serves no certificate yet")
            return Served(
                serial=leaf["serial"],
                generation=material["generation"],
                source=material["source"],
                trust=tuple(authority["sha256"] for authority in material["trust"]),
                chain=_links([leaf, *material["chain"]]),
                listeners=tuple(
                    address.strip()
                    for listener in status["listeners"]
                    if listener["mode"] == "terminate" and listener["bound"]
                    for address in listener["bound"].split(",")  # one for each address a name resolved to
                ),
            )

        return _asked(socket, ask)

    def peers(self, socket: Path) -> tuple[LivePeer, ...]:
        """Raises as :meth:`served`. A connection that ends while it is asked about is left out."""
        return _asked(socket, lambda: tuple(_peers(AdminClient(socket))))


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
