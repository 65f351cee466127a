"""Reading files that decide who is trusted: never blocking, never following into a trap, judged on the opened file.

A path is looked at before it is opened, so that nothing but a regular file is ever opened; it is opened without
blocking, so that a FIFO put there in between cannot hold us; and owner, type and mode are judged on the descriptor,
so that what was judged is what is read.

In a Kubernetes volume ``tls.crt`` is a link to ``..data/tls.crt`` and ``..data`` a link to the directory of the current
generation. :class:`Directory` holds that generation open: every file read through it belongs to the same one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from types import TracebackType

from certs.errors import MaterialError, MaterialReason
from certs.pem import MAX_FILE_BYTES

GENERATION_LINK = "..data"

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


# Opens to read what the process itself may not: a name, flags of open(2), the descriptor of a directory.
Opener = Callable[["str | Path", int, "int | None"], int]
_opener: Opener | None = None


def use_opener(opener: Opener | None) -> None:
    """Have ``opener`` asked for whatever this process may not open. It raises OSError. A sandbox is the whole
    process's, and so is this."""
    global _opener
    _opener = opener


class Secrecy(Enum):
    """What is asked of a file before its content is believed."""

    PUBLIC = auto()  # a certificate: any regular file
    TRUSTED = auto()  # decides who is trusted: owned by us or root, not writable by others
    SECRET = auto()  # holds a key or passphrase: owned by us or root, nobody else may read it
    SECRET_GROUP_READABLE = auto()  # the same, but its group may read it (Kubernetes fsGroup)

    @property
    def is_secret(self) -> bool:
        return self in (Secrecy.SECRET, Secrecy.SECRET_GROUP_READABLE)


class Directory:
    """The directory of a file, at one generation where it has generations. A context manager."""

    def __init__(self, path: Path) -> None:
        """Raises :class:`MaterialError` (``missing_file``, ``unreadable``)."""
        self.path = path
        self._fd = _open_directory(path, None)
        self._generation_fd = -1
        try:
            self._generation_fd = _open(GENERATION_LINK, _DIRECTORY_FLAGS, self._fd)
        except OSError:
            return  # no generations here

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        if self._generation_fd >= 0:
            os.close(self._generation_fd)

    def read(self, name: str, secrecy: Secrecy) -> bytes:
        """The content of a file in this directory. Raises :class:`MaterialError` with the reason and the path."""
        if self._generation_fd >= 0 and self._is_generation_link(name):
            return _read(name, self._generation_fd, secrecy, self.path / name, os.O_NOFOLLOW)
        return _read(name, self._fd, secrecy, self.path / name, 0)

    def _is_generation_link(self, name: str) -> bool:
        try:
            return os.readlink(name, dir_fd=self._fd) == f"{GENERATION_LINK}/{name}"
        except OSError:
            return False


def read_file(path: Path, secrecy: Secrecy) -> bytes:
    """The content of one file. Raises :class:`MaterialError` with the reason and the path."""
    with Directory(path.parent) as directory:
        return directory.read(path.name, secrecy)


def is_there(path: Path) -> bool:
    """Whether there is something. Raises :class:`MaterialError` (``unreadable``) where that cannot be told."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise MaterialError(MaterialReason.UNREADABLE, _why(error), path) from None
    return True


def list_directory(path: Path) -> list[str]:
    """The names in it, sorted. Raises OSError."""
    descriptor = _open(path, _DIRECTORY_FLAGS, None)
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def _open(name: str | Path, flags: int, dir_fd: int | None) -> int:
    try:
        return os.open(name, flags, dir_fd=dir_fd)
    except PermissionError:
        if _opener is None:
            raise
    return _opener(name, flags, dir_fd)


def _open_directory(path: Path, dir_fd: int | None) -> int:
    try:
        return _open(path, _DIRECTORY_FLAGS, dir_fd)
    except FileNotFoundError:
        raise MaterialError(MaterialReason.MISSING_FILE, "there is no such directory", path) from None
    except OSError as error:
        raise MaterialError(MaterialReason.UNREADABLE, _why(error), path) from None


def _read(name: str, dir_fd: int, secrecy: Secrecy, path: Path, extra_flags: int) -> bytes:
    try:
        _judge_type(os.stat(name, dir_fd=dir_fd), secrecy, path)
        fd = _open(name, _OPEN_FLAGS | extra_flags, dir_fd)
    except FileNotFoundError:
        detail = "a link that leads nowhere" if path.is_symlink() else ""
        raise MaterialError(MaterialReason.MISSING_FILE, detail, path) from None
    except OSError as error:
        raise MaterialError(MaterialReason.UNREADABLE, _why(error), path) from None
    try:
        status = os.fstat(fd)
        _judge_type(status, secrecy, path)
        try:
            _judge_access(status, secrecy, path)
        except MaterialError:
            # Where there is no secret in it, that is what is wrong: who reads it finds the right words.
            if not secrecy.is_secret or _may_be_secret(content := _read_all(fd, path)):
                raise
            return content
        return _read_all(fd, path)
    except OSError as error:
        raise MaterialError(MaterialReason.UNREADABLE, _why(error), path) from None
    finally:
        os.close(fd)


def _why(error: OSError) -> str:
    """For whoever has to mend it, as whom we tried."""
    said = error.strerror or str(error)
    if not isinstance(error, PermissionError):
        return said
    said = f"{said} for uid {os.geteuid()}"
    return f"{said}, or by the sandbox, which knows what was there at the start" if _opener is not None else said


def _may_be_secret(content: bytes) -> bool:
    """Not what is empty, or PEM without a private key."""
    return content != b"" and (b"-----BEGIN " not in content or b"PRIVATE KEY-----" in content)


def _judge_type(status: os.stat_result, secrecy: Secrecy, path: Path) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    reason = MaterialReason.KEY_NOT_REGULAR if secrecy.is_secret else MaterialReason.NOT_REGULAR
    raise MaterialError(reason, f"it is a {_kind_of(status.st_mode)}", path)


def _judge_access(status: os.stat_result, secrecy: Secrecy, path: Path) -> None:
    if secrecy is Secrecy.PUBLIC:
        return
    reason = MaterialReason.KEY_PERMISSIONS if secrecy.is_secret else MaterialReason.TRUST_PERMISSIONS
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (os.geteuid(), 0):
        raise MaterialError(reason, f"it belongs to uid {status.st_uid}, neither to us nor to root", path)
    if secrecy is Secrecy.TRUSTED:
        if mode & stat.S_IWOTH:
            raise MaterialError(reason, f"mode {mode:04o}: anyone may write it", path)
        return
    if mode & stat.S_IRWXO:
        raise MaterialError(reason, f"mode {mode:04o}: others have access; chmod 0600 it", path)
    allowed_to_group = stat.S_IRGRP if secrecy is Secrecy.SECRET_GROUP_READABLE else 0
    if mode & stat.S_IRWXG & ~allowed_to_group:
        hint = "" if allowed_to_group else " or set key_group_readable"
        raise MaterialError(reason, f"mode {mode:04o}: its group has access; chmod 0600 it{hint}", path)


def _read_all(fd: int, path: Path) -> bytes:
    parts = []
    size = 0
    while part := os.read(fd, 1 << 20):
        parts.append(part)
        size += len(part)
        if size > MAX_FILE_BYTES:
            raise MaterialError(MaterialReason.UNREADABLE, f"larger than {MAX_FILE_BYTES} bytes", path)
    return b"".join(parts)


def _kind_of(mode: int) -> str:
    for is_kind, name in (
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "FIFO"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
    ):
        if is_kind(mode):
            return name
    return "special file"
