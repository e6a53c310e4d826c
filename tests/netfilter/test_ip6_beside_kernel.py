"""ip6tables beside the machine's: the same rules and IPv6 packets, the same answers byte for byte, the same counters.

duel.py draws rules for IPv4; both families take one way through lunar/netfilter, so that here a rule of each kind will
do. Neighbour discovery and reports of groups, which the kernel's devices send by themselves, are not compared.
"""

from __future__ import annotations

import os
import select

import pytest
from bench import ACK, ping, tcp, udp
from routers import KernelRouter, LunarRouter, Sent, why_not

from lunar.packet import Packet
from lunar.wire import inet
from lunar.wire.address import parse_address

MISSING = why_not()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")

LEFT, RIGHT, OWN = "2001:db8:1::2", "2001:db8:2::2", "2001:db8:1::1"
ADDRESSES = {"ta": "2001:db8:1::1", "tb": "2001:db8:2::1"}
_TRIES = 4
# Router solicitation to redirect, and MLD's: the devices' own.
_OWN_TYPES = (130, 131, 132, 133, 134, 135, 136, 137, 143)


def marked(packet: Packet, **fields: int) -> Packet:
    for name, value in fields.items():
        setattr(packet, name, value)
    return packet


# Rules, and what comes in at which device.
CASES: dict[str, tuple[list[str], list[tuple[str, Packet]]]] = {
    "nothing": ([], [("ta", udp(LEFT, RIGHT)), ("ta", ping(LEFT, OWN)), ("tb", tcp(RIGHT, LEFT))]),
    "addresses": (
        ["-A FORWARD -s 2001:db8:1::/64 ! -d 2001:db8:2::3 -j DROP"],
        [("ta", udp(LEFT, RIGHT)), ("ta", udp(LEFT, "2001:db8:2::3")), ("tb", udp(RIGHT, LEFT))],
    ),
    "devices": (["-A FORWARD -i ta -o t+ -j DROP"], [("ta", udp(LEFT, RIGHT)), ("tb", udp(RIGHT, LEFT))]),
    "ports": (
        ["-A FORWARD -p tcp --dport 80 --syn -j DROP", "-A FORWARD -p udp -m multiport --ports 53,99 -j DROP"],
        [("ta", tcp(LEFT, RIGHT)), ("ta", tcp(LEFT, RIGHT, flags=ACK)), ("ta", udp(LEFT, RIGHT, dport=54))],
    ),
    "types": (
        ["-A FORWARD -p icmpv6 --icmpv6-type echo-request -j DROP", "-A INPUT -p icmpv6 --icmpv6-type 128/0"],
        [("ta", ping(LEFT, RIGHT)), ("ta", ping(LEFT, RIGHT, 129)), ("ta", ping(LEFT, OWN))],
    ),
    "hops": (
        ["-A FORWARD -m hl --hl-lt 9 -j DROP", "-t mangle -A PREROUTING -j HL --hl-dec 3"],
        [("ta", marked(udp(LEFT, RIGHT), ttl=12)), ("ta", marked(udp(LEFT, RIGHT), ttl=13))],
    ),
    "traffic class": (
        ["-t mangle -A FORWARD -m dscp --dscp 1 -j TOS --or-tos 3", "-t mangle -A POSTROUTING -j DSCP --set-dscp 5"],
        [("ta", marked(udp(LEFT, RIGHT), tos=4)), ("ta", marked(udp(LEFT, RIGHT), tos=8))],
    ),
    "length and string": (
        ["-A FORWARD -m length --length 53 -j DROP", "-A FORWARD -m string --string ell --algo bm --from 48 --to 52"],
        [
            ("ta", udp(LEFT, RIGHT)), ("ta", udp(LEFT, RIGHT, payload=b"hell")),
            ("ta", udp(LEFT, RIGHT, payload=b"xhell")),
        ],
    ),
    "refusals": (
        [
            "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
            "-A FORWARD -p udp --dport 1 -j REJECT --reject-with icmp6-adm-prohibited",
            "-A FORWARD -p udp --dport 2 -j REJECT --reject-with icmp6-policy-fail",
            "-A FORWARD -j REJECT",
        ],
        [
            ("ta", tcp(LEFT, RIGHT)), ("ta", tcp(LEFT, RIGHT, flags=ACK, payload=b"abc")),
            ("ta", udp(LEFT, RIGHT, dport=1)), ("ta", udp(LEFT, RIGHT, dport=2)), ("ta", ping(LEFT, RIGHT)),
        ],
    ),
    "states": (
        [
            "-A FORWARD -m state --state ESTABLISHED -j ACCEPT",
            "-A FORWARD -i ta -m conntrack --ctstate NEW --ctorigdst 2001:db8:2::/64 -j ACCEPT",
            "-A FORWARD -m state --state RELATED,INVALID,UNTRACKED", "-P FORWARD DROP",
        ],
        [
            ("tb", udp(RIGHT, LEFT, 53, 40000)), ("ta", udp(LEFT, RIGHT)), ("tb", udp(RIGHT, LEFT, 53, 40000)),
            ("ta", tcp(LEFT, RIGHT)), ("tb", tcp(RIGHT, LEFT, 80, 40000, 0x12)), ("ta", ping(LEFT, RIGHT)),
            ("tb", ping(RIGHT, LEFT, 129)),
        ],
    ),
    "marks": (
        [
            "-t mangle -A PREROUTING -p udp -j MARK --set-mark 6", "-t mangle -A PREROUTING -j CONNMARK --save-mark",
            "-A FORWARD -m mark --mark 6/4 -m connmark --mark 6 -j DROP",
        ],
        [("ta", udp(LEFT, RIGHT)), ("ta", ping(LEFT, RIGHT))],
    ),
    "mss": (
        ["-t mangle -A FORWARD -p tcp --syn -m tcpmss --mss 1000:2000 -j TCPMSS --set-mss 900"],
        [("ta", tcp(LEFT, RIGHT)), ("ta", tcp(LEFT, RIGHT, mss=950))],
    ),
    "kinds of addresses": (
        [
            "-A INPUT -m addrtype --dst-type LOCAL", "-A FORWARD -m addrtype --dst-type UNICAST",
            "-A FORWARD -m addrtype --src-type UNREACHABLE", "-A FORWARD -m addrtype --src-type UNICAST",
            "-A FORWARD -m addrtype --src-type UNICAST,LOCAL", "-A INPUT -m addrtype --dst-type UNICAST",
            "-A INPUT -m addrtype --dst-type UNICAST,LOCAL", "-A INPUT -m addrtype --dst-type UNREACHABLE,LOCAL",
            "-A INPUT -m addrtype --dst-type LOCAL,MULTICAST",
            "-A FORWARD -m addrtype ! --src-type UNREACHABLE,UNICAST",
            "-A INPUT -m addrtype --dst-type LOCAL --limit-iface-in", "-A FORWARD -m addrtype --dst-type UNSPEC",
            "-A FORWARD -m addrtype ! --dst-type UNSPEC", "-A FORWARD -m addrtype --src-type UNREACHABLE,LOCAL",
            "-A INPUT -m addrtype --dst-type ANYCAST",
        ],
        [
            ("ta", ping(LEFT, OWN)), ("ta", udp(LEFT, RIGHT)), ("ta", udp("2001:db8:9::1", RIGHT)),
            ("ta", ping(LEFT, "2001:db8:2::1")),
        ],
    ),
    "translation": (
        [
            "-t nat -A PREROUTING -p udp --dport 99 -j DNAT --to-destination [2001:db8:2::2]:53",
            "-t nat -A POSTROUTING -o tb -j MASQUERADE",
            "-t nat -A PREROUTING -d 2001:db8:3::/64 -j NETMAP --to 2001:db8:2::/64",
        ],
        [
            ("ta", udp(LEFT, OWN, dport=99)), ("tb", udp(RIGHT, "2001:db8:2::1", 53, 40000)),
            ("ta", tcp(LEFT, "2001:db8:3::2")), ("ta", ping(LEFT, RIGHT)),
        ],
    ),
    "untracked": (
        [
            "-t raw -A PREROUTING -p udp -j NOTRACK", "-A FORWARD -m state --state UNTRACKED",
            "-A FORWARD -m state --state NEW",
        ],
        [("ta", udp(LEFT, RIGHT)), ("ta", ping(LEFT, RIGHT))],
    ),
    "counting": (
        [
            "-A FORWARD -m statistic --mode nth --every 2 --packet 0 -j DROP",
            "-A FORWARD -m hashlimit --hashlimit-upto 1/min --hashlimit-burst 1 --hashlimit-mode srcip "
            "--hashlimit-srcmask 64 --hashlimit-name six",
        ],
        [
            ("ta", udp(LEFT, RIGHT)), ("ta", udp(LEFT, RIGHT)), ("ta", udp("2001:db8:1::3", RIGHT)),
            ("tb", udp(RIGHT, LEFT)),
        ],
    ),
}  # fmt: skip


class Pair:
    """Both routers with IPv6 addresses."""

    def __init__(self) -> None:
        self.kernel, self.lunar = KernelRouter(), LunarRouter()
        for setting in ("forwarding=1", "accept_ra=0", "accept_dad=0"):
            self.kernel.command(f"sysctl -qw net.ipv6.conf.all.{setting}")
        self.kernel.command("sysctl -qw net.ipv6.icmp.ratelimit=0")
        self.lunar.command("sysctl -w net.ipv6.conf.all.forwarding=1")
        self.lunar.command("sysctl -w net.ipv6.icmp.ratelimit=0")
        for name, address in ADDRESSES.items():
            self.kernel.command(f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=0")
            self.kernel.command(f"ip -6 addr add {address}/64 dev {name} nodad")
            self.lunar.host.add_address(self.lunar.host.devices[name], parse_address(address)[1], 64)
        self.lunar.network.run(until=5)  # what the devices do by themselves is over
        self.lunar.network.supervisor.scheduler.forget_stop()

        # The kernel puts its routes up in its own time; a ping comes back when they are.
        for name, source in (("ta", LEFT), ("tb", RIGHT)):
            probe = inet.encode(ping(source, ADDRESSES[name]))
            tries = 0
            while not _seen(self.kernel.send(name, probe)):
                tries += 1
                assert tries < 1000, "the kernel's router does not answer"
                select.select([self.kernel.devices[name].descriptor], [], [], 0.01)

    def rule(self, rule: str) -> None:
        self.kernel.command(f"ip6tables-legacy {rule}")
        self.lunar.command(f"ip6tables {rule}")

    def send(self, device: str, packet: Packet) -> tuple[list[str], list[str]]:
        data = inet.encode(packet)
        lunar = _seen(self.lunar.send(device, data))
        kernel = _seen(self.kernel.send(device, data))
        tries = 0
        while len(kernel) < len(lunar) and tries < 100:  # a busy machine's kernel does its work a little later
            tries += 1
            kernel = sorted(kernel + _seen(self._late()))
        return kernel, lunar

    def _late(self) -> Sent:
        """What the kernel's router sends within a hundredth of a second."""
        names = {device.descriptor: name for name, device in self.kernel.devices.items()}
        ready, _, _ = select.select(list(names), [], [], 0.01)
        return [(names[descriptor], os.read(descriptor, 70_000)) for descriptor in ready]

    def counters(self) -> tuple[list[str], list[str]]:
        saves = self.kernel.command("ip6tables-legacy-save -c"), self.lunar.command("ip6tables-save -c")
        kernel, lunar = ([line for line in save.splitlines() if line.startswith("[")] for save in saves)
        return sorted(kernel), sorted(lunar)

    def close(self) -> None:
        self.kernel.close()
        self.lunar.close()


def _seen(sent: Sent) -> list[str]:
    """What went out, without what the devices send by themselves and flow labels, which are drawn by chance."""
    return sorted(
        f"{name} {(data[:1] + bytes([data[1] & 0xF0]) + bytes(2) + data[4:]).hex()}"
        for name, data in sent
        if not (data[6] == 58 and data[40] in _OWN_TYPES) and data[6] != 0
    )


def _differences(name: str) -> list[tuple[list[str], list[str]]]:
    """What the kernel sends and counts beside what Lunar does, where that is not the same."""
    rules, packets = CASES[name]
    pair = Pair()
    try:
        for rule in rules:
            pair.rule(rule)
        both = [pair.send(device, packet) for device, packet in packets]
        both.append(pair.counters())
    finally:
        pair.close()
    return [(kernel, lunar) for kernel, lunar in both if kernel != lunar]


@pytest.mark.parametrize("name", CASES)
def test_both_do_the_same(name: str) -> None:
    # The kernel sends packets of its own, reports of groups, at times of its own: what is not they comes again.
    tries = [_differences(name)]
    while tries[-1] and len(tries) < _TRIES:
        tries.append(_differences(name))
    assert not tries[-1], tries
