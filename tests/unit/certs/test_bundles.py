"""Whom to trust: files, directories, and trust domains of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.certs import forge

from certs.errors import MaterialError, MaterialReason
from certs.sources.bundles import Bundles, TrustFile
from certs.sources.watch import Watch

ONE, TWO, THREE = (forge.authority(name) for name in ("One", "Two", "Three"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two CAs, and what must not be taken for one."""
    forge.write(tmp_path / "cas/one.pem", ONE.pem)
    forge.write(tmp_path / "cas/two.crt", TWO.pem)
    forge.write(tmp_path / "cas/README", b"nothing")
    forge.write(tmp_path / "cas/.hidden.pem", THREE.pem)
    return tmp_path / "cas"


def test_files_and_directories_are_one_bundle_without_doubles(directory: Path, tmp_path: Path) -> None:
    file = forge.write(tmp_path / "ca.crt", THREE.pem + ONE.pem)
    bundle = Bundles([TrustFile(directory), TrustFile(file)]).read()
    assert bundle.trust == (ONE.read, TWO.read, THREE.read)


def test_a_trust_domain_has_its_own(directory: Path, tmp_path: Path) -> None:
    partner = forge.write(tmp_path / "partner.crt", THREE.pem)
    bundle = Bundles([TrustFile(directory), TrustFile(partner, "partner.example")]).read()
    assert bundle.trust == (ONE.read, TWO.read)
    assert bundle.federated == {"partner.example": (THREE.read,)}


def test_one_bad_file_is_no_shorter_list(directory: Path) -> None:
    forge.write(directory / "zzz.pem", ONE.pem[:-40])
    with pytest.raises(MaterialError) as raised:
        Bundles([TrustFile(directory)]).read()
    assert (raised.value.reason, raised.value.path) == (MaterialReason.PEM_INCOMPLETE, directory / "zzz.pem")


def test_nothing_in_it_never_means_trust_nobody_in_silence(tmp_path: Path) -> None:
    (tmp_path / "cas").mkdir()
    for what, content in (("no file", None), ("no certificate", b"# nothing yet\n")):
        if content is not None:
            forge.write(tmp_path / "cas/a.pem", content)
        with pytest.raises(MaterialError) as raised:
            Bundles([TrustFile(tmp_path / "cas")]).read()
        assert raised.value.reason in (MaterialReason.TRUST_EMPTY, MaterialReason.PEM_INVALID), what
    with pytest.raises(MaterialError) as raised:
        Bundles([TrustFile(tmp_path / "gone")]).read()
    assert raised.value.reason is MaterialReason.MISSING_FILE


def test_one_more_in_the_directory_is_noticed_and_one_less(directory: Path) -> None:
    watch = Watch(Bundles([TrustFile(directory)]).paths, forge.ManualClock())
    seen = [watch.fingerprint()]
    forge.write(directory / "three.cer", THREE.pem)
    seen.append(watch.fingerprint())
    (directory / "one.pem").rename(directory / "uno.pem")
    seen.append(watch.fingerprint())
    (directory / "uno.pem").unlink()
    seen.append(watch.fingerprint())
    assert len(set(seen)) == 4
    assert watch.fingerprint() == seen[-1]


def test_what_others_may_write_is_not_believed(directory: Path) -> None:
    (directory / "one.pem").chmod(0o666)
    with pytest.raises(MaterialError) as raised:
        Bundles([TrustFile(directory)]).read()
    assert raised.value.reason is MaterialReason.TRUST_PERMISSIONS
