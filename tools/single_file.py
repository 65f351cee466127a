"""One file that is the whole of tlsidecar: a zip archive that Python runs, for machines like the one that made it.

    python tools/single_file.py SITE_PACKAGES TARGET

Compiled modules cannot be loaded out of an archive. So the first start unpacks it into the user's cache, under the
digest of what is in it, by one rename; later starts find it there.
"""

from __future__ import annotations

import hashlib
import sys
import zipapp
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

_MAIN = """\
import os, sys, tempfile, zipfile
BUILD, MADE_FOR = {digest!r}, {version!r}
if "%d.%d" % sys.version_info[:2] != MADE_FOR:
    sys.exit("Error: this file was made for Python %s, and this is %d.%d" % (MADE_FOR, *sys.version_info[:2]))
home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
place = os.path.join(home, "tlsidecar", BUILD)
if not os.path.isdir(place):
    try:
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        fresh = tempfile.mkdtemp(dir=os.path.dirname(place))
        with zipfile.ZipFile(sys.argv[0]) as archive:
            archive.extractall(fresh, [name for name in archive.namelist() if name.startswith("site/")])
        os.rename(os.path.join(fresh, "site"), place)
        os.rmdir(fresh)
    except OSError as error:
        if not os.path.isdir(place):
            sys.exit("Error: cannot unpack into %s: %s (XDG_CACHE_HOME says where)" % (place, error.strerror))
owner = os.stat(place)
if owner.st_uid not in (os.geteuid(), 0) or owner.st_mode & 0o022:
    sys.exit("Error: %s can be written by others: remove it" % place)
sys.path.insert(0, place)
from tlsidecar.__main__ import main
main()
"""


def build(site_packages: Path, target: Path) -> None:
    """Everything below ``site_packages``, and the start above."""
    digest = hashlib.sha256()
    for file in sorted(site_packages.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            digest.update(str(file.relative_to(site_packages)).encode() + b"\0" + file.read_bytes())
    with TemporaryDirectory() as scratch:
        source = Path(scratch)
        copytree(site_packages, source / "site")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        (source / "__main__.py").write_text(_MAIN.format(digest=digest.hexdigest()[:32], version=version))
        zipapp.create_archive(source, target, interpreter="/usr/bin/env python3", compressed=True)
    target.chmod(0o755)


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
