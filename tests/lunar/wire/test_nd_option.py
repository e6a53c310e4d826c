"""Options of neighbour discovery: what is made is read back, and nothing that comes in raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.wire import nd_option as nd

SIX = st.integers(0, 2**128 - 1)
SECONDS = st.integers(0, 2**32 - 1)


def only(data: bytes) -> tuple[int, bytes]:
    options = nd.parse(data)
    assert options is not None
    assert len(options) == 1
    assert len(data) % 8 == 0
    return options[0]


@given(st.integers(0, 2**48 - 1))
def test_a_hardware_address(mac: int) -> None:
    data = nd.address_option(nd.SOURCE_ADDRESS, mac)
    assert data == b"\x01\x01" + mac.to_bytes(6, "big")
    options = nd.parse(data)
    assert options is not None
    assert nd.mac_of(options, nd.SOURCE_ADDRESS) == mac
    assert nd.mac_of(options, nd.TARGET_ADDRESS) == nd.NO_MAC


@given(SIX, st.integers(0, 255), st.integers(0, 255), SECONDS, SECONDS)
def test_a_prefix(prefix: int, length: int, flags: int, valid: int, preferred: int) -> None:
    kind, body = only(nd.prefix_option(prefix, length, flags, valid, preferred))
    assert kind == nd.PREFIX
    assert nd.prefix_fields(body) == (prefix, length, flags, valid, preferred)
    assert nd.prefix_fields(body[:-1]) is None


@given(st.integers(0, 2**32 - 1))
def test_an_mtu(mtu: int) -> None:
    kind, body = only(nd.mtu_option(mtu))
    assert (kind, nd.mtu_of(body), nd.mtu_of(body[:-1])) == (nd.MTU, mtu, 0)


@given(SIX, st.integers(0, 128), st.sampled_from([0, 1, 3]), SECONDS)
def test_a_route(address: int, length: int, preference: int, lifetime: int) -> None:
    network = address >> (128 - length) << (128 - length)
    kind, body = only(nd.route_option(network, length, preference, lifetime))
    assert kind == nd.ROUTE
    assert nd.route_fields(body) == (network, length, preference, lifetime)


def test_a_route_with_less_bytes_than_its_length_needs_is_none() -> None:
    assert nd.route_fields(bytes([64, 0, 0, 0, 0, 1])) is None
    assert nd.route_fields(bytes([65, 0, 0, 0, 0, 1]) + bytes(8)) is None
    assert nd.route_fields(bytes([129, 0, 0, 0, 0, 1]) + bytes(16)) is None
    assert nd.route_fields(bytes([64, 0, 0, 0, 0, 1]) + bytes(8)) == (0, 64, 0, 1)


@given(st.lists(SIX, min_size=1, max_size=4), SECONDS)
def test_name_servers(servers: list[int], lifetime: int) -> None:
    kind, body = only(nd.servers_option(servers, lifetime))
    assert kind == nd.DNS_SERVERS
    assert nd.servers_fields(body) == (servers, lifetime)
    assert nd.servers_fields(body[:-1]) is None


@pytest.mark.parametrize(
    "data", [b"\x01", b"\x01\x00" + bytes(6), b"\x01\x02" + bytes(6), bytes(8), nd.mtu_option(1400) + b"\x05"]
)
def test_options_of_no_length_and_cut_ones_spoil_all(data: bytes) -> None:
    assert nd.parse(data) is None


@given(st.binary(max_size=64))
def test_nothing_that_comes_in_raises(data: bytes) -> None:
    options = nd.parse(data)
    if options is not None:
        assert sum(len(body) + 2 for _, body in options) == len(data)
    nd.prefix_fields(data)
    nd.route_fields(data)
    nd.servers_fields(data)
    nd.mtu_of(data)
