"""From a next hop to a hardware address: the neighbour table, one for each family.

A device without `arp` has its medium's answer at once, as where Linux' IFF_NOARP is set: no message, nothing that ages.
With it each neighbour has an entry and a state (RFC 4861 section 7.3.2; Linux has the same for IPv4, arp(7)): what is
asked, what is believed until when, when it is asked again. Packets wait in the entry for the first answer. What the
questions look like is their protocol's: arp.py, ndisc.py.

An entry has a timer only while something is to happen with it by itself: as long as it is asked for, and until what was
confirmed is too old. So a host that sends nothing has none. Old entries are looked for when there are many and another
one comes, not by a clock.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Final, final

from mypy_extensions import i64

from lunar.net.device import Device, Receiver
from lunar.net.device_conf import DeviceConf
from lunar.net.groups import hardware_address
from lunar.net.ip import Ip
from lunar.net.route import Route
from lunar.packet import AF_INET, BROADCAST_MAC, ETHERNET_HEADER_BYTES, Frame, Packet
from weaves.scheduler import Event

# The states, with Linux' numbers (linux/neighbour.h).
NONE: Final = 0x00
INCOMPLETE: Final = 0x01  # asked for by multicast, for the first time or again
REACHABLE: Final = 0x02  # it has answered, or the layers above hear from it
STALE: Final = 0x04  # known, and not confirmed for a while: asked again when it is used
DELAY: Final = 0x08  # used since: perhaps the layers above confirm it
PROBE: Final = 0x10  # asked for, itself and not everybody
FAILED: Final = 0x20  # there was no answer
NOARP: Final = 0x40
PERMANENT: Final = 0x80  # put there by the administrator

CONNECTED: Final = PERMANENT | NOARP | REACHABLE
VALID: Final = CONNECTED | STALE | DELAY | PROBE
_IN_TIMER: Final = INCOMPLETE | REACHABLE | DELAY | PROBE

# What `resolve` says when the packet waits for an answer, or has been dropped where nobody hears of it.
HELD: Final = -1
NO_ADDRESS: Final = -1  # in place of a hardware address

_S: Final = 1_000_000_000
_MS: Final = 1_000_000
# A question is not asked again sooner, whatever retrans_time_ms says (Linux: HZ / 100, of 250 ticks a second).
_RETRANS_LEAST_NS: Final = 8 * _MS
_REACHABLE_DRAWN_EVERY_NS: Final = 300 * _S  # RFC 4861 (6.3.4) says hours; Linux five minutes
_LONG_AGO_NS: Final = 3600 * _S  # before now, of what has never been
_FORCED_EVERY_NS: Final = 5 * _S  # above gc_thresh2 old entries are let go of so often
_COLLECT_EVERY_NS: Final = 15 * _S  # above gc_thresh1: half of base_reachable_time
_PACKET_OVERHEAD_BYTES: Final = 512  # what Linux charges a packet beyond its data; as in datagram_sock.py


@final
class Drawn:
    """How long a confirmation holds at a device: drawn between half and one and a half of the base, and now and then
    anew (RFC 4861, 6.3.2).
    """

    def __init__(self) -> None:
        self.base_ns: i64 = -1
        self.at_ns: i64 = 0
        self.reachable_ns: i64 = 0


class NeighborProtocol:
    """Who puts the questions: ARP, or neighbour discovery."""

    def solicit(self, entry: Neighbor, mac: i64, waiting: Packet | None) -> None:
        """Ask for `entry`: everybody, or, where `mac` is not NO_ADDRESS, the neighbour itself. `waiting` is a packet
        that is for it, whose source the question may have.
        """
        raise NotImplementedError

    def unreachable(self, packet: Packet) -> None:
        """There was no answer: tell the sender of `packet`, which waited."""
        raise NotImplementedError

    def router_answers(self, entry: Neighbor, answers: bool) -> None:
        """A router does not answer any more, or does again."""

    def receive(self, frame: Frame, device: Device) -> None:
        """A message that came in."""
        raise NotImplementedError


@final
class Neighbor:
    """One entry. `mac` is NO_ADDRESS until there was an answer."""

    def __init__(self, table: Neighbors, device: Device, address: int, now: i64) -> None:
        self.table: Neighbors = table
        self.device: Device = device
        self.address: int = address
        self.state: i64 = NONE
        self.mac: i64 = NO_ADDRESS
        self.is_router: bool = False
        self.probes: i64 = 0
        self.confirmed_ns: i64 = now - _LONG_AGO_NS  # never yet
        self.updated_ns: i64 = now
        self.used_ns: i64 = now
        self.timer: NeighborTimer | None = None
        self.queue: deque[Packet] | None = None
        self.queue_bytes: i64 = 0

    def confirm(self) -> None:
        """The layers above hear from the neighbour: what we send reaches it."""
        self.confirmed_ns = self.table.ip.scheduler.now_ns

    def set_state(self, state: i64) -> None:
        # What the administrator has put there does not count for the table's limits.
        if state == PERMANENT and self.state != PERMANENT:
            self.table.count -= 1
        elif self.state == PERMANENT and state != PERMANENT:
            self.table.count += 1
        self.state = state


@final
class NeighborTimer(Event):
    """An entry's event on the heap."""

    def __init__(self, entry: Neighbor) -> None:
        super().__init__()
        self.entry: Neighbor = entry

    def fire(self) -> None:
        entry = self.entry
        if entry.timer is self:
            entry.timer = None
            entry.table.expire(entry)


@final
class Neighbors(Receiver):
    """The table of one host and family. `protocol` asks. Its parameters are `neigh_...` of the devices' conf."""

    def __init__(self, ip: Ip, family: i64, protocol: NeighborProtocol) -> None:
        self.ip: Ip = ip
        self.family: i64 = family
        self.protocol: NeighborProtocol = protocol
        self._drawn: dict[Device, Drawn] = {}
        # Addresses for which we answer in others' place, each with the name of its device, "" for any.
        self.proxies: list[tuple[int, str]] = []
        self.devices: list[Device] = []  # those that have had entries
        self.count: i64 = 0  # entries that may be let go of: all but PERMANENT
        self.gc_thresh1: i64 = 128
        self.gc_thresh2: i64 = 512
        self.gc_thresh3: i64 = 1024
        self.collected_ns: i64 = 0
        # As `ip -s ntable` and /proc/net/stat/arp_cache have them.
        self.allocs: i64 = 0
        self.destroys: i64 = 0
        self.res_failed: i64 = 0
        self.unres_discards: i64 = 0
        self.table_fulls: i64 = 0
        self.forced_gc_runs: i64 = 0

    def receive_frame(self, frame: Frame, device: Device) -> None:
        self.protocol.receive(frame, device)

    # The entries

    def conf(self, device: Device) -> DeviceConf:
        """The parameters of `device`."""
        return device.inet if self.family == AF_INET else device.inet6

    def reachable_ns(self, device: Device) -> i64:
        """How long a confirmation holds just now."""
        drawn = self._drawn.get(device)
        if drawn is None:
            drawn = Drawn()
            self._drawn[device] = drawn
        now: i64 = self.ip.scheduler.now_ns
        base: i64 = self.conf(device).neigh_base_reachable_time_ms * _MS
        if drawn.base_ns != base or now - drawn.at_ns > _REACHABLE_DRAWN_EVERY_NS:
            drawn.base_ns = base
            drawn.at_ns = now
            drawn.reachable_ns = 0 if base == 0 else (base >> 1) + self.ip.rng.randrange(int(base))
        return drawn.reachable_ns

    def _retrans_ns(self, device: Device) -> i64:
        return max(self.conf(device).neigh_retrans_time_ms * _MS, _RETRANS_LEAST_NS)

    def _delay_ns(self, device: Device) -> i64:
        return self.conf(device).neigh_delay_first_probe_time * _S

    def find(self, device: Device, address: int) -> Neighbor | None:
        """The entry for `address` on `device`."""
        entries = device.neighbors
        if entries is None:
            return None
        found = entries.get(address)
        return found if isinstance(found, Neighbor) else None

    def make(self, device: Device, address: int) -> Neighbor | None:
        """The entry for `address`, new if there was none; None where the table is full."""
        found = self.find(device, address)
        if found is not None:
            return found
        if not self._room():
            return None
        entries = device.neighbors
        if entries is None:
            entries = {}
            device.neighbors = entries
        if device not in self.devices:
            self.devices.append(device)
        made = Neighbor(self, device, address, self.ip.scheduler.now_ns)
        entries[address] = made
        self.count += 1
        self.allocs += 1
        return made

    def all(self) -> list[Neighbor]:
        """All entries, in the order of their devices and of their making."""
        found: list[Neighbor] = []
        for device in self.devices:
            entries = device.neighbors
            if entries is not None:
                for entry in entries.values():
                    if isinstance(entry, Neighbor) and entry.table is self:
                        found.append(entry)
        return found

    def remove(self, entry: Neighbor) -> None:
        """Let go of `entry`, and of what waits there."""
        self._disarm(entry)
        entry.set_state(FAILED)
        self._drop_queue(entry)
        entries = entry.device.neighbors
        if entries is not None and entries.get(entry.address) is entry:
            del entries[entry.address]
            self.count -= 1
            self.destroys += 1

    def flush(self, device: Device, keep_permanent: bool = False) -> None:
        """The device goes down, or its ARP off: its entries are gone."""
        entries = device.neighbors
        if entries is None:
            return
        for entry in list(entries.values()):
            if isinstance(entry, Neighbor) and entry.table is self:
                if not keep_permanent or entry.state != PERMANENT:
                    self.remove(entry)

    def _room(self) -> bool:
        """Whether one entry more fits; old ones are let go of for that."""
        count: i64 = self.count
        if count < self.gc_thresh1:
            return True
        now: i64 = self.ip.scheduler.now_ns
        if count >= self.gc_thresh3 or (count >= self.gc_thresh2 and now - self.collected_ns > _FORCED_EVERY_NS):
            self.forced_gc_runs += 1
            self.collected_ns = now
            self._collect(count - self.gc_thresh2, True)
            if self.count >= self.gc_thresh3:
                self.table_fulls += 1
                return False
        elif now - self.collected_ns > _COLLECT_EVERY_NS:
            self.collected_ns = now
            self._collect(count, False)
        return True

    def _collect(self, most: i64, forced: bool) -> None:
        """Let go of up to `most` entries: those that failed or were not used for long; forced, of all that nothing
        is going on with.
        """
        now: i64 = self.ip.scheduler.now_ns
        for entry in self.all():
            if most <= 0:
                return
            if entry.state & (PERMANENT | _IN_TIMER):
                continue
            if entry.state != FAILED:
                used: i64 = max(entry.used_ns, entry.confirmed_ns)
                stale_ns: i64 = self.conf(entry.device).neigh_gc_stale_time * _S
                if now - entry.updated_ns < _FORCED_EVERY_NS if forced else now - used <= stale_ns:
                    continue
            self.remove(entry)
            most -= 1

    # Use

    def resolve(self, device: Device, next_hop: int, packet: Packet) -> i64:
        """The hardware address for `packet`, or HELD when it waits for one, or a negative errno."""
        entry = self.find(device, next_hop)
        if entry is None:
            entry = self.make(device, next_hop)
            if entry is None:
                return -errno.ENOBUFS
        if entry.state & CONNECTED:
            return entry.mac  # as on Linux, where the header is kept, nothing is noted of it
        now: i64 = self.ip.scheduler.now_ns
        entry.used_ns = now
        if entry.state & (DELAY | PROBE):
            return entry.mac
        if entry.state == STALE:
            entry.set_state(DELAY)
            entry.updated_ns = now
            self._arm(entry, now + self._delay_ns(device))
            return entry.mac
        if entry.state != INCOMPLETE:
            conf = self.conf(device)
            if conf.neigh_mcast_solicit == 0:
                entry.set_state(FAILED)
                entry.updated_ns = now
                return HELD  # dropped; nobody is told
            entry.probes = conf.neigh_ucast_solicit
            entry.set_state(INCOMPLETE)
            entry.updated_ns = now
            self._hold(entry, packet)
            self._arm(entry, now + self._retrans_ns(device))
            self._probe(entry)
            return HELD
        self._hold(entry, packet)
        return HELD

    def _hold(self, entry: Neighbor, packet: Packet) -> None:
        """Let `packet` wait for the answer; where it is too much, the oldest go."""
        queue = entry.queue
        if queue is None:
            queue = deque()
            entry.queue = queue
        size: i64 = _charged(packet)
        while queue and entry.queue_bytes + size > self.conf(entry.device).neigh_unres_qlen_bytes:
            entry.queue_bytes -= _charged(queue.popleft())
            self.unres_discards += 1
            self.ip.family(self.family).counters.ip_out_discards += 1
        queue.append(packet)
        entry.queue_bytes += size

    def _drop_queue(self, entry: Neighbor) -> None:
        queue = entry.queue
        if queue is not None:
            self.ip.family(self.family).counters.ip_out_discards += len(queue)
        entry.queue = None
        entry.queue_bytes = 0

    def _send_queue(self, entry: Neighbor) -> None:
        queue = entry.queue
        entry.queue = None
        entry.queue_bytes = 0
        while queue:
            packet = queue.popleft()
            packet.eth_dst = entry.mac
            entry.device.transmit(packet)

    def _probe(self, entry: Neighbor) -> None:
        """Ask once more: the neighbour itself first, as long as it is known, and then everybody."""
        queue = entry.queue
        waiting: Packet | None = queue[len(queue) - 1] if queue else None
        mac: i64 = NO_ADDRESS
        if entry.probes < self.conf(entry.device).neigh_ucast_solicit and entry.mac != NO_ADDRESS:
            mac = entry.mac
        entry.probes += 1
        self.protocol.solicit(entry, mac, waiting)

    # Time

    def _arm(self, entry: Neighbor, at_ns: i64) -> None:
        self._disarm(entry)
        timer = NeighborTimer(entry)
        entry.timer = timer
        self.ip.scheduler.post(timer, self.ip.lane, at_ns)

    def _disarm(self, entry: Neighbor) -> None:
        timer = entry.timer
        if timer is not None:
            entry.timer = None
            self.ip.scheduler.cancel(timer)

    def expire(self, entry: Neighbor) -> None:
        """An entry's time has come."""
        now: i64 = self.ip.scheduler.now_ns
        conf = self.conf(entry.device)
        delay_ns: i64 = self._delay_ns(entry.device)
        state: i64 = entry.state
        if state == REACHABLE:
            until: i64 = entry.confirmed_ns + self.reachable_ns(entry.device)
            if now < until:
                self._arm(entry, until)
            elif now < entry.used_ns + delay_ns:
                # In use just now: wait for a word from above before it is asked.
                entry.set_state(DELAY)
                entry.updated_ns = now
                self._arm(entry, now + delay_ns)
            else:
                entry.set_state(STALE)
                entry.updated_ns = now
            return
        if state == DELAY:
            if now <= entry.confirmed_ns + delay_ns:
                entry.set_state(REACHABLE)
                entry.updated_ns = now
                self._arm(entry, max(entry.confirmed_ns + self.reachable_ns(entry.device), now))
                return
            entry.set_state(PROBE)
            entry.updated_ns = now
            entry.probes = 0
        most: i64 = conf.neigh_ucast_solicit
        most += conf.neigh_mcast_resolicit if entry.state == PROBE else conf.neigh_mcast_solicit
        if entry.probes >= most:
            self._fail(entry)
            return
        self._arm(entry, now + self._retrans_ns(entry.device))
        self._probe(entry)

    def _fail(self, entry: Neighbor) -> None:
        """Nobody has answered: what waits is sent back."""
        entry.set_state(FAILED)
        entry.updated_ns = self.ip.scheduler.now_ns
        self.res_failed += 1
        if entry.is_router:
            self.protocol.router_answers(entry, False)
        queue = entry.queue
        entry.queue = None
        entry.queue_bytes = 0
        while queue:
            packet = queue.popleft()
            self.ip.family(self.family).counters.ip_out_discards += 1
            self.protocol.unreachable(packet)

    # What is heard

    def learn(self, device: Device, address: int, mac: i64) -> Neighbor | None:
        """Somebody asks us, and so tells its own address: it is known now, though not confirmed."""
        entry = self.make(device, address)
        if entry is not None:
            self.update(entry, mac, STALE, True)
        return entry

    def update(self, entry: Neighbor, mac: i64, state: i64, override: bool, weak: bool = False) -> bool:
        """The neighbour is at `mac` (NO_ADDRESS: where it was) and now has `state`, as a message says. Without
        `override` another address than the known one is not believed; with `weak` besides, it is where the known one is
        in doubt only. Whether all else that the message says is to be believed, too.
        """
        old: i64 = entry.state
        if old & (NOARP | PERMANENT):
            return False
        now: i64 = self.ip.scheduler.now_ns
        if not old & VALID:
            if mac == NO_ADDRESS:
                return False
        elif mac != NO_ADDRESS and mac != entry.mac and not override:
            if weak and old & CONNECTED:
                # RFC 4861 (7.2.5): another address without the flag to override: the old one is in doubt.
                self._settle(entry, entry.mac, STALE, now)
            return False
        elif mac == NO_ADDRESS or mac == entry.mac:
            if state == STALE:
                return True  # nothing new: it stays as sure as it was
            mac = entry.mac
        self._settle(entry, mac, state, now)
        return True

    def put(self, entry: Neighbor, mac: i64, state: i64) -> None:
        """As the administrator says, whatever was there."""
        if not state & VALID:
            self._disarm(entry)
            entry.set_state(state)
            entry.updated_ns = self.ip.scheduler.now_ns
            self._drop_queue(entry)
            return
        self._settle(entry, mac, state, self.ip.scheduler.now_ns)

    def _settle(self, entry: Neighbor, mac: i64, state: i64, now: i64) -> None:
        old: i64 = entry.state
        if state & CONNECTED:
            entry.confirmed_ns = now
        if state != old or mac != entry.mac:
            entry.updated_ns = now
        if state != old:
            self._disarm(entry)
            entry.probes = 0
            entry.set_state(state)
            if state == REACHABLE:
                self._arm(entry, now + self.reachable_ns(entry.device))
            elif state == DELAY:
                self._arm(entry, now + self._delay_ns(entry.device))
            elif state == PROBE:
                self._arm(entry, now + self._retrans_ns(entry.device))
        if mac != entry.mac:
            entry.mac = mac
            if not state & CONNECTED:
                entry.confirmed_ns = now - _LONG_AGO_NS
        if state == PROBE and state != old:
            self._probe(entry)
        if entry.is_router and state == REACHABLE and old != REACHABLE:
            self.protocol.router_answers(entry, True)
        if not old & VALID:
            self._send_queue(entry)

    def is_proxy_for(self, address: int, device: Device) -> bool:
        """Whether we answer for `address` on `device`, in its owner's place."""
        if not self.proxies:
            return False
        return (address, device.name) in self.proxies or (address, "") in self.proxies


def _charged(packet: Packet) -> i64:
    return packet.size_bytes + ETHERNET_HEADER_BYTES + _PACKET_OVERHEAD_BYTES


def resolve(ip: Ip, device: Device, next_hop: int, broadcast: bool, packet: Packet) -> i64:
    """The hardware address for `next_hop` on `device`; HELD when `packet` waits for an answer or was dropped, another
    negative number is an errno.
    """
    if broadcast:
        return BROADCAST_MAC
    if device.arp:
        if ip.is_multicast(next_hop):
            return hardware_address(next_hop)
        table = ip.family(packet.family).neighbors
        # A host without IPv6 has no table for it.
        return table.resolve(device, next_hop, packet) if isinstance(table, Neighbors) else -errno.EHOSTUNREACH
    if device.neighbors is not None:
        # What the administrator has put there holds without ARP, too.
        known = device.neighbors.get(next_hop)
        if isinstance(known, Neighbor) and known.state == PERMANENT:
            return known.mac
    medium = device.medium
    mac: i64 = -1 if medium is None else medium.resolve(device, next_hop)
    if mac >= 0:
        return mac
    return hardware_address(next_hop) if ip.is_multicast(next_hop) else -errno.EHOSTUNREACH


def confirm(route: Route, dst: int) -> None:
    """The layers above hear from `dst`: who passes packets on to it by `route` is reachable."""
    entries = route.device.neighbors
    if entries is not None:
        found = entries.get(route.gateway if route.gateway else dst)
        if isinstance(found, Neighbor):
            found.confirm()
