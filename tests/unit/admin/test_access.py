"""Who may come in, as the kernel tells it."""

from __future__ import annotations

import os
import socket

import pytest

from tlsidecar.admin.access import caller_of, groups_of, may_enter
from tlsidecar.observe.audit import Caller

STRANGER = os.geteuid() + 4711


def test_the_kernel_names_who_connected() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert caller_of(one) == Caller(os.geteuid(), os.getegid(), os.getpid())
        assert set(groups_of(one)) == set(os.getgroups())


def test_nobody_is_known_over_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert caller_of(client) == Caller()
        assert list(groups_of(client)) == []


@pytest.mark.parametrize(
    ("uid", "gid", "groups", "group_id", "may"),
    [
        (os.geteuid(), 5, (), None, True),
        (0, 5, (), None, True),
        (STRANGER, 5, (), None, False),
        (STRANGER, 5, (), 6, False),
        (STRANGER, 5, (), 5, True),
        (STRANGER, 5, (6, 7), 7, True),
        (-1, -1, (), None, False),  # nobody known
        (-1, -1, (), 7, False),
    ],
)
def test_ourselves_root_and_the_sockets_group(
    uid: int, gid: int, groups: tuple[int, ...], group_id: int | None, may: bool
) -> None:
    assert may_enter(Caller(uid=uid, gid=gid), groups, group_id) is may
