"""Who was turned away and why: the refusals of one party for one reason together, with their number and the newest
examples.

Noise does not displace what matters. A thousand strangers that a scanner sends each take the place of another stranger,
never that of somebody who is known (whose certificate was good, and whom a rule turned away), nor that of a stranger
who comes again and again. What is no longer kept is still counted.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import field, replace
from heapq import nlargest
from typing import NamedTuple

from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason, Refusal, Side, Stage

# Parties that are kept, of those who are known and of strangers each, and refusals kept of each party.
KEPT_GROUPS = 250
KEPT_EXAMPLES = 8
# A peer chooses these texts: thousands of refusals of 8 KiB targets and 64 KiB subjects must not add up.
KEPT_TEXT_CHARACTERS = 512
# The chains that refused peers have shown, those seen last; with dataplane.policy.KEPT_CHAIN_BYTES each, 2 MiB at most.
KEPT_CHAINS = 256
_PEER_TEXTS = ("peer_address", "detail", "identity", "subject", "issuer", "serial", "method", "target", "request_id")

_KNOWN_STAGES = (Stage.AUTHORIZE, Stage.REQUEST)  # the certificate was good: the name in it is true


class GroupKey(NamedTuple):
    """What one group has in common. ``who`` is the best name there is: of strangers without a certificate the
    address."""

    who: str
    listener: str
    side: Side
    stage: Stage
    reason: Reason
    rule: str


@dataclass(slots=True)
class RefusalsOfOne:
    """The refusals of one party for one reason; times are POSIX seconds."""

    key: GroupKey
    first_at: float
    last_at: float = 0.0
    count: int = 0
    examples: deque[tuple[int, Refusal]] = field(default_factory=lambda: deque(maxlen=KEPT_EXAMPLES))

    @property
    def is_known(self) -> bool:
        """Whether ``who`` is somebody the trust bundle vouches for."""
        return self.key.stage in _KNOWN_STAGES

    def add(self, number: int, refusal: Refusal) -> None:
        """Count one more, and keep it as an example."""
        self.count += 1
        self.last_at = refusal.at
        self.examples.append((number, refusal))


class _Groups:
    """The groups of one kind, at most so many; those that came once go first, the oldest of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._once: OrderedDict[GroupKey, RefusalsOfOne] = OrderedDict()
        self._often: OrderedDict[GroupKey, RefusalsOfOne] = OrderedDict()

    def __len__(self) -> int:
        return len(self._once) + len(self._often)

    def __iter__(self) -> Iterator[RefusalsOfOne]:
        yield from self._once.values()
        yield from self._often.values()

    def group(self, key: GroupKey, at: float) -> RefusalsOfOne:
        known = self._often.get(key)
        if known is not None:
            self._often.move_to_end(key)
            return known
        known = self._once.pop(key, None)
        if known is not None:
            self._often[key] = known
            return known
        if len(self) >= self._capacity:
            (self._once or self._often).popitem(last=False)
        fresh = self._once[key] = RefusalsOfOne(key, first_at=at)
        return fresh


class RefusalLog:
    """Refusals, numbered from 1 since the process began, and grouped."""

    def __init__(self, kept_groups: int = KEPT_GROUPS) -> None:
        self._known = _Groups(kept_groups)
        self._strangers = _Groups(kept_groups)
        self._total = 0
        self._chains: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()  # by the leaf's digest

    def __repr__(self) -> str:
        return (
            f"<RefusalLog {self._total} recorded, {len(self._known)} known parties, {len(self._strangers)} strangers>"
        )

    @property
    def total(self) -> int:
        """How many were ever recorded; also the number of the newest."""
        return self._total

    def record(self, refusal: Refusal) -> int:
        """Keep one; returns its number. Over-long text from the peer is cut and ends in an ellipsis."""
        self._total += 1
        self._keep_chain(refusal)
        refusal = _bounded(refusal)
        groups = self._known if refusal.stage in _KNOWN_STAGES else self._strangers
        groups.group(_key(refusal), refusal.at).add(self._total, refusal)
        return self._total

    @property
    def kept(self) -> int:
        """How many can still be told in full."""
        return sum(len(group.examples) for group in self._groups())

    def find(self, number: int) -> tuple[int, Refusal] | None:
        """The refusal with this number, and that, while it is kept."""
        return next((example for example in self._examples() if example[0] == number), None)

    def of_connection(self, connection_id: int) -> tuple[int, Refusal] | None:
        """The newest refusal of this connection that is kept, and its number."""
        of_it = (example for example in self._examples() if example[1].connection_id == connection_id)
        return max(of_it, key=_number_of, default=None)

    def chain(self, leaf: str) -> tuple[bytes, ...]:
        """The DER of the leaf with this digest and of what was above it; empty when it is not kept any more."""
        return self._chains.get(leaf, ())

    def _keep_chain(self, refusal: Refusal) -> None:
        if refusal.chain:
            self._chains[refusal.leaf] = refusal.chain
        if refusal.leaf in self._chains:
            self._chains.move_to_end(refusal.leaf)
        if len(self._chains) > KEPT_CHAINS:
            self._chains.popitem(last=False)

    def newest(self, limit: int = 100) -> list[tuple[int, Refusal]]:
        """At most ``limit`` of those that are kept, with their numbers, newest first."""
        return nlargest(limit, self._examples(), key=_number_of)

    def groups(self, limit: int = 2 * KEPT_GROUPS) -> list[RefusalsOfOne]:
        """At most ``limit``, those that came last first."""
        return nlargest(limit, self._groups(), key=lambda group: group.examples[-1][0])

    def _examples(self) -> Iterator[tuple[int, Refusal]]:
        return (example for group in self._groups() for example in group.examples)

    def _groups(self) -> Iterator[RefusalsOfOne]:
        yield from self._known
        yield from self._strangers


def _number_of(example: tuple[int, Refusal]) -> int:
    return example[0]


def _key(refusal: Refusal) -> GroupKey:
    address = refusal.peer_address
    if not address.startswith("unix"):
        address = address.rpartition(":")[0].strip("[]")
    who = refusal.identity or refusal.subject or address
    return GroupKey(who, refusal.listener, refusal.side, refusal.stage, refusal.reason, refusal.rule)


def _bounded(refusal: Refusal) -> Refusal:
    overlong = {
        name: text[: KEPT_TEXT_CHARACTERS - 1] + "…"
        for name in _PEER_TEXTS
        if len(text := getattr(refusal, name)) > KEPT_TEXT_CHARACTERS
    }
    return replace(refusal, **overlong, chain=()) if overlong or refusal.chain else refusal
