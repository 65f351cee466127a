"""What the sidecar sends upstream for mutated messages means one and the same request to h11, nginx and haproxy.

The messages go through the exchange machine, in pieces and through both lanes; the very bytes it gives out for the
upstream then go to nginx and haproxy over real sockets. ``CONFORMANCE_MESSAGES`` is how many (`make conformance`).
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter

import pytest
from conformance.judges import Judge, Verdict, judges, meaning
from conformance.mutations import messages
from unit.dataplane.http1.conversation import Conversation, cut, listener, parse_requests

from tlsidecar.dataplane.http1.states import ConversationState
from tlsidecar.settings import Http

MESSAGES = int(os.environ.get("CONFORMANCE_MESSAGES", "500"))
SEED = int(os.environ.get("CONFORMANCE_SEED", "20260101"))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SETTINGS = listener(http=Http(underscores="allow"))


def emitted(message: bytes, order: random.Random) -> list[bytes]:
    """What each upstream connection gets: one request, or the beginning of one that was then refused."""
    talk = Conversation(SETTINGS, force_h11=order.random() < 0.5)
    for piece in cut(message, [order.randrange(len(message)) for _ in range(order.choice([0, 0, 1, 3]))]):
        if talk.closed:
            break
        talk.client(piece)
        while talk.machine.state is ConversationState.AWAITING:
            head = talk.machine.head
            talk.upstream(OK[:-2] if head is not None and head.method == b"HEAD" else OK)
    if not talk.closed:
        talk.client_ends()
    return [bytes(peer.received) for peer in talk.upstreams]


@pytest.mark.needs("nginx")
@pytest.mark.needs("haproxy")
@pytest.mark.timeout(3600)
def test_three_parsers_read_the_same_request(capsys: pytest.CaptureFixture[str]) -> None:
    order = random.Random(SEED)
    counts: Counter[str] = Counter()
    disagreements: list[str] = []
    with judges() as found:
        for message in messages(SEED, MESSAGES):
            sent = emitted(message, order)
            counts["refused by us"] += not sent
            for data in sent:
                problems = [
                    f"{name} {problem}"
                    for name, judge in found.items()
                    if (problem := compare(data, judge, name, counts))
                ]
                counts["requests sent"] += 1
                disagreements += [f"{problem}\n  from {message!r}\n  sent {data!r}" for problem in problems]
    if "CONFORMANCE_MESSAGES" in os.environ:
        with capsys.disabled():
            figures = ", ".join(f"{what} {number}" for what, number in sorted(counts.items()))
            sys.stdout.write(f"\n{MESSAGES} messages, seed {SEED}: {figures}; {len(disagreements)} disagreements\n")
    assert not disagreements, "\n".join(disagreements[:20])
    assert counts["requests sent"] > MESSAGES * 0.3, "too few were accepted to say anything"
    assert counts["nginx agrees"] > MESSAGES * 0.25
    assert counts["haproxy agrees"] > MESSAGES * 0.25


def compare(data: bytes, judge: Judge, name: str, counts: Counter[str]) -> str:
    """What the judge and h11 differ in, or nothing."""
    ours = [meaning(message) for message in parse_requests(data)]
    if not ours:
        verdict = judge.judge(data, whole=False)
        counts[f"{name} agrees that it is incomplete"] += not verdict.requests
        return f"found a request in the beginning of one: {verdict}" if verdict.requests else ""
    assert len(ours) == 1
    verdict = judge.judge(data)
    if refuses(verdict) and (b"%" in data.split(b" ")[1] or data.split(b" ")[1] == b"*"):
        # nginx answers 400 to an escape that it cannot decode, and to the asterisk. A path is judged by us only where
        # route rules need it.
        counts[f"{name} refuses the target"] += 1
        return ""
    # A method whose body means nothing to it goes up with "Connection: close", and nothing is answered behind it.
    stays = b"\r\nConnection: close\r\n" not in data.partition(b"\r\n\r\n")[0]
    if verdict.requests != ours or verdict.sentinel is not stays:
        return f"read {verdict}, h11 {ours}"
    counts[f"{name} agrees"] += 1
    return ""


def refuses(verdict: Verdict) -> bool:
    """One 4xx and the end: whatever it thinks of the message, it does nothing."""
    return not verdict.requests and not verdict.sentinel and len(verdict.statuses) == 1 and verdict.statuses[0] < 500


@pytest.mark.needs("nginx")
@pytest.mark.needs("haproxy")
def test_the_judges_would_say_so() -> None:
    """Two requests, a request cut short, and framings that differ are told apart."""
    one = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with judges() as found:
        for judge in found.values():
            (message,) = parse_requests(one)
            assert judge.judge(one) == Verdict([meaning(message)], True, [200, 200])
            assert len(judge.judge(one + one).requests) == 2
            assert judge.judge(one[:-1], whole=False).requests == []
            assert judge.judge(one[:-1]).requests != [meaning(message)]
            assert refuses(judge.judge(one.replace(b": 3", b": x")))
