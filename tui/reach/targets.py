"""The targets of ``tlsidecar ui`` as they are written, and what each means:

| target | reached by |
|---|---|
| ``/run/web/admin.sock``, ``unix:/run/web/admin.sock`` | that socket |
| ``/run/sidecars`` | each socket in that directory |
| ``ssh://[USER@]HOST[:PORT][/SOCKET]`` | ``ssh`` |
| ``kube://[CONTEXT/]NAMESPACE/POD[#CONTAINER]`` | ``kubectl exec`` |
| ``kube://[CONTEXT/]NAMESPACE/?LABEL=VALUE[&…][#CONTAINER]`` | the same, in each running pod with these labels |
| ``docker://CONTAINER`` | ``docker exec`` |

A part may be percent-encoded. No shell is asked here; ssh hands its command to the shell of the other side, so what
stands in it is quoted.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import unquote

from tui.reach.endpoints import CommandEndpoint, SocketEndpoint
from tui.reach.names import is_container, is_context, is_host, is_label, is_pod_name, is_user
from tui.reach.processes import Processes
from tui.reach.sources import Folder, OneEndpoint, Pods, Source
from tui.text import SafeText, safe_text

_PIPE = ("tlsidecar", "admin-pipe")
_SIDECAR_CONTAINER = "tlsidecar"
_NAME_CHARACTERS = 400
_CONNECT_S = 10

# Nobody is at the terminal for questions; the user's forwardings belong to their own sessions, and a command in their
# configuration would take the place of ours.
_SSH = (
    *("ssh", "-T", "-a", "-x", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_S}"),
    *("-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none"),
)


class BadTarget(Exception):
    """A target, or a command, that means nothing; the message names it."""


def parse_target(text: str, processes: Processes) -> Source:
    """What ``text`` means. Raises BadTarget."""
    scheme, separator, rest = text.partition("://")
    try:
        if not text:
            raise ValueError("a target is a socket, a directory, or begins with ssh://, kube:// or docker://")
        if not separator or "/" in scheme:
            return local(Path(text.removeprefix("unix:")))
        if not text.isprintable():
            raise ValueError("there are control characters in it")
        match scheme:
            case "unix":
                return local(Path(rest))
            case "ssh":
                return _ssh(text, rest, processes)
            case "kube":
                return _kube(text, rest, processes)
            case "docker":
                return _docker(text, rest, processes)
            case _:
                raise ValueError("known are ssh://, kube://, docker:// and paths")
    except ValueError as error:
        raise BadTarget(f"{safe_text(text, _NAME_CHARACTERS) or 'an empty target'}: {error}") from None


def parse_command(text: str, processes: Processes) -> Source:
    """A command line that runs ``admin-pipe`` somewhere; split into words as a shell does, but run without one. Raises
    BadTarget."""
    shown = safe_text(text, _NAME_CHARACTERS)
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise BadTarget(f"{shown}: {str(error).lower()}") from None
    if not words or not words[0] or "\0" in text:
        raise BadTarget(f"{shown or 'an empty text'} is no command")
    return OneEndpoint(CommandEndpoint(shown, shown, words, processes))


def local(path: Path) -> Source:
    """A socket of this machine, or a directory of them."""
    return Folder(path) if path.is_dir() else OneEndpoint(SocketEndpoint(path))


def _ssh(text: str, rest: str, processes: Processes) -> Source:
    place, slash, path = rest.partition("/")
    user, at, where = place.rpartition("@")
    host, port = _host_and_port(where)
    if "?" in rest or "#" in rest:
        raise ValueError("ssh://[USER@]HOST[:PORT][/SOCKET] has neither ? nor #")
    if not is_host(host):
        raise ValueError("that is not a host")
    if at and not is_user(user):
        raise ValueError("that is not a user")
    command = [*_SSH]
    if port:
        if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("a port is a number from 1 to 65535")
        command += ["-p", str(int(port))]
    if at:
        command += ["-l", user]
    command += ["--", host, *_PIPE]
    if path:
        command += ["--socket", shlex.quote(_decoded(slash + path))]
    label = SafeText(text.removeprefix("ssh://"))
    return OneEndpoint(CommandEndpoint(safe_text(text), safe_text(label), tuple(command), processes))


def _host_and_port(where: str) -> tuple[str, str]:
    """``host``, ``host:port``, ``[::1]:port``."""
    if where.startswith("["):
        host, bracket, after = where[1:].partition("]")
        if not bracket or ":" not in host or (after and not after.startswith(":")):
            raise ValueError("an IPv6 address stands in brackets: [::1]:22")
        return host, _given_port(after)
    host, colon, port = where.partition(":")
    return host, _given_port(colon + port)


def _given_port(text: str) -> str:
    if text == ":":
        raise ValueError("there is no port after the colon")
    return text[1:]


def _kube(text: str, rest: str, processes: Processes) -> Source:
    rest, _, container = rest.partition("#")
    rest, question, query = rest.partition("?")
    parts = [_decoded(part) for part in rest.removesuffix("/" if question else "").split("/")]
    pod = None if question else parts.pop()
    if not 1 <= len(parts) <= 2:
        raise ValueError("kube://[CONTEXT/]NAMESPACE/POD or kube://[CONTEXT/]NAMESPACE/?LABEL=VALUE is wanted")
    namespace = parts[-1]
    container = _decoded(container) or _SIDECAR_CONTAINER
    for what, name in (("namespace", namespace), ("pod", pod), ("container", container)):
        if name is not None and not is_pod_name(name):
            raise ValueError(f"that is not a {what}: '{safe_text(name, 80)}'")
    kubectl = ["kubectl"]
    if len(parts) == 2:
        if not is_context(parts[0]):
            raise ValueError(f"that is not a context: '{safe_text(parts[0], 80)}'")
        kubectl.append(f"--context={parts[0]}")
    kubectl.append(f"--namespace={namespace}")

    def into(name: str) -> tuple[str, ...]:
        return (*kubectl, "exec", "-i", name, f"--container={container}", "--", *_PIPE)

    if pod is not None:
        return OneEndpoint(CommandEndpoint(safe_text(text), safe_text(pod), into(pod), processes))
    listing = (
        *(*kubectl, "get", "pods", f"--selector={_selector(query)}", "--field-selector=status.phase=Running"),
        *("--output=name", f"--request-timeout={_CONNECT_S}s"),
    )
    return Pods(safe_text(text), listing, into, processes)


def _selector(query: str) -> str:
    labels = []
    for each in query.split("&"):
        key, equals, value = each.partition("=")
        key, value = _decoded(key), _decoded(value)
        if not equals or not is_label(key, value):
            raise ValueError(f"a label is LABEL=VALUE, not '{safe_text(each, 80)}'")
        labels.append(f"{key}={value}")
    return ",".join(labels)


def _docker(text: str, rest: str, processes: Processes) -> Source:
    if not is_container(rest):
        raise ValueError("docker://CONTAINER wants a container's name or id")
    command = ("docker", "exec", "-i", rest, *_PIPE)
    return OneEndpoint(CommandEndpoint(safe_text(text), safe_text(rest), command, processes))


def _decoded(part: str) -> str:
    decoded = unquote(part, errors="strict")
    if decoded and not decoded.isprintable():
        raise ValueError("there are control characters in it")
    return decoded
