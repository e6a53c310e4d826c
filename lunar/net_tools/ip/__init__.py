"""ip(8) of iproute2: addresses, links, routes, rules and neighbours, shown as there, and as JSON by -j.

Here are the options and the choice of the object; each object has a file. An object or a keyword may be cut short as
with the real tool (`ip a`, `ip r`, `ip addr sh`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lunar.net_tools import neigh
from lunar.net_tools.errors import CommandError
from lunar.net_tools.ip import addr, link, maddr, route, rule
from lunar.net_tools.ip.shown import Row, shown
from lunar.net_tools.ip.words import Style, Words
from lunar.packet import AF_INET, AF_INET6

if TYPE_CHECKING:
    from lunar.host import Host

_FAMILIES: Final = {"inet": AF_INET, "inet6": AF_INET6}
_EXPECTED: Final = "-4, -6, -s, -d, -br, -o, -j, -p, -N"


def run(host: Host, words: list[str]) -> str:
    """`ip [-4] [-6] [-s] [-d] [-br] [-o] [-j [-p]] addr|link|route|rule|neigh|maddr ...`."""
    style = Style()
    rest = list(words)
    while rest and rest[0].startswith("-"):
        _option(rest.pop(0), rest, style)
    if not rest:
        raise CommandError(f"ip: an object is missing; expected one of {', '.join(_OBJECTS)}")
    name = rest.pop(0)
    # The first in iproute2's order that begins so: `ip r` is route, `ip a` address.
    for known, act in _OBJECTS.items():
        if known.startswith(name):
            return act(host, style, Words(f"ip {known}", rest))
    raise CommandError(f'ip: object "{name}" is not supported; expected one of {", ".join(_OBJECTS)}')


def _option(word: str, rest: list[str], style: Style) -> None:
    option = word.replace("--", "-", 1)
    if option in ("-4", "-6"):
        style.family = AF_INET if option == "-4" else AF_INET6
    elif option in ("-f", "-family"):
        if not rest or rest[0] not in _FAMILIES:
            raise CommandError(f"ip: {word}: expected inet or inet6")
        style.family = _FAMILIES[rest.pop(0)]
    elif option == "-0":
        raise CommandError('ip: "-0" is not supported; expected -4 or -6')
    elif option in ("-br", "-brief"):
        style.brief = True
    elif option in ("-o", "-oneline"):
        style.oneline = True
    elif option in ("-j", "-json", "-js"):
        style.json = True
    elif option in ("-p", "-pretty"):
        style.pretty = True
    elif option in ("-d", "-details"):
        style.details += 1
    elif option in ("-N", "-Numeric"):
        style.numeric = True
    elif option in ("-c", "-color", "-c=never", "-color=never", "-c=auto", "-color=auto"):
        pass  # in colour only on a terminal, which this is not
    elif option.strip("-") and set(option[1:]) == {"s"}:
        style.statistics += len(option) - 1
    elif option in ("-stats", "-statistics"):
        style.statistics += 1
    else:
        raise CommandError(f'ip: "{word}" is not supported; expected {_EXPECTED}')


def _metrics(host: Host, style: Style, words: Words) -> str:
    """`ip tcp_metrics flush [all]`."""
    words.choose(("flush",), "flush")
    words.takes("all")
    words.end()
    host.tcp.tables.metrics().flush()
    return ""


def _neigh(host: Host, style: Style, words: Words) -> str:
    """`ip neigh`, which is in lunar/net_tools/neigh.py; its text has all that its JSON says."""
    if not style.json and not style.brief:
        return neigh.run(host, style.family, words.rest, style.statistics > 0)
    if style.statistics:
        raise CommandError("ip neigh: -s with -j or -br is not supported")
    rows = [_neigh_row(line.split()) for line in neigh.run(host, style.family, words.rest).splitlines()]
    return shown(rows, style, lambda row: f"{row['dst']:<39} {row['dev']:<16} {row.get('lladdr', '')}\n")


def _neigh_row(words: list[str]) -> Row:
    """A line of `ip neigh` as a row."""
    row: Row = {"dst": words.pop(0)}
    while words:
        word = words.pop(0)
        if word in ("dev", "lladdr"):
            row[word] = words.pop(0)
        elif word in ("router", "proxy"):
            row[word] = None
        else:
            row["state"] = [*row.get("state", []), word]
    return row


# In the order in which iproute2 looks for what a word may be the beginning of.
_OBJECTS: Final[dict[str, Callable[[Host, Style, Words], str]]] = {
    "address": addr.run,
    "maddress": maddr.run,
    "route": route.run,
    "rule": rule.run,
    "neighbor": _neigh,
    "neighbour": _neigh,
    "link": link.run,
    "tcp_metrics": _metrics,
    "tcpmetrics": _metrics,
}
