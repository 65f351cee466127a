"""Entering the sandbox: once, before there is a thread, and for good."""

from __future__ import annotations

import contextlib
import logging
import os

from tlsidecar.sandbox.landlock import LandlockUnavailable, Ports, Ruleset, Scopes
from tlsidecar.sandbox.level import Level, level_of, without
from tlsidecar.sandbox.needs import Needs, needs_of
from tlsidecar.sandbox.system import places
from tlsidecar.settings import Settings

_DIRECTORY_MODE = 0o700

_log = logging.getLogger("tlsidecar.sandbox")


def enter(settings: Settings) -> Level:
    """Hold this process, and whatever it starts from now on, to what ``settings`` need. Raises :class:`.level.
    SandboxError` where it has to hold and cannot; then nothing has changed."""
    level = level_of(settings)
    if not level.holds:
        return level
    for directory in needs_of(settings).own:
        # Made now, for there is no rule about what is not there; whatever is wrong is said by whoever writes there.
        with contextlib.suppress(OSError):
            os.makedirs(directory, _DIRECTORY_MODE, exist_ok=True)
    needs = needs_of(settings)
    _warn_of_late_authorities(settings, needs)
    ports = Ports.CONNECT if needs.bind is None else Ports.CONNECT | Ports.BIND
    try:
        with Ruleset(level.abi, ports, Scopes.ABSTRACT_UNIX_SOCKET | Scopes.SIGNAL) as ruleset:
            system = places(resolves=needs.resolves, starts_python=settings.workers > 1)
            for place in (*needs.places, *system):
                ruleset.allow_path(place.path, place.access)
            for port in needs.bind or ():
                ruleset.allow_port(port, Ports.BIND)
            for port in needs.connect:
                ruleset.allow_port(port, Ports.CONNECT)
            ruleset.enter()
    except LandlockUnavailable as error:
        return without(settings, str(error))
    return level


def _warn_of_late_authorities(settings: Settings, needs: Needs) -> None:
    """Of those that will appear where others keep their things, too: nothing is allowed there for one of them."""
    awaited = {place.awaits for place in needs.places}
    for identity in settings.identities:
        authority = identity.authority
        if authority is not None and not os.path.exists(authority) and authority.resolve() not in awaited:
            _log.warning(
                "identity.authority: %s is not there, and once it is the sandbox will not let it be used: make it, "
                "or a directory for it, before the start",
                authority,
            )
