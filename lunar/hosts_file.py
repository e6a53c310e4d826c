"""/etc/hosts: names for addresses, as hosts(5) has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunar.wire.address import address_text, parse_address

if TYPE_CHECKING:
    from lunar.host import Host


class HostsFile:
    """What a text of hosts(5) says. Lines that say nothing are passed over, as by glibc."""

    def __init__(self, text: str) -> None:
        # A name in lower case -> (family, address) in the order of the lines, and what the first line calls it.
        self._addresses: dict[str, list[tuple[int, int]]] = {}
        self._canonical: dict[str, str] = {}
        self._names: dict[tuple[int, int], list[str]] = {}
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) < 2:
                continue
            try:
                address = parse_address(words[0].partition("%")[0])
            except ValueError:
                continue
            self._names.setdefault(address, words[1:])
            for name in words[1:]:
                known = self._addresses.setdefault(name.lower(), [])
                if address not in known:
                    known.append(address)
                self._canonical.setdefault(name.lower(), words[1])

    def lookup(self, name: str) -> list[tuple[int, int]]:
        """(family, address) of `name`; empty if it is not there."""
        return self._addresses.get(name.lower().rstrip("."), [])

    def canonical(self, name: str) -> str | None:
        """The first name of the first line that has `name`."""
        return self._canonical.get(name.lower().rstrip("."))

    def reverse(self, family: int, address: int) -> list[str]:
        """The names of the first line that has the address; empty if there is none."""
        return self._names.get((family, address), [])


def at_first(host: Host) -> str:
    """What stands in the file of a host for which nobody has written one."""
    lines = ["127.0.0.1\tlocalhost"]
    if host.has_ipv6:
        lines.append("::1\tlocalhost ip6-localhost ip6-loopback")
    alone = host.name_service.has_servers
    for family, address, names in host.network.names.entries():
        if alone and host.ip.local.get(address) is None:
            continue  # what others are called the servers tell
        lines.append(f"{address_text(family, address)}\t{' '.join(names)}")
    return "\n".join(lines) + "\n"
