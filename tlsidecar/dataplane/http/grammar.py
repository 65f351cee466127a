"""The byte grammar of HTTP/1.1 heads, narrower than RFC 9112 wherever parsers are known to disagree.

Every pattern takes linear time: no quantifier is repeated over another that could match the same byte, so where a
match fails each byte is given back at most once. In particular no ``[ \\t]*`` stands before a class that holds both.
"""

from __future__ import annotations

import re

TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"  # RFC 9110 section 5.6.2
TOKEN = re.compile(rb"[" + TCHAR + rb"]+")

# A field value after its control bytes have been refused: HTAB, SP, VCHAR, obs-text.
VALUE_BYTES = rb"\t\x20-\x7e\x80-\xff"

# The first byte that makes a head refusable whatever follows: a control, a CR without LF, a LF without CR.
BAD_BYTE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")

# Methods are uppercase here: services differ over the case of others. \Z stands for "the rest is still to come".
METHOD_START = re.compile(rb"([A-Z][A-Z-]{0,31})(?: |\Z)")
MAX_METHOD_BYTES = 32
# Services may do anything on TRACE but echo it, and what we add must not be echoed (nginx, too, answers 405).
REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})

ORIGIN_FORM = re.compile(rb"/[\x21\x22\x24-\x7e]*")
ABSOLUTE_FORM = re.compile(
    rb"[Hh][Tt][Tt][Pp]([Ss]?)://([\x21\x22\x24-\x2e\x30-\x3e\x40-\x7e]+)([/?][\x21\x22\x24-\x7e]*)?"
)
VERSION = re.compile(rb"HTTP/[0-9]+(?:\.[0-9]+)?")

# uri-host [":" port] without percent-encoding and sub-delims: a name as DNS has it (and "_", "~"), or an IP literal.
HOST_PATTERN = rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?"
HOST = re.compile(HOST_PATTERN)

CONTENT_LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
MAX_CONTENT_LENGTH = 2**63 - 1

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([" + VALUE_BYTES + rb"]*))?")
STATUS_LINE_START = b"HTTP/1."

# Whatever is not a letter or digit becomes "-": CGI-like gateways turn those bytes into "_" and so make two names one.
_FOLDED = bytearray(b"-" * 256)
for _byte in b"abcdefghijklmnopqrstuvwxyz0123456789":
    _FOLDED[_byte] = _byte
    _FOLDED[bytes([_byte]).upper()[0]] = _byte
FOLD = bytes(_FOLDED)


def fold(name: bytes) -> bytes:
    """The one name of all the spellings that a gateway could confuse with ``name``: ``X_Real.IP`` → ``x-real-ip``."""
    return name.translate(FOLD)


def without_default_port(authority: bytes, *, tls: bool) -> bytes:
    """``authority`` in lower case, without a port that says nothing (RFC 9110 section 4.2.3)."""
    authority = authority.lower()
    return authority.removesuffix(b":443" if tls else b":80").removesuffix(b":")


def content_length(value: bytes) -> int | None:
    """The length a ``Content-Length`` value says, or ``None`` when it is anything but plain decimal below 2^63."""
    if not CONTENT_LENGTH.fullmatch(value):
        return None
    length = int(value)
    return length if length <= MAX_CONTENT_LENGTH else None


def tokens(value: bytes) -> list[bytes] | None:
    """The lowercase tokens of a comma list, empty elements left out, or ``None`` when an element is not a token."""
    found = []
    for element in value.split(b","):
        token = element.strip(b" \t")
        if token and not TOKEN.fullmatch(token):
            return None
        if token:
            found.append(token.lower())
    return found


# Schemes that authenticate the connection and not the request: NTLM, and Negotiate as most services have it (RFC 4559
# section 6).
CONNECTION_SCHEMES = rb"(?:NTLM|Negotiate)"
CONNECTION_SCHEME = re.compile(CONNECTION_SCHEMES + rb"(?: |\Z)", re.IGNORECASE)
