"""How much of the sandbox holds on this machine, for this configuration: in words for the log, the API and `check`."""

from __future__ import annotations

from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.sandbox import landlock
from tlsidecar.sandbox.landlock import LandlockUnavailable
from tlsidecar.sandbox.needs import Needs, needs_of
from tlsidecar.sandbox.system import RESOLVER, places
from tlsidecar.settings import Settings

OFF, REQUIRED = "off", "required"

# What each ABI begins to cover.
_SINCE = (
    (1, "files"),
    (4, "tcp_ports"),
    (5, "devices"),
    (6, "abstract_sockets"),
    (6, "signals"),
)
_MISSING = {
    "files": "files",
    "tcp_ports": "TCP ports (Linux 6.7)",
    "devices": "ioctl of devices (Linux 6.10)",
    "abstract_sockets": "abstract Unix sockets (Linux 6.12)",
    "signals": "signals to other processes (Linux 6.12)",
}
# On kernels before Linux 6.2 nothing of Landlock's says who may do it.
_TRUNCATING = "truncating files (Linux 6.2)"
_TRUNCATING_SINCE = 3
_NEVER = ("UDP, and whatever else is not TCP", "connecting to Unix sockets that have a path")


class SandboxError(Exception):
    """``sandbox = "required"``, and it cannot hold; the text is one clear line."""


@dataclass(frozen=True, slots=True)
class Level:
    """``abi`` is Landlock's, 0 where nothing holds, for which ``reason`` stands. ``gaps`` is what is not covered."""

    mode: str
    abi: int = 0
    reason: str = ""
    covers: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return self.abi > 0

    def __str__(self) -> str:
        if not self.holds:
            return f"none: {self.reason}"
        return f"Landlock ABI {self.abi}: {', '.join(each.replace('_', ' ') for each in self.covers)}"


def level_of(settings: Settings) -> Level:
    """What would hold for these settings here; nothing is entered. Raises :class:`SandboxError`."""
    if settings.sandbox == OFF:
        return Level(OFF, reason="it is switched off")
    try:
        return _level(settings, landlock.abi(), needs_of(settings))
    except LandlockUnavailable as error:
        return without(settings, str(error))


def without(settings: Settings, reason: str) -> Level:
    """Raises :class:`SandboxError` where that is not to be."""
    if settings.sandbox == REQUIRED:
        raise SandboxError(f'"required", and it cannot hold: {reason}')
    return Level(settings.sandbox, reason=reason)


def _level(settings: Settings, abi: int, needs: Needs) -> Level:
    covers = tuple(what for since, what in _SINCE if abi >= since)
    if settings.sandbox == REQUIRED and "tcp_ports" not in covers:
        raise SandboxError(f'"required", and this kernel knows no TCP ports in it (Landlock ABI {abi} of 4)')
    gaps = [_MISSING[what] for since, what in _SINCE if abi < since]
    if abi < _TRUNCATING_SINCE:
        gaps.append(_TRUNCATING)
    if needs.bind is None and "tcp_ports" in covers:
        gaps.append("which TCP ports are bound: a listener has a name for a host, and port 0")
    system = (place for place in places(resolves=needs.resolves, starts_python=False) if place.key == str(RESOLVER))
    shared = [place for place in (*needs.places, *system) if place.is_shared]
    for path in sorted({place.path for place in shared}):
        keys = ", ".join(dict.fromkeys(place.key for place in shared if place.path == path))
        gaps.append(f"{path} and all that is below it: {keys} is there")
    awaited = (place for place in needs.places if place.awaits is not None)
    gaps.extend(f"{place.path} and all that is below it: {place.key} is to appear there" for place in awaited)
    return Level(settings.sandbox, abi, "", covers, (*gaps, *_NEVER))
