"""A whole configuration before it is settings: every table judged by itself, and not yet together."""

from __future__ import annotations

from pathlib import Path

from tlsidecar.config.judge import Finding, Part
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """A whole configuration, each table of it judged by itself, and what was found then. ``file`` is None where there
    is none."""

    root: Part
    findings: tuple[Finding, ...]
    admin_socket: Path
    file: Path | None

    @property
    def listeners(self) -> tuple[Part, ...]:
        return self.root.arrays["listener"]

    @property
    def identities(self) -> tuple[Part, ...]:
        """At least one; a single ``[identity]`` is one without a place in an array."""
        return self.root.arrays["identity"]

    @property
    def admin(self) -> Part:
        return self.root.tables["admin"]
