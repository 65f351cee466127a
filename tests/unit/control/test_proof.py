"""A new generation is built beside traffic: in short steps, and what is built is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from unit.certs import forge
from unit.control.world import SETTINGS, Issuer

from certs import preflight
from certs.errors import MaterialError, MaterialReason
from certs.material import Material
from certs.steps import Steps, at_once
from tlsidecar.control import proof
from tlsidecar.control.proof import build_contexts, judge_material
from tlsidecar.dataplane.tls import trial_handshakes
from tlsidecar.pace import Pace
from tlsidecar.settings import DEFAULT_IDENTITY, TLS_GROUPS, Mode, Tls

WEB = SETTINGS.listeners[0]
BOTH = replace(SETTINGS, listeners=(WEB, replace(WEB, name="out", mode=Mode.ORIGINATE)))
# A context is made, given its pair, and whom it trusts. A handshake of TLS 1.3 has four flights; TLS 1.2 has five, of
# which the first and the last take no time, and are made with another.
STEPS_PER_CONTEXT = 3 + 4 + 3
AT_ONCE = Pace(lambda: False)


def calls_counted(monkeypatch: pytest.MonkeyPatch, *named: tuple[Any, str]) -> list[str]:
    """The names of these functions, in the order in which they will be called."""
    called: list[str] = []

    def count(owner: Any, name: str) -> None:
        plain: Callable[..., object] = getattr(owner, name)

        def counted(*values: object, **more: object) -> object:
            called.append(name)
            return plain(*values, **more)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in named:
        count(owner, name)
    return called


def in_each_step(steps: Steps[Any], called: list[str]) -> list[list[str]]:
    """What was called in each of them."""
    found: list[list[str]] = []
    called.clear()
    for _ in steps:
        found.append([*called])
        called.clear()
    return [*found, [*called]]


def test_a_step_makes_one_context_loads_one_key_or_makes_one_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = Issuer(tmp_path, forge.ManualClock()).material()
    called = calls_counted(
        monkeypatch, (SSL.Context, "__init__"), (SSL.Context, "use_privatekey"), (SSL.Connection, "do_handshake")
    )
    found = in_each_step(build_contexts(BOTH, DEFAULT_IDENTITY, material, 7), called)
    other_end = ["__init__", "use_privatekey"]
    assert found.count(other_end) == 1, "the other end is the same in all handshakes"
    rest = [each for each in found if each != other_end]
    assert [each for each in rest if len(each) > 1] == 2 * 2 * [["do_handshake"] * 2], "in TLS 1.2"
    assert len(found) == 2 * STEPS_PER_CONTEXT + 2, "with the other end's, and what is left to whoever asked"


def test_the_preflight_looks_at_leaf_bundle_and_chain_in_a_step_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = forge.ManualClock()
    material = Issuer(tmp_path, clock).material()
    parts = ("_inspect_leaf", "_inspect_trust", "_inspect_chain")
    called = calls_counted(monkeypatch, *((preflight, name) for name in parts))
    steps = judge_material(SETTINGS, DEFAULT_IDENTITY, material, clock.now())
    assert in_each_step(steps, called) == [[name] for name in parts]


def test_the_loop_makes_a_turn_after_each_step(tmp_path: Path) -> None:
    material = Issuer(tmp_path, forge.ManualClock()).material()
    turns = 0

    async def traffic() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(traffic())
            contexts = await AT_ONCE.through(build_contexts(BOTH, DEFAULT_IDENTITY, material, 7))
            beside.cancel()
        assert turns >= 2 * STEPS_PER_CONTEXT
        same = at_once(build_contexts(BOTH, DEFAULT_IDENTITY, material, 7))
        assert (contexts.generation, contexts._made.keys()) == (same.generation, same._made.keys())

    asyncio.run(story())


def test_what_listeners_have_in_common_is_proved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proved: list[SSL.Context] = []

    def counted(context: SSL.Context, material: Material, **more: Any) -> Steps[None]:
        proved.append(context)
        yield from trial_handshakes(context, material, **more)

    monkeypatch.setattr(proof, "trial_handshakes", counted)
    alike = replace(BOTH, listeners=(*BOTH.listeners, *(replace(WEB, name=f"web-{number}") for number in range(5))))
    at_once(build_contexts(alike, DEFAULT_IDENTITY, Issuer(tmp_path, forge.ManualClock()).material(), 7))
    assert len(proved) == len(set(proved)) == 2


@pytest.mark.parametrize("group", [*TLS_GROUPS])
@pytest.mark.parametrize("least", ["1.2", "1.3"])
def test_it_is_proved_in_whichever_group_is_asked_for(tmp_path: Path, least: str, group: str) -> None:
    material = Issuer(tmp_path, forge.ManualClock()).material()
    at_once(build_contexts(replace(BOTH, tls=Tls(least, (group,))), DEFAULT_IDENTITY, material, 7))


@pytest.mark.parametrize("least", ["1.2", "1.3"])
def test_what_cannot_shake_hands_is_refused_at_whichever_step(tmp_path: Path, least: str) -> None:
    clock = forge.ManualClock()
    material = Issuer(tmp_path, clock).material()
    material = replace(material, key=Issuer(tmp_path / "other", clock).material().key)
    settings = replace(BOTH, tls=Tls(least))
    with pytest.raises(MaterialError) as refused:
        asyncio.run(AT_ONCE.through(build_contexts(settings, DEFAULT_IDENTITY, material, 7)))
    assert refused.value.reason is MaterialReason.HANDSHAKE_FAILED
