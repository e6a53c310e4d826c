"""What rules cost: UDP datagrams a second through a router, with no rule, 1, 10, 100 and with connection tracking.

    python benchmarks/netfilter.py [ROUNDS]

A frame is put on the router's left wire and leaves by its right one; no program runs, so that what is measured is the
router: its device, its rules, its route, two links. The variants take turns in one process, round by round; each
ratio is to the router without rules in the same round. None of the rules matches, so that all of them are asked.
"""

from __future__ import annotations

import statistics
import sys
import time

import lunar
import weaves
from lunar.packet import AF_INET, UdpDatagram

PACKETS = 20_000
SRC, DST = 0x0A00_0002, 0x0A00_0102


def rules(count: int) -> list[str]:
    """As many rules as people write: addresses, ports, lists of ports."""
    kinds = (
        "-s 10.9.{}.0/24 -j DROP", "-p tcp --dport {} -j ACCEPT", "-p udp --dport {} -j DROP", "-i ppp{} -j DROP",
        "-p udp -m multiport --dports {},7000 -j DROP",
    )  # fmt: skip
    return ["iptables -A FORWARD " + kinds[number % len(kinds)].format(number + 1) for number in range(count)]


VARIANTS = {
    "no rule": [],
    "1 rule": rules(1),
    "10 rules": rules(10),
    "100 rules": rules(100),
    "tracking": ["iptables -A FORWARD -m state --state ESTABLISHED,NEW -j ACCEPT"],
    "tracking and MASQUERADE": ["iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE"],
}


class Router:
    """A router with some rules, between two hosts that drop what they get."""

    def __init__(self, commands: list[str]) -> None:
        self.net = lunar.Network(seed=1)
        self.router = self.net.host("router", "10.0.0.1/24")
        left = self.net.host("left", "10.0.0.2/24")
        right = self.net.host("right", "10.0.1.2/24")
        second = self.router.add_device([(0x0A00_0101, 24)])
        self.net.link(left, self.router)
        self.net.link(right, second)
        self.router.sh("sysctl -w net.ipv4.ip_forward=1")
        self.source = left.devices["eth0"]
        self.sink = right.devices["eth0"]
        for command in commands:
            self.router.sh(command)

    def seconds(self) -> float:
        """How long PACKETS datagrams take."""
        mac = self.router.devices["eth0"].mac
        before = self.sink.rx_packets
        started = time.perf_counter()
        for _ in range(PACKETS // 100):
            for _ in range(100):
                packet = UdpDatagram(AF_INET, SRC, DST, 4000, 9, b"x" * 64)
                packet.size_bytes = 92
                packet.eth_dst = mac
                self.source.transmit(packet)
            self.net.run(until=self.net.now + 0.001)
        taken = time.perf_counter() - started
        assert self.sink.rx_packets - before == PACKETS, "datagrams were lost"
        return taken


def main(rounds: int) -> None:
    """Print a row for each variant."""
    print(f"{'compiled' if weaves.COMPILED else 'interpreted'}, {PACKETS} datagrams a round, {rounds} rounds")
    routers = {name: Router(commands) for name, commands in VARIANTS.items()}
    for router in routers.values():
        router.seconds()
    taken: dict[str, list[float]] = {name: [] for name in routers}
    for _ in range(rounds):
        for name, router in routers.items():
            taken[name].append(router.seconds())
    for name, times in taken.items():
        ratio = statistics.median(one / base for one, base in zip(times, taken["no rule"], strict=True))
        print(f"{name:24} {PACKETS / statistics.median(times):10,.0f} datagrams/s   {ratio:5.2f} times as long")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
