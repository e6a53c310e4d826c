"""The addresses of a host's devices: how they are given and taken, and what comes and goes with them.

Routes to their networks, names, broadcast addresses, the neighbours of a device that goes down: what `ip addr`, `ip
link` and `ifconfig` set, and a boot. An address itself is lunar/net/address.py; those that IPv6 makes by itself are
lunar/net/autoconf.py's, which asks for them here by `AddressKeeper`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from lunar.host_files.tree import RESOLV_CONF
from lunar.net import arp, fib, listener
from lunar.net.address import (
    FOREVER,
    IFA_F_MANAGETEMPADDR,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFA_F_SECONDARY,
    SCOPE_LINK,
    Address,
    is_link_local,
)  # fmt: skip
from lunar.net.autoconf import Keeper
from lunar.net.device import Device
from lunar.net.neighbor import Neighbors
from lunar.net.route import PROTO_KERNEL, Route
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import address_text, network_mask
from weaves.scheduler import Call

if TYPE_CHECKING:
    from lunar.host import Host

_ADVERTISED: Final = "# as routers advertise\n"  # the first line of a resolv.conf that is theirs
# IP6_RT_PRIO_ADDRCONF: the metric of routes to a device's own IPv6 networks.
IPV6_KERNEL_METRIC: Final = 256


def forget_advertised(host: Host) -> None:
    """What rdnssd(8) has made of resolv.conf is in /run, and so is gone after a boot, until a router is heard again."""
    if (host.paths.text(RESOLV_CONF) or "").startswith(_ADVERTISED):
        host.paths.put(RESOLV_CONF, "")


class AddressKeeper(Keeper):
    """What the network layer asks of a host for the addresses that its devices make themselves."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def settle(self, device: Device, address: Address) -> None:
        settle(self.host, device, address)

    def withdraw(self, device: Device, address: Address) -> None:
        if address in device.addresses:
            remove(self.host, device, address)

    def name_servers(self) -> None:
        """As rdnssd(8): resolv.conf names those that routers advertise, unless it was written by hand."""
        paths = self.host.paths
        before = paths.text(RESOLV_CONF) or ""
        if before and not before.startswith(_ADVERTISED):
            return
        lines = [
            f"nameserver {address_text(AF_INET6, server)}{f'%{name}' if is_link_local(server) else ''}\n"
            for server, name in self.host.autoconf.name_servers()
        ]
        paths.put(RESOLV_CONF, "".join([_ADVERTISED, *lines]) if lines else "")


def add(host: Host, device: Device, address: int, prefix: int, at_once: bool = False) -> None:
    """Give `device` an address, with the route to its network, and the host's name to the address.

    It is an IPv6 address if it is 2**32 or more (lunar/wire/address.py). One of a device with `arp` is there when
    nobody else on the network has it (RFC 4862), unless it is to be there `at_once`.
    """
    made = Address(AF_INET if address < 1 << 32 else AF_INET6, address, prefix)
    if made.family == AF_INET and prefix < 31:
        made.broadcast = address | (~network_mask(prefix) & 0xFFFF_FFFF)
    assign(host, device, made, at_once)


def assign(host: Host, device: Device, made: Address, at_once: bool = False) -> None:
    """Give `device` the address `made`, as `add_address` does; `ip addr add` says more of it."""
    if made.family == AF_INET or device.name == "lo":
        settle(host, device, made)
    else:
        host.autoconf.add(device, made, at_once or made.flags & IFA_F_NODAD != 0)


def settle(host: Host, device: Device, made: Address) -> None:
    """`made` is the device's from now on.

    Of IPv4 one in a network that the device is in already is secondary; the others come behind those whose scope is
    as wide or wider, as on Linux.
    """
    at = len(device.addresses)
    if made.family == AF_INET6 and made.scope != SCOPE_LINK:
        # As on Linux those that reach farther come first.
        while at > 0 and _reaches_less(device.addresses[at - 1], made):
            at -= 1
    if made.family == AF_INET:
        if made.prefix < 31:
            # All ones are everybody, whether the address was given a broadcast address or not.
            host.ip.broadcasts[_all_ones(made)] = device
        if made.broadcast:
            host.ip.broadcasts[made.broadcast] = device
        if any(_is_primary_of(own, made) for own in device.addresses):
            made.flags |= IFA_F_SECONDARY
        else:
            at = 0
            for index, own in enumerate(device.addresses):
                if own.family == AF_INET and not own.flags & IFA_F_SECONDARY and own.scope >= made.scope:
                    at = index + 1
    device.addresses.insert(at, made)
    host.ip.local[made.address] = device
    host.ip.route_changes.changed()
    if device.up:
        _add_network_route(host, device, made)
    if made.scope != SCOPE_LINK or made.family == AF_INET:
        host.network.names.add(host.name, made.address)
    if made.valid_until_ns != FOREVER and not made.flags & IFA_F_MANAGETEMPADDR:
        host.scheduler.post(Call(_expire, (host, device, made)), host.lane, int(made.valid_until_ns))
    if host.boundary is not None:
        host.boundary.stack.configured()


def _expire(what: tuple[Host, Device, Address]) -> None:
    """The lifetime of an address is over, unless it was changed meanwhile."""
    host, device, own = what
    if own in device.addresses and own.valid_until_ns != FOREVER and own.valid_until_ns <= host.scheduler.now_ns:
        remove(host, device, own)


def renew(host: Host, device: Device, own: Address, valid_until_ns: int, preferred_until_ns: int) -> None:
    """Give an address of `device` other lifetimes, points of virtual time or FOREVER."""
    own.valid_until_ns = valid_until_ns
    own.preferred_until_ns = preferred_until_ns
    own.flags = own.flags | IFA_F_PERMANENT if valid_until_ns == FOREVER else own.flags & ~IFA_F_PERMANENT
    if valid_until_ns != FOREVER:
        host.scheduler.post(Call(_expire, (host, device, own)), host.lane, valid_until_ns)


def remove(host: Host, device: Device, old: Address) -> None:
    """Take an address from `device`, and with it the route to its network, if no other address is in that.

    The secondary ones of its network go with a primary IPv4 address, or (promote_secondaries) one becomes primary.
    """
    device.addresses.remove(old)
    # Another device may have the same one, as fe80::1 on each of a router's.
    other = next((one for one in host.ip.devices if one.has_address(old.address)), None)
    if other is None:
        host.ip.local.pop(old.address, None)
    else:
        host.ip.local[old.address] = other
    host.ip.route_changes.changed()
    if host.ip.filter is not None:
        host.ip.filter.lost(device, old.address)
    followers: list[Address] = []
    if old.family == AF_INET:
        for address in (old.broadcast, _all_ones(old)):
            _lose_broadcast(host, address)
        if not old.flags & IFA_F_SECONDARY:
            followers = [own for own in device.addresses if own.flags & IFA_F_SECONDARY and _same_network(own, old)]
    family = host.ip.family(old.family)
    if followers or not any(_same_network(own, old) for own in device.addresses):
        family.routes.remove_network(old.network(), int(old.prefix), device)
    if other is None:
        for table in fib.tables(family):
            table.remove_source(old.address)
    if old.scope != SCOPE_LINK or old.family == AF_INET:
        host.network.names.remove(host.name, old.address)
    if host.has_autoconf and old.family == AF_INET6:
        host.autoconf.removed(device, old)
    if followers and device.inet.promote_secondaries:
        heir = followers[0]
        heir.flags &= ~IFA_F_SECONDARY
        if device.up:
            _add_network_route(host, device, heir)
    else:
        for follower in followers:
            remove(host, device, follower)
    if host.boundary is not None:
        host.boundary.stack.configured()


def _lose_broadcast(host: Host, address: int) -> None:
    """An address that may have made `address` a broadcast has gone; perhaps others make it one, too."""
    for device in host.ip.devices:
        for own in device.addresses:
            if own.family == AF_INET and address and (
                own.broadcast == address or (own.prefix < 31 and _all_ones(own) == address)
            ):  # fmt: skip
                host.ip.broadcasts[address] = device
                return
    host.ip.broadcasts.pop(address, None)


def _add_network_route(host: Host, device: Device, own: Address) -> None:
    if own.flags & (IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE):
        return  # whether the network of an advertised prefix is on the link, its router says apart from this
    with contextlib.suppress(FileExistsError):  # a second address in the same network
        source = own.address if own.family == AF_INET else 0
        metric = 0 if own.family == AF_INET else IPV6_KERNEL_METRIC
        route = Route(own.network(), own.prefix, 0, device, metric, source, own.family)
        route.proto = PROTO_KERNEL
        host.ip.family(own.family).routes.add(route)


def rename(device: Device, name: str) -> None:
    """Give `device` another name, and its addresses labels that go with it."""
    old, device.name = device.name, name
    of_ipv4 = [own for own in device.addresses if own.family == AF_INET]
    for own in of_ipv4:
        # The first goes by the device's own name then, as on Linux.
        own.label = "" if own is of_ipv4[0] or not own.label else name + own.label.removeprefix(old)


def set_mac(host: Host, device: Device, mac: int) -> None:
    """Give `device` another hardware address; neighbours are told of it if arp_notify says so."""
    device.set_mac(mac)
    _forget_neighbors(host, device)
    if device.arp:
        arp.of(host.ip).announce_all(device)


def make_mac(host: Host, device: Device, mac: int) -> None:
    """Let `device` have the hardware address `mac` as if it had been made with it: IPv6 makes addresses of it, too."""
    interface = host.autoconf.find(device) if host.has_autoconf else None
    if interface is None:
        device.mac = mac
        return
    given = [own for own in device.addresses if own.family == AF_INET6 and own.scope != SCOPE_LINK]
    tests, asks = bool(interface.pending), interface.asks
    host.autoconf.disable(device)
    device.mac = mac
    host.autoconf.enable(device, not tests)
    for own in given:
        host.assign(device, own, at_once=True)
    if asks:
        host.autoconf.ask_for_routers(device)


def set_up(host: Host, device: Device, up: bool) -> None:
    """Take `device` up or down. Down, its routes are lost; up again, only those to its own networks are back."""
    if device.up == up:
        return
    device.up = up
    if up:
        for own in device.addresses:
            _add_network_route(host, device, own)
        if device.arp:
            arp.of(host.ip).announce_all(device)
        if host.has_autoconf:
            host.autoconf.came_up(device)
    else:
        if host.ip.filter is not None:
            host.ip.filter.lost(device, 0)
        if host.has_autoconf:
            host.autoconf.went_down(device)
        fib.device_down(host.ip, device)
        _forget_neighbors(host, device)
    if host.boundary is not None:
        host.boundary.stack.configured()
    listener.device_changed(host.ip, device)


def set_arp(host: Host, device: Device, on: bool) -> None:
    """Let `device` ask for its neighbours' hardware addresses and answer who asks, by ARP and neighbour discovery;
    or take what the medium tells at once (`ifconfig eth0 -arp`).
    """
    if device.arp and not on:
        _forget_neighbors(host, device)
    device.arp = on and device.name != "lo"
    if device.arp:
        arp.of(host.ip)


def _forget_neighbors(host: Host, device: Device) -> None:
    for family in (host.ip.inet, host.ip.inet6):
        if isinstance(family.neighbors, Neighbors):
            family.neighbors.flush(device)


def _all_ones(own: Address) -> int:
    """The address of everybody on an IPv4 address's network."""
    return own.address | (~network_mask(int(own.prefix)) & 0xFFFF_FFFF)


def _same_network(own: Address, other: Address) -> bool:
    return own.family == other.family and own.prefix == other.prefix and own.network() == other.network()


def _is_primary_of(own: Address, other: Address) -> bool:
    return not own.flags & IFA_F_SECONDARY and _same_network(own, other)


def _reaches_less(own: Address, other: Address) -> bool:
    return own.family == AF_INET6 and own.scope > other.scope
