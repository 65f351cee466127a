"""Addresses as they are written: ``host:port``, ``[v6]:port`` and ``unix:/path``."""

from __future__ import annotations

import ipaddress
import os
import re

from tlsidecar.config.problems import InvalidValue, quoted
from tlsidecar.settings import Address

UNIX_PATH_MAX_BYTES = 107  # sun_path holds 108 with its closing NUL (unix(7))

_UNIX_PREFIX = "unix:"
_PORT = re.compile(r"[0-9]{1,5}")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})://(?P<authority>[^/?#\s]{1,255})([/?#].*)?", re.DOTALL)
_SCHEME_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_FORMS = 'write "host:port", "[v6]:port" or "unix:/path"'
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_DNS_NAME_MAX_CHARACTERS = 253
_HIGHEST_PORT = 65535


def parse_listen_address(value: object) -> Address:
    """Where to accept. Port 0 lets the kernel choose one.

    Raises InvalidValue.
    """
    return _parse(value, lowest_port=0)


def parse_upstream_address(value: object) -> Address:
    """Where to connect to.

    Raises InvalidValue.
    """
    return _parse(value, lowest_port=1)


def parse_dns_name(value: object) -> str:
    """A host name in lower case (RFC 952, RFC 1123; underscores as in practice), without a closing dot.

    Raises InvalidValue.
    """
    if not isinstance(value, str):
        raise InvalidValue(f"a host name is needed, not {quoted(value)}")
    if not value.isascii():
        raise InvalidValue(f"{quoted(value)} is not ASCII", "write the name in its xn-- form")
    name = value.removesuffix(".")
    labels = name.split(".")
    if len(name) > _DNS_NAME_MAX_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidValue(f"{quoted(value)} is not a host name")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        # Resolvers read "127.1" and "0x7f000001" as IPv4 addresses; nobody who reviews a file does.
        raise InvalidValue(f"{quoted(value)} is neither an IPv4 address of four numbers nor a host name")
    return name.lower()


def parse_ip_address(value: object) -> str:
    """One IPv4 or IPv6 address, without brackets.

    Raises InvalidValue.
    """
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    raise InvalidValue(f"{quoted(value)} is not an IP address")


def ip_literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address a host is, with IPv4-mapped IPv6 unwrapped; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def name_of(address: Address) -> str:
    """What its host is called by: without the dot that may close a full name, which no certificate has."""
    return address.host.removesuffix(".")


def is_loopback(address: Address) -> bool:
    """True when what is sent there in the clear stays on this machine."""
    if address.is_unix or address.host == "localhost":
        return True
    literal = ip_literal(address.host)
    return literal is not None and literal.is_loopback


def collide(one: Address, other: Address) -> bool:
    """True when the two cannot both be bound: equal, or one is the wildcard of the other's family."""
    if one.is_unix or other.is_unix:
        return bool(one.path) and one.path == other.path
    if one.port != other.port or one.port == 0:
        return False
    if one.host == other.host:
        return True
    mine, theirs = _bound_to(one.host), _bound_to(other.host)
    return any(
        a == b or (a.version == b.version and (a.is_unspecified or b.is_unspecified)) for a in mine for b in theirs
    )


def _parse(value: object, *, lowest_port: int) -> Address:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _HIGHEST_PORT:
        value = str(value)
    if not isinstance(value, str):
        raise InvalidValue(f"an address is needed, not {quoted(value)}", _FORMS)
    if value.startswith(_UNIX_PREFIX):
        return Address(path=_unix_path(value.removeprefix(_UNIX_PREFIX)))
    if value.startswith(("/", "./", "../")) and not value.startswith("//"):
        raise InvalidValue(f"{quoted(value)} is a path", f"write {quoted(_UNIX_PREFIX + value)}")
    if url := _URL.fullmatch(value):
        raise _as_url(url["scheme"].lower(), url["authority"])
    host, separator, port = value.rpartition(":")
    everywhere = "0.0.0.0" if lowest_port == 0 else "127.0.0.1"  # noqa: S104 - what is meant by a port alone
    if not separator or not _PORT.fullmatch(port):
        raise _without_port(value, host, port, everywhere)
    if not lowest_port <= int(port) <= _HIGHEST_PORT:
        raise InvalidValue(f"port {port} is not between {lowest_port} and {_HIGHEST_PORT}")
    if host in ("", "*"):
        more = f' or "[::]:{port}" for every interface' if lowest_port == 0 else ""
        raise InvalidValue("the address has no host", f'write "{everywhere}:{port}"{more}')
    return Address(host=_host(host, port), port=int(port))


def _as_url(scheme: str, authority: str) -> InvalidValue:
    host_and_port = authority.rpartition("@")[2]
    if not re.search(r":[0-9]+$", host_and_port):
        host_and_port += f":{_SCHEME_PORTS.get(scheme, 'PORT')}"
    spoken = ', and protocol = "http"' if scheme in _SCHEME_PORTS else ""
    return InvalidValue(f'"{scheme}://…" is a URL, not an address', f"write {quoted(host_and_port)}{spoken}")


def _without_port(value: str, host: str, port: str, everywhere: str) -> InvalidValue:
    squeezed = "".join(value.split())
    if squeezed != value:
        return InvalidValue(f"{quoted(value)} has space in it", f"write {quoted(squeezed)}" if squeezed else _FORMS)
    if _PORT.fullmatch(value):
        return InvalidValue(f"{quoted(value)} has no host", f'write "{everywhere}:{value}"')
    number, slash, _ = port.partition("/")
    if host and slash and _PORT.fullmatch(number):
        return InvalidValue(f"{quoted(value)} has a path; an address has none", f"write {quoted(f'{host}:{number}')}")
    if host and port and ip_literal(value) is None and not value.endswith("]"):
        return InvalidValue(f"in {quoted(value)} the port is no number", _FORMS)
    bracketed = f"[{value}]" if ip_literal(value) is not None and ":" in value else value.removesuffix(":")
    return InvalidValue(f"{quoted(value)} has no port", f"write {quoted(f'{bracketed}:PORT')}" if bracketed else _FORMS)


def _host(host: str, port: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return _ipv6(host[1:-1])
    if ":" in host:
        if ip_literal(host) is not None:
            raise InvalidValue("an IPv6 address needs brackets", f"write {quoted(f'[{host}]:{port}')}")
        if ip_literal(f"{host}:{port}") is not None:
            raise InvalidValue("the address has no port", f"write {quoted(f'[{host}:{port}]:PORT')}")
        raise InvalidValue(f"{quoted(host)} is neither a host name nor an IPv6 address", _FORMS)
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        # A closing dot keeps the resolver from trying its search domains, so it is kept.
        return parse_dns_name(host) + ("." if host.endswith(".") else "")


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise InvalidValue(f"{quoted(text)} is not an IPv6 address") from None


def _unix_path(path: str) -> str:
    if not path:
        raise InvalidValue("the address has no path", 'write "unix:/path"')
    if path.startswith(("@", "\0")):
        raise InvalidValue(
            "abstract sockets have no permissions: anyone on the machine may connect", 'write "unix:/path"'
        )
    if not path.isprintable():
        raise InvalidValue(f"{quoted(path)} has control characters in it")
    return path


def too_long_for_a_socket(path: str | os.PathLike[str]) -> bool:
    """True when the kernel has no room for the path of a Unix socket."""
    return len(os.fsencode(path)) > UNIX_PATH_MAX_BYTES


def _bound_to(host: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    if host == "localhost":
        return (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
    literal = ip_literal(host)
    return (literal,) if literal is not None else ()
