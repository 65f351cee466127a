"""A view's JSON, as it came, for the clipboard or a file. JSON's own escapes keep it harmless in a terminal."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

from tui.records import Json


def as_json(raw: Json) -> str:
    """Indented, pure ASCII: every control, bidi and other non-ASCII character is a ``\\u`` escape."""
    return json.dumps(raw, indent=2, ensure_ascii=True)


def save(raw: Json, what: str, now: datetime, folder: Path) -> Path:
    """Write a new file, readable by its owner only, and return its path. Raises OSError that names it; overwrites
    nothing."""
    path = folder / f"tlsidecar-{what}-{now:%Y%m%dT%H%M%SZ}.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(as_json(raw) + "\n")
    return path
