"""What every test has: the skip for a missing program, a CA, and no colour or configuration from the environment."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest
from support.leaping import LeapingLoop
from support.pki import Pki
from support.rewriting import rewrite_share

# No deadline for one example: two cores and a busy neighbour are enough to break any. The same examples in each run, so
# that none fails by chance; other ones are looked for by "fuzz", which is what `make fuzz` runs.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True, max_examples=20_000)
hypothesis.settings.load_profile("default")


# Longer than Hypothesis looks for a smaller example (five minutes): cut before that, it would not say what failed.
_PROPERTY_TIMEOUT_S = 420


# Ten thousand tests are collected and stay until the end, and each full collection of garbage would walk all of them
# for what a single test leaves behind. So the collector rests until they are there, and then leaves them out.
gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from support.scheduling import ByGroupOrFile  # only where pytest-xdist is in use

    return ByGroupOrFile(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    rewrite_share(session.config)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)  # after Hypothesis has marked its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("hypothesis") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_PROPERTY_TIMEOUT_S))


# So many descriptors may a module leave behind: what is made once for all tests, and what the collector takes later.
_DESCRIPTORS_LEFT = 50


@pytest.fixture(autouse=True, scope="module")
def _gives_descriptors_back() -> Iterator[None]:
    """Thousands of tests share a process, and what each leaves open is missing in one that needs hundreds."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    left = len(os.listdir("/proc/self/fd")) - before
    if left > _DESCRIPTORS_LEFT:
        gc.collect()
        left = len(os.listdir("/proc/self/fd")) - before
    assert left <= _DESCRIPTORS_LEFT, f"{left} descriptors are still open"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names that are alike in every process: certificates, keys and digests are made anew in each, and their bytes do
    not belong into a name anyway."""
    if isinstance(val, bytes) or (isinstance(val, str) and _DIGEST.search(val)):
        return argname
    return None


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"leaps": LeapingLoop} if item.get_closest_marker("leaps") else {"waits": asyncio.new_event_loop}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            if shutil.which(program) is None:
                pytest.skip(f"needs the program {program}, which is not on this machine")


_DIGEST = re.compile("[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){19}")

# What a machine's environment may say that would change what is tested; these three choose what is tested on purpose.
_CHANGES_BEHAVIOUR = ("TLSIDECAR_", "TEXTUAL_", "NO_COLOR", "SSL_CERT_", "CURL_CA_BUNDLE")
_CHOOSES_ON_PURPOSE = ("TLSIDECAR_ENGINE", "TLSIDECAR_EVENT_LOOP", "TLSIDECAR_WORKERS")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_CHANGES_BEHAVIOUR) and name not in _CHOOSES_ON_PURPOSE:
            monkeypatch.delenv(name)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")
