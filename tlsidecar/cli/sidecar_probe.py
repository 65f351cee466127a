"""What the certificate commands want to know of a running sidecar, asked over its admin API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from certs.probe import ChainLink, ListInUse, LivePeer, Reloaded, Served, SidecarRefused, SidecarUnreachable
from tlsidecar.api.errors import BadReply, Refused, Unreachable
from tlsidecar.api.words import PAGE_ROWS
from tlsidecar.lazy_dataclass import dataclass

T = TypeVar("T")


class Calls(Protocol):
    """The admin API, over whatever leads there. Each call raises Unreachable, BadReply and Refused."""

    def get(self, target: str) -> dict[str, Any]:
        """The JSON reply to a read."""
        ...

    def call(self, method: str, target: str) -> dict[str, Any]:
        """The JSON reply to a change."""
        ...


@dataclass(frozen=True, slots=True)
class AdminProbe:
    """Implements certs.probe.SidecarProbe."""

    name: str
    calls: Calls
    is_here: bool = True

    def __repr__(self) -> str:
        return f"<AdminProbe {self.name}>"

    def reload(self) -> Reloaded:
        """A refused candidate is an answer, not an error. Raises as :meth:`served`."""

        def ask() -> Reloaded:
            try:
                document = self.calls.call("POST", "/v1/reload")
            except Refused as error:
                if "attempt" not in error.body:
                    raise
                document = error.body
            attempt = document["attempt"]
            good = [each["serial"] for each in document["attempts"] if each["outcome"] != "refused"]
            return Reloaded(document["outcome"], attempt["reason"], attempt["detail"], tuple(good))

        return self._asked(ask)

    def served(self) -> Served:
        """Raises SidecarUnreachable and SidecarRefused."""

        def ask() -> Served:
            status, material = self.calls.get("/v1/status"), self.calls.get("/v1/certificates")
            served = [_served(each, status) for each in material["identities"] if each["leaf"] is not None]
            if not served:
                raise SidecarRefused(f"{self.name}: it serves no certificate yet")
            return replace(served[0], others=tuple(served[1:]))

        return self._asked(ask)

    def peers(self) -> tuple[LivePeer, ...]:
        """Raises as :meth:`served`. A connection that ends while it is asked about is left out."""
        return self._asked(lambda: tuple(_peers(self.calls)))

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (Unreachable, BadReply) as error:
            said = str(error)
            raise SidecarUnreachable(said if self.name in said else f"{self.name}: {said}") from None
        except Refused as error:
            raise SidecarRefused(f"{self.name}: {error.code}: {error.message}") from None
        except (KeyError, TypeError, AttributeError, IndexError):
            # Digests and names have to be as they are on the wire, so that replies are read without decoding them.
            raise SidecarUnreachable(f"{self.name}: its reply is not of the form that this version reads") from None


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


def _peers(calls: Calls) -> Iterator[LivePeer]:
    offset = 0
    while True:
        page = calls.get(f"/v1/connections?limit={PAGE_ROWS}&offset={offset}")
        for row in page["connections"]:
            try:
                detail = calls.get(f"/v1/connections/{row['id']}")["connection"]
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
