"""A router between two hosts, for tests that send one packet and look at what leaves.

`left` (10.0.0.2, 2001:db8:1::2) and `right` (10.0.1.2, 2001:db8:2::2) are hosts that answer nothing; rules are given
to the `router` between them. `Bench.send` puts a packet on one of the wires and returns what the router sent.
"""

from __future__ import annotations

import lunar
from lunar.net.device import Device
from lunar.net.route import Route
from lunar.packet import (
    ACK,
    AF_INET,
    AF_INET6,
    ICMP,
    ICMPV6,
    SYN,
    Frame,
    IcmpMessage,
    Packet,
    TcpSegment,
    UdpDatagram,
    set_tcp_size,
)
from lunar.wire import inet
from lunar.wire.address import parse_address

LEFT, RIGHT, ROUTER = "10.0.0.2", "10.0.1.2", "10.0.0.1"
LEFT6, RIGHT6 = "2001:db8:1::2", "2001:db8:2::2"


def at(text: str) -> int:
    """The number of an address."""
    return parse_address(text)[1]


class Bench:
    """One router."""

    def __init__(self, *rules: str, seed: int = 1) -> None:
        self.net = lunar.Network(seed=seed)
        self.router = self.net.host("router", "10.0.0.1/24")
        self.left = self.net.host("left", "10.0.0.2/24")
        self.right = self.net.host("right", "10.0.1.2/24")
        second = self.router.add_device([(at("10.0.1.1"), 24)])
        self.net.link(self.left, self.router, delay="1us")
        self.net.link(self.right, second, delay="1us")
        for host, own, gateway in ((self.left, LEFT6, "2001:db8:1::1"), (self.right, RIGHT6, "2001:db8:2::1")):
            device = host.devices["eth0"]
            host.add_address(device, at(own), 64)
            host.ip.inet6.routes.add(Route(0, 0, at(gateway), device, 0, 0, AF_INET6))
        self.router.add_address(self.router.devices["eth0"], at("2001:db8:1::1"), 64)
        self.router.add_address(self.router.devices["eth1"], at("2001:db8:2::1"), 64)
        self.left.sh("route add default gw 10.0.0.1")
        self.right.sh("route add default gw 10.0.1.1")
        for host in (self.left, self.right):
            host.sh("iptables -P INPUT DROP")
            host.sh("ip6tables -P INPUT DROP")
        self.router.sh("sysctl -w net.ipv4.ip_forward=1")
        self.router.sh("sysctl -w net.ipv6.conf.all.forwarding=1")
        for device in self.router.devices.values():
            device.tap = self._see
        self.sent: list[Packet] = []
        self._seen = False
        self.run(0.1)
        self.rules(*rules)

    def _see(self, device: Device, frame: Frame) -> None:
        if frame.eth_src == device.mac and isinstance(frame, Packet) and device.name != "lo":
            copy = inet.copy(frame)
            copy.size_bytes = frame.size_bytes
            self.sent.append(copy)

    def rules(self, *rules: str) -> None:
        """Give the router rules; "iptables" is put before one that does not begin with a tool's name."""
        for rule in rules:
            self.router.sh(rule if rule.startswith("ip") or rule.startswith("sysctl") else f"iptables {rule}")

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.net.run(until=self.net.now + seconds)

    def send(self, packet: Packet, seconds: float = 0.001) -> list[Packet]:
        """Send `packet` from the left, or from the right if its source is there, and let time pass."""
        from_right = packet.src in (at(RIGHT), at(RIGHT6))
        device = (self.right if from_right else self.left).devices["eth0"]
        packet.eth_dst = self.router.devices["eth1" if from_right else "eth0"].mac
        self.sent.clear()
        device.transmit(packet)
        self.run(seconds)
        return list(self.sent)

    def passes(self, packet: Packet) -> bool:
        """Whether the router sends `packet` on."""
        dst = packet.dst
        return any(sent.dst == dst for sent in self.send(packet))

    def counters(self, chain: str = "FORWARD", table: str = "filter", tool: str = "iptables") -> list[tuple[int, int]]:
        """(packets, bytes) of each rule of a chain."""
        lines = self.router.sh(f"{tool}-save -c -t {table}").splitlines()
        counted = [line for line in lines if f"] -A {chain} " in line + " "]
        pairs = [line[1 : line.index("]")].split(":") for line in counted]
        return [(int(packets), int(octets)) for packets, octets in pairs]


def tcp(
    src: str = LEFT, dst: str = RIGHT, sport: int = 40000, dport: int = 80, flags: int = SYN, payload: bytes = b"",
    mss: int = 1460,
) -> TcpSegment:
    """A TCP segment, by default a SYN from left to right."""
    family, source = parse_address(src)
    made = TcpSegment(family, source, at(dst), sport, dport, 1000, 2000 if flags & ACK else 0, flags, 5000, payload)
    if flags & SYN:
        made.mss = mss
    set_tcp_size(made)
    return made


def udp(
    src: str = LEFT, dst: str = RIGHT, sport: int = 40000, dport: int = 53, payload: bytes = b"hello"
) -> UdpDatagram:
    """A UDP datagram."""
    family, source = parse_address(src)
    made = UdpDatagram(family, source, at(dst), sport, dport, payload)
    made.size_bytes = (20 if family == AF_INET else 40) + 8 + len(payload)
    return made


def ping(src: str = LEFT, dst: str = RIGHT, type: int = -1, code: int = 0, payload: bytes = b"x" * 8) -> IcmpMessage:
    """An echo request, or another message of ICMP or ICMPv6."""
    family, source = parse_address(src)
    echo = 8 if family == AF_INET else 128
    made = IcmpMessage(family, source, at(dst), echo if type < 0 else type, code, 7 << 16 | 1, payload)
    made.protocol = ICMP if family == AF_INET else ICMPV6
    made.size_bytes = (20 if family == AF_INET else 40) + 8 + len(payload)
    return made


def fragment(offset: int, more: bool, payload: bytes, protocol: int = 17) -> Packet:
    """A fragment of IPv4 from left to right; `offset` in bytes."""
    made = Packet(AF_INET, at(LEFT), at(RIGHT), protocol, payload)
    made.fragment_offset, made.more_fragments, made.ident = offset, more, 77
    made.size_bytes = 20 + len(payload)
    return made


__all__ = ["ACK", "LEFT", "LEFT6", "RIGHT", "RIGHT6", "ROUTER", "SYN", "Bench", "at", "fragment", "ping", "tcp", "udp"]
