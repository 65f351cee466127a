"""Whether a candidate may serve: judged by the preflight, then proved by a handshake in memory for each listener."""

from __future__ import annotations

from datetime import datetime, timedelta

from OpenSSL import SSL

from certs.errors import MaterialError, MaterialReason
from certs.material import Material
from certs.preflight import preflight
from tlsidecar.control.sources import roles_of
from tlsidecar.dataplane.tls import Contexts, ProofError, prove
from tlsidecar.settings import Mode, Settings


def judge_material(settings: Settings, material: Material, now: datetime) -> tuple[str, ...]:
    """Warnings about material that may be served. Raises :class:`MaterialError` about one that may not."""
    identity = settings.identity
    skew = timedelta(seconds=identity.clock_skew_s)
    return preflight(material, roles_of(settings), now, skew, soft_crl=identity.crl_policy == "soft")


def build_contexts(settings: Settings, material: Material, number: int) -> Contexts:
    """The contexts of a new generation, each proved by a handshake. Raises :class:`MaterialError`."""
    contexts = Contexts(number, material, settings.tls, soft_crl=settings.identity.crl_policy == "soft")
    for listener in settings.listeners:
        server_side = listener.mode is Mode.TERMINATE
        try:
            context = contexts.server(listener.offered) if server_side else contexts.client(listener.offered)
            prove(context, material, server_side=server_side)
        except ProofError as error:
            raise MaterialError(MaterialReason.HANDSHAKE_FAILED, str(error)) from None
        except SSL.Error as error:
            raise MaterialError(MaterialReason.HANDSHAKE_FAILED, f"OpenSSL refuses the material: {error}") from None
    return contexts
