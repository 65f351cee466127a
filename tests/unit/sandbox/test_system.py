"""What a process reads of the machine, whatever is configured."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import certs
import tlsidecar
from tlsidecar.sandbox import system
from tlsidecar.sandbox.landlock import Files
from tlsidecar.sandbox.needs import READ, Place
from tlsidecar.sandbox.places import is_below


def places(*, resolves: bool = False, starts_python: bool = False) -> dict[str, Place]:
    return {str(place.path): place for place in system.places(resolves=resolves, starts_python=starts_python)}


def test_nothing_is_written_but_to_the_null_device() -> None:
    for place in places(resolves=True, starts_python=True).values():
        if str(place.path) == os.devnull:
            assert place.access == Files.READ_FILE | Files.WRITE_FILE
        else:
            assert place.access & ~(READ | Files.EXECUTE) == Files(0), place


def test_never_the_whole_machine_nor_where_others_keep_their_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/", "", *sys.path])
    monkeypatch.setattr(sys, "exec_prefix", "/")
    found = places(starts_python=True)
    assert found.keys().isdisjoint({"/", "/etc", "/var", "/home", "/root", "/tmp", "/etc/ssl", "/etc/pki"})
    assert all(Path(path).is_absolute() for path in found)


def test_private_keys_that_stand_beside_the_systems_cas_are_not_among_it() -> None:
    for secret in ("/etc/ssl/private/snakeoil.key", "/etc/shadow", "/etc/pki/tls/private/localhost.key"):
        assert not is_below(secret, places())


def test_our_own_code_and_pythons_wherever_they_are_installed() -> None:
    found = places()
    for module in (certs, tlsidecar, os):
        assert module.__file__ is not None
        assert is_below(os.path.realpath(module.__file__), [os.path.realpath(path) for path in found]), module


def test_the_directory_that_somebody_stood_in_is_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m`` puts it first; a path that is named is meant."""
    named, here = tmp_path / "named", tmp_path / "here"
    for directory in (named, here):
        directory.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(here), str(named), *sys.path])
    found = places()
    assert str(named) in found
    assert str(here) not in found
    monkeypatch.setattr(sys, "path", [str(named), str(here), *sys.path])
    assert str(here) in places()


def test_cas_that_a_variable_names_are_read_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_DIR", "/opt/cas:relative:")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/opt/otel.pem")
    found = places()
    assert found["/opt/cas"].key == "$SSL_CERT_DIR"
    assert str(tmp_path / "relative") in found
    assert found["/opt/otel.pem"] == Place(Path("/opt/otel.pem"), READ, "$OTEL_EXPORTER_OTLP_CERTIFICATE")
    assert str(tmp_path) not in found, "an empty name is no name"


def test_names_are_looked_up_as_the_machine_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is written and renamed, so its directory is permitted, wherever the link leads."""
    managed = tmp_path / "run" / "resolv.conf"
    managed.parent.mkdir()
    managed.write_text("")
    (tmp_path / "resolv.conf").symlink_to(managed)
    monkeypatch.setattr(system, "RESOLVER", tmp_path / "resolv.conf")
    assert str(managed.parent) in places(resolves=True)
    assert str(managed.parent) not in places(resolves=False)
    monkeypatch.setattr(system, "RESOLVER", Path("/proc"))  # a mount, as a container's resolv.conf is
    assert "/" not in places(resolves=True)


def test_other_processes_of_ours_need_the_interpreter_and_its_loader() -> None:
    alone, several = places(), places(starts_python=True)
    executed = {path for path, place in several.items() if place.access & Files.EXECUTE}
    assert str(Path(sys.executable)) in executed
    assert any(os.path.basename(path).startswith(("ld-", "ld.so", "ld64")) for path in executed)
    assert not any(place.access & Files.EXECUTE for place in alone.values())
