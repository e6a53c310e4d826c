"""ARP: who has an IPv4 address on this network, asked and answered. RFC 826, RFC 5227; Linux' choices by arp(7).

What is known of neighbours, and when it is asked for, is in neighbor.py, the same for both families. Whom we answer is
decided by net.ipv4.conf.DEV.arp_ignore, arp_filter and proxy_arp, what we believe by arp_accept and
drop_gratuitous_arp, in whose name we ask by arp_announce: Linux' ip-sysctl describes each.
Left out: other hardware than Ethernet, and to send an answer out of another device than the question's.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import icmp
from lunar.net.address import SCOPE_HOST, SCOPE_LINK
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.neighbor import NO_ADDRESS, REACHABLE, STALE, Neighbor, NeighborProtocol, Neighbors
from lunar.packet import AF_INET, BROADCAST_MAC, ArpMessage, Frame, Packet
from weaves.scheduler import Event

REQUEST: Final = 1
REPLY: Final = 2

_HUNDREDTH_NS: Final = 10_000_000  # the unit of locktime and proxy_delay


@final
class Arp(NeighborProtocol):
    """The ARP of one host."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.table: Neighbors = Neighbors(ip, AF_INET, self)
        self.delayed: i64 = 0  # answers in others' place that wait for their time

    # Asking

    def solicit(self, entry: Neighbor, mac: i64, waiting: Packet | None) -> None:
        device = entry.device
        source = self._source(device, entry.address, waiting)
        if source == 0:
            return
        message = ArpMessage(REQUEST, device.mac, source, 0, entry.address)
        message.eth_dst = BROADCAST_MAC if mac == NO_ADDRESS else mac
        device.transmit(message)

    def _source(self, device: Device, target: int, waiting: Packet | None) -> int:
        """In whose name we ask; 0 where there is none (arp_announce)."""
        announce: i64 = device.inet.arp_announce
        if waiting is not None and announce < 2:
            src = waiting.src
            if src in self.ip.local:
                if announce == 0:
                    return src
                for own in device.addresses:
                    if own.family == AF_INET and own.covers(src) and own.covers(target):
                        return src
        return self._own_for(device, target)

    def _own_for(self, device: Device, target: int) -> int:
        """An address of the device's, the first in the target's network if one is, or of any other device's."""
        first: int = 0
        for own in device.addresses:
            if own.family == AF_INET and own.scope <= SCOPE_LINK:
                if own.covers(target):
                    return own.address
                if first == 0:
                    first = own.address
        if first:
            return first
        for other in self.ip.devices:
            for own in other.addresses:
                if own.family == AF_INET and own.scope < SCOPE_HOST:
                    return own.address
        return 0

    def unreachable(self, packet: Packet) -> None:
        icmp.send_error(self.ip, packet, icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0)

    def announce(self, device: Device, address: int) -> None:
        """Tell everybody on the network that `address` is here: a gratuitous request (RFC 5227, section 3)."""
        message = ArpMessage(REQUEST, device.mac, address, 0, address)
        message.eth_dst = BROADCAST_MAC
        device.transmit(message)

    def announce_all(self, device: Device) -> None:
        """The device has come up: net.ipv4.conf.DEV.arp_notify."""
        if device.inet.arp_notify == 0 or not device.arp:
            return
        for own in device.addresses:
            if own.family == AF_INET:
                self.announce(device, own.address)

    # Answering

    def receive(self, frame: Frame, device: Device) -> None:
        """RFC 826, "packet reception"."""
        ip = self.ip
        if not isinstance(frame, ArpMessage) or (frame.operation != REQUEST and frame.operation != REPLY):
            device.rx_dropped += 1
            return
        sender = frame.sender_ip
        target = frame.target_ip
        conf = device.inet
        if target >> 28 == 14 or (target >> 24 == 127 and conf.route_localnet == 0):
            return
        if sender == 1 or target == 1:
            return  # 0.0.0.1 is nobody's; its number is ::1's
        if sender == target and conf.drop_gratuitous_arp != 0:
            return
        to_us: bool = frame.eth_dst == device.mac
        if frame.operation == REQUEST:
            if sender == 0:
                # RFC 5227 (2.1.1): whoever asks so wants to take the address; nothing is learned of it.
                if target in ip.local and not self._ignores(device, 0, target):
                    self._reply(device, frame.sender_mac, 0, target)
                return
            if not ip.is_martian(sender) and self._answers(frame, device, to_us):
                return
        self._believe(frame, device, to_us)

    def _answers(self, request: ArpMessage, device: Device, to_us: bool) -> bool:
        """Whether the request was for us to answer, in our own name or another's; then it has been dealt with."""
        ip = self.ip
        sender = request.sender_ip
        target = request.target_ip
        if target in ip.local:
            if self._ignores(device, sender, target) or self._filters(device, sender):
                return True
            if self.table.learn(device, sender, request.sender_mac) is not None:
                self._reply(device, request.sender_mac, sender, target)
            return True
        if not device.inet.forwarding:
            return False
        route = ip.inet.routes.lookup(target)
        if route is None:
            return False
        if route.device is not device:
            if device.inet.proxy_arp == 0 and not self.table.is_proxy_for(target, device):
                return False
        elif device.inet.proxy_arp_pvlan == 0 or sender == target:
            return False
        if self.table.learn(device, sender, request.sender_mac) is None:
            return True
        delay: i64 = device.inet.neigh_proxy_delay * _HUNDREDTH_NS
        if to_us or delay == 0:
            self._reply(device, request.sender_mac, sender, target)
        elif self.delayed < device.inet.neigh_proxy_qlen:
            # RFC 4861 (7.2.8) has it for IPv6, Linux for both: whoever has the address itself is to be first.
            self.delayed += 1
            later = DelayedReply(self, device, request.sender_mac, sender, target)
            ip.scheduler.post(later, ip.lane, ip.scheduler.now_ns + ip.rng.randrange(int(delay)))
        return True

    def _reply(self, device: Device, mac: i64, asker: int, address: int) -> None:
        message = ArpMessage(REPLY, device.mac, address, mac, asker)
        message.eth_dst = mac
        device.transmit(message)

    def answer_late(self, late: DelayedReply) -> None:
        """The time of an answer in another's place has come."""
        self.delayed -= 1
        self._reply(late.device, late.mac, late.asker, late.address)

    def _ignores(self, device: Device, sender: int, target: int) -> bool:
        """net.ipv4.conf.DEV.arp_ignore."""
        mode: i64 = device.inet.arp_ignore
        if mode == 0:
            return False
        if mode == 8:
            return True
        if mode > 3:
            return False
        if mode == 3:
            for other in self.ip.devices:
                for own in other.addresses:
                    if own.address == target and own.scope < SCOPE_HOST:
                        return own.scope >= SCOPE_LINK
            return True
        for own in device.addresses:
            if own.family == AF_INET and own.address == target:
                return mode == 2 and sender != 0 and not own.covers(sender)
        return True

    def _filters(self, device: Device, sender: int) -> bool:
        """net.ipv4.conf.DEV.arp_filter: whether packets to `sender` would leave by another device."""
        if device.inet.arp_filter == 0:
            return False
        route = self.ip.inet.routes.lookup(sender)
        return route is None or route.device is not device

    def _believe(self, message: ArpMessage, device: Device, to_us: bool) -> None:
        """Learn of a neighbour that we know already, or that arp_accept says to believe."""
        sender = message.sender_ip
        if sender == 0 or sender in self.ip.local:
            return
        gratuitous: bool = sender == message.target_ip
        if gratuitous and message.operation == REPLY:
            gratuitous = message.target_mac == message.sender_mac
        table = self.table
        entry = table.find(device, sender)
        if entry is None:
            accept: i64 = device.inet.arp_accept
            if accept == 0 or (accept == 2 and not _covers(device, sender)):
                return
            if not gratuitous and not (message.operation == REPLY and not self.ip.is_martian(sender)):
                return
            entry = table.make(device, sender)
            if entry is None:
                return
        locked_ns: i64 = device.inet.neigh_locktime * _HUNDREDTH_NS
        override: bool = gratuitous or self.ip.scheduler.now_ns > entry.updated_ns + locked_ns
        # A broadcast answer, or a question, does not say that what we send arrives.
        state: i64 = REACHABLE if message.operation == REPLY and to_us else STALE
        table.update(entry, message.sender_mac, state, override)


@final
class DelayedReply(Event):
    """An answer in another's place, at its time."""

    def __init__(self, arp: Arp, device: Device, mac: i64, asker: int, address: int) -> None:
        super().__init__()
        self.arp: Arp = arp
        self.device: Device = device
        self.mac: i64 = mac
        self.asker: int = asker
        self.address: int = address

    def fire(self) -> None:
        self.arp.answer_late(self)


def _covers(device: Device, address: int) -> bool:
    for own in device.addresses:  # noqa: SIM110 - compiled, a loop needs no generator
        if own.family == AF_INET and own.covers(address):
            return True
    return False


def of(ip: Ip) -> Arp:
    """The host's ARP, made when a device first has it."""
    table = ip.inet.neighbors
    if not isinstance(table, Neighbors):
        made = Arp(ip)
        ip.inet.neighbors = made.table
        return made
    protocol = table.protocol
    assert isinstance(protocol, Arp), "IPv4's neighbours are asked for by ARP"
    return protocol
