"""Protocols that begin in the clear and agree on TLS in words of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tlsidecar.dataplane.starttls.words import Words


def words_of(name: str) -> Words | None:
    """What a listener's ``starttls`` stands for; None where it has none. What such protocols say is loaded with the
    first listener that speaks one."""
    if not name:
        return None
    from tlsidecar.dataplane.starttls.words import WORDS

    return WORDS[name]
