"""Which directories a path of the configuration stands for: links lead on, and files are replaced by renaming.

A rule of the sandbox is about a directory that is there now, whatever it is called later. So a file is never allowed
alone where it can be replaced: its directory is, and the directory that a link on the way leads into, where the next
generation will stand beside this one (``current -> releases/7``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_MAX_LINKS = 40  # as the kernel has it (path_resolution(7))

# So much stands in these that allowing one allows what has nothing to do with us.
_COMMON = frozenset(
    Path("/", *parts.split("/"))
    for parts in (
        *("", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp"),
        *("usr", "usr/lib", "usr/local", "var", "var/lib", "var/log", "var/run", "var/tmp"),
    )
)


def is_common(directory: Path) -> bool:
    """Whether others keep their things there, too."""
    return directory in _COMMON or directory.parent == Path("/home") or directory == Path(os.path.expanduser("~"))


def directories_of(file: Path) -> list[Path]:
    """The directories that a file's content comes from, now and after its next replacement; of a directory, itself and
    the same. Never ``/``: of what stands there the file alone is given."""
    absolute = Path(os.path.abspath(file))
    real = Path(os.path.realpath(absolute))
    found = [Path(os.path.realpath(absolute.parent)), real.parent]
    found += [home for home in _link_homes(absolute) if not is_common(home)]
    if real.is_dir():
        found.append(real)
    return list(dict.fromkeys(real if each == Path("/") else each for each in found))


def is_below(path: Path, directories: Iterator[Path] | list[Path]) -> bool:
    """Whether ``path``, without links, is one of these or stands below one."""
    return any(path == each or each in path.parents for each in directories)


def _link_homes(path: Path) -> Iterator[Path]:
    """Of every link on the way: the directory that holds what it leads to."""
    at, todo, links = Path("/"), list(reversed(path.parts[1:])), 0
    while todo and links < _MAX_LINKS:
        name = todo.pop()
        try:
            target = os.readlink(at / name)
        except OSError:
            at = at.parent if name == ".." else at / name
            continue
        links += 1
        yield Path(os.path.realpath((at / target).parent))
        if os.path.isabs(target):
            at = Path("/")
        todo += [part for part in reversed(Path(target).parts) if part != "/"]
