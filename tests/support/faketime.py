"""A sidecar's clock under the test's control, by libfaketime (package faketime)."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest


def environment(**settings: str) -> dict[str, str]:
    """What puts a process under libfaketime with these settings; skips the test where the library is missing."""
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not found:
        pytest.skip("needs the package faketime, which is not on this machine")
    return {"LD_PRELOAD": found[0], **settings}


def faster(factor: int) -> dict[str, str]:
    """Wall clock, monotonic clock and the waits of epoll, all so many times faster."""
    return environment(FAKETIME=f"+0 x{factor}", DONT_FAKE_MONOTONIC="0")


class WallClock:
    """The wall clock alone, set by the test while the process runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set("+0")

    @property
    def environment(self) -> dict[str, str]:
        # Each process opens the library's semaphore in /dev/shm, where no sandbox of ours lets it write: one that is
        # started inside of it, as the fork server of several workers is, would end at once.
        return environment(
            FAKETIME_TIMESTAMP_FILE=str(self._path),
            FAKETIME_NO_CACHE="1",
            DONT_FAKE_MONOTONIC="1",
            TLSIDECAR_SANDBOX="off",
        )

    def set(self, offset: str) -> None:
        """``+30d``, ``-1h``: away from the real time."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(offset + "\n")
        fresh.rename(self._path)
