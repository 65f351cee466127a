"""From the ``[identity]`` settings to the source of material they describe."""

from __future__ import annotations

from datetime import timedelta

from certs.clock import Clock
from certs.identity import Role
from certs.sources import Source
from certs.sources.bundles import Bundles, TrustFile
from certs.sources.files import FileSource
from tlsidecar.settings import Identity, Mode, Settings


def source_of(identity: Identity, clock: Clock) -> Source:
    """The configured source. Raises certs.errors.CertsError when a CA directory is not in order."""
    trust = [TrustFile(each.path, each.trust_domain) for each in identity.trust]
    bundles = Bundles(trust, identity.crl) if trust else None
    if identity.authority is not None:
        from certs.sources.local_authority import LocalAuthoritySource

        return LocalAuthoritySource(
            identity.authority,
            dns=identity.dns,
            ip=identity.ip,
            spiffe=identity.spiffe,
            common_name=identity.common_name,
            ttl=timedelta(seconds=identity.ttl_s),
            bundles=bundles,
            clock=clock,
            poll_s=identity.poll_interval_s,
            deadline_s=identity.source_timeout_s,
        )
    if identity.command:
        from certs.sources.command import CommandSource

        return CommandSource(
            identity.command,
            bundles,
            variables=identity.command_env,
            clock=clock,
            poll_s=identity.poll_interval_s,
            deadline_s=identity.source_timeout_s,
        )
    assert identity.cert is not None
    return FileSource(
        identity.cert,
        identity.key,
        trust,
        crl=identity.crl,
        passphrase_file=identity.passphrase_file,
        key_group_readable=identity.key_group_readable,
        clock=clock,
        poll_s=identity.poll_interval_s,
        deadline_s=identity.source_timeout_s,
    )


def roles_of(settings: Settings) -> frozenset[Role]:
    """The ends of TLS connections that our leaf must be able to speak for."""
    return frozenset(Role.SERVER if listener.mode is Mode.TERMINATE else Role.CLIENT for listener in settings.listeners)
