"""What the texts in a tapestry say as numbers: rates, sizes, queue limits, loss, IPv4 addresses.

Units are those of tc(8), where decimal and binary prefixes mix: a rate counts in thousands, a size in 1024s. The text
form of a duration is clock.py's; here is only its range. Each parser raises `ValueError` with what is wrong and what
was expected; the caller adds the place.
"""

from __future__ import annotations

import ipaddress
import math
import re
from decimal import Decimal
from typing import Final

from weaves.clock import parse_duration

# By how much reordering holds a frame back at most, where nothing is said: two full frames' time at 24 Mbit/s.
REORDER_BY_NS: Final = 1_000_000

# Compiled code keeps these numbers in 64 bits. Half of that leaves room for sums; as nanoseconds it is 146 years.
LIMIT: Final = 1 << 62

_NUMBER_AND_UNIT: Final = re.compile(r"\s*(-?)([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z%]*)\s*")

# tc(8), RATES: "bit" or a bare prefix counts bits, "bps" counts bytes. Both in bits per second here.
_RATES: Final = {
    prefix + unit: thousands * bits
    for prefix, thousands in (("", 1), ("k", 10**3), ("m", 10**6), ("g", 10**9), ("t", 10**12))
    for unit, bits in (("bit", 1), ("bps", 8))
}
_RATE_EXPECTED: Final = 'expected a number and a unit (bit ... tbit, or bps ... tbps for bytes), such as "100mbit"'

# tc(8), SIZES: prefixes are powers of 1024.
_SIZES: Final = {"b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}
_LIMIT_EXPECTED: Final = 'expected a number of packets or bytes (b, kb, mb, gb), such as "100 packets" or "64 kb"'

_LOSS_EXPECTED: Final = 'expected a percentage from "0%" to "100%", or a number from 0 to 1'

# In characters: Linux' IFNAMSIZ, less the NUL at the end.
DEVICE_NAME_MAX: Final = 15

# inet_aton(3) also takes octal and hexadecimal parts; nobody means them, so a leading zero is refused.
_ADDRESS: Final = re.compile(r"(0|[1-9][0-9]*)((?:\.(?:0|[1-9][0-9]*)){1,3})/(0|[1-9][0-9]?)")
ADDRESS_EXPECTED: Final = 'expected an IPv4 address with a prefix length, such as "10.0.0.2/24"'
ADDRESS6_EXPECTED: Final = 'expected an IPv6 address with a prefix length, such as "2001:db8::2/64"'


def parse_wait(text: str) -> int:
    """The nanoseconds of a duration that a run can wait for: not negative, and below 146 years."""
    if text.lstrip().startswith("-"):
        raise ValueError(f'"{text}" is negative; expected a duration of 0 or more')
    ns = parse_duration(text)
    if ns >= LIMIT:
        raise ValueError(f'"{text}" is too long; expected a duration below 146 years')
    return ns


def parse_rate(text: str) -> int:
    """The bits per second that `text` says: "100mbit", "1.5 gbit", "10mbps" (bytes). At least 1."""
    scaled = _scaled(text, _RATES)
    if scaled is None:
        raise ValueError(f'"{text}" is not a rate; {_RATE_EXPECTED}')
    if scaled < 1:
        raise ValueError(f'"{text}" is no rate to send at; expected at least 1bit')
    return int(scaled)


def parse_size(text: str) -> int:
    """The bytes that `text` says: "64 kb" is 65,536. At least 1."""
    scaled = _scaled(text, _SIZES)
    if scaled is None:
        raise ValueError(f'"{text}" is not a size; expected a number and a unit (b, kb, mb, gb), such as "64 kb"')
    if scaled < 1:
        raise ValueError(f'"{text}" is too small; expected a size of at least 1b')
    return int(scaled)


def parse_queue_limit(text: str) -> tuple[int | None, int | None]:
    """The packets, or else the bytes, that a queue holds: "100 packets" is (100, None), "64 kb" (None, 65536)."""
    packets = _scaled(text, {"packet": 1, "packets": 1})
    limit = packets if packets is not None else _scaled(text, _SIZES)
    if limit is None or (packets is not None and limit % 1):
        raise ValueError(f'"{text}" is not a queue limit; {_LIMIT_EXPECTED}')
    if limit < 1:
        raise ValueError(f'"{text}" holds nothing; expected at least 1 packet or 1 b')
    return (int(limit), None) if packets is not None else (None, int(limit))


def parse_span(what: str, value: str | float) -> int:
    """The nanoseconds of `value`, a duration ("5ms") or seconds; `what` it is. Raises `ValueError`."""
    if isinstance(value, str):
        return parse_wait(value)
    if not 0 <= value < LIMIT / 1_000_000_000:  # also false for nan
        raise ValueError(f"{what} {value!r}: expected seconds of 0 or more")
    return round(value * 1_000_000_000)


def parse_loss(value: str | float, what: str = "loss") -> float:
    """The probability, 0 to 1, of "1%" or of a number from 0 to 1; `what` it is of."""
    if isinstance(value, str):
        percent = _scaled(value, {"%": 1})
        if percent is None:
            raise ValueError(f'"{value}" is not a {what}; {_LOSS_EXPECTED}')
        if not 0 <= percent <= 100:
            raise ValueError(f'"{value}" is out of range; {_LOSS_EXPECTED}')
        return float(percent / 100)
    if not 0 <= value <= 1:  # also false for nan
        raise ValueError(f"{value} is out of range; {_LOSS_EXPECTED}")
    return float(value)


def parse_burst(value: float) -> float:
    """The mean number of frames that are lost in a row, at least 1."""
    if not 1 <= value < math.inf:  # also false for nan
        raise ValueError(f"{value} is out of range; expected a mean number of frames in a row, 1 or more")
    return float(value)


def parse_address(text: str) -> tuple[int, int]:
    """The address and the prefix length of "10.0.0.2/24" or "2001:db8::2/64".

    An IPv4 address is below 2**32, an IPv6 address is not.

    With fewer than four parts the last one fills the remaining bytes, as in inet_aton(3), and counts within the
    network: "10.1.513/16" is the 513th address of 10.1.0.0/16, 10.1.2.1. The network's own and its broadcast address
    are refused.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > 32:
        if not text.strip():
            raise ValueError(f"no address; {ADDRESS_EXPECTED}")
        if ":" in text:
            return _parse_ipv6_address(text)
        raise ValueError(f"{text} is not an address; {ADDRESS_EXPECTED}")
    parts = [found[1], *found[2][1:].split(".")]
    prefix = int(found[3])
    head = 0
    for part in parts[:-1]:
        # Length first: int() itself refuses thousands of digits.
        if len(part) > 3 or int(part) > 255:
            raise ValueError(f"{text} is not an address; {ADDRESS_EXPECTED}")
        head = head << 8 | int(part)
    free_bits = 32 - 8 * (len(parts) - 1)
    head <<= free_bits
    # Four parts spell the host's bits as bytes. With fewer, the last is the number within the network, and a carry
    # out of the host bits would silently be an address of the network next door.
    last_bits = free_bits if len(parts) == 4 else min(free_bits, 32 - prefix)
    host_mask = (1 << (32 - prefix)) - 1
    network = head & ~host_mask
    if len(parts[-1]) > 10 or int(parts[-1]) >> last_bits:
        raise ValueError(f"{text} is outside {format_network(network, prefix)}; {_hosts_expected(network, prefix)}")
    address = head | int(parts[-1])
    network = address & ~host_mask
    if prefix < 31 and address & host_mask in (0, host_mask):
        which = "network" if address == network else "broadcast"
        raise ValueError(f"{text} is the {which} address of its network; {_hosts_expected(network, prefix)}")
    if address >> 24 in (0, 127) or address >> 28 == 14:
        raise ValueError(f"{text} is not an address a device can have; {ADDRESS_EXPECTED}")
    return address, prefix


def _parse_ipv6_address(text: str) -> tuple[int, int]:
    try:
        found = ipaddress.IPv6Interface(text if "/" in text else "")
    except ValueError:
        raise ValueError(f"{text} is not an address; {ADDRESS6_EXPECTED}") from None
    prefix = int(found.network.prefixlen)
    if "%" in text:
        raise ValueError(f"{text} has a scope, which its device is already; {ADDRESS6_EXPECTED}")
    # Of ::/96 nothing is in use but :: and ::1 (RFC 4291 section 2.5.5.1).
    if found.ip.is_multicast or int(found.ip) < 1 << 32 or found.ip.ipv4_mapped is not None:
        raise ValueError(f"{text} is not an address a device can have; {ADDRESS6_EXPECTED}")
    return int(found.ip), prefix


def format_address(address: int) -> str:
    """The dotted quad of an `address` below 2**32, IPv6's form (RFC 5952) of another."""
    if address >> 32:
        return str(ipaddress.IPv6Address(address))
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def format_network(network: int, prefix: int) -> str:
    """A network as in "10.1.0.0/16"."""
    return f"{format_address(network)}/{prefix}"


def _hosts_expected(network: int, prefix: int) -> str:
    last = network | ((1 << (32 - prefix)) - 1)
    if prefix == 32:
        return f"expected {format_address(network)}"
    edge = 1 if prefix < 31 else 0
    return f"expected {format_address(network + edge)} to {format_address(last - edge)}"


def _scaled(text: str, units: dict[str, int]) -> Decimal | None:
    # Decimal: 0.1 % is exactly 0.001. Case does not matter, as in tc.
    found = _NUMBER_AND_UNIT.fullmatch(text)
    if found is None or found[3].lower() not in units:
        return None
    scaled = Decimal(found[1] + found[2]) * units[found[3].lower()]
    if scaled >= LIMIT:
        raise ValueError(f'"{text}" is too large; expected less than {LIMIT}')
    return scaled


def parse_device_name(text: str) -> str:
    """`text`, if a device of the machine's kernel can be called so. Raises `ValueError`."""
    if not text or len(text) > DEVICE_NAME_MAX or text in (".", "..") or any(c in "/:%" or c.isspace() for c in text):
        raise ValueError(
            f'"{text}" is not a name for a device of the kernel; expected {DEVICE_NAME_MAX} characters at most'
        )
    return text
