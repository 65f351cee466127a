"""Which of our identities a connection is served under: the one reference to each that a new generation swaps, and the
choice among several by the server name that a client asks for."""

from __future__ import annotations

from collections.abc import Sequence

from tlsidecar.dataplane.tls import Contexts


class Current:
    """One identity of ours: ``contexts`` is the generation that new connections get."""

    __slots__ = ("contexts",)

    def __init__(self, contexts: Contexts) -> None:
        self.contexts = contexts

    def __repr__(self) -> str:
        return f"<Current {self.contexts!r}>"


class Choice:
    """Several identities of one listener, the first of which is the default."""

    def __init__(self, several: Sequence[Current]) -> None:
        self._several = tuple(several)

    def __repr__(self) -> str:
        return f"<Choice {[each.contexts.identity for each in self._several]}>"

    def of(self, server_name: str) -> Contexts:
        """The first whose leaf has this very name, else the first with a wildcard for it (RFC 9525 section 6.3), else
        the default. ``server_name`` is what the client sent (RFC 6066 section 3), empty where it sent none."""
        name = server_name.rstrip(".").lower()
        if name:
            for names in (name, "*." + name.partition(".")[2]):
                for each in self._several:
                    if names in each.contexts.dns_names:
                        return each.contexts
        return self._several[0].contexts
