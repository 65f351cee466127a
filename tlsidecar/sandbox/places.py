"""Which directories a path of the configuration stands for: links lead on, and files are replaced by renaming.

A rule of the sandbox is about a directory that is there now, whatever it is called later. So a file is never allowed
alone where it can be replaced: its directory is, and the directory that a link on the way leads into, where the next
generation will stand beside this one (``current -> releases/7``).

Paths are text here: the broker, whose memory counts, has no use for pathlib otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

_MAX_LINKS = 40  # as the kernel has it (path_resolution(7))

# So much stands in these that allowing one allows what has nothing to do with us.
_COMMON = frozenset(
    f"/{name}"
    for name in (
        *("", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp"),
        *("usr", "usr/lib", "usr/local", "var", "var/lib", "var/log", "var/run", "var/tmp"),
    )
)


def is_common(directory: str | os.PathLike[str]) -> bool:
    """Whether others keep their things there, too."""
    name = os.fspath(directory)
    return name in _COMMON or os.path.dirname(name) == "/home" or name == os.path.expanduser("~")


def directories_of(file: str | os.PathLike[str]) -> list[str]:
    """The directories that a file's content comes from, now and after its next replacement; of a directory, itself and
    the same. Never ``/``: of what stands there the file alone is given."""
    absolute = os.path.abspath(file)
    real = os.path.realpath(absolute)
    found = [os.path.realpath(os.path.dirname(absolute)), os.path.dirname(real)]
    found += [home for home in _link_homes(absolute) if not is_common(home)]
    if os.path.isdir(real):
        found.append(real)
    return list(dict.fromkeys(real if each == "/" else each for each in found))


def is_below(path: str, directories: Iterable[str]) -> bool:
    """Whether ``path``, without links, is one of these or stands below one."""
    return any(path == each or path.startswith(each.rstrip("/") + "/") for each in directories)


def _link_homes(path: str) -> Iterator[str]:
    """Of every link on the way: the directory that holds what it leads to."""
    at, todo, links = "/", _parts(path), 0
    while todo and links < _MAX_LINKS:
        name = todo.pop()
        try:
            target = os.readlink(os.path.join(at, name))
        except OSError:
            at = os.path.dirname(at) if name == ".." else os.path.join(at, name)
            continue
        links += 1
        yield os.path.realpath(os.path.dirname(os.path.join(at, target)))
        if os.path.isabs(target):
            at = "/"
        todo += _parts(target)


def _parts(path: str) -> list[str]:
    """The last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
