"""Material that a program prints: what it gets, what it may not do, and what becomes of what it prints."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import time
from pathlib import Path

import pytest
from unit.certs import forge

from certs.errors import MaterialError, MaterialReason
from certs.pem import MAX_FILE_BYTES
from certs.sources import Candidate, Source
from certs.sources.bundles import Bundles, TrustFile
from certs.sources.command import CommandSource

ROOT = forge.authority("Root")
MIDDLE = forge.authority("Middle", ROOT)
LEAF = forge.leaf(MIDDLE)
PEM = LEAF.pem + MIDDLE.pem + LEAF.key_pem() + ROOT.pem


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Prints good material; :func:`prints` makes it do something else."""
    (tmp_path / "material.pem").write_bytes(PEM)
    return prints(tmp_path / "issue", f"cat {tmp_path}/material.pem")


def prints(path: Path, script: str) -> Path:
    return forge.write(path, f"#!/bin/sh\n{script}\n".encode(), 0o755)


def source_of(program: Path, *arguments: str, trust: Path | None = None, **more: object) -> CommandSource:
    bundles = Bundles([TrustFile(trust)]) if trust is not None else None
    return CommandSource([str(program), *arguments], bundles, clock=forge.ManualClock(), **more)  # type: ignore[arg-type]


async def refusal(source: CommandSource) -> MaterialError:
    with pytest.raises(MaterialError) as raised:
        await source.renew()
    return raised.value


async def test_one_combined_pem_is_everything(program: Path) -> None:
    source = source_of(program)
    assert isinstance(source, Source)
    assert source.renews
    assert await source.read() is None
    material = await source.renew()
    assert (material.leaf, material.chain, material.trust) == (LEAF.read, (MIDDLE.read,), (ROOT.read,))
    again = await source.read()
    assert again is not None
    assert again.digest == material.digest


async def test_files_say_whom_to_trust_and_are_followed(program: Path, tmp_path: Path) -> None:
    other = forge.authority("Other")
    trust = forge.write(tmp_path / "ca.crt", other.pem)
    source = source_of(program, trust=trust, poll_s=0.01)
    assert (await source.renew()).trust == (other.read,)
    events = source.follow()
    forge.write(trust, other.pem + ROOT.pem)
    event = await asyncio.wait_for(anext(events), 10)
    assert isinstance(event, Candidate)
    assert (event.material.leaf, event.material.trust) == (LEAF.read, (other.read, ROOT.read))


async def test_its_environment_and_arguments_are_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "material.pem").write_bytes(PEM)
    seen = tmp_path / "seen"
    looks = f'env | cut -d= -f1 | sort >{seen}; echo "$@" >>{seen}; pwd >>{seen}; cat >>{seen}'
    program = prints(tmp_path / "issue", f"{looks}; cat {tmp_path}/material.pem")
    monkeypatch.setenv("VAULT_ADDR", "https://vault.internal")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    await source_of(program, "--ttl", "1h; echo $HOME", variables=["VAULT_ADDR", "NOT_SET"]).renew()
    assert seen.read_text().splitlines() == ["LC_ALL", "PATH", "PWD", "VAULT_ADDR", "--ttl 1h; echo $HOME", "/"]


async def test_what_it_says_on_standard_error_is_logged_and_nothing_of_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "material.pem").write_bytes(PEM[:-60])
    program = prints(tmp_path / "issue", f"echo no permission >&2; cat {tmp_path}/material.pem; exit 3")
    with caplog.at_level(logging.WARNING):
        error = await refusal(source_of(program))
    assert (error.reason, "exit code 3" in error.detail) == (MaterialReason.COMMAND_FAILED, True)
    assert "no permission" in caplog.text
    key_line = LEAF.key_pem().splitlines()[1].decode()
    assert key_line not in caplog.text + str(error)


async def test_a_flood_on_standard_error_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = prints(tmp_path / "issue", "yes noise | head -c 1000000 >&2; exit 1")
    with caplog.at_level(logging.WARNING):
        await refusal(source_of(program))
    assert len(caplog.records) < 30
    assert "lines more" in caplog.records[-1].getMessage()


WRONG: dict[str, tuple[str, MaterialReason]] = {
    "nothing": ("true", MaterialReason.PEM_INCOMPLETE),
    "garbage": ("echo not PEM", MaterialReason.PEM_INVALID),
    "no key": ("cat $0.leaf", MaterialReason.KEY_MISSING),
    "another key": ("cat $0.leaf $0.other", MaterialReason.KEY_MISMATCH),
    "no root": ("cat $0.leaf $0.key", MaterialReason.TRUST_EMPTY),
    "a signal": ("kill -9 $$", MaterialReason.COMMAND_FAILED),
    "too much": (f"head -c {MAX_FILE_BYTES + 1} /dev/zero; sleep 60", MaterialReason.COMMAND_FAILED),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_wrong_with_its_output_is_a_reason(what: str, tmp_path: Path) -> None:
    script, reason = WRONG[what]
    for name, content in (("leaf", LEAF.pem), ("key", LEAF.key_pem()), ("other", forge.leaf().key_pem())):
        (tmp_path / f"issue.{name}").write_bytes(content)
    assert (await refusal(source_of(prints(tmp_path / "issue", script)))).reason is reason


async def test_one_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = prints(tmp_path / "issue", f"sleep 600 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait")
    for deadline_s in (0.5, 5.0, 30.0):  # a busy machine may not have come to the second line by the first
        began = time.monotonic()
        source = source_of(program, deadline_s=deadline_s)
        assert (await refusal(source)).reason is MaterialReason.SOURCE_TIMEOUT
        assert time.monotonic() - began < deadline_s + 10
        if pids.exists():
            break
    async with asyncio.timeout(20):  # they are killed by then, and the kernel may need a moment for it
        while any(_runs(int(pid)) for pid in pids.read_text().split()):
            await asyncio.sleep(0.01)
    assert (await refusal(source)).reason is MaterialReason.SOURCE_TIMEOUT  # and may be tried again at once


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_program_that_is_not_there_is_said_without_running_it(program: Path, tmp_path: Path) -> None:
    missing = source_of(tmp_path / "nowhere")
    for attempt in (missing.read, missing.renew):
        with pytest.raises(MaterialError, match="is not there, or not executable"):
            await attempt()
    program.chmod(0o644)
    with pytest.raises(MaterialError, match="not executable"):
        await source_of(program).read()


async def test_a_program_that_others_could_change_is_not_run(program: Path) -> None:
    program.chmod(0o777)
    error = await refusal(source_of(program))
    assert (error.reason, error.detail) == (MaterialReason.COMMAND_FAILED, "others could change the program")
    program.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(program, 12345, 12345)
        assert (await refusal(source_of(program))).reason is MaterialReason.COMMAND_FAILED
    assert stat.S_IMODE(program.stat().st_mode) == 0o755


async def test_one_failure_costs_nothing_of_what_was_printed_before(program: Path, tmp_path: Path) -> None:
    source = source_of(program)
    material = await source.renew()
    (tmp_path / "material.pem").write_bytes(b"broken")
    await refusal(source)
    kept = await source.read()
    assert kept is not None
    assert kept.digest == material.digest


async def test_a_helper_that_it_leaves_behind_holds_nothing_up(program: Path, tmp_path: Path) -> None:
    """As an agent does that keeps both pipes; in a session of its own no signal of ours would reach it."""
    left = tmp_path / "left"
    prints(program, f"setsid sh -c 'echo $$ >{left}; exec sleep 60' &\ncat {tmp_path}/material.pem")
    source = source_of(program)
    try:
        assert (await source.renew()).leaf == LEAF.read
        assert (await source.renew()).leaf == LEAF.read
    finally:
        deadline = time.monotonic() + 10
        while not (left.exists() and left.read_text()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        os.kill(int(left.read_text()), signal.SIGKILL)


async def test_what_is_cut_of_standard_error_is_kept_nowhere(program: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    prints(program, f"readlink /proc/self/fd/2 >{seen}\ncat {tmp_path}/material.pem")
    assert (await source_of(program).renew()).leaf == LEAF.read
    assert seen.read_text().startswith("pipe:")
