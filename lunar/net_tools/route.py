"""route(8): show, add and delete IPv4 routes."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from lunar.net.device import Device
from lunar.net.route import Route
from lunar.net_tools.errors import CommandError, parsed
from lunar.net_tools.ifconfig import class_prefix, prefix_length, prefix_of_mask
from lunar.wire.address import ipv4_text, network_mask, parse_ipv4

if TYPE_CHECKING:
    from lunar.host import Host

# A metric has 32 bits, and the tool's own argument one less.
_METRIC_MAX: Final = 0x7FFF_FFFF


def run(host: Host, words: list[str]) -> str:
    """`route [-n]`, `route add|del [-net|-host] TARGET [netmask M] [gw G] [metric N] [[dev] DEV]`."""
    if not words or words == ["-n"]:
        return _show(host)
    if words[0] not in ("add", "del"):
        raise CommandError(f'route: "{words[0]}" is not supported; expected add, del or -n')
    return _change(host, words[0] == "add", words[1:])


def _change(host: Host, add: bool, words: list[str]) -> str:
    kind = words.pop(0) if words and words[0] in ("-net", "-host") else ""
    if not words:
        raise CommandError("route: the target is missing; expected default, an address or a network")
    target = words.pop(0)
    network, prefix = _target(target, kind)
    gateway = 0
    metric = 0
    device: Device | None = None
    while words:
        word = words.pop(0)
        if word in ("gw", "netmask", "metric", "dev"):
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
            else:
                device = _device(host, value)
        elif word in host.devices and not words:
            device = host.devices[word]
        else:
            raise CommandError(f'route: "{word}" is not supported; expected gw, netmask, metric or dev')
    if network & ~network_mask(prefix):
        raise CommandError(f"route: {ipv4_text(network)}/{prefix}: the address has bits beyond its netmask")
    if not add:
        try:
            host.ip.inet.routes.remove(network, prefix, gateway, device, metric)
        except ProcessLookupError:
            raise CommandError(f"route: del {target}: there is no such route") from None
        return ""
    if gateway:
        way = host.ip.inet.routes.lookup(gateway)
        if way is None or way.gateway:
            raise CommandError(f"route: gateway {ipv4_text(gateway)} is not in a network of {host.name}")
        if gateway in host.ip.local:
            raise CommandError(f"route: gateway {ipv4_text(gateway)} is {host.name} itself")
        if device is not None and device is not way.device:
            raise CommandError(f"route: gateway {ipv4_text(gateway)} is not in a network of {device.name}")
        device = way.device
    if device is None:
        raise CommandError(f"route: add {target}: a gateway (gw) or a device (dev) is missing")
    try:
        host.ip.inet.routes.add(Route(network, prefix, gateway, device, metric, 0))
    except FileExistsError:
        raise CommandError(f"route: add {target}: there is such a route already") from None
    return ""


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


def _show(host: Host) -> str:
    lines = [
        "Kernel IP routing table",
        "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface",
    ]
    for route in host.ip.inet.routes.all():
        if route.device.name == "lo":
            continue
        flags = "U" + ("G" if route.gateway else "") + ("H" if route.prefix == 32 else "")
        mask = ipv4_text(network_mask(int(route.prefix)))
        lines.append(
            f"{ipv4_text(route.network):<15} {ipv4_text(route.gateway):<15} {mask:<15} {flags:<5} {route.metric:<6} "
            f"0        0 {route.device.name}"
        )
    return "\n".join(lines) + "\n"
