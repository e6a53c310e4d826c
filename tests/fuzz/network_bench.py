"""A host that is all that the network layer knows, for the fuzzer: router, NAT, IPv6 node, member of groups.

By eth0 fuzzed frames come, and what it sends there is swallowed; eth1 leads to a friend, whose pings through the host's
NAT must go on. Tables must stay bounded, and be empty when everything has had its time.
"""

from __future__ import annotations

import random
import socket
import struct
from typing import Any

from invariants import Broken, require
from network_frames import HOST4, PREFIX6, NetworkFrames

from lunar.links.impairments import Impairment
from lunar.network import Network
from lunar.packet import AF_INET, AF_INET6, Frame, IcmpMessage, Packet
from lunar.wire import ethernet
from weaves.scheduler import IDLE, STOPPED

MS = 1_000_000

# How large things may become, whatever comes.
MOST_EVENTS = 20_000
MOST_NEIGHBORS = 1100  # gc_thresh3 and what is permanent
MOST_TRACKS = 600
MOST_HELD_BYTES = 300_000
MOST_ENTRIES = 4096  # peers, redirects, path MTUs

_SETTINGS = (
    "net.ipv4.ip_forward=1", "net.ipv4.conf.all.accept_source_route=1", "net.ipv4.conf.eth0.accept_source_route=1",
    "net.ipv4.conf.all.accept_redirects=1", "net.ipv4.conf.eth0.accept_redirects=1",
    "net.ipv4.conf.eth0.proxy_arp=1", "net.ipv4.icmp_echo_ignore_broadcasts=0", "net.ipv4.ipfrag_high_thresh=262144",
    "net.ipv6.ip6frag_high_thresh=262144", "net.netfilter.nf_conntrack_max=500",
)  # fmt: skip
# What differs from round to round.
_CHOICES = (
    ("net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.eth0.accept_ra=1"),
    ("net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.all.rp_filter=2"),
    ("net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_ratelimit=1000"),
    ("net.ipv4.conf.all.bc_forwarding=0", "net.ipv4.conf.all.bc_forwarding=1"),
    ("net.ipv4.ipfrag_max_dist=64", "net.ipv4.ipfrag_max_dist=1"),
)
_RULES = (
    "iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE",
    "iptables -t nat -A PREROUTING -i eth0 -p udp --dport 4000 -j DNAT --to-destination 10.1.0.2:53",
    "iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP",
    "iptables -A INPUT -p tcp --dport 81 -j REJECT",
    "ip6tables -A FORWARD -m conntrack --ctstate INVALID -j DROP",
    "ip6tables -A INPUT -p udp --dport 54 -j REJECT",
)
# Of every second round, in both families: what reads all that there is in a packet, and in one that is quoted.
_READERS = (
    "-j LOG --log-tcp-sequence --log-tcp-options --log-ip-options --log-uid --log-macdecode",
    "-m string --algo bm --string abc", "-p tcp --tcp-option 5", "-p tcp -m tcpmss --mss 1:500",
    "-p udp -m multiport --ports 1:500,700", "-m addrtype --src-type LOCAL --dst-type UNICAST",
    "-m conntrack --ctstate NEW,INVALID,SNAT --ctproto 6", "-m connlimit --connlimit-above 5",
    "-m hashlimit --hashlimit-upto 5/sec --hashlimit-mode srcip,dstport --hashlimit-name x --hashlimit-htable-max 100",
    "-p tcp --tcp-flags SYN,RST SYN -m statistic --mode random --probability 0.5 -j TCPMSS --set-mss 500",
)  # fmt: skip


class Swallow(Impairment):
    """Nobody is at the other end. What the host sends must have bytes that can be read, and fit the link."""

    def __init__(self) -> None:
        self.count = 0

    def drops(self, frame: Frame) -> bool:
        self.count += 1
        require(frame.size_bytes <= 1500, "a frame above the MTU was sent", frame.size_bytes)
        if self.count % 16 == 0 and isinstance(frame, Packet):
            data = ethernet.encode(frame)
            require(len(data) == 14 + frame.size_bytes, "a packet's size is wrong", len(data), frame.size_bytes)
            again = ethernet.frame_of(data)
            require(isinstance(again, Packet), "what was sent cannot be read", data.hex())
        return True


class NetworkBench:
    """The host and its friend."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        net = self.net = Network(seed=rng.getrandbits(30))
        self.scheduler = net.scheduler
        host = self.host = net.host("host", "10.0.0.1/24", "10.1.0.1/24")
        other, friend = net.host("other", "10.0.0.66/24"), net.host("friend", "10.1.0.2/24")
        self.friend = friend
        net.link(host, other, impairment=Swallow)
        net.link(host, friend, delay="1ms")
        host.sh("ip -6 addr add 2001:db8::1/64 dev eth0 nodad")
        host.sh("ip -6 addr add 2001:db8:0:1::1/64 dev eth1 nodad")
        host.sh("ip route add 99.0.0.0/16 via 10.0.0.9")
        for line in (*_SETTINGS, *(rng.choice(choices) for choices in _CHOICES)):
            host.sh(f"sysctl -w {line}")
        for rule in _RULES:
            host.sh(rule)
        if rng.random() < 0.5:
            for tool in ("iptables", "ip6tables"):
                for chain in ("PREROUTING", "FORWARD", "OUTPUT"):
                    for reader in _READERS:
                        host.sh(f"{tool} -t mangle -A {chain} {reader}")
        if rng.random() < 0.7:
            host.set_arp(host.devices["eth0"], True)
        friend.sh("ip route add default via 10.1.0.1")
        friend.sh("ip -6 addr add 2001:db8:0:1::2/64 dev eth0 nodad")
        friend.sh("ip -6 route add default via 2001:db8:0:1::1")
        self.device = host.devices["eth0"]
        local = [own.address for own in self.device.addresses if own.family == AF_INET6 and own.address >> 118 == 0x3FA]
        self.frames = NetworkFrames(rng, int(self.device.mac), local[0] if local else PREFIX6 | 1)
        self.arrived = 0
        self.pings = 0
        self.answers = 0
        self._open()

    def _open(self) -> None:
        """Programs that listen: UDP of both families, in groups, a raw socket of each protocol that matters."""
        host = self.host
        self.socks: list[Any] = []
        for family in (AF_INET, AF_INET6):
            sock = host.udp.create(family)
            require(sock.bind(0, 53 if family == AF_INET else 4000) == 0, "bind fails")
            sock.recverr = sock.recverr6 = True
            self.socks.append(sock)
            listener = host.tcp.create(family)
            require(listener.bind(0, 80 + (family == AF_INET6)) == 0 and listener.listen(4) == 0, "listen fails")
            self.socks.append(listener)
        stop = self.stop = []  # type: list[bool]

        def member() -> None:
            with (
                socket.socket(type=socket.SOCK_DGRAM) as sock,
                socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six,
            ):
                request = socket.inet_aton("239.1.2.3") + socket.inet_aton("10.0.0.1")
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
                group = socket.inet_pton(socket.AF_INET6, "ff05::9") + struct.pack("@I", 2)
                six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
                with (
                    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw,
                    socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw6,
                ):
                    import time

                    while not stop:
                        time.sleep(1)
                        for one in (raw, raw6):
                            one.setblocking(False)
                            try:
                                while True:
                                    one.recv(4000)
                            except OSError:
                                pass

        self.net.start(host, member)
        self.pass_time(10 * MS)

    def step(self) -> None:
        """One frame, then perhaps a ping of the friend's, and time."""
        rng = self.rng
        self.arrived += 1
        frame = ethernet.frame_of(self.frames.frame())
        frame.target = self.device
        frame.fire()
        draw = rng.getrandbits(6)
        if draw < 4:
            self._ping()
        if draw < 12:
            self.pass_time(rng.choice((0, MS, MS, 40 * MS, 300 * MS, 4000 * MS if draw < 6 else MS)))
        if draw == 13:
            self._read()

    def _ping(self) -> None:
        """The friend talks to the host itself, whatever the others do to it."""
        from lunar.net import ip_output

        echo = IcmpMessage(AF_INET, 0, HOST4, 8, 0, 0x7777_0000 | self.pings & 0xFFFF, b"friend")
        echo.size_bytes = 28 + 6
        self.friend.icmp.echo_waiter = self._answered
        if ip_output.send(self.friend.ip, echo, None) == 0:
            self.pings += 1

    def _answered(self, message: IcmpMessage) -> None:
        if message.type == 0 and message.payload == b"friend":
            self.answers += 1

    def _read(self) -> None:
        for sock in self.socks:
            if isinstance(getattr(sock, "queue", None), object) and hasattr(sock, "drop_queue"):
                while sock.recv(False) is not None:
                    pass
                sock.take_error()
                while sock.take_report() is not None:
                    pass

    def pass_time(self, ns: int) -> None:
        self._run(ns)
        self._bounded()

    def _run(self, ns: int) -> int:
        """Let so much time go by; the end of a program stops the scheduler on its way."""
        until = int(self.scheduler.now_ns) + ns
        while (reason := self.scheduler.run(until, 1 << 30)) == STOPPED:
            pass
        if reason == IDLE:
            self.scheduler.advance(until)
        return int(reason)

    def _bounded(self) -> None:
        """Nothing grows with what has come."""
        ip = self.host.ip
        events = self.scheduler.pending()
        require(events <= MOST_EVENTS, "the heap grows", events)
        for family in (ip.inet, ip.inet6):
            table: Any = family.neighbors
            if table is not None:
                require(table.count <= MOST_NEIGHBORS, "the table of neighbours grows", table.count)
        for device in ip.devices:
            require(len(device.neighbors or {}) <= 2 * MOST_NEIGHBORS, "a device's neighbours grow")
            require(len(device.addresses) <= 64, "a device's addresses grow", len(device.addresses))
        held: Any = ip.reassembly
        if held is not None:
            require(held.charged <= MOST_HELD_BYTES, "IPv4's fragments grow", held.charged)
            require(held.charged6 <= MOST_HELD_BYTES, "IPv6's fragments grow", held.charged6)
            require(len(held.sources) <= len(held.packets), "sources of fragments are left", len(held.sources))
        for name, table in (("peers", ip.peers), ("redirects", ip.route_changes.redirects), ("MTUs", ip.path_mtus)):
            require(len(table) <= MOST_ENTRIES, f"the table of {name} grows", len(table))
        require(len(ip.inet6.routes.all()) <= 2000, "the routes grow", len(ip.inet6.routes.all()))
        tracks = int(str(self.host.sysctl("net.netfilter.nf_conntrack_count")[0]))
        require(tracks <= MOST_TRACKS, "the table of connections grows", tracks)

    def finish(self) -> None:
        """Everything has its time: nothing is left but what is for ever, and each frame was counted somewhere."""
        for _ in range(3):
            self.pass_time(1000 * MS)
        require(self.answers >= self.pings // 2, "the friend is not answered", self.answers, self.pings)
        self.stop.append(True)
        self._read()
        for sock in self.socks:
            sock.close()
        self.pass_time(200_000 * MS)
        held: Any = self.host.ip.reassembly
        if held is not None:
            require(not held.packets and not held.sources, "fragments are left", len(held.packets))
            require(held.charged == held.charged6 == 0, "bytes of fragments are left", held.charged, held.charged6)
        # Five days: the longest time that conntrack keeps a connection, and a router its address in a host.
        for _ in range(12):
            reason = self._run(12 * 3600 * 1000 * MS)
        tracks = int(str(self.host.sysctl("net.netfilter.nf_conntrack_count")[0]))
        require(tracks <= 8, "connections are left", tracks)  # those of the friend's last words
        require(reason == IDLE or self.scheduler.pending() < 100, "events are left", self.scheduler.pending())
        eth0 = self.device
        require(eth0.rx_packets + eth0.rx_dropped >= self.arrived, "a frame was not counted by the device")

    def close(self) -> None:
        """Whatever state it is in: nothing of it runs any more."""
        for host in self.net.hosts.values():
            host.crash()
        self.net.close()


__all__ = ["Broken", "NetworkBench"]
