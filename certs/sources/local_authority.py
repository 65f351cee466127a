"""Material that a local CA issues to us: a new key and leaf whenever one is due."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from certs.authority import CRL_FILE, STATE_FILE, TRUST_FILE, Authority
from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import AuthorityError, MaterialError, MaterialReason
from certs.identity import Role
from certs.material import Material
from certs.profiles import LeafRequest
from certs.renewal import RandomUnit, renewal_time
from certs.revocation import refresh_crls
from certs.safe_files import Secrecy, read_file

REQUESTER = "tlsidecar"


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
        clock: Clock = SYSTEM_CLOCK,
        random_unit: RandomUnit = random.random,
    ) -> None:
        """``random_unit`` gives numbers from 0 up to 1, for the jitter of renewal."""
        self._directory = directory
        self._clock = clock
        self._random_unit = random_unit
        self._request = LeafRequest(
            dns=tuple(dns),
            ip=tuple(ip),
            spiffe=spiffe,
            common_name=common_name,
            ttl=ttl,
            roles=(Role.SERVER, Role.CLIENT),
        )
        self._renewal_due: datetime | None = None

    def load(self) -> Material:
        """Issues; every call makes a new key. Raises :class:`MaterialError` (``authority_failed``)."""
        try:
            authority = Authority(self._directory, self._clock)
            refresh_crls(authority)
            material = authority.issue(self._request, REQUESTER)
        except AuthorityError as error:
            raise MaterialError(MaterialReason.AUTHORITY_FAILED, str(error)) from None
        leaf = material.leaf
        self._renewal_due = renewal_time(
            leaf.not_valid_before_utc, leaf.not_valid_after_utc, self._clock.now(), self._random_unit
        )
        return replace(material, source=self.describe())

    def fingerprint(self) -> str:
        """Changes with the trust bundle, the revocation lists and the CA that issues."""
        digest = hashlib.sha256()
        for name in (STATE_FILE, TRUST_FILE, CRL_FILE):
            try:
                content = read_file(self._directory / name, Secrecy.PUBLIC)
            except MaterialError as error:
                content = error.reason.encode()
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()

    def describe(self) -> str:
        request = self._request
        names = [request.spiffe, *request.dns, *request.ip, request.common_name]
        return f"local CA {self._directory}, issuing for {', '.join(filter(None, names))}"

    @property
    def renewal_due(self) -> datetime | None:
        """When the material loaded last should be replaced; ``None`` before the first."""
        return self._renewal_due

    def __repr__(self) -> str:
        return f"LocalAuthoritySource({self.describe()})"
