"""What the targets of ``tlsidecar ui`` mean: the commands that they become, and what they must not become."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.reach.endpoints import CommandEndpoint, SocketEndpoint
from tui.reach.processes import Processes
from tui.reach.sources import Folder, OneEndpoint, Pods
from tui.reach.targets import BadTarget, parse_command, parse_target

SSH = (
    "ssh -T -a -x -o BatchMode=yes -o ConnectTimeout=10 -o ClearAllForwardings=yes -o RemoteCommand=none {} "
    "tlsidecar admin-pipe"
)


def endpoint(text: str) -> CommandEndpoint:
    source = parse_target(text, Processes())
    assert isinstance(source, OneEndpoint)
    assert isinstance(source.endpoint, CommandEndpoint)
    return source.endpoint


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("ssh://web-1", SSH.format("-- web-1")),
        ("ssh://ops@web-1:2222", SSH.format("-p 2222 -l ops -- web-1")),
        ("ssh://[::1]:22", SSH.format("-p 22 -- ::1")),
        ("ssh://ops@corp.example@web-1", SSH.format("-l ops@corp.example -- web-1")),
        ("ssh://web-1/run/web/admin.sock", SSH.format("-- web-1") + " --socket /run/web/admin.sock"),
        ("kube://shop/web-1", "kubectl --namespace=shop exec -i web-1 --container=tlsidecar -- tlsidecar admin-pipe"),
        (
            "kube://prod/shop/web-1#proxy",
            "kubectl --context=prod --namespace=shop exec -i web-1 --container=proxy -- tlsidecar admin-pipe",
        ),
        (
            "kube://arn%3Aaws%3Aeks%3Acluster%2Fprod/shop/web-1",
            "kubectl --context=arn:aws:eks:cluster/prod --namespace=shop exec -i web-1 --container=tlsidecar -- "
            "tlsidecar admin-pipe",
        ),
        ("docker://shop_web.1", "docker exec -i shop_web.1 tlsidecar admin-pipe"),
    ],
)
def test_what_a_target_runs(target: str, command: str) -> None:
    assert endpoint(target).command == tuple(command.split())
    assert endpoint(target).name == target


def test_the_far_shell_gets_the_socket_quoted() -> None:
    assert endpoint("ssh://web/run/a%20b;%24(id)'/s").command[-1] == shlex.quote("/run/a b;$(id)'/s")


@pytest.mark.parametrize(
    ("target", "namespace", "selector", "context"),
    [
        ("kube://shop/?app=web", "shop", "app=web", None),
        ("kube://shop?app=web", "shop", "app=web", None),
        (
            "kube://prod/shop/?app=web&app.kubernetes.io%2Ftier=front",
            "shop",
            "app=web,app.kubernetes.io/tier=front",
            "prod",
        ),
    ],
)
def test_a_selector_lists_running_pods(target: str, namespace: str, selector: str, context: str | None) -> None:
    source = parse_target(target, Processes())
    assert isinstance(source, Pods)
    assert [f"--context={context}"] * (context is not None) == [each for each in source.listing if "--context" in each]
    assert {f"--namespace={namespace}", f"--selector={selector}", "--output=name"} < set(source.listing)
    assert source.into("web-1")[-4:] == ("--container=tlsidecar", "--", "tlsidecar", "admin-pipe")


def test_paths_are_sockets_or_directories_of_them(tmp_path: Path) -> None:
    for text in ("admin.sock", "unix:admin.sock", "unix://admin.sock", "./a/b", "ssh:/odd"):
        source = parse_target(text, Processes())
        assert isinstance(source, OneEndpoint)
        assert isinstance(source.endpoint, SocketEndpoint)
    assert isinstance(parse_target(str(tmp_path), Processes()), Folder)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("", "a target is a socket"),
        ("http://web-1", "known are ssh"),
        ("ssh://", "not a host"),
        ("ssh://-oProxyCommand=id", "not a host"),
        ("ssh://web 1", "not a host"),
        ("ssh://web;id", "not a host"),
        ("ssh://$(id)", "not a host"),
        ("ssh://-l@web", "not a user"),
        ("ssh://@web", "not a user"),
        ("ssh://web:", "no port after the colon"),
        ("ssh://web:0", "a port is"),
        ("ssh://web:65536", "a port is"),
        ("ssh://web:२२", "a port is"),
        ("ssh://[::1", "in brackets"),
        ("ssh://[web]", "in brackets"),
        ("ssh://::1", "not a host"),
        ("ssh://web/a?b", "neither"),
        ("ssh://web/run/%0a", "control characters"),
        ("ssh://web\n", "control characters"),
        ("kube://web-1", "is wanted"),
        ("kube://a/b/c/d", "is wanted"),
        ("kube://shop/", "not a pod"),
        ("kube://shop/--help", "not a pod"),
        ("kube://-n/web-1", "not a namespace"),
        ("kube://SHOP/web-1", "not a namespace"),
        ("kube://--kubeconfig=x/shop/web-1", "not a context"),
        ("kube:///shop/web-1", "not a context"),
        ("kube://shop/web-1#-c", "not a container"),
        ("kube://shop/?", "a label is"),
        ("kube://shop/?app", "a label is"),
        ("kube://shop/?app=a,b", "a label is"),
        ("kube://shop/?-l=a", "a label is"),
        ("docker://", "wants a container"),
        ("docker://--privileged", "wants a container"),
        ("docker://a b", "wants a container"),
    ],
)
def test_what_means_nothing_is_named(target: str, told: str) -> None:
    with pytest.raises(BadTarget, match=told) as caught:
        parse_target(target, Processes())
    assert str(caught.value).isprintable()


@given(scheme=st.sampled_from(["ssh://", "kube://", "docker://", "kube://n/?", "ssh://h/"]), rest=st.text(max_size=60))
def test_whatever_is_written_no_option_comes_of_it(scheme: str, rest: str) -> None:
    try:
        source = parse_target(scheme + rest, Processes())
    except BadTarget:
        return
    if isinstance(source, Pods):
        commands = [source.listing, source.into("pod")]
    else:
        assert isinstance(source, OneEndpoint)
        assert isinstance(source.endpoint, CommandEndpoint)
        commands = [source.endpoint.command]
    ours = ("-T", "-a", "-x", "-o", "-p", "-l", "--", "-i", "--socket", "--output=name", "--request-timeout=10s")
    prefixes = ("--context=", "--namespace=", "--container=", "--selector=", "--field-selector=status.phase=Running")
    for command in commands:
        assert all("\0" not in word and "\n" not in word for word in command)
        options = [word for word in command[1:] if word.startswith("-")]
        assert all(word in ours or word.startswith(prefixes) for word in options), command


def test_a_command_is_split_and_not_run_by_a_shell() -> None:
    source = parse_command("ssh -J 'a b' web tlsidecar admin-pipe; id", Processes())
    assert isinstance(source, OneEndpoint)
    assert isinstance(source.endpoint, CommandEndpoint)
    assert source.endpoint.command == ("ssh", "-J", "a b", "web", "tlsidecar", "admin-pipe;", "id")


@pytest.mark.parametrize("text", ["", "   ", "ssh 'web", "''", "a\0b"])
def test_what_is_no_command_is_named(text: str) -> None:
    with pytest.raises(BadTarget) as caught:
        parse_command(text, Processes())
    assert str(caught.value).isprintable()
