"""Addresses and networks in rules: `10.0.0.1`, `10/8`, `10.0.0.0/255.0.0.0`, `localhost`, a host's name, several with
commas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lunar.net_tools.iptables.errors import ParameterProblem
from lunar.net_tools.iptables.names import parse_number
from lunar.packet import AF_INET
from lunar.wire.address import address_text, parse_ipv4, parse_ipv6

_NAMES: Final = {AF_INET: {"localhost": 0x7F00_0001}, 10: {"localhost": 1, "ip6-localhost": 1}}


def bits_of(family: int) -> int:
    """The length of a family's addresses."""
    return 32 if family == AF_INET else 128


def mask_of(family: int, prefix: int) -> int:
    """The mask of `prefix` ones."""
    bits = bits_of(family)
    return ((1 << prefix) - 1) << (bits - prefix)


def no_names(name: str) -> list[int]:
    """The lookup of who knows no hosts."""
    return []


def parse_network(
    family: int, text: str, lookup: Callable[[str], list[int]] = no_names
) -> list[tuple[int, int]]:
    """(address, mask) of each that `text` names, host bits cleared. `lookup` gives the addresses of a host's name."""
    networks = []
    for word in text.split(","):
        address, slash, mask_text = word.partition("/")
        mask = _mask(family, mask_text) if slash else mask_of(family, bits_of(family))
        networks += [(value & mask, mask) for value in _addresses(family, address, bool(slash), lookup)]
    return networks


def _addresses(family: int, text: str, has_mask: bool, lookup: Callable[[str], list[int]]) -> list[int]:
    known = _NAMES[family].get(text)
    if known is not None:
        return [known]
    try:
        return [_address(family, text, has_mask)]
    except ValueError:
        found = [address for address in lookup(text) if (address < 1 << 32) == (family == AF_INET)]
        if not found:
            raise ParameterProblem(f"host/network `{text}' not found") from None
        return found


def _address(family: int, text: str, has_mask: bool) -> int:
    if family != AF_INET:
        return parse_ipv6(text)
    parts = text.split(".")
    if has_mask and len(parts) < 4 and all(parts):
        parts += ["0"] * (4 - len(parts))  # 10/8
    elif text == "0":
        return 0
    return parse_ipv4(".".join(parts))


def _mask(family: int, text: str) -> int:
    prefix = parse_number(text, 0, bits_of(family))
    if prefix is not None:
        return mask_of(family, prefix)
    try:
        return parse_ipv4(text) if family == AF_INET else parse_ipv6(text)
    except ValueError:
        raise ParameterProblem(f"invalid mask `{text}' specified") from None


def prefix_of(family: int, mask: int) -> int | None:
    """The length of a mask that is all ones and then all zeros; None for another."""
    bits = bits_of(family)
    prefix = mask.bit_count()
    return prefix if mask == ((1 << prefix) - 1) << (bits - prefix) else None


def mask_text(family: int, mask: int) -> str:
    """A mask as it is written after the slash."""
    prefix = prefix_of(family, mask)
    return address_text(family, mask) if prefix is None else str(prefix)


def network_text(family: int, address: int, mask: int) -> str:
    """An address with its mask, which is left out when it is all ones."""
    text = address_text(family, address)
    return text if mask == mask_of(family, bits_of(family)) else f"{text}/{mask_text(family, mask)}"
