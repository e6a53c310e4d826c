"""Neighbour discovery: who has an IPv6 address on this link, asked and answered, by ICMPv6. RFC 4861 section 7.

The table and its states are neighbor.py's, the same as for IPv4. What routers tell is in router_discovery.py, how a
device gets its addresses, and that nobody else has them, in autoconf.py. What Linux does differently from the RFC we
do: a question for an address that is under test is answered by nothing, one from a neighbour without its hardware
address makes an entry that is asked for in its turn.
Left out: secure neighbour discovery, anycast addresses.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import icmp, source
from lunar.net.address import SCOPE_LINK, is_link_local
from lunar.net.device import Device
from lunar.net.group_output import route_by
from lunar.net.ip import LOCAL_OUT, Ip
from lunar.net.ip_output import emit
from lunar.net.neighbor import FAILED, NO_ADDRESS, REACHABLE, STALE, Neighbor, NeighborProtocol, Neighbors
from lunar.packet import AF_INET6, ICMP_HEADER_BYTES, IPV6_HEADER_BYTES, Frame, IcmpMessage, Packet
from lunar.wire import nd_option
from lunar.wire.address import family_of
from weaves.scheduler import Event

ROUTER_SOLICITATION: Final = 133
ROUTER_ADVERTISEMENT: Final = 134
NEIGHBOR_SOLICITATION: Final = 135
NEIGHBOR_ADVERTISEMENT: Final = 136
REDIRECT: Final = 137

# The second word of an advertisement (4.4).
IS_ROUTER: Final = 0x8000_0000
SOLICITED: Final = 0x4000_0000
OVERRIDE: Final = 0x2000_0000

ALL_NODES: Final = 0xFF02 << 112 | 1
ALL_ROUTERS: Final = 0xFF02 << 112 | 2
_SOLICITED_NODE: Final = 0xFF02 << 112 | 0x1_FF00_0000

_HUNDREDTH_NS: Final = 10_000_000  # the unit of proxy_delay
_HOP_LIMIT: Final = 255  # so that it cannot have come from beyond a router (3.1)
_ADDRESS_BYTES: Final = 16


def solicited_node(address: int) -> int:
    """The group in which whoever has `address` is asked for it (RFC 4291, 2.7.1)."""
    return _SOLICITED_NODE | (address & 0xFF_FFFF)


def _is_good(target: int) -> bool:
    """Whether a message can be about this address: one host's, and not of ::/96, whose numbers are IPv4's here."""
    return target >> 120 != 0xFF and family_of(target) == AF_INET6


class Tester:
    """Who knows of addresses that are under test, as this file sees it: autoconf.py."""

    def is_tested(self, device: Device, address: int) -> bool:
        """Whether `device` tests `address` now, or has found that another has it."""
        raise NotImplementedError

    def heard_test(self, device: Device, address: int, nonce: bytes) -> None:
        """Another tests it too; `nonce` is what it has drawn, b"" for nothing."""
        raise NotImplementedError

    def heard_owner(self, device: Device, address: int) -> None:
        """Another has it."""
        raise NotImplementedError

    def heard_router(self, message: IcmpMessage, device: Device) -> None:
        """A router advertises."""
        raise NotImplementedError

    def is_no_router(self, device: Device, address: int) -> None:
        """A neighbour that was a router has told that it is none any more."""
        raise NotImplementedError

    def router_answers(self, device: Device, address: int, answers: bool) -> None:
        """A neighbour that is a router does not answer any more, or does again."""
        raise NotImplementedError


@final
class Ndisc(NeighborProtocol):
    """Neighbour discovery of one host."""

    def __init__(self, ip: Ip, tester: Tester) -> None:
        self.ip: Ip = ip
        self.tester: Tester = tester
        self.table: Neighbors = Neighbors(ip, AF_INET6, self)
        self.delayed: i64 = 0  # answers in others' place that wait for their time

    # Asking

    def solicit(self, entry: Neighbor, mac: i64, waiting: Packet | None) -> None:
        device = entry.device
        src = self._source(device, entry.address, waiting)
        if src == 0:
            return
        dst = solicited_node(entry.address) if mac == NO_ADDRESS else entry.address
        self.ask(device, src, entry.address, dst, b"")

    def _source(self, device: Device, target: int, waiting: Packet | None) -> int:
        """In whose name we ask: the waiting packet's source if it is the device's own, else its link-local address."""
        if waiting is not None and device.has_address(waiting.src):
            return waiting.src
        first: int = 0
        for own in device.addresses:
            if own.family == AF_INET6:
                if own.scope == SCOPE_LINK:
                    return own.address
                if first == 0:
                    first = own.address
        return first

    def unreachable(self, packet: Packet) -> None:
        icmp.send_error(self.ip, packet, icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0)

    def router_answers(self, entry: Neighbor, answers: bool) -> None:
        self.tester.router_answers(entry.device, entry.address, answers)

    # Sending

    def ask(self, device: Device, src: int, target: int, dst: int, nonce: bytes) -> None:
        """A neighbour solicitation (4.3). Without a source (0) it tests whether anybody has `target`."""
        body = target.to_bytes(_ADDRESS_BYTES, "big")
        if src:
            body += nd_option.address_option(nd_option.SOURCE_ADDRESS, device.mac)
        if nonce:
            body += nd_option.option(nd_option.NONCE, nonce)
        self.send(device, src, dst, NEIGHBOR_SOLICITATION, 0, body)

    def tell(self, device: Device, dst: int, target: int, flags: i64, with_mac: bool) -> None:
        """A neighbour advertisement (4.4)."""
        body = target.to_bytes(_ADDRESS_BYTES, "big")
        if with_mac or device.inet6.force_tllao != 0:
            body += nd_option.address_option(nd_option.TARGET_ADDRESS, device.mac)
        src = target if device.has_address(target) else source.select(self.ip, device, dst)
        self.send(device, src, dst, NEIGHBOR_ADVERTISEMENT, flags, body)

    def ask_routers(self, device: Device, src: int) -> None:
        """A router solicitation (4.1)."""
        body = nd_option.address_option(nd_option.SOURCE_ADDRESS, device.mac) if src else b""
        self.send(device, src, ALL_ROUTERS, ROUTER_SOLICITATION, 0, body)

    def send(self, device: Device, src: int, dst: int, type: i64, rest: i64, body: bytes) -> None:
        """Send a message by `device`."""
        ip = self.ip
        message = IcmpMessage(AF_INET6, src, dst, type, 0, rest, body)
        message.ttl = _HOP_LIMIT
        message.tos = device.inet6.ndisc_tclass
        message.size_bytes = IPV6_HEADER_BYTES + ICMP_HEADER_BYTES + len(body)
        counters = ip.inet6.counters
        counters.icmp_out_msgs += 1
        counters.ip_out_requests += 1
        filter = ip.filter
        if filter is not None and not filter.passes(LOCAL_OUT, message, None, device):
            return
        emit(ip, message, route_by(device, AF_INET6, dst, src))

    # Hearing

    def receive(self, frame: Frame, device: Device) -> None:
        """A message of types 133 to 137 that is for this host. What is not as it must be is dropped (6.1, 7.1, 8.1)."""
        if not isinstance(frame, IcmpMessage) or frame.ttl != _HOP_LIMIT or frame.code != 0:
            return
        type: i64 = frame.type
        if type == NEIGHBOR_SOLICITATION:
            self._heard_question(frame, device)
        elif type == NEIGHBOR_ADVERTISEMENT:
            self._heard_answer(frame, device)
        elif type == ROUTER_SOLICITATION:
            self._heard_router_question(frame, device)
        elif type == ROUTER_ADVERTISEMENT:
            if is_link_local(frame.src):
                self.tester.heard_router(frame, device)
        elif type == REDIRECT:
            self._heard_redirect(frame, device)

    def _heard_question(self, message: IcmpMessage, device: Device) -> None:
        """7.2.3, and RFC 4862 (5.4.3)."""
        body = message.payload
        if len(body) < _ADDRESS_BYTES:
            return
        target = int.from_bytes(body[:_ADDRESS_BYTES], "big")
        options = nd_option.parse(body[_ADDRESS_BYTES:])
        if options is None or not _is_good(target):
            return
        src = message.src
        mac: i64 = nd_option.mac_of(options, nd_option.SOURCE_ADDRESS)
        tests: bool = src == 0
        if tests and (message.dst >> 24 != _SOLICITED_NODE >> 24 or nd_option.first(options, 1) is not None):
            return
        if self.tester.is_tested(device, target):
            if tests:
                nonce = nd_option.first(options, nd_option.NONCE)
                self.tester.heard_test(device, target, nonce if nonce is not None else b"")
            return
        if not device.arp:
            return
        own: bool = device.has_address(target)
        if not own and not self._is_proxy_for(target, device):
            return
        to_group: bool = self.ip.is_multicast(message.dst)
        if not own and to_group and not tests and device.inet6.neigh_proxy_delay != 0:
            self._answer_later(device, src, target, mac)
            return
        self.answer(device, src, target, mac, own, to_group)

    def answer(self, device: Device, src: int, target: int, mac: i64, own: bool, to_group: bool) -> None:
        """Answer the question of `src`, 0 for one that tests."""
        # Whether another is a router, who answers in its place is not asked here (`ip neigh add proxy ... router`).
        flags: i64 = IS_ROUTER if own and device.inet6.forwarding != 0 else 0
        if src == 0:
            self.tell(device, ALL_NODES, target, flags | (OVERRIDE if own else 0), True)
            return
        table = self.table
        entry: Neighbor | None
        if mac == NO_ADDRESS and to_group:
            entry = table.find(device, src)
        else:
            entry = table.make(device, src)
        if entry is not None:
            if mac != NO_ADDRESS:
                table.update(entry, mac, STALE, True)
            self.tell(device, src, target, flags | SOLICITED | (OVERRIDE if own and to_group else 0), to_group)

    def _is_proxy_for(self, target: int, device: Device) -> bool:
        """Whether we answer for another's address (7.2.8): proxy_ndp, for what `ip neigh add proxy` has named."""
        conf = device.inet6
        return conf.forwarding != 0 and conf.proxy_ndp != 0 and self.table.is_proxy_for(target, device)

    def _answer_later(self, device: Device, src: int, target: int, mac: i64) -> None:
        """Whoever has the address itself is to be first."""
        if self.delayed >= device.inet6.neigh_proxy_qlen:
            return
        self.delayed += 1
        late = DelayedAnswer(self, device, src, target, mac)
        delay = int(device.inet6.neigh_proxy_delay * _HUNDREDTH_NS)
        self.ip.scheduler.post(late, self.ip.lane, self.ip.scheduler.now_ns + self.ip.rng.randrange(delay))

    def _heard_answer(self, message: IcmpMessage, device: Device) -> None:
        """7.2.5."""
        body = message.payload
        if len(body) < _ADDRESS_BYTES:
            return
        target = int.from_bytes(body[:_ADDRESS_BYTES], "big")
        options = nd_option.parse(body[_ADDRESS_BYTES:])
        flags: i64 = message.rest
        if options is None or not _is_good(target):
            return
        if flags & SOLICITED:
            if self.ip.is_multicast(message.dst):
                return
        elif device.inet6.drop_unsolicited_na != 0:
            return
        if self.tester.is_tested(device, target):
            self.tester.heard_owner(device, target)
            return
        if device.has_address(target) or not device.arp:
            return
        entry = self.table.find(device, target)
        if entry is None or entry.state == FAILED:
            return
        mac: i64 = nd_option.mac_of(options, nd_option.TARGET_ADDRESS)
        was_router = entry.is_router
        state: i64 = REACHABLE if flags & SOLICITED else STALE
        if self.table.update(entry, mac, state, flags & OVERRIDE != 0, True):
            entry.is_router = flags & IS_ROUTER != 0
        if was_router and not entry.is_router:
            self.tester.is_no_router(device, target)

    def _heard_router_question(self, message: IcmpMessage, device: Device) -> None:
        """6.2.6: a host that asks for routers tells its hardware address, too. The answer is a program's work."""
        options = nd_option.parse(message.payload)
        if options is None or device.inet6.forwarding == 0 or message.src == 0 or not device.arp:
            return
        mac: i64 = nd_option.mac_of(options, nd_option.SOURCE_ADDRESS)
        if mac == NO_ADDRESS:
            return
        entry = self.table.make(device, message.src)
        if entry is not None and self.table.update(entry, mac, STALE, True):
            entry.is_router = False

    def _heard_redirect(self, message: IcmpMessage, device: Device) -> None:
        """8.3, as far as neighbours go; what becomes of the route is in redirect.py."""
        body = message.payload
        if len(body) < 2 * _ADDRESS_BYTES or not is_link_local(message.src) or not device.arp:
            return
        options = nd_option.parse(body[2 * _ADDRESS_BYTES :])
        if options is None or device.inet6.accept_redirects == 0 or device.inet6.forwarding != 0:
            return
        target = int.from_bytes(body[:_ADDRESS_BYTES], "big")
        dst = int.from_bytes(body[_ADDRESS_BYTES : 2 * _ADDRESS_BYTES], "big")
        mac: i64 = nd_option.mac_of(options, nd_option.TARGET_ADDRESS)
        if mac == NO_ADDRESS or (target != dst and not is_link_local(target)) or not _is_good(dst):
            return
        entry = self.table.make(device, target)
        if entry is not None and self.table.update(entry, mac, STALE, True) and target != dst:
            entry.is_router = True

    def learn_router(self, device: Device, src: int, options: list[tuple[int, bytes]]) -> None:
        """What an advertisement says of its sender as a neighbour (6.3.4)."""
        if not device.arp:
            return
        entry = self.table.make(device, src)
        if entry is None:
            return
        mac: i64 = nd_option.mac_of(options, nd_option.SOURCE_ADDRESS)
        if mac == NO_ADDRESS or self.table.update(entry, mac, STALE, True):
            entry.is_router = True


@final
class DelayedAnswer(Event):
    """An answer in another's place, at its time."""

    def __init__(self, ndisc: Ndisc, device: Device, src: int, target: int, mac: i64) -> None:
        super().__init__()
        self.ndisc: Ndisc = ndisc
        self.device: Device = device
        self.src: int = src
        self.target_address: int = target
        self.mac: i64 = mac

    def fire(self) -> None:
        self.ndisc.delayed -= 1
        self.ndisc.answer(self.device, self.src, self.target_address, self.mac, False, True)
