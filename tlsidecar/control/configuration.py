"""The configuration on disk, beside the one in force."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from certs.clock import Clock
from certs.errors import MaterialError
from certs.sources.attempts import Attempts
from certs.sources.watch import RECENT_S
from tlsidecar.config import ConfigError
from tlsidecar.config.places import FILE_NAME, SYSTEM_FILE
from tlsidecar.control.interface import ConfigurationState
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.observe.sink import LogFileError, try_file
from tlsidecar.sandbox.needs import LOG
from tlsidecar.settings import IdentitySettings, ListenerSettings, Settings

POLL_S = 1.0

_LOG_FILE = "log.file"
_OF_IDENTITY = re.compile(r"identity(?:\[(.+)\])?(?:\.(\w+).*| added)").fullmatch

Reread = Callable[[], Settings]
Beyond = Callable[[Settings], frozenset[str]]


# What only a start can change; everything else is applied live, all of it or nothing. Deny by default: a key that is
# neither here nor below a table that is live needs a restart.
_LIVE_TABLES = ("tls.", "limits.", "log.")
_LIVE_KEYS = ("shutdown_delay", "wait_for_material")
# Where an identity may need more than the sandbox permits: directories to keep things in, ports to ask at.
_HELD_KEYS = ("authority", "spiffe_socket", "acme", "crl_urls", "crl_cache")
_BOUND_AT_START = frozenset({"name", "mode", "listen", "protocol", "http2", "starttls", "unsafe_listen"})


@dataclass(frozen=True, slots=True)
class Change:
    """What the file would have a start run by, where that is not what runs: all keys that differ, and of them those
    that need a restart."""

    settings: Settings
    keys: tuple[str, ...]
    restart_keys: tuple[str, ...]


class Configuration:
    """Looks at the file now and then, and says what is different."""

    def __init__(
        self, in_force: Settings, reread: Reread | None, clock: Clock, *, beyond: Beyond | None = None
    ) -> None:
        """``reread`` gives what a start would run by now, with the same flags and variables; it raises ConfigError.
        Without it, or without a file, nothing ever differs. ``beyond`` says which identities, by name, and ``log`` need
        more than a sandbox that was made for the start's settings permits; None where there is no sandbox."""
        self.in_force = in_force
        self.state: ConfigurationState | None = None
        self._file = in_force.config_file
        self._reread = reread if self._file is not None else None
        self._beyond = beyond
        self._clock = clock
        self._attempts = Attempts(clock)
        self._seen = self._fingerprint()
        self._settled: tuple[int, ...] | None = None  # the fingerprint of a file known to say what is in force
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

    async def look(self) -> Change | None:
        """Read it again where it may have changed, and keep what is to be said of it. None when it is the one in force,
        or no use."""
        if self._reread is None:
            return None
        looked_at = self._clock.now().timestamp()
        self._seen = seen = self._fingerprint()
        if seen == self._settled and not _is_displaced(self._file):
            return None
        self._settled = None
        change: Change | None = None
        compared_with: Settings | None = None
        error = ""
        try:
            while compared_with is not self.in_force:  # which another reload may have replaced meanwhile
                compared_with = self.in_force
                read = partial(self._read, self._reread, compared_with)
                change = await self._attempts.make("reading the configuration", read)
            if change is not None:
                error = await self._log_file_error(change)
        except ConfigError as invalid:
            error = _in_one_line(invalid)
        except MaterialError as hangs:
            error = hangs.detail
        if error:
            change = None
        elif change is None:
            self.state = self._since = None
            # Swapped while it was read, as a link may be, and swapped back, it would show the same as before.
            self._settled = seen if _tells(seen, looked_at) and seen == self._fingerprint() else None
            return None
        self._since = self._since or self._clock.now()
        self.state = ConfigurationState(
            str(self._file),
            self._since,
            change.keys if change is not None else (),
            change.restart_keys if change is not None else (),
            error,
        )
        return change

    def _read(self, reread: Reread, in_force: Settings) -> Change | None:
        """What a start would run by that is different. On a thread: it may take tens of milliseconds."""
        found = reread()
        keys = tuple(changed_keys(in_force, found)) if found != in_force else ()
        if not keys:
            return None
        held = self._beyond(found) if self._beyond is not None else frozenset()
        return Change(found, keys, tuple(key for key in keys if not is_live(key) or _is_held(key, found, held)))

    def applied(self, change: Change) -> None:
        """It is the one in force now."""
        self.in_force = change.settings
        self._settled = None
        self.state = self._since = None

    async def _log_file_error(self, change: Change) -> str:
        """Why a start could not write its log where the file says, and nor could we; empty where it could."""
        file = change.settings.log.file
        if file is None or _LOG_FILE not in change.keys or change.restart_keys:
            return ""
        try:
            await self._attempts.make("opening the log file", lambda: try_file(file))
        except LogFileError as error:
            return f"log.file: {error}"
        except MaterialError as hangs:
            return f"log.file: {hangs.detail}"
        return ""

    def _fingerprint(self) -> tuple[int, ...]:
        if self._file is None:
            return ()
        try:
            status = os.stat(self._file)
        except OSError as error:
            return (error.errno or 0,)
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _tells(fingerprint: tuple[int, ...], at: float) -> bool:
    """Whether another change would show in it. One of a file that was changed shortly before ``at`` (seconds since
    1970), or after, does not tell: its time may be too coarse to show a second change (git's "racily clean")."""
    if len(fingerprint) < 2:
        return False  # there was no file
    return at - max(fingerprint[-2:]) / 1e9 >= RECENT_S


def _is_displaced(file: Path | None) -> bool:
    """Whether a start would now take another file, which was not there before."""
    return file == SYSTEM_FILE and Path(FILE_NAME).exists()


def is_live(key: str) -> bool:
    """Whether a key, as :func:`changed_keys` names it, can change without a restart."""
    table, _, name = key.partition("].")
    if table.startswith("listener["):
        return bool(name) and name.split(".")[0] not in _BOUND_AT_START
    if table.startswith("identity["):  # all of its keys, or the whole of it
        return True
    return key in _LIVE_KEYS or key.startswith(("identity.", *_LIVE_TABLES))


def _is_held(key: str, found: Settings, held: frozenset[str]) -> bool:
    """Whether what stands there now needs what the sandbox does not permit."""
    if key == _LOG_FILE:
        return LOG in held
    of_identity = _OF_IDENTITY(key)
    if of_identity is None:
        return False
    name, part = of_identity.groups()
    return (name or found.identity.name) in held and (part is None or part in _HELD_KEYS)


def changed_keys(before: Settings, after: Settings) -> Iterator[str]:
    """The keys whose effective values differ, as the configuration file names them; a listener or an identity that came
    or went stands for all of its keys."""
    several = before.names_identities or after.names_identities
    old, new = _effective(before, several), _effective(after, several)
    different: list[str] = []
    for table in ("listener", "identity"):
        names = [{each.name for each in _tables(settings, table)} for settings in (before, after)]
        for word, gone in (("removed", names[0] - names[1]), ("added", names[1] - names[0])):
            yield from (f"{table}[{name}] {word}" for name in sorted(gone))
        different += [f"{table}[{name}]" for name in names[0] ^ names[1]]
    for label in dict.fromkeys((*old, *new)):
        if not label.startswith(tuple(different)) and old.get(label) != new.get(label):
            yield label


def _tables(settings: Settings, table: str) -> Sequence[ListenerSettings | IdentitySettings]:
    return settings.listeners if table == "listener" else settings.identities


def _effective(settings: Settings, several: bool) -> dict[str, object]:
    """Every value by its label; with ``several`` that of an only identity has its name in it, too."""
    from tlsidecar.config.loader import Loaded
    from tlsidecar.config.show import effective

    prefix = f"identity[{settings.identity.name}]." if several else "identity."
    return {
        prefix + value.label.removeprefix("identity.")
        if value.label.startswith("identity.")
        else value.label: value.value
        for value in effective(Loaded(settings, {}))
    }


def _in_one_line(error: ConfigError) -> str:
    first, *more = [str(problem) for problem in error.problems]
    return f"{first} (and {len(more)} more)" if more else first
