"""Config texts for scenarios."""

from __future__ import annotations

import json
from pathlib import Path

from support.pki import Pair


def identity(pair: Pair, trust: Path, **more: object) -> str:
    return _table("[identity]", {"cert": str(pair.cert), "key": str(pair.key), "trust": str(trust), **more})


def identities(*named: tuple[str, Pair, Path]) -> str:
    """Several, each with its name, its pair and whom it trusts."""
    tables = (
        {"name": name, "cert": str(pair.cert), "key": str(pair.key), "trust": str(trust)} for name, pair, trust in named
    )
    return "".join(_table("[[identity]]", table) for table in tables)


def terminate(
    upstream: str | list[str], *, protocol: str = "tcp", allow: tuple[str, ...] = ("any",), **more: object
) -> str:
    values = {
        "name": "in",
        "mode": "terminate",
        "listen": "127.0.0.1:0",
        "upstream": upstream,
        "protocol": protocol,
        "allow": list(allow),
        **more,
    }
    return _table("[[listener]]", values)


def originate(upstream: str, *, protocol: str = "tcp", **more: object) -> str:
    values = {
        "name": "out",
        "mode": "originate",
        "listen": "127.0.0.1:0",
        "upstream": upstream,
        "protocol": protocol,
        **more,
    }
    return _table("[[listener]]", values)


def limits(**values: object) -> str:
    return _table("[limits]", values)


def _table(head: str, values: dict[str, object]) -> str:
    return head + "\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
