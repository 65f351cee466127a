"""The Kubernetes manifests against Kubernetes' own schemas, where no unknown field passes. `make image-test`: the
validator (kubernetes-validate) has an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
VALIDATOR = Path(sys.prefix) / "manifests" / "bin" / "kubernetes-validate"
VERSIONS = ("1.29", "1.33", "1.36")  # native sidecars by default, stable, new

pytestmark = pytest.mark.skipif(
    os.environ.get("IMAGE_TEST") != "1", reason="make image-test runs it: it installs a validator"
)


def merged(target: Any, patch: Any) -> Any:
    """A strategic merge, as far as the component needs one: lists are of objects with names."""
    if isinstance(target, dict) and isinstance(patch, dict):
        return target | {key: merged(target[key], value) if key in target else value for key, value in patch.items()}
    if isinstance(target, list) and isinstance(patch, list):
        if not all(isinstance(each, dict) and "name" in each for each in (*target, *patch)):
            return [*patch, *target]
        named = {each["name"]: each for each in target}
        changed = [merged(named.pop(each["name"], {}), each) for each in patch]
        return [*changed, *named.values()]
    return patch


def example() -> list[Any]:
    """The example with its component, as kustomize makes it, without what cert-manager defines."""
    documents = [*yaml.safe_load_all((KUBERNETES / "example/web.yaml").read_text())]
    documents += yaml.safe_load_all((KUBERNETES / "monitoring/networkpolicy.yaml").read_text())
    for name in ("component/sidecar.yaml", "monitoring/metrics.yaml"):
        (patch,) = yaml.safe_load_all((KUBERNETES / name).read_text())
        patch["metadata"].pop("name")
        documents = [merged(each, patch) if each["kind"] == "Deployment" else each for each in documents]
    return documents


def rejected(manifests: Path, version: str) -> str:
    done = subprocess.run(
        [VALIDATOR, "--strict", "--kubernetes-version", version, manifests],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_kubernetes_takes(version: str, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all(example()))
    assert rejected(manifests, version) == ""


def test_what_it_does_not_know_is_found(tmp_path: Path) -> None:
    documents = example()
    deployment = next(each for each in documents if each["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["initContainers"][0]["restartPolice"] = "Always"
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all(documents))
    assert "restartPolice" in rejected(manifests, VERSIONS[-1])


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl with kustomize 3.7 or newer")
def test_kustomize_makes_the_same_of_it(tmp_path: Path) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / "example"], capture_output=True, text=True, timeout=60, check=False
    )
    if "component" in built.stderr.lower():
        pytest.skip("this kubectl is older than components")
    assert built.returncode == 0, built.stderr
    found = [each for each in yaml.safe_load_all(built.stdout) if each["kind"] not in ("Certificate", "PodMonitor")]
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all(found))
    assert rejected(manifests, VERSIONS[-1]) == ""
    ours = next(each for each in example() if each["kind"] == "Deployment")
    theirs = next(each for each in found if each["kind"] == "Deployment")
    for pod in (ours["spec"]["template"]["spec"], theirs["spec"]["template"]["spec"]):
        pod["volumes"] = sorted(volume["name"] for volume in pod["volumes"])
    assert theirs == ours
