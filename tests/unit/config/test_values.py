"""Single values: what is read, what is refused, and that what is shown is read back as the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.config import http_values, values
from tlsidecar.config.problems import InvalidValue


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("5m", 300.0),
        ("24h", 86400.0),
        ("1.5h", 5400.0),
        ("200ms", 0.2),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
    ],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert values.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [
        (10, 'write "10s"'),
        ("10", 'write "10s"'),
        (1.5, 'write "1.5s"'),
        ("ten seconds", '"10s", "5m"'),
        ("-5s", '"10s", "5m"'),
        ("1e3s", '"10s", "5m"'),
        ("10s\n", '"10s", "5m"'),
        ("", '"10s", "5m"'),
        (True, '"10s", "5m"'),
        ([], '"10s", "5m"'),
        ("٣s", '"10s", "5m"'),
    ],
)
def test_what_is_no_duration_is_refused_with_a_suggestion(value: object, suggestion: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        values.parse_duration(value)
    assert suggestion in caught.value.suggestion


def test_a_duration_of_zero_is_refused_unless_zero_has_a_meaning() -> None:
    with pytest.raises(InvalidValue, match="longer than zero"):
        values.parse_duration("0s")
    assert values.parse_duration_or_zero("0s") == 0.0


def test_a_duration_beyond_ten_years_is_refused() -> None:
    with pytest.raises(InvalidValue, match="ten years"):
        values.parse_duration("999999999h")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3600.0, "1h"), (75.0, "75s"), (60.0, "60s"), (300.0, "5m"), (0.2, "200ms"), (86400.0, "24h"), (172800.0, "2d")],
)
def test_durations_are_shown_the_way_people_write_them(seconds: float, text: str) -> None:
    assert values.show_duration(seconds) == text


@given(st.integers(1, 10**9).map(lambda ms: ms / 1000))
def test_a_duration_shown_is_read_back_as_the_same(seconds: float) -> None:
    assert values.parse_duration(values.show_duration(seconds)) == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "size"), [("64KiB", 65536), ("1MiB", 1048576), ("512B", 512), ("2GiB", 2147483648), ("1024KiB", 1048576)]
)
def test_sizes_are_read_as_bytes(text: str, size: int) -> None:
    assert values.parse_size(text) == size


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [
        ("64KB", 'write "64KiB"'),
        ("64k", 'write "64KiB"'),
        ("1mb", 'write "1MiB"'),
        (65536, 'write "64KiB"'),
        (1000, 'write "1000B"'),
        ("lots", '"64KiB" or "1MiB"'),
        (True, '"64KiB" or "1MiB"'),
        (-1, '"64KiB" or "1MiB"'),
    ],
)
def test_what_is_no_size_is_refused_with_a_suggestion(value: object, suggestion: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        values.parse_size(value)
    assert suggestion in caught.value.suggestion


@pytest.mark.parametrize("text", ["0B", "999999999999999GiB"])
def test_sizes_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="above zero and at most"):
        values.parse_size(text)


@given(st.integers(1, 1 << 40))
def test_a_size_shown_is_read_back_as_the_same(size: int) -> None:
    assert values.parse_size(values.show_size(size)) == size


@pytest.mark.parametrize(("text", "rate"), [("100/s", 100.0), ("90/m", 1.5), ("1800/h", 0.5), ("0.5/s", 0.5)])
def test_rates_are_read_as_events_a_second(text: str, rate: float) -> None:
    assert values.parse_rate(text) == pytest.approx(rate)
    assert values.parse_rate(values.show_rate(rate)) == pytest.approx(rate)


@pytest.mark.parametrize("value", ["100", 100, "100/d", "0/s", "-1/s", "/s", None])
def test_what_is_no_rate_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue):
        values.parse_rate(value)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, 10**30])
def test_counts_are_whole_numbers_above_zero(value: object) -> None:
    with pytest.raises(InvalidValue):
        values.parse_count(value)


def test_workers_are_counted_or_left_to_the_machine() -> None:
    assert values.parse_workers(3) == 3
    assert values.parse_workers("auto") >= 1
    for wrong in (0, -1, 257, "two", True, 1.5):
        with pytest.raises(InvalidValue, match=r"number of workers|between 1 and 256"):
            values.parse_workers(wrong)


@pytest.mark.parametrize("path", ["/", "/admin/*", "/admin/**", "/a/*/c", "/a/", "/~user/%20x"])
def test_route_paths_that_can_match(path: str) -> None:
    assert http_values.parse_route_path(path) == path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("admin", "is not a path"),
        ("/a?b", "never has"),
        ("/a#b", "never has"),
        ("/a\\b", "never has"),
        ("/a%2fb", "never has"),
        ("/a%5Cb", "never has"),
        ("/a%00", "never has"),
        ("/é", "never has"),
        ("/a b", "never has"),
        ("/a//b", "never matches"),
        ("/a/../b", "never matches"),
        ("/.", "never matches"),
        ("/a*b", "whole segment"),
        ("/**/b", "not the last"),
        (7, "is not a path"),
    ],
)
def test_route_paths_that_could_never_match_are_refused(path: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        http_values.parse_route_path(path)


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Connection", "a b", "", "x:", 3])
def test_headers_that_frame_the_message_cannot_be_removed(name: object) -> None:
    with pytest.raises(InvalidValue):
        http_values.parse_header_name(name)


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-Client-Cert", "x_forwarded_client_cert", "Client-Cert", "client-cert-chain", "X-SSL-Client-S-DN"],
)
def test_identity_headers_are_never_taken_from_trailers(name: str) -> None:
    with pytest.raises(InvalidValue, match="who the client is"):
        http_values.parse_trailer_name(name)


@pytest.mark.parametrize("name", ["h2c", "TLS/1.0", "tls", "not a token"])
def test_upgrades_that_would_pass_the_access_rules_by_are_refused(name: str) -> None:
    with pytest.raises(InvalidValue):
        http_values.parse_upgrade(name)


def test_methods_are_case_sensitive() -> None:
    assert http_values.parse_method("PROPFIND") == "PROPFIND"
    with pytest.raises(InvalidValue) as caught:
        http_values.parse_method("post")
    assert caught.value.suggestion == 'write "POST"'
