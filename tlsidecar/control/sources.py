"""From the settings of an identity to the source of material they describe. Each kind of source is loaded with the
first identity that names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from certs.clock import SYSTEM_CLOCK, Clock
from certs.identity import Role
from certs.sources import Source
from certs.sources.bundles import Bundles, TrustFile
from certs.sources.files import FileSource
from tlsidecar.settings import Acme, IdentitySettings, ListenerSettings, Mode, Settings

if TYPE_CHECKING:
    from certs.acme.transport import Responder
    from certs.program import Run
    from certs.sources.crl_downloads import CrlDownloads
    from tlsidecar.workers.handle import Supervisor

# What answers ACME CAs.
_RESPONDERS = ("tlsidecar.control.alpn_challenges", "tlsidecar.control.http_challenges")


def source_of(
    identity: IdentitySettings,
    clock: Clock,
    responder: Responder | None = None,
    run: Run | None = None,
    rest: Callable[[], None] = lambda: None,
) -> Source:
    """The configured source. ``responder`` answers an ACME CA's challenges; without one nothing can be ordered there.
    ``run`` runs a program that issues, where that is not to be done here; ``rest`` is called between the steps of
    reading files, and may wait. Nothing of it is looked at before the source is asked."""
    trust = [TrustFile(each.path, each.trust_domain) for each in identity.trust]
    bundles = None
    if trust:
        bundles = Bundles(trust, identity.crl, _kept_crls(identity))
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
            run=run,
        )
    if identity.spiffe_socket:
        from tlsidecar.control.workload_api import WorkloadApiSource

        return WorkloadApiSource(identity.spiffe_socket, identity.spiffe, identity.spiffe_hint)
    if identity.acme is not None:
        return _acme_source(identity, identity.acme, trust, clock, responder)
    assert identity.cert is not None
    assert bundles is not None
    return FileSource(
        identity.cert,
        identity.key,
        bundles,
        passphrase_file=identity.passphrase_file,
        key_group_readable=identity.key_group_readable,
        clock=clock,
        poll_s=identity.poll_interval_s,
        deadline_s=identity.source_timeout_s,
        rest=rest,
    )


def load_sources(identities: Sequence[IdentitySettings]) -> None:
    """Import what these sources, and what answers for them, are made of: tens of milliseconds, which beside traffic
    are a thread's. A source is nothing but values until it is asked, so that making one is all it takes."""
    for identity in identities:
        source_of(identity, SYSTEM_CLOCK)
        crl_downloads_of(identity, SYSTEM_CLOCK)
        if identity.acme is not None:
            for module in _RESPONDERS:
                import_module(module)


def files_of(identity: IdentitySettings) -> list[Path]:
    """What somebody else keeps up to date, and we read: files, and directories of them."""
    named = (
        identity.cert,
        identity.key,
        identity.passphrase_file,
        identity.crl,
        *(each.path for each in identity.trust),
    )
    return [path for path in named if path is not None]


def state_of(identity: IdentitySettings) -> list[Path]:
    """The directories that we write to when something is renewed."""
    acme = identity.acme.state if identity.acme is not None else None
    return [path for path in (identity.authority, acme, identity.crl_cache) if path is not None]


def crl_downloads_of(identity: IdentitySettings, clock: Clock) -> CrlDownloads | None:
    """What fetches the revocation lists that are on the web, where there are any."""
    if not identity.crl_urls or identity.crl_cache is None:
        return None
    from certs.sources.crl_downloads import CrlDownloads

    return CrlDownloads(identity.crl_urls, identity.crl_cache, clock)


def _kept_crls(identity: IdentitySettings) -> list[Path]:
    """Where the lists that are on the web are kept."""
    if not identity.crl_urls or identity.crl_cache is None:
        return []
    from certs.sources.crl_downloads import kept_at

    return [kept_at(identity.crl_cache, url) for url in identity.crl_urls]


class Responders:
    """What answers ACME CAs' challenges: one for all that come over TLS, one for each address asked over HTTP. Made on
    the loop that they are to live on."""

    def __init__(
        self, listeners: Sequence[ListenerSettings], clock: Clock, supervisor: Callable[[], Supervisor | None]
    ) -> None:
        """``supervisor`` gives the workers, once they accept."""
        self._listeners = listeners
        self._clock = clock
        self._supervisor = supervisor
        self._made: dict[str, Responder] = {}

    def __repr__(self) -> str:
        return f"<Responders {list(self._made)}>"

    def of(self, identity: IdentitySettings) -> Responder | None:
        """That of an identity which an ACME CA issues."""
        if identity.acme is None:
            return None
        address = identity.acme.http
        key = str(address or "")
        if key not in self._made:
            if address is not None:
                from tlsidecar.control.http_challenges import HttpChallenges

                self._made[key] = HttpChallenges(address)
            else:
                from tlsidecar.control.alpn_challenges import AlpnChallenges

                self._made[key] = AlpnChallenges(self._listeners, self._clock, self._supervisor)
        return self._made[key]


def _acme_source(
    identity: IdentitySettings, acme: Acme, trust: list[TrustFile], clock: Clock, responder: Responder | None
) -> Source:
    from certs.acme.challenges import ChallengeType
    from certs.sources.acme import AcmeAccount, AcmeSource

    account = AcmeAccount(
        directory=acme.directory,
        state=acme.state,
        contact=acme.contact,
        terms_agreed=acme.terms_agreed,
        challenge=ChallengeType(acme.challenge),
        key_type=acme.key_type,
        profile=acme.profile,
        external_key_id=acme.eab_key_id,
        mac_key_file=acme.eab_key_file,
        server_trust=acme.server_trust,
    )
    return AcmeSource(
        account,
        (*identity.dns, *identity.ip),
        trust,
        responder,
        crl=identity.crl,
        clock=clock,
        poll_s=identity.poll_interval_s,
    )


def roles_of(settings: Settings, identity: str) -> frozenset[Role]:
    """The ends of TLS connections that the leaf of the identity of this name must be able to speak for."""
    listeners = settings.listeners_of(identity)
    return frozenset(Role.SERVER if listener.mode is Mode.TERMINATE else Role.CLIENT for listener in listeners)
