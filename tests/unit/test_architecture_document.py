"""What docs/architecture.md names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text()
# Where a name without its whole path may be meant.
PLACES = [
    "",
    "tlsidecar",
    "tlsidecar/api",
    "tlsidecar/control/problems",
    "tlsidecar/dataplane",
    "tlsidecar/dataplane/http1",
    "tlsidecar/dataplane/outbound",
]
NAMES = sorted(set(re.findall(r"`([\w/]+(?:\.py|\.toml|/))`", TEXT)))


@pytest.mark.parametrize("name", NAMES)
def test_each_file_and_folder_is_there(name: str) -> None:
    assert any((ROOT / place / name).exists() for place in PLACES)


def test_there_are_names_to_look_for() -> None:
    assert len(NAMES) > 30
