"""Manifests as people write them: several documents, lists, comments, and texts that are none."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tlsidecar.inject.manifests import apply, templates
from tlsidecar.inject.plan import InjectError, Plan
from tlsidecar.inject.pod import Tree, inject, remove

PLAN = Plan("tlsidecar:0.1.0", allow=("any",), upstream_port=8080)


def put(template: Tree, name: str) -> bool:
    return inject(template, PLAN, name)


def manifest(kind: str, pod_at: str) -> str:
    lines = [f"kind: {kind}", "metadata:", "  name: web", *pod_at.splitlines()]
    return "\n".join(lines) + "\n"


POD = "spec:\n  containers:\n  - name: app  # ours\n    image: app:1\n"
TEMPLATE = "spec:\n  template:\n    spec:\n      containers:\n      - name: app\n        image: app:1\n"
CRON = (
    "spec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers:\n"
    "          - {name: app, image: 'app:1'}\n"
)
KINDS = {
    "Pod": POD,
    "CronJob": CRON,
    **dict.fromkeys(["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController"], TEMPLATE),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_workload_gets_it_and_loses_it_again(kind: str) -> None:
    text = manifest(kind, KINDS[kind])
    with_it = apply(text, put)
    assert with_it.changed == [f"{kind}/web"]
    (tree,) = yaml.safe_load_all(with_it.text)
    ((_, _, template),) = templates(tree)
    assert template["spec"]["initContainers"][0]["name"] == "tlsidecar"
    again = apply(with_it.text, put)
    assert again.text == with_it.text
    assert again.unchanged == [f"{kind}/web"]
    assert yaml.safe_load(apply(with_it.text, remove).text) == yaml.safe_load(text)


def test_everything_else_stays_to_the_letter() -> None:
    service = "# a service\nkind:   Service\nmetadata: {name: web,   labels: { a: 'b' }}\n"
    text = f"{service}---\n# the app\n{manifest('Deployment', TEMPLATE)}--- # the end\n{service}...\n---\n# nothing\n"
    result = apply(text, put)
    assert result.text.startswith(f"{service}---\n# the app\nkind: Deployment\n")
    assert result.text.endswith(f"--- # the end\n{service}...\n---\n# nothing\n")
    assert apply(result.text, remove).text == text


def test_comments_quotes_and_indentation_are_kept() -> None:
    text = (
        manifest("Pod", POD)
        .replace("app:1", '"app:1"')
        .replace("  - name", "    - name")
        .replace("    image", "      image")
    )
    result = apply(text, put).text
    assert '    - name: app  # ours\n      image: "app:1"\n' in result
    assert apply(result, remove).text == text


def test_a_list_and_text_with_marks_in_it() -> None:
    script = "    args:\n    - |\n      cat <<X\n       ---\n      X\n"
    items = "".join(f"- {manifest('Pod', POD + script)}".replace("\n", "\n  ").rstrip() + "\n" for _ in range(2))
    result = apply(f"kind: List\nitems:\n{items}", put)
    assert result.changed == ["Pod/web", "Pod/web"]
    assert all("---" in item["spec"]["containers"][0]["args"][0] for item in yaml.safe_load(result.text)["items"])


def test_a_thousand_documents() -> None:
    text = "---\n".join([manifest("Pod", POD)] * 20 + ["kind: ConfigMap\ndata:\n  a: b\n"] * 980)
    result = apply(text, put)
    assert len(result.changed) == 20
    assert len(list(yaml.safe_load_all(result.text))) == 1000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just a text\n", "document 1, line 1: not a Kubernetes object: a mapping"),
        ("- a\n- b\n", "a mapping"),
        ("a: b\n", "has no kind"),
        ("kind: [x]\n", "has no kind"),
        ("kind: Pod\n\tmetadata: x\n", "document 1, line 1: not YAML: "),
        ("kind: Service\n---\nkind: Pod\nmetadata: {name: a\n", "document 2, line 2: not YAML"),
        ("a: &a [*a]\nkind: Service\nb: [", "not YAML"),
        ("kind: Deployment\nmetadata: {name: web}\n", "Deployment/web: there is no pod template in it (spec.template)"),
        ("kind: Pod\nspec: {}\n", "Pod: it has no name"),
        ("kind: PodList\nitems: [1]\n", "PodList: an item is not a mapping"),
        ("kind: Pod\nkind: Pod\n", "not YAML: "),
        ("kind: !!python/object:os.system x\n", "has no kind"),
    ],
)
def test_what_is_no_manifest_is_said(text: str, said: str) -> None:
    with pytest.raises(InjectError) as failure:
        apply(text, put)
    assert said in str(failure.value)


def test_an_error_names_the_line_its_document_begins_on() -> None:
    with pytest.raises(InjectError, match="document 2, line 4: "):
        apply("kind: Service\n# x\n# y\n---\nnot: [closed\n", put)


@settings(max_examples=60)
@given(st.text(alphabet=st.sampled_from("kind: PodspecList-#\n\t[]{}&*!|>'\"%@`x1---..."), max_size=80))
def test_any_text_is_a_manifest_or_refused(text: str) -> None:
    try:
        result = apply(text, put)
    except InjectError:
        return
    assert result.text == text or result.changed
