"""What `make dist` makes, and how it is installed: one file, bill of materials, manual pages, wheel."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from tlsidecar.cli.root import COMMANDS, root

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_two_parameters_of_a_command_share_a_name() -> None:
    """Configuration keys become flags of `run`, `check` and `exec`: a new one must not hide what these have already."""
    for name in COMMANDS:
        context = click.Context(root)
        command = root.get_command(context, name)
        assert command is not None
        names = [parameter.name for parameter in command.params]
        assert len(names) == len(set(names)), name


def test_every_command_has_its_manual_page() -> None:
    pages = dict(tool("man_pages").pages())
    assert {f"tlsidecar-{name}.1" for name in COMMANDS} | {"tlsidecar.1", "tlsidecar-certs-issue.1"} <= pages.keys()
    for name, page in pages.items():
        assert page.startswith('.TH "'), name
        assert "\n.SH NAME\n" in page
        assert page.replace("\n", "").isprintable(), name
        # What begins with a dot or an apostrophe is a request, and there are no others than these.
        requests = {line.split(" ")[0] for line in page.splitlines() if line[:1] in (".", "'")}
        assert requests <= {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".nf", ".fi"}, name
        assert "Example" not in page.partition(".SH EXIT STATUS")[2], name
    assert "\\-\\-take\\-over" in pages["tlsidecar-run.1"]
    assert ".SH EXAMPLES\n.nf\ntlsidecar kill" in pages["tlsidecar-kill.1"]
    assert "pause: hold the view" in pages["tlsidecar-ui.1"]


@pytest.mark.needs("man")
def test_man_reads_them_without_a_warning(tmp_path: Path) -> None:
    for name, page in tool("man_pages").pages():
        (tmp_path / name).write_text(page)
    for page in ("tlsidecar.1", "tlsidecar-ui.1", "tlsidecar-exec.1", "tlsidecar-certs-issue.1"):
        shown = subprocess.run(
            ["man", "--warnings", "-l", tmp_path / page],
            env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stderr == ""
        assert "NAME" in shown.stdout


def test_the_bill_of_materials_is_the_lock() -> None:
    lock = (ROOT / "locks/image.txt").read_text()
    made = tool("sbom").document(lock, "0.1.0")
    assert made == tool("sbom").document(lock, "0.1.0")
    named = {(each["name"], each["version"]) for each in made["components"]}
    assert named == {(name.lower(), version) for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.M)}
    assert sum(len(each["properties"]) for each in made["components"]) == lock.count("--hash=sha256:")
    json.dumps(made)


@pytest.fixture
def single_file(tmp_path: Path) -> Path:
    package = tmp_path / "site" / "tlsidecar"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import sys\ndef main(): print(__file__, *sys.argv[1:]); sys.exit(7)\n")
    target = tmp_path / "tlsidecar.pyz"
    tool("single_file").build(tmp_path / "site", target)
    return target


def start(single_file: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, single_file, *arguments],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_file_unpacks_itself_once_and_runs(single_file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    started = [
        subprocess.Popen(
            [sys.executable, single_file, "a b", "--c"],
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)  # at once: one of them is first
    ]
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 7
        assert out.startswith(f"{cache}/tlsidecar/")
        assert out.endswith("/tlsidecar/__main__.py a b --c\n")
    (place,) = [each for each in (cache / "tlsidecar").iterdir() if (each / "tlsidecar").is_dir()]
    assert start(single_file, cache).returncode == 7
    place.chmod(0o777)
    refused = start(single_file, cache)
    assert (refused.returncode, refused.stderr) == (1, f"Error: {place} can be written by others: remove it\n")


def test_one_file_that_cannot_unpack_says_so(single_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = start(single_file, tmp_path / "file")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot unpack into ")
    assert done.stderr.count("\n") == 1


def test_a_package_of_the_same_name_is_told(tmp_path: Path) -> None:
    """`certs` and `tui` are names that others may have, too."""
    foreign = tmp_path / "certs"
    foreign.mkdir()
    (foreign / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "tlsidecar", "status"],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: the package certs in {foreign} is not tlsidecar's")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a user would install from: without environments and caches."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "certs", "tlsidecar", "tui"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout)
    return checkout


installs_from_the_index = pytest.mark.skipif(
    os.environ.get("IMAGE_TEST") != "1", reason="make image-test runs it: it installs from the index"
)


@installs_from_the_index
@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", ["pipx install '.[ui]'", "uv tool install '.[ui]'"])
def test_it_is_a_tool(checkout: Path, tmp_path: Path, command: str) -> None:
    """As docs/deploy.md has it; the installer itself comes from the index, too."""
    assert f"`{command}`" in re.sub(r"\s+", " ", (ROOT / "docs/deploy.md").read_text())
    installer = command.split()[0]
    home = tmp_path / "home"
    home.mkdir()
    path = f"{home}/.local/bin:{tmp_path}/installer/bin:{os.environ['PATH']}"
    elsewhere = ("PYTHONPATH", "VIRTUAL_ENV", "XDG_", "PIPX_", "UV_TOOL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    environment |= {"PATH": path, "HOME": str(home), "UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "1"}
    script = "\n".join(
        [
            "set -e",
            f"{sys.executable} -m venv {tmp_path}/installer",
            f"{tmp_path}/installer/bin/pip install -q {installer}",
            command,
            "tlsidecar ui --help >/dev/null",
            "tlsidecar demo --once",  # a sidecar from there, in its sandbox
        ]
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, timeout=350, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@installs_from_the_index
@pytest.mark.timeout(400)
def test_the_readme_installs_it(checkout: Path) -> None:
    section = (ROOT / "README.md").read_text().partition("## Your own service, in five minutes")[2]
    install = [line for line in section.split("```")[1].splitlines() if "venv" in line or line.startswith("pip ")]
    assert len(install) == 2
    script = "\n".join(["set -e", *install, "tlsidecar --version", "python -c 'import textual'"])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, timeout=350, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tlsidecar 0.1.0" in done.stdout
