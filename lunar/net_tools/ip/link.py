"""`ip link`: what a device is, as ip-link(8) shows it, and what can be set of it.

Devices are made by the tapestry, so that `add` and `delete` are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import attrs

from lunar.interfaces import index_of
from lunar.net.device import Device
from lunar.net_tools import flags
from lunar.net_tools.errors import CommandError, parsed
from lunar.net_tools.ip.shown import Row, shown
from lunar.net_tools.ip.words import Style, Words, device_named
from lunar.net_tools.queues import queue_of
from lunar.packet import AF_INET6
from lunar.wire.ethernet import mac_text, parse_mac

if TYPE_CHECKING:
    from lunar.host import Host

MTU_LEAST: Final = 68
MTU_MOST: Final = 65_535
_LOOPBACK_MTU_MOST: Final = 0x7FFF_FFFF
_ALIAS_MOST: Final = 255
_NAME_MOST: Final = 15  # IFNAMSIZ, with the zero at its end
_SETTINGS: Final = (
    "up", "down", "mtu", "address", "arp", "promisc", "allmulticast", "alias", "txqueuelen", "name", "dev", "multicast",
)  # fmt: skip
# The widths of the columns of counters, before numbers widen them.
_WIDTHS: Final = (10, 7, 6, 7, 7, 7)
_RECEIVED: Final = ("packets", "errors", "dropped", "missed", "mcast")
_RECEIVED_ERRORS: Final = ("length", "crc", "frame", "fifo", "overrun")
_SENT: Final = ("packets", "errors", "dropped", "carrier", "collsns")
_SENT_ERRORS: Final = ("aborted", "fifo", "window", "heartbt", "transns")


@attrs.define
class Changes:
    """What is to be set of a device; None is left as it is."""

    up: bool | None = None
    mtu: int | None = None
    mac: int | None = None
    arp: bool | None = None
    promiscuous: bool | None = None
    allmulti: bool | None = None
    alias: str | None = None
    txqueuelen: int | None = None
    name: str | None = None

    def apply(self, host: Host, device: Device) -> None:
        """Set it. Raises `CommandError` in Linux' words, before anything has changed."""
        if self.mtu is not None:
            check_mtu(device, self.mtu)
            device.set_mtu(self.mtu)
        if self.mac is not None:
            host.set_mac(device, self.mac)
        if self.alias is not None:
            device.alias = self.alias
        if self.txqueuelen is not None:
            device.txqueuelen = self.txqueuelen
        if self.promiscuous is not None:
            device.promiscuous = self.promiscuous
        if self.allmulti is not None:
            device.allmulti = self.allmulti
        if self.arp is not None:
            host.set_arp(device, self.arp)
        if self.up is not None:
            host.set_up(device, self.up)
        if self.name is not None:
            host.rename_device(device, self.name)


def check_mtu(device: Device, mtu: int) -> None:
    """Raises `CommandError` for an MTU that the device cannot have."""
    most = _LOOPBACK_MTU_MOST if device.name == "lo" else MTU_MOST
    if mtu < (0 if device.name == "lo" else MTU_LEAST):
        raise CommandError("Error: mtu less than device minimum.")
    if mtu > most:
        raise CommandError("Error: mtu greater than device maximum.")


def run(host: Host, style: Style, words: Words) -> str:
    """`ip link [show [[dev] DEV] [up]]`, `ip link set [dev] DEV SETTING ...`."""
    action = words.choose(("show", "list", "lst", "set"), "show")
    words.what = f"ip link {action}"
    if action == "set":
        _set(host, words)
        return ""
    return _show(host, style, words)


def _set(host: Host, words: Words) -> None:
    words.takes("dev")
    device = words.device(host)
    wanted = Changes()
    if not words:
        raise CommandError(f"{words.what}: nothing to set; expected {', '.join(_SETTINGS[:-2])}")
    while words:
        if words.takes("up"):
            wanted.up = True
        elif words.takes("down"):
            wanted.up = False
        elif words.takes("mtu"):
            wanted.mtu = words.number("MTU", 0, _LOOPBACK_MTU_MOST, 10)
            check_mtu(device, wanted.mtu)
        elif words.takes("address", "addr", short=4):
            wanted.mac = hardware_address(words.take("an address"), device)
        elif words.takes("arp"):
            wanted.arp = _switch(words)
        elif words.takes("promisc"):
            wanted.promiscuous = _switch(words)
        elif words.takes("allmulticast", short=3):
            wanted.allmulti = _switch(words)
        elif words.takes("multicast", short=3):
            if not _switch(words):
                raise CommandError(f"{words.what}: multicast off is not supported")
        elif words.takes("alias", "ifalias"):
            wanted.alias = words.take("a text")
            if len(wanted.alias) > _ALIAS_MOST:
                raise CommandError(f"{words.what}: alias: expected {_ALIAS_MOST} characters at most")
        elif words.takes("name"):
            wanted.name = _new_name(host, device, words.take("a name"))
        elif words.takes("txqueuelen", "qlen", "txqlen"):
            wanted.txqueuelen = words.number("queue length", 0, 0x7FFF_FFFF, 10)
        else:
            raise words.refuse(", ".join(_SETTINGS[:-2]))
    if device.name == "lo" and (wanted.mac is not None or wanted.arp is not None):
        raise CommandError(f"{words.what}: lo has no hardware address to set or to ask for")
    wanted.apply(host, device)


def hardware_address(word: str, device: Device) -> int:
    """A hardware address that a device may have. Raises `CommandError`."""
    mac = parsed(parse_mac, word, "a hardware address such as 02:00:00:00:00:01")
    if mac == 0 or mac >> 40 & 1:
        raise CommandError(f"{device.name}: {word}: Cannot assign requested address; expected one that is of no group")
    return mac


def _new_name(host: Host, device: Device, name: str) -> str:
    """A name that a device may have. Raises `CommandError` in iproute2's words."""
    if not 0 < len(name) <= _NAME_MOST or "/" in name or any(letter.isspace() for letter in name):
        raise CommandError(f'Error: argument "{name}" is wrong: "name" not a valid ifname')
    if ":" in name or name in (".", "..") or device.name == "lo":
        raise CommandError("RTNETLINK answers: Invalid argument")
    if name in host.devices and name != device.name:
        raise CommandError("RTNETLINK answers: File exists")
    return name


def _switch(words: Words) -> bool:
    word = words.take("on or off")
    if word not in ("on", "off"):
        raise CommandError(f'{words.what}: "{word}": expected on or off')
    return word == "on"


# Showing


def _show(host: Host, style: Style, words: Words) -> str:
    chosen: Device | None = None
    only_up = False
    while words:
        if words.takes("up"):
            only_up = True
        elif words.takes("dev") or chosen is None:
            chosen = device_named(host, words.take("a device"))
        else:
            raise words.refuse("a device or up")
    devices = [chosen] if chosen is not None else list(host.devices.values())
    rows = [row_of(host, device, style, of_link=True) for device in devices if device.up or not only_up]
    if style.brief:
        return shown(rows, style, _brief)
    return shown(rows, style, lambda row: text_of(row, style))


def row_of(host: Host, device: Device, style: Style, of_link: bool) -> Row:
    """A device as a row; `of_link` shows what `ip addr` leaves out."""
    is_lo = device.name == "lo"
    if not device.up:
        state = "DOWN"
    elif is_lo:
        state = "UNKNOWN"
    else:
        state = "UP" if device.medium is not None else "DOWN"
    row: Row = {"ifindex": index_of(host, device), "ifname": device.name, "flags": flags.of_ip(device)}
    if style.brief and style.json:
        return {"ifname": device.name, "operstate": state, "address": mac_text(int(device.mac)), "flags": row["flags"]}
    row |= {"mtu": int(device.mtu), "qdisc": queue_of(device).kind, "operstate": state}
    if of_link:
        row["linkmode"] = "DEFAULT"
    row |= {"group": "default", "txqlen": int(device.txqueuelen)}
    row |= {"link_type": "loopback" if is_lo else "ether", "address": mac_text(int(device.mac))}
    row["broadcast"] = "00:00:00:00:00:00" if is_lo else "ff:ff:ff:ff:ff:ff"
    if style.details:
        row |= {
            "promiscuity": int(device.promiscuous), "min_mtu": 0 if is_lo else MTU_LEAST,
            "max_mtu": 0 if is_lo else MTU_MOST, "inet6_addr_gen_mode": "eui64", "num_tx_queues": 1,
            "num_rx_queues": 1, "gso_max_size": 65536, "gso_max_segs": 65535,
        }  # fmt: skip
    if device.alias and of_link:
        row["ifalias"] = device.alias
    if style.statistics:
        received = {"bytes": int(device.rx_bytes), "packets": int(device.rx_packets), "errors": 0}
        received |= {"dropped": int(device.rx_dropped), "over_errors": 0, "multicast": 0}
        sent = {"bytes": int(device.tx_bytes), "packets": int(device.tx_packets), "errors": 0}
        sent |= {"dropped": int(device.tx_dropped), "carrier_errors": 0, "collisions": 0}
        if style.statistics > 1:
            received |= {"length_errors": 0, "crc_errors": 0, "frame_errors": 0, "fifo_errors": 0, "missed_errors": 0}
            sent |= {"aborted_errors": 0, "fifo_errors": 0, "window_errors": 0, "heartbeat_errors": 0}
            sent["carrier_changes"] = 2
        row["stats64"] = {"rx": received, "tx": sent}
    return row


def first_line(row: Row, family: int = 0) -> str:
    """What `ip addr` and `ip link` both begin with, without the end of the line."""
    if family == AF_INET6:
        # IPv6's own table of devices knows less.
        return (
            f"{row['ifindex']}: {row['ifname']}: <{','.join(row['flags'])}> mtu {row['mtu']} "
            f"state {row['operstate']} qlen {row['txqlen']}"
        )
    mode = f"mode {row['linkmode']} " if "linkmode" in row else ""
    return (
        f"{row['ifindex']}: {row['ifname']}: <{','.join(row['flags'])}> mtu {row['mtu']} qdisc {row['qdisc']} "
        f"state {row['operstate']} {mode}group {row['group']} qlen {row['txqlen']}"
    )


def text_of(row: Row, style: Style) -> str:
    """The text of a device."""
    end = style.end
    text = f"{first_line(row)}{end}    link/{row['link_type']} {row['address']} brd {row['broadcast']}"
    if "promiscuity" in row:
        text += (
            f" promiscuity {row['promiscuity']} minmtu {row['min_mtu']} maxmtu {row['max_mtu']} "
            f"addrgenmode {row['inet6_addr_gen_mode']} numtxqueues 1 numrxqueues 1 gso_max_size {row['gso_max_size']} "
            f"gso_max_segs {row['gso_max_segs']} "
        )
    if "ifalias" in row:
        text += f"{end}    alias {row['ifalias']}"
    if "stats64" in row:
        text += end + _statistics(row["stats64"], style)
    return text + "\n"


def _brief(row: Row) -> str:
    return f"{row['ifname']:<16} {row['operstate']:<14} {row['address']} <{','.join(row['flags'])}> \n"


def _statistics(stats: Row, style: Style) -> str:
    received, sent = list(stats["rx"].values()), list(stats["tx"].values())
    widths = [max(width, len(str(received[at])), len(str(sent[at]))) for at, width in enumerate(_WIDTHS)]

    def line(first: str, names: Iterable[object]) -> str:
        return f"    {first} " + " ".join(f"{name!s:>{width}}" for name, width in zip(names, widths[1:], strict=False))

    def table(which: str, values: list[int], names: tuple[str, ...], errors: tuple[str, ...]) -> list[str]:
        head = f"{which}:{'bytes':>{widths[0] - 3}}"
        lines = [line(head, names) + " " * 11, line(f"{values[0]:>{widths[0]}}", values[1:6]) + " "]
        if style.statistics > 1:
            lines.append(line(f"{which} errors:", errors))
            lines.append(line(" " * widths[0], values[6:]))
        return lines

    lines = table("RX", received, _RECEIVED, _RECEIVED_ERRORS) + table("TX", sent, _SENT, _SENT_ERRORS)
    return style.end.join(lines)
