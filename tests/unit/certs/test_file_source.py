"""Reading matched material from files that others write, swap, cut and misplace."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from unit.certs import forge

from certs.errors import MaterialError, MaterialReason
from certs.safe_files import Directory, Secrecy
from certs.sources import Source
from certs.sources import files as file_source
from certs.sources.bundles import TrustFile
from certs.sources.files import FileSource
from certs.sources.watch import Watch

ROOT = forge.authority()
MIDDLE = forge.authority("Middle", ROOT)
LEAF = forge.leaf(MIDDLE)
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def files(tmp_path: Path) -> forge.Files:
    return forge.write_set(tmp_path, LEAF, MIDDLE, trust=[ROOT])


def source_of(files: forge.Files, **more: object) -> FileSource:
    return FileSource(files.cert, files.key, files.trust, **more)  # type: ignore[arg-type]


def refusal(source: FileSource) -> MaterialError:
    with pytest.raises(MaterialError) as raised:
        source.load()
    return raised.value


def test_a_whole_set_is_loaded(files: forge.Files) -> None:
    crl = forge.write(files.cert.with_name("ca.crl"), forge.revocations(MIDDLE, 1).public_bytes(Encoding.PEM))
    trust = [TrustFile(files.trust), TrustFile(files.trust, "other.example")]
    source = FileSource(files.cert, files.key, trust, crl=crl)
    material = source.load()
    assert material.leaf == LEAF.read
    assert material.chain == (MIDDLE.read,)
    assert material.trust == (ROOT.read,)
    assert len(material.crls) == 1
    assert material.federated == {"other.example": (ROOT.read,)}
    assert material.notes == ()
    assert isinstance(source, Source)
    assert not source.renews
    assert (
        material.source
        == f"files: {files.cert}, {files.key}; trust {files.trust}, {files.trust} for other.example; CRL {crl}"
    )


async def test_between_the_steps_of_a_reading_whoever_serves_has_time(
    files: forge.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[str]] = [[]]

    def watched(owner: Any, name: str) -> None:
        plain: Callable[..., object] = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *values: (made[-1].append(name), plain(*values))[1])

    for owner, name in (
        (Watch, "fingerprint"),
        (file_source, "key_in"),
        (file_source, "certificates_in"),
        (file_source, "arrange"),
    ):
        watched(owner, name)
    material = await source_of(files, rest=lambda: made.append([])).read()
    assert material.leaf == LEAF.read
    assert made == [["fingerprint"], ["key_in"], ["certificates_in"], ["arrange"]]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_one_combined_pem_with_the_key_anywhere(tmp_path: Path, order: list[int]) -> None:
    parts = [LEAF.key_pem(), LEAF.pem, MIDDLE.pem]
    combined = forge.write(tmp_path / "all.pem", b"".join(parts[index] for index in order), 0o600)
    trust = forge.write(tmp_path / "ca.crt", ROOT.pem)
    material = FileSource(combined, None, trust).load()
    assert (material.leaf, material.chain) == (LEAF.read, (MIDDLE.read,))
    combined.chmod(0o644)
    assert refusal(FileSource(combined, None, trust)).reason is MaterialReason.KEY_PERMISSIONS


def test_a_reversed_chain_is_put_in_order_and_said(files: forge.Files) -> None:
    forge.write(files.cert, ROOT.pem + MIDDLE.pem + LEAF.pem)
    material = source_of(files).load()
    assert (material.leaf, material.chain) == (LEAF.read, (MIDDLE.read, ROOT.read))
    assert "order" in material.notes[0]


def test_strangers_and_doubles_in_the_chain_are_said(files: forge.Files) -> None:
    forge.write(files.cert, LEAF.pem + LEAF.pem + forge.authority("Stranger").pem + MIDDLE.pem)
    material = source_of(files).load()
    assert material.chain[0] == MIDDLE.read
    assert any("twice" in note for note in material.notes)
    assert any("CN=Stranger" in note for note in material.notes)


def test_a_key_of_another_certificate_is_refused(files: forge.Files) -> None:
    forge.write(files.key, forge.leaf(ROOT).key_pem(), 0o600)
    error = refusal(source_of(files))
    assert error.reason is MaterialReason.KEY_MISMATCH
    assert not error.retry


@pytest.mark.parametrize("which", ["cert", "key", "trust", "combined"])
def test_cut_at_every_sixteenth_byte_is_refused(tmp_path: Path, which: str) -> None:
    content = {
        "cert": LEAF.pem + MIDDLE.pem,
        "key": LEAF.key_pem(),
        "trust": ROOT.pem + MIDDLE.pem,
        "combined": LEAF.pem + LEAF.key_pem() + MIDDLE.pem,
    }
    paths = {name: forge.write(tmp_path / name, data, 0o600) for name, data in content.items()}
    source = FileSource(
        paths["combined"] if which == "combined" else paths["cert"],
        None if which == "combined" else paths["key"],
        paths["trust"],
    )
    whole = content[which]
    boundaries = {
        end
        for end in range(len(whole))
        if whole[:end].rstrip(b"\n").endswith(b"-----") and b"END" in whole[:end].rstrip(b"\n").rsplit(b"\n", 1)[-1]
    }
    for cut in range(0, len(whole) - 1, 16):
        if cut in boundaries:
            continue
        paths[which].write_bytes(whole[:cut])
        assert refusal(source).retry, cut
    paths[which].write_bytes(whole)
    source.load()


@pytest.mark.parametrize("which", ["cert", "key", "trust"])
def test_a_missing_file_is_named(files: forge.Files, which: str) -> None:
    path: Path = getattr(files, which)
    path.unlink()
    error = refusal(source_of(files))
    assert (error.reason, error.path) == (MaterialReason.MISSING_FILE, path)
    path.symlink_to("nowhere")
    assert "leads nowhere" in str(refusal(source_of(files)))


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    error = refusal(FileSource(gone / "c", gone / "k", gone / "t"))
    assert (error.reason, error.path) == (MaterialReason.MISSING_FILE, gone)


@pytest.mark.parametrize(
    ("mode", "group_readable", "reason"),
    [
        (0o600, False, None),
        (0o400, False, None),
        (0o700, False, None),
        (0o640, False, MaterialReason.KEY_PERMISSIONS),
        (0o640, True, None),
        (0o440, True, None),
        (0o660, True, MaterialReason.KEY_PERMISSIONS),
        (0o620, False, MaterialReason.KEY_PERMISSIONS),
        (0o604, False, MaterialReason.KEY_PERMISSIONS),
        (0o604, True, MaterialReason.KEY_PERMISSIONS),
        (0o602, True, MaterialReason.KEY_PERMISSIONS),
        (0o644, False, MaterialReason.KEY_PERMISSIONS),
        (0o777, True, MaterialReason.KEY_PERMISSIONS),
    ],
)
def test_who_may_read_the_key(
    files: forge.Files, mode: int, group_readable: bool, reason: MaterialReason | None
) -> None:
    files.key.chmod(mode)
    source = source_of(files, key_group_readable=group_readable)
    if reason is None:
        source.load()
        return
    error = refusal(source)
    assert (error.reason, error.path) == (reason, files.key)
    assert f"{mode:04o}" in str(error)


def test_who_may_write_the_trust_bundle(files: forge.Files) -> None:
    files.trust.chmod(0o664)
    source_of(files).load()
    files.trust.chmod(0o666)
    assert refusal(source_of(files)).reason is MaterialReason.TRUST_PERMISSIONS


@pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
def test_whose_the_files_are(files: forge.Files) -> None:
    os.chown(files.key, 12345, 12345)
    assert refusal(source_of(files)).reason is MaterialReason.KEY_PERMISSIONS
    os.chown(files.key, 0, 0)
    os.chown(files.trust, 12345, 12345)
    assert refusal(source_of(files)).reason is MaterialReason.TRUST_PERMISSIONS


MISPLACED: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "directory": os.mkdir,
    "link to a FIFO": lambda path: (os.mkfifo(f"{path}.fifo"), path.symlink_to(f"{path}.fifo")),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("what", MISPLACED)
@pytest.mark.parametrize("which", ["cert", "key", "trust"])
def test_what_is_not_a_file_is_refused_at_once(files: forge.Files, which: str, what: str) -> None:
    if (which, what) == ("trust", "directory"):
        pytest.skip("trust may be a directory")
    path: Path = getattr(files, which)
    path.unlink()
    MISPLACED[what](path)
    source = source_of(files)
    started = time.monotonic()
    error = refusal(source)
    source.fingerprint()
    assert time.monotonic() - started < 5  # a FIFO would hold an ordinary open for ever
    not_regular = MaterialReason.KEY_NOT_REGULAR if which == "key" else MaterialReason.NOT_REGULAR
    assert error.reason is (MaterialReason.UNREADABLE if what == "link to itself" else not_regular)
    assert error.path == path


def test_a_fifo_put_there_at_the_last_moment_does_not_block(
    files: forge.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at before it is opened, and swapped in between."""
    regular = os.stat(files.key)
    files.key.unlink()
    os.mkfifo(files.key)
    monkeypatch.setattr(os, "stat", lambda *_, **__: regular)
    error = refusal(source_of(files))
    assert error.reason is MaterialReason.KEY_NOT_REGULAR


def test_what_is_not_a_file_is_not_even_opened(files: forge.Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a device can do something."""
    files.key.unlink()
    files.key.symlink_to("/dev/null")
    opened = []
    real_open = os.open

    def recording(path: str, *rest: object, **more: object) -> int:
        opened.append(Path(path).name)
        return real_open(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", recording)
    assert refusal(source_of(files)).reason is MaterialReason.KEY_NOT_REGULAR
    assert files.trust.name in opened
    assert files.key.name not in opened


def test_a_link_to_a_regular_file_is_followed(files: forge.Files) -> None:
    """As certbot's live/ directory has it."""
    for path in (files.cert, files.key):
        archived = path.rename(path.with_name(f"{path.name}.1"))
        path.symlink_to(archived.name)
    assert source_of(files).load().leaf == LEAF.read


def test_a_passphrase_comes_from_a_file(files: forge.Files, tmp_path: Path) -> None:
    forge.write(files.key, LEAF.key_pem(b"open sesame"), 0o600)
    assert refusal(source_of(files)).reason is MaterialReason.KEY_ENCRYPTED
    passphrase = forge.write(tmp_path / "passphrase", b"open sesame\n", 0o600)
    source = source_of(files, passphrase_file=passphrase)
    assert source.load().leaf == LEAF.read
    passphrase.chmod(0o644)
    assert refusal(source).reason is MaterialReason.KEY_PERMISSIONS
    forge.write(passphrase, b"not this one", 0o600)
    error = refusal(source)
    assert error.reason is MaterialReason.PASSPHRASE_WRONG
    assert "not this one" not in repr(error)


def test_a_trust_bundle_or_crl_without_content_is_refused(files: forge.Files, tmp_path: Path) -> None:
    empty = forge.write(tmp_path / "other.pem", LEAF.key_pem(), 0o600)
    assert refusal(source_of(files, crl=empty)).reason is MaterialReason.CRL_INVALID
    assert refusal(FileSource(files.cert, files.key, empty)).reason is MaterialReason.TRUST_EMPTY


class Volume:
    """A Kubernetes Secret volume, written as the kubelet writes it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._count = 0

    def put(self, made: forge.Made, *, keep_old: bool = False) -> None:
        self._count += 1
        generation = self.directory / f"..2026_{self._count:02d}"
        forge.write_set(generation, made, MIDDLE, trust=[ROOT])
        fresh = self.directory / "..data_tmp"
        fresh.symlink_to(generation.name)
        fresh.rename(self.directory / "..data")
        for name in ("tls.crt", "tls.key", "ca.crt"):
            link = self.directory / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        for old in self.directory.glob("..2026_*"):
            if old != generation and not keep_old:
                for file in old.iterdir():
                    file.unlink()
                old.rmdir()

    def source(self) -> FileSource:
        return FileSource(self.directory / "tls.crt", self.directory / "tls.key", self.directory / "ca.crt")


def test_a_kubernetes_swap_is_noticed_and_read(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    volume.put(LEAF)
    source = volume.source()
    before = source.fingerprint()
    assert source.load().leaf == LEAF.read
    assert source.fingerprint() == before
    second = forge.leaf(MIDDLE)
    volume.put(second)
    assert source.fingerprint() != before
    assert source.load().leaf == second.read


def test_a_directory_once_opened_stays_at_its_generation(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    volume.put(LEAF)
    second = forge.leaf(MIDDLE)
    with Directory(volume.directory) as directory:
        assert directory.read("tls.crt", Secrecy.PUBLIC) == LEAF.pem + MIDDLE.pem
        volume.put(second, keep_old=True)
        assert directory.read("tls.key", Secrecy.SECRET) == LEAF.key_pem()
    with Directory(volume.directory) as directory:
        assert directory.read("tls.key", Secrecy.SECRET) == second.key_pem()


def test_a_pair_is_never_read_from_two_generations(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    leaves = [forge.leaf(MIDDLE) for _ in range(4)]
    volume.put(leaves[0])
    source = volume.source()
    stop = threading.Event()

    def swap() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            volume.put(leaves[turn % len(leaves)])

    writer = threading.Thread(target=swap)
    writer.start()
    loaded = refused = 0
    try:
        deadline = time.monotonic() + 60
        while loaded < 150 and time.monotonic() < deadline:
            try:
                material = source.load()
            except MaterialError as error:
                # Only a generation that was removed while it was read, three times in a row.
                assert error.reason is MaterialReason.MISSING_FILE  # noqa: PT017
                refused += 1
                continue
            assert (
                material.key.spki
                == forge.material(next(leaf for leaf in leaves if leaf.read == material.leaf), trust=[ROOT]).key.spki
            )
            loaded += 1
    finally:
        stop.set()
        writer.join()
    assert loaded == 150, refused


def rewrite_in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def rename_over(path: Path, content: bytes) -> None:
    forge.write(path.with_name("new"), content, stat.S_IMODE(path.stat().st_mode)).rename(path)


def same_size_same_mtime(path: Path, content: bytes) -> None:
    before = path.stat()
    assert len(content) == before.st_size
    rewrite_in_place(path, content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [rewrite_in_place, rename_over])
@pytest.mark.parametrize("which", ["cert", "key", "trust"])
@pytest.mark.parametrize("settled", [True, False], ids=["long ago", "just now"])
def test_every_change_of_content_is_noticed(
    files: forge.Files, which: str, change: Callable[[Path, bytes], None], settled: bool
) -> None:
    clock = forge.ManualClock()
    clock.jump(timedelta(days=3650) if settled else timedelta(days=-3650))
    source = source_of(files, clock=clock)
    path: Path = getattr(files, which)
    before = source.fingerprint()
    assert source.fingerprint() == before
    original = path.read_bytes()
    change(path, original + b"\n")
    assert source.fingerprint() != before
    change(path, original)
    assert source.fingerprint() == before  # it is the content that counts


def test_a_change_that_hides_its_traces_is_noticed(files: forge.Files) -> None:
    source = source_of(files)
    before = source.fingerprint()
    content = files.cert.read_bytes()
    same_size_same_mtime(files.cert, content[:-1] + b" ")
    assert source.fingerprint() != before


def test_a_second_change_within_one_tick_of_the_clock_is_noticed(
    files: forge.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems keep time coarsely: two changes can leave the same status."""
    statuses = {path: path.stat() for path in (files.cert, files.key, files.trust)}
    source = source_of(files)
    before = source.fingerprint()
    rewrite_in_place(files.cert, files.cert.read_bytes()[:-1] + b" ")
    real_stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: statuses.get(path) or real_stat(path, **more))
    assert source.fingerprint() != before


def test_a_mended_mode_is_noticed(files: forge.Files) -> None:
    files.key.chmod(0o644)
    source = source_of(files)
    before = source.fingerprint()
    files.key.chmod(0o600)
    assert source.fingerprint() != before


def test_files_come_and_go_without_an_exception(files: forge.Files) -> None:
    source = source_of(files)
    before = source.fingerprint()
    content = files.cert.read_bytes()
    files.cert.unlink()
    gone = source.fingerprint()
    assert gone != before
    assert source.fingerprint() == gone
    forge.write(files.cert, content)
    assert source.fingerprint() == before


def test_an_unchanged_file_that_settled_is_not_read_again(files: forge.Files) -> None:
    clock = forge.ManualClock()
    clock.jump(timedelta(days=3650))
    source = source_of(files, clock=clock)
    source.fingerprint()
    started = os.times().user
    for _ in range(200):
        source.fingerprint()
    watch = source._watch
    seen = dict(watch.seen)
    source.fingerprint()
    assert all(watch.seen[path] is seen[path] for path in seen)
    assert os.times().user - started < 2


def test_fingerprints_do_not_give_contents_away(files: forge.Files) -> None:
    assert source_of(files).fingerprint() != source_of(files).fingerprint()


@pytest.mark.parametrize("mode", [0o644, 0o600])
@pytest.mark.parametrize("what", ["certificate", "public key", "nothing"])
def test_a_file_without_a_key_is_told_as_that_whoever_may_read_it(files: forge.Files, what: str, mode: int) -> None:
    content = {
        "certificate": files.cert.read_bytes(),
        "public key": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "nothing": b"",
    }[what]
    files.key.write_bytes(content)
    files.key.chmod(mode)
    found = refusal(source_of(files))
    assert found.reason is (MaterialReason.KEY_MISSING if content else MaterialReason.PEM_INCOMPLETE)
    assert not content or found.detail.startswith(f"no private key in the file, which has: {what}")


def test_what_may_be_a_key_in_another_form_is_still_a_secret(files: forge.Files) -> None:
    for content in (
        b"\x30\x03\x02\x01\0",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ):
        files.key.write_bytes(content)
        files.key.chmod(0o644)
        assert refusal(source_of(files)).reason is MaterialReason.KEY_PERMISSIONS


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda _: LEAF.der, "looks like DER"),
        (lambda pem: pem.decode().encode("utf-16"), "looks like UTF-16"),
        (lambda _: b"hello", "no PEM block in the file"),
    ],
)
def test_what_is_not_pem_is_told_as_what_it_is(
    files: forge.Files, change: Callable[[bytes], bytes], detail: str
) -> None:
    for path in (files.cert, files.trust):
        before = path.read_bytes()
        path.write_bytes(change(before))
        found = refusal(source_of(files))
        path.write_bytes(before)
        assert (found.reason, found.path) == (MaterialReason.PEM_INVALID, path)
        assert detail in found.detail
