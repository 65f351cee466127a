"""What the names in a target may be. They become arguments of other programs: none may pass for an option, and none
may carry what a shell on the way would take for more than a name."""

from __future__ import annotations

import re

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,253})?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,15})?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
# RFC 1123, as Kubernetes has it: a subdomain of at most 253 characters.
_KUBERNETES = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


def is_host(text: str) -> bool:
    """A name or an address, as ssh and its configuration know it."""
    return bool(_HOST.fullmatch(text) or (":" in text and _IPV6.fullmatch(text)))


def is_user(text: str) -> bool:
    """Whether it may stand before the @ of an address for ssh."""
    return bool(_USER.fullmatch(text))


def is_pod_name(text: str) -> bool:
    """Also a namespace's, or a container's in a pod."""
    return bool(_KUBERNETES.fullmatch(text))


def is_context(text: str) -> bool:
    """A kubeconfig may call a context anything (cloud providers put slashes and colons into them)."""
    return bool(text) and text.isprintable() and not text.startswith("-")


def is_label(key: str, value: str) -> bool:
    """Whether key and value may be a label of Kubernetes."""
    return bool(_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value))


def is_container(text: str) -> bool:
    """A Docker container's name or id."""
    return bool(_CONTAINER.fullmatch(text))
