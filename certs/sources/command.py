"""Material that a program prints: Vault, step, AWS Private CA, or whatever else a site issues certificates with.

The program is started directly and never through a shell, in a session of its own, with an environment that holds no
more than PATH and what is named. It has a deadline, and its output a bound; what it writes to standard error goes into
the log. It prints one combined PEM: the leaf, its intermediates, the key, and, where the configuration does not say
whom to trust, the roots that may vouch for peers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from certs.certificate import Certificate
from certs.chain import arrange, leaf_of
from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import MaterialError, MaterialReason
from certs.material import Material, PrivateKey
from certs.pem import certificates_in, key_in, missing, read_blocks
from certs.program import MAX_OUTPUT_BYTES, Program, Run, environment, run_program
from certs.sources import Candidate, Event, Failed
from certs.sources.attempts import DEADLINE_S, Attempts
from certs.sources.bundles import Bundle, Bundles
from certs.sources.watch import Watch
from certs.text import mismatch_text

POLL_S = 1.0
MAX_ERROR_LINES = 20
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
        run: Run | None = None,
    ) -> None:
        """``variables`` are the names of environment variables that the program gets; ``deadline_s`` is how long one
        run may take; ``run`` runs it, by default here. It raises OSError when it cannot."""
        self._argv = tuple(argv)
        self._bundles = bundles
        self._variables = tuple(variables)
        self._poll_s = poll_s
        self._deadline_s = deadline_s
        self._run_program = run or run_program
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
        return bundle.applied_to(printed)

    def _run(self) -> Material:
        bundle = self._trusted()  # first: nothing is ordered that could not be used
        self._printed = self._material(self._output())
        return bundle.applied_to(self._printed) if bundle is not None else self._printed

    def _trusted(self) -> Bundle | None:
        if self._bundles is None:
            return None
        self._seen = self._watch.fingerprint()
        return self._bundles.read()

    def _program(self) -> str:
        """Its path; whoever can change it could hand us any identity."""
        found = shutil.which(self._argv[0], path=environment(self._variables)["PATH"])
        if found is None:
            detail = f"{self._argv[0]} is not there, or not executable"
            raise MaterialError(MaterialReason.COMMAND_FAILED, detail)
        status = os.stat(found)
        if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & stat.S_IWOTH:
            raise MaterialError(MaterialReason.COMMAND_FAILED, "others could change the program", Path(found))
        return found

    def _output(self) -> bytes:
        """What one run prints. Raises :class:`MaterialError`."""
        name = self._argv[0]
        try:
            ran = self._run_program(Program(self._argv, self._program(), self._variables, self._deadline_s))
        except OSError as error:
            raise MaterialError(MaterialReason.COMMAND_FAILED, error.strerror or str(error)) from None
        if ran.failure:
            raise MaterialError(MaterialReason.COMMAND_FAILED, ran.failure)
        _log_errors(name, ran.errors)
        if ran.is_too_long:
            detail = f"{name} printed more than {MAX_OUTPUT_BYTES} bytes, and was killed"
            raise MaterialError(MaterialReason.COMMAND_FAILED, detail)
        if ran.is_late:
            detail = f"{name} took longer than {self._deadline_s:g} s, and was killed"
            raise MaterialError(MaterialReason.SOURCE_TIMEOUT, detail)
        if ran.code:
            how = f"exit code {ran.code}" if ran.code > 0 else f"signal {-ran.code}"
            detail = f"{name} ended with {how}; what it said is in the log"
            raise MaterialError(MaterialReason.COMMAND_FAILED, detail)
        return ran.output

    def _material(self, output: bytes) -> Material:
        """What was printed; whom to trust only where no file says it. Whatever is wrong with it is the program's
        doing, and nothing of it is quoted: it holds the key."""
        place = Path(f"output of {self._argv[0]}")
        blocks = read_blocks(output, place)
        key = PrivateKey(key_in(blocks, None, place))
        certificates = certificates_in(blocks, place)
        if not certificates:
            raise MaterialError(MaterialReason.PEM_INVALID, missing("certificate", blocks), place)
        leaf = leaf_of(certificates, key.spki)
        if leaf is None:
            detail = mismatch_text("the key", key.reveal().public_key(), certificates, "it")
            raise MaterialError(MaterialReason.KEY_MISMATCH, detail, place)
        roots: tuple[Certificate, ...] = ()
        if self._bundles is None:
            roots = tuple(each for each in dict.fromkeys(certificates) if each.is_self_issued and each != leaf)
            if not roots:
                detail = "it holds no root, and the configuration has no trust"
                raise MaterialError(MaterialReason.TRUST_EMPTY, detail, place)
            certificates = [each for each in certificates if each not in roots]
        chain, notes = arrange(leaf, certificates)
        return Material(leaf, chain, key, trust=roots, source=self.describe(), notes=notes)


def _log_errors(program: str, errors: bytes) -> None:
    lines = errors.decode("utf-8", "replace").splitlines()
    for line in lines[:MAX_ERROR_LINES]:
        _log.warning("%s: %s", program, line)
    if len(lines) > MAX_ERROR_LINES:
        _log.warning("%s: %d lines more", program, len(lines) - MAX_ERROR_LINES)
