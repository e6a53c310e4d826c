"""netstat -s: a host's counters in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net_tools import snmp
from lunar.net_tools.netstat_texts import ALWAYS, NEVER, TEXTS

if TYPE_CHECKING:
    from lunar.host import Host

# Before the first of these stands a line of its own.
_HISTOGRAMS: Final = {
    "InDestUnreachs": "    ICMP input histogram:\n",
    "OutDestUnreachs": "    ICMP output histogram:\n",
}
# What belongs to a protocol that is asked for alone.
_WITH: Final = {"Tcp": {"Tcp", "UdpLite", "TcpExt", "IpExt"}, "Udp": {"Udp", "UdpLite", "IpExt"}, "Raw": {"IpExt"}}


def counters(host: Host, kinds: set[str], *, inet6: bool) -> str:
    """All groups, or those of the protocols `kinds` ("Tcp", "Udp", "Raw")."""
    if inet6:
        return _inet6(host)
    groups = snmp.rows(host, snmp.SNMP) | snmp.rows(host, snmp.NETSTAT)
    wanted = set(groups) if not kinds else set().union(*(_WITH[kind] for kind in kinds))
    text = ""
    for group, columns in groups.items():
        if group not in wanted:
            continue
        text += f"{group}:\n"
        for name, value in columns.items():
            text += _HISTOGRAMS.get(name, "") if group == "Icmp" else ""
            if (value or group + name in ALWAYS) and group + name not in NEVER:
                words = TEXTS.get(group, {}).get(name, f"{name}: %u")
                text += f"    {words.replace('%u', str(value))}\n"
    return text


def _inet6(host: Host) -> str:
    """IPv6's counters, by their names."""
    values = snmp.values(host)
    text = ""
    for group in ("Ip6", "Icmp6", "Udp6"):
        text += f"{group}:\n"
        for name, value in values.items():
            if name.startswith(group) and value:
                text += f"    {name.removeprefix(group)}: {value}\n"
    return text
