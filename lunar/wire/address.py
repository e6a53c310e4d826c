"""Addresses as people write them to and from the integers that Lunar uses everywhere.

An address is an integer, with its family beside it where that is not known. IPv6's :: is 0 as 0.0.0.0 is, ::1 is 1; the
rest of ::/96 is used by nobody (RFC 4291 section 2.5.5.1 has given it up), so that apart from these two no IPv4 address
(below 2**32) is an IPv6 address, and one table serves both.

Parsing is strict, as inet_pton(3) and not as inet_aton(3): what is accepted here has one meaning for every reader.
Hardware addresses are in ethernet.py.
"""

from __future__ import annotations

import _socket
from typing import Final

_DIGITS: Final = "0123456789"
_IPV6_MAX: Final = (1 << 128) - 1


def ipv4_text(address: int) -> str:
    """`address`, 0 to 2**32 - 1, as a dotted quad."""
    assert 0 <= address <= 0xFFFF_FFFF, "an IPv4 address has 32 bits"
    return f"{address >> 24}.{(address >> 16) & 0xFF}.{(address >> 8) & 0xFF}.{address & 0xFF}"


def parse_ipv4(text: str) -> int:
    """The address that a dotted quad says. Raises `ValueError`.

    Four decimal numbers up to 255, without signs, spaces, or leading zeros (which inet_aton(3) reads as octal).
    """
    parts = text.split(".")
    if len(parts) != 4:
        raise _not_ipv4(text)
    address = 0
    for part in parts:
        if not 1 <= len(part) <= 3 or (part[0] == "0" and len(part) > 1):
            raise _not_ipv4(text)
        number = 0
        for digit in part:
            value = _DIGITS.find(digit)
            if value < 0:
                raise _not_ipv4(text)
            number = number * 10 + value
        if number > 255:
            raise _not_ipv4(text)
        address = (address << 8) | number
    return address


def network_mask(prefix: int, bits: int = 32) -> int:
    """The mask with `prefix` leading ones of an address of `bits`. Raises `ValueError` for a prefix that is none."""
    if not 0 <= prefix <= bits:
        raise ValueError(f"{prefix} is not an IPv{4 if bits == 32 else 6} prefix length; expected 0 to {bits}")
    return ((1 << prefix) - 1) << (bits - prefix)


def ipv6_text(address: int) -> str:
    """`address`, 0 to 2**128 - 1, as RFC 5952 writes it."""
    assert 0 <= address <= _IPV6_MAX, "an IPv6 address has 128 bits"
    return _socket.inet_ntop(_socket.AF_INET6, address.to_bytes(16, "big"))


def parse_ipv6(text: str) -> int:
    """The address that `text` says in one of RFC 4291's forms, without a scope. Raises `ValueError`."""
    try:
        return int.from_bytes(_socket.inet_pton(_socket.AF_INET6, text), "big")
    except (OSError, ValueError):
        raise ValueError(f'"{text}" is not an IPv6 address; expected one like 2001:db8::1') from None


def address_text(family: int, address: int) -> str:
    """An address of either family (AF_INET, AF_INET6) as people write it."""
    return ipv4_text(address) if family == _socket.AF_INET else ipv6_text(address)


def parse_address(text: str) -> tuple[int, int]:
    """The family and the address that `text` says: IPv6 where it has a colon. Raises `ValueError`."""
    if ":" in text:
        return _socket.AF_INET6, parse_ipv6(text)
    return _socket.AF_INET, parse_ipv4(text)


def family_of(address: int) -> int:
    """The family of an address that is not 0, which is one of either."""
    return _socket.AF_INET6 if address > 0xFFFF_FFFF or address == 1 else _socket.AF_INET


def _not_ipv4(text: str) -> ValueError:
    return ValueError(f'"{text}" is not an IPv4 address; expected four numbers from 0 to 255 with dots, as 10.0.0.1')
