"""A host of the machine's kernel and one of Lunar's, each behind a TAP device: frames in, and the frames that it sends.

The kernel's is in a network namespace that the test makes. To know that it has sent all that it will, a question is
asked behind each probe whose answer is known: whatever came before that answer is the probe's. IPv6 is
off where it is not asked for, since the kernel has much to say by its own clock there.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence

import lunar
from lunar.kernel.namespace import Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.links.tap import Tap
from lunar.packet import AF_INET, ArpMessage, IcmpMessage
from lunar.wire import ethernet

MAC = 0x0200_0000_0001  # of the host under test: Lunar's first device has this one
ASKER_MAC = 0x0200_0000_00FE
OWN, ASKER = 0x0A00_0001, 0x0A00_00FE  # 10.0.0.1 and 10.0.0.254, who asks whether all is done

_PATIENCE_S = 10  # for an answer that must come; nothing is measured by it


def arp(operation: int, sender_mac: int, sender: int, target_mac: int, target: int, dst: int, src: int = 0) -> bytes:
    """The frame of an ARP message, to the hardware address `dst`."""
    message = ArpMessage(operation, sender_mac, sender, target_mac, target)
    message.eth_dst = dst
    message.eth_src = src or sender_mac
    return ethernet.encode(message)


_KNOWN = f"ip neigh replace 10.0.0.254 lladdr {ethernet.mac_text(ASKER_MAC)} dev eth0"  # nobody asks who the asker is
_MARK = b"is all done?"


def _question() -> bytes:
    """An echo request of the asker's."""
    message = IcmpMessage(AF_INET, ASKER, OWN, 8, 0, 0x4C55_0001, _MARK)
    message.eth_dst = MAC
    message.eth_src = ASKER_MAC
    return ethernet.encode(message)


class KernelTap:
    """The kernel's host: 10.0.0.1/24 at `eth0`. `commands` are run there before it comes up."""

    def __init__(self, commands: Sequence[str] = ()) -> None:
        self.namespace = Namespace()
        self.device = TunDevice(self.namespace, "eth0", IFF_TAP)
        run = self.namespace.command
        run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
        run("ip", "link", "set", "eth0", "address", ethernet.mac_text(MAC))
        for command in commands:
            self.sh(command)
        run("ip", "addr", "add", "10.0.0.1/24", "dev", "eth0")
        run("ip", "link", "set", "eth0", "up")
        self.sh(_KNOWN)

    def sh(self, command: str) -> str:
        return self.namespace.command(*command.split())

    def sends(self, *probes: bytes) -> list[bytes]:
        """What the host sends when the frames `probes` have come to it."""
        for probe in probes:
            self.device.write(probe)
        self.device.write(_question())
        answers: list[bytes] = []
        while True:
            assert select.select([self.device.descriptor], [], [], _PATIENCE_S)[0], "the kernel has not answered"
            frame = os.read(self.device.descriptor, 1 << 16)
            if frame.endswith(_MARK):
                return answers
            answers.append(frame)

    def neighbors(self) -> list[tuple[str, str, str]]:
        """(address, hardware address, state) of the table, less the asker's."""
        found = []
        for line in self.sh("ip neigh show dev eth0").splitlines():
            words = line.split()
            mac = words[words.index("lladdr") + 1] if "lladdr" in words else ""
            found.append((words[0], mac, words[-1]))
        return sorted(row for row in found if row[0] != "10.0.0.254")

    def close(self) -> None:
        self.device.close()
        self.namespace.close()


class LunarTap:
    """Lunar's host, the same."""

    def __init__(self, commands: Sequence[str] = ()) -> None:
        self.net = lunar.Network(seed=1, arp=True)
        self.host = self.net.host("host", "10.0.0.1/24")
        self.eth0 = self.host.devices["eth0"]
        assert self.eth0.mac == MAC
        self.tap = Tap(self.net.scheduler, ASKER_MAC)
        self.eth0.medium = self.tap
        for command in commands:
            self.sh(command)
        self.sh(_KNOWN)

    def sh(self, command: str) -> str:
        return self.host.sh(command)

    def sends(self, *probes: bytes) -> list[bytes]:
        for probe in probes:
            self.eth0.arrive(ethernet.frame_of(probe))
        self.settle()
        self.eth0.arrive(ethernet.frame_of(_question()))
        self.settle()
        answers = [ethernet.encode(frame) for _, frame in self.tap.frames]
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
            found.append((words[0], mac, words[-1]))
        return sorted(row for row in found if row[0] != "10.0.0.254")

    def close(self) -> None:
        self.net.close()


Side = Callable[[Sequence[str]], KernelTap | LunarTap]
