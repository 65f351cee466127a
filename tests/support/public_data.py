"""Public test data kept beside the checkout; a test that needs it skips, and says so, where it is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[3] / "shared" / "data"
# Read at import: what a test runs with has no such variable.
_PLACES = [Path(os.environ["TLSIDECAR_TEST_DATA"])] if "TLSIDECAR_TEST_DATA" in os.environ else [_BESIDE]


def stories(folder: str) -> list[object]:
    """The JSON files below ``folder``, as parameters named after them; one that skips where there are none."""
    found = sorted(path for place in _PLACES for path in (place / folder).rglob("*.json"))
    if not found:
        reason = f"needs the public data {folder}/ in ../shared/data or TLSIDECAR_TEST_DATA"
        return [pytest.param(Path(), marks=pytest.mark.skip(reason=reason), id=f"{folder} is missing")]
    return [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in found]
