"""What the views say, read as text; and that they always fit, whatever the text in them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from ui_world import NOW, World, certificate, degraded, empty, expired, healthy, hostile, several, stamp

from tui.actions import actions
from tui.freshness import Link, freshness
from tui.keys import BACK, help_page, hints
from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS, Kind, Role
from tui.model import ConnectionQuery, Model, Snapshot
from tui.pages.arrange import ListSort, arranged_events, arranged_refusals, matches
from tui.pages.certificates import certificate_page, certificates_page
from tui.pages.chrome import Banner, TabLabel, identity_row, summary_row, tab_labels
from tui.pages.config import config_page, listener_page
from tui.pages.connecting import connecting_page
from tui.pages.connections import connection_page, connections_note, connections_table
from tui.pages.events import event_page, events_table
from tui.pages.overview import expiries, overview, refused_parties
from tui.pages.problem import problem_page
from tui.pages.refusals import refusal_page, refusals_note, refusals_table
from tui.problems import problems
from tui.records import Connections, Failures, decoded, event_of
from tui.sheet import Look, Sheet, field_lines
from tui.tabs import CONNECTIONS, TABS
from tui.text import SafeText, cell_width

LOOK = Look(NOW, 80, 20)
_SORTABLE = {tab.name: tab.columns for tab in TABS if tab.columns}


def _snapshot(world: World) -> Snapshot:
    model = Model(SafeText("/run/admin.sock"))
    model.take_status(world.document("status"), 100.0, world.now, 0.0)
    world.advance(1, bytes_in=2048, bytes_out=4096, connections=1)
    model.take_status(world.document("status"), 101.0, world.now, 0.0)
    world.now = NOW
    model.skew_s = 0.0
    model.take_certificates(world.document("certificates"), 101.0)
    total = world.status["totals"]["refusals_total"]
    model.take_refusals({"total": total, "refusals": world.refusals}, 100, 101.0)
    listed = {"total": len(world.connections), "matched": len(world.connections), "connections": world.connections}
    model.take_connections(listed, ConnectionQuery())
    for kind, fields in world.events:
        model.take_event(event_of(kind, fields))
    if world.connections:
        number = world.connections[0]["id"]
        first = {**world.connections[0], "chain": world.chains.get(number, [])}
        model.take_connection({"connection": first})
    return model.snapshot(101.0)


def _text(sheet: Sheet) -> list[str]:
    lines = [] if sheet.header is None else [sheet.header.plain]
    for index in range(sheet.count):
        each = sheet.line(index)
        assert each is not None
        lines.append(each.plain.rstrip())
    return lines


def _every_sheet(snapshot: Snapshot, look: Look) -> list[Sheet]:
    found = problems(snapshot)
    certificates = snapshot.certificates
    assert certificates is not None
    assert certificates.leaf is not None
    return [
        overview(snapshot, found, look),
        connections_table(snapshot, look),
        connection_page(snapshot, look),
        certificates_page(snapshot, look),
        certificate_page(snapshot, certificates.leaf.sha256, look),
        *(certificate_page(snapshot, each.sha256, look) for each in (*certificates.chain, *certificates.trust)),
        *(certificate_page(snapshot, f"crl {crl.issuer}", look) for crl in certificates.crls),
        refusals_table(snapshot, look),
        *(refusal_page(snapshot, seq, look) for seq in (1, 2, 999)),
        events_table(snapshot, look),
        *(event_page(snapshot, seq, look) for seq in (1, 3, 999)),
        config_page(snapshot, look),
        listener_page(snapshot, "web", look),
        listener_page(snapshot, "gone", look),
        *(problem_page(found, problem.key, look) for problem in found),
        problem_page(found, "gone", look),
        connecting_page(snapshot, 100.0, look),
    ]


@pytest.mark.parametrize("world", [healthy, degraded, expired, empty, hostile])
@pytest.mark.parametrize("width", [20, 40, 79, 119, 250])
@pytest.mark.parametrize("glyphs", [UNICODE_GLYPHS, ASCII_GLYPHS])
def test_every_line_of_every_view_fits_and_is_safe(world, width, glyphs) -> None:  # type: ignore[no-untyped-def]
    snapshot = _snapshot(world())
    look = Look(NOW, width, 20, glyphs=glyphs)
    banner = Banner(freshness(snapshot.link, 101.0), True, 1204, True, (2, 3))
    lines = [identity_row(snapshot, banner, look).plain, summary_row(snapshot, look).plain]
    assert all(cell_width(SafeText(text)) <= width for text in lines)
    for sheet in _every_sheet(snapshot, look):
        texts = _text(sheet)
        assert all(text.isprintable() for text in texts)
        if width >= 79:
            assert [text for text in texts if cell_width(SafeText(text)) > width] == []


def test_the_overview_answers_the_four_questions_in_order() -> None:
    text = _text(overview(_snapshot(degraded()), problems(_snapshot(degraded())), LOOK))
    places = [next(i for i, each in enumerate(text) if each.startswith(title)) for title in _SECTIONS]
    assert places == sorted(places)
    assert len(text) <= 21  # 24 rows less the two at the top, the tabs and the keys, with one to scroll
    assert text[1].startswith("  ✖ critical new material was refused")
    assert any("not_allowed" in each and "exporter" in each for each in text)
    assert any("◐ due" in each and "our certificate" in each for each in text)
    assert any(each.startswith("Traffic  an upstream is down; 2.0 KiB/s in, 4.0 KiB/s out") for each in text)


_SECTIONS = ("Problems", "Refused", "Expires next", "Traffic")


def test_the_overview_of_a_calm_and_of_a_new_sidecar() -> None:
    calm = _text(overview(_snapshot(healthy()), [], LOOK))
    assert calm[1] == "  ● ok  nothing is wrong"
    assert len(calm) <= 20
    snapshot = replace(_snapshot(empty()), certificates=None)
    new = _text(overview(snapshot, [], LOOK))
    assert "  nobody was refused" in new
    assert any("our certificate" in each for each in new)
    nothing = _text(overview(Snapshot(SafeText("x")), [], LOOK))
    assert {"  no certificate in use", "  no listeners"} <= set(nothing)


def test_quiet_traffic_is_told() -> None:
    world = healthy()
    model = Model(SafeText("x"))
    for second in range(30):
        world.advance(1, bytes_in=100 if second < 10 else 0)
        model.take_status(world.document("status"), float(second), world.now, 0.0)
    text = _text(overview(model.snapshot(29.0), [], LOOK))
    assert any(each.startswith("Traffic  none for 20s") for each in text)


def test_refusals_are_grouped_by_who_and_why() -> None:
    snapshot = _snapshot(degraded())
    assert snapshot.refusals is not None
    groups = refused_parties(snapshot.refusals)
    assert [(group.who, group.number) for group in groups] == [
        ("spiffe://prod.example/ns/crm/sa/exporter", 23),
        ("6 addresses, last 10.0.9.39", 6),
        ("spiffe://old.example/ns/shop/sa/cart", 6),
        ("legacy.ops.internal", 5),
    ]
    assert sum(group.number for group in groups) == 40


def test_row_one_drops_the_modes_before_the_state() -> None:
    snapshot = _snapshot(degraded())
    banner = Banner(freshness(replace(snapshot.link, attempt=12), 130.0), True, 1204)
    row = identity_row(snapshot, banner, LOOK).plain
    assert row == " tlsidecar  web-1  degraded          PAUSED +1,204  ADMIN: RETRY 12/∞ STALE 29s "
    calm = identity_row(snapshot, Banner(freshness(snapshot.link, 101.0), True, 1204), LOOK).plain
    assert calm == " tlsidecar  web-1  degraded         PAUSED 1,204 updates held  ADMIN: connected "


def test_row_two_shows_the_worst_certificate() -> None:
    snapshot = _snapshot(healthy())
    row = summary_row(snapshot, replace(LOOK, width=140)).plain
    assert row.startswith(" cert ● ok 16h 12m, renews 7h │ 12 open │ 0.0 req/s │ 0.0 failed/s │ 0.0 failed handsh")


def _outage(failed: int, answered: int) -> Snapshot:
    """A second in which so many requests failed, and so many were answered well."""
    world = healthy()
    world.status["listeners"][0]["requests"] = {"2xx": 1_204_511}
    model = Model(SafeText("x"))
    model.take_status(world.document("status"), 100.0, world.now, 0.0)
    world.advance(1, bytes_in=5000, bytes_out=5000)
    world.status["listeners"][0]["requests"] = {"2xx": 1_204_511 + answered, "5xx": failed}
    world.status["totals"]["requests_total"] += failed + answered
    world.status["listeners"][0]["upstream_errors"] = {"upstream_refused": failed}
    model.take_status(world.document("status"), 101.0, world.now, 0.0)
    model.take_failures(
        {
            "total": failed,
            "failures": [
                {
                    "listener": "web",
                    "upstream": "127.0.0.1:8080",
                    "reason": "upstream_refused",
                    "detail": "127.0.0.1:8080: Connection refused",
                    "count": failed,
                    "first_at": stamp(NOW),
                    "last_at": stamp(NOW),
                }
            ],
        },
        101.0,
    )
    model.take_lately(world.past(60, 10), 101.0)
    return model.snapshot(101.0)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_width_loses_the_figures_that_matter(width: int) -> None:
    look = replace(LOOK, width=width)
    row = summary_row(_outage(1234, 56_789), look).plain
    assert cell_width(SafeText(row)) <= width
    assert "req/s" in row
    assert "fail" in row.partition("req/s")[2]
    assert "p99 4.9ms" in row
    (header,) = [each for each in _text(overview(_outage(40, 1), [], look)) if each.lstrip().startswith("listener")]
    for label in ("req/s", "4xx/s", "5xx/s", "failed/s", "hs p99", "upstream"):
        assert label in header


@pytest.mark.parametrize(
    ("failed", "answered", "words", "role"),
    [
        (0, 40, "flowing, ", Role.GOOD),
        (1, 40, "flowing, but 2% fails", Role.WARNING),
        (40, 1, "failing, 98% of what is asked", Role.CRITICAL),
    ],
)
def test_traffic_is_green_only_when_what_flows_succeeds(failed: int, answered: int, words: str, role: Role) -> None:
    lines = overview(_outage(failed, answered), [], replace(LOOK, height=60)).lines
    (told,) = [each for each in lines if each.plain.startswith("Traffic")]
    assert words in told.plain
    assert role in [span.role for span in told.spans]


def test_traffic_is_not_green_while_the_sidecar_speaks_of_an_outage() -> None:
    world = healthy()
    model = Model(SafeText("x"))
    for second in (1.0, 2.0):
        world.advance(1, bytes_in=1000)
        outage = {"severity": "critical", "code": "upstream_down", "message": "web: no upstream answers"}
        world.status["problems"] = [outage]
        model.take_status(world.document("status"), second, world.now, 0.0)
    (told,) = [each for each in overview(model.snapshot(2.0), [], LOOK).lines if each.plain.startswith("Traffic")]
    assert Role.GOOD not in [span.role for span in told.spans]


def test_what_failed_is_shown_apart_from_who_was_refused() -> None:
    text = _text(overview(_outage(40, 1), [], replace(LOOK, height=60)))
    at = next(index for index, each in enumerate(text) if each.startswith("Failed"))
    assert "40x 127.0.0.1:8080" in text[at + 1]
    assert "upstream_refused" in text[at + 1]


def test_what_failed_opens_itself_and_leaves_the_cursor_where_it_is() -> None:
    """Two failures of one listener, whose own line stands below, are three things."""
    world = degraded()
    snapshot = _snapshot(world)
    failed = [{**world.failures["failures"][0], "reason": reason} for reason in ("upstream_refused", "upstream_reset")]
    snapshot = replace(snapshot, failures=decoded(Failures, {"total": 2, "failures": failed}))
    page = overview(snapshot, [], replace(LOOK, height=60))
    targets = [line.target for line in page.lines if line.target is not None]
    assert len(set(targets)) == len(targets)
    assert [target.kind for target in targets[:2]] == [Kind.FAILURE] * 2


def test_row_two_says_what_has_expired_and_when_nothing_is_known() -> None:
    assert " ✖ expired -07m 05s │" in summary_row(_snapshot(expired()), LOOK).plain
    world = healthy()
    world.certificates["crls"][0]["next_update"] = "2026-11-23T23:14:00.000Z"
    assert summary_row(_snapshot(world), LOOK).plain.startswith(" CRL ✖ -01m 00s │")
    assert summary_row(Snapshot(SafeText("x")), LOOK).plain == " no data yet"


def test_tabs_drop_their_counts_where_there_is_no_room() -> None:
    snapshot = _snapshot(healthy())
    assert snapshot.status is not None
    held = [TabLabel(tab.name, tab.short or tab.name, tab.held(snapshot.status)) for tab in TABS]
    assert "2 Connections (12)" in tab_labels(held, 120)
    assert "2 Conns (12)" in tab_labels(held, 80)
    assert "2 Conns" in tab_labels(held, 70)
    assert tab_labels([TabLabel(tab.name, tab.name) for tab in TABS], 80)[0] == "1 Overview"


def test_a_connection_in_full() -> None:
    text = "\n".join(_text(connection_page(_snapshot(healthy()), LOOK)))
    for words in (
        "admitted by      spiffe://prod.example/ns/shop/sa/*",
        "in               1,379 bytes",
        "generation       3 (current)",
        "X25519MLKEM768",
        "Peer certificate",
        "CN=Prod Issuing CA 7,O=Example",
    ):
        assert words in text
    gone = replace(_snapshot(healthy()), connection_gone=True)
    assert "this connection has closed; this is what it last was" in "\n".join(_text(connection_page(gone, LOOK)))
    never = replace(gone, connection=None)
    assert "this connection has closed" in "\n".join(_text(connection_page(never, LOOK)))
    world = healthy()
    world.connections[0]["generation"] = 2
    assert "2 (an older one; current is 3)" in "\n".join(_text(connection_page(_snapshot(world), LOOK)))


def test_the_cas_of_other_trust_domains_are_listed_and_end_like_others() -> None:
    world = healthy()
    partner = certificate("CN=Partner", "CN=Partner", NOW - timedelta(days=9), NOW - timedelta(minutes=5), is_ca=True)
    world.certificates["federated"] = [
        {"trust_domain": "partner.example", "trust": [partner]},
        {"trust_domain": "nobody.example", "trust": []},
    ]
    snapshot = _snapshot(world)
    text = _text(certificates_page(snapshot, replace(LOOK, height=60)))
    at = next(index for index, each in enumerate(text) if each.startswith("CAs of partner.example"))
    assert "expired" in text[at + 1]
    assert "CN=Partner" in text[at + 1]
    assert any("none: nobody of this trust domain can be let in" in each for each in text)
    assert "CA trusted for partner.example alone" in _text(certificate_page(snapshot, partner["sha256"], LOOK))[0]
    assert expiries(snapshot, NOW)[0].name == "CN=Partner"
    assert summary_row(snapshot, LOOK).plain.startswith(" CA ✖ expired")


def test_certificates_say_where_they_come_from_and_what_was_last_tried() -> None:
    text = "\n".join(_text(certificates_page(_snapshot(degraded()), LOOK)))
    assert "refused, by file change, 2m 00s ago, took 0.004 s" in text
    assert "key_mismatch: the key does not belong to the certificate" in text
    assert "was planned for 2026-11-23 19:15:00Z, 4h 00m ago" in text
    assert "11 on 3 (current), 1 on 2" in text
    unplanned = "\n".join(_text(certificates_page(_snapshot(expired()), LOOK)))
    assert "not planned here: the source's owner renews" in unplanned
    filtered = _text(certificates_page(_snapshot(healthy()), LOOK, "issuing"))
    assert any("Prod Issuing CA" in each for each in filtered)
    assert any("none matches the filter" in each for each in filtered)
    assert "this certificate is not in use any more" in "\n".join(
        _text(certificate_page(_snapshot(healthy()), "no such", LOOK))
    )


def test_a_refusal_in_full() -> None:
    text = "\n".join(_text(refusal_page(_snapshot(degraded()), 40, LOOK)))
    for words in (
        "no access rule allows this identity",
        "not_allowed, at stage authorize, by this sidecar",
        "spiffe://prod.example/ns/crm/sa/exporter",
        "CN=Prod Issuing CA 7,O=Example",
        "23 of the last 40",
    ):
        assert words in text
    assert "valid until      2026-11-24 04:15:00Z" in text  # in its column: no label is wider than the others
    world = healthy()
    world.refusals[0] |= {"method": "POST", "target": "/admin/x", "status": 403, "side": "peer", "request_id": "r-1"}
    request = "\n".join(_text(refusal_page(_snapshot(world), 3, LOOK)))
    assert "by the other end" in request
    assert "target           /admin/x" in request


def test_tables_say_why_they_are_empty() -> None:
    snapshot = _snapshot(empty())
    assert _text(connections_table(snapshot, LOOK))[1] == "  no open connections"
    assert _text(refusals_table(snapshot, LOOK))[1] == "  nobody was refused since the start"
    assert _text(events_table(snapshot, LOOK))[1] == "  no events yet: waiting for the first"
    assert connections_note(snapshot) == "0 connections"
    full = _snapshot(healthy())
    assert _text(refusals_table(full, LOOK, "zzz"))[1] == "  no refusal matches the filter"
    assert _text(events_table(full, LOOK, "zzz"))[1] == "  no event matches the filter"
    none_match = replace(
        full, connections=decoded(Connections, {"total": 12}), connections_query=ConnectionQuery(filter="zzz")
    )
    assert _text(connections_table(none_match, LOOK))[1] == "  no connection matches the filter"
    assert connections_note(none_match) == "0 of 12 connections"
    troubled = replace(
        full, troubles={each: SafeText("forbidden") for each in ("connections", "refusals", "events")}, events=()
    )
    for table in (connections_table, refusals_table, events_table):
        assert "forbidden" in _text(table(troubled, LOOK))[1]
    unread = Snapshot(SafeText("x"))
    for table in (connections_table, refusals_table):
        assert _text(table(unread, LOOK))[1] == "  asking the sidecar"


def test_values_stand_in_one_column_whatever_the_labels() -> None:
    for label in ("when", "exactly sixteen!", "a label of seventeen", ""):
        (only,) = field_lines(label, SafeText("value"), LOOK)
        assert only.plain.index("value") == 18
        assert only.plain[17] == " "


def test_the_state_is_said_once_and_what_is_stale_does_not_look_good() -> None:
    assert " state            ready" in _text(config_page(_snapshot(healthy()), LOOK))
    assert " state            degraded, ready" in _text(config_page(_snapshot(degraded()), LOOK))
    snapshot = _snapshot(healthy())
    for link, role in ((snapshot.link, Role.GOOD), (replace(snapshot.link, attempt=3), Role.MUTED)):
        row = identity_row(snapshot, Banner(freshness(link, 101.0)), LOOK)
        assert next(span.role for span in row.spans if span.text == "ready") is role


def test_the_last_of_many_refusals() -> None:
    world = healthy()
    world.status["totals"]["refusals_total"] = 5000
    assert refusals_note(_snapshot(world), each=True) == "the last 3 of 5,000 refusals"
    assert refusals_note(_snapshot(world), each=False) == "5,000 refusals since start"
    assert refusals_note(Snapshot(SafeText("x")), each=True) == ""
    assert connections_note(Snapshot(SafeText("x"))) == ""


def test_filters_and_orders() -> None:
    snapshot = _snapshot(degraded())
    assert snapshot.refusals is not None
    every = snapshot.refusals.refusals
    assert matches(("Alpha", "beta"), "BETA alp")
    assert not matches(("Alpha",), "alpha beta")
    assert {each.reason for each in arranged_refusals(every, "UNKNOWN_ca web", ListSort.AT, True, NOW)} == {
        "unknown_ca"
    }
    for sort in ListSort:
        rising = arranged_refusals(every, "", sort, False, NOW)
        assert [each.seq for each in arranged_refusals(every, "", sort, True, NOW)] == [each.seq for each in rising][
            ::-1
        ]
    assert [event.kind for event in arranged_events(snapshot.events, "generation=3", NOW)] == ["reload"]


def test_connecting_and_not_connected() -> None:
    snapshot = Snapshot(SafeText("/run/admin.sock"))
    assert "connecting to /run/admin.sock" in _text(connecting_page(snapshot, 100.0, LOOK))[1]
    lost = replace(snapshot, link=Link(attempt=3, error=SafeText("no socket"), next_attempt_at=102.5))
    text = "\n".join(_text(connecting_page(lost, 100.0, LOOK)))
    assert "attempt 3 failed, the next one is in 3s" in text
    assert "no socket" in text


def test_events_keep_every_field_for_the_detail() -> None:
    snapshot = _snapshot(healthy())
    text = "\n".join(_text(event_page(snapshot, 6, LOOK)))
    assert "sentence         the peer's certificate does not lead to a CA" in text
    table = events_table(snapshot, LOOK)
    last = table.line(table.count - 1)
    assert last is not None
    assert last.target is not None
    assert (last.target.kind, last.target.key) == (Kind.EVENT, 7)


def test_the_keys_shown_are_those_that_work() -> None:
    watching = hints(CONNECTIONS.hints, read_only=True, paused=True, several=True)
    assert ("a", "actions", "a") not in watching
    assert ("p", "resume", "p") in watching
    assert ("n", "sidecars", "n") in watching
    assert hints((BACK,), read_only=False, paused=False, several=False)[0] == ("esc", "back", "escape")
    text = "\n".join(_text(help_page(ASCII_GLYPHS, 70, _SORTABLE, read_only=True)))
    assert "switched off by --read-only" in text
    assert all(len(each) <= 70 for each in _text(help_page(ASCII_GLYPHS, 70, _SORTABLE, read_only=False)))


def test_several_identities_are_shown_and_acted_on_apart() -> None:
    text = "\n".join(_text(certificates_page(_snapshot(several()), LOOK)))
    assert text.index("Identity public") < text.index("Identity mesh")
    assert "shown by web" in text
    assert "shown by no listener" in text
    assert text.count("Our chain") == 2
    snapshot = _snapshot(several())
    assert snapshot.own_validity.not_after is not None
    assert snapshot.status is not None
    assert snapshot.own_validity.not_after == min(
        each.not_after for each in snapshot.status.identities if each.not_after
    )
    assert snapshot.connection is not None
    replaced = replace(snapshot, connection=replace(snapshot.connection, generation=9, own_identity=SafeText("mesh")))
    assert "9 of mesh (current)" in "\n".join(_text(connection_page(replaced, LOOK)))
    rotations = [action for action in actions(snapshot, None) if action.path == "/v1/rotate"]
    assert [action.body for action in rotations] == [None, {"identity": "public"}, {"identity": "mesh"}]
    assert len({action.key for action in rotations}) == 3
    leaves = [expiry.key for expiry in expiries(snapshot, NOW) if expiry.what == "our certificate"]
    assert len(leaves) == 2
    for key in leaves:
        assert "Material" in "\n".join(_text(certificate_page(snapshot, key, LOOK)))


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_time_line_tells_what_each_attempt_changed(width: int) -> None:
    world = healthy()
    world.certificates["attempts"][0]["differences"][0]["after"] = "CN=\x1b[2Jowned"
    text = "\n".join(_text(certificates_page(_snapshot(world), replace(LOOK, width=width))))
    assert "\x1b" not in text
    if width < 80:
        return
    for words in (
        "serial 5b1fa1d3 -> ",
        "key        - RSA 2048 5f8e24b84c7a",
        "+ EC P-256 9e17f9d2a3bb",
        r"+ CN=\x1b[2Jowned",
        "key_mismatch: the key does not belong to the certificate",
        "warning: the chain was not in order",
        "11 connections on this generation now",
    ):
        assert words in text, words


def test_a_refusals_page_says_what_could_not_be_asked() -> None:
    snapshot = _snapshot(degraded())
    refusals = snapshot.refusals
    assert refusals is not None
    troubled = replace(snapshot, troubles={"refusal": SafeText("there is no such path")})
    page = refusal_page(troubled, refusals.refusals[0].seq, LOOK)
    assert any("not available: there is no such path" in line for line in _text(page))
