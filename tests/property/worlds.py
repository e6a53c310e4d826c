"""A random network, from its plan to its end: hosts, links, faults, programs, and what is compared.

`run` lets one event happen after the other and looks at both sockets after each. It returns figures, or raises `Broken`
or whatever the stack raised.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from invariants import Broken, Watch, WireWatch, require
from programs import Program, data_of

from lunar.links.impairments import RandomLoss
from lunar.links.red import RedLimits
from lunar.net_tools import CommandError
from lunar.network import Network
from lunar.packet import AF_INET, Frame
from lunar.tcp import sockopt
from lunar.tcp.sender import pacing
from weaves import seeds
from weaves.scheduler import IDLE, REACHED, Call

CLIENT, SERVER = 0x0A00_0001, 0x0A00_0002
FAR_SERVER = 0x0A00_0102  # behind a router
PORT, CLIENT_PORT = 80, 5000
# tcp_fastopen of the two: a client's SYN carries data without a cookie, a server takes that, on each listener.
_FAST = (0x1 | 0x4, 0x2 | 0x200 | 0x400)
# How long a network may take, in virtual time; and how many events. None comes near.
LONGEST_NS = 6 * 3600 * 1_000_000_000
MOST_EVENTS = 400_000


class Figures(NamedTuple):
    """How hard a network was."""

    number: int
    retransmissions: int
    timeouts: int
    events: int
    virtual_s: float


class World:
    """The network of a plan. `show` is called with a line of text for each segment and each end of a program."""

    def __init__(self, plan: SimpleNamespace, show: Callable[[str], None] | None = None) -> None:
        self.plan = plan
        self.show = show
        net = self.net = Network(seed=plan.number)
        self.scheduler = net.scheduler
        far = plan.router_mtu is not None
        client = net.host("client", "10.0.0.1/24")
        server = net.host("server", "10.0.1.2/24" if far else "10.0.0.2/24")
        self.hosts = (client, server)
        self.addresses = (CLIENT, FAR_SERVER if far else SERVER)
        self.wires: list[Any] = []
        if far:
            router = net.host("router", "10.0.0.9/24", "10.0.1.9/24")
            router.sh("sysctl -w net.ipv4.ip_forward=1")
            self._link(client, "router.eth0", plan.mtu)
            self._link("router.eth1", server, plan.router_mtu)
            client.sh("route add default gw 10.0.0.9")
            server.sh("route add default gw 10.0.1.9")
        else:
            self._link(client, server, plan.mtu)
        for host, values in zip(self.hosts, plan.sysctls, strict=True):
            for name, value in values.items():
                _set(host, name, value)
        self.programs: list[Program | None] = [None, None]
        self.watches: list[Watch] = []
        self.wire_watches = (WireWatch(), WireWatch())
        self.socks: list[Any] = []
        self.lanes = [net.supervisor.new_lane() for _ in range(3)]
        for side in (0, 1):
            self.hosts[side].devices["eth0"].tap = self._tap(side)
        self._plan_faults()
        self.listening: Any = None
        if plan.opening == "simultaneous":
            self._open_both()
        elif plan.opening == "fast":
            for host, bits in zip(self.hosts, _FAST, strict=True):
                _set(host, "net.ipv4.tcp_fastopen", bits)
            self._listen()
            self._open_fast()
        else:
            self._listen()
            self._open()

    # What it is made of.

    def _link(self, a: Any, b: Any, mtu: int) -> None:
        plan = self.plan
        red = plan.red
        link = self.net.link(
            a, b, rate=plan.rate, delay=plan.delay_ns, queue=plan.queue, mtu=mtu, loss=plan.loss,
            loss_burst=plan.loss_burst, reorder=plan.reorder, reorder_by=max(plan.reorder_by_ns, 1),
            duplicate=plan.duplicate,
            # On one link alone: two flips of one packet can make up for each other, and no checksum tells.
            corrupt=0.0 if self.wires else plan.corrupt,
            red=None if red is None else RedLimits(red[0], 3 * red[0], False, red[1], ecn=red[2]),
        )  # fmt: skip
        self.wires += [link.a_to_b, link.b_to_a]

    def _plan_faults(self) -> None:
        plan = self.plan
        self._at(plan.heals_ns, self._heal)
        for start, end in plan.outages:
            self._at(start, self._break)
            self._at(end, self._heal_outage)
        if plan.mtu_falls is not None:
            self._at(plan.mtu_falls[0], self._mtu_falls)
        self.faults = [wire.impairment for wire in self.wires]
        self.healed = False

    def _at(self, at_ns: int, function: Callable[[Any], None]) -> None:
        self.scheduler.post(Call(function, None), self.lanes[2], at_ns)

    def _break(self, _: Any) -> None:
        for wire in self.wires:
            wire.impairment = RandomLoss(1.0, seeds.generator(1, "link", "outage"))

    def _heal_outage(self, _: Any) -> None:
        for wire, fault in zip(self.wires, self.faults, strict=True):
            wire.impairment = None if self.healed else fault

    def _heal(self, _: Any) -> None:
        self.healed = True
        self._heal_outage(None)

    def _mtu_falls(self, _: Any) -> None:
        """The last link's MTU becomes smaller, as when a route changes; a direct link's devices know it."""
        mtu = self.plan.mtu_falls[1]
        link = self.net.links[-1]
        link.a.mtu, link.b.mtu = min(link.a.mtu, mtu), min(link.b.mtu, mtu)

    def _socket(self, side: int) -> Any:
        sock = self.hosts[side].tcp.create(AF_INET)
        self._configure(sock, side)
        return sock

    def _configure(self, sock: Any, side: int) -> None:
        plan = self.plan
        if plan.rcvbuf[side]:
            sock.rcvbuf, sock.rcvbuf_locked = max(2 * plan.rcvbuf[side], 2304), True
        if plan.sndbuf[side]:
            sock.sndbuf, sock.sndbuf_locked = max(2 * plan.sndbuf[side], 4608), True
        if plan.pacing_rate[side]:
            pacing.limit(sock, plan.pacing_rate[side])
        sock.user_mss = plan.user_mss[side]
        sock.nodelay = plan.nodelay[side]
        sock.cork = plan.cork[side]
        sock.oob_inline = plan.urgent[1 - side] > 0  # the urgent byte stays where it is written
        if plan.keepalive_ns[side]:
            sock.keepalive = True
            sock.keepidle_ns = plan.keepalive_ns[side]
            sock.keepintvl_ns = max(plan.keepalive_ns[side], 5_000_000_000)  # nine of them outlast any outage

    def _listen(self) -> None:
        listening = self.listening = self._socket(1)
        require(listening.bind(0, PORT) == 0 and listening.listen(5) == 0, "bind or listen fails")
        listening.waiters.append(lambda mask: self._at_now(self.plan.accept_after_ns, self._accept))

    def _open(self) -> None:
        sock = self._socket(0)
        result = sock.connect(self.addresses[1], PORT)
        require(result == -errno.EINPROGRESS, "connect says", result)
        self._connecting(sock, 0)

    def _open_fast(self) -> None:
        """RFC 7413, without cookies: data goes in the SYN, as much as it takes, and the program goes on from there."""
        sock = self._socket(0)
        took = int(sock.send_fast_open(data_of(self.plan, 0), self.addresses[1], PORT, False))
        require(took > 0 or took == -errno.EINPROGRESS, "MSG_FASTOPEN says", took)
        self._watch(sock, 0)
        self._start(sock, 0, max(took, 0))

    def _open_both(self) -> None:
        socks = [self._socket(0), self._socket(1)]
        for side, sock in enumerate(socks):
            require(sock.bind(self.addresses[side], CLIENT_PORT) == 0, "bind fails")
            result = sock.connect(self.addresses[1 - side], CLIENT_PORT)
            require(result == -errno.EINPROGRESS, "connect says", result)
            self._connecting(sock, side)

    def _at_now(self, after_ns: int, function: Callable[[Any], None]) -> None:
        self._at(int(self.scheduler.now_ns) + after_ns, function)

    def _connecting(self, sock: Any, side: int) -> None:
        self._watch(sock, side)
        sock.waiters.append(lambda mask: self._connected(sock, side))

    def _connected(self, sock: Any, side: int) -> None:
        if sock.error:
            # The peer may have reset the connection before we knew that it was there.
            require(sock.error == errno.ECONNRESET, "connect fails", errno.errorcode.get(sock.error, sock.error))
        sock.waiters.clear()
        self._start(sock, side)

    def _accept(self, _: Any) -> None:
        while (child := self.listening.accept_one()) is not None:
            if self.programs[1] is not None:
                # A second one, by a SYN that came late or again: nobody wants it.
                child.close()
                continue
            if self.plan.keepalive_ns[1]:
                sockopt.keepalive_changed(child)
            self._watch(child, 1)
            self._start(child, 1)

    def _watch(self, sock: Any, side: int) -> None:
        self.socks.append(sock)
        self.watches.append(Watch(sock, self.hosts[side].name))
        self.wire_watches[side].sock = sock

    def _start(self, sock: Any, side: int, sent: int = 0) -> None:
        quickack = self.plan.quickack[side]
        if quickack is not None:
            sockopt.set_quickack(sock, quickack)
        self.programs[side] = Program(sock, self.scheduler, self.lanes[side], self.plan, side, sent)

    def _tap(self, side: int) -> Callable[[Any, Frame], None]:
        watch = self.wire_watches[side]
        own = self.addresses[side]
        show = self.show

        def tap(device: Any, frame: Frame) -> None:
            ours = getattr(frame, "src", None) == own
            if show is not None:
                show(_line(self.scheduler.now_ns, self.hosts[side].name, "sends" if ours else "gets ", frame))
            if ours:
                watch.transmitted(frame)
            else:
                watch.heard(frame)

        return tap

    # Running.

    def run(self) -> Figures:
        """Until nothing is left to happen; then everything must be over, told and empty."""
        scheduler = self.scheduler
        watches = self.watches
        events = 0
        name = ""
        try:
            while True:
                reason = scheduler.run(LONGEST_NS, 1)
                if reason == IDLE or reason == REACHED:
                    break
                events += 1
                if events > MOST_EVENTS:
                    raise Broken(f"no end after {events} events, at {scheduler.now_ns / 1e9:.3f} s")
                for watch in watches:
                    name = watch.name
                    watch.look()
        except Broken as error:
            raise Broken(f"{error} ({name} at {scheduler.now_ns / 1e9:.6f} s)") from None
        if reason == REACHED:
            raise Broken(f"no end by {LONGEST_NS / 1e9:.0f} s")
        self._compare()
        self._clean_up()
        counters = [host.ip.counters for host in self.hosts]
        return Figures(
            self.plan.number, sum(int(one.tcp_retrans_segs) for one in counters),
            sum(int(one.tcp_timeouts) for one in counters), events, int(scheduler.now_ns) / 1e9,
        )  # fmt: skip

    def _compare(self) -> None:
        """Nothing lost, doubled or changed; and whoever can be done is done."""
        ends = self.plan.ends
        rough = "abort" in ends or "early" in ends
        for side, program in enumerate(self.programs):
            name = self.hosts[side].name
            if program is None:
                require(rough, f"it hangs: {name} was never connected")
                continue
            require(program.closed, f"it hangs: {name} waits, with sent and got", program.sent, len(program.got))
        for side, program in enumerate(self.programs):
            peer = self.programs[1 - side]
            if program is None:
                continue
            data = peer.data[: peer.sent] if peer is not None else b""
            got = bytes(program.got)
            require(data.startswith(got), "what arrives is not what was sent", _difference(data, got))
            if not rough:
                require(not program.error, "a reset that nobody asked for", self.hosts[side].name)
            if peer is not None and self._exact(side):
                require(got == peer.data, "not all arrives", len(got), len(peer.data))
                require(program.ended, "the end does not arrive")

    def _exact(self, side: int) -> bool:
        """Whether all that the peer has must reach this side: both stay until then."""
        mine, peers = self.plan.ends[side], self.plan.ends[1 - side]
        stays = mine in ("half", "wait")
        # A peer that closes early does no harm if there is nothing that it does not read.
        return stays and (peers in ("half", "wait") or (peers == "early" and self.plan.sizes[side] == 0))

    def _clean_up(self) -> None:
        if self.listening is not None:
            self.listening.close()
        self.scheduler.run(LONGEST_NS, 100_000)
        require(self.scheduler.pending() == 0, "events are left", self.scheduler.pending())
        for host in self.hosts:
            tables = host.tcp.tables
            for table in (tables.connections, tables.ports, tables.listeners):
                require(not table, f"something is left in a table of {host.name}", table)
        for sock in self.socks:
            require(sock.state == 7, "a socket is not closed", sock.state)
            for name in ("packets_out", "sacked_out", "lost_out", "retrans_out", "out_of_order_bytes"):
                require(getattr(sock, name) == 0, "a closed socket holds something", name, getattr(sock, name))
            require(sock.unsent.size == 0 and sock.received.size == 0, "a closed socket holds data")
            require(sock.rmem == 0, "memory is left", sock.rmem)

    def close(self) -> None:
        """Whatever state it is in: nothing of it runs any more."""
        for program in self.programs:
            if program is not None:
                program.closed = True
        for side, host in enumerate(self.hosts):
            host.devices["eth0"].tap = None
            host.crash()
            self.scheduler.drop_lane(self.lanes[side], -1)
        self.scheduler.drop_lane(self.lanes[2], -1)
        self.net.close()


def _set(host: Any, name: str, value: Any) -> None:
    values = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    try:
        host.sh(f"sysctl -w {name}='{values}'")
    except CommandError:
        return  # the stack does not obey it (yet): the plan says so, and the network is what it was


def _difference(sent: bytes, got: bytes) -> str:
    at = next((at for at, (a, b) in enumerate(zip(sent, got, strict=False)) if a != b), min(len(sent), len(got)))
    return f"{len(sent)} sent, {len(got)} got, different from byte {at} on"


def _line(now_ns: int, name: str, what: str, frame: Any) -> str:
    """One segment, in the manner of tcpdump."""
    where = f"{now_ns / 1e9:.6f} {name} {what}"
    if not hasattr(frame, "flags"):
        return f"{where} {type(frame).__name__} of {frame.size_bytes} bytes"
    flags = "".join(letter for bit, letter in enumerate("FSRP.UEW") if frame.flags >> bit & 1)
    more = "".join(
        [
            f" mss {frame.mss}" if frame.mss >= 0 else "",
            f" wscale {frame.window_scale}" if frame.window_scale >= 0 else "",
            f" ts {frame.ts_val} {frame.ts_ecr}" if frame.has_timestamps else "",
            f" sack {frame.sack_blocks}" if frame.sack_blocks else "",
        ]
    )
    return f"{where} {flags} {frame.seq}({len(frame.payload)}) ack {frame.ack} win {frame.window}{more}"


__all__ = ["Figures", "World"]
