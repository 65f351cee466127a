"""What the process tells whoever started it, in systemd's words (sd_notify(3)): that it serves, reloads, ends."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import MutableMapping, Sequence

_log = logging.getLogger("tlsidecar.service_manager")

READY, RELOADING, STOPPING = "READY=1", "RELOADING=1", "STOPPING=1"


class ServiceManager:
    """Whoever started us and listens; one that is gone, or never was, is nobody's trouble."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        """``sock`` is a connected datagram socket."""
        self._sock = sock
        self.keeps_sockets = False
        self.complaint = ""  # why somebody who is named cannot be told

    @property
    def listens(self) -> bool:
        """Whether there is somebody to tell."""
        return self._sock is not None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """The one that ``NOTIFY_SOCKET`` names, which is taken out: what we start is not to speak for us."""
        name = environ.pop("NOTIFY_SOCKET", "")
        if not name:
            return cls()
        manager = cls(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK))
        assert manager._sock is not None
        manager.keeps_sockets = True
        try:
            manager._sock.connect("\0" + name[1:] if name.startswith("@") else name)
        except (OSError, ValueError) as error:
            manager.close()
            manager.complaint = f"NOTIFY_SOCKET {name!a}: {getattr(error, 'strerror', None) or error}"
        return manager

    def tell(self, *words: str) -> None:
        """Never waits and never raises."""
        if self._sock is None:
            return
        try:
            self._sock.send("\n".join(word.replace("\n", " ") for word in words).encode("utf-8", "backslashreplace"))
        except BlockingIOError:
            pass  # it is behind with its reading; what is told again is told again
        except OSError as error:
            self._lose(error.strerror or str(error))

    def keep(self, name: str, descriptors: Sequence[int]) -> None:
        """Give listening sockets into the manager's keeping: should we crash, the next of us gets them."""
        if self._sock is None or not self.keeps_sockets:
            return
        words = f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0".encode()
        with contextlib.suppress(BlockingIOError, OSError):
            socket.send_fds(self._sock, [words], descriptors)

    def close(self) -> None:
        """Nobody is told any more."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _lose(self, why: str) -> None:
        _log.warning("the service manager is not told any more how we are: %s", why)
        with contextlib.suppress(OSError):
            self.close()
