"""The filter language: what its terms mean, what is said of those that mean nothing, and that it survives anything."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.api.connections import Connection
from tlsidecar.api.filter import Filter, FilterError, Term, Vocabulary, exactly, matcher, parse
from tlsidecar.api.filter_fields import (
    CONNECTION_FIELDS,
    VOCABULARIES,
    connection_readers,
    connection_texts,
    event_matcher,
)
from tlsidecar.api.filter_values import MOST_ASTERISKS, Operator, ValueKind

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def connection(**changed: object) -> Connection[str]:
    fields: dict[str, object] = {
        "id": 4711,
        "listener": "web",
        "mode": "terminate",
        "protocol": "http",
        "peer_address": "10.1.2.3:40000",
        "identity": "spiffe://prod.example/ns/shop/sa/web",
        "subject": "CN=web,OU=Shop",
        "serial": "0a1b",
        "not_after": None,
        "sni": "shop.internal",
        "alpn": "h2",
        "tls_version": "TLSv1.3",
        "cipher": "TLS_AES_128_GCM_SHA256",
        "group": "X25519",
        "bytes_in": 600 * 1024,
        "bytes_out": 600 * 1024,
        "requests": 12,
        "opened_at": NOW - timedelta(minutes=10),
        "idle_s": 75.0,
        "generation": 6,
        "rule": "spiffe://prod.example/ns/*/sa/web",
        "state": "relaying",
        "upstream": "127.0.0.1:8080",
        "worker": 1,
        "streams": 0,
    }
    return Connection(**{**fields, **changed})  # type: ignore[arg-type]


def means(text: str, row: Connection[str]) -> bool:
    wanted = parse(text, CONNECTION_FIELDS)
    return matcher(wanted, CONNECTION_FIELDS, connection_readers(NOW), connection_texts)(row)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SHOP relay",  # words, letter case aside
        "spiffe://prod.example/ns/*",  # a word, although it has a colon and an asterisk: rules have them, too
        "10.1.2.3:40000 127.0.0.1:8080",
        '"CN=web,OU=Shop" !absent !"not there"',
        "id:*/sa/web",
        "identity:/ns/shop/",
        "ID:SPIFFE*WEB",
        "!listener:raw",
        "listener:w*b listener:WEB !listener:we",
        "idle:>60s idle:>=75s !idle:>75s idle:<1h30m idle:<=75",
        "gen:<7 gen:6 !gen:>6 generation:=6",
        "bytes:>1MiB bytes:<1.2MiB in:600KiB out:>=614400 bytes:>1.2MB",
        "tls:1.3 !tls:1.2 tls:>1.2 tls:TLSv1.3",
        "peer:10.0.0.0/8 peer:10.1.2.3 peer:10.1.2.3:40000 peer:10.1. !peer:10.1.2.30 !peer:fd00::/8",
        "age:>9m age:<11m",
        "ns:shop td:prod.example",
        'sni:internal alpn:h2 !alpn:"" cipher:GCM group:x25519',
        "conn:4711 requests:>11 worker:1 streams:0",
        'identity:="spiffe://prod.example/ns/shop/sa/web" !identity:=spiffe://prod.example/ns/shop/sa/WEB',
        "upstream:8080 rule:*/sa/web rule:=spiffe://prod.example/ns/*/sa/web",
    ],
)
def test_what_is_meant(text: str) -> None:
    assert means(text, connection())


@pytest.mark.parametrize(
    "text", ["shop absent", "listener:we", "peer:10.1.2.4", "gen:7", "!web", "id:web*", "idle:<75"]
)
def test_what_is_not_meant(text: str) -> None:
    assert not means(text, connection())


def test_addresses_of_every_kind() -> None:
    for address, text in [
        ("[fd00::1]:443", "peer:fd00::/8 peer:fd00::1 peer:[fd00::1]:443"),
        ("[::ffff:10.0.0.1]:443", "peer:10.0.0.0/8 peer:10.0.0.1"),
        ("unix:/run/app.sock", "peer:unix:/run !peer:10.0.0.0/8 unix:/run/app.sock"),
    ]:
        assert means(text, connection(peer_address=address)), address


@pytest.mark.parametrize(
    ("text", "position", "length", "words"),
    [
        ("listner:raw", 0, 7, "did you mean listener?"),
        ("web  backend:8080", 5, 7, "in double quotes it is a text"),
        ("idle:60s", 5, 3, "is a duration, which is compared: idle:>60s"),
        ("idle:>60x", 6, 3, "is no duration"),
        ("gen:<seven", 5, 5, "is no whole number"),
        ("gen:1٣", 4, 2, "is no whole number"),
        ("bytes:>1XiB", 7, 4, "is no size"),
        ("listener:>raw", 10, 3, "is text, which is matched and not compared"),
        ("peer:10.0.0.0/33", 5, 11, "is no network"),
        ("tls:1.x", 4, 3, "is no TLS version"),
        ("listener:", 8, 1, "a value is missing after listener:"),
        ("gen:> 7", 4, 1, "a value is missing"),
        ("!", 0, 1, "stands before what is not wanted"),
        ("!!web", 0, 1, "stands before what is not wanted"),
        ('web "shop', 4, 5, "the quote is not closed"),
        ('"web"shop', 5, 1, "a space is missing"),
        ("id:" + "*" * (MOST_ASTERISKS + 1), 3, MOST_ASTERISKS + 1, "asterisks"),
        ("a " * 33, 64, 1, "more than 32 terms"),
        ("a" * 5000, 4096, 1, "longer than 4096 characters"),
    ],
)
def test_a_mistake_is_told_where_it_is(text: str, position: int, length: int, words: str) -> None:
    with pytest.raises(FilterError, match=f"at character {position + 1}") as told:
        parse(text, CONNECTION_FIELDS)
    assert (told.value.position, told.value.length) == (position, length)
    assert words in told.value.message


NUMBERS = st.integers(0, 10**15 - 1).map(str)  # fifteen digits are read
VALUES = {
    ValueKind.NAME: st.text(max_size=12),
    ValueKind.TEXT: st.text(max_size=12),
    ValueKind.ADDRESS: st.one_of(
        st.ip_addresses().map(str), st.text(st.characters(exclude_characters="/"), max_size=12)
    ),
    ValueKind.NUMBER: NUMBERS,
    ValueKind.SIZE: st.tuples(NUMBERS, st.sampled_from(["", "B", "KiB", "M", "GB"])).map("".join),
    ValueKind.DURATION: st.tuples(st.integers(0, 9999).map(str), st.sampled_from(["", "ms", "s", "m", "h", "d"])).map(
        "".join
    ),
    ValueKind.VERSION: st.sampled_from(["1.2", "1.3", "TLSv1.3"]),
}


@st.composite
def terms(draw: st.DrawFn, vocabulary: Vocabulary) -> Term:
    negated = draw(st.booleans())
    if draw(st.booleans()):
        return Term(draw(st.text(max_size=20)), negated=negated)
    field = draw(st.sampled_from(list(vocabulary)))
    matched = (Operator.MATCHES, Operator.EXACTLY)
    compared = (Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST)
    match field.kind:
        case ValueKind.NAME | ValueKind.TEXT | ValueKind.ADDRESS:
            operators: tuple[Operator, ...] = matched
        case ValueKind.DURATION:
            operators = compared
        case _:
            operators = (*matched, *compared)
    return Term(draw(VALUES[field.kind]), field.name, draw(st.sampled_from(operators)), negated)


@given(st.data(), st.sampled_from(sorted(VOCABULARIES)))
def test_what_is_printed_is_read_as_the_same(data: st.DataObject, name: str) -> None:
    vocabulary = VOCABULARIES[name]
    wanted = Filter(tuple(data.draw(st.lists(terms(vocabulary), max_size=6))))
    assert parse(str(wanted), vocabulary) == wanted


FRAGMENTS = st.sampled_from(
    ["!", '"', "\\", ":", "<", ">=", "*", " ", "id", "gen:", "peer:", "idle:>", "1h", "10.0.0.0/8"]
)


@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=4)), max_size=20).map("".join), st.text(max_size=30))
def test_hostile_text_is_a_filter_or_the_one_error(text: str, held: str) -> None:
    try:
        wanted = parse(text, CONNECTION_FIELDS)
    except FilterError as told:
        position = told.position
        assert 0 <= position <= len(text)
        return
    assert parse(str(wanted), CONNECTION_FIELDS) == wanted
    row = connection(identity=held, peer_address=held, sni=held, tls_version=held)
    matcher(wanted, CONNECTION_FIELDS, connection_readers(NOW), connection_texts)(row)


@given(st.text(max_size=30), st.text(max_size=30))
def test_plain_words_mean_what_they_always_did(text: str, identity: str) -> None:
    words = [word for word in text.split() if word[0] not in '!"' and ":" not in word]
    row = connection(identity=identity)
    everything = "\n".join(connection_texts(row)).casefold()
    expected = all(word in everything for word in " ".join(words).casefold().split())
    assert means(" ".join(words), row) == expected


@given(st.lists(st.sampled_from(["a", "b", "aab", "*"]), max_size=12).map("".join), st.text("ab", max_size=40))
def test_asterisks_mean_what_shells_mean_by_them(pattern: str, held: str) -> None:
    from fnmatch import fnmatchcase

    if not pattern or "*" not in pattern:
        pattern += "*"
    assert means(f'id:"{pattern}"', connection(identity=held)) == fnmatchcase(held, pattern)


def test_the_worst_of_patterns_takes_no_longer_than_its_text() -> None:
    """A matcher that goes back would need years for this one."""
    hostile = connection(identity="a" * 2_000_000)
    began = time.process_time()
    assert not means("id:" + "a*" * MOST_ASTERISKS + "b", hostile)
    assert not means("id:*" + "a*" * (MOST_ASTERISKS - 2) + "b*", hostile)
    assert time.process_time() - began < 2.0


def test_every_field_has_its_reader() -> None:
    row = connection()
    readers = connection_readers(NOW)
    assert {field.name for field in CONNECTION_FIELDS} == set(readers)
    for read in readers.values():
        assert read(row) is not None


def test_one_row_is_found_by_exactly_what_it_has() -> None:
    identity = 'spiffe://prod.example/ns/"odd one"\\x'
    wanted = str(Filter((exactly("identity", identity),)))
    assert means(wanted, connection(identity=identity))
    assert not means(wanted, connection(identity=identity + "y"))


def test_events_are_asked_by_their_kind_and_fields() -> None:
    event = ("closed", {"seq": 7, "id": 12, "peer_address": "10.0.0.9:1", "reason": "completed", "bytes_in": 3})
    for text, expected in [
        ("kind:closed", True),
        ("!kind:opened !kind:refusal", True),
        ("conn:12 peer:10.0.0.0/8 reason:completed seq:<8", True),
        ("completed", True),
        ("kind:clos", False),
        ("age:>1s", False),  # it does not say when
    ]:
        matches = event_matcher(parse(text, VOCABULARIES["events"]), lambda: NOW)
        assert matches(event) is expected, text
