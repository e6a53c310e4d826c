"""Connections of one host in every state, for the fuzzer: `Bench` is the host, `Slot` one connection or none.

The host has two links. By one come the fuzzed frames, and what it sends there is swallowed; by the other it talks to a
friend, over a connection that must stay whole whatever comes by the first. A slot whose connection has been driven out
of its state is made anew.
"""

from __future__ import annotations

import random
from typing import Any

from frames import Aim, Frames
from invariants import Broken, Watch, require

from lunar.links.impairments import Impairment
from lunar.network import Network
from lunar.packet import ACK, AF_INET, FIN, IGMP, SYN, Frame, Packet, TcpSegment
from lunar.packet import set_tcp_size as set_size
from lunar.tcp.tcb import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
)
from lunar.tcp.time_wait import TimeWait
from lunar.wire import ethernet
from weaves.scheduler import IDLE

HOST, ATTACKER, FRIEND, HOST_TO_FRIEND = 0x0A00_0001, 0x0A00_0042, 0x0A01_0002, 0x0A01_0001
PORT, FRIEND_PORT, DATAGRAM_PORT = 80, 7000, 53
MS = 1_000_000

# How large things may become, whatever comes: sockets, requests, TIME-WAITs; events on the heap.
MOST_ENDS = 12_000
MOST_EVENTS = 40_000


class Swallow(Impairment):
    """Nobody is at the other end. What the host sends must have bytes, and fit the link."""

    def __init__(self) -> None:
        self.count = 0
        self.last: Frame | None = None

    def drops(self, frame: Frame) -> bool:
        self.count += 1
        self.last = frame
        if self.count % 64 == 0:
            ethernet.encode(frame)
        require(frame.size_bytes <= 1500, "a frame above the MTU was sent", frame.size_bytes)
        return True


class Slot:
    """A connection in the state that its name says, with the attacker as its peer."""

    def __init__(self, bench: Bench, name: str, number: int) -> None:
        self.bench = bench
        self.name = name
        self.port = 10_000 + number
        self.sock: Any = None
        self.watch: Watch | None = None
        self.frames_left = 0
        self.aim = Aim(ATTACKER, HOST, 0, self.port)
        self.build()

    def build(self) -> None:
        """Put a fresh connection into the state."""
        self.drop()
        bench = self.bench
        self.frames_left = bench.rng.randrange(20, 400)
        bench.peer_port = 20_000 + (bench.peer_port - 19_999) % 40_000
        aim = self.aim = Aim(ATTACKER, HOST, bench.peer_port, self.port)
        aim.seq = bench.rng.getrandbits(32)
        aim.ts_val = bench.rng.getrandbits(32)
        getattr(self, self.name)()
        sock = self.sock
        if sock is not None:
            self.watch = Watch(sock, self.name)
            sock.waiters.append(self.woken)

    def woken(self, mask: int) -> None:
        """A program that does nothing when it is woken."""

    def drop(self) -> None:
        """Let go of what there is."""
        sock, self.sock, self.watch = self.sock, None, None
        if sock is not None and not sock.closed:
            sock.linger_on, sock.linger_s = True, 0
            sock.close()

    def says(self, flags: int, data: bytes = b"", window: int = 65_535, skip: int = 0, **options: int) -> None:
        """The peer sends a segment as it should be; its numbers go on by what it occupies."""
        aim = self.aim
        seq = aim.seq + skip
        segment = TcpSegment(
            AF_INET, aim.src, aim.dst, aim.sport, aim.dport, seq & 0xFFFF_FFFF, aim.ack & 0xFFFF_FFFF, flags, window,
            data,
        )  # fmt: skip
        segment.eth_dst = self.bench.mac
        segment.has_timestamps = True
        segment.ts_val = aim.ts_val
        segment.ts_ecr = aim.ts_ecr
        for name, value in options.items():
            setattr(segment, name, value)
        set_size(segment)
        self.bench.device.arrive(segment)
        if not skip:
            aim.seq += len(data) + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)

    def end(self) -> Any:
        """What the host has for this connection in its table: a socket, a request, a TIME-WAIT; None."""
        aim = self.aim
        return self.bench.tables.find(HOST, aim.dport, aim.src, aim.sport)

    def is_gone(self) -> bool:
        """Whether the connection is over, and it is time for another."""
        if self.name in ("closed", "listen", "cookie"):
            return False
        return self.end() is None

    def refresh(self) -> None:
        """Learn the numbers that the host expects now."""
        sock, aim = self.sock, self.aim
        if self.name == "listen":
            # Each SYN from another port, so that the queues fill.
            aim.sport = self.bench.rng.randrange(1, 65_536)
            return
        if sock is None or sock.state == CLOSED:
            end = self.end()
            if isinstance(end, TimeWait):
                aim.seq, aim.ack, aim.una = int(end.rcv_nxt), int(end.snd_nxt), int(end.snd_nxt)
                aim.ts_val = int(end.ts_recent)
            return
        aim.ack, aim.una = int(sock.snd_nxt), int(sock.snd_una)
        if sock.state != SYN_SENT:
            aim.seq = int(sock.rcv_nxt)
            aim.window = max(int(sock.rcv_wup + sock.rcv_wnd - sock.rcv_nxt), 1)
            aim.ts_val = int(sock.ts_recent)
        aim.ts_ecr = int(sock.timestamp())

    # The states, RFC 9293 section 3.3.2.

    def closed(self) -> None:
        """Nobody has the port."""

    def listen(self) -> None:
        """SYNs for the listener that never accepts: its queues fill."""
        self.aim.dport = PORT

    def request(self) -> None:
        """A connection in a listener's SYN queue."""
        self.aim.dport = self.bench.listener_port(self.port)
        self.says(SYN, mss=1460, window_scale=7)
        found = self.bench.tables.find(HOST, self.aim.dport, ATTACKER, self.aim.sport)
        if found is not None:
            self.aim.ack = self.aim.una = int(getattr(found, "iss", 0)) + 1

    def cookie(self) -> None:
        """A SYN that was answered by a cookie, since the queue was full: the host keeps nothing of it."""
        aim = self.aim
        aim.dport = self.bench.listener_port(self.port, 0)
        self.take()  # what a cookie brought before
        self.drop()
        sport = aim.sport
        for other in (1, 2, 3):
            aim.sport = other  # these stay in the queue
            self.says(SYN, mss=1460)
            aim.sport = sport
        self.says(SYN, mss=1460, window_scale=7, sack_permitted=True)
        answer = self.bench.swallow.last
        if isinstance(answer, TcpSegment) and answer.flags & SYN:
            aim.ack = aim.una = int(answer.seq) + 1
            aim.ts_ecr = int(answer.ts_val)

    def fast_open(self) -> None:
        """SYN-RECEIVED of a connection whose SYN brought data: its program has it already."""
        self.aim.dport = self.bench.listener_port(self.port)
        self.says(SYN, b"early data", mss=1460, window_scale=7, sack_permitted=True)
        self.take()
        if self.sock is not None:
            self.sock.send(b"early answer", False)

    def syn_sent(self) -> None:
        sock = self.sock = self.bench.socket()
        require(sock.bind(HOST, self.bench.free_port()) == 0, "bind fails")
        sock.connect(ATTACKER, self.aim.sport)
        self.aim.dport = int(sock.local_port)
        self.aim.ack = self.aim.una = int(sock.snd_nxt)

    def syn_received(self) -> None:
        """A simultaneous open, half way."""
        self.syn_sent()
        self.says(SYN, mss=1460, window_scale=7)
        require(self.sock.state == SYN_RECEIVED, "not in SYN-RECEIVED", self.sock.state)

    def established(self) -> None:
        self.syn_sent()
        self.aim.ack = int(self.sock.snd_nxt)
        self.says(SYN | ACK, mss=1460, window_scale=7, sack_permitted=True)
        require(self.sock.state == ESTABLISHED, "not established", self.sock.state)
        self.refresh()

    def accepted(self) -> None:
        """Established from the listening side."""
        self.request()
        self.says(ACK)
        self.take()

    def take(self) -> None:
        """Accept what there is: the last is the slot's."""
        listener = self.bench.listeners[self.aim.dport]
        child = listener.accept_one()
        while child is not None:
            self.sock = child
            child = listener.accept_one()
            if child is not None:
                self.sock.linger_on = True
                self.sock.close()

    def busy(self) -> None:
        """Established, with a window of data in flight and more behind it."""
        self.established()
        self.sock.send(b"x" * 60_000, False)

    def stuck(self) -> None:
        """Established, and the peer's window is closed."""
        self.established()
        self.says(ACK, window=0)
        self.sock.send(b"x" * 30_000, False)

    def with_holes(self) -> None:
        """Established, and data has come that lies beyond holes."""
        self.established()
        for hole in (1000, 5000, 9000, 3000):
            self.says(ACK, b"y" * 900, skip=hole)

    def fin_wait_1(self) -> None:
        self.established()
        self.sock.shutdown(1)
        require(self.sock.state == FIN_WAIT_1, "not in FIN-WAIT-1", self.sock.state)

    def fin_wait_2(self) -> None:
        self.fin_wait_1()
        self.refresh()
        self.says(ACK)
        require(self.sock.state == FIN_WAIT_2, "not in FIN-WAIT-2", self.sock.state)

    def orphan(self) -> None:
        """FIN-WAIT-2 whose program has gone: a small object waits for the FIN."""
        self.fin_wait_2()
        self.sock.close()

    def closing(self) -> None:
        self.fin_wait_1()
        self.aim.ack = int(self.sock.snd_una)
        self.says(FIN | ACK)
        require(self.sock.state == CLOSING, "not in CLOSING", self.sock.state)

    def time_wait(self) -> None:
        self.fin_wait_2()
        self.says(FIN | ACK)

    def close_wait(self) -> None:
        self.established()
        self.says(FIN | ACK)
        require(self.sock.state == CLOSE_WAIT, "not in CLOSE-WAIT", self.sock.state)

    def last_ack(self) -> None:
        self.close_wait()
        self.sock.shutdown(1)
        require(self.sock.state == LAST_ACK, "not in LAST-ACK", self.sock.state)


STATES = (
    "closed", "listen", "request", "cookie", "fast_open", "syn_sent", "syn_received", "established", "accepted",
    "busy", "stuck", "with_holes", "fin_wait_1", "fin_wait_2", "orphan", "closing", "time_wait", "close_wait",
    "last_ack",
)  # fmt: skip


class Bench:
    """The host, its friend, and a slot for each state."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        net = self.net = Network(seed=rng.getrandbits(30))
        self.scheduler = net.scheduler
        host = self.host = net.host("host", "10.0.0.1/24", "10.1.0.1/24")
        attacker, friend = net.host("attacker", "10.0.0.66/24"), net.host("friend", "10.1.0.2/24")
        self.swallow = Swallow()
        net.link(host, attacker, impairment=lambda: self.swallow)
        net.link(host, friend, delay="1ms")
        # Data in a SYN is taken without a cookie, and by every listener.
        host.sh(f"sysctl -w net.ipv4.tcp_fastopen={0x1 | 0x2 | 0x4 | 0x200 | 0x400}")
        self.tables = host.tcp.tables
        self.device = host.devices["eth0"]
        self.mac = int(self.device.mac)
        self.frames = Frames(rng, self.mac)
        self.peer_port = 20_000
        self.local_port = 40_000
        self.listeners: dict[int, Any] = {}
        self.datagrams = host.udp.create(AF_INET)
        require(self.datagrams.bind(0, DATAGRAM_PORT) == 0, "bind fails")
        self.listens(PORT, 8)
        self.arrived = 0
        self.igmp = 0
        self._befriend(friend)
        self.slots = [Slot(self, name, number) for number, name in enumerate(STATES)]

    def socket(self) -> Any:
        return self.host.tcp.create(AF_INET)

    def free_port(self) -> int:
        self.local_port = 30_000 + (self.local_port - 29_999) % 30_000
        return self.local_port

    def listens(self, port: int, backlog: int) -> Any:
        sock = self.socket()
        require(sock.bind(0, port) == 0 and sock.listen(backlog) == 0, "listen fails")
        self.listeners[port] = sock
        return sock

    def listener_port(self, port: int, backlog: int = 64) -> int:
        """A listener of a slot's own, at its port."""
        if port not in self.listeners:
            self.listens(port, backlog)
        return port

    # The connection beside.

    def _befriend(self, friend: Any) -> None:
        listening = self.listens(FRIEND_PORT, 1)
        sock = self.near = friend.tcp.create(AF_INET)
        sock.connect(HOST_TO_FRIEND, FRIEND_PORT)
        self.scheduler.run(100 * MS, 1000)
        self.beside = listening.accept_one()
        require(self.beside is not None, "the friend does not get through")
        self.sent = bytearray()
        self.echoed = bytearray()
        self.talks = 0

    def talk(self) -> None:
        """The friend says something."""
        piece = self.talks.to_bytes(4, "big") * 100
        self.talks += 1
        taken = int(self.near.send(piece, False))
        if taken > 0:
            self.sent += piece[:taken]

    def hear(self) -> None:
        """The host sends back what has come, and the friend compares what came back."""
        while (heard := self.beside.recv(1 << 16, False)) is not None:
            require(heard != b"", "the connection beside has ended")
            self.beside.send(heard, False)
        while (heard := self.near.recv(1 << 16, False)) is not None:
            require(heard != b"", "the connection beside has ended at the friend")
            self.echoed += heard
        done = len(self.echoed)
        require(self.echoed == self.sent[:done], "the connection beside carries other data than was sent")
        del self.sent[:done], self.echoed[:done]

    # Fuzzing.

    def step(self) -> None:
        """One frame to one slot, then perhaps a call of its program, and time."""
        rng = self.rng
        slot = self.slots[rng.randrange(len(self.slots))]
        slot.frames_left -= 1
        if slot.frames_left < 0 or slot.is_gone():
            slot.build()
        slot.refresh()
        self.arrived += 1
        frame = ethernet.frame_of(self.frames.frame(slot.aim))
        if isinstance(frame, Packet) and frame.protocol == IGMP:
            self.igmp += 1
        self.device.arrive(frame)
        draw = rng.getrandbits(6)
        if draw < 8 and slot.watch is not None:
            slot.watch.look()
        elif draw < 12:
            self._call(slot)
        elif draw < 16:
            # Mostly little; at times enough for every timer.
            self.talk()
            self.pass_time(rng.choice((0, 0, MS, MS, 40 * MS, 300 * MS, 5000 * MS if draw == 12 else MS)))

    def _call(self, slot: Slot) -> None:
        """The slot's program does something."""
        sock = slot.sock
        if sock is None or sock.closed:
            return
        call = self.rng.randrange(6)
        if call == 0:
            sock.recv(self.rng.choice((1, 100, 1 << 20)), False)
        elif call == 1:
            sock.send(b"z" * self.rng.choice((1, 100, 5000)), self.rng.random() < 0.3)
        elif call == 2:
            sock.poll()
            sock.take_error()
        elif call == 3:
            sock.info()
        elif call == 4:
            sock.recv(1, True)
        elif self.rng.random() < 0.1:
            sock.shutdown(self.rng.randrange(3))

    def pass_time(self, ns: int) -> None:
        self.scheduler.run(int(self.scheduler.now_ns) + ns, 1 << 30)
        self.hear()
        ends = sum(len(row) for row in self.tables.connections.values())
        require(ends <= MOST_ENDS, "the table of connections grows", ends)
        events = self.scheduler.pending()
        require(events <= MOST_EVENTS, "the heap grows", events)

    # The end.

    def finish(self) -> None:
        """All is closed: nothing is left, and each frame was counted somewhere."""
        for _ in range(20):
            self.pass_time(1000 * MS)
        require(not self.sent, "the connection beside lost something", len(self.sent))
        for slot in self.slots:
            slot.drop()
        for sock in (self.datagrams, self.near, self.beside, *self.listeners.values()):
            sock.close()
        reason = self.scheduler.run(int(self.scheduler.now_ns) + 3 * 3600 * 1000 * MS, 1 << 30)
        require(reason == IDLE, "events are left", self.scheduler.pending())
        for table in (self.tables.connections, self.tables.ports, self.tables.listeners):
            require(not table, "something is left in a table", len(table))
        self._count()

    def _count(self) -> None:
        count = self.host.ip.counters
        devices = self.host.devices.values()
        eth0 = self.device
        require(eth0.rx_packets + eth0.rx_dropped >= self.arrived, "a frame was not counted by the device")
        taken = sum(int(device.rx_packets) for device in devices)
        other = int(count.ip_in_receives)
        require(taken >= other, "more packets than frames", taken, other)
        ended = (
            count.ip_in_hdr_errors + count.ip_in_addr_errors + count.ip_in_martian_dst + count.ip_in_discards
            + count.ip_in_no_protos + count.ip_in_delivers + count.ip_reasm_reqds - count.ip_reasm_oks
        )  # fmt: skip
        require(count.ip_in_receives == ended, "a packet was not counted by IP", count.ip_in_receives, ended)
        upward = (
            count.tcp_in_segs + count.icmp_in_msgs + count.udp_in_datagrams + count.udp_no_ports + count.udp_in_errors
        )
        # IGMP has no counters, on Linux neither; a later fragment of it counts here without being delivered.
        missing = int(count.ip_in_delivers - upward)
        require(0 <= missing <= self.igmp, "a packet was not counted above IP", count.ip_in_delivers, upward)

    def close(self) -> None:
        """Whatever state it is in: nothing of it runs any more."""
        for host in self.net.hosts.values():
            host.crash()
        self.net.close()


__all__ = ["STATES", "Bench", "Broken"]
