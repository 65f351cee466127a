"""The one small interface through which the data plane reports what happens; nothing is ever asked back through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from tlsidecar.outcomes import AccessEntry, EndedRequest, Failure, Refusal


class Opened(NamedTuple):
    """A connection that was authorised and is in use from now on."""

    id: int
    listener: str
    mode: str
    protocol: str
    peer_address: str
    identity: str
    rule: str
    generation: int
    own_identity: str = ""

    def fields(self) -> dict[str, object]:
        """For the events."""
        return self._asdict()


class UpstreamChange(NamedTuple):
    """The active checks of one worker hold an upstream address for something else than before; ``detail`` says what is
    wrong with one that is not healthy."""

    worker: int
    listener: str
    address: str
    healthy: bool
    detail: str


class Observer(Protocol):
    """Called on the data plane's thread; must not block, and must not raise."""

    @property
    def exchanged(self) -> Callable[[EndedRequest, float], None] | None:
        """To be called with each HTTP request that is over, which it must not keep, and when that was (monotonic
        seconds). ``None`` where nobody wants to know."""
        ...

    def opened(self, connection: Opened) -> None: ...

    def closed(self, entry: AccessEntry) -> None:
        """A connection that was opened is over."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """A connection or a request was turned away, by us or by the other end."""
        ...

    def failed(self, failure: Failure) -> None:
        """A connection or a request could not be served; nobody was turned away."""
        ...

    def upstream_changed(self, change: UpstreamChange) -> None: ...
