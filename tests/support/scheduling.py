"""Which tests one process of pytest-xdist gets at a time: those of a group, those of a file of unit tests, or one."""

from __future__ import annotations

from xdist.scheduler import LoadGroupScheduling


class ByGroupOrFile(LoadGroupScheduling):
    """A unit test takes milliseconds, and asking for each by itself takes as long: the controller looks through all
    that a process ever had each time that one is over, and the process waits for it."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        file, _, _ = nodeid.partition("::")
        return file if scope == nodeid and file.startswith("tests/unit/") else scope
