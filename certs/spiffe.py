"""SPIFFE IDs and what makes a leaf an X.509-SVID.

Source: SPIFFE-ID.md section 2, X509-SVID.md sections 2 to 5 and SPIFFE_Workload_Endpoint.md section 4 of the standard.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

SCHEME = "spiffe://"
MAX_ID_BYTES = 2048
MAX_TRUST_DOMAIN_BYTES = 255

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A workload's SPIFFE ID: a trust domain and a path that is not empty."""

    trust_domain: str
    path: str  # with its leading slash

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Raises :class:`ValueError`, whose text is the reason."""
        if len(text) > MAX_ID_BYTES:
            raise ValueError(f"longer than {MAX_ID_BYTES} bytes")
        if not text.startswith(SCHEME):
            raise ValueError("does not start with spiffe:// in lowercase")
        trust_domain, slash, path = text[len(SCHEME) :].partition("/")
        problem = trust_domain_problem(trust_domain)
        if problem:
            raise ValueError(problem)
        if not slash or not path:
            raise ValueError("the path is empty: a workload needs one")
        for segment in path.split("/"):
            problem = segment_problem(segment)
            if problem:
                raise ValueError(problem)
        return cls(trust_domain, slash + path)

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path[1:].split("/"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"


def trust_domain_problem(trust_domain: str) -> str:
    """What keeps ``trust_domain`` from being one, or an empty string."""
    if not trust_domain:
        return "the trust domain is empty"
    if len(trust_domain) > MAX_TRUST_DOMAIN_BYTES:
        return f"the trust domain is longer than {MAX_TRUST_DOMAIN_BYTES} bytes"
    if _TRUST_DOMAIN.fullmatch(trust_domain):
        return ""
    if "@" in trust_domain:
        return "the trust domain has a user part"
    if ":" in trust_domain:
        return "the trust domain has a port"
    if "?" in trust_domain or "#" in trust_domain:
        return "a SPIFFE ID has neither query nor fragment"
    return "the trust domain may hold only a-z, 0-9, '.', '_' and '-'"


def segment_problem(segment: str) -> str:
    """What keeps ``segment`` from being one path segment, or an empty string."""
    if not segment:
        return "the path has an empty segment or a trailing slash"
    if segment in (".", ".."):
        return "the path has a '.' or '..' segment"
    if not _SEGMENT.fullmatch(segment):
        return "path segments may hold only letters, digits, '.', '_' and '-'"
    return ""


def is_spiffe_uri(uri: str) -> bool:
    """Whether ``uri`` claims to be a SPIFFE ID, well-formed or not. The scheme is compared without case so that a
    look-alike is judged as an SVID and refused, not passed on as some other URI."""
    return uri[:7].lower() == "spiffe:"


class EndpointError(ValueError):
    """Not an address of a SPIFFE agent; the text says what one looks like."""


def endpoint_of(text: str) -> tuple[str, str, int]:
    """An agent's address (section 4.1) as ``(path, "", 0)`` or ``("", ip, port)``. Raises :class:`EndpointError`."""
    parts = urlsplit(text)
    if (
        parts.scheme == "unix"
        and not parts.netloc
        and parts.path.startswith("/")
        and not (parts.query or parts.fragment)
    ):
        return parts.path, "", 0
    if parts.scheme == "tcp" and not (parts.path or parts.query or parts.fragment or parts.username):
        with contextlib.suppress(ValueError):
            if parts.hostname and parts.port:
                return "", parts.hostname, parts.port
    raise EndpointError("a SPIFFE agent's address is unix:///absolute/path or tcp://IP:PORT")
