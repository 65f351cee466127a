"""One pod template, changed in place: the sidecar in, or out again, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, MutableSequence
from typing import Any

from tlsidecar.inject import fragment
from tlsidecar.inject.plan import InjectError, Plan

# What we set beside the container and its volumes, and so may take out again. Its value names the keys.
ANNOTATION = "tlsidecar/injected"

_GROUP_KEY, _GRACE_KEY = "fsGroup", "terminationGracePeriodSeconds"
_PORT_NAMES = ("http", "https", "web", "grpc", "h2c", "api", "http-web")

Tree = MutableMapping[str, Any]


def inject(template: Tree, plan: Plan, workload: str) -> bool:
    """Put the sidecar into a pod template; whether that changed it. One that is there is brought up to date.

    Raises :class:`InjectError`, having changed nothing.
    """
    pod = _mapping(template, "spec", workload)
    if pod is None:
        raise InjectError(f"{workload}: there is no pod in it (spec)")
    if _text(pod, "os", "name") == "windows":
        raise InjectError(f"{workload}: it is a Windows pod, the sidecar is for Linux")
    containers = list(_named(pod, "containers", workload))
    if not containers:
        raise InjectError(f"{workload}: there are no containers in it")
    if any(each.get("name") == fragment.NAME for each in containers):
        raise InjectError(
            f"{workload}: a container named {fragment.NAME} is among `containers`: take it out, it becomes an init "
            "container with restartPolicy Always"
        )
    upstream = 0 if plan.config_map else _upstream_port(containers, plan, workload)
    _check_ports([*containers, *_named(pod, "initContainers", workload)], plan, workload)
    metadata = _mapping(template, "metadata", workload)
    annotations = _mapping(metadata, "annotations", workload) if metadata is not None else None
    security = _mapping(pod, "securityContext", workload)
    list(_named(pod, "volumes", workload))  # read for its errors: nothing has been changed yet

    already = annotations.get(ANNOTATION) if annotations is not None else None
    ours = set(str(already or "").split(",")) - {""}
    changed = _upsert(pod, "initContainers", [fragment.container(plan, upstream)], first=True)
    wanted = fragment.volumes(plan, workload)
    changed |= _upsert(pod, "volumes", wanted)
    changed |= _take_out(pod, "volumes", set(fragment.VOLUMES) - {each["name"] for each in wanted})
    if security is None or security.get(_GROUP_KEY) is None:
        _child(pod, "securityContext")[_GROUP_KEY] = fragment.GROUP
        ours.add(_GROUP_KEY)
        changed = True
    grace = pod.get(_GRACE_KEY)
    if grace is None:
        pod[_GRACE_KEY] = fragment.GRACE_PERIOD_S
        ours.add(_GRACE_KEY)
        changed = True
    annotation = ",".join(sorted(ours)) or "container"
    if already != annotation:
        _child(_child(template, "metadata"), "annotations")[ANNOTATION] = annotation
        changed = True
    return changed


def remove(template: Tree, workload: str) -> bool:
    """Take everything of ours out of a pod template, however much of it is there; whether that changed it."""
    pod = _mapping(template, "spec", workload)
    if pod is None:
        return False
    changed = _take_out(pod, "initContainers", {fragment.NAME})
    changed |= _take_out(pod, "volumes", set(fragment.VOLUMES))
    metadata = _mapping(template, "metadata", workload)
    annotations = _mapping(metadata, "annotations", workload) if metadata is not None else None
    if metadata is None or annotations is None or ANNOTATION not in annotations:
        return changed
    ours = str(annotations.pop(ANNOTATION)).split(",")
    _drop_empty(metadata, "annotations")
    _drop_empty(template, "metadata")
    security = _mapping(pod, "securityContext", workload)
    if _GROUP_KEY in ours and security is not None and security.get(_GROUP_KEY) == fragment.GROUP:
        del security[_GROUP_KEY]
        _drop_empty(pod, "securityContext")
    if _GRACE_KEY in ours and pod.get(_GRACE_KEY) == fragment.GRACE_PERIOD_S:
        del pod[_GRACE_KEY]
    return True


def _upstream_port(containers: list[Tree], plan: Plan, workload: str) -> int:
    """The application's port: as said, the only one there is, or the only one with a name that says it serves."""
    if plan.upstream_port:
        return plan.upstream_port
    found = [
        (str(port.get("name", "")), port.get("containerPort"))
        for each in containers
        for port in _named(each, "ports", workload)
        if port.get("protocol", "TCP") == "TCP"
    ]
    numbers = {number for _, number in found}
    if len(numbers) > 1:
        numbers = {number for name, number in found if name in _PORT_NAMES} or numbers
    if len(numbers) != 1:
        there = ", ".join(f"{number} ({name})" if name else str(number) for name, number in found)
        what = f"has several ports, {there}" if found else "names no port"
        raise InjectError(f"{workload}: it {what}: say which one with --upstream-port")
    number = numbers.pop()
    if not isinstance(number, int) or not 0 < number < 65536:
        raise InjectError(f"{workload}: not a port: {number!r}")
    return number


def _check_ports(containers: list[Tree], plan: Plan, workload: str) -> None:
    for each in containers:
        if each.get("name") == fragment.NAME:
            continue
        if any(port.get("containerPort") == plan.port for port in _named(each, "ports", workload)):
            raise InjectError(
                f"{workload}: its container {each.get('name')!r} has port {plan.port}: choose another with --port"
            )


def _upsert(parent: Tree, key: str, wanted: list[dict[str, Any]], *, first: bool = False) -> bool:
    """Each of ``wanted`` into the list, in the place of the one with its name; a new one first or last."""
    items = parent.get(key)
    if not items:
        parent[key] = items = []
    changed = False
    for one in wanted:
        at = next((index for index, each in enumerate(items) if each.get("name") == one["name"]), None)
        if at is None:
            items.insert(0 if first else len(items), one)
        elif items[at] != one:
            items[at] = one
        else:
            continue
        changed = True
    return changed


def _take_out(parent: Tree, key: str, names: set[str]) -> bool:
    items = parent.get(key)
    if not isinstance(items, MutableSequence):
        return False
    at = [index for index, each in enumerate(items) if isinstance(each, MutableMapping) and each.get("name") in names]
    for index in reversed(at):
        del items[index]
    if at:
        _drop_empty(parent, key)
    return bool(at)


def _drop_empty(parent: Tree, key: str) -> None:
    if not parent.get(key):
        parent.pop(key, None)


def _child(parent: Tree, key: str) -> Tree:
    found = parent.get(key)
    if found is None:
        parent[key] = found = {}
    assert isinstance(found, MutableMapping)
    return found


def _mapping(parent: Tree, key: str, workload: str) -> Tree | None:
    found = parent.get(key)
    if found is not None and not isinstance(found, MutableMapping):
        raise InjectError(f"{workload}: {key} is not a mapping")
    return found


def _text(parent: Tree, *keys: str) -> object:
    found: object = parent
    for key in keys:
        found = found.get(key) if isinstance(found, MutableMapping) else None
    return found


def _named(parent: Tree, key: str, workload: str) -> Iterator[Tree]:
    """The mappings in a list; absent is empty. Raises :class:`InjectError` for anything else."""
    found = parent.get(key)
    if found is None:
        return
    if not isinstance(found, MutableSequence):
        raise InjectError(f"{workload}: {key} is not a list")
    for each in found:
        if not isinstance(each, MutableMapping):
            raise InjectError(f"{workload}: {key} holds something that is not a mapping")
        yield each
