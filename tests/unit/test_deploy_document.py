"""docs/deploy.md says of each of its commands what runs it, and names only tests that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.commands import tlsidecar

ROOT = Path(__file__).parents[2]
PAGE, _, TABLE = (ROOT / "docs" / "deploy.md").read_text().partition("## What runs these commands")
ROWS = [
    [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TABLE.splitlines()
    if line.startswith("| `")
]
PROGRAMS = ("tlsidecar", "make", "pip", "pipx", "uv", "systemctl", "docker", "podman", "kubectl")

POD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: app  # listens on 127.0.0.1
          image: web:1
          ports:
            - containerPort: 8080
"""


def lines() -> list[str]:
    """Those of the blocks, without what is said beside them."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
    return [re.sub(r"\s+", " ", line.partition("  #")[0]).strip() for line in blocks.splitlines()]


def named() -> list[str]:
    """Those in the sentences: with words of their own, or commands of ours."""
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    found = [re.sub(r"\s+", " ", each) for each in re.findall(r"`([^`]+)`", text)]
    return [each for each in found if each.split(" ")[0] in PROGRAMS and " " in each and each != "pip install"]


def test_each_command_is_in_the_table_once() -> None:
    listed = [command for row in ROWS for command in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(listed) == sorted(set(lines()) | set(named()))


def test_each_has_a_test_that_exists_or_says_why_not() -> None:
    for commands, proof in ROWS:
        tests = re.findall(r"`(tests/[^`]+)`", proof)
        assert tests or proof == "a step of continuous integration", commands
        for test in tests:
            file, _, function = test.partition("::")
            assert f"def {function or 'test_'}" in (ROOT / file).read_text(), test
    assert "make image-test" in (ROOT / ".ci" / "run").read_text()


def test_the_lines_of_inject_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they stand: into a manifest, with a ConfigMap instead, and out again."""
    monkeypatch.chdir(tmp_path)
    manifest = tmp_path / "web.yaml"
    manifest.write_text(POD)
    first, second, third = (line for line in lines() if line.startswith("tlsidecar inject"))
    command, _, receiver = first.partition(" | ")
    assert receiver == "kubectl apply -f -"  # which is not there
    put = tlsidecar(*shlex.split(command)[1:])
    assert (put.code, put.err) == (0, "put into Deployment/web\n")
    assert "--allow=spiffe://cluster.local/ns/*/sa/frontend" in put.out
    assert "- name: app  # listens on 127.0.0.1" in put.out
    put = tlsidecar(*shlex.split(second)[1:])
    assert put.code == 0
    assert "--allow" not in put.out
    manifest.write_text(put.out)
    out = tlsidecar(*shlex.split(third)[1:])
    assert (out.code, out.out) == (0, POD)
