"""A new generation is built beside traffic: after each step the loop makes a turn, and what is built is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from OpenSSL import SSL
from unit.certs import forge
from unit.control.world import SETTINGS, Issuer

from certs.errors import MaterialError, MaterialReason
from certs.material import Material
from tlsidecar.control import proof
from tlsidecar.control.pace import Pace
from tlsidecar.control.proof import build_contexts, build_contexts_beside_traffic
from tlsidecar.dataplane.tls import trial_handshakes
from tlsidecar.settings import DEFAULT_IDENTITY, Mode, Tls

WEB = SETTINGS.listeners[0]
BOTH = replace(SETTINGS, listeners=(WEB, replace(WEB, name="out", mode=Mode.ORIGINATE)))
# Each context is made, and shakes hands in TLS 1.2 and 1.3.
STEPS_PER_LISTENER = 3
AT_ONCE = Pace(lambda: False)


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
            contexts = await build_contexts_beside_traffic(BOTH, DEFAULT_IDENTITY, material, 7, AT_ONCE)
            beside.cancel()
        assert turns >= 2 * STEPS_PER_LISTENER
        same = build_contexts(BOTH, DEFAULT_IDENTITY, material, 7)
        assert (contexts.generation, contexts._made.keys()) == (same.generation, same._made.keys())

    asyncio.run(story())


def test_what_listeners_have_in_common_is_proved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proved: list[SSL.Context] = []

    def counted(context: SSL.Context, material: Material, *, server_side: bool) -> Iterator[None]:
        proved.append(context)
        yield from trial_handshakes(context, material, server_side=server_side)

    monkeypatch.setattr(proof, "trial_handshakes", counted)
    alike = replace(BOTH, listeners=(*BOTH.listeners, *(replace(WEB, name=f"web-{number}") for number in range(5))))
    build_contexts(alike, DEFAULT_IDENTITY, Issuer(tmp_path, forge.ManualClock()).material(), 7)
    assert len(proved) == len(set(proved)) == 2


@pytest.mark.parametrize("least", ["1.2", "1.3"])
def test_what_cannot_shake_hands_is_refused_at_whichever_step(tmp_path: Path, least: str) -> None:
    clock = forge.ManualClock()
    material = Issuer(tmp_path, clock).material()
    material = replace(material, key=Issuer(tmp_path / "other", clock).material().key)
    settings = replace(BOTH, tls=Tls(least))
    with pytest.raises(MaterialError) as refused:
        asyncio.run(build_contexts_beside_traffic(settings, DEFAULT_IDENTITY, material, 7, AT_ONCE))
    assert refused.value.reason is MaterialReason.HANDSHAKE_FAILED
