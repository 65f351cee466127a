"""What would become of somebody who was refused: what is judged again, and what is said where nothing can be."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from unit.admin.fake_control import FakeControl, made_refusal
from unit.certs import forge
from unit.certs.forge import CLIENT, DAY

from tlsidecar.admin.explanations import of_refusal
from tlsidecar.control.interface import Generation
from tlsidecar.outcomes import Reason, Refusal, Side, Stage
from tlsidecar.settings import Admin

NOW = datetime.now(UTC).replace(microsecond=0)  # OpenSSL looks at the real clock
ROOT = forge.authority(starts=NOW - 10 * DAY, ends=NOW + 10 * DAY)
OURS = forge.leaf(ROOT, starts=NOW - DAY, ends=NOW + DAY, dns=("us.test",))
INTRUDER = forge.leaf(ROOT, starts=NOW - DAY, ends=NOW + DAY, dns=("intruder.test",), usages=(CLIENT,))
DER = INTRUDER.der
DIGEST = hashlib.sha256(DER).hexdigest()


@pytest.fixture
def control() -> FakeControl:
    control = FakeControl(Admin(Path("admin.sock")))
    control.generation = Generation(1, forge.material(OURS, trust=[ROOT]), NOW)
    return control


def refused(control: FakeControl, **changes: object) -> Refusal:
    """A refusal that the log has seen, with the chain that was shown."""
    refusal = made_refusal(**({"leaf": DIGEST, "chain": (DER,), "identity": "intruder.test"} | changes))
    control.refusals.record(refusal)
    return refusal


def test_whom_a_rule_turned_away_is_judged_again_by_the_rules_of_now(control: FakeControl) -> None:
    refusal = refused(control)
    told = of_refusal(control, refusal)
    assert (told.allowed, told.identity, told.note) == (False, "intruder.test", "")
    (judged,) = told.judgements
    assert (judged.listener, judged.reason) == ("web", "not_allowed")
    assert [line.line for line in judged.lines] == ['allow = ["spiffe://prod.example/ns/*/sa/**", "dns:intruder.test"]']
    (listener,) = control.settings.listeners
    control.settings = replace(control.settings, listeners=(replace(listener, allow=("dns:intruder.test",)),))
    assert of_refusal(control, refusal).allowed


def test_a_chain_that_did_not_verify_is_judged_by_the_trust_of_now(control: FakeControl) -> None:
    told = of_refusal(control, refused(control, stage=Stage.VERIFY, reason=Reason.UNKNOWN_CA))
    assert (told.allowed, told.note) == (False, "")
    assert [each.verified for each in told.judgements] == [True]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"side": Side.PEER}, "the other end turned us away: its rules are not known here"),
        ({"leaf": "", "chain": ()}, "no certificate was shown that could be read"),
        ({"leaf": "ab" * 32, "chain": ()}, "its certificates are not kept: those of the 256 peers"),
        ({"method": "GET", "target": "*"}, "it cannot be judged again: a path starts with '/'"),
        ({"listener": "gone"}, "it cannot be judged again: no listener is called 'gone'; known: web"),
        (
            {"stage": Stage.VERIFY, "reason": Reason.BAD_SIGNATURE},
            "it was turned away for something else, which is not judged again: a signature does not verify",
        ),
        (
            {"stage": Stage.REQUEST, "reason": Reason.RATE_LIMITED, "method": "GET", "target": "/"},
            "it was turned away for something else, which is not judged again: this identity is over its request rate",
        ),
    ],
)
def test_what_cannot_be_said_has_its_reason(control: FakeControl, changes: dict[str, object], note: str) -> None:
    told = of_refusal(control, refused(control, **changes))
    assert not told.allowed
    assert told.identity == "intruder.test"
    assert told.note.startswith(note)


def test_the_certificates_that_were_shown_are_told_all_the_same(control: FakeControl) -> None:
    told = of_refusal(control, refused(control, side=Side.PEER))
    assert [each.dns for each in told.chain] == [("intruder.test",)]


def test_before_there_is_material_nothing_is_judged(control: FakeControl) -> None:
    control.generation = None
    told = of_refusal(control, refused(control))
    assert told.note == "it cannot be judged again: there is no certificate of our own yet, and no trust to judge by"
