"""A pod template with the sidecar, without it, and in every state between."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from certs.rules import Rule
from tlsidecar.config import load
from tlsidecar.inject import fragment
from tlsidecar.inject.plan import InjectError, Plan
from tlsidecar.inject.pod import inject, remove

COMPONENT = Path(__file__).parents[3] / "deploy/kubernetes/component/sidecar.yaml"
PLAN = Plan("tlsidecar:0.1.0", allow=("any",))


def template(*ports: dict[str, Any], **pod: Any) -> dict[str, Any]:
    container = {"name": "app", "image": "app:1", **({"ports": list(ports)} if ports else {})}
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], **pod}}


def upstream_of(tree: dict[str, Any]) -> str:
    (sidecar,) = tree["spec"]["initContainers"]
    (flag,) = [each for each in sidecar["args"] if each.startswith("--upstream=")]
    return str(flag.removeprefix("--upstream="))


def test_with_a_config_map_it_is_the_component() -> None:
    (patch,) = yaml.safe_load_all(COMPONENT.read_text())
    component = patch["spec"]["template"]["spec"]
    tree = template()
    assert inject(tree, Plan("tlsidecar:0.1.0", config_map="tlsidecar", secret="tlsidecar"), "web")
    del tree["spec"]["containers"]
    assert tree["spec"] == component


def test_twice_changes_nothing_and_out_again_leaves_nothing() -> None:
    tree = template({"containerPort": 8080})
    before = copy.deepcopy(tree)
    assert inject(tree, PLAN, "web")
    once = copy.deepcopy(tree)
    assert not inject(tree, PLAN, "web")
    assert tree == once
    assert remove(tree, "web")
    assert tree == before
    assert not remove(tree, "web")


def test_what_the_pod_had_is_kept_and_stays_when_it_goes_out() -> None:
    pod: dict[str, Any] = {
        "securityContext": {"fsGroup": 1000},
        "terminationGracePeriodSeconds": 5,
        "initContainers": [{"name": "migrate", "image": "app:1"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    tree = template({"containerPort": 8080}, **copy.deepcopy(pod))
    before = copy.deepcopy(tree)
    assert inject(tree, PLAN, "web")
    assert tree["spec"]["securityContext"] == {"fsGroup": 1000}
    assert tree["spec"]["terminationGracePeriodSeconds"] == 5
    assert [each["name"] for each in tree["spec"]["initContainers"]] == ["tlsidecar", "migrate"]
    assert remove(tree, "web")
    assert tree == before


def test_each_workload_has_an_identity_of_its_own() -> None:
    tree = template({"containerPort": 8080})
    inject(tree, PLAN, "shop")
    names = [each["secret"]["secretName"] for each in tree["spec"]["volumes"] if "secret" in each]
    assert names == ["shop-tlsidecar"]


def test_an_older_sidecar_is_brought_up_to_date() -> None:
    tree = template({"containerPort": 8080})
    inject(tree, PLAN, "web")
    assert inject(tree, Plan("tlsidecar:0.2.0", config_map="mtls"), "web")
    (sidecar,) = tree["spec"]["initContainers"]
    assert sidecar["image"] == "tlsidecar:0.2.0"
    assert "args" not in sidecar
    assert inject(tree, PLAN, "web")
    assert "tlsidecar-config" not in [each["name"] for each in tree["spec"]["volumes"]]


@given(left=st.sets(st.sampled_from(["container", *fragment.VOLUMES])))
def test_half_removed_it_is_made_whole_or_taken_out(left: set[str]) -> None:
    tree = template({"containerPort": 8080})
    inject(tree, PLAN, "web")
    whole = copy.deepcopy(tree)
    spec = tree["spec"]
    if "container" in left:
        del spec["initContainers"]
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] not in left] or None
    torn = copy.deepcopy(tree)
    inject(tree, PLAN, "web")
    assert tree["spec"]["initContainers"] == whole["spec"]["initContainers"]
    assert {each["name"] for each in tree["spec"]["volumes"]} == {each["name"] for each in whole["spec"]["volumes"]}
    remove(torn, "web")
    torn["spec"] = {key: value for key, value in torn["spec"].items() if value is not None}
    assert torn == template({"containerPort": 8080})


@pytest.mark.parametrize(
    ("ports", "upstream"),
    [
        ([{"containerPort": 3000}], 3000),
        ([{"containerPort": 3000}, {"containerPort": 3000, "protocol": "UDP"}], 3000),
        ([{"name": "metrics", "containerPort": 9090}, {"name": "http", "containerPort": 80}], 80),
    ],
)
def test_the_applications_port_is_found(ports: list[dict[str, Any]], upstream: int) -> None:
    tree = template(*ports)
    inject(tree, PLAN, "web")
    assert upstream_of(tree) == f"127.0.0.1:{upstream}"


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (template(), "names no port: say which one with --upstream-port"),
        (template({"containerPort": 1}, {"containerPort": 2}), "several ports, 1, 2"),
        (template({"containerPort": 8443}), "'app' has port 8443: choose another with --port"),
        (template({"containerPort": "http"}), "not a port: 'http'"),
        (template({"containerPort": 80}, os={"name": "windows"}), "Windows"),
        (template({"containerPort": 80}, volumes={}), "volumes is not a list"),
        (template({"containerPort": 80}, initContainers=["x"]), "initContainers holds something that is not a mapping"),
        (template({"containerPort": 80}, securityContext=[]), "securityContext is not a mapping"),
        ({"spec": {"containers": []}}, "no containers"),
        ({"spec": {"containers": [{"name": "tlsidecar"}]}}, "among `containers`"),
        ({"spec": None}, "no pod in it"),
        (
            {"metadata": {"annotations": []}, "spec": {"containers": [{"ports": [{"containerPort": 80}]}]}},
            "annotations",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(tree: dict[str, Any], said: str) -> None:
    before = copy.deepcopy(tree)
    with pytest.raises(InjectError, match=r"^web: ") as failure:
        inject(tree, PLAN, "web")
    assert said in str(failure.value)
    assert tree == before


def test_the_flags_are_a_configuration(tmp_path: Path) -> None:
    tree = template({"containerPort": 8080})
    inject(tree, Plan("t", allow=("spiffe://td/ns/*/sa/x", "dns:a.b")), "web")
    (sidecar,) = tree["spec"]["initContainers"]
    flags: dict[str, Any] = {}
    for word in sidecar["args"][1:]:
        name, _, value = word.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if key in ("allow", "upstream"):
            flags.setdefault(key, []).append(value)
        else:
            flags[key] = value or True
    settings = load(None, flags, {"XDG_RUNTIME_DIR": str(tmp_path)})
    (listener,) = settings.listeners
    assert (str(listener.listen), [str(each) for each in listener.upstreams]) == ("0.0.0.0:8443", ["127.0.0.1:8080"])
    assert settings.identity.key_group_readable
    assert all(Rule.parse(rule) for rule in listener.allow)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": ""}, "image"),
        ({"image": "a b"}, "image"),
        ({"secret": "Not_A_Name"}, "Secret"),
        ({"config_map": "../x", "allow": ()}, "ConfigMap"),
        ({"allow": ()}, "--allow"),
        ({"config_map": "x"}, "leave out --allow"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InjectError, match=said):
        Plan(**({"image": "t", "allow": ("any",)} | changes))
