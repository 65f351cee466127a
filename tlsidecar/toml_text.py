"""Values as TOML 1.0 writes them, for whoever copies them into a tlsidecar.toml."""

from __future__ import annotations

import json


def toml(value: object) -> str:
    """A text, a number, a boolean, or an array of these. What a terminal would obey, or not show, is escaped."""
    if isinstance(value, str):
        # A basic string escapes what JSON's does. JSON's pairs of surrogates are none of TOML's, so the rest is ours.
        return "".join(map(_visible, json.dumps(value, ensure_ascii=False)))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
