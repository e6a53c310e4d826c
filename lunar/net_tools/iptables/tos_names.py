"""The names of types of service (RFC 1349) and of classes of differentiated services (RFC 2474, 2597, 3246)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.errors import ParameterProblem
from lunar.net_tools.iptables.option import Extension, Option

_TOS: Final = {
    "Minimize-Delay": 0x10, "Maximize-Throughput": 0x08, "Maximize-Reliability": 0x04, "Minimize-Cost": 0x02,
    "Normal-Service": 0x00,
}  # fmt: skip
_TOS_MASK: Final = 0x3F
_CLASSES: Final = {
    **{f"CS{number}": number << 3 for number in range(8)}, "BE": 0,
    **{f"AF{group}{drop}": group << 3 | drop << 1 for group in range(1, 5) for drop in range(1, 4)}, "EF": 0x2E,
}  # fmt: skip


def parse_tos(named_mask: int) -> Callable[[Extension, Option, str], tuple[int, int]]:
    """A value with a mask of 0xff or its own, or a name, whose mask is `named_mask`."""

    def parse(extension: Extension, option: Option, text: str) -> tuple[int, int]:
        first, slash, second = text.partition("/")
        value = names.parse_number(first, 0, 255)
        mask = names.parse_number(second, 0, 255) if slash else 255
        if value is not None and mask is not None:
            return value, mask
        if text[:1].isdigit():
            raise ParameterProblem(f'Illegal value "{text}"')
        for name, number in _TOS.items():
            if name.lower() == text.lower():
                return number, named_mask
        raise ParameterProblem(f'Symbolic name "{text}" is unknown')

    return parse


def tos_name(value: int, mask: int) -> str | None:
    """The name of a value with the mask of the names."""
    if mask != _TOS_MASK:
        return None
    return next((name for name, number in _TOS.items() if number == value), None)


def parse_dscp_class(extension: Extension, option: Option, text: str) -> int:
    """A class by its name."""
    found = _CLASSES.get(text.upper())
    if found is None:
        raise ParameterProblem(f"Invalid DSCP value `{text}'")
    return found
