"""Paths in the one form they are judged in, and the route rules: no reading of a path slips through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http.identities import identity
from unit.dataplane.http.patterns import PATTERNS
from unit.dataplane.http1.conversation import Conversation, listener

from tlsidecar.dataplane.http import paths
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.routes import RouteTable, hidden_routes
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Route

ADMIN = identity(dns=("admin.test",))
USER = identity(dns=("user.test",))


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/", b"/"), (b"/a/b", b"/a/b"), (b"/a/", b"/a/"), (b"//a", b"/a"), (b"/a//b", b"/a/b"), (b"/./a", b"/a"),
        (b"/a/.", b"/a/"), (b"/a/b/..", b"/a/"), (b"/a/../b", b"/b"), (b"/%61", b"/a"), (b"/%2e%2E/a/%2e%2e", None),
        (b"/a/%2e%2e/b", b"/b"), (b"/%c3%a9", b"/%C3%A9"), (b"/a%20b", b"/a%20b"), (b"/...", b"/..."), (b"*", b"*"),
        (b"/..", None), (b"/a/../..", None), (b"/%2f", None), (b"/%5c", None), (b"/%00", None), (b"/%0a", None),
        (b"/%7f", None), (b"/%", None), (b"/%4", None), (b"/%zz", None), (b"/a\\b", None), (b"/%252e", None),
        (b"/%25%32%65", None), (b"/;a=b", b"/;a=b"), (b"/%c0%af", None), (b"/%e0%80%af", None),
        (b"/%F0%80%80%AF", None), (b"/%F8%80%80%80%AF", None),
        (b"/%FC%80%80%80%80%AE", None), (b"/%F8re", b"/%F8re"),
        (b"/%C3%80", b"/%C3%80"), (b"/a/..%20/b", None), (b"/a/%20.", None),
        (b"/a/b%20c", b"/a/b%20c"), (b"/%20", b"/%20"),
    ],
)  # fmt: skip
def test_normal_form(path: bytes, normal: bytes | None) -> None:
    if normal is not None:
        assert paths.normalise(path) == normal
        return
    with pytest.raises(MessageRefused) as refused:
        paths.normalise(path)
    assert (refused.value.status, refused.value.reason) == (400, Reason.BAD_PATH)


_PATH = st.lists(
    st.sampled_from(
        [b"/", b"a", b".", b"..", b"%2e", b"%2E", b"%2f", b"%61", b"%c3", b"%", b";x", b"\\", b"%25", b"2e", b"B"]
    )
).map(lambda parts: b"/" + b"".join(parts))


@given(path=_PATH)
def test_the_normal_form_stays_as_it_is_and_has_nothing_left_to_resolve(path: bytes) -> None:
    try:
        normal = paths.normalise(path)
    except MessageRefused:
        return
    assert paths.normalise_target(normal + b"?//..") == normal + b"?//.."
    parts = paths.segments(normal)
    assert not {b".", b".."} & set(parts)
    assert b"" not in parts[:-1]


TABLE = RouteTable(
    [
        Route("/admin/**", (), ("dns:admin.test",)),
        Route("/public/**", ("GET",), ("any",)),
        Route("/**", ("POST",), ("dns:user.test",)),
    ],
    ["dns:user.test"],
)


@pytest.mark.parametrize(
    ("who", "method", "target", "goes_on"),
    [
        (ADMIN, b"GET", b"/admin/x", b"/admin/x"),
        (USER, b"GET", b"/admin/x", None),
        (USER, b"GET", b"/admin", None),
        (USER, b"GET", b"/x/../admin/x", None),
        (USER, b"GET", b"/%61dmin/x", None),
        (USER, b"GET", b"//admin/x", None),
        (USER, b"GET", b"/ADMIN/x", None),
        (USER, b"GET", b"/admin;a=b/x", None),
        (USER, b"GET", b"/x;/..;/admin", None),
        (USER, b"GET", b"/admin/", None),
        (USER, b"POST", b"/Admin", None),
        (USER, b"GET", b"/public/../other", b"/other"),
        (ADMIN, b"GET", b"/public/x?y=/../", b"/public/x?y=/../"),
        (ADMIN, b"HEAD", b"/public/x", b"/public/x"),
        (ADMIN, b"PUT", b"/public/x", None),
        (ADMIN, b"POST", b"/public/x", None),
        (ADMIN, b"GET", b"/other", None),
        (None, b"GET", b"/public/x", None),
        (USER, b"OPTIONS", b"*", b"*"),
        (ADMIN, b"OPTIONS", b"*", None),
    ],
)
def test_who_may_pass(who: object, method: bytes, target: bytes, goes_on: bytes | None) -> None:
    guard = TABLE.guard(who)  # type: ignore[arg-type]
    if goes_on is not None:
        assert guard.judge(method, target) == goes_on
        return
    with pytest.raises(MessageRefused) as refused:
        guard.judge(method, target)
    assert refused.value.status == 403


def test_what_was_judged_is_what_goes_on_and_overrides_do_not() -> None:
    settings = listener(routes=(Route("/a/**", (), ("any",)),))
    for force_h11 in (False, True):
        talk = Conversation(settings, guard=TABLE.guard(USER), force_h11=force_h11)
        talk.client(b"GET /x/..//y?q=%2e HTTP/1.1\r\nHost: a\r\nX-Original-URL: /admin\r\nX-HTTP-Method: PUT\r\n\r\n")
        (message,) = talk.requests()
        assert message.first == (b"GET", b"/y?q=%2e")
        assert not message.values("x-original-url")
        assert not message.values("x-http-method")
        talk = Conversation(settings, guard=TABLE.guard(USER), force_h11=force_h11)
        talk.client(b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (talk.statuses, talk.reason, talk.records[0].rule) == (
            [403],
            Reason.ROUTE_DENIED,
            "any method /admin/**",
        )
        assert talk.upstreams == []


def test_an_encoded_slash_is_judged_both_ways_where_the_route_lets_it_pass() -> None:
    table = RouteTable(
        [
            Route("/admin/**", (), ("dns:admin.test",)),
            Route("/packages/**", (), ("any",), allow_encoded_slashes=True),
            Route("/**", (), ("dns:user.test",)),
        ],
        ["dns:admin.test"],
    )
    guard = table.guard(USER)
    assert guard.judge(b"GET", b"/packages/@a%2fb/1") == b"/packages/@a%2Fb/1"
    for target, status in {
        b"/other/a%2Fb": 400,
        b"/packages/..%2Fother": 400,
        b"/packages/..%2fadmin/x": 403,
        b"/packages/%2e%2e%2Fadmin": 403,
        b"/packages/x%2F..%2F..%2FADMIN": 400,
        b"/packages/a%5Cb": 400,
        b"/packages/a%252Fb": 400,
        b"/%2Fadmin": 400,
    }.items():
        with pytest.raises(MessageRefused) as refused:
            guard.judge(b"GET", target)
        assert refused.value.status == status, target


@pytest.mark.parametrize("force_h11", [False, True])
@pytest.mark.parametrize(
    ("value", "goes_on"),
    [
        (b"/copy", b"/copy"),
        (b"http://a/copy%41", b"http://a/copyA"),
        (b"https://a:8443/x/./../copy?q", b"https://a:8443/copy?q"),
        (b"/admin/x", 403),
        (b"http://a/x/../ADMIN/..;/x", 403),
        (b"http://a/%61dmin", 403),
        (b"http://a", b"http://a/"),
        (b"/a%2fb", 400),
        (b"//admin/x", 400),
        (b"admin/x", 400),
        (b"/a b", 400),
        (b"", 400),
    ],
)
def test_a_webdav_destination_is_judged_as_a_path(value: bytes, goes_on: bytes | int, force_h11: bool) -> None:
    settings = listener(routes=(Route("/a/**", (), ("any",)),))
    table = RouteTable([Route("/admin/**", (), ("dns:admin.test",))], ["any"])
    talk = Conversation(settings, guard=table.guard(USER), force_h11=force_h11)
    talk.client(b"MOVE /x HTTP/1.1\r\nHost: a\r\nDestination: " + value + b"\r\n\r\n")
    if isinstance(goes_on, int):
        assert talk.statuses == [goes_on]
        assert talk.upstreams == []
    else:
        (message,) = talk.requests()
        assert message.values("destination") == [goes_on]


def test_a_destination_is_written_to() -> None:
    table = RouteTable([Route("/a/**", ("PUT",), ("dns:admin.test",))], ["any"])
    settings = listener(routes=(Route("/a/**", (), ("any",)),))
    for lines, statuses in ((b"Destination: /a/x", [403]), (b"Destination: /b\r\ndestination: /c", [400])):
        talk = Conversation(settings, guard=table.guard(USER))
        assert talk.client(b"COPY /a/y HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n").statuses == statuses


HIDDEN: list[tuple[list[tuple[str, str]], bool]] = [
    ([("/**", ""), ("/admin/*", "")], True),
    ([("/**", ""), ("/", "")], True),
    ([("/admin/**", ""), ("/admin", "")], True),
    ([("/admin/**", ""), ("/admin/*/keys", "")], True),
    ([("/admin/**", ""), ("/admin/x/**", "")], True),
    ([("/admin/**", ""), ("/Admin/x", "")], False),
    ([("/admin/x/**", ""), ("/admin/**", "")], False),
    ([("/admin/*", ""), ("/admin/", "")], False),  # a trailing slash is no name
    ([("/admin/*", ""), ("/admin/**", "")], False),
    ([("/a/*", ""), ("/a/b", ""), ("/a/c", "")], True),
    ([("/a/b*", ""), ("/a/bc*", "")], True),
    ([("/a/b*d", ""), ("/a/bc*", "")], False),
    ([("/a/b*d", ""), ("/a/bc*cd", "")], True),
    ([("/a/b", ""), ("/a/*", "")], False),
    ([("/**/keys", ""), ("/a/**/keys", "")], True),
    ([("/**/keys", ""), ("/a/**", "")], False),
    ([("/a/**", ""), ("/**/keys", "")], False),
    ([("/a/**/keys", ""), ("/a/x/keys", "")], True),
    ([("/a/*", "GET"), ("/a/b", "")], False),
    ([("/a/*", "GET"), ("/a/b", "GET")], True),
    ([("/a/*", "GET"), ("/a/b", "HEAD")], True),  # which goes with GET
    ([("/a/*", "GET"), ("/a/b", "GET,POST")], False),
    ([("/a/*", "GET"), ("/**", "POST"), ("/a/b", "GET,POST")], True),
    ([("/a/*", ""), ("/a/b", "POST")], True),
]


@pytest.mark.parametrize(("written", "hidden"), HIDDEN)
def test_a_route_that_one_before_it_hides(written: list[tuple[str, str]], hidden: bool) -> None:
    routes = [Route(path, tuple(filter(None, methods.split(","))), ("any",)) for path, methods in written]
    found = [route for route, _ in hidden_routes(routes)]
    assert (routes[-1] in found) is hidden


@given(st.lists(PATTERNS, min_size=2, max_size=4), st.lists(st.sampled_from(["a", "b", "ab", "aab", ""]), min_size=1))
def test_no_request_is_decided_by_a_hidden_route(patterns: list[str], segments: list[str]) -> None:
    routes = [Route(pattern, (), ("any",)) for pattern in patterns]
    hidden = [id(route) for route, _ in hidden_routes(routes)]
    guard = RouteTable(routes, ["any"]).guard(None)
    try:
        place = guard.deciding(b"GET", paths.normalise(("/" + "/".join(segments)).encode()))
    except MessageRefused:
        return
    assert place is None or id(routes[place]) not in hidden
