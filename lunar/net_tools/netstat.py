"""netstat(8) of net-tools: sockets, and by -r, -i, -g, -s what route, ifconfig, groups and counters tell.

Names of hosts are not looked up: addresses are shown, and names of services without -n. Left out, and refused: -c
(again and again), -M (masquerading; `conntrack -L` has it), -v.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar import services
from lunar.net_tools import route, route6
from lunar.net_tools.errors import CommandError
from lunar.net_tools.groups import memberships
from lunar.net_tools.ifconfig import entries, short_line
from lunar.net_tools.netstat_counters import counters
from lunar.net_tools.options import Options
from lunar.net_tools.seen import UNIX_TYPES, Look, Seen, unix_name
from lunar.packet import AF_INET, AF_INET6
from lunar.tcp.tcb import CLOSED, ESTABLISHED, LISTEN
from lunar.wire.address import address_text, ipv4_text, ipv6_text

if TYPE_CHECKING:
    from lunar.host import Host

_NAMES: Final = {
    "route": "r", "interfaces": "i", "groups": "g", "statistics": "s", "numeric": "n", "numeric-hosts": "n",
    "numeric-ports": "n", "extend": "e", "programs": "p", "program": "p", "timers": "o", "listening": "l", "all": "a",
    "tcp": "t", "udp": "u", "raw": "w", "unix": "x", "inet": "4", "inet6": "6", "wide": "W", "protocol": "A",
}  # fmt: skip
_STATES: Final = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE",
    8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip
# The columns of addresses are so wide; -W lets them be wider.
_ADDRESS: Final = 23


def run(host: Host, words: list[str]) -> str:
    """`netstat [-tuwx46] [-a|-l] [-n] [-e] [-p] [-o] [-W]`, `netstat -r|-i|-g|-s ...`."""
    options = Options("netstat", words, "rigsnepolatuwx46WA:", _NAMES)
    if options.operands:
        raise CommandError(f'netstat: "{options.operands[0]}" is more than is expected')
    if options.has("A") and options.text("A") not in ("inet", "inet6", "unix"):
        raise CommandError(f'netstat: -A "{options.text("A")}": expected inet, inet6 or unix')
    only6 = options.has("6") or options.text("A") == "inet6"
    if options.has("r"):
        numeric = options.has("n")
        return route6.show(host, numeric) if only6 else route.show(host, numeric, 2 if options.has("e") else 1)
    if options.has("i"):
        return _interfaces(host, options)
    if options.has("g"):
        return _groups(host, options)
    if options.has("s"):
        kinds = {name for name, letter in (("Tcp", "t"), ("Udp", "u"), ("Raw", "w")) if options.has(letter)}
        return counters(host, kinds, inet6=only6)
    return _sockets(host, options)


def _interfaces(host: Host, options: Options) -> str:
    text = "Kernel Interface table\n"
    text += "Iface             MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg\n"
    return text + "".join(
        short_line(device, name) for device, name in entries(host) if device.up or options.has("a")
    )


def _groups(host: Host, options: Options) -> str:
    text = "IPv6/IPv4 Group Memberships\nInterface       RefCnt Group\n--------------- ------ ---------------------\n"
    families = [family for family, letter in ((AF_INET, "4"), (AF_INET6, "6")) if options.has(letter)]
    for family in families or [AF_INET, AF_INET6]:
        for device in host.devices.values():
            for group, users in memberships(host, device, family):
                text += f"{device.name:<15} {users:<6} {address_text(family, group)}\n"
    return text


# Sockets


def _sockets(host: Host, options: Options) -> str:
    look = Look(host)
    kinds = [kind for kind, letter in (("tcp", "t"), ("udp", "u"), ("raw", "w")) if options.has(letter)]
    families = {AF_INET, AF_INET6}
    if options.has("4") != options.has("6") or options.has("A"):
        families = {AF_INET6 if options.has("6") or options.text("A") == "inet6" else AF_INET}
    unix = options.has("x") or options.text("A") == "unix"
    if not kinds and not unix:
        kinds, unix = ["tcp", "udp", "raw"], families == {AF_INET, AF_INET6}
    which = "servers and established" if options.has("a") else "only servers" if options.has("l") else "w/o servers"
    text = ""
    if kinds:
        text += f"Active Internet connections ({which})\n{_head(options)}\n"
        for kind in kinds:
            for seen in sorted(getattr(look, kind)(), key=lambda one: one.family):
                if seen.family in families and _is_wanted(seen, options):
                    text += f"{_line(seen, options)}\n"
    if unix:
        text += f"Active UNIX domain sockets ({which})\n"
        program = f"{'PID/Program name':<20} " if options.has("p") else ""
        text += f"Proto RefCnt Flags       Type       State         I-Node   {program}Path\n"
        for seen in look.unix():
            if options.has("a") or (seen.state == LISTEN) == options.has("l"):
                text += f"{_unix_line(seen, options)}\n"
    return text


def _is_wanted(seen: Seen, options: Options) -> bool:
    if options.has("a"):
        return True
    server = seen.state == LISTEN if seen.kind == "tcp" else not seen.remote_port
    return server == options.has("l")


def _head(options: Options) -> str:
    text = f"Proto Recv-Q Send-Q {'Local Address':<{_ADDRESS}} {'Foreign Address':<{_ADDRESS}} {'State':<11}"
    text += f" {'User':<10} {'Inode':<10}" if options.has("e") else ""
    text += f" {'PID/Program name':<20}" if options.has("p") else ""
    return text + (" Timer" if options.has("o") else "")


def _line(seen: Seen, options: Options) -> str:
    name = seen.kind + ("6" if seen.family == AF_INET6 else "")
    local = _end(seen, seen.local, seen.local_port, options)
    foreign = _end(seen, seen.remote, seen.remote_port, options)
    if seen.kind == "tcp":
        state = _STATES[seen.state]
    elif seen.kind == "udp":
        state = "ESTABLISHED" if seen.state == ESTABLISHED else ""
    else:
        state = str(CLOSED if seen.state == CLOSED else ESTABLISHED)
    # Of a listener the kernel's table has how many wait, and nothing to send.
    send_q = 0 if seen.state == LISTEN else seen.send_q
    text = f"{name:<5} {seen.recv_q:>6} {send_q:>6} {local:<{_ADDRESS}} {foreign:<{_ADDRESS}} {state:<11}"
    text += f" {0:<10} {seen.inode:<10}" if options.has("e") else ""
    text += f" {_program(seen):<20}" if options.has("p") else ""
    if options.has("o"):
        left = f"{max(0, seen.timer_ns) / 1e9:.2f}"
        text += f" {seen.timer[1] or 'off'} ({left}/{seen.timer_count}/0)"
    return text


def _program(seen: Seen) -> str:
    if not seen.users:
        return "-"
    name, pid, _ = seen.users[0]
    return f"{pid}/{name}"[:19]


def _end(seen: Seen, address: int, port: int, options: Options) -> str:
    mapped = seen.family == AF_INET or (seen.mapped and address)
    text = ipv4_text(address) if mapped else ipv6_text(address)
    shown = "*" if not port else str(port)
    if port and not options.has("n") and seen.kind != "raw":
        shown = services.name_of(port, seen.kind) or shown
    room = _ADDRESS - 1 - len(shown)
    return f"{text if options.has('W') else text[:room]}:{shown}"


def _unix_line(seen: Seen, options: Options) -> str:
    assert seen.sock is not None, "a Unix socket"
    flags = "[ ACC ]" if seen.state == LISTEN else "[ ]"
    kind = UNIX_TYPES.get(int(seen.sock.type), "UNKNOWN")
    state = {LISTEN: "LISTENING", ESTABLISHED: "CONNECTED"}.get(seen.state, "")
    program = f"{_program(seen):<20} " if options.has("p") else ""
    return f"{'unix':<5} {seen.refs:<6} {flags:<11} {kind:<10} {state:<13} {seen.inode:<8} {program}{unix_name(seen)}"
