"""On which listeners a certificate is judged, and what is said where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from unit.certs import forge
from unit.certs.forge import CLIENT, DAY, SERVER, Made

from tlsidecar.admin.explaining import asked_about, explained, name_of, unexplained
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.explain.judging import Asked, CannotAsk
from tlsidecar.settings import Address, ListenerSettings, Mode, Protocol, Tls

NOW = datetime.now(UTC).replace(microsecond=0)  # OpenSSL looks at the real clock
ROOT = forge.authority(starts=NOW - 10 * DAY, ends=NOW + 10 * DAY)
HERE = Address("127.0.0.1", 1)
WEB = ListenerSettings("web", Mode.TERMINATE, HERE, (HERE,), allow=("any",), identities=("public", "mesh"))
RAW = replace(WEB, name="raw", identities=("public",))
API = replace(RAW, name="api", protocol=Protocol.HTTP)
OUT = ListenerSettings("out", Mode.ORIGINATE, HERE, (HERE,), expect=("dns:*.test",))
ALL = (WEB, RAW, API, OUT)


def leaf(**changes: object) -> Made:
    return forge.leaf(ROOT, **({"starts": NOW - DAY, "ends": NOW + DAY, "dns": ("shop.test",)} | changes))


CLIENTS, SERVERS, BOTH, EITHER = (
    [leaf(usages=usages).der] for usages in ((CLIENT,), (SERVER,), (CLIENT, SERVER), None)
)
OURS = Contexts(1, forge.material(leaf(dns=("us.test",)), trust=[ROOT]), Tls())


def names(listeners: list[ListenerSettings]) -> list[str]:
    return [each.name for each in listeners]


@pytest.mark.parametrize(
    "chain", [CLIENTS, BOTH, EITHER, [b"no certificate"], []], ids=["client", "both", "any", "junk", "nothing"]
)
def test_whoever_can_be_a_client_is_judged_where_it_may_come_in(chain: list[bytes]) -> None:
    assert names(asked_about(ALL, "", chain, None)) == ["web", "raw", "api"]


def test_a_server_is_judged_where_we_go_out_to_it() -> None:
    assert names(asked_about(ALL, "", SERVERS, None)) == ["out"]
    assert names(asked_about((WEB, RAW), "", SERVERS, None)) == ["web", "raw"], "there is no other"


def test_a_request_is_judged_where_requests_are() -> None:
    assert names(asked_about(ALL, "", CLIENTS, Asked("GET", "/"))) == ["api"]
    with pytest.raises(CannotAsk, match="no listener judges requests: leave path and method out"):
        asked_about((WEB, OUT), "", CLIENTS, Asked("GET", "/"))


def test_a_listener_that_is_named_is_the_one() -> None:
    assert names(asked_about(ALL, "out", CLIENTS, None)) == ["out"]
    with pytest.raises(CannotAsk, match=r"no listener is called 'wbe\\x1b'; known: web, raw, api, out"):
        asked_about(ALL, "wbe\x1b", CLIENTS, None)


def test_each_identity_that_a_listener_shows_has_its_own_trust_to_judge_by() -> None:
    asked: list[str] = []

    def contexts_of(name: str) -> Contexts:
        asked.append(name)
        return OURS

    told = explained(BOTH, [WEB, RAW], contexts_of)
    assert asked == ["public", "mesh", "public"]
    assert [each.listener for each in told.judgements] == ["web", "web", "raw"]
    assert (told.allowed, told.identity, told.note) == (True, "shop.test", "")
    assert [each.identity for each in told.chain] == ["shop.test"]


def test_before_there_is_material_nothing_can_be_judged() -> None:
    with pytest.raises(CannotAsk, match="no certificate of our own yet"):
        explained(BOTH, [WEB], lambda _: None)


def test_a_denial_is_of_whoever_comes_in_and_not_of_whom_we_ask() -> None:
    def denied(_: object) -> str:
        return "leaked"

    inbound, outbound = explained(BOTH, [RAW, OUT], lambda _: OURS, denial=denied).judgements
    assert (inbound.allowed, inbound.reason) == (False, "identity_denied")
    assert outbound.allowed


def test_what_cannot_be_explained_is_still_shown() -> None:
    told = unexplained("it has shown no certificate", "spiffe://a/b", CLIENTS)
    assert (told.allowed, told.identity, len(told.chain), told.judgements) == (False, "spiffe://a/b", 1, ())
    assert name_of([b"junk"]) == name_of([]) == ""
