"""Text that a command is given: whole, bounded, UTF-8, and by its name in what is said of it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlsidecar.cli import text_file
from tlsidecar.cli.context import EXIT_BAD_INPUT, CommandFailed
from tlsidecar.cli.text_file import name_of, read_text, yaml_needed
from tlsidecar.extras import install_line


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_a_dash_and_no_file_are_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (None, Path("-")):
        stdin(monkeypatch, "größe: 1\r\n".encode())
        assert read_text(file) == "größe: 1\r\n"
        assert name_of(file) == "stdin"


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "MAX_TEXT_BYTES", 8)
    (tmp_path / "large").write_bytes(b"x" * 9)
    (tmp_path / "latin1").write_bytes(b"gr\xf6sse")
    (tmp_path / "full").write_bytes(b"x" * 8)
    assert read_text(tmp_path / "full") == "x" * 8
    for name, why in (
        ("absent", "No such file or directory"),
        (".", "Is a directory"),
        ("large", "more than 0 MiB"),
        ("latin1", "not UTF-8 at byte 2"),
    ):
        with pytest.raises(CommandFailed) as refused:
            read_text(tmp_path / name)
        assert refused.value.message == f"{tmp_path / name}: {why}"
        assert refused.value.exit_code == EXIT_BAD_INPUT
    stdin(monkeypatch, b"\xff")
    with pytest.raises(CommandFailed, match=r"^stdin: not UTF-8 at byte 0$"):
        read_text(None)


def test_a_missing_yaml_reader_is_said_with_the_line_that_adds_it_and_nothing_else_is_hidden() -> None:
    with pytest.raises(CommandFailed) as refused, yaml_needed():
        raise ModuleNotFoundError("No module named 'ruamel.yaml'", name="ruamel.yaml")
    assert refused.value.message.endswith(install_line("yaml"))
    with pytest.raises(ModuleNotFoundError), yaml_needed():
        raise ModuleNotFoundError("No module named 'certs'", name="certs")
