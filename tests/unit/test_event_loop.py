"""Which loop a name stands for, and what is said of one that is not installed."""

from __future__ import annotations

import sys

import pytest

from tlsidecar.dataplane.reactor import FusedEventLoop
from tlsidecar.event_loop import EventLoopMissing, loop_factory
from tlsidecar.extras import install_line


@pytest.mark.parametrize("name", ["auto", "asyncio"])
def test_the_stock_loop_has_the_data_plane_in_its_selector(name: str) -> None:
    loop = loop_factory(name)()
    assert isinstance(loop, FusedEventLoop)
    loop.close()


def test_a_loop_that_is_missing_is_said_with_the_line_that_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(EventLoopMissing) as caught:
        loop_factory("uvloop")
    assert str(caught.value) == f'event_loop = "uvloop" needs a package: {install_line("fast")}'
