"""Whether what is read today will be seen when it changes: what would keep a renewal from ever arriving.

Nothing here keeps anything from being served now. Each finding is one sentence for a person.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certs.clock import Clock
from certs.journal import second_text
from certs.material import Material

MOUNTS_FILE = Path("/proc/self/mountinfo")

# linux/fs.h: FS_IOC_GETFLAGS, FS_IMMUTABLE_FL and FS_APPEND_FL; see ioctl_iflags(2).
_GET_FLAGS = 0x80086601
_UNCHANGEABLE = 0x10 | 0x20

_OCTAL = re.compile(rb"\\([0-7]{3})")

# A clock that is before this has never been set: nobody had this program then.
OLDEST_PLAUSIBLE = datetime(2025, 1, 1, tzinfo=UTC)

IsUnchangeable = Callable[[Path], bool]


def mount_points(table: Path = MOUNTS_FILE) -> frozenset[str]:
    """Where something is mounted in our view of the file system (proc_pid_mountinfo(5)); nothing where that cannot be
    read."""
    try:
        lines = table.read_bytes().splitlines()
    except OSError:
        return frozenset()
    fields = (line.split() for line in lines)
    return frozenset(
        _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), each[4]).decode(errors="surrogateescape")
        for each in fields
        if len(each) > 4
    )


def is_unchangeable(path: Path) -> bool:
    """Whether the file system keeps everybody from changing it, as ``chattr +i`` asks; False where it cannot say."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        answer = fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    flags: int = struct.unpack("l", answer)[0]
    return bool(flags & _UNCHANGEABLE)


def of_files(
    paths: Sequence[Path], mounts: frozenset[str] | None = None, unchangeable: IsUnchangeable = is_unchangeable
) -> Iterator[str]:
    """About files, and directories of them, that somebody else is to replace."""
    mounts = mount_points() if mounts is None else mounts
    for directory in dict.fromkeys(_home_of(path) for path in paths):
        if unchangeable(directory):
            yield f"{directory} is immutable (chattr +i): nothing in it can be replaced, so no renewal will be seen"
    for path in dict.fromkeys(paths):
        real = Path(os.path.realpath(path))
        if not os.path.isdir(real) and (str(real) in mounts or str(_home_of(path) / path.name) in mounts):
            yield (
                f"{path} is mounted by itself, as with a Kubernetes subPath: a file that is renamed into its place "
                "outside will never be seen here; mount its directory"
            )
        elif real == _home_of(path) / path.name and not os.path.isdir(real) and unchangeable(real):
            yield f"{path} is immutable (chattr +i): it can be neither rewritten nor replaced, so no renewal is seen"
    yield from _unsearchable(paths)


def of_state(directories: Sequence[Path]) -> Iterator[str]:
    """About directories of ours that a renewal is to write to; those that are not there yet are made then."""
    for directory in directories:
        existing = next(each for each in (directory, *directory.absolute().parents) if os.path.exists(each))
        if not os.path.isdir(existing):
            yield f"{directory} cannot be made: {existing} is no directory, so what is renewed could not be kept"
        elif not os.access(existing, os.W_OK | os.X_OK):
            yield f"{existing} cannot be written by uid {os.geteuid()}: what is renewed has to be kept in {directory}"


def of_clock(material: Material, paths: Sequence[Path], clock: Clock, skew: timedelta) -> Iterator[str]:
    """About this machine's clock, as far as others' dates tell. That a leaf starts in the future is judged as it is
    loaded."""
    now = clock.now()
    if now < OLDEST_PLAUSIBLE:
        yield f"this machine's clock says {second_text(now)}, which was before this program: it has not been set"
    for authority in dict.fromkeys((*material.chain, *material.trust)):
        starts = authority.not_valid_before_utc
        if starts > now + skew:
            text = "which is later than this machine's clock: it is behind, or the CA's is ahead"
            yield f"{authority.which} is valid from {second_text(starts)}, {text}"
    for path in dict.fromkeys(paths):
        try:
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except (OSError, OverflowError, ValueError):
            continue
        if written > now + skew:
            text = "in our future: this machine's clock is behind, or that of who wrote it is ahead"
            yield f"{path} was written at {second_text(written)}, {text}"


def _home_of(path: Path) -> Path:
    """The directory that an entry really stands in: links on the way are followed, the last one is not."""
    return Path(os.path.realpath(path.parent))


def _unsearchable(paths: Sequence[Path]) -> Iterator[str]:
    """Directories that we may pass, or see by name, and not read: what appears in them is not seen."""
    for path in dict.fromkeys(paths):
        directory = Path(os.path.realpath(path))
        if os.path.isdir(directory) and not os.access(directory, os.R_OK | os.X_OK):
            yield f"{path} cannot be listed by uid {os.geteuid()}: what appears in it will not be seen"
    for directory in dict.fromkeys(_home_of(path) for path in paths):
        if os.path.isdir(directory) and not os.access(directory, os.R_OK | os.X_OK):
            yield f"{directory} cannot be listed by uid {os.geteuid()}: what is put there may not be seen"
