"""The files of /proc/net, by their names: the tables of the stack as Linux shows them (proc_net(5)).

Programs read them by `open` (lunar/host_files/proc.py). Each is made when it is read. Addresses of memory, which stand
in some of them, are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from lunar.interfaces import index_of
from lunar.net.route import PROHIBIT, UNICAST, UNREACHABLE
from lunar.net_tools import arp, conntrack_text, route, route6, snmp
from lunar.net_tools.groups import hardware_groups, memberships
from lunar.net_tools.route import HEADERS_BYTES
from lunar.net_tools.seen import Look, Seen, unix_name
from lunar.packet import AF_INET, AF_INET6
from lunar.sockets.unix import UnixSock
from lunar.tcp.tcb import LISTEN
from lunar.wire.address import network_mask

if TYPE_CHECKING:
    from lunar.host import Host

_TICKS: Final = 10_000_000  # nanoseconds in one of the hundredths of a second that these files count in


def _dev(host: Host) -> str:
    text = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast"
        "|bytes    packets errs drop fifo colls carrier compressed\n"
    )
    for device in host.devices.values():
        received = f"{int(device.rx_bytes):>8} {int(device.rx_packets):>7} {0:>4} {int(device.rx_dropped):>4}"
        sent = f"{int(device.tx_bytes):>8} {int(device.tx_packets):>7} {0:>4} {int(device.tx_dropped):>4}"
        text += f"{device.name:>6}: {received} {0:>4} {0:>5} {0:>10} {0:>9} {sent} {0:>4} {0:>5} {0:>7} {0:>10}\n"
    return text


def _swapped(address: int) -> str:
    """An IPv4 address as the word that it is in a little endian memory."""
    return address.to_bytes(4, "big")[::-1].hex().upper()


def _route(host: Host) -> str:
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    lines = [head]
    for one in route.in_order(host):
        refused = one.type in (UNREACHABLE, PROHIBIT)
        flags = 1 | (2 if one.gateway else 0) | (4 if one.prefix == 32 else 0) | (0x200 if refused else 0)
        device = one.device.name if one.type == UNICAST else "*"
        mtu = int(one.advmss) + HEADERS_BYTES if one.advmss else 0
        mask = _swapped(network_mask(int(one.prefix)))
        lines.append(
            f"{device}\t{_swapped(one.network)}\t{_swapped(one.gateway)}\t{flags:04X}\t0\t0\t{int(one.metric)}\t{mask}"
            f"\t{mtu}\t0\t0"
        )
    return "".join(f"{line:<127}\n" for line in lines)


def _ipv6_route(host: Host) -> str:
    none = "0" * 32
    return "".join(
        f"{line.network:032x} {line.prefix:02x} {none} 00 {line.gateway:032x} {line.metric & 0xFFFF_FFFF:08x} "
        f"00000001 00000000 {line.flags:08x} {line.device:>8}\n"
        for line in route6.lines(host)
    )


def _if_inet6(host: Host) -> str:
    scopes = {0: 0x00, 200: 0x40, 253: 0x20, 254: 0x10}
    text = ""
    for device in host.devices.values():
        tested = host.autoconf.pending(device) if host.has_autoconf else []
        for own in [*device.addresses, *tested]:
            if own.family == AF_INET6:
                text += f"{own.address:032x} {index_of(host, device):02x} {int(own.prefix):02x} "
                text += f"{scopes.get(int(own.scope), 0):02x} {int(own.flags) & 0xFF:02x} "
                text += f"{device.name:>8}\n"
    return text


def _arp(host: Host) -> str:
    return arp.proc_text(host)


def _igmp(host: Host) -> str:
    text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
    for device in host.devices.values():
        groups = memberships(host, device, AF_INET)
        text += f"{index_of(host, device)}\t{device.name:<10}: {len(groups):>5}      V3\n"
        for group, users in groups:
            text += f"\t\t\t\t{_swapped(group)} {users:>5} 0:00000000\t\t0\n"
    return text


def _igmp6(host: Host) -> str:
    text = ""
    for device in host.devices.values():
        for group, users in memberships(host, device, AF_INET6):
            text += f"{index_of(host, device):<4} {device.name:<15} {group:032x} {users:>5} 0000000C 0\n"
    return text


def _dev_mcast(host: Host) -> str:
    return "".join(
        f"{index_of(host, device):<4} {device.name:<15} {1:<5} {0:<5} {mac:012x}\n"
        for device in host.devices.values()
        for mac in hardware_groups(host, device)
    )


# Sockets


def _end(seen: Seen, address: int, port: int) -> str:
    if seen.family == AF_INET:
        return f"{_swapped(address)}:{port:04X}"
    whole = 0xFFFF << 32 | address if seen.mapped and address else address
    packed = whole.to_bytes(16, "big")
    return "".join(packed[at : at + 4][::-1].hex().upper() for at in (0, 4, 8, 12)) + f":{port:04X}"


def _line(seen: Seen, number: int, tail: str, width: int = 4) -> str:
    send_q = 0 if seen.state == LISTEN else seen.send_q
    when = max(0, seen.timer_ns) // _TICKS
    return (
        f"{number:>{width}}: {_end(seen, seen.local, seen.local_port)} {_end(seen, seen.remote, seen.remote_port)} "
        f"{seen.state:02X} {send_q:08X}:{seen.recv_q:08X} {seen.timer[0]:02X}:{when:08X} {seen.timer_count:08X} "
        f"{0:>5} {0:>8} {seen.inode} {seen.refs if seen.sock is None else seen.refs - 1} {0:016x}{tail}"
    )


_HEAD: Final = "sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
_HEAD6: Final = (
    "sl  local_address                         remote_address                        "
    "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
)


def _tcp(host: Host, family: int) -> str:
    lines = [f"  {_HEAD if family == AF_INET else _HEAD6}"]
    for number, seen in enumerate(one for one in Look(host).tcp() if one.family == family):
        sock = seen.sock
        tail = "" if sock is None else " 100 0 0 10 0" if seen.state == LISTEN else " 20 0 0 10 -1"
        lines.append(_line(seen, number, tail))
    return "".join(f"{line:<149}\n" if family == AF_INET else f"{line}\n" for line in lines)


def _datagrams(host: Host, kind: str, family: int) -> str:
    wide = kind == "udp" and family == AF_INET
    head = f"{'   ' if wide else '  '}{_HEAD if family == AF_INET else _HEAD6} ref pointer drops"
    lines = [head]
    for seen in getattr(Look(host), kind)():
        if seen.family == family:
            # Where Linux tells the place in its table, the port or protocol stands.
            seen.refs = 3
            lines.append(_line(seen, seen.local_port, " 0", 5 if wide else 4))
    return "".join(f"{line:<127}\n" if wide else f"{line}\n" for line in lines)


def _unix(host: Host) -> str:
    text = "Num       RefCount Protocol Flags    Type St Inode Path\n"
    for seen in Look(host).unix():
        assert isinstance(seen.sock, UnixSock), "a Unix socket"
        flags = 0x10000 if seen.state == LISTEN else 0
        state = 3 if seen.remote_port else 1
        name = unix_name(seen)
        text += f"{0:016x}: {seen.refs:08X} {0:08X} {flags:08X} {int(seen.sock.type):04X} {state:02X} {seen.inode}"
        text += f" {name}\n" if name else "\n"
    return text


def _sockstat(host: Host) -> str:
    look = Look(host)
    tcp, udp, raw = list(look.tcp()), list(look.udp()), list(look.raw())
    open_now = [one for one in tcp if one.sock is not None]
    total = len(open_now) + len(udp) + len(raw) + len(list(look.unix()))
    return (
        f"sockets: used {total}\n"
        f"TCP: inuse {_of(open_now, AF_INET)} orphan {int(host.tcp.tables.orphans)} "
        f"tw {int(host.tcp.tables.time_waits)} alloc {len(open_now)} mem 0\n"
        f"UDP: inuse {_of(udp, AF_INET)} mem 0\nUDPLITE: inuse 0\nRAW: inuse {_of(raw, AF_INET)}\n"
        "FRAG: inuse 0 memory 0\n"
    )


def _sockstat6(host: Host) -> str:
    look = Look(host)
    return (
        f"TCP6: inuse {_of((one for one in look.tcp() if one.sock is not None), AF_INET6)}\n"
        f"UDP6: inuse {_of(look.udp(), AF_INET6)}\nUDPLITE6: inuse 0\nRAW6: inuse {_of(look.raw(), AF_INET6)}\n"
        "FRAG6: inuse 0 memory 0\n"
    )


def _of(found: Iterable[Seen], family: int) -> int:
    return sum(1 for seen in found if seen.family == family)


def _snmp6(host: Host) -> str:
    return "".join(
        f"{name:<32}\t{value}\n" for name, value in snmp.values(host).items()
        if name.startswith(("Ip6", "Icmp6", "Udp6"))
    )  # fmt: skip


FILES: Final[dict[str, Callable[[Host], str]]] = {
    "arp": _arp,
    "dev": _dev,
    "dev_mcast": _dev_mcast,
    "if_inet6": _if_inet6,
    "igmp": _igmp,
    "igmp6": _igmp6,
    "ipv6_route": _ipv6_route,
    "nf_conntrack": conntrack_text.proc_file,
    "netstat": lambda host: snmp.proc_text(host, snmp.NETSTAT),
    "raw": lambda host: _datagrams(host, "raw", AF_INET),
    "raw6": lambda host: _datagrams(host, "raw", AF_INET6),
    "route": _route,
    "snmp": lambda host: snmp.proc_text(host, snmp.SNMP),
    "snmp6": _snmp6,
    "sockstat": _sockstat,
    "sockstat6": _sockstat6,
    "tcp": lambda host: _tcp(host, AF_INET),
    "tcp6": lambda host: _tcp(host, AF_INET6),
    "udp": lambda host: _datagrams(host, "udp", AF_INET),
    "udp6": lambda host: _datagrams(host, "udp", AF_INET6),
    "unix": _unix,
}
