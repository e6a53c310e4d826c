"""The table of all parameters: found by name, listed for a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.parameters import core, device, inet, multicast, netfilter, routing, tcp
from lunar.parameters.parameter import Parameter

if TYPE_CHECKING:
    from lunar.host import Host

# Those that a host has once.
PARAMETERS: Final[dict[str, Parameter]] = {
    **core.ROWS, **inet.ROWS, **multicast.ROWS, **netfilter.ROWS, **routing.ROWS, **tcp.ROWS,
}  # fmt: skip


def find(host: Host, path: str) -> Parameter | None:
    """The parameter at `path`, "net/ipv4/ip_forward"; None if this stack does not obey it."""
    found = PARAMETERS.get(path.replace("/", "."))
    if found is not None:
        return found
    words = path.split("/")
    if len(words) != 5:
        return None
    tree = ".".join(words[:3])
    row = device.ROWS.get(tree, {}).get(words[4])
    return row.of(words[3]) if row is not None and words[3] in device.places(tree, host) else None


def paths(host: Host) -> list[str]:
    """Where all parameters of a host are, sorted as the lines of `sysctl -a` are."""
    found = [name.replace(".", "/") for name in PARAMETERS]
    for tree, rows in device.ROWS.items():
        folder = tree.replace(".", "/")
        found += [f"{folder}/{place}/{name}" for place in device.places(tree, host) for name in rows]
    return sorted(found)


def path_of(name: str) -> str:
    """The path of a name as sysctl(8) takes it: the first of "." and "/" in it separates, the other is a letter."""
    for letter in name:
        if letter == "/":
            return name
        if letter == ".":
            return name.translate(_SWAPPED)
    return name


def name_of(path: str) -> str:
    """The name, with dots, of what is at `path`; a dot in it becomes a slash."""
    return path.translate(_SWAPPED)


_SWAPPED: Final = str.maketrans("./", "/.")
