"""Names that become arguments of other programs: none is an option, none is more than a name to a shell."""

from __future__ import annotations

import pytest

from tui.reach import names


@pytest.mark.parametrize(
    "text", ["web-1", "web_1.prod.example", "10.0.0.7", "::1", "fe80::1%eth0", "2001:db8::10.0.0.1"]
)
def test_a_host(text: str) -> None:
    assert names.is_host(text)


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=id", "a b", "a;id", "$(id)", "a/b", "a\n", "x" * 255, ":" * 46, "ä"]
)
def test_no_host(text: str) -> None:
    assert not names.is_host(text)


def test_a_user_is_a_word() -> None:
    assert all(map(names.is_user, ("ops", "ops@corp", "_svc", "a+b-c.d")))
    assert not any(map(names.is_user, ("", "-l", "a b", "a:b", "x" * 65, "a`id`")))


def test_a_pod_is_called_as_kubernetes_allows() -> None:
    assert all(map(names.is_pod_name, ("web-5d9", "a", "a.b", "x" * 253)))
    assert not any(map(names.is_pod_name, ("", "-web", "web-", "Web", "a_b", "a/b", "x" * 254)))


def test_a_context_may_be_called_anything_that_is_no_option() -> None:
    assert names.is_context("arn:aws:eks:eu-central-1:123:cluster/prod")
    assert not any(map(names.is_context, ("", "--kubeconfig=/tmp/x", "a\x1b[2J", "a\nb")))


def test_a_label_has_a_key_and_may_have_no_value() -> None:
    assert names.is_label("app.kubernetes.io/name", "web")
    assert names.is_label("app", "")
    for key, value in (("", "web"), ("app", "-web"), ("app", "a,b"), ("/name", "x"), ("app", "x" * 64), ("a b", "x")):
        assert not names.is_label(key, value), (key, value)


def test_a_container() -> None:
    assert all(map(names.is_container, ("web_1", "4f66ad9a", "x" * 255)))
    assert not any(map(names.is_container, ("", "-it", "_x", "a b", "a/b", "x" * 256)))
