"""How far a certificate is through its life."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tlsidecar.api.certificates import CRITICAL_FRACTION, DUE_FRACTION
from tui.lines import Glyphs, Role
from tui.records import Certificate, OwnCertificate, OwnMaterial, Severity
from tui.text import SafeText

RENEWAL_GRACE = timedelta(minutes=2)
"""A renewal may take so long after the moment planned for it before it counts as overdue, where the sidecar is of a
version that does not say from when on."""


class LifetimeStage(StrEnum):
    """Where in its life a certificate is; the first is worst."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not yet"
    EXPIRING = "expiring"
    DUE = "due"
    RENEWING = "renewing"
    OK = "ok"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        return list(LifetimeStage).index(self)

    @property
    def severity(self) -> Severity | None:
        """How much of a problem it is; None for none."""
        match self:
            case LifetimeStage.EXPIRED | LifetimeStage.NOT_YET_VALID | LifetimeStage.EXPIRING:
                return Severity.CRITICAL
            case LifetimeStage.DUE:
                return Severity.WARNING
            case _:
                return None

    @property
    def role(self) -> Role:
        match self:
            case LifetimeStage.EXPIRED | LifetimeStage.NOT_YET_VALID | LifetimeStage.EXPIRING:
                return Role.CRITICAL
            case LifetimeStage.DUE:
                return Role.WARNING
            case LifetimeStage.RENEWING:
                return Role.NOTICE
            case LifetimeStage.OK:
                return Role.GOOD
            case LifetimeStage.UNKNOWN:
                return Role.MUTED

    def label(self, glyphs: Glyphs) -> SafeText:
        """The stage as a sign and a word."""
        sign = {
            LifetimeStage.EXPIRED: glyphs.critical,
            LifetimeStage.NOT_YET_VALID: glyphs.critical,
            LifetimeStage.EXPIRING: glyphs.warning,
            LifetimeStage.DUE: glyphs.due,
            LifetimeStage.RENEWING: glyphs.renewing,
            LifetimeStage.OK: glyphs.ok,
            LifetimeStage.UNKNOWN: glyphs.unknown,
        }[self]
        return SafeText(f"{sign} {self.value}")


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when something is valid, and when its renewal is planned, if it is."""

    not_before: datetime | None
    not_after: datetime | None
    next_renewal_at: datetime | None = None
    renewal_overdue_at: datetime | None = None
    renewal_failures: int = 0

    @classmethod
    def of_own(cls, leaf: Certificate | OwnCertificate, renewal: OwnMaterial | OwnCertificate) -> Validity:
        """Of a leaf of ours, with what is known of its renewal."""
        return cls(
            leaf.not_before,
            leaf.not_after,
            renewal.next_renewal_at,
            renewal.renewal_overdue_at,
            renewal.renewal_failures,
        )

    def stage(self, now: datetime) -> LifetimeStage:
        if self.not_after is None:
            return LifetimeStage.UNKNOWN
        if now >= self.not_after:
            return LifetimeStage.EXPIRED
        if self.not_before is not None and now < self.not_before:
            return LifetimeStage.NOT_YET_VALID
        left = self.fraction_left(now)
        is_overdue = self.is_renewal_overdue(now)
        is_as_planned = self.renewal_overdue_at is not None and not is_overdue and not self.renewal_failures
        if left is not None and left <= CRITICAL_FRACTION and not is_as_planned:
            return LifetimeStage.EXPIRING
        if is_overdue:
            return LifetimeStage.DUE
        if self.next_renewal_at is not None and self.next_renewal_at <= now:
            return LifetimeStage.RENEWING
        if left is not None and left <= DUE_FRACTION and not is_as_planned:
            return LifetimeStage.DUE
        return LifetimeStage.OK

    def fraction_left(self, now: datetime) -> float | None:
        """Of the whole lifetime, between 0 and 1; None when it is not known."""
        if self.not_before is None or self.not_after is None or self.not_after <= self.not_before:
            return None
        return max(0.0, min(1.0, (self.not_after - now) / (self.not_after - self.not_before)))

    def is_renewal_overdue(self, now: datetime) -> bool:
        if self.renewal_overdue_at is not None:
            return now >= self.renewal_overdue_at
        return self.next_renewal_at is not None and now >= self.next_renewal_at + RENEWAL_GRACE
