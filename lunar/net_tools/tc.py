"""tc(8), as much as scripts of packetdrill use: the root queue of a device, `pfifo` or `fq`.

Queues are at links here (docs/design.md), so that a device's own holds nothing and its kind makes no difference, but
for one that has room for no packet: `limit 0`. What `fq` does besides, TCP's own pacing does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net_tools.errors import CommandError, parsed

if TYPE_CHECKING:
    from lunar.host import Host

_KINDS: Final = ("pfifo", "fq", "noqueue")


def run(host: Host, words: list[str]) -> str:
    """`tc qdisc add|replace|change|delete dev DEV root [pfifo|fq [limit N]]`."""
    if len(words) < 5 or words[0] != "qdisc" or words[2] != "dev" or words[4] != "root":
        raise CommandError(f'tc: "{" ".join(words)}" is not supported; expected qdisc add|replace|delete dev DEV root')
    action, name, rest = words[1], words[3], words[5:]
    device = host.devices.get(name)
    if device is None:
        raise CommandError(f"tc: {name}: no such device; {host.name} has {', '.join(host.devices)}")
    if action in ("delete", "del"):
        device.queue_packets = -1
        return ""
    if action not in ("add", "replace", "change"):
        raise CommandError(f'tc: qdisc {action} is not supported; expected add, replace, change or delete')
    if not rest or rest[0] not in _KINDS:
        raise CommandError(f'tc: "{" ".join(rest)}" is not supported; expected {", ".join(_KINDS)}')
    packets = -1
    if len(rest) == 3 and rest[1] == "limit":
        packets = parsed(int, rest[2], "a number of packets")
    elif len(rest) > 1:
        raise CommandError(f'tc: {rest[0]}: "{" ".join(rest[1:])}" is not supported; expected limit N')
    device.queue_packets = packets
    device.paces = rest[0] == "fq"
    return ""
