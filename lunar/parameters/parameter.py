"""What a parameter is: integers in attributes of an object of the host, most of them; the odd ones are subclasses.

Texts are read as the kernel reads what is written to a file of /proc/sys. What is wrong is a `ValueError` that names
the parameter and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from lunar.host import Host

INT_MAX: Final = 2**31 - 1

# What may be done with it: the permissions of its file.
READ_WRITE: Final = 0o644
READ_ONLY: Final = 0o444
WRITE_ONLY: Final = 0o200

# strtoul(3) with base 0: hexadecimal, octal or decimal.
_INTEGER: Final = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)")


class UnknownName(ValueError):
    """A name among the values that nothing has (ENOENT)."""


@attrs.frozen
class Parameter:
    """Integers from `smallest` to `largest`, in the `attributes` of the object that `owner` finds.

    `effect` says in a few words what it does, for the table of docs/sysctl.md. `after` is called when it was set. With
    `partly`, fewer values than there are set the first ones, as in the kernel. `counts` is whether it is one integer
    for each attribute.
    """

    owner: Callable[[Host], object]
    attributes: tuple[str, ...]
    smallest: int
    largest: int
    effect: str
    after: Callable[[Host], None] | None = None
    mode: int = READ_WRITE
    partly: bool = False
    counts: bool = True

    @property
    def bounds(self) -> str:
        """What it may be, in words."""
        if (self.smallest, self.largest) == (0, 1):
            return "0, 1"
        return f"{self.smallest} to {self.largest}"

    def read(self, host: Host) -> tuple[Any, ...]:
        owner = self.owner(host)
        return tuple(int(getattr(owner, name)) for name in self.attributes)

    def parse(self, name: str, text: str) -> list[Any]:
        """The values in `text`, checked."""
        if self.mode == READ_ONLY:
            raise ValueError(f"{name} can only be read")
        count = len(self.attributes)
        words = text.split() or [""]
        if len(words) > count or (len(words) < count and not self.partly):
            wanted = "an integer" if count == 1 else f"{count} integers"
            raise ValueError(f"{name}={text.strip()}: expected {wanted}")
        try:
            values = [integer(word) for word in words]
        except ValueError as wrong:
            raise ValueError(f"{name}={text.strip()}: {wrong}") from None
        for value, word in zip(values, words, strict=True):
            if not self.smallest <= value <= self.largest:
                raise ValueError(f"{name}={word}: expected {self.smallest} to {self.largest}")
        return values

    def write(self, host: Host, values: list[Any]) -> None:
        """Set it to what `parse` returned."""
        owner = self.owner(host)
        for name, value in zip(self.attributes, values, strict=False):
            setattr(owner, name, bool(value) if isinstance(getattr(owner, name), bool) else value)
        if self.after is not None:
            self.after(host)

    def shown(self, values: tuple[Any, ...]) -> str:
        """The values as a command prints them, and as its file has them."""
        return "\t".join(map(str, values))


@attrs.frozen
class Span(Parameter):
    """Two integers of which the first is not above the second."""

    def parse(self, name: str, text: str) -> list[Any]:
        values = Parameter.parse(self, name, text)
        if values[0] > values[1]:
            raise ValueError(f"{name}={text.strip()}: expected the lower one first")
        return values


def integer(text: str) -> int:
    """As the kernel reads one: 0x for hexadecimal, 0 for octal. Raises `ValueError`."""
    try:
        if _INTEGER.fullmatch(text) is None:
            raise ValueError
        digits = text.lstrip("-")
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
        return int(text, base)
    except ValueError:
        raise ValueError(f'"{text}" is not an integer') from None


def of_ip(host: Host) -> object:
    return host.ip


def of_inet(host: Host) -> object:
    return host.ip.inet


def of_inet6(host: Host) -> object:
    return host.ip.inet6


def of_tcp(host: Host) -> object:
    return host.tcp.tables.sysctls
