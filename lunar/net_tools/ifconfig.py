"""ifconfig(8): show devices, set address, MTU, up and down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunar.net.device import Device
from lunar.net_tools.errors import CommandError, parsed
from lunar.packet import AF_INET
from lunar.wire.address import ipv4_text, network_mask, parse_ipv4
from lunar.wire.ethernet import mac_text

if TYPE_CHECKING:
    from lunar.host import Host


def run(host: Host, words: list[str]) -> str:
    """`ifconfig`, `ifconfig DEV`, `ifconfig DEV [ADDRESS[/LEN]] [netmask M] [mtu N] [[-]arp] [up|down]`."""
    if not words or words == ["-a"]:
        return "\n".join(_show(device) for device in host.ip.devices)
    device = host.devices.get(words[0])
    if device is None:
        raise CommandError(f"ifconfig: {words[0]}: no such device; {host.name} has {', '.join(host.devices)}")
    if len(words) == 1:
        return _show(device)
    _change(host, device, words[1:])
    return ""


def _change(host: Host, device: Device, rest: list[str]) -> None:
    address = prefix = mtu = up = asks = None
    while rest:
        word = rest.pop(0)
        if word in ("up", "down"):
            up = word == "up"
        elif word in ("arp", "-arp"):
            asks = word == "arp"
        elif word in ("mtu", "netmask"):
            if not rest:
                raise CommandError(f"ifconfig: {word}: a value is missing")
            value = rest.pop(0)
            if word == "mtu":
                mtu = parsed(int, value, "an MTU")
                if not 68 <= mtu <= 65535:
                    raise CommandError(f"ifconfig: mtu {value}: expected 68 to 65535")
            else:
                prefix = prefix_of_mask(parsed(parse_ipv4, value, "a netmask"))
        elif address is None and word[:1].isdigit():
            text, slash, length = word.partition("/")
            address = parsed(parse_ipv4, text, "an IPv4 address")
            if slash:
                prefix = prefix_length(length, "ifconfig")
        else:
            raise CommandError(
                f'ifconfig: "{word}" is not supported; expected an address, netmask, mtu, [-]arp, up or down'
            )
    if address is None and prefix is not None:
        raise CommandError("ifconfig: a netmask without an address")
    # All words are good: only now does anything change.
    if up is not None:
        host.set_up(device, up)
    if asks is not None:
        host.set_arp(device, asks)
    if mtu is not None:
        device.mtu = mtu
    if address is not None:
        host.replace_address(device, address, class_prefix(address) if prefix is None else prefix)


def prefix_length(text: str, tool: str) -> int:
    """The prefix length that `text` says. Raises CommandError."""
    prefix = parsed(int, text, "a prefix length")
    if not 0 <= prefix <= 32:
        raise CommandError(f"{tool}: /{text}: expected a prefix length from 0 to 32")
    return prefix


def class_prefix(address: int) -> int:
    """The prefix length of the address's class (RFC 791), which the real tools take when none is given."""
    first = address >> 24
    return 8 if first < 128 else 16 if first < 192 else 24


def prefix_of_mask(mask: int) -> int:
    """The prefix length of a netmask. Raises CommandError for one with holes."""
    for prefix in range(33):
        if network_mask(prefix) == mask:
            return prefix
    raise CommandError(f'"{ipv4_text(mask)}" is not a netmask')


def _show(device: Device) -> str:
    flags = "UP,LOOPBACK,RUNNING" if device.name == "lo" else "UP,BROADCAST,RUNNING,MULTICAST"
    lines = [f"{device.name}: flags=<{flags if device.up else flags[3:]}>  mtu {device.mtu}"]
    lines += [
        f"        inet {ipv4_text(own.address)}  netmask {ipv4_text(network_mask(int(own.prefix)))}"
        for own in device.addresses
        if own.family == AF_INET
    ]
    if device.name != "lo":
        lines.append(f"        ether {mac_text(device.mac)}")
    lines.append(f"        RX packets {device.rx_packets}  bytes {device.rx_bytes}  dropped {device.rx_dropped}")
    lines.append(f"        TX packets {device.tx_packets}  bytes {device.tx_bytes}  dropped {device.tx_dropped}")
    return "\n".join(lines) + "\n"
