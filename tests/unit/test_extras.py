"""What an installation lacks is named with the line that adds it, and the line names what pyproject.toml names."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tlsidecar.extras import install_line

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_line_names_the_packages_and_this_environment(extra: str) -> None:
    *installer, last = words = shlex.split(install_line(extra))
    assert words[: len(words) - len(EXTRAS[extra])] == [sys.executable, "-m", "pip", "install"]
    normal = {",".join(sorted(requirement.split(","))) for requirement in EXTRAS[extra]}
    named = {",".join(sorted(requirement.split(","))) for requirement in words[4:]}
    assert {_name(each) for each in named} == {_name(each) for each in normal}
    assert last
    assert installer


def _name(requirement: str) -> str:
    return requirement.split(">")[0].split("<")[0]


def test_without_pip_uv_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsidecar.extras.find_spec", lambda name: None)
    assert install_line("fast").startswith(f"uv pip install --python {sys.executable} 'uvloop")


@pytest.mark.parametrize(
    ("without", "arguments", "said"),
    [
        ("uvloop", ["--event-loop", "uvloop"], "event_loop: uvloop is not installed; "),
        ("opentelemetry", ["--tracing-endpoint", "http://127.0.0.1:1"], "cannot start: [tracing] needs packages: "),
    ],
)
def test_run_without_an_extra_it_needs(tmp_path: Path, without: str, arguments: list[str], said: str) -> None:
    program = f"import sys; sys.modules[{without!r}] = None; from tlsidecar.__main__ import main; main()"
    listener = ["--listen=127.0.0.1:0", "--upstream=127.0.0.1:1", "--allow=any", "--cert=c", "--key=k", "--trust=t"]
    done = subprocess.run(
        [sys.executable, "-c", program, "run", *listener, "--admin-socket=run/s", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert f"{sys.executable} -m pip install" in done.stderr
