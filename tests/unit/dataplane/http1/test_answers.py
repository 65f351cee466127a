"""The sidecar's own answers, as a client's parser reads them."""

from __future__ import annotations

import h11
import pytest

from tlsidecar.dataplane.http1.answers import reply

STATUSES = (400, 403, 405, 408, 413, 414, 417, 421, 429, 431, 500, 501, 502, 503, 504, 505)


def read(octets: bytes, method: str) -> tuple[h11.Response, bytes]:
    """A whole answer and its body; the connection has nothing beyond it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(octets)
    response, body = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    assert client.trailing_data == (b"", False)
    return response, body


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("status", STATUSES)
def test_it_is_whole_and_says_whether_the_connection_stays(status: int, close: bool) -> None:
    response, body = read(reply(status, close=close), "GET")
    fields = dict(response.headers)
    assert response.status_code == status
    assert body == f"{status} {response.reason.decode()}\n".encode()
    assert fields.get(b"connection") == (b"close" if close else None)
    assert (b"allow" in fields) is (status == 405)
    assert b"retry-after" not in fields


def test_an_answer_to_head_has_the_length_of_the_body_it_leaves_out() -> None:
    whole = reply(403, close=False)
    without = reply(403, close=False, with_body=False)
    assert whole == without + b"403 Forbidden\n"
    response, body = read(without, "HEAD")
    assert (dict(response.headers)[b"content-length"], body) == (b"14", b"")


@pytest.mark.parametrize("seconds", [0, 7])
def test_it_may_say_when_to_try_again(seconds: int) -> None:
    response, _ = read(reply(429, close=False, retry_after_s=seconds), "GET")
    assert dict(response.headers)[b"retry-after"] == b"%d" % seconds


def test_a_status_that_is_never_ours_is_a_defect() -> None:
    with pytest.raises(KeyError):
        reply(418, close=True)
