"""``tlsidecar import``: a configuration on stdout, what was lost on stderr and in the exit code."""

from __future__ import annotations

from pathlib import Path

from unit.cli.conftest import tlsidecar

GHOSTUNNEL = "ghostunnel -- server --listen :8443 --target 127.0.0.1:8080 --cert c --key k --cacert a"


def test_nothing_lost_is_exit_code_0() -> None:
    done = tlsidecar("import", *GHOSTUNNEL.split(), "--allow-cn", "web")
    assert (done.code, done.err) == (0, "")
    assert 'allow = ["cn:web"]' in done.out


def test_security_lost_is_exit_code_1_and_told() -> None:
    done = tlsidecar("import", *GHOSTUNNEL.split(), "--allow-all", "--disable-authentication")
    assert done.code == 1
    assert done.err.startswith("not carried over: --disable-authentication")
    assert "#   --disable-authentication" in done.out


def test_a_file_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "stunnel.conf"
    file.write_text("[web\n")
    done = tlsidecar("import", "stunnel", file)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"Error: {file}: line 1: a service's name has no end: '[web'\n"
    assert tlsidecar("import", "envoy", tmp_path / "missing").code == 2
    assert tlsidecar("import", "squid", file).code == 2


def test_what_nobody_could_use_is_not_written_down() -> None:
    done = tlsidecar("import", *GHOSTUNNEL.replace(":8080", ":99999").split(), "--allow-all")
    assert (done.code, done.out) == (2, "")
    assert "listener[server].upstream: port 99999 is not between" in done.err
    without = tlsidecar("import", *GHOSTUNNEL.split())  # who may connect is missing, and that is told in the draft
    assert (without.code, "names nobody who may connect" in without.err) == (1, True)
