"""IPv4 addresses as people write them, dotted quads, to and from the integers that Lunar uses everywhere.

Parsing is strict, as inet_pton(3) and not as inet_aton(3): what is accepted here has one meaning for every reader.
Hardware addresses are in ethernet.py.
"""

from __future__ import annotations

from typing import Final

_DIGITS: Final = "0123456789"


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


def network_mask(prefix: int) -> int:
    """The mask with `prefix` leading ones, 0 to 32. Raises `ValueError` for any other number."""
    if not 0 <= prefix <= 32:
        raise ValueError(f"{prefix} is not an IPv4 prefix length; expected 0 to 32")
    return (0xFFFF_FFFF << (32 - prefix)) & 0xFFFF_FFFF


def _not_ipv4(text: str) -> ValueError:
    return ValueError(f'"{text}" is not an IPv4 address; expected four numbers from 0 to 255 with dots, as 10.0.0.1')
