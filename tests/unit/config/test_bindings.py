"""Which addresses are wanted, and by whom they are taken."""

from __future__ import annotations

import pytest
from unit.config.documents import IDENTITY, ORIGINATE, TERMINATE, document

from tlsidecar.config.bindings import bindings
from tlsidecar.config.problems import dotted

METRICS = {"listen": "0.0.0.0:9902", "allow": ["any"]}


def asked_at(http: str, **more: object) -> dict[str, object]:
    """An identity that a CA asks about over HTTP."""
    acme = {"directory": "https://ca.test/dir", "state": "acme", "challenge": "http-01", "http": http}
    return {"acme": acme, "dns": ["web.test"], "trust": "ca.crt", **more}


def at(listen: str, name: str = "web") -> dict[str, object]:
    return {**TERMINATE, "name": name, "listen": listen}


def taken(*listeners: dict[str, object], **root: object) -> list[tuple[str, str]]:
    """The key that has to go elsewhere, and why."""
    found = list(bindings(document(*listeners, **root)))
    assert all(each.suggestion == "choose another address" for each in found)
    return [(dotted(each.key), each.message) for each in found]


def test_what_is_wanted_by_one_alone_is_nobody_elses() -> None:
    admin = {"http": "127.0.0.1:9901", "view_socket": "/run/view/view.sock"}
    assert taken(TERMINATE, ORIGINATE, admin=admin, metrics=METRICS, identity=asked_at("0.0.0.0:80")) == []


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("0.0.0.0:1", "127.0.0.1:1", True),
        ("0.0.0.0:1", "[::1]:1", False),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
    ],
)
def test_two_listeners(one: str, other: str, collide: bool) -> None:
    found = taken(at(one), at(other, "two"))
    assert found == ([("listener.1.listen", f'"{other}" is taken by listener "web"')] if collide else [])


@pytest.mark.parametrize(
    ("listen", "root", "owner"),
    [
        ("unix:/run/tlsidecar/admin.sock", {}, "the admin socket"),
        ("unix:/v/view.sock", {"admin": {"view_socket": "/v/view.sock"}}, "the view socket"),
        ("0.0.0.0:9901", {"admin": {"http": "127.0.0.1:9901"}}, "admin.http"),
        ("127.0.0.1:9902", {"metrics": METRICS}, "metrics.listen"),
        ("unix:/run/tlsidecar/metrics.sock", {"metrics": METRICS}, "metrics.allow"),
        ("0.0.0.0:80", {"identity": asked_at("0.0.0.0:80")}, "identity.acme.http"),
        (
            "127.0.0.1:80",
            {"identity": [{**IDENTITY, "name": "mesh"}, asked_at("0.0.0.0:80", name="public")]},
            "identity[public].acme.http",
        ),
    ],
)
def test_a_listener_and_what_is_ours(listen: str, root: dict[str, object], owner: str) -> None:
    assert taken(at(listen), **root) == [("listener.0.listen", f'"{listen}" is taken by {owner}')]


def test_the_metrics_stand_beside_the_admin_socket_only_where_they_are_for_some() -> None:
    beside = at("unix:/run/tlsidecar/metrics.sock")
    assert taken(beside, metrics={"listen": "0.0.0.0:9902"}) == []
    (found,) = taken(TERMINATE, metrics=METRICS, admin={"socket": "/a/metrics.sock"})
    assert found == ("metrics.allow", '"unix:/a/metrics.sock" is taken by the admin socket')


def test_identities_may_be_asked_about_at_one_address_together() -> None:
    one, same = asked_at("0.0.0.0:80", name="one"), asked_at("0.0.0.0:80", name="same")
    assert taken(TERMINATE, identity=[one, same]) == []
    narrow = asked_at("127.0.0.1:80", name="narrow")
    assert taken(TERMINATE, identity=[one, narrow]) == [
        ("identity.1.acme.http", '"127.0.0.1:80" is taken by identity[one].acme.http')
    ]


def test_an_address_that_cannot_be_read_is_in_nobodys_way() -> None:
    assert taken(at("nowhere"), at("127.0.0.1:1", "two"), admin={"http": 3}, metrics={"listen": "::"}) == []


def test_a_listener_without_a_name_is_called_so() -> None:
    nameless = {key: value for key, value in at("127.0.0.1:1").items() if key != "name"}
    (found,) = taken(nameless, at("127.0.0.1:1", "two"))
    assert found == ("listener.1.listen", '"127.0.0.1:1" is taken by listener "without name"')
