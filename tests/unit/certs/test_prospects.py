"""What would keep a renewal from being seen: files mounted by themselves, immutable ones, directories, clocks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from unit.certs import forge

from certs.sources import prospects

SKEW = timedelta(minutes=5)
ROOT = forge.authority()


def never(_path: Path) -> bool:
    return False


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "tls.crt", tmp_path / "tls.key"]
    for path in made:
        path.write_text("x")
    return made


def test_files_in_a_directory_of_their_own_say_nothing(files: list[Path], tmp_path: Path) -> None:
    mounts = frozenset({"/", "/tmp", str(tmp_path)})
    assert list(prospects.of_files([*files, tmp_path, tmp_path / "absent"], mounts)) == []


def test_a_file_that_is_mounted_by_itself(files: list[Path], tmp_path: Path) -> None:
    (said,) = prospects.of_files(files, frozenset({"/", str(files[0])}), never)
    assert said.startswith(f"{files[0]} is mounted by itself, as with a Kubernetes subPath")
    link = tmp_path / "link.crt"
    link.symlink_to(files[0])
    (said,) = prospects.of_files([link], frozenset({str(files[0])}), never)
    assert said.startswith(f"{link} is mounted")


def test_what_is_immutable(files: list[Path], tmp_path: Path) -> None:
    (said,) = prospects.of_files(files, frozenset(), lambda path: path == files[1])
    assert said.startswith(f"{files[1]} is immutable")
    (said,) = prospects.of_files(files, frozenset(), lambda path: path == tmp_path)
    assert said.startswith(f"{tmp_path} is immutable")
    # A generation behind links is replaced by another one: that it never changes is as it should be.
    (tmp_path / "..one").mkdir()
    (tmp_path / "..one" / "a.crt").write_text("x")
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "a.crt").symlink_to("..data/a.crt")
    assert list(prospects.of_files([tmp_path / "a.crt"], frozenset(), lambda path: "..one" in str(path))) == []


def test_the_table_of_mounts_is_read_with_its_escapes(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"36 35 98:0 /a /mnt/a\\040b rw - ext4 /dev/sda rw\nshort\n37 35 98:0 / /\xff rw - tmpfs none rw\n"
    )
    assert prospects.mount_points(table) == {"/mnt/a b", "/\udcff"}
    assert prospects.mount_points(tmp_path / "absent") == frozenset()
    assert "/" in prospects.mount_points()


def test_directories_that_must_be_written_or_listed(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    (said,) = prospects.of_state([blocked / "state"])
    assert "is no directory" in said
    assert list(prospects.of_state([tmp_path / "new" / "state", tmp_path])) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_paths_that_cannot_be_looked_at_are_left_to_who_reads_them(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    assert list(prospects.of_files([long, long / "tls.key"], frozenset(), never)) == []
    assert list(prospects.of_state([long / "state"])) == []


def test_directories_that_somebody_else_may_not_read() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o711)
        (home / "trust").mkdir(mode=0o711)
        script = (
            "import os\n"
            "from pathlib import Path\n"
            "from certs.sources import prospects\n"
            "os.setgid(65534); os.setuid(65534)\n"
            f"home = Path({name!r})\n"
            "print(*prospects.of_files([home / 'trust']), *prospects.of_state([home / 'state']), sep='\\n')\n"
        )
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "trust cannot be listed by uid 65534" in said
    assert f"{name} cannot be written by uid 65534" in said


def test_dates_that_do_not_fit_this_clock(files: list[Path]) -> None:
    clock = forge.ManualClock()
    later = forge.authority("Later", starts=forge.NOW + timedelta(hours=2), ends=forge.NOW + timedelta(days=9))
    material = forge.material(forge.leaf(ROOT), trust=[ROOT, later])
    at = forge.NOW.timestamp()
    os.utime(files[0], (at + 7200, at + 7200))
    os.utime(files[1], (at + 60, at + 60))
    ca, file = prospects.of_clock(material, files, clock, SKEW)
    assert "Later" in ca
    assert "it is behind, or the CA's is ahead" in ca
    assert file.startswith(f"{files[0]} was written at")
    clock.jump(timedelta(days=-365 * 40))
    assert any("has not been set" in said for said in prospects.of_clock(material, [], clock, SKEW))
