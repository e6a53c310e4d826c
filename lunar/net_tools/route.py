"""route(8) of net-tools: show, add and delete routes of the main table. `ip route` says more of the same routes.

IPv6's are in route6.py. Names are not looked up: what is shown are addresses, as by `route -n`, and `default`. Left
out, and refused: `window`, `irtt`, `mod`, `dyn`, `reinstate`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from lunar.net.device import Device
from lunar.net.route import PROHIBIT, SCOPE_HOST, UNICAST, UNREACHABLE, Route
from lunar.net.rule import TABLE_MAIN
from lunar.net_tools import route6
from lunar.net_tools.errors import CommandError, parsed
from lunar.net_tools.ifconfig import class_prefix, prefix_length, prefix_of_mask
from lunar.wire.address import ipv4_text, network_mask, parse_ipv4

if TYPE_CHECKING:
    from lunar.host import Host

# A metric has 32 bits, and the tool's own argument one less.
_METRIC_MAX: Final = 0x7FFF_FFFF
# What a route's MSS leaves out of its MTU: headers of IP and TCP.
HEADERS_BYTES: Final = 40
_EXPECTED: Final = "gw, netmask, metric, mss, reject or dev"

_PLAIN: Final = "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface"
_EXTENDED: Final = "Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface"
_BOTH: Final = f"{_PLAIN}    MSS   Window irtt"


def run(host: Host, words: list[str]) -> str:
    """`route [-n] [-e|-ee] [-4|-6|-A inet|inet6]`, `route [-6] add|del [-net|-host] TARGET [netmask M] [gw G]
    [metric N] [mss N] [reject] [[dev] DEV]`.
    """
    rest = list(words)
    numeric, extended, inet6 = False, 0, False
    while rest and rest[0][:1] == "-" and rest[0] not in ("-net", "-host"):
        word = rest.pop(0)
        if word in ("-A", "--inet", "--inet6"):
            family = rest.pop(0) if word == "-A" and rest else word[2:]
            if family not in ("inet", "inet6"):
                raise CommandError(f'route: -A "{family}": expected inet or inet6')
            inet6 = family == "inet6"
        elif word in ("-4", "-6"):
            inet6 = word == "-6"
        elif word in ("--numeric", "--extend"):
            numeric, extended = numeric or word == "--numeric", extended + (word == "--extend")
        elif set(word[1:]) <= set("ne") and word != "-":
            numeric = numeric or "n" in word
            extended += word.count("e")
        else:
            raise CommandError(f'route: "{word}" is not supported; expected add, del, -n, -e, -4, -6 or -A')
    if not rest:
        return route6.show(host, numeric) if inet6 else show(host, numeric, extended)
    if rest[0] not in ("add", "del") or numeric or extended:
        wrong = rest[0] if rest[0] not in ("add", "del") else words[0]
        raise CommandError(f'route: "{wrong}" is not supported; expected add, del or -n')
    if inet6:
        return route6.change(host, rest[0] == "add", rest[1:])
    return _change(host, rest[0] == "add", rest[1:])


def _change(host: Host, add: bool, words: list[str]) -> str:
    kind = words.pop(0) if words and words[0] in ("-net", "-host") else ""
    if not words:
        raise CommandError("route: the target is missing; expected default, an address or a network")
    target = words.pop(0)
    network, prefix = _target(target, kind)
    gateway = 0
    metric = 0
    mss = 0
    reject = False
    device: Device | None = None
    while words:
        word = words.pop(0)
        if word in ("gw", "netmask", "metric", "dev", "mss"):
            if not words:
                raise CommandError(f"route: {word}: a value is missing")
            value = words.pop(0)
            if word == "gw":
                gateway = gateway_address(host, value, "route: gw")
            elif word == "netmask":
                if kind == "-host":
                    raise CommandError("route: netmask: a host has none")
                prefix = prefix_of_mask(parsed(parse_ipv4, value, "a netmask"))
            elif word == "metric":
                metric = parsed(int, value, "a metric")
                if not 0 <= metric <= _METRIC_MAX:
                    raise CommandError(f"route: metric {value}: expected 0 to {_METRIC_MAX}")
            elif word == "mss":
                mss = parsed(int, value, "an MSS")
                if not 64 <= mss <= 65536:
                    raise CommandError(f"route: mss {value}: expected 64 to 65536")
            else:
                device = _device(host, value)
        elif word == "reject":
            reject = True
        elif word in host.devices and not words:
            device = host.devices[word]
        else:
            raise CommandError(f'route: "{word}" is not supported; expected {_EXPECTED}')
    if network & ~network_mask(prefix):
        raise CommandError(f"route: {ipv4_text(network)}/{prefix}: the address has bits beyond its netmask")
    if not add:
        try:
            host.ip.inet.routes.remove(network, prefix, gateway, device, metric)
        except ProcessLookupError:
            raise CommandError(f"route: del {target}: there is no such route") from None
        return ""
    if reject:
        device = host.devices["lo"]
    elif gateway:
        device = _gateway_device(host, gateway, device)
    if device is None:
        raise CommandError(f"route: add {target}: a gateway (gw) or a device (dev) is missing")
    made = Route(network, prefix, gateway, device, metric, 0)
    made.advmss = max(0, mss - HEADERS_BYTES)
    if reject:
        made.type = UNREACHABLE
        made.scope = SCOPE_HOST
    try:
        host.ip.inet.routes.prepend(made)
    except FileExistsError:
        raise CommandError(f"route: add {target}: there is such a route already") from None
    return ""


def _gateway_device(host: Host, gateway: int, device: Device | None) -> Device:
    """The device on whose network the gateway is. Raises `CommandError`."""
    way = host.ip.inet.routes.lookup(gateway)
    if way is None or way.gateway:
        raise CommandError(f"route: gateway {ipv4_text(gateway)} is not in a network of {host.name}")
    if gateway in host.ip.local:
        raise CommandError(f"route: gateway {ipv4_text(gateway)} is {host.name} itself")
    if device is not None and device is not way.device:
        raise CommandError(f"route: gateway {ipv4_text(gateway)} is not in a network of {device.name}")
    return way.device


def _target(target: str, kind: str) -> tuple[int, int]:
    """(network, prefix length) of what stands after `add`."""
    if target == "default":
        return 0, 0
    address, slash, length = target.partition("/")
    network = parsed(parse_ipv4, address, "default, an address or a network")
    if slash:
        if kind == "-host":
            raise CommandError(f"route: -host {target}: a host has no prefix length")
        return network, prefix_length(length, "route")
    if network == 0:
        return 0, 0
    # Without a length, `-net` goes by the address's class, as the real tool does; otherwise it is one host.
    return network, class_prefix(network) if kind == "-net" else 32


def gateway_address(host: Host, word: str, where: str) -> int:
    """The address that `word` is, or the host of that name has. Raises `CommandError`, which begins with `where`."""
    try:
        return int(ipaddress.IPv4Address(word))
    except ValueError:
        found = [address for address in host.network.names.lookup(word) if address < 1 << 32]
        if not found:
            raise CommandError(f'{where} "{word}" is neither an address nor a host of the tapestry') from None
        # Of a router's several addresses, the one on a network of this host.
        for address in found:
            way = host.ip.inet.routes.lookup(address)
            if way is not None and not way.gateway:
                return address
        return found[0]


def _device(host: Host, name: str) -> Device:
    device = host.devices.get(name)
    if device is None:
        raise CommandError(f"route: {name}: no such device; {host.name} has {', '.join(host.devices)}")
    return device


# Showing


def in_order(host: Host) -> list[Route]:
    """The main table as /proc/net/route has it: by network, the longest prefix first, then by metric."""
    routes = [route for route in host.ip.inet.routes.all() if route.table == TABLE_MAIN]
    return sorted(routes, key=lambda route: (route.network, -int(route.prefix), -int(route.tos), int(route.metric)))


def show(host: Host, numeric: bool, extended: int) -> str:
    """The main table as a text; `extended` 1 has the MSS in place of the metric, 2 both."""
    lines = ["Kernel IP routing table", (_PLAIN, _EXTENDED, _BOTH)[min(extended, 2)]]
    for route in in_order(host):
        # Of several next hops only the first has a place in this table.
        refused = route.type in (UNREACHABLE, PROHIBIT)
        gateway = "-" if refused else ipv4_text(route.gateway)
        flags = ("!" if refused else "U") + ("G" if route.gateway else "") + ("H" if route.prefix == 32 else "")
        target = ipv4_text(route.network) if numeric or route.network or route.prefix else "default"
        device = "-" if refused else route.device.name if route.type == UNICAST else "*"
        mss = int(route.advmss) + HEADERS_BYTES if route.advmss else 0
        head = f"{target:<15} {gateway:<15} {ipv4_text(network_mask(int(route.prefix))):<15} {flags:<5} "
        plain = f"{int(route.metric):<6} {'-' if refused else 0}        0 {device}"
        if extended == 1:
            told = f"{'-':>5} {'-':<5} {'-':>6}" if refused else f"{mss:>5} {0:<5} {0:>6}"
            lines.append(f"{head}{told} {device}")
        elif extended:
            told = f"{'-':<5} {'-':<6} -" if refused else f"{mss:<5} {0:<6} 0"
            lines.append(f"{head}{int(route.metric):<6} {'-' if refused else 0}        0 {device:<8} {told}")
        else:
            lines.append(head + plain)
    return "\n".join(lines) + "\n"
