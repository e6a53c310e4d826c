"""dmesg(1): the log of a host's kernel. `-c` clears it after printing, `-C` clears it, `-t` leaves the times out, `-x`
tells facility and level, `-l LEVEL[,LEVEL]` picks levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net_tools.errors import CommandError

if TYPE_CHECKING:
    from lunar.host import Host

_LEVELS: Final = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")


def run(host: Host, words: list[str]) -> str:
    """`dmesg ...`."""
    clears = timeless = decodes = False
    prints = True
    levels = set(range(8))
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-c", "--read-clear"):
            clears = True
        elif word in ("-C", "--clear"):
            clears, prints = True, False
        elif word in ("-t", "--notime"):
            timeless = True
        elif word in ("-x", "--decode"):
            decodes = True
        elif word in ("-l", "--level"):
            levels = _levels(rest.pop(0) if rest else "")
        else:
            raise CommandError(f'dmesg: "{word}" is not supported; expected -c, -C, -t, -x or -l LEVEL')
    log = host.kernel_log
    printed = []
    for line in log.lines if prints else ():
        if line.level in levels:
            seconds, rest_ns = divmod(line.at_ns, 1_000_000_000)
            facility = f"kern  :{_LEVELS[line.level]:<6}: " if decodes else ""
            printed.append(f"{facility}{'' if timeless else f'[{seconds:5}.{rest_ns // 1000:06}] '}{line.text}\n")
    if clears:
        log.lines.clear()
    return "".join(printed)


def _levels(text: str) -> set[int]:
    for word in text.split(","):
        if word not in _LEVELS:
            raise CommandError(f"dmesg: unknown level '{word}'")
    return {_LEVELS.index(word) for word in text.split(",")}
