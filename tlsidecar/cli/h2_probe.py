"""Whether the services behind listeners with ``http2`` speak it in the clear, asked before the first call fails."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Final

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.frames import FrameReader
from tlsidecar.settings import Address, Mode, Settings

PROBE_TIMEOUT_S: Final = 1.0


def services_without_http2(settings: Settings) -> Iterator[str]:
    """A sentence for each upstream that answers HTTP/2's preface with something else. Of one that does not answer at
    all nothing is known: it may not have been started yet."""
    for listener in settings.listeners:
        if listener.http2 == "off" or listener.mode is not Mode.TERMINATE:
            continue
        for upstream in listener.upstreams:
            if _speaks_http2(upstream) is False:
                yield (
                    f"listener[{listener.name}].upstream: {upstream} does not speak HTTP/2 in the clear "
                    "(with prior knowledge), which http2 promises its clients"
                )


def _speaks_http2(address: Address) -> bool | None:
    deadline = time.monotonic() + PROBE_TIMEOUT_S
    reader = FrameReader()
    try:
        with contextlib.closing(_connect(address)) as sock:
            sock.sendall(frames.PREFACE + frames.settings([(frames.ENABLE_PUSH, 0)]))
            while (left_s := deadline - time.monotonic()) > 0:
                sock.settimeout(left_s)
                data = sock.recv(4096)
                _, found = reader.read(data, len(data))
                if found:
                    return found[0][0] == frames.SETTINGS
                if not data or reader.fault is not None:
                    return False
    except TimeoutError:
        return False  # it took the preface for the beginning of something else
    except ConnectionResetError:
        return False
    except OSError:
        return None
    return False


def _connect(address: Address) -> socket.socket:
    if not address.is_unix:
        return socket.create_connection((address.host, address.port), PROBE_TIMEOUT_S)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(PROBE_TIMEOUT_S)
        sock.connect(address.path)
    except OSError:
        sock.close()
        raise
    return sock
