"""Compose file and Kubernetes manifests: they parse, hang together, keep what the image asks for, and run commands
that exist."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tlsidecar.config import load
from tlsidecar.settings import Limits

yaml = pytest.importorskip("yaml")

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(DEPLOY.rglob("*.yaml"))


def documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def sidecar_pod() -> dict[str, Any]:
    (patch,) = documents(KUBERNETES / "component/sidecar.yaml")
    pod = patch["spec"]["template"]["spec"]
    assert isinstance(pod, dict)
    return pod


def sidecar() -> dict[str, Any]:
    (container,) = sidecar_pod()["initContainers"]
    assert isinstance(container, dict)
    return container


def compose_sidecar() -> dict[str, Any]:
    (compose,) = documents(DEPLOY / "compose.yaml")
    service = compose["services"]["tlsidecar"]
    assert isinstance(service, dict)
    return service


def _commands(tree: Any) -> Iterator[list[str]]:
    """Every list of words that starts our program, wherever it stands."""
    if isinstance(tree, dict):
        for value in tree.values():
            yield from _commands(value)
    elif isinstance(tree, list):
        words = tree[1:] if tree[:1] == ["CMD"] else tree
        if words[:1] == ["tlsidecar"] and len(words) > 1:
            yield words
        for value in tree:
            yield from _commands(value)


COMMANDS = sorted({tuple(words) for path in MANIFESTS for document in documents(path) for words in _commands(document)})


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_it_parses_and_every_object_says_what_it_is(path: Path) -> None:
    found = documents(path)
    assert found
    if KUBERNETES in path.parents:
        assert all({"apiVersion", "kind"} <= document.keys() for document in found)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_commands_in_them_exist(command: tuple[str, ...]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tlsidecar", command[1], "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert all(flag in shown.stdout for flag in command[2:])


def test_there_are_commands_to_look_at() -> None:
    assert {("tlsidecar", "health", "--live"), ("tlsidecar", "health", "--ready")} <= set(COMMANDS)


def test_the_sidecar_starts_first_and_ends_last() -> None:
    assert sidecar()["restartPolicy"] == "Always"
    assert sidecar()["startupProbe"]["exec"]["command"] == ["tlsidecar", "health", "--ready"]
    assert sidecar_pod()["terminationGracePeriodSeconds"] > 2 * Limits().drain_timeout_s


def test_a_failed_renewal_restarts_nothing() -> None:
    assert sidecar()["livenessProbe"]["exec"]["command"] == ["tlsidecar", "health", "--live"]


def test_the_sidecar_passes_the_restricted_pod_security_standard() -> None:
    security = sidecar()["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["runAsUser"] == sidecar_pod()["securityContext"]["fsGroup"] == 65532


def test_every_mount_has_its_volume_and_none_is_a_sub_path() -> None:
    volumes = {volume["name"]: volume for volume in sidecar_pod()["volumes"]}
    mounts = sidecar()["volumeMounts"]
    assert {mount["name"] for mount in mounts} == set(volumes)
    assert not any("subPath" in mount for mount in mounts), "a subPath mount never sees a renewed certificate"
    assert volumes["tlsidecar-identity"]["secret"]["defaultMode"] == 0o440


def test_the_example_configuration_loads_and_reads_what_is_mounted() -> None:
    settings = load(KUBERNETES / "example/tlsidecar.toml", {}, {})
    mounted = {mount["name"]: Path(mount["mountPath"]) for mount in sidecar()["volumeMounts"]}
    identity = settings.identity
    for file in (identity.cert, identity.key, *(trusted.path for trusted in identity.trust)):
        assert file is not None
        assert file.parent == mounted["tlsidecar-identity"]
    assert identity.key_group_readable
    assert mounted["tlsidecar-run"] in settings.admin.socket.parents
    assert [listener.listen.port for listener in settings.listeners] == [sidecar()["ports"][0]["containerPort"]]


def test_what_is_scraped_is_what_the_example_serves() -> None:
    settings = load(KUBERNETES / "example/tlsidecar.toml", {}, {})
    assert settings.metrics.listen is not None
    (patch,) = documents(KUBERNETES / "monitoring/metrics.yaml")
    template = patch["spec"]["template"]
    (port,) = template["spec"]["initContainers"][0]["ports"]
    assert port["containerPort"] == settings.metrics.listen.port
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(settings.metrics.listen.port)
    (monitor,) = documents(KUBERNETES / "monitoring/podmonitor.yaml")
    assert [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == [port["name"]]
    (policy,) = documents(KUBERNETES / "monitoring/networkpolicy.yaml")
    named = {each["port"] for rule in policy["spec"]["ingress"] for each in rule["ports"]}
    assert named == {port["name"], sidecar()["ports"][0]["name"]}
    labels = template["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"] == policy["spec"]["podSelector"]["matchLabels"] == labels


def test_compose_runs_it_as_the_image_is_meant_to_run() -> None:
    service = compose_sidecar()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["stop_grace_period"].removesuffix("s")) > Limits().drain_timeout_s
    (compose,) = documents(DEPLOY / "compose.yaml")
    assert (DEPLOY / compose["services"]["pki"]["build"]["context"] / "Dockerfile").exists()


def test_compose_brings_every_file_it_names() -> None:
    (compose,) = documents(DEPLOY / "compose.yaml")
    named = [volume.split(":") for service in compose["services"].values() for volume in service.get("volumes", ())]
    files = [source for source, *_ in named if source.startswith((".", "/"))]
    assert files
    assert [file for file in files if not (DEPLOY / file).is_file()] == []
    assert {source for source, *_ in named} - set(files) == set(compose["volumes"])


def test_the_configuration_of_compose_loads(tmp_path: Path) -> None:
    settings = load(DEPLOY / "compose/tlsidecar.toml", {}, {})
    assert settings.identity.authority == Path("/var/lib/tlsidecar/pki")
    assert [str(listener.listen.port) for listener in settings.listeners] == [
        compose_sidecar()["ports"][0].split(":")[1]
    ]


@pytest.mark.needs("kubectl")
def test_the_component_reaches_the_deployment() -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / "example"], capture_output=True, text=True, timeout=60, check=False
    )
    assert built.returncode == 0, built.stderr
    objects = {document["kind"]: document for document in yaml.safe_load_all(built.stdout)}
    assert set(objects) == {"ConfigMap", "Service", "Deployment", "Certificate", "PodMonitor", "NetworkPolicy"}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert [container["name"] for container in itertools.chain(pod["initContainers"], pod["containers"])] == [
        "tlsidecar",
        "web",
    ]
    config = next(volume for volume in pod["volumes"] if volume["name"] == "tlsidecar-config")
    assert config["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    secret = next(volume for volume in pod["volumes"] if volume["name"] == "tlsidecar-identity")
    assert secret["secret"]["secretName"] == objects["Certificate"]["spec"]["secretName"]
