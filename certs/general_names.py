"""The names in a subject alternative name (GeneralName, RFC 5280 section 4.2.1.6): how each kind is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from certs import der
from certs.certificate import Certificate

ALTERNATIVE_NAME = "2.5.29.17"

# The context tags of GeneralName's choices.
EMAIL, DNS, URI, IP = 0x81, 0x82, 0x86, 0x87

_MAX_HOST, _MAX_LABEL = 253, 63
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
# A registered name as those have it who write URIs into certificates: SPIFFE's trust domains may hold an underscore.
_URI_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?://(?:[^/?#]*@)?(?P<host>\[[^\]/?#]*\]|[^:/?#]*))?.*", re.ASCII | re.DOTALL
)
# No phrase before it, no comment behind it, no angle brackets; or anything in quotes (RFC 2821 section 4.1.2).
_LOCAL_PART = re.compile(r"[^\s\"@<>()\[\]\\,;:\x00-\x1f\x7f]+|\"(?:[^\"\\]|\\.)*\"", re.ASCII)


def alternative_names(certificate: Certificate) -> Iterator[der.Element]:
    """Each name in the subject alternative name, as it is encoded. Raises ValueError."""
    extension = certificate.encoded_extensions.get(ALTERNATIVE_NAME)
    if extension is not None:
        yield from der.elements(der.read(extension.value).value)


def name_problem(name: der.Element) -> str:
    """What is wrong with how it is written, in words that begin with the name; empty when nothing is."""
    if name.tag == IP:
        return "" if len(name.value) in (4, 16) else f"{name.value.hex()} (hex) is neither an IPv4 nor an IPv6 address"
    text = ascii_text(name)
    if name.tag == DNS and not is_host(text.removeprefix("*.")):
        return f"{text!a} is not a DNS name"
    if name.tag == EMAIL and not is_mailbox(text):
        return f"{text!a} is not an e-mail address"
    if name.tag == URI:
        scheme, colon, rest = text.partition(":")
        if not _URI.fullmatch(f"{scheme}{colon}") or not rest:
            return f"{text!a} is not a URI with a scheme"
    return ""


def ascii_text(name: der.Element) -> str:
    """An IA5String's text; what is not ASCII in it is escaped."""
    return name.value.decode("ascii", "backslashreplace")


def is_host(text: str) -> bool:
    """Whether it is a DNS name in the preferred syntax (RFC 1034 section 3.5), without a dot at either end."""
    return _is_short(text) and bool(_HOST.fullmatch(text))


def is_uri_host(text: str) -> bool:
    """Whether it can be the name of a host in a URI; an IP address is none."""
    if not _is_short(text) or not _URI_HOST.fullmatch(text):
        return False
    try:
        ip_address(text)
    except ValueError:
        return True
    return False


def is_mailbox(text: str) -> bool:
    """Whether it is a mailbox at a host or an address literal (RFC 2821 section 4.1.2)."""
    local_part, at, domain = text.rpartition("@")
    is_domain = is_host(domain) or (domain.startswith("[") and domain.endswith("]") and len(domain) > 2)
    return bool(at) and is_domain and bool(_LOCAL_PART.fullmatch(local_part))


def uri_host(text: str) -> str:
    """The host that a URI names; empty where it names none, or an IP address."""
    found = _URI.fullmatch(text)
    host = (found["host"] or "") if found is not None else ""
    return host if is_uri_host(host) else ""


def _is_short(text: str) -> bool:
    return len(text) <= _MAX_HOST and all(len(label) <= _MAX_LABEL for label in text.split("."))
