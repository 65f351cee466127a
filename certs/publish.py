"""Publishing a set of files so that readers see the old set or the new one, whatever fails in between.

The layout is that of a Kubernetes Secret volume::

    OUT/..2026_11_23_23_05_59.1f2e3d4c/   one generation: tls.crt tls.key ca.crt issued.json
    OUT/..data -> ..2026_11_23_23_05_59.1f2e3d4c
    OUT/tls.crt -> ..data/tls.crt         and so on: these links never change

A new generation is a new directory, its files and itself synced to the disk; then one rename of ``..data`` puts all of
it in place at once, and the parent is synced. What a crash leaves behind is removed by the next publishing.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from certs.durable import create_file, locked, sync_directory
from certs.errors import PublishError
from certs.safe_files import GENERATION_LINK

GENERATION_PREFIX = ".."
NEW_LINK = "..data_tmp"
DIRECTORY_MODE = 0o755  # the key inside has its own mode

Failpoint = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file of a set, created with ``mode``; the key's is 0600."""

    content: bytes
    mode: int


def publish(
    directory: Path,
    files: Mapping[str, PublishedFile],
    now: datetime,
    failpoint: Failpoint = lambda step: None,
) -> Path:
    """Puts a whole set in place; returns the new generation's directory.

    ``failpoint`` is called after each step with its name, for tests that fail or die there. Raises
    :class:`PublishError` when anything goes wrong; what was published before then still stands, and nothing is left.
    """
    try:
        directory.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        with locked(directory):
            return _publish(directory, files, now, failpoint)
    except OSError as error:
        raise PublishError(f"{directory}: {error.strerror or error}; what was published before still stands") from error


def _publish(directory: Path, files: Mapping[str, PublishedFile], now: datetime, failpoint: Failpoint) -> Path:
    _refuse_foreign(directory, files)
    _remove_leftovers(directory)
    failpoint("cleaned")
    generation = directory / f"{GENERATION_PREFIX}{now:%Y_%m_%d_%H_%M_%S}.{secrets.token_hex(4)}"
    swapped = False
    try:
        os.mkdir(generation, DIRECTORY_MODE)
        failpoint("directory_created")
        for name, file in files.items():
            create_file(generation / name, file.content, file.mode)
            failpoint(f"written:{name}")
        sync_directory(generation)
        failpoint("generation_synced")
        for name in files:
            _link(directory, name)
            failpoint(f"linked:{name}")
        os.symlink(generation.name, directory / NEW_LINK)
        sync_directory(directory)
        failpoint("new_link_made")
        os.replace(directory / NEW_LINK, directory / GENERATION_LINK)
        swapped = True
        failpoint("swapped")
        sync_directory(directory)
        failpoint("synced")
    except OSError as error:
        if swapped:
            raise PublishError(f"{directory}: the new set is in place, but not safely on the disk: {error}") from error
        (directory / NEW_LINK).unlink(missing_ok=True)
        shutil.rmtree(generation, ignore_errors=True)
        raise
    _remove_leftovers(directory)
    return generation


def _refuse_foreign(directory: Path, files: Mapping[str, PublishedFile]) -> None:
    """A file of somebody else's under one of our names is not overwritten."""
    for name in files:
        path = directory / name
        if os.path.lexists(path) and not _is_link_to(path, f"{GENERATION_LINK}/{name}"):
            raise PublishError(f"{path} is there already and was not published by us: publish into another directory")


def _link(directory: Path, name: str) -> None:
    """Made before the swap: until then a first set's links lead nowhere, so that it, too, appears at once."""
    path = directory / name
    if not os.path.lexists(path):
        os.symlink(f"{GENERATION_LINK}/{name}", path)


def _remove_leftovers(directory: Path) -> None:
    """Every generation but the current one, and a link that was never renamed. What cannot be removed stays."""
    (directory / NEW_LINK).unlink(missing_ok=True)
    try:
        current = os.readlink(directory / GENERATION_LINK)
    except OSError:
        current = ""
    for entry in os.scandir(directory):
        is_generation = entry.name.startswith(f"{GENERATION_PREFIX}2") and stat.S_ISDIR(
            entry.stat(follow_symlinks=False).st_mode
        )
        if is_generation and entry.name != current:
            shutil.rmtree(entry.path, ignore_errors=True)


def _is_link_to(path: Path, target: str) -> bool:
    try:
        return os.readlink(path) == target
    except OSError:
        return False
