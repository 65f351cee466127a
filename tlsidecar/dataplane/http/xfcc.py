"""Writes ``X-Forwarded-Client-Cert`` elements in Envoy's format.

Source: Envoy, "HTTP header manipulation", x-forwarded-client-cert. Elements by comma, pairs by semicolon; a value with
``,`` ``;`` ``=`` or ``"`` is double-quoted, ``"`` inside as ``\\"``.

What a certificate says is hostile text. Every byte that is not printable ASCII, and every backslash that is not
already RFC 4514's, is written as a backslash and two hex digits (RFC 4514's own ``hexpair``). So the output is
ASCII without controls, different values never look the same, and no value ends in a backslash: a reader that knows
only ``\\"`` and one that unescapes any ``\\x`` see the same pairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from certs.identity import Identity

_QUOTED = re.compile(r'[,;="\\ ]')
_PLAIN = re.compile(r"[\x21-\x5b\x5d-\x7e]*")
_KEPT_ESCAPED = frozenset(",;+<>#= ")
_HEX_PAIR = re.compile(r"[0-9A-Fa-f]{2}")

# One or more elements of one or more pairs. The two forms of a value start with different bytes, so that a match that
# fails gives each byte back once. After a backslash only what RFC 4514 has there, and what all readers take for one
# value: before a quote, two backslashes are the value's end to some and not to others.
_ESCAPED = rb'\\(?:[",;+<>#= ]|[0-9A-Fa-f]{2})'
_PAIR = rb'[A-Za-z]+=(?:"(?:[^"\\\x00-\x1f\x7f]|' + _ESCAPED + rb')*"|[^",;=\\\x00-\x20\x7f]*)'
_ELEMENTS = re.compile(_PAIR + rb"(?:;" + _PAIR + rb")*(?:,[ \t]?" + _PAIR + rb"(?:;" + _PAIR + rb")*)*")


def element(
    identity: Identity,
    *,
    by: Sequence[str] = (),
    certificate_pem: str = "",
    chain_pem: str = "",
) -> bytes:
    """One element about ``identity``. ``by`` are our own URI SANs; a PEM is written URL-encoded where it is given."""
    pairs = [f"By={_value(uri)}" for uri in by]
    pairs.append(f"Hash={identity.sha256}")
    if certificate_pem:
        pairs.append(f'Cert="{quote(certificate_pem, safe="")}"')
    if chain_pem:
        pairs.append(f'Chain="{quote(chain_pem, safe="")}"')
    pairs.append(f'Subject="{distinguished_name(identity.subject)}"')
    pairs.extend(f"URI={_value(uri)}" for uri in identity.uris)
    pairs.extend(f"DNS={_value(name)}" for name in identity.dns)
    return ";".join(pairs).encode("ascii")


def is_well_formed(value: bytes) -> bool:
    """Whether a client's own value is made of whole elements, so that ours can be appended and will be read as ours."""
    return _ELEMENTS.fullmatch(value) is not None


def distinguished_name(text: str) -> str:
    """RFC 4514 text as printable ASCII without ``"`` and without a backslash before another: for quoted strings.

    The escaped forms of ``,`` ``;`` ``+`` ``<`` ``>`` ``#`` and space stay as they are.
    """
    if _PLAIN.fullmatch(text.replace(" ", "")) and '"' not in text:
        return text
    out = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character != "\\" or position == len(text):
            out.append(character if character == " " or _is_plain(character) else _hex_pairs(character))
            continue
        if pair := _HEX_PAIR.match(text, position):
            out.append("\\" + pair[0])
            position += 2
            continue
        escaped = text[position]
        if escaped in _KEPT_ESCAPED:
            out.append("\\" + escaped)
        elif escaped in '"\\':
            out.append(_hex_pairs(escaped))
        else:  # not RFC 4514's: a backslash that stands for itself
            out.append(_hex_pairs(character))
            continue
        position += 1
    return "".join(out)


def _value(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        text = "".join(
            character if _is_plain(character) or character == '"' else _hex_pairs(character) for character in text
        )
    if not _QUOTED.search(text):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def _is_plain(character: str) -> bool:
    return "\x21" <= character <= "\x7e" and character not in '"\\'


def _hex_pairs(character: str) -> str:
    # surrogatepass: text that cannot be encoded is still text that must be told apart.
    return "".join(f"\\{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
