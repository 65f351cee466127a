"""The connection phase is numbered anew, and nothing after it."""

from __future__ import annotations

import time

import pytest

from tlsidecar.dataplane.starttls.mysql import packet
from tlsidecar.dataplane.starttls.mysql_session import MysqlSession
from tlsidecar.dataplane.starttls.translation import Translation, Unfit

PLAIN, SSL = b"\x05\xa2\x3f\x00", b"\x05\xaa\x3f\x00"
REST = b"\0\0\0\1-and so on"
OK, DENIED, SWITCH, MORE = b"\0\0\0\2\0\0\0", b"\xff\x15\x04#28000no", b"\xfeclient_ed25519\0nonce", b"\1\3"
COMMAND = packet(0, b"\3select 1")


def carried(session: Translation, turns: list[tuple[str, bytes]], piece: int) -> list[bytes]:
    passed = []
    for who, data in turns:
        take = session.from_client if who == "client" else session.from_server
        passed.append(b"".join(take(data[at : at + piece]) for at in range(0, len(data), piece)))
    return passed


@pytest.mark.parametrize("piece", [1, 3, 1000])
@pytest.mark.parametrize("inside", [True, False], ids=["terminate", "originate"])
def test_the_numbers_are_one_apart_until_the_server_has_decided(inside: bool, piece: int) -> None:
    ours, theirs = (1, 0) if inside else (0, 1)  # how many packets wanted TLS, on the client's side and the server's
    first, answered = (SSL, PLAIN) if inside else (PLAIN, SSL)
    session = MysqlSession(inside=inside)
    turns = [
        ("client", packet(1 + ours, first + REST)),
        ("server", packet(2 + theirs, SWITCH)),
        ("client", packet(3 + ours, b"")),
        ("server", packet(4 + theirs, b"") + packet(5 + theirs, MORE)),
    ]
    assert carried(session, turns, piece) == [
        packet(1 + theirs, answered + REST),
        packet(2 + ours, SWITCH),
        packet(3 + theirs, b""),
        packet(4 + ours, b"") + packet(5 + ours, MORE),
    ]
    assert not session.over
    assert carried(session, [("client", COMMAND)], piece) == [COMMAND]  # one that came early keeps its number
    assert carried(session, [("server", packet(6 + theirs, OK))], 1000) == [packet(6 + ours, OK)]
    assert session.over


@pytest.mark.parametrize("last", [OK, DENIED])
def test_what_comes_with_the_last_packet_is_passed_on_as_it_is(last: bytes) -> None:
    session = MysqlSession(inside=True)
    session.from_client(packet(2, SSL + REST) + COMMAND[:3])
    assert session.from_server(packet(2, last) + b"\7\0\0\1follows") == packet(3, last)
    assert session.over
    assert session.rest() == (COMMAND[:3], b"\7\0\0\1follows")
    assert session.rest() == (b"", b"")


def test_what_is_not_mysql_s_is_not_held() -> None:
    with pytest.raises(Unfit, match="131072"):
        MysqlSession(inside=True).from_client(b"\xff\xff\xff\1")
    with pytest.raises(Unfit, match="131072"):
        MysqlSession(inside=False).from_server(b"\x00\x00\x02\2")
    with pytest.raises(Unfit, match="too short"):
        MysqlSession(inside=True).from_client(packet(2, b"\0"))


@pytest.mark.parametrize("of", ["client", "server"])
def test_empty_packets_without_end_cost_what_they_weigh(of: str) -> None:
    def seconds(count: int) -> float:
        session = MysqlSession(inside=True)
        take = session.from_client if of == "client" else session.from_server
        session.from_client(packet(1, SSL + REST))
        data = packet(1, b"" if of == "client" else MORE) * count
        began = time.process_time()
        assert len(take(data)) == len(data)
        return time.process_time() - began

    few, many = (min(seconds(count) for _ in range(3)) for count in (4_000, 64_000))
    assert many < 60 * few  # sixteen times as many; were each to copy what follows it, it would be 256 times
