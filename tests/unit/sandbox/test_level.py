"""How much holds with which ABI, and what is said of the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.control.world import SETTINGS

from tlsidecar.sandbox import landlock
from tlsidecar.sandbox.landlock import Files, LandlockUnavailable, known_files
from tlsidecar.sandbox.level import SandboxError, level_of

REQUIRED = replace(SETTINGS, sandbox="required")


def test_each_abi_is_asked_what_it_knows() -> None:
    assert known_files(1) == Files(0x1FFF)
    assert known_files(2) == Files(0x3FFF)
    assert known_files(3) == known_files(4) == Files(0x7FFF)
    assert known_files(5) == known_files(99) == Files(0xFFFF)


@pytest.mark.parametrize(
    ("abi", "covers", "missing"),
    [
        (1, ("files",), ("TCP ports", "ioctl", "abstract", "signals", "truncating")),
        (3, ("files",), ("TCP ports", "ioctl", "abstract", "signals")),
        (4, ("files", "tcp_ports"), ("ioctl", "abstract", "signals")),
        (5, ("files", "tcp_ports", "devices"), ("abstract", "signals")),
        (7, ("files", "tcp_ports", "devices", "abstract_sockets", "signals"), ()),
        (99, ("files", "tcp_ports", "devices", "abstract_sockets", "signals"), ()),
    ],
)
def test_older_kernels(
    monkeypatch: pytest.MonkeyPatch, abi: int, covers: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: abi)
    level = level_of(SETTINGS)
    assert (level.holds, level.abi, level.covers) == (True, abi, covers)
    for word in ("TCP ports", "ioctl", "abstract", "signals", "truncating"):
        assert any(word in gap for gap in level.gaps) is (word in missing)
    assert any("UDP" in gap for gap in level.gaps)
    if abi < 4:
        with pytest.raises(SandboxError, match=f"ABI {abi} of 4"):
            level_of(REQUIRED)
    else:
        assert level_of(REQUIRED).holds


def test_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> int:
        raise LandlockUnavailable("no such thing")

    monkeypatch.setattr(landlock, "abi", unavailable)
    level = level_of(SETTINGS)
    assert (level.holds, level.reason, str(level)) == (False, "no such thing", "none: no such thing")
    with pytest.raises(SandboxError, match="no such thing"):
        level_of(REQUIRED)
    assert level_of(replace(SETTINGS, sandbox="off")).reason == "it is switched off"
