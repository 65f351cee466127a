"""Route rules hold whatever the service makes of a path. The services here are written from what their documentation
says and share nothing with the code under test."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.dataplane.http.identities import identity

from tlsidecar.dataplane.http import readings
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.routes import RouteTable
from tlsidecar.settings import Route

USER = identity(dns=("user.test",))

Service = Callable[[str], str]  # the path that a service takes a raw one for


def clean(path: str) -> str:
    """Dot segments and double slashes away, and what climbs above the root."""
    return posixpath.normpath("/" + path.lstrip("/")) + ("/" if path.endswith("/") else "")


def bare(path: str) -> str:
    return re.sub(r";[^/]*", "", path)


SERVICES: dict[str, Service] = {
    "a literal reader": lambda path: path,
    "Go's ServeMux": lambda path: clean(unquote(path)),
    "nginx": lambda path: clean(unquote(path)),
    "nginx with ~*": lambda path: clean(unquote(path)).lower(),
    "Express": lambda path: unquote(path).lower().rstrip("/") or "/",
    "Express, strict and case-sensitive": lambda path: unquote(path),
    "Tomcat": lambda path: clean(unquote(bare(path))),
    "Tomcat, in front of what ignores case": lambda path: clean(unquote(bare(path))).lower(),
    "Spring, after the dots": lambda path: bare(clean(unquote(path))),
    "decodes, then strips parameters": lambda path: clean(bare(unquote(path))),
    "the same, and ignores case": lambda path: clean(bare(unquote(path).casefold())),
    "strips parameters and keeps double slashes": lambda path: bare(path),
    "Rails, Spring's suffixes": lambda path: re.sub(r"\.[^/]*$", "", unquote(path)),
    "IIS": lambda path: "/".join(part.rstrip(". ") or part for part in clean(unquote(path)).lower().split("/")),
    "Windows below a servlet": lambda path: "/".join(
        part.rstrip(". ") or part for part in clean(unquote(bare(path))).lower().split("/")
    ),
    "Bottle": lambda path: unquote(path, errors="ignore"),
    "Bottle, in front of files": lambda path: clean(unquote(path, errors="ignore")),
    "Spring before 4.3": lambda path: "/".join(part.strip() for part in bare(clean(unquote(path))).split("/")),
    "reads a query twice": lambda path: clean(re.split(r"[?#]", unquote(path))[0]),
}


def is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


def refused(table: RouteTable, path: str) -> str:
    """What went on, or nothing."""
    try:
        return table.guard(USER).judge(b"GET", path.encode()).decode()
    except MessageRefused:
        return ""


_WORDS = ["admin", "ADMIN", "Admin", "%61dmin", "adm%49n", "%EF%BD%81dmin", "public", "x", "users", "ad%C5%BFin"]
_TRICKS = [
    ";", ";a", ";a=b", "..", ".", "..;", "..;x", ";..", "%2e%2e", "%2E", "%3B", "..%3B", "%20", "..%20", ".json", "%2F",
    "..%2f", "%5C", "%3Fx", "%23", "...", "admin.", "admin%20", "public.", "/", "%252e", "%C0%AE", "~", "*", "%2A",
    "%FF", "..%FF", "%E2%82", "%20admin",
]  # fmt: skip
_SEGMENT = st.lists(st.sampled_from(_WORDS + _TRICKS), max_size=3).map("".join)
_PATH = st.lists(_SEGMENT, min_size=1, max_size=5).map(lambda segments: "/" + "/".join(segments))

DENY = RouteTable([Route("/admin/**", (), ("dns:admin.test",))], ["any"])
DENY_ONE = RouteTable([Route("/x/admin", (), ("dns:admin.test",)), Route("/**", (), ("any",))], ["dns:admin.test"])
ALLOW = RouteTable([Route("/public/**", (), ("any",))], ["dns:admin.test"])
SLASHES = RouteTable(
    [
        Route("/admin/**", (), ("dns:admin.test",), allow_encoded_slashes=True),
        Route("/**", (), ("any",), allow_encoded_slashes=True),
    ],
    ["dns:admin.test"],
)


@given(path=_PATH)
@example(path="/ADMIN/..;/x")
@example(path="/admin;/x")
@example(path="/x/..;/admin")
@example(path="/admin.")
@example(path="/admin.json")
@example(path="/admin%20/users")
@example(path="/Admin%3Bx/..%3B/y")
@example(path="/admin%3Fx")
@example(path="/%FFadmin")
@example(path="/adm%C3in/x")
@example(path="/x/.%FF./admin")
@example(path="/%20admin/x")
@example(path="/%20%FFADMIN;x")
def test_what_is_denied_is_denied_in_every_service(path: str) -> None:
    for table in (DENY, SLASHES):
        if sent := refused(table, path):
            for name, service in SERVICES.items():
                assert not is_below(service(sent), "/admin"), f"{name} serves {service(sent)} for {sent}"


@given(path=_PATH)
@example(path="/X/;/admin")
@example(path="/x/admin;.json")
@example(path="/X/admin/")
def test_one_path_that_is_denied_is_denied_in_every_service(path: str) -> None:
    if sent := refused(DENY_ONE, path):
        for name, service in SERVICES.items():
            assert service(sent).rstrip("/") != "/x/admin", f"{name} serves {service(sent)} for {sent}"


@given(path=_PATH)
@example(path="/public/..;/admin")
@example(path="/PUBLIC/x")
@example(path="/public/..%3b/x")
@example(path="/public;/../x")
@example(path="/public/%FF../x")
def test_nothing_but_what_is_allowed_is_served_by_any_service(path: str) -> None:
    if sent := refused(ALLOW, path):
        for name, service in SERVICES.items():
            assert is_below(service(sent), "/public"), f"{name} serves {service(sent)} for {sent}"


@pytest.mark.parametrize(
    "path",
    [
        "/", "/x", "/x/", "/x.json", "/x;v=1/y", "/administrator", "/admin-guide/x", "/administration.html", "/xadmin",
        "/x/admin", "/users/admin.test", "/%E2%98%83", "/a%20b", "/a.b/c.d", "/x..y", "/badmin.", "/x/%3Badmin",
        "/caf%E9", "/%FF", "/x%20admin",
    ],
)  # fmt: skip
def test_what_nobody_could_take_for_it_passes(path: str) -> None:
    assert refused(DENY, path) == path


@pytest.mark.parametrize(
    ("table", "passes"),
    [
        # What is named as it is by a rule that lets it in comes before what could be taken for another.
        (RouteTable([Route("/admin.json", (), ("any",)), Route("/admin/**", (), ("dns:a.test",))], ["any"]), True),
        (RouteTable([Route("/admin/**", (), ("dns:a.test",)), Route("/admin.json", (), ("any",))], ["any"]), False),
        (RouteTable([Route("/admin", (), ("dns:a.test",)), Route("/admin.json", (), ("any",))], ["any"]), False),
    ],
)
def test_the_first_rule_still_decides(table: RouteTable, passes: bool) -> None:
    assert bool(refused(table, "/admin.json")) is passes


@pytest.mark.parametrize(
    ("table", "path"),
    [
        (
            RouteTable([Route("/report.html", (), ("any",)), Route("/js/*", (), ("any",))], ["dns:a.test"]),
            "/report.html",
        ),
        (
            RouteTable([Route("/report.html", (), ("any",)), Route("/js/*", (), ("any",))], ["dns:a.test"]),
            "/js/app.min.js",
        ),
        (RouteTable([Route("/Users/*", (), ("any",))], ["dns:a.test"]), "/Users/Anna"),
        (RouteTable([Route("/a;b", (), ("any",))], ["dns:a.test"]), "/a;b"),
        (RouteTable([Route("/caf%C3%A9/**", (), ("any",))], ["dns:a.test"]), "/caf%C3%A9/x"),
        (RouteTable([Route("/caf%E9/**", (), ("any",))], ["dns:a.test"]), "/caf%E9/x"),
        (RouteTable([Route("/", (), ("any",))], ["dns:a.test"]), "/"),
    ],
)
def test_an_allow_list_lets_in_what_it_names(table: RouteTable, path: str) -> None:
    assert refused(table, path) == path


def test_there_is_a_reading_for_every_combination() -> None:
    split = {reading.segments("/A;p//b%3B%FFq/") for reading in readings.ALL}
    assert (len(readings.ALL), len(readings.WELL_FORMED), len(readings.UNDECODED)) == (72, 40, 8)
    assert {("A;p", "", "b%3B%FFq", ""), ("a;p", "b%3b%ffq"), ("a", "", "b", ""), ("A", "b"), ("A", "b;q")} <= split


@pytest.mark.parametrize("text", ["admin", "ADMIN", "ADM\u0130N", "adm\u0131n", "\uff41dmin", "a\uff24min"])
def test_one_spelling_where_case_does_not_count(text: str) -> None:
    assert readings.folded(text) == "admin"


def test_the_long_s_and_the_kelvin_sign() -> None:
    assert readings.folded("u\u017fer\u017f/\u212aeys") == "users/keys"


def test_a_word_ends_where_ascii_has_no_letter_digit_or_joint() -> None:
    words = {chr(code) for code in range(0x80) if chr(code).isalnum()} | {"_", "-"}
    for code in (*range(1, 0x3000), 0xD800, 0x1F600, 0x10FFFF):
        character = chr(code)
        goes_on = character in words or code >= 0x80
        assert readings._is_boundary(f"/admin{character}", len("/admin")) is not goes_on, character
