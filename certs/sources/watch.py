"""Whether files changed: asked every second, and so by their status first, by content where the status cannot tell."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from certs.clock import Clock
from certs.errors import MaterialError
from certs.safe_files import Directory, Secrecy

RECENT_S = 3.0  # a file changed this recently is read again: its timestamps may be too coarse to show a second change


@dataclass(slots=True)
class _Seen:
    status: tuple[int, ...]
    content: str


@dataclass(slots=True)
class Watch:
    """Some files, by what ``paths`` says each time."""

    paths: Callable[[], list[Path]]
    clock: Clock
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)  # hides digests of passphrases
    seen: dict[Path, _Seen] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Changes when a file does, and when there are other files. Comparable with earlier ones of this object."""
        digest = hashlib.blake2b(digest_size=16, key=self.salt)
        now_s = self.clock.now().timestamp()
        paths = self.paths()
        for path in paths:
            digest.update(f"{path} {self._state(path, now_s)}".encode(errors="surrogateescape"))
            digest.update(b"\n")
        self.seen = {path: self.seen[path] for path in paths if path in self.seen}
        return digest.hexdigest()

    def _state(self, path: Path, now_s: float) -> str:
        try:
            status = os.stat(path)
        except OSError as error:
            self.seen.pop(path, None)
            return f"error {error.errno}"
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        access = f"{status.st_mode:o} {status.st_uid}"
        seen = self.seen.get(path)
        # A timestamp in the future, as after the wall clock was set back, counts as recent: it says nothing.
        is_recent = now_s - max(status.st_ctime, status.st_mtime) < RECENT_S
        if seen is None or seen.status != key or is_recent:
            seen = _Seen(key, self._content(path))
            self.seen[path] = seen
        return f"{access} {seen.content}"

    def _content(self, path: Path) -> str:
        try:
            with Directory(path.parent) as directory:
                data = directory.read(path.name, Secrecy.PUBLIC)
        except MaterialError as error:
            return f"error {error.reason.value}"
        return hashlib.blake2b(data, digest_size=16, key=self.salt).hexdigest()
