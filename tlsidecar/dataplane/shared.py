"""What all connections of one worker share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from certs.clock import Clock
from certs.identity import IdentityCache
from tlsidecar.dataplane.choice import Current
from tlsidecar.dataplane.denials import Denials
from tlsidecar.dataplane.linger import Lingerer
from tlsidecar.dataplane.rate_table import RateTable
from tlsidecar.dataplane.reactor import Reactor
from tlsidecar.dataplane.report import Observer
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.dataplane.turnstile import Turnstile

if TYPE_CHECKING:
    from certs.acme.challenges import Challenge
    from tlsidecar.dataplane.challenges import Challenges


class Shared:
    """The services of one worker; ``current`` has its identities by name, each the one reference that a new generation
    of it swaps."""

    def __init__(
        self,
        reactor: Reactor,
        clock: Clock,
        observer: Observer,
        contexts: Iterable[Contexts],
        ids: Iterator[int] | None = None,
        worker: int = 0,
    ) -> None:
        self.reactor = reactor
        self.clock = clock
        self.wall = clock.timestamp
        self.observer = observer
        self.current = {each.identity: Current(each) for each in contexts}
        self.lingerer = Lingerer(reactor)
        self.challenges: Challenges | None = None  # since the first was presented
        self.turnstile = Turnstile(reactor)
        self.identities = IdentityCache()
        self.denials = Denials()
        self.ids = ids if ids is not None else itertools.count(1)
        self.worker = worker
        self.rates: RateTable | None = None  # of all workers, where there are several
        self.trace_ratio: float | None = None  # of the traces that begin here; None: tracing is off
        self.on_gone: Callable[[], None] | None = None
        self.lingerer.on_closed = self.gone

    def use(self, contexts: Contexts) -> None:
        """New connections under this identity get this generation."""
        current = self.current.get(contexts.identity)
        if current is None:
            self.current[contexts.identity] = Current(contexts)
        else:
            current.contexts = contexts

    def use_only(self, contexts: Sequence[Contexts]) -> None:
        """As :meth:`use`, for all identities that there are from now on."""
        for each in contexts:
            self.use(each)
        for gone in self.current.keys() - {each.identity for each in contexts}:
            del self.current[gone]

    def present(self, challenges: Sequence[Challenge]) -> None:
        """Answer these challenges of an ACME CA from now on, and no others."""
        if self.challenges is None:
            from tlsidecar.dataplane.challenges import Challenges  # for those who have such a CA

            self.challenges = Challenges(self.reactor, self.lingerer)
        self.challenges.present(challenges, self.wall())

    def gone(self) -> None:
        """A connection, or a socket being closed gently, is gone."""
        if self.on_gone is not None:
            self.on_gone()

    def close(self) -> None:
        if self.challenges is not None:
            self.challenges.close()
        self.lingerer.close_all()
