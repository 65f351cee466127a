"""What the active checks of all workers have found: told once for each change, and asked by readiness.

An address counts as healthy while no worker that has checked it says otherwise. Liveness never asks here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from tlsidecar.dataplane.report import UpstreamChange
from tlsidecar.observe import events
from tlsidecar.observe.events import EventHub
from tlsidecar.settings import ListenerSettings

_log = logging.getLogger("tlsidecar.upstreams")


class UpstreamHealth:
    """The checked addresses of every listener."""

    def __init__(self, listeners: Sequence[ListenerSettings], hub: EventHub) -> None:
        self._hub = hub
        self._found: dict[tuple[str, str], dict[int, UpstreamChange]] = {}
        self.configure(listeners)

    def configure(self, listeners: Sequence[ListenerSettings]) -> None:
        """These are the listeners from now on; addresses that are not checked any more are forgotten."""
        checked = [listener for listener in listeners if listener.health_check is not None]
        self._needed = [
            listener for listener in checked if listener.health_check is not None and listener.health_check.readiness
        ]
        addresses = {(listener.name, str(address)) for listener in checked for address in listener.upstreams}
        self._found = {key: found for key, found in self._found.items() if key in addresses}

    def changed(self, change: UpstreamChange) -> None:
        """One worker holds an address for something else than before."""
        found = self._found.setdefault((change.listener, change.address), {})
        before = _verdict(found)
        found[change.worker] = change
        self._tell(change.listener, change.address, before)

    def forget(self, worker: int) -> None:
        """This worker is gone, and what it held with it."""
        for (listener, address), found in self._found.items():
            before = _verdict(found)
            if found.pop(worker, None) is not None and found:
                self._tell(listener, address, before)

    def _tell(self, listener: str, address: str, before: bool | None) -> None:
        found = self._found[listener, address]
        after = _verdict(found)
        if after is before:
            return
        fields = {
            "listener": listener,
            "upstream": address,
            "healthy": after,
            "detail": _detail(found),
        }
        self._hub.publish(events.UPSTREAM, fields)
        words = "upstream healthy" if after else "upstream unhealthy"
        _log.log(logging.INFO if after else logging.WARNING, words, extra={"fields": fields})

    @property
    def is_ready(self) -> bool:
        """Whether every listener whose readiness depends on its check has an address that passes."""
        return all(True in self._verdicts(listener) for listener in self._needed)

    def down(self) -> Mapping[str, str]:
        """The listeners that are not ready because every address fails, and what is wrong; one that was not checked
        yet is not among them."""
        return {
            listener.name: next(_detail(found) for found in self._of(listener) if found)
            for listener in self._needed
            if set(self._verdicts(listener)) == {False}
        }

    def _verdicts(self, listener: ListenerSettings) -> list[bool | None]:
        return [_verdict(found) for found in self._of(listener)]

    def _of(self, listener: ListenerSettings) -> list[dict[int, UpstreamChange]]:
        return [self._found.get((listener.name, str(address)), {}) for address in listener.upstreams]


def _verdict(found: Mapping[int, UpstreamChange]) -> bool | None:
    return all(change.healthy for change in found.values()) if found else None


def _detail(found: Mapping[int, UpstreamChange]) -> str:
    return next((change.detail for change in found.values() if not change.healthy), "")
