"""What a configuration needs of the machine: files and directories, and TCP ports."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tlsidecar.config.addresses import ip_literal
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.sandbox.landlock import Files
from tlsidecar.sandbox.places import directories_of, is_common
from tlsidecar.settings import IdentitySettings, Settings

READ = Files.READ_FILE | Files.READ_DIR
# A directory of our own: everything but devices, sockets and programs to run.
KEEP = READ | Files.WRITE_FILE | Files.TRUNCATE | Files.MAKE_REG | Files.MAKE_DIR | Files.MAKE_SYM
KEEP |= Files.REMOVE_FILE | Files.REMOVE_DIR | Files.REFER
APPEND = Files.WRITE_FILE | Files.MAKE_REG
LISTEN = Files.MAKE_SOCK | Files.REMOVE_FILE
# The admin sockets stand beside their lock files.
LISTEN_LOCKED = LISTEN | READ | Files.WRITE_FILE | Files.TRUNCATE | Files.MAKE_REG

_DNS_PORT = 53
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Place:
    """What may be done with a file, or with everything below a directory, and the key that asks for it."""

    path: Path
    access: Files
    key: str
    awaits: Path | None = None  # what is not there yet and will be below it

    @property
    def is_shared(self) -> bool:
        """Whether others keep their things there, too: told to whoever asks how tight the sandbox is."""
        return is_common(self.path) and os.path.isdir(self.path)


@dataclass(frozen=True, slots=True)
class Needs:
    """``own`` are directories that we make ourselves where they are missing. ``bind`` is None where it cannot be known
    which ports are to be bound."""

    places: tuple[Place, ...]
    own: tuple[Path, ...]
    bind: frozenset[int] | None
    connect: frozenset[int]
    resolves: bool  # whether names are looked up, by more than /etc/hosts


def needs_of(settings: Settings) -> Needs:
    """As the links lead now."""
    addresses = [address for listener in settings.listeners for address in listener.upstreams]
    urls = [url for identity in settings.identities for url in _urls_of(identity)]
    urls += [settings.tracing.endpoint] if settings.tracing.endpoint else []
    hosts = [address.host for address in addresses] + [urlsplit(url).hostname or "" for url in urls]
    resolves = any(map(_is_looked_up, hosts))
    connect = {address.port for address in addresses if not address.is_unix} | set(_ports_of(urls))
    if resolves:
        connect.add(_DNS_PORT)
    return Needs(
        places=tuple(dict.fromkeys((*_read(settings), *_written(settings)))),
        own=tuple(_own(settings)),
        bind=_bound(settings),
        connect=frozenset(connect),
        resolves=resolves,
    )


LOG = "log"


def beyond(held: Needs, settings: Settings) -> frozenset[str]:
    """The identities, by name, and :data:`LOG`, that need what a sandbox made for ``held`` does not permit: a directory
    to keep things in, a port to ask at or to be asked at. Files are read, and upstreams connected to, by the broker."""
    found = set()
    if settings.log.file is not None and not _is_in(held, _log(settings.log.file)):
        found.add(LOG)
    for identity in settings.identities:
        kept = (Place(directory.resolve(), KEEP, key) for key, directory in _kept(identity))
        urls = list(_urls_of(identity))
        asked_at = identity.acme.http if identity.acme is not None else None
        if (
            not _is_in(held, kept)
            or not held.connect.issuperset(_ports_of(urls))
            or (not held.resolves and any(_is_looked_up(urlsplit(url).hostname or "") for url in urls))
            or (asked_at is not None and held.bind is not None and asked_at.port not in held.bind)
        ):
            found.add(identity.name)
    return frozenset(found)


def _is_in(held: Needs, places: Iterable[Place]) -> bool:
    return all(
        any(place.path.is_relative_to(each.path) and place.access in each.access for each in held.places)
        for place in places
    )


def material_of(identity: IdentitySettings) -> Iterator[tuple[str, Path]]:
    """The files, and directories of files, that material is read from, each with its key."""
    named: list[tuple[str, Path | None]] = [
        ("cert", identity.cert),
        ("key", identity.key),
        ("crl", identity.crl),
        ("passphrase_file", identity.passphrase_file),
        *(("trust", each.path) for each in identity.trust),
    ]
    if identity.acme is not None:
        named += [("acme.eab_key_file", identity.acme.eab_key_file), ("acme.server_trust", identity.acme.server_trust)]
    for key, path in named:
        if path is not None:
            yield f"identity.{key}", path


def _read(settings: Settings) -> Iterator[Place]:
    if settings.config_file is not None:
        yield from _file(settings.config_file, "--config")
    for identity in settings.identities:
        for key, path in material_of(identity):
            yield from _file(path, key)


def _written(settings: Settings) -> Iterator[Place]:
    for key, path in (("socket", settings.admin.socket), ("view_socket", settings.admin.view_socket)):
        if path is not None:
            yield Place(_directory(path), LISTEN_LOCKED, f"admin.{key}")
    for listener in settings.listeners:
        if listener.listen.is_unix:
            yield Place(_directory(Path(listener.listen.path)), LISTEN, f"listener[{listener.name}].listen")
    if settings.log.file is not None:
        yield from _log(settings.log.file)
    for key, directory in (each for identity in settings.identities for each in _kept(identity)):
        real = directory.resolve()
        yield (_awaited(real) if key == "authority" else None) or Place(real, KEEP, f"identity.{key}")


def _kept(identity: IdentitySettings) -> Iterator[tuple[str, Path]]:
    if identity.crl_cache is not None:
        yield "crl_cache", identity.crl_cache
    if identity.authority is not None:
        yield "authority", identity.authority
    if identity.acme is not None:
        yield "acme.state", identity.acme.state


def _awaited(authority: Path) -> Place | None:
    """Where a CA will appear that is to be waited for: the next directory above it that is there, if it is ours alone.
    There can be no rule about what is not there."""
    if os.path.exists(authority):
        return None
    above = next(each for each in authority.parents if os.path.isdir(each))
    return None if is_common(above) else Place(above, KEEP, "identity.authority", awaits=authority)


def _own(settings: Settings) -> Iterator[Path]:
    for key, directory in (each for identity in settings.identities for each in _kept(identity)):
        if key != "authority":  # which is made by `certs init` or is missing
            yield directory


def _log(file: Path) -> Iterator[Place]:
    """Rotating renames the file and opens another one; a device, or what /dev/stdout stands for, is itself."""
    real = file.resolve()
    yield Place(real, APPEND, "log.file")
    if real.parent != Path("/dev"):
        yield Place(_directory(file), APPEND, "log.file")


def _file(path: Path, key: str) -> Iterator[Place]:
    for directory in directories_of(path):
        yield Place(Path(directory), READ, key)


def _directory(path: Path) -> Path:
    return path.absolute().parent.resolve()


def _bound(settings: Settings) -> frozenset[int] | None:
    challenges = [identity.acme.http for identity in settings.identities if identity.acme is not None]
    addresses = [
        *(listener.listen for listener in settings.listeners),
        *(one for one in (settings.admin.http, settings.metrics.listen, *challenges) if one is not None),
    ]
    if any(address.port == 0 and _is_name(address.host) for address in addresses if not address.is_unix):
        return None  # the kernel chooses a port for the first address of the name, and the others get the same
    return frozenset(address.port for address in addresses if not address.is_unix)


def _ports_of(urls: Iterable[str]) -> Iterator[int]:
    """Those of the addresses, of where a plain one is mostly redirected to, and of the proxies that are used."""
    schemes = set()
    for url in urls:
        parts = urlsplit(url)
        schemes.add(parts.scheme)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        if port is not None:
            yield port
            if port == _DEFAULT_PORTS["http"]:
                yield _DEFAULT_PORTS["https"]
    if schemes & _DEFAULT_PORTS.keys():
        for name in _PROXIES:
            proxy = os.environ.get(name) or os.environ.get(name.upper())
            with contextlib.suppress(ValueError):  # of a proxy that nobody could use
                if proxy:
                    yield urlsplit(proxy if "//" in proxy else f"http://{proxy}").port or _DEFAULT_PORTS["http"]


def _urls_of(identity: IdentitySettings) -> Iterator[str]:
    yield from identity.crl_urls
    if identity.acme is not None:
        yield identity.acme.directory
    if identity.spiffe_socket.startswith("tcp:"):
        yield identity.spiffe_socket


def _is_name(host: str) -> bool:
    return bool(host) and ip_literal(host) is None


def _is_looked_up(host: str) -> bool:
    return _is_name(host) and host.rstrip(".").lower() != "localhost"
