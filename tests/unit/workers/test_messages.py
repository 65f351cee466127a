"""Material on its way to a worker and back, and bodies that are none."""

from __future__ import annotations

import pytest
from unit.certs import forge

from tlsidecar.workers.messages import (
    Numbered,
    packed_configuration,
    packed_material,
    unpacked_configuration,
    unpacked_material,
)
from tlsidecar.workers.wire import WireError


@pytest.fixture(scope="module")
def generations() -> tuple[Numbered, ...]:
    pki = forge.authority()
    return tuple(
        Numbered(name, number, forge.material(forge.leaf(pki), trust=[pki]))
        for name, number in (("default", 1), ("zweite-größe", 2**40))
    )


def test_material_arrives_as_it_was(generations: tuple[Numbered, ...]) -> None:
    arrived = unpacked_material(packed_material(generations))
    assert [(each.identity, each.generation) for each in arrived] == [("default", 1), ("zweite-größe", 2**40)]
    assert [each.material.to_bytes() for each in arrived] == [each.material.to_bytes() for each in generations]
    assert unpacked_material(b"") == ()


def test_a_configuration_comes_before_its_material(generations: tuple[Numbered, ...]) -> None:
    settings, arrived = unpacked_configuration(packed_configuration(b'{"a":1}', generations))
    assert settings == b'{"a":1}'
    assert len(arrived) == 2


@pytest.mark.parametrize("cut", [1, 15, 16, 20, 30, -1])
def test_what_was_cut_short_is_refused_without_a_word_of_it(generations: tuple[Numbered, ...], cut: int) -> None:
    body = packed_material(generations[:1])[:cut]
    with pytest.raises(WireError, match=r"^not material$"):  # there may be a key in it
        unpacked_material(body)


def test_a_configuration_without_a_length_is_refused() -> None:
    with pytest.raises(WireError, match="not a configuration"):
        unpacked_configuration(b"\0\0")
