"""The command lines of the real tools, for the `net` lines of a tapestry and `Host.sh`.

Each tool is a file with a function `run(host, words) -> str`, which returns what the tool prints. What a tool's real
counterpart takes and this one does not is refused by name: a line is never half obeyed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lunar.net_tools import ethtool, ifconfig, ip, nstat, route, sysctl, tc
from lunar.net_tools.errors import CommandError

if TYPE_CHECKING:
    from lunar.host import Host

_TOOLS: Final[dict[str, Callable[[Host, list[str]], str]]] = {
    "ethtool": ethtool.run,
    "ifconfig": ifconfig.run,
    "ip": ip.run,
    "nstat": nstat.run,
    "route": route.run,
    "sysctl": sysctl.run,
    "tc": tc.run,
}
# Tools that people will try, because documentation of real networks uses them.
_PLANNED: Final = ("arp", "ip6tables", "iptables", "netstat", "ping", "ss", "traceroute")


def run(host: Host, command: str) -> str:
    """Run one command line on `host`. Raises `CommandError`."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CommandError(f"{command!r}: {error}") from None
    return obey(host, words) if words else ""


def obey(host: Host, words: list[str]) -> str:
    """As `run`, of a command line that is words already, one or more."""
    tool = _TOOLS.get(words[0])
    if tool is None:
        known = ", ".join(sorted(_TOOLS))
        if words[0] in _PLANNED:
            raise CommandError(f"{words[0]} is not here yet; expected one of {known}")
        raise CommandError(f'there is no command "{words[0]}"; expected one of {known}')
    return tool(host, words[1:])


__all__ = ["CommandError", "obey", "run"]
