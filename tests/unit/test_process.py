"""What a process asks of the operating system, read back from the kernel."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tlsidecar.process import name_process

# In a process of its own: none of it can be taken back.
SHOW = """
import resource, sys
from pathlib import Path
from tlsidecar import process
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
process.raise_descriptor_limit()
process.keep_memory_private()
process.name_process("tlsidecar-with-a-long-name")
process.give_back_memory()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
print(resource.getrlimit(resource.RLIMIT_CORE))
import ctypes
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
print(Path("/proc/self/comm").read_text().strip())
"""


@pytest.fixture(scope="module")
def shown() -> list[str]:
    ran = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout.splitlines()


def test_it_takes_as_many_descriptors_as_may_be_had(shown: list[str]) -> None:
    assert shown[0] == "True"


def test_its_memory_goes_into_no_core_dump_and_to_no_debugger(shown: list[str]) -> None:
    assert shown[1:3] == ["(0, 0)", "0"]


def test_its_name_is_what_the_kernel_keeps_of_it(shown: list[str]) -> None:
    assert shown[3] == "tlsidecar-with-"


@pytest.mark.parametrize(
    ("name", "kept"),
    [("web", b"web"), ("", b""), ("x" * 40, b"x" * 15), ("tlsidecar-web-\u017e", b"tlsidecar-web-\xc5")],
)
def test_a_name_is_the_threads_own_and_cut_by_bytes(name: str, kept: bytes) -> None:
    """So it has to be given by a process's first thread, whose name is the process's (prctl(2))."""

    def named() -> bytes:
        name_process(name)
        return Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_bytes()

    before = Path("/proc/self/comm").read_bytes()
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(named).result(10) == kept + b"\n"
    assert Path("/proc/self/comm").read_bytes() == before
