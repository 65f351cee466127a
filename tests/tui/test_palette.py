"""The command palette offers what the keys do, and no change where there may be none."""

from __future__ import annotations

from unittest import mock

import pytest

from tui.options import Options
from tui.palette import system_commands
from tui.tabs import TABS


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("is_fleet", [False, True])
def test_what_is_offered(read_only: bool, is_fleet: bool) -> None:
    app = mock.Mock(options=Options((), read_only=read_only), is_fleet=is_fleet)
    offered = {command.title: command for command in system_commands(app)}
    assert ("Actions" in offered) is not read_only
    assert ("Sidecars" in offered) is is_fleet
    for number, tab in enumerate(TABS, 1):
        offered[tab.name].callback()
        app.action_view.assert_called_with(number)
