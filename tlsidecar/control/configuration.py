"""The configuration on disk, beside the one in force."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import datetime

from certs.clock import Clock
from certs.errors import MaterialError
from certs.sources.attempts import Attempts
from tlsidecar.config import ConfigError
from tlsidecar.control.interface import ConfigurationState
from tlsidecar.settings import Settings

POLL_S = 1.0

Reread = Callable[[], Settings]


class Configuration:
    """Looks at the file now and then, and says what is different."""

    def __init__(self, in_force: Settings, reread: Reread | None, clock: Clock) -> None:
        """``reread`` gives what a start would run by now, with the same flags and variables; it raises ConfigError.
        Without it, or without a file, nothing ever differs."""
        self.in_force = in_force
        self.state: ConfigurationState | None = None
        self._file = in_force.config_file
        self._reread = reread if self._file is not None else None
        self._clock = clock
        self._attempts = Attempts(clock)
        self._seen = self._fingerprint()
        self._since: datetime | None = None

    def __repr__(self) -> str:
        return f"<Configuration {self._file} {'in force' if self.state is None else 'differs'}>"

    async def watch(self) -> None:
        """Look every second, for ever."""
        while self._reread is not None:
            await asyncio.sleep(POLL_S)
            try:
                fingerprint = await self._attempts.make("looking at the configuration", self._fingerprint)
            except MaterialError:
                continue  # a disk that hangs: what is known goes on being shown
            if fingerprint != self._seen:
                await self.look()
        await asyncio.Event().wait()

    async def look(self) -> ConfigurationState | None:
        """Read it again; None when it is the one in force."""
        if self._reread is None:
            return None
        reread = self._reread
        self._seen = self._fingerprint()
        error = ""
        changes: tuple[str, ...] = ()
        try:
            found = await self._attempts.make("reading the configuration", reread)
            changes = tuple(changed_keys(self.in_force, found))
        except ConfigError as invalid:
            error = _in_one_line(invalid)
        except MaterialError as hangs:
            error = hangs.detail
        if not error and not changes:
            self.state = self._since = None
            return None
        self._since = self._since or self._clock.now()
        self.state = ConfigurationState(str(self._file), self._since, changes, error)
        return self.state

    def _fingerprint(self) -> tuple[int, ...]:
        if self._file is None:
            return ()
        try:
            status = os.stat(self._file)
        except OSError as error:
            return (error.errno or 0,)
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def changed_keys(before: Settings, after: Settings) -> Iterator[str]:
    """The keys whose effective values differ, as the configuration file names them; a listener that came or went
    stands for all of its keys."""
    from tlsidecar.config.loader import Loaded
    from tlsidecar.config.show import effective

    old = {value.label: value.value for value in effective(Loaded(before, {}))}
    new = {value.label: value.value for value in effective(Loaded(after, {}))}
    names = [{listener.name for listener in settings.listeners} for settings in (before, after)]
    for word, gone in (("removed", names[0] - names[1]), ("added", names[1] - names[0])):
        for name in sorted(gone):
            yield f"listener[{name}] {word}"
    different = names[0] ^ names[1]
    for label in dict.fromkeys((*old, *new)):
        if any(label.startswith(f"listener[{name}]") for name in different):
            continue
        if old.get(label) != new.get(label):
            yield label


def _in_one_line(error: ConfigError) -> str:
    first, *more = [str(problem) for problem in error.problems]
    return f"{first} (and {len(more)} more)" if more else first
