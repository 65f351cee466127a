"""Material that a local CA issues to us: a new key and leaf whenever one is due."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from certs.authority import CRL_FILE, STATE_FILE, TRUST_FILE, Authority
from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import AuthorityError, MaterialError, MaterialReason
from certs.identity import Role
from certs.material import Material
from certs.profiles import LeafRequest
from certs.revocation import refresh_crls
from certs.safe_files import Secrecy, read_file
from certs.sources import Candidate, Event, Failed, RenewalWanted
from certs.sources.attempts import DEADLINE_S, Attempts
from certs.sources.bundles import Bundles
from certs.sources.watch import Watch

REQUESTER = "tlsidecar"
POLL_S = 1.0


class LocalAuthoritySource:
    """Issues for fixed names. The CA's key is read for each issuance and not kept."""

    def __init__(
        self,
        directory: Path,
        dns: Sequence[str] = (),
        ip: Sequence[str] = (),
        spiffe: str = "",
        common_name: str = "",
        ttl: timedelta = timedelta(hours=24),
        bundles: Bundles | None = None,
        clock: Clock = SYSTEM_CLOCK,
        poll_s: float = POLL_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """``bundles`` is whom to trust in place of the CA's own roots; ``deadline_s`` is how long the CA may take, to
        get its lock included."""
        self._directory = directory
        self._clock = clock
        self._request = LeafRequest(
            dns=tuple(dns),
            ip=tuple(ip),
            spiffe=spiffe,
            common_name=common_name,
            ttl=ttl,
            roles=(Role.SERVER, Role.CLIENT),
        )
        self._bundles = bundles
        self._watch = Watch(bundles.paths if bundles is not None else list, clock)
        self._poll_s = poll_s
        self._attempts = Attempts(clock, deadline_s)
        self._issued: Material | None = None  # set by the thread that issues, also when nobody waits for it any more
        self._given: Material | None = None
        self._seen = ""  # the fingerprint of the CA when it was read last

    async def read(self) -> Material | None:
        """The leaf issued last, with whom the CA trusts and has revoked by now; ``None`` before the first, once the CA
        is seen to be in order. The CA's directory stays as it is."""
        self._given = await self._attempts.make("reading the CA's directory", self._read)
        return self._given

    async def renew(self) -> Material:
        """Issues; every call makes a new key. Raises :class:`MaterialError` (``authority_failed``)."""
        self._given = found = await self._attempts.make("issuing", self._issue)
        return found

    async def follow(self) -> AsyncIterator[Event]:
        """Changes of the trust bundle, the revocation lists and the CA that issues; and a leaf that was issued too
        late for the attempt that asked for it."""
        hangs = False
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                fingerprint = await self._attempts.make("looking at the CA's directory", self.fingerprint)
                if fingerprint == self._seen and self._is_given(self._issued) and not hangs:
                    continue
                hangs = False
                found = await self.read()
                if found is None or await self._attempts.make("reading the CA's state", partial(self._is_stale, found)):
                    yield RenewalWanted("another CA issues now")
                else:
                    yield Candidate(found)
            except MaterialError as error:
                if not hangs:
                    yield Failed(error)
                hangs = error.reason is MaterialReason.SOURCE_TIMEOUT

    def fingerprint(self) -> str:
        """Changes with the trust bundle, the revocation lists and the CA that issues."""
        digest = hashlib.sha256()
        for name in (STATE_FILE, TRUST_FILE, CRL_FILE):
            try:
                content = read_file(self._directory / name, Secrecy.PUBLIC)
            except MaterialError as error:
                content = error.reason.encode()
            digest.update(hashlib.sha256(content).digest())
        digest.update(self._watch.fingerprint().encode())
        return digest.hexdigest()

    def describe(self) -> str:
        request = self._request
        names = [request.spiffe, *request.dns, *request.ip, request.common_name]
        return f"local CA {self._directory}, issuing for {', '.join(filter(None, names))}" + (
            f"; {self._bundles}" if self._bundles is not None else ""
        )

    @property
    def renews(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"LocalAuthoritySource({self.describe()})"

    # On a thread of their own.

    def _read(self) -> Material | None:
        try:
            authority = Authority(self._directory, self._clock)
            self._seen = self.fingerprint()
            issued = self._issued
            if issued is not None:
                return self._trusting(issued, authority)
            if self._bundles is not None:
                self._bundles.read()
            authority.examine(self._request)
        except AuthorityError as error:
            raise MaterialError(MaterialReason.AUTHORITY_FAILED, str(error)) from None
        return None

    def _issue(self) -> Material:
        try:
            authority = Authority(self._directory, self._clock)
            refresh_crls(authority)
            self._seen = self.fingerprint()
            material = authority.issue(self._request, REQUESTER)
        except AuthorityError as error:
            raise MaterialError(MaterialReason.AUTHORITY_FAILED, str(error)) from None
        self._issued = replace(material, source=self.describe())
        return self._trusting(self._issued, authority)

    def _trusting(self, material: Material, authority: Authority) -> Material:
        """The same with whom to trust as of now."""
        if self._bundles is None:
            return replace(material, trust=authority.trust(), crls=authority.crls())
        return self._bundles.read().applied_to(material)

    def _is_stale(self, material: Material) -> bool:
        """Whether another CA generation issues now, as after ``certs rollover … switch``."""
        try:
            authority = Authority(self._directory, self._clock)
            issuer = authority.intermediate(authority.state().active)
        except AuthorityError as error:
            raise MaterialError(MaterialReason.AUTHORITY_FAILED, str(error)) from None
        return issuer.key_der != material.chain[0].key_der

    def _is_given(self, issued: Material | None) -> bool:
        given = self._given
        if issued is None or given is None:
            return issued is given
        return issued.leaf == given.leaf
