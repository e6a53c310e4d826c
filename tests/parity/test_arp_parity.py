"""ARP: the same probes to the machine's kernel over a TAP device and to Lunar; the answers compared byte by byte.

No field is left out. What is learned from a probe is compared too, by `ip neigh` of both.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Iterator, Sequence

import pytest
from taps import MAC, OWN, KernelTap, LunarTap, arp

from lunar.net import ip_output
from lunar.packet import AF_INET, BROADCAST_MAC, UdpDatagram
from lunar.wire.address import parse_ipv4

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are root's"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="this machine has no TUN devices"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip(8) is not installed"),
]

REQUEST, REPLY = 1, 2
PEER_MAC, OTHER_MAC = 0x0200_0000_0042, 0x0200_0000_0043
PEER, OTHER, NOBODY = 0x0A00_0042, 0x0A00_0043, 0x0A00_0099
SECOND = 0x0A00_0005  # 10.0.0.5, a second address
FAR = 0xC0A8_0107  # 192.168.1.7
LOOPBACK = 0x7F00_0001
GROUP = 0xE000_0005

CONFIGS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "arp_ignore 1": ("sysctl -qw net.ipv4.conf.eth0.arp_ignore=1",),
    "arp_ignore 2": ("sysctl -qw net.ipv4.conf.eth0.arp_ignore=2",),
    "arp_ignore 3": ("sysctl -qw net.ipv4.conf.all.arp_ignore=3",),
    "arp_ignore 8": ("sysctl -qw net.ipv4.conf.all.arp_ignore=8",),
    "arp_filter": ("sysctl -qw net.ipv4.conf.all.arp_filter=1",),
    "arp_accept 1": ("sysctl -qw net.ipv4.conf.eth0.arp_accept=1",),
    "arp_accept 2": ("sysctl -qw net.ipv4.conf.eth0.arp_accept=2",),
    "drop_gratuitous_arp": (
        "sysctl -qw net.ipv4.conf.eth0.arp_accept=1",
        "sysctl -qw net.ipv4.conf.eth0.drop_gratuitous_arp=1",
    ),
    "proxy_arp": (
        "sysctl -qw net.ipv4.ip_forward=1",
        "sysctl -qw net.ipv4.conf.eth0.proxy_arp=1",
        "sysctl -qw net.ipv4.neigh.eth0.proxy_delay=0",
    ),
    "proxy_arp_pvlan": (
        "sysctl -qw net.ipv4.ip_forward=1",
        "sysctl -qw net.ipv4.conf.eth0.proxy_arp_pvlan=1",
        "sysctl -qw net.ipv4.neigh.eth0.proxy_delay=0",
    ),
    "arp off": ("ip link set eth0 arp off",),
}


def probes() -> dict[str, tuple[bytes, ...]]:
    """By what they are: frames that come one after another."""
    ask = {
        "who has the own address": arp(REQUEST, PEER_MAC, PEER, 0, OWN, BROADCAST_MAC),
        "asked itself": arp(REQUEST, PEER_MAC, PEER, MAC, OWN, MAC),
        "asked of nobody's": arp(REQUEST, PEER_MAC, PEER, 0, NOBODY, BROADCAST_MAC),
        "asked itself of nobody's": arp(REQUEST, PEER_MAC, PEER, 0, NOBODY, MAC),
        "who wants to take the own address": arp(REQUEST, PEER_MAC, 0, 0, OWN, BROADCAST_MAC),
        "who wants to take another": arp(REQUEST, PEER_MAC, 0, 0, NOBODY, BROADCAST_MAC),
        "by another network": arp(REQUEST, PEER_MAC, FAR, 0, OWN, BROADCAST_MAC),
        "of another network": arp(REQUEST, PEER_MAC, PEER, 0, FAR, BROADCAST_MAC),
        "of a loopback": arp(REQUEST, PEER_MAC, PEER, 0, LOOPBACK, BROADCAST_MAC),
        "of a group": arp(REQUEST, PEER_MAC, PEER, 0, GROUP, BROADCAST_MAC),
        "by a group": arp(REQUEST, PEER_MAC, GROUP, 0, OWN, BROADCAST_MAC),
        "by the own address": arp(REQUEST, PEER_MAC, OWN, 0, OWN, BROADCAST_MAC),
        "by the own address of another": arp(REQUEST, PEER_MAC, OWN, 0, PEER, BROADCAST_MAC),
        "of the second address": arp(REQUEST, PEER_MAC, PEER, 0, SECOND, BROADCAST_MAC),
        "gratuitous": arp(REQUEST, PEER_MAC, PEER, 0, PEER, BROADCAST_MAC),
        "gratuitous of elsewhere": arp(REQUEST, PEER_MAC, FAR, 0, FAR, BROADCAST_MAC),
        "gratuitous answer": arp(REPLY, PEER_MAC, PEER, PEER_MAC, PEER, BROADCAST_MAC),
        "gratuitous answer to all": arp(REPLY, PEER_MAC, PEER, BROADCAST_MAC, PEER, BROADCAST_MAC),
        "an answer that was not asked for": arp(REPLY, PEER_MAC, PEER, MAC, OWN, MAC),
        "an answer to others": arp(REPLY, PEER_MAC, PEER, OTHER_MAC, OTHER, OTHER_MAC),
        "an answer to all": arp(REPLY, PEER_MAC, PEER, MAC, OWN, BROADCAST_MAC),
        "RARP's": arp(3, PEER_MAC, PEER, MAC, OWN, MAC),
        "nothing's": arp(0, PEER_MAC, PEER, MAC, OWN, MAC),
    }
    whole = ask["who has the own address"]
    found = {name: (frame,) for name, frame in ask.items()}
    found["padded"] = (whole.ljust(60, b"\0"),)
    found["cut"] = (whole[:-1],)
    for at, what in ((15, "hardware"), (17, "protocol"), (18, "hardware's length"), (19, "protocol's length")):
        found[f"of another {what}"] = (whole[:at] + bytes([whole[at] + 1]) + whole[at + 1 :],)
    learned = ask["asked itself"]
    found["another at the address, asks"] = (learned, arp(REQUEST, OTHER_MAC, PEER, 0, OWN, BROADCAST_MAC))
    found["another at the address, answers"] = (learned, arp(REPLY, OTHER_MAC, PEER, MAC, OWN, MAC))
    found["the same answers"] = (learned, arp(REPLY, PEER_MAC, PEER, MAC, OWN, MAC))
    found["the same answers all"] = (learned, arp(REPLY, PEER_MAC, PEER, MAC, OWN, BROADCAST_MAC))
    found["another is gratuitous"] = (learned, arp(REQUEST, OTHER_MAC, PEER, 0, PEER, BROADCAST_MAC))
    found["asks of another"] = (learned, arp(REQUEST, OTHER_MAC, PEER, 0, NOBODY, BROADCAST_MAC))
    return found


Sides = tuple[KernelTap, LunarTap]


@pytest.fixture(params=list(CONFIGS))
def sides(request: pytest.FixtureRequest) -> Iterator[Sides]:
    commands = CONFIGS[request.param]
    kernel, ours = KernelTap(), LunarTap()
    kernel.sh("ip addr add 10.0.0.5/24 dev eth0")
    ours.host.add_address(ours.eth0, SECOND, 24)
    for side in (kernel, ours):
        side.sh("sysctl -qw net.ipv4.neigh.eth0.locktime=10000")  # 100 s: the machine's clock shall not matter
        side.sh("ip route add 192.168.2.0/24 via 10.0.0.77")
        for command in commands:
            side.sh(command)
    yield kernel, ours
    kernel.close()
    ours.close()


def both(sides: Sides, frames: Sequence[bytes], what: str) -> None:
    kernel, ours = sides
    answers, table = kernel.sends(*frames), kernel.neighbors()
    assert (ours.sends(*frames), ours.neighbors()) == (answers, table), what


def test_each_probe_is_answered_as_the_kernel_does(sides: Sides) -> None:
    for what, frames in probes().items():
        for side in sides:
            side.sh("ip neigh flush all")
        both(sides, frames, what)


def test_so_are_probes_in_any_order(sides: Sides) -> None:
    rng = random.Random(6)
    names = list(probes())
    frames = probes()
    for _ in range(60):
        name = rng.choice(names)
        both(sides, frames[name], name)


@pytest.mark.parametrize("announce", [0, 1, 2])
def test_questions_are_asked_in_the_same_name(announce: int) -> None:
    kernel, ours = KernelTap(), LunarTap()
    for side in (kernel, ours):
        for address in ("10.0.0.5/24", "192.168.7.1/24", "10.0.0.9/32"):
            side.sh(f"ip addr add {address} dev eth0")
        side.sh("ip addr add 10.99.0.1/32 dev lo")
        side.sh(f"sysctl -qw net.ipv4.conf.eth0.arp_announce={announce}")
    number = 0
    for source in ("10.0.0.1", "10.0.0.5", "192.168.7.1", "10.0.0.9", "10.99.0.1"):
        for network in ("10.0.0", "192.168.7"):
            number += 1
            target = f"{network}.{100 + number}"
            with kernel.namespace, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((source, 0))
                sock.sendto(b"x", (target, 9))
            datagram = UdpDatagram(AF_INET, parse_ipv4(source), parse_ipv4(target), 5000, 9, b"x")
            datagram.size_bytes = 29
            assert ip_output.send(ours.host.ip, datagram, None) == 0
            asked = [frame for frame in kernel.sends() if frame[12:14] == b"\x08\x06"]
            assert ours.sends()[:1] == asked[:1] != [], (source, target)
    kernel.close()
    ours.close()
