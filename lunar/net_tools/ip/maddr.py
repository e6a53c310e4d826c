"""`ip maddr`: the groups that devices listen to, ip-maddress(8). Memberships are programs' and the kernel's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunar.interfaces import index_of
from lunar.net_tools.groups import hardware_groups, memberships
from lunar.net_tools.ip.shown import Row, shown
from lunar.net_tools.ip.words import Style, Words, device_named
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import address_text
from lunar.wire.ethernet import mac_text

if TYPE_CHECKING:
    from lunar.host import Host


def run(host: Host, style: Style, words: Words) -> str:
    """`ip maddr [show [dev DEV]]`."""
    words.what = f"ip maddr {words.choose(('show', 'list', 'lst'), 'show')}"
    devices = list(host.devices.values())
    if words:
        words.takes("dev")
        devices = [device_named(host, words.take("a device"))]
        words.end()
    rows = []
    for device in devices:
        groups: list[Row] = []
        if not style.family:
            groups += [{"link": mac_text(mac)} for mac in hardware_groups(host, device)]
        for family in (AF_INET, AF_INET6):
            if style.family not in (0, family):
                continue
            for group, users in memberships(host, device, family):
                name = "inet" if family == AF_INET else "inet6"
                row: Row = {"family": name, "address": address_text(family, group)}
                groups.append(row if users == 1 else row | {"users": users})
        rows.append({"ifindex": index_of(host, device), "ifname": device.name, "maddr": groups})
    return shown(rows, style, _text)


def _text(row: Row) -> str:
    text = f"{row['ifindex']}:\t{row['ifname']}\n"
    for group in row["maddr"]:
        if "link" in group:
            text += f"\tlink  {group['link']}\n"
        else:
            users = f" users {group['users']}" if "users" in group else ""
            text += f"\t{group['family']:<5} {group['address']}{users}\n"
    return text
