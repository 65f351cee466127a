"""JSON for the clipboard and for files: verbatim, harmless, private, and nothing is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ui_world import HOSTILE, NOW

from tui.export import as_json, save


def test_json_is_verbatim_and_pure_ascii() -> None:
    raw = {"texts": list(HOSTILE)}
    text = as_json(raw)
    assert json.loads(text) == raw
    assert all(character == "\n" or " " <= character <= "~" for character in text)


def test_a_saved_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = save({"id": 7}, "connection-7", NOW, tmp_path)
    assert path.name == "tlsidecar-connection-7-20261123T231500Z.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"id": 7}
    with pytest.raises(FileExistsError):
        save({"id": 8}, "connection-7", NOW, tmp_path)
    (tmp_path / "tlsidecar-x-20261123T231500Z.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        save({}, "x", NOW, tmp_path)
