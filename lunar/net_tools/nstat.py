"""nstat(8): the counters of a host that have moved since it was last asked, by their names in Linux' SNMP tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunar.net_tools import snmp
from lunar.net_tools.errors import CommandError

if TYPE_CHECKING:
    from lunar.host import Host

def run(host: Host, words: list[str]) -> str:
    """`nstat`, `nstat -n` (forget what was), `nstat -a` (absolute values), `nstat -z` (zeros, too)."""
    unknown = [word for word in words if word not in ("-n", "-a", "-z", "-az")]
    if unknown:
        raise CommandError(f'nstat: "{unknown[0]}" is not supported; expected -a, -n or -z')
    values = snmp.values(host)
    before = {} if "-a" in words or "-az" in words else host.nstat_before
    host.nstat_before = values
    if "-n" in words:
        return ""
    zeros = any("z" in word for word in words)
    lines = ["#kernel\n"]
    for name, value in values.items():
        moved = value - before.get(name, 0)
        if moved or zeros:
            lines.append(f"{name:32}{moved:<16}0.0\n")
    return "".join(lines)
