"""The admin sockets' files: made so that nobody else can reach, replace or take them over.

The order matters. The directory is made private and checked; a lock file beside the socket says that it is ours; only
then is a socket that nobody answers on removed; the new one is bound under a umask, so that at no instant it exists
with wider permissions than it is to have.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
from pathlib import Path

from tlsidecar.settings import Address, Admin

# A Unix socket whose backlog is full does not make a non-blocking client wait: it fails (connect(2), EAGAIN).
BACKLOG_CONNECTIONS = 512
SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less its NUL


class AdminSocketError(Exception):
    """An admin socket cannot be had; the text is one sentence that says what to do."""


class AdminSocketTaken(AdminSocketError):
    """Somebody else has it."""


class SocketFile:
    """One bound and listening Unix socket, its lock and its file."""

    def __init__(self, path: Path, group: str = "") -> None:
        """Bind ``path``: mode 0600, or 0660 for ``group``, whose members then may connect. Raises AdminSocketError.

        Sets the process's umask for a moment: call it before there are threads that make files.
        """
        self.path = _checked_path(path)
        gid = group_id(group) if group else None
        _prepare_directory(self.path.parent, gid)
        with contextlib.ExitStack() as undo:
            self._lock = _lock(self.path)
            undo.callback(os.close, self._lock)
            _remove_dead_socket(self.path)
            self.socket = _bind(self.path, gid)
            undo.pop_all()
        status = os.lstat(self.path)
        self._file = (status.st_dev, status.st_ino)

    def __repr__(self) -> str:
        return f"<SocketFile {self.path} fd {self.socket.fileno()}>"

    def close(self) -> None:
        """Stop listening and remove the file, if it is still the one that was made here.

        The lock file stays: removing it would let two processes hold a lock of the same name.
        """
        with contextlib.suppress(OSError):
            status = os.lstat(self.path)
            if (status.st_dev, status.st_ino) == self._file:
                os.unlink(self.path)
        self.socket.close()
        os.close(self._lock)


def make_directories(admin: Admin) -> None:
    """Make those of the admin sockets where they are missing, as binding would: for a process that later may not.
    Raises AdminSocketError, OSError."""
    _make_directories(_checked_path(admin.socket).parent, None)
    if admin.view_socket is not None:
        gid = group_id(admin.view_group) if admin.view_group else None
        _make_directories(_checked_path(admin.view_socket).parent, gid)


def bind_loopback(address: Address) -> socket.socket:
    """Listen on a loopback TCP address. Raises AdminSocketError for any other address, or when it is in use."""
    host = "127.0.0.1" if address.host == "localhost" else address.host
    if not (host == "::1" or host.startswith("127.")):
        raise AdminSocketError(f"admin.http is {address}, which is not a loopback address")
    return bind_tcp(Address(host=host, port=address.port), "admin.http")


def bind_tcp(address: Address, key: str) -> socket.socket:
    """Listen on a TCP address; ``[::]`` takes IPv4, too. Raises AdminSocketError, naming the configuration's key."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        listener.close()
        kind = AdminSocketTaken if error.errno == errno.EADDRINUSE else AdminSocketError
        raise kind(f"{key} cannot listen on {address}: {error.strerror or error}") from error
    return listener


def group_id(group: str) -> int:
    """Raises AdminSocketError when there is no such group."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise AdminSocketError(f"admin.view_group: there is no group {group!r}") from None


def _checked_path(path: Path) -> Path:
    text = str(path)
    if text.startswith(("\0", "@")):
        raise AdminSocketError("an abstract admin socket has no permissions to protect it: name a path in a directory")
    absolute = Path(os.path.abspath(text))
    if len(os.fsencode(absolute)) > SOCKET_PATH_BYTES:
        raise AdminSocketError(f"the admin socket's path is over {SOCKET_PATH_BYTES} bytes: {absolute}")
    return absolute


def _prepare_directory(directory: Path, gid: int | None) -> None:
    """Make the directory private if it is not there; whichever it is, refuse one that others could tamper with."""
    try:
        _make_directories(directory, gid)
        # Nothing is followed in the last component, and what is checked is what was opened.
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise AdminSocketError(f"the admin socket's directory {directory} is not a real directory") from error
        raise AdminSocketError(f"cannot use the admin socket's directory {directory}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if status.st_uid not in (os.geteuid(), 0):
        raise AdminSocketError(
            f"the admin socket's directory {directory} belongs to uid {status.st_uid}, not to us or root: "
            "whoever owns it could replace the socket"
        )
    if status.st_mode & 0o022:
        raise AdminSocketError(
            f"the admin socket's directory {directory} can be written to by others (mode "
            f"{stat.S_IMODE(status.st_mode):04o}): use a directory of its own, mode 0700"
        )


def _make_directories(directory: Path, gid: int | None) -> None:
    if directory.exists() or directory.is_symlink():
        return
    _make_directories(directory.parent, None)
    before = os.umask(0o077)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        return  # made by another just now: it is checked next
    finally:
        os.umask(before)
    if gid is not None:
        os.chown(directory, -1, gid)
        os.chmod(directory, 0o750)  # noqa: S103 - the group was named to be let in


def _lock(path: Path) -> int:
    lock_path = path.with_name(path.name + ".lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(lock_path, flags, 0o600)
    except OSError as error:
        raise AdminSocketError(f"cannot open the lock file {lock_path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise AdminSocketTaken(
            f"another tlsidecar{f' (pid {holder})' if holder.isdigit() else ''} has the admin socket {path}: "
            "give this one a socket of its own"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def _remove_dead_socket(path: Path) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AdminSocketError(f"cannot look at the admin socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(status.st_mode):
        raise AdminSocketError(f"{path} is in the way of the admin socket and is not a socket: remove it")
    if status.st_uid != os.geteuid():
        raise AdminSocketError(f"the socket {path} belongs to uid {status.st_uid}, not to us: remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        result = probe.connect_ex(str(path))
    if result != errno.ECONNREFUSED:  # EAGAIN: somebody listens and is busy
        raise AdminSocketTaken(f"the socket {path} is in use by another process")
    os.unlink(path)


def _bind(path: Path, gid: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise AdminSocketError(f"cannot bind the admin socket {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    try:
        if gid is not None:
            os.chown(path, -1, gid)
            os.chmod(path, 0o660)
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        listener.close()
        os.unlink(path)
        raise AdminSocketError(f"cannot give the admin socket {path} to its group: {error.strerror}") from error
    return listener
