"""Material that a program prints: Vault, step, AWS Private CA, or whatever else a site issues certificates with.

The program is started directly and never through a shell, in a session of its own, with an environment that holds no
more than PATH and what is named. It has a deadline, and its output a bound; what it writes to standard error goes into
the log. It prints one combined PEM: the leaf, its intermediates, the key, and, where the configuration does not say
whom to trust, the roots that may vouch for peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import selectors
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from certs.chain import arrange, leaf_of
from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import MaterialError, MaterialReason
from certs.material import Material, PrivateKey
from certs.pem import MAX_FILE_BYTES, certificates_in, key_in, read_blocks
from certs.sources import Candidate, Event, Failed
from certs.sources.attempts import DEADLINE_S, Attempts
from certs.sources.bundles import Bundle, Bundles
from certs.sources.watch import Watch

POLL_S = 1.0
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
MAX_ERROR_BYTES = 64 * 1024
MAX_ERROR_LINES = 20
PIECE_BYTES = 64 * 1024
END_POLL_S = 0.1  # between looks whether the program has ended while its pipes are still open
# How long the attempt's thread may take beyond the program's own deadline, to kill it and to read what it printed.
GRACE_S = 5.0

_log = logging.getLogger("tlsidecar.source")


class CommandSource:
    """Runs ``argv`` whenever new material is wanted; ``bundles`` is whom to trust, unless the program says."""

    def __init__(
        self,
        argv: Sequence[str],
        bundles: Bundles | None = None,
        variables: Sequence[str] = (),
        clock: Clock = SYSTEM_CLOCK,
        poll_s: float = POLL_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """``variables`` are the names of environment variables that the program gets; ``deadline_s`` is how long one
        run may take."""
        self._argv = tuple(argv)
        self._bundles = bundles
        self._variables = tuple(variables)
        self._poll_s = poll_s
        self._deadline_s = deadline_s
        self._attempts = Attempts(clock, deadline_s + GRACE_S)
        self._watch = Watch(bundles.paths if bundles is not None else list, clock)
        self._seen = ""
        self._printed: Material | None = None

    async def read(self) -> Material | None:
        """What the program printed last, with whom the files say to trust by now; ``None`` before the first run, once
        the program is seen to be there."""
        return await self._attempts.make("reading", self._read)

    async def renew(self) -> Material:
        """Run the program. Raises :class:`MaterialError` (``command_failed`` and what is wrong with its output)."""
        return await self._attempts.make("running the command", self._run)

    async def follow(self) -> AsyncIterator[Event]:
        """Changes of the files that say whom to trust."""
        hangs = False
        while True:
            await asyncio.sleep(self._poll_s)
            if self._bundles is None or self._printed is None:
                continue
            try:
                fingerprint = await self._attempts.make("looking at the trust bundle", self._watch.fingerprint)
                if fingerprint == self._seen and not hangs:
                    continue
                hangs = False
                found = await self.read()
                if found is not None:
                    yield Candidate(found)
            except MaterialError as error:
                if not hangs:
                    yield Failed(error)
                hangs = error.reason is MaterialReason.SOURCE_TIMEOUT

    def describe(self) -> str:
        trust = f"; {self._bundles}" if self._bundles is not None else ""
        return f"command {self._argv[0]}{trust}"

    @property
    def renews(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"CommandSource({self.describe()})"

    # On a thread of their own.

    def _read(self) -> Material | None:
        self._program()
        bundle = self._trusted()
        printed = self._printed
        if printed is None or bundle is None:
            return printed
        return replace(printed, trust=bundle.trust, crls=bundle.crls, federated=bundle.federated)

    def _run(self) -> Material:
        material = self._material(self._output(), self._trusted())
        self._printed = material
        return material

    def _trusted(self) -> Bundle | None:
        if self._bundles is None:
            return None
        self._seen = self._watch.fingerprint()
        return self._bundles.read()

    def _program(self) -> str:
        """Its path; whoever can change it could hand us any identity."""
        found = shutil.which(self._argv[0], path=self._environment()["PATH"])
        if found is None:
            detail = f"{self._argv[0]} is not there, or not executable"
            raise MaterialError(MaterialReason.COMMAND_FAILED, detail)
        status = os.stat(found)
        if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & stat.S_IWOTH:
            raise MaterialError(MaterialReason.COMMAND_FAILED, "others could change the program", Path(found))
        return found

    def _environment(self) -> dict[str, str]:
        named = {name: os.environ[name] for name in self._variables if name in os.environ}
        return {"PATH": os.environ.get("PATH") or DEFAULT_PATH, "LC_ALL": "C.UTF-8", **named}

    def _output(self) -> bytes:
        """What one run prints. Raises :class:`MaterialError`."""
        program = self._program()
        try:
            process = subprocess.Popen(  # noqa: S603 - the program the configuration names, and no shell
                self._argv,
                executable=program,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment(),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise MaterialError(MaterialReason.COMMAND_FAILED, error.strerror or str(error)) from None
        watchdog = _Watchdog(process, self._deadline_s)
        with process, watchdog:
            output, errors = _printed(process, watchdog)
            is_too_long = len(output) > MAX_FILE_BYTES
            if is_too_long:
                watchdog.kill()
            process.wait()
        _log_errors(self._argv[0], errors)
        if watchdog.has_struck and not is_too_long:
            detail = f"{self._argv[0]} took longer than {self._deadline_s:g} s, and was killed"
            raise MaterialError(MaterialReason.SOURCE_TIMEOUT, detail)
        if is_too_long:
            detail = f"{self._argv[0]} printed more than {MAX_FILE_BYTES} bytes, and was killed"
            raise MaterialError(MaterialReason.COMMAND_FAILED, detail)
        if process.returncode:
            how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
            detail = f"{self._argv[0]} ended with {how}; what it said is in the log"
            raise MaterialError(MaterialReason.COMMAND_FAILED, detail)
        return output

    def _material(self, output: bytes, bundle: Bundle | None) -> Material:
        """Whatever is wrong with it is the program's doing, and nothing of it is quoted: it holds the key."""
        place = Path(f"output of {self._argv[0]}")
        blocks = read_blocks(output, place)
        key = PrivateKey(key_in(blocks, None, place))
        certificates = certificates_in(blocks, place)
        leaf = leaf_of(certificates, key.spki)
        if leaf is None:
            raise MaterialError(MaterialReason.KEY_MISMATCH, "the key fits none of the certificates", place)
        if bundle is None:
            roots = tuple(each for each in dict.fromkeys(certificates) if each.is_self_issued and each != leaf)
            if not roots:
                detail = "it holds no root, and the configuration has no trust"
                raise MaterialError(MaterialReason.TRUST_EMPTY, detail, place)
            certificates = [each for each in certificates if each not in roots]
            bundle = Bundle(trust=roots)
        chain, notes = arrange(leaf, certificates)
        return Material(
            leaf=leaf,
            chain=chain,
            key=key,
            trust=bundle.trust,
            crls=bundle.crls,
            federated=bundle.federated,
            source=self.describe(),
            notes=notes,
        )


class _Watchdog:
    """Kills a program, and whatever it has started, when its time is up or it is told to. A context manager."""

    def __init__(self, process: subprocess.Popen[bytes], deadline_s: float) -> None:
        self.has_struck = False
        self._process = process
        self._timer = threading.Timer(deadline_s, self.kill)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> _Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def kill(self) -> None:
        self.has_struck = True
        if self._process.returncode is not None:
            return  # its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _printed(process: subprocess.Popen[bytes], watchdog: _Watchdog) -> tuple[bytes, bytes]:
    """What a program prints until it ends, up to a little over the bounds, and what it says of errors.

    A helper that it leaves behind (an agent, say) may hold the pipes open for ever: the program's end is the end."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, (output, MAX_FILE_BYTES + 1))
        selector.register(process.stderr, selectors.EVENT_READ, (errors, MAX_ERROR_BYTES))
        while selector.get_map() and len(output) <= MAX_FILE_BYTES:
            has_ended = process.poll() is not None  # asked first: whatever it printed is there then
            ready = selector.select(0 if has_ended else END_POLL_S)
            if has_ended and (not ready or watchdog.has_struck):
                break
            for key, _ in ready:
                piece = os.read(key.fd, PIECE_BYTES)
                if not piece:
                    selector.unregister(key.fileobj)
                kept, limit = key.data
                kept += piece[: limit - len(kept)]
    return bytes(output), bytes(errors)


def _log_errors(program: str, errors: bytes) -> None:
    lines = errors.decode("utf-8", "replace").splitlines()
    for line in lines[:MAX_ERROR_LINES]:
        _log.warning("%s: %s", program, line)
    if len(lines) > MAX_ERROR_LINES:
        _log.warning("%s: %d lines more", program, len(lines) - MAX_ERROR_LINES)
