"""Landlock, the kernel's sandbox for processes without privileges (landlock(7)): three system calls, no package.

A ruleset first says which kinds of access it is about (*handled*), and then what of them is allowed, to the hierarchy
below an open directory, to one file, or to a TCP port. Whatever it handles and does not allow is denied, to the thread
that enters it and to whatever that starts from then on, for good. What is open already stays open.

Kernels know more or less of it: their ABI's number says how much, and only that much is asked of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from enum import IntFlag
from pathlib import Path
from types import TracebackType

# The same numbers on every architecture of Linux but alpha, which Python is not built for.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
_PR_SET_NO_NEW_PRIVS = 38  # prctl(2)


class Files(IntFlag):
    """Kinds of access to files and directories (LANDLOCK_ACCESS_FS_*)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13  # ABI 2: renaming and linking between directories, which is always denied before
    TRUNCATE = 1 << 14  # ABI 3
    IOCTL_DEV = 1 << 15  # ABI 5


class Ports(IntFlag):
    """Kinds of access to TCP ports (LANDLOCK_ACCESS_NET_*), from ABI 4 on."""

    BIND = 1 << 0
    CONNECT = 1 << 1


class Scopes(IntFlag):
    """What ends at the sandbox's border (LANDLOCK_SCOPE_*), from ABI 6 on."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


# Of all kinds, those that a rule about one file may name.
_OF_ONE_FILE = Files.EXECUTE | Files.WRITE_FILE | Files.READ_FILE | Files.TRUNCATE | Files.IOCTL_DEV

PORTS_SINCE_ABI = 4
SCOPES_SINCE_ABI = 6


class LandlockUnavailable(Exception):
    """The kernel does not do it, or does not let us; the text says why."""


def abi() -> int:
    """The ABI's number, 1 or more. Raises :class:`LandlockUnavailable`."""
    try:
        return _call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        raise LandlockUnavailable(_why(error)) from None


def known_files(version: int) -> Files:
    """All kinds of access to files that an ABI knows."""
    known = Files((1 << 13) - 1)
    for since, kind in ((2, Files.REFER), (3, Files.TRUNCATE), (5, Files.IOCTL_DEV)):
        if version >= since:
            known |= kind
    return known


class Ruleset:
    """What is allowed, until :meth:`enter` makes it so. A context manager."""

    def __init__(self, version: int, ports: Ports, scopes: Scopes) -> None:
        """Handles every access to files, and of ports and scopes what is asked for, as far as the ABI knows it.
        Raises :class:`LandlockUnavailable`."""
        self._files = known_files(version)
        self._ports = ports if version >= PORTS_SINCE_ABI else Ports(0)
        self._scopes = scopes if version >= SCOPES_SINCE_ABI else Scopes(0)
        attributes = struct.pack("=Q", self._files)
        if version >= PORTS_SINCE_ABI:
            attributes += struct.pack("=Q", self._ports)
        if version >= SCOPES_SINCE_ABI:
            attributes += struct.pack("=Q", self._scopes)
        try:
            self._descriptor = _call(_CREATE_RULESET, attributes, len(attributes), 0)
        except OSError as error:
            raise LandlockUnavailable(_why(error)) from None

    def __enter__(self) -> Ruleset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def allow_path(self, path: Path, access: Files) -> None:
        """Allow ``access`` to one file, or to everything below a directory; links are followed. What is not there, or
        may not be looked at, could not be used either. Raises :class:`LandlockUnavailable`."""
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                access &= _OF_ONE_FILE
            if access & self._files:
                # struct landlock_path_beneath_attr is packed: 12 bytes.
                self._add(_RULE_PATH_BENEATH, struct.pack("=Qi", access & self._files, place))
        finally:
            os.close(place)

    def allow_port(self, port: int, access: Ports) -> None:
        """Raises :class:`LandlockUnavailable`."""
        if access & self._ports:
            self._add(_RULE_NET_PORT, struct.pack("=QQ", access & self._ports, port))

    def enter(self) -> None:
        """From now on, this thread and what it starts; call it before there is another thread.
        Raises :class:`LandlockUnavailable`."""
        try:
            with contextlib.suppress(AttributeError):
                _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            _call(_RESTRICT_SELF, self._descriptor, 0)
        except OSError as error:
            raise LandlockUnavailable(_why(error)) from None

    def _add(self, kind: int, attributes: bytes) -> None:
        try:
            _call(_ADD_RULE, self._descriptor, kind, attributes, 0)
        except OSError as error:
            raise LandlockUnavailable(_why(error)) from None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """One system call. Raises OSError."""
    words = [each if isinstance(each, bytes) or each is None else ctypes.c_long(each) for each in arguments]
    found = int(_libc().syscall(ctypes.c_long(number), *words))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def _why(error: OSError) -> str:
    known = {
        errno.ENOSYS: "this kernel has no Landlock, or a seccomp filter hides it",
        errno.EOPNOTSUPP: "Landlock is switched off in this kernel (lsm= at boot)",
        errno.EPERM: "a seccomp filter forbids Landlock",
        errno.E2BIG: "too many sandboxes are stacked already",
    }
    return known.get(error.errno or 0, f"Landlock cannot be used: {error.strerror}")
