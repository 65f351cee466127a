"""The tabs, in their order. To add one: a module here with its :class:`~tui.tabs.tab.Tab`, and its name below."""

from __future__ import annotations

from tui.tabs.certificates import Certificates
from tui.tabs.config import Config
from tui.tabs.connections import Connections
from tui.tabs.events import Events
from tui.tabs.failures import Failures
from tui.tabs.overview import Overview
from tui.tabs.refusals import Refusals
from tui.tabs.tab import Tab
from tui.tabs.traffic import Traffic

TABS: tuple[Tab, ...] = (
    OVERVIEW := Overview(),
    CONNECTIONS := Connections(),
    CERTIFICATES := Certificates(),
    REFUSALS := Refusals(),
    EVENTS := Events(),
    CONFIG := Config(),
    TRAFFIC := Traffic(),
    FAILURES := Failures(),
)
