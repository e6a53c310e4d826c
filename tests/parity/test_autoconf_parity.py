"""How a device with IPv6 comes up: its questions, beside the machine's kernel's over a TAP device.

Compared byte by byte are the test of its link-local address (RFC 4862) and the question for routers, less the nonce of
the test and its checksum: both draw their own. So is what becomes of an address that another says it has, or tests too.
"""

from __future__ import annotations

import os
import select
import shutil

import pytest
from taps import LINK_LOCAL, MAC, icmpv6

import lunar
from lunar.kernel.namespace import Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.links.tap import Tap
from lunar.net.ndisc import ALL_NODES, solicited_node
from lunar.wire import ethernet
from lunar.wire.nd_option import NONCE, TARGET_ADDRESS, address_option, option

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are root's"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="this machine has no TUN devices"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip(8) is not installed"),
]

RS, NS, NA = 133, 135, 136
_PATIENCE_S = 20  # for a message that must come; nothing is measured by it
_OTHER_MAC = 0x0200_0000_0042
_CHECKSUM, _NONCE = slice(56, 58), slice(80, 86)

OBJECTIONS = {
    "an owner": icmpv6(
        LINK_LOCAL, ALL_NODES, NA, 0x2000_0000,
        LINK_LOCAL.to_bytes(16, "big") + address_option(TARGET_ADDRESS, _OTHER_MAC), 0x3333_0000_0001,
    ),
    "another test": icmpv6(0, solicited_node(LINK_LOCAL), NS, 0, LINK_LOCAL.to_bytes(16, "big"), 0x3333_FF00_0001),
    "another test with a nonce": icmpv6(
        0, solicited_node(LINK_LOCAL), NS, 0, LINK_LOCAL.to_bytes(16, "big") + option(NONCE, b"abcdef"),
        0x3333_FF00_0001,
    ),
}  # fmt: skip


def kind_of(frame: bytes) -> int:
    """The ICMPv6 type of what has no extension header, -1 of all else."""
    return frame[54] if frame[12:14] == b"\x86\xdd" and frame[20] == 58 else -1


def bare(frame: bytes) -> bytes:
    """The frame without what is drawn."""
    data = bytearray(frame)
    if kind_of(frame) == NS:
        data[_CHECKSUM] = bytes(2)
        data[_NONCE] = bytes(6)
    return bytes(data)


class Kernel:
    """Its device comes up."""

    def __init__(self, *sysctls: str) -> None:
        self.namespace = Namespace()
        self.device = TunDevice(self.namespace, "eth0", IFF_TAP)
        self.namespace.command("ip", "link", "set", "eth0", "address", ethernet.mac_text(MAC))
        for sysctl in sysctls:
            self.namespace.command("sysctl", "-qw", sysctl)
        self.namespace.command("ip", "link", "set", "eth0", "up")

    def says(self, kind: int) -> bytes:
        """The next message of this type."""
        while True:
            assert select.select([self.device.descriptor], [], [], _PATIENCE_S)[0], "the kernel has said nothing"
            frame = os.read(self.device.descriptor, 1 << 16)
            if kind_of(frame) == kind:
                return frame

    def hears(self, frame: bytes) -> None:
        self.device.write(frame)

    def flags(self) -> str:
        """What `ip addr` says of the link-local address, when it is tentative no more or has failed."""
        while True:
            shown = self.namespace.command("ip", "-6", "addr", "show", "dev", "eth0", "scope", "link")
            if "tentative" not in shown or "dadfailed" in shown:
                return flags_in(shown)

    def close(self) -> None:
        self.device.close()
        self.namespace.close()


class Ours:
    """So does Lunar's."""

    def __init__(self, *sysctls: str) -> None:
        self.net = lunar.Network(seed=1, arp=True)
        self.host = self.net.host("host")
        self.eth0 = self.host.add_device([])
        self.tap = Tap(self.net.scheduler, 0)
        self.eth0.medium = self.tap
        for sysctl in sysctls:
            self.host.sh(f"sysctl -qw {sysctl}")
        self.host.sh("sysctl -q net.ipv6.conf.eth0.disable_ipv6=0")

    def says(self, kind: int) -> bytes:
        while True:
            while not self.tap.frames:
                self.net.scheduler.run(self.net.scheduler.next_ns(), 1000)
            frame = ethernet.encode(self.tap.frames.popleft()[1])
            if kind_of(frame) == kind:
                return frame

    def hears(self, frame: bytes) -> None:
        self.eth0.arrive(ethernet.frame_of(frame))

    def flags(self) -> str:
        self.net.run(until=self.net.now + 3)
        return flags_in(self.host.sh("ip -6 addr show dev eth0 scope link"))

    def close(self) -> None:
        self.net.close()


def flags_in(shown: str) -> str:
    """The words behind the scope of an address."""
    for line in shown.splitlines():
        if "inet6" in line:
            words = line.split()
            return " ".join(sorted(set(words[words.index("link") + 1 :]) & {"tentative", "dadfailed"}))
    return "none"


def test_a_device_comes_up_with_the_same_questions() -> None:
    kernel, ours = Kernel(), Ours()
    for kind in (NS, RS):
        assert bare(ours.says(kind)) == bare(kernel.says(kind))
    assert (ours.flags(), kernel.flags()) == ("", "")
    kernel.close()
    ours.close()


def test_without_enhanced_tests_the_questions_have_no_nonce() -> None:
    off = ("net.ipv6.conf.all.enhanced_dad=0", "net.ipv6.conf.eth0.enhanced_dad=0")
    kernel, ours = Kernel(*off), Ours(*off)
    question = ours.says(NS)
    assert len(question) == 14 + 40 + 24
    assert question == kernel.says(NS)
    kernel.close()
    ours.close()


@pytest.mark.parametrize("objection", list(OBJECTIONS))
def test_an_address_to_which_somebody_objects_is_not_used(objection: str) -> None:
    sides = (Kernel(), Ours())
    found = []
    for side in sides:
        side.says(NS)
        side.hears(OBJECTIONS[objection])
        found.append(side.flags())
        side.close()
    assert found[0] == found[1] == "dadfailed tentative"


def test_its_own_question_that_comes_back_is_no_objection() -> None:
    sides = (Kernel(), Ours())
    for side in sides:
        side.hears(side.says(NS))
        assert side.flags() == ""
        side.close()
