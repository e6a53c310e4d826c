"""A network device of a host: `lo`, `eth0`, ... with its addresses, MTU and counters.

Going out, `transmit` hands the frame to the device's medium (a link's end, or the loopback). Coming in, the scheduler
calls `arrive`, which hands it to the host's `receiver` (net/ip_input.py). A capture listens at `tap` in both ways.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, final

from mypy_extensions import i64, mypyc_attr

from lunar.net.address import Address
from lunar.net.device_conf import INET, INET6, INET6_OWN, INET_OWN, DeviceConf
from lunar.net.groups import Group
from lunar.packet import AF_INET, BROADCAST_MAC, GROUP_BIT, Frame, Port

LOOPBACK_MTU: Final = 65536  # as Linux' lo
# How many frames a device takes in while its host stands still: the receive ring of Linux' e1000 by default.
RING_FRAMES: Final = 256
# The groups of all hosts (224.0.0.1, ff02::1), in which each device is.
_ALL_IPV4: Final = 0x0100_5E00_0001
_ALL_IPV6: Final = 0x3333_0000_0001
_ALL_HOSTS: Final = 0xE000_0001
_ALL_NODES: Final = 0xFF02 << 112 | 1
_ALL_NODES_HERE: Final = 0xFF01 << 112 | 1


class Medium:
    """What a device sends into. The links implement it."""

    def transmit(self, frame: Frame, device: Device) -> None:
        """Take the frame over; deliver, delay or drop it."""
        raise NotImplementedError

    def cut(self, device: Device) -> None:
        """The host of `device` has lost its power: what it has not sent wholly is gone."""

    def way_out(self, device: Device) -> object | None:
        """What carries the frames that `device` sends, a `lunar.links.link.Wire`; None where nothing queues."""
        return None

    def readdress(self, device: Device, old: int) -> None:
        """`device` has another hardware address than `old`, by which it was known."""

    def resolve(self, device: Device, next_hop: int) -> int:
        """The hardware address of the neighbour of `device` that has `next_hop`; -1 when nobody here has it."""
        raise NotImplementedError

    def bring_back(self, frame: Frame, port: Port) -> None:
        """Let `frame` arrive at `port` at this instant: what a host sends to others and hears itself. Only of lo."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Receiver:
    """Who takes the frames that arrive at a device: a host's network layer."""

    def receive_frame(self, frame: Frame, device: Device) -> None:
        raise NotImplementedError


class Sniffer:
    """Who is shown the frames of a device besides: a host's packet sockets."""

    def saw(self, frame: Frame, device: Device, outgoing: bool) -> None:
        """`frame` is going out, or has come in. It is still another's."""
        raise NotImplementedError


@final
class Nobody(Receiver):
    """The receiver of a host without a stack: its devices have dropped everything before."""

    def receive_frame(self, frame: Frame, device: Device) -> None:
        raise AssertionError("a frame came through to a host that is down")


@final
class Device(Port):
    """One device. `addresses` are those of both families, of each in the order in which they were given."""

    def __init__(self, name: str, mac: i64, mtu: i64, receiver: Receiver) -> None:
        self.name: str = name
        self.mac: i64 = mac
        self.mtu: i64 = mtu
        # Whether it takes TCP segments of more than the MSS and cuts them itself (offload.py), as with Linux' TSO and
        # GSO. What is seen of such a device is what the stack hands it.
        self.gso: bool = False
        # Whether it puts TCP segments together that come in at once and follow one another, as with Linux' GRO. Only
        # from outside of the run several come at once.
        self.gro: bool = False
        # How many packets its own queue has room for; -1: as many as come. Media take all at once, so that only none
        # at all makes a difference (tc qdisc ... pfifo limit 0): then nothing can be sent.
        self.queue_packets: i64 = -1
        # Whether its queue paces what sockets send at their rate (tc qdisc ... fq); TCP does it for the queue.
        self.paces: bool = False
        self.receiver: Receiver = receiver
        self.medium: Medium | None = None
        self.addresses: list[Address] = []
        # Whether it asks for its neighbours' hardware addresses, by ARP and neighbour discovery, and answers who asks.
        # Without, as Linux' IFF_NOARP, the medium tells them at once. `arp_at_boot`: as the device was made.
        self.arp: bool = False
        self.arp_at_boot: bool = False
        self.neighbors: dict[int, object] | None = None  # by address; only net/neighbor.py puts something there
        # Hardware addresses of groups (multicast) that the host listens to, with how often; None: no group.
        self.groups: dict[int, int] | None = None
        # The groups themselves, of both families, with whom the host wants to hear in them (listener.py); None: none.
        self.memberships: dict[int, Group] | None = None
        # What holds for it of net.ipv4.conf, net.ipv6.conf and neigh, and what was set for it alone (device_confs.py).
        self.inet: DeviceConf = INET
        self.inet_own: DeviceConf = INET_OWN
        self.inet6: DeviceConf = INET6
        self.inet6_own: DeviceConf = INET6_OWN
        # What the administrator has changed of the hardware's own, as it was before; -1: nothing (host.py, at a boot).
        self.mtu_at_boot: i64 = -1
        self.mac_at_boot: i64 = -1
        self.alias: str = ""  # what ip-link(8) calls so: a text of the administrator's
        self.txqueuelen: i64 = 1000
        self.queue: object | None = None  # what tc says of its own queue (net_tools/queues.py)
        self.promiscuous: bool = False  # takes frames that are for others
        self.allmulti: bool = False  # takes all groups
        self.up: bool = True  # by the administrator; use Host.set_up, which sees to the routes
        self.plugged: bool = True  # without its cable a device sends into nothing, and its host does not know
        # Without power a device takes and sends nothing. On a host that stands still (`hold`) it fills its ring.
        self.running: bool = True
        self._ring: deque[Frame] | None = None
        # A capture: called as tap(device, frame) for each frame in and out.
        self.tap: Any = None
        self.sniffer: Sniffer | None = None  # as long as a packet socket is open
        self.promiscuity: i64 = 0  # how many of them want what is for others, and what is for groups
        self.group_watchers: i64 = 0
        self.rx_packets: i64 = 0
        self.rx_bytes: i64 = 0
        self.rx_dropped: i64 = 0
        self.tx_packets: i64 = 0
        self.tx_bytes: i64 = 0
        self.tx_dropped: i64 = 0

    def transmit(self, frame: Frame) -> None:
        """Send `frame`, whose destination is resolved. A device that is down or unplugged drops and counts."""
        frame.eth_src = self.mac
        self.put(frame)

    def put(self, frame: Frame) -> None:
        """Send a frame whose source was written by who made it."""
        medium = self.medium
        if medium is None or not self.up or not self.plugged or not self.running or self.queue_packets == 0:
            self.tx_dropped += 1
            return
        self.tx_packets += 1
        self.tx_bytes += frame.size_bytes
        if self.tap is not None:
            self.tap(self, frame)
        if self.sniffer is not None:
            self.sniffer.saw(frame, self, True)
        medium.transmit(frame, self)

    def arrive(self, frame: Frame) -> None:
        if not self.up or not self.plugged:
            self.rx_dropped += 1
            return
        # A switch floods what is for groups; a device takes only what is meant for it.
        mine = True
        if frame.eth_dst != self.mac and frame.eth_dst != BROADCAST_MAC and not self.takes(frame.eth_dst):
            if not self.promiscuous and self.promiscuity == 0:
                self.rx_dropped += 1
                return
            mine = False  # it is shown to who wants to see it, and the stack does not take it
        if not self.running:
            if mine:
                self._store(frame)
            return
        self.rx_packets += 1
        self.rx_bytes += frame.size_bytes
        if self.tap is not None:
            self.tap(self, frame)
        if self.sniffer is not None:
            self.sniffer.saw(frame, self, False)
        if mine:
            self.receiver.receive_frame(frame, self)

    def takes(self, mac: i64) -> bool:
        """Whether `mac` is a group's that the device is in."""
        if not mac & GROUP_BIT:
            return False
        groups = self.groups
        if self.allmulti or self.group_watchers > 0:
            return True
        return mac == _ALL_IPV4 or mac == _ALL_IPV6 or (groups is not None and int(mac) in groups)

    def join(self, mac: int) -> None:
        """Take what goes to the group's hardware address `mac`, until it has left as often as joined."""
        groups = self.groups
        if groups is None:
            groups = {}
            self.groups = groups
        groups[mac] = groups.get(mac, 0) + 1

    def leave(self, mac: int) -> None:
        """Take back one `join`."""
        groups = self.groups
        if groups is not None and mac in groups:
            groups[mac] -= 1
            if groups[mac] == 0:
                del groups[mac]

    def hears(self, group: int, source: int) -> bool:
        """Whether the host listens here to what `source` sends to the multicast address `group`."""
        memberships = self.memberships
        if memberships is not None:
            found = memberships.get(group)
            if found is not None:
                return found.allows(source)
        return group == _ALL_HOSTS or group == _ALL_NODES or group == _ALL_NODES_HERE

    def _store(self, frame: Frame) -> None:
        ring = self._ring
        if ring is None or len(ring) >= RING_FRAMES:
            self.rx_dropped += 1
        else:
            ring.append(frame)

    def hold(self) -> None:
        """The host stands still: keep what arrives, as much as the ring has room for, and drop the rest."""
        self.running = False
        self._ring = deque()

    def go_on(self) -> None:
        """The host goes on: hand it what the ring kept, in order."""
        ring = self._ring
        self._ring = None
        self.running = True
        if ring is not None:
            for frame in ring:
                self.arrive(frame)

    def set_mtu(self, mtu: i64) -> None:
        """The administrator wants another MTU, until the next boot."""
        if self.mtu_at_boot < 0:
            self.mtu_at_boot = self.mtu
        self.mtu = mtu

    def set_mac(self, mac: i64) -> None:
        """The same of its hardware address."""
        if self.mac_at_boot < 0:
            self.mac_at_boot = self.mac
        self._readdress(mac)

    def _readdress(self, mac: i64) -> None:
        old: i64 = self.mac
        self.mac = mac
        if self.medium is not None and mac != old:
            self.medium.readdress(self, int(old))

    def boot(self) -> None:
        """The host boots, and finds the device as it was made."""
        self.running = True
        self.up = True
        self.promiscuous = False
        self.allmulti = False
        self.alias = ""
        self.txqueuelen = 1000
        self.gso = False
        self.gro = False
        if self.mtu_at_boot >= 0:
            self.mtu = self.mtu_at_boot
            self.mtu_at_boot = -1
        if self.mac_at_boot >= 0:
            mac: i64 = self.mac_at_boot
            self.mac_at_boot = -1
            self._readdress(mac)

    def power_off(self) -> None:
        """The host is off: what arrives is dropped, what the ring and the queue towards the link held is gone."""
        self.running = False
        self._ring = None
        self.neighbors = None
        self.groups = None
        if self.medium is not None:
            self.medium.cut(self)

    def has_address(self, address: int) -> bool:
        """Whether `address` is one of the device's."""
        for own in self.addresses:  # noqa: SIM110 - asked for each packet; compiled, a loop needs no generator
            if own.address == address:
                return True
        return False

    def conf(self, family: i64) -> DeviceConf:
        """What holds for it, of `family`: `inet` or `inet6`."""
        return self.inet if family == AF_INET else self.inet6

    def primary_address(self, family: i64 = AF_INET) -> int:
        """The first address of `family`, 0 if the device has none."""
        for own in self.addresses:
            if own.family == family:
                return own.address
        return 0
