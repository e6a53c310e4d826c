"""The names of a tapestry: every host's, with its addresses, and `names` that it has besides.

They are as if each host had them in its /etc/hosts. Who asks them, and what else is asked, is in name_service.py.
"""

from __future__ import annotations

import socket
from typing import Final

_LINK_LOCAL: Final = 0xFE80 << 112
_LINK_LOCAL_MASK: Final = 0xFFC0 << 112


class NameTable:
    """The names of a tapestry."""

    def __init__(self) -> None:
        self._addresses: dict[str, list[int]] = {}
        self._names: dict[int, str] = {}
        self._spelt: dict[str, str] = {}  # a name as it was given

    def add(self, name: str, address: int) -> None:
        """Let `name` have `address` besides those that it has. One of a link alone names nobody."""
        if address & _LINK_LOCAL_MASK == _LINK_LOCAL:
            return
        self._addresses.setdefault(name.lower(), []).append(address)
        self._spelt.setdefault(name.lower(), name)
        self._names.setdefault(address, name)

    def remove(self, name: str, address: int) -> None:
        """Take `address` from `name`."""
        known = self._addresses.get(name.lower(), [])
        if address in known:
            known.remove(address)
        if address not in known and self._names.get(address) == name:
            del self._names[address]

    def lookup(self, name: str) -> list[int]:
        """The addresses of `name`, of both families, in the order of its devices; empty if unknown."""
        return self._addresses.get(name.lower().rstrip("."), [])

    def pairs(self, name: str) -> list[tuple[int, int]]:
        """The same as (family, address)."""
        return [(family_of(address), address) for address in self.lookup(name)]

    def reverse(self, address: int) -> str | None:
        """The name of `address`."""
        return self._names.get(address)

    def known(self) -> list[str]:
        """All names that have an address, as they were given."""
        return [self._spelt[name] for name, addresses in self._addresses.items() if addresses]

    def entries(self) -> list[tuple[int, int, list[str]]]:
        """(family, address, names) of all addresses, in the order of the tapestry."""
        found: dict[int, list[str]] = {}
        for name, addresses in self._addresses.items():
            for address in addresses:
                found.setdefault(address, []).append(self._spelt[name])
        return [(family_of(address), address, names) for address, names in found.items()]


def family_of(address: int) -> int:
    """AF_INET or AF_INET6 of an address that is neither :: nor ::1."""
    return int(socket.AF_INET if address < 1 << 32 else socket.AF_INET6)
