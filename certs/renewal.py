"""When to renew: pure arithmetic on wall-clock times, with the randomness given.

A renewal is due at about two thirds of the lifetime. Since wall clocks jump and machines sleep, nobody sleeps until a
renewal: :class:`RenewalSchedule` is asked every second whether to attempt, and answers from the wall clock of then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

RENEW_AT_FRACTION = 2 / 3
JITTER_FRACTION = 0.1  # of the lifetime, centred on the two thirds, so that a fleet does not renew at once
MIN_INTERVAL = timedelta(minutes=1)
LEAST_INTERVAL = timedelta(seconds=1)  # of lives of seconds
ATTEMPTS_IN_A_LIFE = 30  # of one that a minute between attempts would leave no room for
MAX_PATIENCE = timedelta(minutes=1)
LEAST_PATIENCE = timedelta(seconds=3)  # what is due is looked at each second, and attempts are a second apart
PATIENCE_FRACTION = 0.1  # of the life
MAX_BACKOFF = timedelta(hours=1)
FIRST_BACKOFF = timedelta(minutes=2)
JUMP = timedelta(seconds=30)  # a wall clock this far from where the monotonic one says it should be has jumped

RandomUnit = Callable[[], float]  # from 0 up to 1


def spacing(life: timedelta) -> timedelta:
    """The least time between two attempts for material that had ``life`` left when it was put to use: a minute, and
    less where it is so short (under half an hour) that a third of it would not hold ten."""
    if life <= timedelta(0):
        return MIN_INTERVAL
    return min(MIN_INTERVAL, max(LEAST_INTERVAL, life / ATTEMPTS_IN_A_LIFE))


def patience(life: timedelta) -> timedelta:
    """How late a renewal may be before it is said to be, for material that had ``life`` left when it was put to use: a
    minute, for an issuer takes its time; a tenth of a life of less than ten. What was due at two thirds of a life, give
    or take the jitter, is so said to be late before a tenth of it is left."""
    if life <= timedelta(0):
        return MAX_PATIENCE
    return min(MAX_PATIENCE, max(LEAST_PATIENCE, life * PATIENCE_FRACTION))


def renewal_time(not_before: datetime, not_after: datetime, now: datetime, random_unit: RandomUnit) -> datetime:
    """When to renew material that was put to use at ``now``.

    Two thirds of what is left of the lifetime, counted from now and not from a NotBefore that lies before it, give or
    take the jitter; never sooner than :func:`spacing` from now, and for material that has expired, exactly then.
    """
    starts = max(now, not_before)
    remaining = not_after - starts
    if remaining <= timedelta(0):
        return now + MIN_INTERVAL
    fraction = RENEW_AT_FRACTION + JITTER_FRACTION * (random_unit() - 0.5)
    return max(starts + remaining * fraction, now + spacing(remaining))


def backoff(failures: int, remaining: timedelta, random_unit: RandomUnit, life: timedelta = timedelta(0)) -> timedelta:
    """How long to wait after the ``failures``-th failure in a row (counted from 1), for material that had ``life`` left
    when it was put to use, and has ``remaining`` now.

    It doubles from two minutes to an hour, or to half of a short life, is then shortened so that at least ten attempts
    fit into what remains, and spread over the upper half by chance; never under :func:`spacing`.
    """
    least = spacing(life)
    ceiling: timedelta = min(FIRST_BACKOFF * 2 ** min(failures - 1, 16), MAX_BACKOFF)
    if life > timedelta(0):
        ceiling = min(ceiling, life / 2)
    if remaining > timedelta(0):
        ceiling = min(ceiling, remaining / 10)
    ceiling = max(ceiling, least)
    return max(least, ceiling * (0.5 + 0.5 * random_unit()))


@dataclass(slots=True)
class RenewalSchedule:
    """When the next attempt is due, through successes, failures and clock jumps. Whoever owns it calls :meth:`observe`
    and asks :meth:`is_due`, again and again."""

    random_unit: RandomUnit
    due: datetime | None = None
    failures: int = 0
    not_before: datetime | None = None
    not_after: datetime | None = None
    last_attempt_monotonic: float | None = None
    life: timedelta = timedelta(0)  # what was left of it when it was put to use
    _seen: tuple[datetime, float] | None = field(default=None, repr=False)

    @property
    def overdue_at(self) -> datetime | None:
        """From when on what is due is late; None where nothing is due."""
        return self.due + patience(self.life) if self.due is not None else None

    def succeeded(self, not_before: datetime, not_after: datetime, now: datetime, monotonic: float) -> None:
        """New material was put to use."""
        self.failures = 0
        self.not_before, self.not_after = not_before, not_after
        self.life = not_after - max(now, not_before)
        self.due = renewal_time(not_before, not_after, now, self.random_unit)
        self.last_attempt_monotonic = monotonic
        self._seen = (now, monotonic)

    def failed(self, now: datetime, monotonic: float) -> None:
        """An attempt gave nothing that could be used; what is in use stays."""
        self.failures += 1
        remaining = self.not_after - now if self.not_after is not None else timedelta(0)
        self.due = now + backoff(self.failures, remaining, self.random_unit, self.life)
        self.last_attempt_monotonic = monotonic
        self._seen = (now, monotonic)

    def observe(self, now: datetime, monotonic: float) -> timedelta:
        """Notices a jump of the wall clock since the last call, returns it (zero for none), and moves what is due.

        Forward: whatever became due by it is due. Back: a renewal that would now be more than its whole wait away is
        planned anew from now, so that a clock set right again does not leave us without renewals.
        """
        seen, self._seen = self._seen, (now, monotonic)
        if seen is None:
            return timedelta(0)
        jump = (now - seen[0]) - timedelta(seconds=monotonic - seen[1])
        if abs(jump) < JUMP:
            return timedelta(0)
        if jump < timedelta(0) and self.due is not None and self.not_before is not None and self.not_after is not None:
            if self.failures:
                self.due = min(self.due, now + MAX_BACKOFF)
            else:
                # Counted from now even where NotBefore lies ahead: that it does is the clock's doing.
                whole = self.not_after - self.not_before
                self.due = min(self.due, now + max(whole * RENEW_AT_FRACTION, MIN_INTERVAL))
        return jump

    def is_due(self, now: datetime, monotonic: float) -> bool:
        """Whether to attempt now. Never twice within :func:`spacing` of the monotonic clock, whatever the wall clock
        does."""
        if self.due is None or now < self.due:
            return False
        last = self.last_attempt_monotonic
        return last is None or monotonic - last >= spacing(self.life).total_seconds()
