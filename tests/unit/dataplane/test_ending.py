"""How connections are let go, for each reason there is."""

from __future__ import annotations

from tlsidecar.dataplane.ending import Ending, ending_of
from tlsidecar.outcomes import Culprit, Reason


def test_only_what_ended_passes_for_an_end() -> None:
    polite = {reason for reason in Reason if ending_of(reason) is Ending.POLITE}
    assert {reason for reason in Reason if ending_of(reason) is Ending.ENDED} == {Reason.COMPLETED}
    assert not any(reason.culprit is Culprit.UPSTREAM for reason in polite)
    for reason in (Reason.UPSTREAM_RESET, Reason.UPSTREAM_CLOSED, Reason.TRUNCATED, Reason.PEER_RESET):
        assert ending_of(reason) is Ending.CUT
    for reason in (Reason.CLOSED_BY_ADMIN, Reason.DRAIN_FORCED, Reason.INTERNAL_ERROR, Reason.SLOW_READER):
        assert ending_of(reason) is Ending.KILLED


def test_who_is_cut_off_for_what_it_did_is_not_heard_out() -> None:
    for reason in (Reason.RECORD_FLOOD, Reason.H2_FLOOD, Reason.PROTOCOL_ERROR, Reason.BAD_CHUNK, Reason.BODY_TIMEOUT):
        assert ending_of(reason) is Ending.KILLED
