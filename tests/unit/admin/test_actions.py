"""Calls that end connections or keep somebody out: what they touch, and when they are refused."""

from __future__ import annotations

import pytest
from unit.admin.conftest import Served
from unit.admin.fake_control import made_connection

from tlsidecar.api.denials import MOST_DENIALS

WEB = "spiffe://prod.example/ns/shop/sa/web"


def fill(served: Served, count: int) -> None:
    served.control.records = [made_connection(number, identity=WEB, generation=2) for number in range(1, count + 1)]


@pytest.mark.parametrize(("found", "expected", "status"), [(100, 90, 409), (100, 95, 200), (0, 1, 409), (9, 10, 200)])
async def test_what_changed_by_more_than_a_tenth_is_refused(
    served: Served, found: int, expected: int, status: int
) -> None:
    for method, target, body in (
        ("DELETE", f"/v1/connections?filter=web&expected={expected}", None),
        ("DELETE", f"/v1/connections?identity={WEB}&expected={expected}", None),
        ("POST", "/v1/drain-generations", {"expected": expected, "timeout_s": 0}),
        ("POST", "/v1/denials", {"identity": WEB, "for_s": 60, "expected": expected}),
    ):
        fill(served, found)
        served.control.calls.clear()
        answer = await served.wire().call(method, target, body)
        assert answer.status == status, answer
        if status == 409:
            assert answer.json["error"]["code"] == "refused"
            assert f"{found} connections would be touched now, not {expected}" in answer.json["error"]["message"]
            assert not served.control.calls
            assert served.control.denials.kept_out == ()
        else:
            assert not served.control.records


async def test_a_drain_may_say_what_it_expects(served: Served) -> None:
    answer = await served.wire().call("POST", "/v1/drain", {"expected": 200})
    assert (answer.status, served.control.calls) == (409, [])
    answer = await served.wire().call("POST", "/v1/drain", {"expected": 2})
    assert (answer.status, served.control.calls) == (200, ["drain None"])


@pytest.mark.parametrize(
    ("method", "target", "body", "said"),
    [
        ("DELETE", "/v1/connections", None, "filter or identity"),
        ("DELETE", "/v1/connections?filter=%20&expected=0", None, "filter or identity"),
        ("DELETE", "/v1/connections?filter=web", None, "expected is missing"),
        ("DELETE", "/v1/connections?filter=web&expected=-1", None, "expected is missing"),
        ("DELETE", "/v1/connections?filter=nosuch:1&expected=1", None, "filter: "),
        ("POST", "/v1/denials", {"for_s": 60}, "identity is a name"),
        ("POST", "/v1/denials", {"identity": " ", "for_s": 60}, "identity is a name"),
        ("POST", "/v1/denials", {"identity": "x" * 3000, "for_s": 60}, "at most 2048"),
        ("POST", "/v1/denials", {"identity": WEB}, "for_s is missing"),
        ("POST", "/v1/denials", {"identity": WEB, "for_s": 0}, "for_s is from 1"),
        ("POST", "/v1/denials", {"identity": WEB, "for_s": 1e9}, "for_s is from 1"),
        ("POST", "/v1/denials", {"identity": WEB, "for_s": True}, "for_s is a number"),
        ("POST", "/v1/denials", {"identity": WEB, "for_s": 60, "until": 1}, "unknown field 'until'"),
        ("DELETE", "/v1/denials/x", None, "a denial's id is a number"),
        ("POST", "/v1/drain-generations", {"older_than": 9}, "older_than is from 1 to 3"),
    ],
)
async def test_a_wrong_call_changes_nothing(
    served: Served, method: str, target: str, body: dict[str, object] | None, said: str
) -> None:
    answer = await served.wire().call(method, target, body)
    assert answer.status == 400, answer
    assert said in answer.json["error"]["message"]
    assert not served.control.calls


async def test_a_denial_is_shown_and_undone(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tlsidecar.audit")
    fill(served, 3)
    reply = (await served.wire().call("POST", "/v1/denials", {"identity": WEB, "for_s": 60})).json
    assert (reply["closed"], reply["denial"]["identity"]) == (3, WEB)
    shown = (await served.wire(served.view_socket).get("/v1/denials")).json["denials"]
    assert shown == [reply["denial"]]
    target = f"/v1/denials/{reply['denial']['id']}"
    assert (await served.wire(served.view_socket).call("DELETE", target)).status == 403
    assert (await served.wire().call("DELETE", target)).json["denial"] == reply["denial"]
    assert (await served.wire().call("DELETE", target)).status == 404
    details = [record.fields["detail"] for record in caplog.records if record.name == "tlsidecar.audit"]  # type: ignore[attr-defined]
    assert details == [f"{WEB} for 60 s, 3 closed", "not on this socket", WEB, f"no denial {reply['denial']['id']}"]


async def test_there_are_so_many_denials_at_most(served: Served) -> None:
    for number in range(MOST_DENIALS):
        served.control.denials.add(f"host-{number}.test", 60, "uid 0")
    answer = await served.wire().call("POST", "/v1/denials", {"identity": WEB, "for_s": 60})
    assert (answer.status, answer.json["error"]["code"]) == (409, "refused")


async def test_older_generations_end_gently(served: Served) -> None:
    fill(served, 4)
    served.control.records.append(made_connection(9, generation=3))
    reply = (await served.wire().call("POST", "/v1/drain-generations", {"timeout_s": 0})).json
    assert (reply["ended"], reply["left"]) == (4, 0)
    assert served.control.calls == ["end 4 generation_drained gently"]
    assert [each.id for each in served.control.records] == [9]
