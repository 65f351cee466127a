"""The calls that say why: loaded with the first question, and once."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import pytest
from unit.admin.conftest import Served

import tlsidecar.admin
from tlsidecar.admin import explanations, why

ANSWERING = "tlsidecar.admin.explanations"


class Slow(MetaPathFinder, Loader):
    """Loads what answers as ever, and stops on the way until it may go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.times = 0
        self._spec: ModuleSpec | None = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != ANSWERING:
            return None
        self._spec = PathFinder.find_spec(name, path)
        return ModuleSpec(name, self, origin="slow")

    def exec_module(self, module: ModuleType) -> None:
        self.times += 1
        self.begun.set()
        assert self.may_go_on.wait(10)
        assert self._spec is not None
        assert self._spec.loader is not None
        self._spec.loader.exec_module(module)


def test_each_call_has_one_that_answers() -> None:
    for name in why.__all__:
        assert inspect.iscoroutinefunction(getattr(explanations, name))
        assert inspect.iscoroutinefunction(getattr(why, name))


async def test_a_second_question_waits_while_the_first_one_loads(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not find what is loaded by half."""
    slow = Slow()
    monkeypatch.setattr(tlsidecar.admin, "explanations", explanations)  # put back when this is over
    monkeypatch.delitem(sys.modules, ANSWERING)
    monkeypatch.setattr(sys, "meta_path", [slow, *sys.meta_path])
    asking = [asyncio.create_task(served.wire().get("/v1/refusals/r1"))]
    assert await asyncio.to_thread(slow.begun.wait, 10)
    asking.append(asyncio.create_task(served.wire().get("/v1/connections/99/explanation")))
    assert (await served.wire().get("/v1/status")).status == 200, "the loop goes on"
    await asyncio.wait(asking, timeout=0.05)
    slow.may_go_on.set()
    assert [answer.status for answer in await asyncio.gather(*asking)] == [404, 404]
    assert slow.times == 1
