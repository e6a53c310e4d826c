"""A host of the machine's kernel and one of Lunar's, each behind a TAP device: frames in, and the frames that it sends.

The kernel's is in a network namespace that the test makes. To know that it has sent all that it will, a question is
asked behind each probe whose answer is known: whatever came before that answer is the probe's. IPv6 is
off where it is not asked for, since the kernel has much to say by its own clock there.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

import lunar
from lunar.kernel.namespace import Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.links.tap import Tap
from lunar.packet import AF_INET, AF_INET6, ArpMessage, IcmpMessage
from lunar.wire import ethernet

MAC = 0x0200_0000_0001  # of the host under test: Lunar's first device has this one
ASKER_MAC = 0x0200_0000_00FE
OWN, ASKER = 0x0A00_0001, 0x0A00_00FE  # 10.0.0.1 and 10.0.0.254, who asks whether all is done
OWN6, ASKER6 = 0x2001_0DB8 << 96 | 1, 0x2001_0DB8 << 96 | 0xFE  # 2001:db8::1 and 2001:db8::fe
LINK_LOCAL = 0xFE80 << 112 | 0x00FF_FE00_0001  # of MAC

_PATIENCE_S = 10  # for an answer that must come; nothing is measured by it


def arp(operation: int, sender_mac: int, sender: int, target_mac: int, target: int, dst: int, src: int = 0) -> bytes:
    """The frame of an ARP message, to the hardware address `dst`."""
    message = ArpMessage(operation, sender_mac, sender, target_mac, target)
    message.eth_dst = dst
    message.eth_src = src or sender_mac
    return ethernet.encode(message)


_KNOWN = f"ip neigh replace 10.0.0.254 lladdr {ethernet.mac_text(ASKER_MAC)} dev eth0"  # nobody asks who the asker is
_ASKERS = ("10.0.0.254", "2001:db8::fe")
_KNOWN6 = f"ip neigh replace 2001:db8::fe lladdr {ethernet.mac_text(ASKER_MAC)} dev eth0"
_MARK = b"is all done?"


def icmpv6(
    src: int, dst: int, type: int, rest: int, body: bytes, eth_dst: int, hops: int = 255, code: int = 0
) -> bytes:
    """The frame of an ICMPv6 message."""
    message = IcmpMessage(AF_INET6, src, dst, type, code, rest, body)
    message.ttl = hops
    message.eth_dst = eth_dst
    message.eth_src = ASKER_MAC
    return ethernet.encode(message)


def _question(six: bool) -> bytes:
    """An echo request of the asker's."""
    if six:
        return icmpv6(ASKER6, OWN6, 128, 0x4C55_0001, _MARK, MAC)
    message = IcmpMessage(AF_INET, ASKER, OWN, 8, 0, 0x4C55_0001, _MARK)
    message.eth_dst = MAC
    message.eth_src = ASKER_MAC
    return ethernet.encode(message)


def _is_unasked(frame: bytes) -> bool:
    """What is said by the sender's clock: who listens to which group, and whether there is a router."""
    return frame[12:14] == b"\x86\xdd" and (frame[20] == 0 or (frame[20] == 58 and frame[54] == 133))


class KernelTap:
    """The kernel's host: 10.0.0.1/24 at `eth0`, or with `six` 2001:db8::1/64. `commands` are run there before it comes
    up.
    """

    def __init__(self, commands: Sequence[str] = (), six: bool = False) -> None:
        self.six = six
        self.namespace = Namespace()
        self.device = TunDevice(self.namespace, "eth0", IFF_TAP)
        run = self.namespace.command
        if six:
            run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
        else:
            run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
        run("ip", "link", "set", "eth0", "address", ethernet.mac_text(MAC))
        for command in commands:
            self.sh(command)
        run("ip", "addr", "add", "2001:db8::1/64" if six else "10.0.0.1/24", "dev", "eth0")
        run("ip", "link", "set", "eth0", "up")
        # It comes up in a thread of its own.
        while six and (self.sh("ip -6 addr show dev eth0 tentative") or "fe80" not in self.sh("ip -6 addr")):
            pass
        self.sh(_KNOWN6 if six else _KNOWN)

    def sh(self, command: str) -> str:
        return self.namespace.command(*command.split())

    def sends(self, *probes: bytes) -> list[bytes]:
        """What the host sends when the frames `probes` have come to it."""
        for probe in probes:
            self.device.write(probe)
        self.device.write(_question(self.six))
        answers: list[bytes] = []
        while True:
            assert select.select([self.device.descriptor], [], [], _PATIENCE_S)[0], "the kernel has not answered"
            frame = os.read(self.device.descriptor, 1 << 16)
            if frame.endswith(_MARK):
                return answers
            if not _is_unasked(frame):
                answers.append(frame)

    def neighbors(self) -> list[tuple[str, str, str]]:
        """(address, hardware address, state) of the table, less the asker's."""
        found = []
        for line in self.sh("ip neigh show dev eth0").splitlines():
            words = line.split()
            mac = words[words.index("lladdr") + 1] if "lladdr" in words else ""
            found.append((words[0], mac, " ".join(word for word in words if word == "router" or word.isupper())))
        return sorted(row for row in found if row[0] not in _ASKERS)

    def close(self) -> None:
        self.device.close()
        self.namespace.close()


class LunarTap:
    """Lunar's host, the same."""

    def __init__(self, commands: Sequence[str] = (), six: bool = False) -> None:
        self.six = six
        self.net = lunar.Network(seed=1, arp=True)
        self.host = self.net.host("host", "2001:db8::1/64" if six else "10.0.0.1/24")
        self.eth0 = self.host.devices["eth0"]
        assert self.eth0.mac == MAC
        self.tap = Tap(self.net.scheduler, ASKER_MAC)
        self.eth0.medium = self.tap
        for command in commands:
            self.sh(command)
        self.sh(_KNOWN6 if six else _KNOWN)

    def sh(self, command: str) -> str:
        return self.host.sh(command)

    def sends(self, *probes: bytes) -> list[bytes]:
        for probe in probes:
            self.eth0.arrive(ethernet.frame_of(probe))
        self.settle()
        self.eth0.arrive(ethernet.frame_of(_question(self.six)))
        self.settle()
        sent = [ethernet.encode(frame) for _, frame in self.tap.frames]
        answers = [frame for frame in sent if not _is_unasked(frame)]
        self.tap.frames.clear()
        assert answers and answers[-1].endswith(_MARK)
        return answers[:-1]

    def settle(self) -> None:
        """Let happen what is due at this instant."""
        while self.net.scheduler.turns or self.net.scheduler.next_ns() <= self.net.scheduler.now_ns:
            self.net.scheduler.run(self.net.scheduler.now_ns, 1000)

    def neighbors(self) -> list[tuple[str, str, str]]:
        found = []
        for line in self.sh("ip neigh show dev eth0").splitlines():
            words = line.split()
            mac = words[words.index("lladdr") + 1] if "lladdr" in words else ""
            found.append((words[0], mac, " ".join(word for word in words if word == "router" or word.isupper())))
        return sorted(row for row in found if row[0] not in _ASKERS)

    def close(self) -> None:
        self.net.close()
