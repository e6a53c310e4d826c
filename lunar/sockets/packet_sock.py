"""Packet sockets, packet(7): the frames of a device as they come and go, and frames of a program's own.

A `LinkSock` gets a copy of each frame of its protocol, at one device or at all, before the stack does with it what it
does; SOCK_RAW with the Ethernet header, SOCK_DGRAM without. `LinkTable` is what devices show their frames to; a device
has one as long as a packet socket of its host is open. Bytes are made for those that take them only.

Left out: rings (PACKET_RX_RING), fanout, and SOCK_PACKET of old.
"""

from __future__ import annotations

import errno
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net.bpf import Seen
from lunar.net.datagram_sock import DatagramSock
from lunar.net.device import Device, Sniffer
from lunar.net.ip import Ip
from lunar.packet import BROADCAST_MAC, ETHERNET_HEADER_BYTES, GROUP_BIT, Frame
from lunar.wire import ethernet

AF_PACKET: Final = 17
SOCK_RAW: Final = 3
SOCK_DGRAM: Final = 2
ETH_P_ALL: Final = 3

# linux/if_packet.h: what a frame is to the host.
HOST: Final = 0
BROADCAST: Final = 1
MULTICAST: Final = 2
OTHER_HOST: Final = 3
OUTGOING: Final = 4

# net/if_arp.h
ARPHRD_ETHER: Final = 1
ARPHRD_LOOPBACK: Final = 772

# PACKET_ADD_MEMBERSHIP: what a device is to take.
MR_MULTICAST: Final = 0
MR_PROMISC: Final = 1
MR_ALLMULTI: Final = 2
MR_UNICAST: Final = 3

_VLAN_BYTES: Final = 4  # a frame may be so much longer than the MTU says


@final
class Caught:
    """A frame as its socket gives it: the first `kept` bytes of it, and what the address says beside them."""

    def __init__(self, data: bytes, size: i64, ethertype: i64, kind: i64, device: Device, source: i64) -> None:
        self.data: bytes = data
        self.size: i64 = size  # of all of it
        self.ethertype: i64 = ethertype
        self.kind: i64 = kind  # HOST ...
        self.device: Device = device
        self.source: i64 = source


@final
class LinkMembership:
    """What a socket has asked a device to take besides, and how often."""

    def __init__(self, device: Device, kind: i64, mac: int) -> None:
        self.device: Device = device
        self.kind: i64 = kind
        self.mac: int = mac
        self.count: i64 = 1


@final
class LinkSock(DatagramSock):
    """A packet socket. `number` is its EtherType, 0: it gets nothing; ETH_P_ALL: all. `device` None: of all devices."""

    def __init__(self, table: LinkTable, type: i64, number: i64) -> None:
        super().__init__(AF_PACKET, type, 0)  # Linux shows no protocol either
        self.table: LinkTable = table
        self.ip: Ip = table.ip
        self.rcvbuf = table.ip.rmem_default
        self.sndbuf = table.ip.wmem_default
        self.number: i64 = number
        self.device: Device | None = None
        self.caught: i64 = 0  # PACKET_STATISTICS, since it was last asked for
        self.dropped: i64 = 0
        self.tells_more: bool = False  # PACKET_AUXDATA
        self.ignores_outgoing: bool = False  # PACKET_IGNORE_OUTGOING
        self.memberships: list[LinkMembership] = []

    def bind(self, device: Device | None, number: i64) -> i64:
        """Take the frames of `device` only (None: of all), of the protocol `number` (0: as before)."""
        self.device = device
        if number:
            self.number = number
        if device is not None and not device.up:
            self.error = errno.ENETDOWN
        self.queue.clear()
        self.queued_bytes = 0
        if self.stamping is not None and self.stamping.arrivals is not None:
            self.stamping.arrivals.clear()
        self.table.refresh()
        return 0

    # Receiving

    def wants(self, frame: Frame, device: Device, outgoing: bool) -> bool:
        if self.number == 0 or (self.number != ETH_P_ALL and self.number != frame.ethertype):
            return False
        # Linux shows what goes out only to who wants all protocols.
        if outgoing and (self.ignores_outgoing or self.number != ETH_P_ALL):
            return False
        return self.device is None or self.device is device

    def catch(self, frame: Frame, data: bytes, device: Device, kind: i64, index: i64) -> None:
        """Queue a frame whose bytes are `data`; dropped and counted when the receive buffer is full."""
        size: i64 = len(data)
        shown = data
        if self.type == SOCK_DGRAM:
            shown = data[ETHERNET_HEADER_BYTES:]
            size -= ETHERNET_HEADER_BYTES
        if self.filter is not None:
            seen = Seen(shown)
            seen.whole, seen.network = data, ETHERNET_HEADER_BYTES
            seen.ethertype, seen.packet_type, seen.device = frame.ethertype, kind, index
            seen.hardware = hardware_of(self.ip, device)
            kept: i64 = self.filter.run(seen)
            if kept == 0:
                return
            shown = shown[: int(min(kept, len(shown)))]
        self.caught += 1
        if not self.enqueue(Caught(shown, size, frame.ethertype, kind, device, frame.eth_src)):
            self.dropped += 1

    def recv(self, peek: bool) -> Caught | None:
        """The next frame; None with `recv_errno` when there is none or an error is pending."""
        taken = self.take_next(peek)
        if taken is None:
            return None
        assert isinstance(taken, Caught), "a packet socket keeps frames"
        return taken

    def data_bytes(self, queued: Any) -> i64:
        assert isinstance(queued, Caught), "a packet socket keeps frames"
        return len(queued.data)

    def has_peer(self) -> bool:
        return False

    def now_ns(self) -> i64:
        return self.ip.scheduler.now_ns

    # Sending

    def send(self, data: bytes, device: Device | None, number: i64, mac: int) -> i64:
        """Send a frame by `device`, None for the one that it is bound to. A socket without headers gives it to `mac`
        with the EtherType `number`, 0 for its own. ENXIO (no device), ENETDOWN, EINVAL (shorter than a header),
        EMSGSIZE.
        """
        if device is None:
            device = self.device
            if device is None:
                return -errno.ENXIO
        if not device.up:
            return -errno.ENETDOWN
        size: i64 = len(data)
        whole = data
        if self.type == SOCK_RAW:
            if size < ETHERNET_HEADER_BYTES:
                return -errno.EINVAL
            if size > device.mtu + ETHERNET_HEADER_BYTES + (_VLAN_BYTES if data[12:14] == b"\x81\x00" else 0):
                return -errno.EMSGSIZE
        else:
            if size > device.mtu:
                return -errno.EMSGSIZE
            if mac < 0:
                return -errno.EINVAL
            kind: int = int(number if number else self.number)
            whole = mac.to_bytes(6, "big") + int(device.mac).to_bytes(6, "big") + kind.to_bytes(2, "big") + data
        frame = ethernet.frame_of(whole)
        self.table.sender = self
        device.put(frame)
        self.table.sender = None
        return size

    # What its devices take besides

    def add_membership(self, device: Device, kind: i64, mac: int) -> i64:
        for member in self.memberships:
            if member.device is device and member.kind == kind and member.mac == mac:
                member.count += 1
                return 0
        self.memberships.append(LinkMembership(device, kind, mac))
        _take(device, kind, mac, 1)
        return 0

    def drop_membership(self, device: Device | None, kind: i64, mac: int) -> i64:
        for member in self.memberships:
            if member.device is device and member.kind == kind and member.mac == mac:
                member.count -= 1
                if member.count == 0:
                    self.memberships.remove(member)
                    _take(member.device, kind, mac, -1)
                break
        return 0  # Linux does not mind that there was none

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for member in self.memberships:
            _take(member.device, member.kind, member.mac, -1)
        self.memberships.clear()
        self.table.remove(self)
        self.drop_queue()


def _take(device: Device, kind: i64, mac: int, by: i64) -> None:
    if kind == MR_PROMISC:
        device.promiscuity += by
    elif kind == MR_ALLMULTI:
        device.group_watchers += by
    elif kind == MR_MULTICAST:
        if by > 0:
            device.join(mac)
        else:
            device.leave(mac)


def hardware_of(ip: Ip, device: Device) -> i64:
    """The ARPHRD_ number of a device."""
    return ARPHRD_LOOPBACK if device is ip.loopback_device() else ARPHRD_ETHER


@final
class LinkTable(Sniffer):
    """The packet sockets of one host, in the order of their making."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.socks: list[LinkSock] = []
        self.sender: LinkSock | None = None  # whose frame goes out just now: it does not see it itself

    def refresh(self) -> None:
        """Let devices show their frames, or no more."""
        watches = False
        for sock in self.socks:
            if sock.number:
                watches = True
        for device in self.ip.devices:
            device.sniffer = self if watches else None

    def remove(self, sock: LinkSock) -> None:
        if sock in self.socks:
            self.socks.remove(sock)
            self.refresh()

    def saw(self, frame: Frame, device: Device, outgoing: bool) -> None:
        data: bytes = b""
        kind: i64 = OUTGOING
        index: i64 = 0
        for sock in self.socks.copy():
            if sock is self.sender or not sock.wants(frame, device, outgoing):
                continue
            if not data:
                # A program's own header may have another source than the device.
                data = ethernet.encode(frame)
                if not outgoing:
                    kind = kind_of(frame, device)
                index = self.ip.devices.index(device) + 1
            sock.catch(frame, data, device, kind, index)


def kind_of(frame: Frame, device: Device) -> i64:
    """What a frame that has come in is to the host."""
    if frame.eth_dst == BROADCAST_MAC:
        return BROADCAST
    if frame.eth_dst & GROUP_BIT:
        return MULTICAST
    return HOST if frame.eth_dst == device.mac else OTHER_HOST


def create(ip: Ip, type: i64, protocol: i64) -> LinkSock:
    """A new packet socket; `protocol` is an EtherType in the order of the network, as socket(2) takes it."""
    table = ip.sniffer
    if table is None:
        table = LinkTable(ip)
        ip.sniffer = table
    assert isinstance(table, LinkTable), "only this file puts something there"
    number: i64 = ((protocol & 0xFF) << 8) | ((protocol >> 8) & 0xFF)
    sock = LinkSock(table, type, number)
    table.socks.append(sock)
    table.refresh()
    return sock
