"""Whom an operator keeps out for a time: decided by hand, kept in memory, over by itself.

Times are CLOCK_MONOTONIC, which all processes of a machine share and no clock's jump shortens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from certs.identity import Identity
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Denial:
    """One identity that is kept out until ``until_s``. ``name`` is any name in its certificate, or a digest."""

    id: int
    name: str
    until_s: float
    detail: str


class Denials:
    """Those in force in one worker."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._denials: tuple[Denial, ...] = ()

    def __repr__(self) -> str:
        return f"<Denials {len(self._denials)}>"

    def replace(self, denials: Sequence[Denial]) -> None:
        """These and no others are in force now."""
        self._denials = tuple(denials)

    def of(self, identity: Identity) -> str:
        """Why ``identity`` is kept out, in words; empty when it is not."""
        if not self._denials:
            return ""
        now = self._now()
        return next((each.detail for each in self._denials if each.until_s > now and is_named(identity, each.name)), "")


def is_named(identity: Identity, name: str) -> bool:
    """Whether ``name`` is one that the certificate has: a URI, DNS name, IP or e-mail address, its CN or subject, or
    ``sha256:`` and its digest. Whole names are compared, DNS names without case."""
    if not name:
        return False
    if name in (identity.name, identity.common_name, identity.subject, f"sha256:{identity.sha256}"):
        return True
    if name in identity.uris or name in identity.ips or name in identity.emails:
        return True
    lowered = name.lower()
    return any(lowered == each.lower() for each in identity.dns)
