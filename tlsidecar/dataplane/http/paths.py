"""The path of a request target in the one form that route rules are matched with, and that then goes on.

RFC 3986 section 6.2.2: percent-encoded unreserved characters are decoded, dot segments resolved; empty segments are
merged as most services do. What could be read in two ways is refused, not repaired.
"""

from __future__ import annotations

import re

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.outcomes import Reason

# Nothing to decode, merge or resolve: no "%", no "//", no segment that starts with a dot, no backslash, no control.
_ALREADY_NORMAL = re.compile(rb"/|(?:/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+/?")
_ESCAPE = re.compile(rb"%(..?)?", re.DOTALL)
_HEX_PAIR = re.compile(rb"[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DOUBLE_ENCODED = re.compile(rb"%25[0-9A-Fa-f]{2}")
_REFUSED_ESCAPES = {0x00: "an encoded NUL", 0x5C: "an encoded backslash"}
# Longer than it need be, UTF-8 is none (RFC 3629 section 3); a lenient decoder takes %C0%AF for a slash,
# and one from before RFC 3629 forms of five and six octets.
_OVERLONG = re.compile(rb"%C[01]%[89AB]|%E0%[89]|%F0%8|%F8%8[0-7]|%FC%8[0-3]", re.IGNORECASE)


def normalise_target(target: bytes, *, encoded_slashes: bool = False) -> bytes:
    """``target`` (origin-form, or ``*``) with its path normalised; the query stays as it is.

    Raises :class:`MessageRefused` (400, BAD_PATH).
    """
    path, question, query = target.partition(b"?")
    return normalise(path, encoded_slashes=encoded_slashes) + question + query


def normalise(path: bytes, *, encoded_slashes: bool = False) -> bytes:
    """Raises :class:`MessageRefused` (400, BAD_PATH) for a path that two services could read differently.

    ``encoded_slashes``: a ``%2F`` stays as it is; whoever judges the path has to read it in both ways.
    """
    if path == b"*" or _ALREADY_NORMAL.fullmatch(path):
        return path
    if b"\\" in path:
        raise _refused("a backslash")
    # Before decoding, and after: "%25%36%31" is "%2561" only then.
    decoded = path if _DOUBLE_ENCODED.search(path) else _ESCAPE.sub(_decode, path)
    if _DOUBLE_ENCODED.search(decoded):
        raise _refused("an escape that is itself escaped")
    if not encoded_slashes and b"%2F" in decoded:
        raise _refused("an encoded slash")
    if _OVERLONG.search(decoded):
        raise _refused("an overlong encoding")
    if b"%20" in decoded and any(map(_is_dots_and_spaces, decoded.replace(b"%2F", b"/").split(b"/"))):
        raise _refused("a segment of dots and spaces")
    return _resolve(decoded)


def segments(path: bytes) -> list[bytes]:
    """A normalised path's segments; a trailing slash gives an empty last one."""
    return path[1:].split(b"/")


def _decode(escape: re.Match[bytes]) -> bytes:
    digits = escape[1] or b""
    if not _HEX_PAIR.fullmatch(digits):
        raise _refused("a malformed escape")
    byte = int(digits, 16)
    problem = _REFUSED_ESCAPES.get(byte)
    if problem is None and (byte < 0x20 or byte == 0x7F):
        problem = "an encoded control character"
    if problem is not None:
        raise _refused(problem)
    return bytes([byte]) if byte in _UNRESERVED else b"%" + digits.upper()


def _resolve(path: bytes) -> bytes:
    """Dot segments and empty segments away (RFC 3986 section 5.2.4)."""
    kept: list[bytes] = []
    parts = path.split(b"/")[1:]
    for part in parts:
        if part == b"..":
            if not kept:
                raise _refused("it climbs above the root")
            kept.pop()
        elif part not in (b"", b"."):
            kept.append(part)
    ends_in_slash = parts[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if ends_in_slash and kept else b"")


def _is_dots_and_spaces(segment: bytes) -> bool:
    """Windows drops spaces at the end of a name; here nothing but a dot segment would be left of it."""
    return b"." in segment and b"%20" in segment and not segment.replace(b"%20", b"").strip(b".")


def _refused(detail: str) -> MessageRefused:
    return MessageRefused(400, Reason.BAD_PATH, detail)
