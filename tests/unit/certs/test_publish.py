"""A published set is the old one or the new one, whatever fails or dies in between."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from unit.certs import forge

from certs.errors import PublishError
from certs.publish import PublishedFile, publish
from certs.sources.files import FileSource

OLD = {"tls.crt": b"old crt", "tls.key": b"old key", "ca.crt": b"old ca"}
NEW = {"tls.crt": b"new crt", "tls.key": b"new key", "ca.crt": b"new ca", "issued.json": b"{}"}

STEPS = [
    "cleaned",
    "directory_created",
    *(f"written:{name}" for name in NEW),
    "generation_synced",
    *(f"linked:{name}" for name in NEW),
    "new_link_made",
    "swapped",
    "synced",
]
BEFORE_SWAP = STEPS[: STEPS.index("swapped")]


def as_files(contents: dict[str, bytes]) -> dict[str, PublishedFile]:
    return {name: PublishedFile(data, 0o600 if name == "tls.key" else 0o644) for name, data in contents.items()}


def put(directory: Path, contents: dict[str, bytes], **more: object) -> Path:
    return publish(directory, as_files(contents), forge.NOW, **more)  # type: ignore[arg-type]


def read(directory: Path, names: dict[str, bytes]) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in names}


def test_a_set_is_laid_out_as_in_a_secret_volume(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    generation = put(out, OLD)
    assert read(out, OLD) == OLD
    assert os.readlink(out / "..data") == generation.name
    assert {name: os.readlink(out / name) for name in OLD} == {name: f"..data/{name}" for name in OLD}
    assert stat.S_IMODE((generation / "tls.key").stat().st_mode) == 0o600
    second = put(out, NEW)
    assert read(out, NEW) == NEW
    assert sorted(entry.name for entry in out.iterdir()) == sorted(["..data", second.name, *NEW])


def test_the_key_is_private_from_its_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "chmod", lambda *_: pytest.fail("chmod"))
    monkeypatch.setattr(os, "fchmod", lambda *_: pytest.fail("fchmod"))
    old = os.umask(0)
    try:
        generation = put(tmp_path, NEW)
    finally:
        os.umask(old)
    assert stat.S_IMODE((generation / "tls.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((generation / "tls.crt").stat().st_mode) == 0o644


def folder(within: Path, step: str) -> Path:
    return within / step.replace(":", "_")


# A process for each step, forked from one that has loaded everything: it dies without another line of Python.
DYING = """
import os, sys
from pathlib import Path
from unit.certs.test_publish import NEW, STEPS, folder, put
for step in STEPS:
    if os.fork() == 0:
        try:
            put(folder(Path(sys.argv[1]), step), NEW, failpoint=lambda at: os._exit(42) if at == step else None)
        finally:
            os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]), step)
"""


@pytest.mark.parametrize("with_old", [True, False], ids=["over an old set", "first set"])
def test_death_at_any_step_leaves_the_old_set_or_the_new(tmp_path: Path, with_old: bool) -> None:
    if with_old:
        for step in STEPS:
            put(folder(tmp_path, step), OLD)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    told = subprocess.run(command, env=environment, timeout=60, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert told.splitlines() == [f"42 {step}" for step in STEPS]
    for step in STEPS:
        out = folder(tmp_path, step)
        if step not in BEFORE_SWAP:
            assert read(out, NEW) == NEW
        elif with_old:
            assert read(out, OLD) == OLD
        else:
            assert not any((out / name).exists() for name in NEW), step
        # The next publishing succeeds, and nothing is left of the one that died.
        last = put(out, OLD | {"issued.json": b"2"})
        assert read(out, OLD) == OLD
        generations = [entry.name for entry in out.iterdir() if entry.is_dir() and not entry.is_symlink()]
        assert generations == [last.name]
        assert not os.path.lexists(out / "..data_tmp")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_step_is_told_and_leaves_nothing(tmp_path: Path, step: str, number: int) -> None:
    put(tmp_path, OLD)

    def fail(at: str) -> None:
        if at == step:
            raise OSError(number, os.strerror(number))

    with pytest.raises(PublishError, match=os.strerror(number)):
        put(tmp_path, NEW, failpoint=fail)
    expected = OLD if step in BEFORE_SWAP else NEW
    assert read(tmp_path, expected) == expected
    assert not os.path.lexists(tmp_path / "..data_tmp")
    if step in BEFORE_SWAP:
        directories = [entry for entry in tmp_path.iterdir() if entry.is_dir() and not entry.is_symlink()]
        assert len(directories) == 1
    put(tmp_path, NEW)
    assert read(tmp_path, NEW) == NEW


def test_a_disk_that_takes_no_more_is_survived(tmp_path: Path) -> None:
    """A real write error from the kernel: a limit on the size of files."""
    put(tmp_path, OLD)
    script = (
        "import resource, signal, sys; from pathlib import Path; from unit.certs.test_publish import put, NEW\n"
        "from certs.errors import PublishError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: put(Path(sys.argv[1]), {**NEW, 'ca.crt': b'x' * 100_000})\n"
        "except PublishError as error: sys.exit(str(error))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script, str(tmp_path)]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 1
    assert "File too large" in shown.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096  # the limit was the child's
    assert read(tmp_path, OLD) == OLD
    assert len([entry for entry in tmp_path.iterdir() if entry.is_dir() and not entry.is_symlink()]) == 1


@pytest.mark.parametrize("make", ["file", "link", "directory"])
def test_somebody_elses_file_is_not_replaced(tmp_path: Path, make: str) -> None:
    path = tmp_path / "tls.crt"
    if make == "file":
        path.write_bytes(b"precious")
    elif make == "link":
        path.symlink_to("elsewhere")
    else:
        path.mkdir()
    before = sorted(entry.name for entry in tmp_path.iterdir())
    with pytest.raises(PublishError, match="not published by us"):
        put(tmp_path, NEW)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def test_what_is_not_a_generation_of_ours_is_left_alone(tmp_path: Path) -> None:
    for name in ("2026_notes", "..hidden", ".git"):
        (tmp_path / name).mkdir()
    put(tmp_path, OLD)
    put(tmp_path, NEW)
    assert {"2026_notes", "..hidden", ".git"} <= {entry.name for entry in tmp_path.iterdir()}


def test_two_at_once_take_turns(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def publish_many(contents: dict[str, bytes]) -> None:
        try:
            for _ in range(20):
                put(tmp_path, contents)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=publish_many, args=(contents,)) for contents in (OLD, NEW)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len([entry for entry in tmp_path.iterdir() if entry.is_dir() and not entry.is_symlink()]) == 1


def test_a_reader_beside_a_publisher_always_has_a_whole_set(tmp_path: Path) -> None:
    root = forge.authority()
    leaves = [forge.leaf(root) for _ in range(3)]

    def files(made: forge.Made) -> dict[str, bytes]:
        return {"tls.crt": made.pem, "tls.key": made.key_pem(), "ca.crt": root.pem}

    put(tmp_path, files(leaves[0]))
    source = FileSource(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt")
    done = threading.Event()

    def publish_many() -> None:
        for turn in range(60):
            put(tmp_path, files(leaves[turn % 3]))
        done.set()

    publisher = threading.Thread(target=publish_many)
    publisher.start()
    seen = 0
    while not done.is_set():
        assert source.load().leaf in [made.read for made in leaves]
        seen += 1
    publisher.join()
    assert seen > 10
