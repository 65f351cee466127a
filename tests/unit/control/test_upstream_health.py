"""What several workers' checks come to, as transcripts: who found what, and what is told once."""

from __future__ import annotations

from typing import Any

from tlsidecar.control.upstream_health import UpstreamHealth
from tlsidecar.dataplane.report import UpstreamChange
from tlsidecar.observe import events
from tlsidecar.settings import Address, HealthCheck, ListenerSettings, Mode

ONE, TWO = Address("127.0.0.1", 1), Address("127.0.0.1", 2)


class Hub:
    """Writes down what is published."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool, str]] = []

    def publish(self, kind: str, fields: dict[str, Any]) -> None:
        assert kind == events.UPSTREAM
        self.told.append((fields["upstream"], fields["healthy"], fields["detail"]))


def listener(name: str = "web", *, readiness: bool = True, checked: bool = True) -> ListenerSettings:
    check = HealthCheck(readiness=readiness) if checked else None
    return ListenerSettings(name, Mode.TERMINATE, Address("127.0.0.1", 0), (ONE, TWO), health_check=check)


class Checks:
    """Several workers' checks of one listener's addresses."""

    def __init__(self, *listeners: ListenerSettings) -> None:
        self.hub = Hub()
        self.health = UpstreamHealth(listeners or [listener()], self.hub)  # type: ignore[arg-type] # all that is used

    def found(self, worker: int, address: Address, detail: str = "") -> list[tuple[str, bool, str]]:
        """What is told because of it."""
        told = len(self.hub.told)
        self.health.changed(UpstreamChange(worker, "web", str(address), not detail, detail))
        return self.hub.told[told:]


def test_a_change_is_told_once_whoever_finds_it() -> None:
    checks = Checks()
    assert checks.found(0, ONE) == [(str(ONE), True, "")]
    assert checks.found(1, ONE) == []
    assert checks.found(1, ONE, "refused") == [(str(ONE), False, "refused")]
    assert checks.found(0, ONE, "timed out") == []
    assert checks.found(1, ONE) == []  # worker 0 still says otherwise
    assert checks.found(0, ONE) == [(str(ONE), True, "")]


def test_readiness_needs_one_address_that_passes() -> None:
    checks = Checks()
    assert (checks.health.is_ready, checks.health.down()) == (False, {})  # not looked at yet: not ready, not down
    checks.found(0, ONE, "refused")
    assert (checks.health.is_ready, checks.health.down()) == (False, {})
    checks.found(0, TWO, "timed out")
    assert (checks.health.is_ready, checks.health.down()) == (False, {"web": "refused"})
    checks.found(0, TWO)
    assert (checks.health.is_ready, checks.health.down()) == (True, {})


def test_a_listener_that_does_not_ask_for_it_is_always_ready() -> None:
    checks = Checks(listener(readiness=False), listener("raw", checked=False))
    checks.found(0, ONE, "refused")
    checks.found(0, TWO, "refused")
    assert (checks.health.is_ready, checks.health.down()) == (True, {})


def test_what_a_lost_worker_held_goes_with_it() -> None:
    checks = Checks()
    checks.found(0, ONE)
    checks.found(1, ONE, "refused")
    checks.health.forget(1)
    assert checks.hub.told == [(str(ONE), True, ""), (str(ONE), False, "refused"), (str(ONE), True, "")]
    checks.health.forget(0)  # nobody knows anything now: nothing to tell
    assert len(checks.hub.told) == 3
    assert not checks.health.is_ready


def test_an_address_that_is_not_checked_any_more_is_forgotten() -> None:
    checks = Checks()
    checks.found(0, ONE, "refused")
    checks.found(0, TWO, "refused")
    checks.health.configure([listener(checked=False)])
    assert (checks.health.is_ready, checks.health.down()) == (True, {})
    checks.health.configure([listener()])
    assert checks.health.down() == {}
    assert checks.found(0, ONE, "refused") == [(str(ONE), False, "refused")]  # told anew
