"""IPv4 addresses in text, against inet_pton(3) of this machine."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.wire.address import ipv4_text, network_mask, parse_ipv4

ADDRESSES = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("text", "address"),
    [("0.0.0.0", 0), ("10.0.0.1", 0x0A00_0001), ("127.0.0.1", 0x7F00_0001), ("255.255.255.255", 0xFFFF_FFFF)],
)
def test_known_addresses(text: str, address: int) -> None:
    assert parse_ipv4(text) == address
    assert ipv4_text(address) == text


@given(ADDRESSES)
def test_text_and_back(address: int) -> None:
    assert ipv4_text(address) == str(ipaddress.IPv4Address(address))
    assert parse_ipv4(ipv4_text(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "10.1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.256", "1.2.3.1000", "01.2.3.4",
        "1.2.3.00", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4\n", "+1.2.3.4", "-1.2.3.4", "0x1.2.3.4", "1_0.2.3.4", "a.b.c.d",
        "\u0661.2.3.4", "\u00b25.2.3.4", "::1", "1.2.3.4/24",
    ],
)  # fmt: skip
def test_what_is_no_dotted_quad(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IPv4 address; expected four numbers from 0 to 255"):
        parse_ipv4(text)


@given(st.text(alphabet="0123456789.", max_size=16) | st.text(alphabet="012.x +", max_size=12))
def test_accepts_what_inet_pton_accepts(text: str) -> None:
    try:
        expected = int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except OSError:
        with pytest.raises(ValueError):
            parse_ipv4(text)
    else:
        assert parse_ipv4(text) == expected


@pytest.mark.parametrize("prefix", range(33))
def test_network_mask(prefix: int) -> None:
    assert network_mask(prefix) == int(ipaddress.IPv4Network(f"0.0.0.0/{prefix}").netmask)


@pytest.mark.parametrize("prefix", [-1, 33, 128])
def test_no_network_mask(prefix: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 32"):
        network_mask(prefix)
