"""Values whose grammar is HTTP's: URLs, paths, methods, and names of headers, trailers and upgrades."""

from __future__ import annotations

import re

from tlsidecar.config.problems import InvalidValue, quoted

HTTP_URL_PATTERN = r"^https?://[A-Za-z0-9._\[\]:-]{1,255}(/[\x21\x24-\x7e]{0,1023})?$"
UPGRADE_PATTERN = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}(/[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64})?$"
TOKEN_PATTERN = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"  # noqa: S105 - a token of RFC 9110, section 5.6.2

_FRAMING_HEADERS = frozenset({"connection", "content-length", "host", "transfer-encoding", "te", "trailer", "upgrade"})
_IDENTITY_HEADER = re.compile(r"x-forwarded-client-cert|x-client-cert.*|(x-)?ssl-client-.*|client-cert(-chain)?")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_REFUSED_IN_ROUTE = re.compile(r"[^\x21-\x7e]|[?#\\]|%(?:2[fF]|5[cC]|00)")


def parse_http_url(value: object) -> str:
    """An absolute http or https URL, without user information.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(HTTP_URL_PATTERN, value):
        raise InvalidValue(f"{quoted(value)} is not a URL", 'write for example "http://127.0.0.1:4318/v1/traces"')
    return value


def parse_https_url(value: object) -> str:
    """An absolute https URL, without user information.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(HTTP_URL_PATTERN, value) or not value.startswith("https://"):
        raise InvalidValue(
            f"{quoted(value)} is not an https URL", 'write for example "https://ca.internal/acme/directory"'
        )
    return value


def parse_header_name(value: object) -> str:
    """The lower-case name of a header that may be removed without changing what the message is.

    Raises InvalidValue.
    """
    name = parse_token(value)
    if name in _FRAMING_HEADERS:
        raise InvalidValue(f"{quoted(name)} frames or routes the message and is handled by the sidecar alone")
    return name


def parse_trailer_name(value: object) -> str:
    """The lower-case name of a trailer field that may be passed on (RFC 9110, section 6.5.1).

    Raises InvalidValue.
    """
    name = parse_header_name(value)
    if _IDENTITY_HEADER.fullmatch(name.replace("_", "-")):
        raise InvalidValue(f"{quoted(name)} says who the client is and is never taken from a trailer")
    return name


def parse_upgrade(value: object) -> str:
    """A protocol that a connection may be upgraded to (RFC 9110, section 7.8).

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(UPGRADE_PATTERN, value):
        raise InvalidValue(f"{quoted(value)} is not a protocol's name", 'write for example "websocket" or "SPDY/3.1"')
    name = value.lower()
    if name.partition("/")[0] in {"h2c", "h2", "http"} or name.startswith("tls"):
        raise InvalidValue(f"{quoted(name)} would carry requests past the access rules")
    return name


def parse_token(value: object) -> str:
    """A token of RFC 9110, section 5.6.2, in lower case.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(TOKEN_PATTERN, value):
        raise InvalidValue(f"{quoted(value)} is not a name that HTTP allows")
    return value.lower()


def parse_method(value: object) -> str:
    """An HTTP method; methods are case-sensitive.

    Raises InvalidValue.
    """
    if isinstance(value, str) and not _METHOD.fullmatch(value) and _METHOD.fullmatch(value.upper()):
        raise InvalidValue(f"{quoted(value)} is not an HTTP method", f"write {quoted(value.upper())}")
    if not isinstance(value, str) or not _METHOD.fullmatch(value):
        raise InvalidValue(f"{quoted(value)} is not an HTTP method")
    return value


def parse_route_path(value: object) -> str:
    """A pattern for normalised paths: ``*`` stands for one segment, a last ``**`` for the rest.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not value.startswith("/"):
        raise InvalidValue(f"{quoted(value)} is not a path", 'write for example "/admin/**"')
    if _REFUSED_IN_ROUTE.search(value):
        raise InvalidValue(f"{quoted(value)} has a character that a normalised path never has")
    segments = value[1:].split("/")
    if any(segment in {".", ".."} for segment in segments) or "" in segments[:-1]:
        raise InvalidValue(f"{quoted(value)} never matches: dot segments and double slashes are removed first")
    if any("*" in segment and segment not in {"*", "**"} for segment in segments):
        raise InvalidValue(f"in {quoted(value)} a * does not stand for a whole segment")
    if "**" in segments[:-1]:
        raise InvalidValue(f"in {quoted(value)} ** is not the last segment")
    return value


def parse_health_path(value: object) -> str:
    """The target of an HTTP health check.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(r"/[\x21-\x7e]{0,1023}", value) or "#" in value:
        raise InvalidValue(f"{quoted(value)} is not a path", 'write for example "/healthz"')
    return value
