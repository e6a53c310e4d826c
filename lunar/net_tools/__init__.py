"""The command lines of the real tools, for the `net` lines of a tapestry and `Host.sh`.

Each tool is a file with a function `run(host, words) -> str`, which returns what the tool prints; of a tool that takes
virtual time it is `program(host, words) -> Program`. What a tool's real counterpart takes and this one does not is
refused by name: a line is never half obeyed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lunar.net_tools import (
    arp,
    arping,
    conntrack,
    dmesg,
    ethtool,
    hostname,
    ifconfig,
    ip,
    iptables,
    netstat,
    nstat,
    ping,
    programs,
    route,
    ss,
    sysctl,
    tc,
    traceroute,
)
from lunar.net_tools.errors import CommandError
from lunar.net_tools.programs import Program, Write
from weaves.tapestry_errors import suggestion

if TYPE_CHECKING:
    from lunar.host import Host

_TOOLS: Final[dict[str, Callable[[Host, list[str]], str]]] = {
    "arp": arp.run,
    "conntrack": conntrack.run,
    "dmesg": dmesg.run,
    "ethtool": ethtool.run,
    "ifconfig": ifconfig.run,
    "ip": ip.run,
    "ip6tables": iptables.run6,
    "ip6tables-save": iptables.run_save6,
    "iptables": iptables.run,
    "iptables-save": iptables.run_save,
    "hostname": hostname.run,
    "netstat": netstat.run,
    "nstat": nstat.run,
    "route": route.run,
    "ss": ss.run,
    "sysctl": sysctl.run,
    "tc": tc.run,
}
# Those that read what they are given as their standard input.
_READERS: Final[dict[str, Callable[[Host, list[str], str], str]]] = {
    "ip6tables-restore": iptables.run_restore6,
    "iptables-restore": iptables.run_restore,
}
# Those that take virtual time.
_PROGRAMS: Final[dict[str, Callable[[Host, list[str]], Program]]] = {
    "arping": arping.program,
    "ping": ping.program,
    "traceroute": traceroute.program,
}


def names() -> list[str]:
    """The names of all tools."""
    return sorted({*_TOOLS, *_READERS, *_PROGRAMS})


def run(host: Host, command: str, write: Write | None = None, stdin: str = "") -> str:
    """Run one command line on `host` until it ends, and return what it prints. Raises `CommandError`.

    With `write` it is given there, piece by piece, and not returned. `stdin` is its standard input.
    """
    printed: list[str] = []
    put = printed.append if write is None else write
    todo = prepare(host, command, stdin)
    if isinstance(todo, str):
        put(todo)
    else:
        if todo.endless and write is None:
            raise CommandError(f"{todo.name}: this would never end; {_limits(todo)}")
        programs.finish(host, todo, put)
    return "".join(printed)


async def run_async(host: Host, command: str) -> str:
    """As `run`, awaited."""
    printed: list[str] = []
    todo = prepare(host, command)
    if isinstance(todo, str):
        return todo
    if todo.endless:
        raise CommandError(f"{todo.name}: this would never end; {_limits(todo)}")
    await programs.finish_async(host, todo, printed.append)
    return "".join(printed)


def start(host: Host, command: str) -> str:
    """Run a command line of a `net` line: one that takes time goes on beside all else. Raises `CommandError`."""
    todo = prepare(host, command)
    if isinstance(todo, str):
        return todo
    programs.start(host, todo)
    return ""


def prepare(host: Host, command: str, stdin: str = "") -> str | Program:
    """What a command line prints, or, if it takes time, what is to be run. Raises `CommandError`."""
    if not isinstance(command, str):
        raise TypeError(f"a command line is one text, as a shell reads it, not {type(command).__name__}")
    if host.state == "down":
        raise CommandError(f"host {host.name} is down: no command runs there until it has booted")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CommandError(f"{command!r}: {error}") from None
    return _prepared(host, words, stdin) if words else ""


def obey(host: Host, words: list[str]) -> str:
    """Run a command line of one word or more that takes no time. Raises `CommandError`, also for one that does."""
    if words[0] in _PROGRAMS:
        raise CommandError(f"{words[0]}: it takes time, which there is none of here")
    todo = _prepared(host, words)
    assert isinstance(todo, str), "a tool that is no program prints at once"
    return todo


def _prepared(host: Host, words: list[str], stdin: str = "") -> str | Program:
    reader = _READERS.get(words[0])
    if reader is not None:
        return reader(host, words[1:], stdin)
    tool: Callable[[Host, list[str]], str | Program] | None = _TOOLS.get(words[0]) or _PROGRAMS.get(words[0])
    if tool is None:
        raise CommandError(f'there is no command "{words[0]}"; {suggestion(words[0], names())}')
    return tool(host, words[1:])


def _limits(program: Program) -> str:
    return "expected -c or -w" if program.name in ("ping", "arping") else "expected a limit"


__all__ = ["CommandError", "Program", "names", "obey", "prepare", "run", "run_async", "start"]
