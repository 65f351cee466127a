"""DER there and back, and bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs import der


@given(tag=st.sampled_from([0x02, 0x04, 0x30, 0xA0]), value=st.binary(max_size=400), behind=st.binary(max_size=5))
def test_what_is_encoded_is_read_again(tag: int, value: bytes, behind: bytes) -> None:
    encoded = der.encode(tag, value)
    assert der.read(encoded + behind) == der.Element(tag, value, encoded)


@pytest.mark.parametrize(
    ("length", "octets"), [(0x7F, "047f"), (0x80, "048180"), (0xFF, "0481ff"), (0x100, "04820100")]
)
def test_lengths_are_in_the_shortest_form(length: int, octets: str) -> None:
    assert der.encode(0x04, b"a" * length).startswith(bytes.fromhex(octets) + b"a")


@given(values=st.lists(st.binary(max_size=200), max_size=5))
def test_elements_come_in_order(values: list[bytes]) -> None:
    inside = b"".join(der.encode(0x04, value) for value in values)
    assert [element.value for element in der.elements(inside)] == values


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        ("", "cut short"),
        ("30", "cut short"),
        ("3002ff", "cut short"),
        ("3080", "not a length"),  # of indefinite length: BER
        ("308500000000010a", "not a length"),
        ("3082ff", "not a length"),
        ("1f8101", "a tag of several octets"),
    ],
)
def test_what_is_no_element_is_refused(octets: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        der.read(bytes.fromhex(octets))


@given(data=st.binary(max_size=60))
def test_no_bytes_are_read_beyond_or_for_ever(data: bytes) -> None:
    try:
        found = list(der.elements(data))
    except ValueError:
        return
    assert b"".join(element.der for element in found) == data


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("550403", "2.5.4.3"),
        ("2a864886f70d010101", "1.2.840.113549.1.1.1"),
        ("883703", "2.999.3"),
        ("00", "0.0"),
        ("4f", "1.39"),
        ("5504", "2.5.4"),
        ("", ""),
        ("5584", "5584"),  # cut short: shown as it is
    ],
)
def test_object_identifiers_in_dots(octets: str, text: str) -> None:
    assert der.dotted(bytes.fromhex(octets)) == text


def test_pem_is_in_lines_of_64() -> None:
    block = der.pem("X509 CRL", bytes(100))
    lines = block.split(b"\n")
    assert (lines[0], lines[-2], lines[-1]) == (b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----", b"")
    assert [len(line) for line in lines[1:-2]] == [64, 64, 8]
