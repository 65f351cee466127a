"""Which field names mean something to us: framing, this hop only, or identity that only we may state.

All names here are folded (:func:`~tlsidecar.dataplane.http.grammar.fold`): lowercase, with ``-`` for every byte that
is neither letter nor digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from tlsidecar.dataplane.http.grammar import fold

# Fields that say where a message ends or whom it is for. Nothing may name them in Connection, and no other spelling
# of them is let through.
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host"})

# Fields for this hop only (RFC 9110 section 7.6.1, RFC 9113 section 3.1); "proxy" is the request field that CGI turns
# into the HTTP_PROXY variable (CVE-2016-5385).
REQUEST_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"http2-settings",
    }
)
RESPONSE_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te", b"trailer", b"upgrade"}
)

CLIENT_CERTIFICATE = b"x-forwarded-client-cert"
FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"})

# RFC 9440 section 2.4 wants Client-Cert and Client-Cert-Chain removed whatever else is configured.
IDENTITY = frozenset({b"client-cert", b"client-cert-chain", b"x-real-ip"})
IDENTITY_PREFIXES = (b"x-client-cert", b"x-ssl-client-", b"ssl-client-", CLIENT_CERTIFICATE)

# Fields by which a service reads another path or method than the request line says. Removed where route rules judged
# the request line.
ROUTE_OVERRIDES = frozenset(
    {b"x-original-url", b"x-rewrite-url", b"x-http-method-override", b"x-http-method", b"x-method-override"}
)

REQUEST_ID = b"x-request-id"

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
TRACE_CONTEXT = frozenset({TRACEPARENT, TRACESTATE})

_Trie: TypeAlias = "dict[int, _Trie]"
_END = -1
_ANY_REST = ord("*")


@dataclass(frozen=True, slots=True)
class RemovedNames:
    """The request fields that never reach the service as the client sent them, besides those for this hop only."""

    exact: frozenset[bytes]
    prefixes: tuple[bytes, ...]

    @classmethod
    def of(cls, configured: Iterable[str], *, routed: bool) -> RemovedNames:
        """``configured`` are names, or prefixes when they end in ``*``."""
        exact = set(IDENTITY | FORWARDED | {CLIENT_CERTIFICATE})
        prefixes = list(IDENTITY_PREFIXES)
        if routed:
            exact |= ROUTE_OVERRIDES
        for name in configured:
            raw = name.encode("ascii")
            if raw.endswith(b"*"):
                prefixes.append(fold(raw[:-1]))
            else:
                exact.add(fold(raw))
        return cls(frozenset(exact - FRAMING), tuple(prefixes))

    def __contains__(self, folded: bytes) -> bool:
        return folded in self.exact or folded.startswith(self.prefixes)


def any_case(names: Iterable[bytes]) -> bytes:
    """A regex that matches each of ``names`` in any case, up to the end of the name; one ending in ``*`` is a prefix.

    It is a trie, so that the engine looks at each byte of a field name at most once, after one look ahead at the first
    letter, which is all it costs to pass by most other names.
    """
    names = list(names)
    initials = b"".join(sorted({name[:1].lower() + name[:1].upper() for name in names}))
    return b"(?=[" + initials + b"])" + _trie(names)


def _trie(names: Iterable[bytes]) -> bytes:
    trie: _Trie = {}
    for name in names:
        node = trie
        for byte in name:
            node = node.setdefault(byte, {})
            if byte == _ANY_REST:
                break
        else:
            node[_END] = {}
    return _trie_pattern(trie)


def _trie_pattern(node: _Trie) -> bytes:
    if _ANY_REST in node:  # whatever else starts the same way is covered
        return rb"[A-Za-z0-9-]*"
    branches = []
    for byte, rest in sorted(node.items()):
        if byte == _END:
            branches.append(b"")
            continue
        letter = bytes([byte])
        head = b"[" + letter.upper() + letter + b"]" if letter.isalpha() else letter
        branches.append(head + _trie_pattern(rest))
    # The empty branch goes last: an alternation takes the first branch that fits.
    branches.sort(key=lambda branch: branch == b"")
    return branches[0] if len(branches) == 1 else b"(?:" + b"|".join(branches) + b")"
