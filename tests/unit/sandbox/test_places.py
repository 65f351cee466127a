"""Which directories a path stands for, through all kinds of links."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlsidecar.sandbox import places
from tlsidecar.sandbox.places import is_below, is_common


def directories_of(file: Path) -> list[Path]:
    return [Path(each) for each in places.directories_of(file)]


def test_a_file_stands_for_its_directory(tmp_path: Path) -> None:
    file = tmp_path / "pki" / "tls.crt"
    assert directories_of(file) == [file.parent]  # also while it is not there
    file.parent.mkdir()
    file.write_text("")
    assert directories_of(file) == [file.parent]


def test_a_kubernetes_volume_stands_for_itself(tmp_path: Path) -> None:
    generation = tmp_path / "..2026_11_28.1"
    generation.mkdir()
    (generation / "tls.crt").write_text("")
    (tmp_path / "..data").symlink_to(generation.name)
    (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
    assert set(directories_of(tmp_path / "tls.crt")) == {tmp_path, generation}


def test_a_link_stands_for_where_its_next_target_will_be(tmp_path: Path) -> None:
    release = tmp_path / "releases" / "1"
    release.mkdir(parents=True)
    (release / "tls.crt").write_text("")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "current").symlink_to("../releases/1")
    assert set(directories_of(tmp_path / "etc" / "current" / "tls.crt")) == {release, release.parent}
    (tmp_path / "etc" / "absolute").symlink_to(release)
    assert set(directories_of(tmp_path / "etc" / "absolute" / "tls.crt")) == {release, release.parent}


def test_links_of_the_system_widen_nothing() -> None:
    assert directories_of(Path("/var/run/tlsidecar/tls.crt")) in (
        [Path("/run/tlsidecar")],
        [Path("/var/run/tlsidecar")],
    )


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert tmp_path in directories_of(tmp_path / "one")


def test_of_the_root_directory_only_the_file() -> None:
    assert directories_of(Path("/tls.crt")) == [Path("/tls.crt")]


@pytest.mark.parametrize(
    ("path", "common"),
    [
        ("/", True),
        ("/etc", True),
        ("/var/log", True),
        ("/home/ann", True),
        ("/etc/tlsidecar", False),
        ("/certs", False),
    ],
)
def test_what_is_common(path: str, common: bool) -> None:
    assert is_common(Path(path)) is common


def test_below() -> None:
    assert is_below("/a/b/c", ["/x", "/a/b"])
    assert is_below("/a/b", ["/a/b"])
    assert not is_below("/a/bc", ["/a/b"])
    assert is_below("/tls.crt", ["/tls.crt"])
