"""Configurations as trees, as they are once TOML has been read, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlsidecar.config.document import Document
from tlsidecar.config.judge import judge

IDENTITY: dict[str, object] = {"cert": "tls.crt", "key": "tls.key", "trust": "ca.crt"}
TERMINATE: dict[str, object] = {
    "name": "web",
    "listen": "0.0.0.0:8443",
    "upstream": "127.0.0.1:8080",
    "allow": ["any"],
}
ORIGINATE: dict[str, object] = {
    "name": "out",
    "mode": "originate",
    "listen": "127.0.0.1:9001",
    "upstream": "payments.internal:8443",
}
ADMIN_SOCKET = Path("/run/tlsidecar/admin.sock")


def document(*listeners: Mapping[str, object], file: Path | None = Path("/etc/t.toml"), **root: object) -> Document:
    """An identity of files and these listeners, with ``root`` laid over them. What is wrong with single values is among
    its findings."""
    tree: dict[str, Any] = {"identity": IDENTITY, "listener": list(listeners), **root}
    part, findings = judge(tree, lambda _key: Path("/etc"))
    admin_socket = part.tables["admin"].read("socket") or ADMIN_SOCKET
    return Document(part, tuple(findings), admin_socket, file)
