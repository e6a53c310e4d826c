"""One host's netfilter: its tables, and the order in which a packet meets them at each point of its way.

The order is that of Linux' priorities: fragments are put together, then raw, connection tracking, mangle, the nat
table's destinations, filter, the nat table's sources, and a new connection is confirmed when its first packet leaves or
is delivered. The object is the `Filter` that lunar/net asks, from the first rule on; before, a host has none and pays
one test for each packet and point. Tracking is switched on by the first rule that needs it.

Left out: the security table and bridges' tables, which belong to what the stack does not have.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64, mypyc_attr

from lunar.net import fragment, ip_input
from lunar.net.device import Device
from lunar.net.ip import FORWARD, LOCAL_IN, LOCAL_OUT, POST_ROUTING, PRE_ROUTING, Filter, Ip
from lunar.netfilter.conntrack import Conntrack
from lunar.netfilter.nat import translate
from lunar.netfilter.rule import ACCEPT, Context, Table
from lunar.packet import AF_INET, Packet

RAW: Final = "raw"
MANGLE: Final = "mangle"
NAT: Final = "nat"
FILTER: Final = "filter"
TABLES: Final = (RAW, MANGLE, NAT, FILTER)

_PRE: Final = "PREROUTING"
_IN: Final = "INPUT"
_FORWARD: Final = "FORWARD"
_OUT: Final = "OUTPUT"
_POST: Final = "POSTROUTING"

# The built-in chains of each table, by their points; "" where the table does not look.
_HOOKS: Final = {
    RAW: [_PRE, "", "", _OUT, ""],
    MANGLE: [_PRE, _IN, _FORWARD, _OUT, _POST],
    NAT: [_PRE, _IN, "", _OUT, _POST],
    FILTER: ["", _IN, _FORWARD, _OUT, ""],
}


@final
class Owner:
    """The program that sends a packet: its user, its group, its number and its name."""

    def __init__(self, uid: i64, gid: i64, pid: i64, command: str) -> None:
        self.uid: i64 = uid
        self.gid: i64 = gid
        self.pid: i64 = pid
        self.command: str = command


@mypyc_attr(allow_interpreted_subclasses=True)
class SenderFinder:
    """Who knows which program sends a packet."""

    def owner(self, packet: Packet) -> Owner | None:
        """The program; None when no socket of the host sends the packet."""
        raise NotImplementedError


@final
class Tables:
    """The tables of one family, each None until a command asks for it, as on Linux."""

    def __init__(self, family: i64) -> None:
        self.family: i64 = family
        self.raw: Table | None = None
        self.mangle: Table | None = None
        self.nat: Table | None = None
        self.filter: Table | None = None

    def get(self, name: str) -> Table | None:
        """The table of this name, if it has been made."""
        if name == RAW:
            return self.raw
        if name == MANGLE:
            return self.mangle
        return self.nat if name == NAT else self.filter

    def make(self, name: str) -> Table:
        """The table of this name, made when it is not there. `name` is one of TABLES."""
        found = self.get(name)
        if found is not None:
            return found
        made = Table(name, self.family, _HOOKS[name])
        self.put(made)
        return made

    def put(self, table: Table) -> None:
        """Let `table` take the place of the one with its name."""
        if table.name == RAW:
            self.raw = table
        elif table.name == MANGLE:
            self.mangle = table
        elif table.name == NAT:
            self.nat = table
        else:
            self.filter = table

    def all(self) -> list[Table]:
        """Those that have been made."""
        return [table for table in (self.raw, self.mangle, self.nat, self.filter) if table is not None]


@final
class Netfilter(Filter):
    """The filter of one host.

    `log` is called with a priority of syslog's and a line for the kernel's log. `senders` finds a packet's program.
    `shared` is what matches of several rules have in common, by name (`--hashlimit-name`).
    """

    def __init__(self, ip: Ip, log: Any, senders: SenderFinder) -> None:
        self.ip: Ip = ip
        self.log: Any = log
        self.senders: SenderFinder = senders
        self.inet: Tables = Tables(AF_INET)
        self.inet6: Tables = Tables(10)
        self.conntrack: Conntrack | None = None
        self.shared: dict[str, object] = {}
        self._forwarded: Packet | None = None  # between FORWARD and POST_ROUTING
        self._forwarded_from: Device | None = None

    def tables(self, family: i64) -> Tables:
        """The tables of AF_INET or AF_INET6."""
        return self.inet if family == AF_INET else self.inet6

    def need_conntrack(self) -> Conntrack:
        """Tracking is needed from now on; it sees the packets that come after."""
        conntrack = self.conntrack
        if conntrack is None:
            conntrack = Conntrack(self.ip)
            self.conntrack = conntrack
            self.switch_on()
        return conntrack

    def switch_on(self) -> None:
        """There is something to ask from now on."""
        self.ip.filter = self

    def run_nat_table(self, packet: Packet, context: Context) -> i64:
        """What the nat table says of the first packet of a connection; lunar/netfilter/nat.py asks."""
        table = self.tables(packet.family).nat
        return table.verdict(packet, context) if table is not None else ACCEPT

    def passes(self, point: i64, packet: Packet, came_by: Device | None, goes_by: Device | None) -> bool:
        """Lead the packet through all that looks at this point. False: it is dropped, or somebody has taken it."""
        tables = self.inet if packet.family == AF_INET else self.inet6
        conntrack = self.conntrack
        if point == FORWARD:
            self._forwarded = packet
            self._forwarded_from = came_by
        elif point == POST_ROUTING:
            # Rules see there, too, where a packet came in that is forwarded.
            if self._forwarded is packet:
                came_by = self._forwarded_from
            self._forwarded = None
        context = Context(self, point, came_by, goes_by, self.ip.scheduler.now_ns)
        if point == PRE_ROUTING or point == LOCAL_OUT:
            if conntrack is not None and (packet.more_fragments or packet.fragment_offset != 0):
                return self._gather(point, packet, came_by)
            raw = tables.raw
            if raw is not None and raw.verdict(packet, context) != ACCEPT:
                return False
            if conntrack is not None and not conntrack.enter(packet, point, came_by):
                return False
        mangle = tables.mangle
        if mangle is not None and mangle.verdict(packet, context) != ACCEPT:
            return False
        nat = conntrack is not None and conntrack.nat and packet.track is not None
        if nat and (point == PRE_ROUTING or point == LOCAL_OUT) and translate(self, packet, context) != ACCEPT:
            return False
        filter = tables.filter
        if filter is not None and filter.verdict(packet, context) != ACCEPT:
            return False
        if conntrack is not None and (point == LOCAL_IN or point == POST_ROUTING):
            if nat and translate(self, packet, context) != ACCEPT:
                return False
            if not conntrack.confirm(packet):
                return False
            if point == LOCAL_IN and int(packet.protocol) in self.ip.handlers:
                # The protocol gets the packet without its connection, as on Linux: an error about it is a new packet.
                packet.track = None
                packet.ctinfo = 2
        return True

    def lost(self, device: Device, address: int) -> None:
        """What was hidden behind an address ends with it (nat.py)."""
        conntrack = self.conntrack
        if conntrack is not None:
            conntrack.address_lost(device, address)

    def _gather(self, point: i64, packet: Packet, came_by: Device | None) -> bool:
        """Tracking needs whole packets (Linux' nf_defrag). The last fragment to come sends the whole on its way."""
        if point != PRE_ROUTING or came_by is None:
            return True  # only raw sockets send fragments; they go as they are
        whole = fragment.gather(self.ip, packet)
        if whole is not None:
            ip_input.go_on(self.ip, whole, came_by)
        return False
