"""A reader of X-Forwarded-Client-Cert, written from Envoy's document and not from our writer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Malformed(Exception):
    why: str


def parse(value: str, *, unescape_all: bool = False) -> list[list[tuple[str, str]]]:
    r"""Elements of pairs. Envoy's own reader knows ``\"`` alone; others take any ``\x`` for ``x``: ``unescape_all``."""
    elements: list[list[tuple[str, str]]] = [[]]
    at = 0
    while True:
        equals = value.find("=", at)
        if equals < 0 or not value[at:equals].isalpha():
            raise Malformed(f"no key at {at}")
        key, at = value[at:equals], equals + 1
        text = ""
        if value[at : at + 1] == '"':
            at += 1
            while value[at : at + 1] != '"':
                if at >= len(value):
                    raise Malformed("an open quote")
                if value[at] == "\\" and (unescape_all or value[at + 1 : at + 2] == '"'):
                    at += 1
                text += value[at]
                at += 1
            at += 1
        else:
            while at < len(value) and value[at] not in ",;":
                if value[at] in '"=':
                    raise Malformed("a bare value with a delimiter")
                text += value[at]
                at += 1
        elements[-1].append((key, text))
        if at == len(value):
            return elements
        if value[at] == ",":
            elements.append([])
        elif value[at] != ";":
            raise Malformed(f"{value[at]!r} after a value")
        at += 1


def unhex(text: str) -> str:
    """RFC 4514's hex pairs, back to text."""
    raw = b""
    at = 0
    while at < len(text):
        if text[at] == "\\":
            raw += bytes.fromhex(text[at + 1 : at + 3])
            at += 3
        else:
            raw += text[at].encode()
            at += 1
    return raw.decode("utf-8", "surrogatepass")
