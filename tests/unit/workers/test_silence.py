"""For how long a worker's loop has not been seen to turn."""

from __future__ import annotations

from tlsidecar.workers.silence import Silence


def test_only_what_was_seen_of_it_counts() -> None:
    silence = Silence(100.0)
    assert silence.look(101.0, 100.9, 1.0) == 0
    assert silence.look(102.0, 100.9, 1.0) == 1
    assert silence.look(103.0, 100.9, 1.0) == 2
    assert silence.look(104.0, 103.5, 1.0) == 0


def test_when_all_of_us_were_stopped_nobody_stood_still() -> None:
    silence = Silence(100.0)
    silence.look(101.0, 100.9, 1.0)
    assert silence.look(4000.0, 100.9, 1.0) == 2
    assert silence.seconds == 2
