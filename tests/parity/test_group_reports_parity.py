"""What routers are told of groups: the same steps in a namespace of the machine's kernel, over TAP, and on a virtual
host; the reports are compared byte by byte, without the addresses that differ and the checksums over them.

The kernel repeats each report by chance within an interval that is set short here. How many there are is known, so that
nobody waits for the clock of the machine but for reports.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

import lunar
from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.packet import Frame
from lunar.wire import checksum, ethernet

OWN, OWN_SIX, ROUTER = "10.0.0.1", "fe80::ff:fe00:1", "10.0.0.9"
MAC = bytes.fromhex("020000000001")
PATIENCE_S = 20  # only a failing test waits so long
ADD, DROP, UNBLOCK, BLOCK, ADD_SOURCE, DROP_SOURCE = range(35, 41)
JOIN6, LEAVE6, MCAST_BLOCK, MCAST_JOIN_SOURCE, MCAST_LEAVE_SOURCE = 20, 21, 43, 46, 47

# Who is asked to do what: (socket, option, group, source), or a query that a router sends; then how many reports come.
Step = tuple[Any, ...]

IGMP_STEPS: list[tuple[Step, int]] = [
    (("first", ADD, "239.1.2.3"), 2),
    (("first", BLOCK, "239.1.2.3", "10.0.0.7"), 2),
    (("second", ADD, "239.1.2.3"), 2),  # nobody keeps 10.0.0.7 out any more
    (("second", DROP, "239.1.2.3"), 2),
    (("first", UNBLOCK, "239.1.2.3", "10.0.0.7"), 2),
    (("second", ADD_SOURCE, "239.1.2.4", "10.0.0.7"), 2),
    (("second", ADD_SOURCE, "239.1.2.4", "10.0.0.8"), 2),
    (("second", DROP_SOURCE, "239.1.2.4", "10.0.0.7"), 2),
    (("first", ADD, "239.1.2.4"), 2),
    (("first", DROP, "239.1.2.4"), 2),
    (("query", 3, "0.0.0.0"), 1),
    (("query", 3, "239.1.2.3"), 1),
    (("query", 3, "239.1.2.4", "10.0.0.7", "10.0.0.8"), 1),
    (("query", 3, "239.1.2.3", "10.0.0.7"), 1),
    (("first", DROP, "239.1.2.3"), 2),
    (("second", "close"), 2),
]

IGMP_OLD_STEPS: list[tuple[Step, int]] = [
    (("first", ADD, "239.1.2.3"), 2),
    (("query", 2, "0.0.0.0"), 1),
    (("query", 2, "239.1.2.3"), 1),
    (("first", DROP, "239.1.2.3"), 1),
    (("first", ADD, "239.1.2.3"), 2),
    (("second", ADD_SOURCE, "239.1.2.4", "10.0.0.7"), 2),
    (("second", DROP_SOURCE, "239.1.2.4", "10.0.0.7"), 1),
]

MLD_STEPS: list[tuple[Step, int]] = [
    (("first", JOIN6, "ff15::1"), 2),
    (("first", MCAST_BLOCK, "ff15::1", "2001:db8::7"), 2),
    (("second", MCAST_JOIN_SOURCE, "ff15::2", "2001:db8::7"), 2),
    (("second", MCAST_JOIN_SOURCE, "ff15::2", "2001:db8::8"), 2),
    (("second", MCAST_LEAVE_SOURCE, "ff15::2", "2001:db8::7"), 2),
    (("query", 2, "ff15::1"), 1),
    (("first", LEAVE6, "ff15::1"), 2),
    (("second", "close"), 2),
]


class Members:
    """Two sockets that do the steps."""

    def __init__(self, six: bool, index: int) -> None:
        self.six = six
        self.index = index
        family = socket.AF_INET6 if six else socket.AF_INET
        self.socks = {name: socket.socket(family, socket.SOCK_DGRAM) for name in ("first", "second")}

    def do(self, step: Step) -> None:
        sock, what, *addresses = self.socks[step[0]], *step[1:]
        if what == "close":
            sock.close()
        elif not self.six:
            group, *source = map(socket.inet_aton, addresses)
            sock.setsockopt(socket.IPPROTO_IP, what, b"".join([group, socket.inet_aton(OWN), *source]))
        elif what in (JOIN6, LEAVE6):
            value = socket.inet_pton(socket.AF_INET6, addresses[0]) + struct.pack("i", self.index)
            sock.setsockopt(41, what, value)
        else:
            storage = [struct.pack("=HHI", 10, 0, 0) + socket.inet_pton(socket.AF_INET6, one) for one in addresses]
            value = struct.pack("=I4x", self.index) + b"".join(one.ljust(128, b"\0") for one in storage)
            sock.setsockopt(41, what, value)

    def close(self) -> None:
        for sock in self.socks.values():
            sock.close()


def query(six: bool, version: int, group: str, *sources: str) -> bytes:
    """The frame of a router's query; the answer is due within a tenth of a second."""
    if six:
        listed = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in sources)
        body = struct.pack(">BBHHH", 130, 0, 0, 100, 0) + socket.inet_pton(socket.AF_INET6, group)
        body += bytes((2, 125)) + struct.pack(">H", len(sources)) + listed
        src, dst = socket.inet_pton(socket.AF_INET6, "fe80::9"), socket.inet_pton(socket.AF_INET6, group)
        total = checksum.pseudo_header(int.from_bytes(src, "big"), int.from_bytes(dst, "big"), 58, len(body))
        body = body[:2] + checksum.internet(body, total).to_bytes(2, "big") + body[4:]
        alert = b"\x3a\x00\x05\x02\x00\x00\x01\x00"
        header = b"\x60\0\0\0" + struct.pack(">HBB", len(alert) + len(body), 0, 1) + src + dst
        return b"\x33\x33" + dst[12:] + b"\x02\0\0\0\0\x09\x86\xdd" + header + alert + body
    body = struct.pack(">BBH", 0x11, 1, 0) + socket.inet_aton(group)
    if version == 3:
        body += bytes((2, 125)) + struct.pack(">H", len(sources)) + b"".join(map(socket.inet_aton, sources))
    body = body[:2] + checksum.internet(body).to_bytes(2, "big") + body[4:]
    to = "224.0.0.1" if group == "0.0.0.0" else group
    dst = socket.inet_aton(to)
    header = bytes((0x46, 0xC0)) + struct.pack(">HHHBBH", 24 + len(body), 1, 0, 1, 2, 0)
    header += socket.inet_aton(ROUTER) + dst + b"\x94\x04\0\0"
    header = header[:10] + checksum.internet(header).to_bytes(2, "big") + header[12:]
    return bytes((1, 0, 0x5E, dst[1] & 127)) + dst[2:] + b"\x02\0\0\0\0\x09\x08\x00" + header + body


def records_of_ours(message: bytes) -> bytes:
    """Of a report of MLDv2 the records of ff15::/16; another message without its checksum."""
    if message[0] != 143:
        return message[4:]
    found, at = b"", 8
    while at < len(message):
        end = at + 20 + 16 * int.from_bytes(message[at + 2 : at + 4], "big")
        if message[at + 4 : at + 6] == b"\xff\x15":
            found += message[at:end]
        at = end
    return found


def told(frame: bytes, six: bool) -> bytes | None:
    """A report without what is chosen by chance (IPv4's identification) and checksums; None for another frame."""
    if six:
        if frame[12:14] != b"\x86\xdd" or frame[20] != 0 or frame[54:56] != b"\x3a\x00" or b"\xff\x15" not in frame:
            return None
        # Version, class and label; hop limit, addresses, router alert, type and code; the records of our groups. The
        # kernel may still be telling of the device's own groups in the same report.
        return frame[:6] + frame[14:18] + frame[21:64] + records_of_ours(frame[62:])
    if frame[12:14] != b"\x08\x00" or frame[23] != 2:
        return None
    return frame[:6] + frame[14:18] + frame[20:24] + frame[26:40] + frame[42:]


def on_the_machine(steps: list[tuple[Step, int]], six: bool, sysctls: dict[str, str]) -> list[list[bytes]]:
    try:
        namespace = Namespace()
        device = TunDevice(namespace, "tap0", IFF_TAP)
        for name, value in sysctls.items():
            namespace.sysctl(name.replace("DEV", "tap0"), value)
        namespace.command(*["ip", "link", "set", "tap0", "address", "02:00:00:00:00:01"])
        if not six:
            with contextlib.suppress(OSError):
                namespace.sysctl("net.ipv6.conf.tap0.disable_ipv6", "1")
            namespace.command("ip", "addr", "add", f"{OWN}/24", "dev", "tap0")
        else:
            namespace.sysctl("net.ipv6.conf.tap0.accept_dad", "0")  # the address is its own at once
            namespace.sysctl("net.ipv6.conf.tap0.router_solicitations", "0")
        namespace.command("ip", "link", "set", "tap0", "up")
        if six:
            while OWN_SIX not in namespace.command("ip", "-6", "addr", "show", "dev", "tap0", "scope", "link"):
                continue
    except KernelUnavailable as missing:
        pytest.skip(str(missing))

    def reports(count: int) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < count:
            assert select.select([device.descriptor], [], [], PATIENCE_S)[0], f"{len(found)} of {count} reports came"
            report = told(os.read(device.descriptor, 2000), six)
            if report is not None:
                found.append(report)
        return found

    if six and not any("force_mld_version" in name for name in sysctls):
        # The device's own group is told twice, and all groups twice more when its address is its own.
        own = 0
        while own < 4:
            assert select.select([device.descriptor], [], [], PATIENCE_S)[0], f"{own} of 4 reports came"
            frame = os.read(device.descriptor, 2000)
            own += frame[12:14] == b"\x86\xdd" and frame[20] == 0 and frame[62] == 143
    seen = []
    with namespace:
        members = Members(six, socket.if_nametoindex("tap0"))
        for step, count in steps:
            if step[0] == "query":
                device.write(query(six, *step[1:]))
            else:
                members.do(step)
            seen.append(reports(count))
        members.close()
    device.close()
    namespace.close()
    return seen


def on_a_host(steps: list[tuple[Step, int]], six: bool, sysctls: dict[str, str]) -> list[list[bytes]]:
    seen: list[list[bytes]] = []
    with lunar.Network(seed=1) as net:
        host = net.host("host", f"{OWN}/24")
        net.link(host, net.host("other", "10.0.0.2/24"))
        for name, value in sysctls.items():
            host.sh(f"sysctl -w {name.replace('DEV', 'eth0')}={value}")
        device = host.devices["eth0"]
        if six:
            host.sh(f"ip addr add {OWN_SIX}/64 dev eth0 nodad")
        found: list[bytes] = []

        def note(_device: Any, frame: Frame) -> None:
            report = told(ethernet.encode(frame), six)
            if report is not None and frame.eth_src == int.from_bytes(MAC, "big"):
                found.append(report)

        device.tap = note

        def run(function: Callable[[], None]) -> None:
            net.run(function, on=host)
            net.run(until=net.now + 3)

        members: list[Members] = []
        run(lambda: members.append(Members(six, 2)))
        for step, _ in steps:
            found.clear()
            if step[0] == "query":
                device.arrive(ethernet.frame_of(query(six, *step[1:])))
                net.run(until=net.now + 3)
            else:
                run(lambda step=step: members[0].do(step))  # type: ignore[misc]
            seen.append(found.copy())
        device.tap = None
        run(members[0].close)
    return seen


def check_the_same(steps: list[tuple[Step, int]], six: bool, sysctls: dict[str, str]) -> None:
    machine, ours = on_the_machine(steps, six, sysctls), on_a_host(steps, six, sysctls)
    for (step, _), expected, got in zip(steps, machine, ours, strict=True):
        assert got == expected, step


def test_igmp_says_what_the_machines_does() -> None:
    check_the_same(IGMP_STEPS, False, {"net.ipv4.conf.DEV.igmpv3_unsolicited_report_interval": "20"})


def test_igmp_of_version_2_says_what_the_machines_does() -> None:
    check_the_same(
        IGMP_OLD_STEPS, False,
        {"net.ipv4.conf.DEV.igmpv2_unsolicited_report_interval": "20", "net.ipv4.conf.DEV.force_igmp_version": "2"},
    )  # fmt: skip


def test_mld_says_what_the_machines_does() -> None:
    check_the_same(MLD_STEPS, True, {"net.ipv6.conf.DEV.mldv2_unsolicited_report_interval": "20"})


def test_mld_of_version_1_says_what_the_machines_does() -> None:
    steps: list[tuple[Step, int]] = [
        (("first", JOIN6, "ff15::1"), 2), (("query", 2, "ff15::1"), 1), (("first", LEAVE6, "ff15::1"), 1),
    ]  # fmt: skip
    check_the_same(
        steps, True,
        {"net.ipv6.conf.DEV.mldv1_unsolicited_report_interval": "20", "net.ipv6.conf.DEV.force_mld_version": "1"},
    )  # fmt: skip
