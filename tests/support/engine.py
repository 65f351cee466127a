"""What differs by the engine that serves (tlsidecar.dataplane.engine)."""

from __future__ import annotations

import os

IS_PORTABLE = os.environ.get("TLSIDECAR_ENGINE") == "portable"


def alert_of_ours(name: str) -> str:
    """The alert of a refusal that the verify callback decides: by policy, or for an error above the leaf. The portable
    engine cannot choose one (docs/decisions.md)."""
    return "INTERNAL_ERROR" if IS_PORTABLE else name
