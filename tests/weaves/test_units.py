"""Rates, sizes, limits, loss and addresses: what each text is worth, and which are refused."""

from __future__ import annotations

import pytest

from weaves.units import (
    format_address,
    format_network,
    parse_address,
    parse_burst,
    parse_loss,
    parse_queue_limit,
    parse_rate,
    parse_size,
    parse_wait,
)

TOO_LARGE = "expected less than 4611686018427387904"  # 2**62
ADDRESS = 'expected an IPv4 address with a prefix length, such as "10.0.0.2/24"'
ADDRESS6 = 'expected an IPv6 address with a prefix length, such as "2001:db8::2/64"'
RATE = 'expected a number and a unit (bit ... tbit, or bps ... tbps for bytes), such as "100mbit"'
SIZE = 'expected a number and a unit (b, kb, mb, gb), such as "64 kb"'
LIMIT = 'expected a number of packets or bytes (b, kb, mb, gb), such as "100 packets" or "64 kb"'
LOSS = 'expected a percentage from "0%" to "100%", or a number from 0 to 1'


@pytest.mark.parametrize(
    ("text", "bits_per_second"),
    [
        ("1bit", 1),
        ("9.6kbit", 9_600),
        ("100mbit", 100_000_000),
        ("100 Mbit", 100_000_000),
        ("2.5gbit", 2_500_000_000),
        ("1tbit", 10**12),
        ("3bps", 24),  # bytes, as tc(8) has it
        ("1kbps", 8_000),
        ("1mbps", 8_000_000),
        ("1gbps", 8 * 10**9),
        ("1tbps", 8 * 10**12),
        (" .5kbit ", 500),
    ],
)
def test_rate(text: str, bits_per_second: int) -> None:
    assert parse_rate(text) == bits_per_second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100", f'"100" is not a rate; {RATE}'),
        ("mbit", f'"mbit" is not a rate; {RATE}'),
        ("", f'"" is not a rate; {RATE}'),
        ("1,5mbit", f'"1,5mbit" is not a rate; {RATE}'),
        ("1mbit 2", f'"1mbit 2" is not a rate; {RATE}'),
        ("100kb", f'"100kb" is not a rate; {RATE}'),
        ("\u0663mbit", f'"\u0663mbit" is not a rate; {RATE}'),  # an Arabic digit
        ("0mbit", '"0mbit" is no rate to send at; expected at least 1bit'),
        ("0.1bit", '"0.1bit" is no rate to send at; expected at least 1bit'),
        ("-1mbit", '"-1mbit" is no rate to send at; expected at least 1bit'),
        ("99999999tbit", f'"99999999tbit" is too large; {TOO_LARGE}'),
    ],
)
def test_refused_rate(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_rate(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "size"), [("1b", 1), ("64 kb", 65_536), ("64k", 65_536), ("1mb", 2**20), ("0.5gb", 2**29), ("2m", 2**21)]
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("64", f'"64" is not a size; {SIZE}'),
        ("64 kbit", f'"64 kbit" is not a size; {SIZE}'),
        ("0b", '"0b" is too small; expected a size of at least 1b'),
    ],
)
def test_refused_size(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "limit"),
    [("100 packets", (100, None)), ("1 packet", (1, None)), ("64 kb", (None, 65_536)), ("1.5kb", (None, 1536))],
)
def test_queue_limit(text: str, limit: tuple[int | None, int | None]) -> None:
    assert parse_queue_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100", f'"100" is not a queue limit; {LIMIT}'),
        ("1.5 packets", f'"1.5 packets" is not a queue limit; {LIMIT}'),
        ("0 packets", '"0 packets" holds nothing; expected at least 1 packet or 1 b'),
        ("-5 kb", '"-5 kb" holds nothing; expected at least 1 packet or 1 b'),
    ],
)
def test_refused_queue_limit(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_queue_limit(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "loss"), [("0%", 0.0), ("0.1%", 0.001), ("100 %", 1.0), (0, 0.0), (1, 1.0), (0.25, 0.25)]
)
def test_loss(value: str | float, loss: float) -> None:
    assert parse_loss(value) == loss


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1", f'"1" is not a loss; {LOSS}'),
        ("100.1%", f'"100.1%" is out of range; {LOSS}'),
        ("-1%", f'"-1%" is out of range; {LOSS}'),
        (-0.1, f"-0.1 is out of range; {LOSS}"),
        (2, f"2 is out of range; {LOSS}"),
        (float("nan"), f"nan is out of range; {LOSS}"),
    ],
)
def test_refused_loss(value: str | float, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_loss(value)
    assert str(caught.value) == message


def test_refused_share() -> None:
    with pytest.raises(ValueError) as caught:
        parse_loss("1", "share")
    assert str(caught.value) == f'"1" is not a share; {LOSS}'


@pytest.mark.parametrize("value", [0.5, -1, float("nan"), float("inf")])
def test_refused_burst(value: float) -> None:
    with pytest.raises(ValueError) as caught:
        parse_burst(value)
    assert str(caught.value) == f"{value} is out of range; expected a mean number of frames in a row, 1 or more"


@pytest.mark.parametrize(
    ("text", "dotted", "prefix"),
    [
        ("10.0.0.2/24", "10.0.0.2", 24),
        ("255.0.0.1/8", "255.0.0.1", 8),
        ("10.1.513/16", "10.1.2.1", 16),  # 513 = 2 * 256 + 1
        ("10.1.65534/16", "10.1.255.254", 16),
        ("10.70000/8", "10.1.17.112", 8),  # 70000 = 1 * 65536 + 17 * 256 + 112
        ("10.1.5/24", "10.1.0.5", 24),
        ("10.1.2.3/8", "10.1.2.3", 8),
        ("10.0.0.0/31", "10.0.0.0", 31),  # RFC 3021: both addresses of a /31 are hosts'
        ("10.0.0.1/31", "10.0.0.1", 31),
        ("10.0.0.0/32", "10.0.0.0", 32),
        ("223.255.255.254/0", "223.255.255.254", 0),
    ],
)
def test_address(text: str, dotted: str, prefix: int) -> None:
    address, length = parse_address(text)
    assert (format_address(address), length) == (dotted, prefix)


def test_an_address_is_an_int() -> None:
    assert parse_address("10.1.2.3/24") == (0x0A010203, 24)
    assert parse_address("2001:db8::2/64") == (0x2001_0DB8 << 96 | 2, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"no address; {ADDRESS}"),
        ("10.0.0.1", f"10.0.0.1 is not an address; {ADDRESS}"),
        ("10.0.0.1/33", f"10.0.0.1/33 is not an address; {ADDRESS}"),
        ("10.0.0.1/024", f"10.0.0.1/024 is not an address; {ADDRESS}"),
        ("10.0.0.010/24", f"10.0.0.010/24 is not an address; {ADDRESS}"),
        ("256.0.0.1/24", f"256.0.0.1/24 is not an address; {ADDRESS}"),
        ("10.0.0.0.1/24", f"10.0.0.0.1/24 is not an address; {ADDRESS}"),
        ("1/8", f"1/8 is not an address; {ADDRESS}"),
        ("10.0.0.-1/24", f"10.0.0.-1/24 is not an address; {ADDRESS}"),
        ("10.0.0.1/24 ", f"10.0.0.1/24  is not an address; {ADDRESS}"),
        ("localhost/8", f"localhost/8 is not an address; {ADDRESS}"),
        ("::1/128", f"::1/128 is not an address a device can have; {ADDRESS6}"),
        ("::ffff:10.0.0.1/128", f"::ffff:10.0.0.1/128 is not an address a device can have; {ADDRESS6}"),
        ("2001:db8::1", f"2001:db8::1 is not an address; {ADDRESS6}"),
        ("2001:db8::1/129", f"2001:db8::1/129 is not an address; {ADDRESS6}"),
        ("fe80::1%eth0/64", f"fe80::1%eth0/64 has a scope, which its device is already; {ADDRESS6}"),
        ("10.0.0.256/24", "10.0.0.256/24 is outside 10.0.0.0/24; expected 10.0.0.1 to 10.0.0.254"),
        ("10.1.65536/16", "10.1.65536/16 is outside 10.1.0.0/16; expected 10.1.0.1 to 10.1.255.254"),
        # As inet_aton(3) this is 10.1.2.1, in the network 10.1.2.0/24 next door but one.
        ("10.1.513/24", "10.1.513/24 is outside 10.1.0.0/24; expected 10.1.0.1 to 10.1.0.254"),
        ("10.1.1/32", "10.1.1/32 is outside 10.1.0.0/32; expected 10.1.0.0"),
        ("10.0.0.2.9/31", f"10.0.0.2.9/31 is not an address; {ADDRESS}"),
        (f"10.{'9' * 5000}/8", f"10.{'9' * 5000}/8 is outside 10.0.0.0/8; expected 10.0.0.1 to 10.255.255.254"),
        ("10.0.0.0/24", "10.0.0.0/24 is the network address of its network; expected 10.0.0.1 to 10.0.0.254"),
        ("10.1.0/16", "10.1.0/16 is the network address of its network; expected 10.1.0.1 to 10.1.255.254"),
        ("10.0.0.3/30", "10.0.0.3/30 is the broadcast address of its network; expected 10.0.0.1 to 10.0.0.2"),
        ("127.0.0.1/8", f"127.0.0.1/8 is not an address a device can have; {ADDRESS}"),
        ("0.0.0.1/8", f"0.0.0.1/8 is not an address a device can have; {ADDRESS}"),
        ("224.0.0.5/24", f"224.0.0.5/24 is not an address a device can have; {ADDRESS}"),
        ("239.0.0.5/24", f"239.0.0.5/24 is not an address a device can have; {ADDRESS}"),
    ],
)
def test_refused_address(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert str(caught.value) == message


def test_format_network() -> None:
    assert format_network(0x0A010000, 16) == "10.1.0.0/16"


@pytest.mark.parametrize(
    ("text", "ns"), [("0", 0), ("5ms", 5_000_000), ("1m30s", 90 * 10**9), ("53375d", 53375 * 86400 * 10**9)]
)
def test_wait(text: str, ns: int) -> None:
    assert parse_wait(text) == ns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1s", '"-1s" is negative; expected a duration of 0 or more'),
        (" -1s", '" -1s" is negative; expected a duration of 0 or more'),
        ("53376d", '"53376d" is too long; expected a duration below 146 years'),  # 2**62 ns is 53375.99 days
    ],
)
def test_refused_wait(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_wait(text)
    assert str(caught.value) == message
