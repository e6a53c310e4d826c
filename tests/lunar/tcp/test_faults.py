"""Property: what a network may lose, delay, reorder or repeat, the stream arrives whole and nothing stays behind."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tcp_scenario import Host, join, ms, s

from lunar.links.impairments import Impairment
from lunar.net.device import Device
from lunar.net.sock import POLLIN, POLLOUT
from lunar.packet import AF_INET, Frame, TcpSegment
from lunar.tcp.sock import TcpSock
from weaves.scheduler import Call, Lane, Scheduler

CLIENT, SERVER = 0x0A00_0001, 0x0A00_0002


def clone(segment: TcpSegment) -> TcpSegment:
    made = TcpSegment(
        segment.family, segment.src, segment.dst, segment.sport, segment.dport, segment.seq, segment.ack, segment.flags,
        segment.window, segment.payload,
    )  # fmt: skip
    for name in ("mss", "window_scale", "has_timestamps", "ts_val", "ts_ecr", "size_bytes", "eth_dst", "ttl"):
        setattr(made, name, getattr(segment, name))
    return made


class Faulty(Impairment):
    """Joins two devices; each frame may be lost, delayed for a random time, or come twice. Faults end at `heals_at`."""

    def __init__(self, scheduler: Scheduler, rng: random.Random, loss: float, repeat: float, jitter_ns: int) -> None:
        self.scheduler = scheduler
        self.lane = Lane(99)
        self.rng = rng
        self.loss = loss
        self.repeat = repeat
        self.jitter_ns = jitter_ns
        # Before an orphan gives up: its last but one retransmission goes out after 51 s.
        self.heals_at = s(40)
        self.devices: list[Device] = []

    def drops(self, frame: Frame) -> bool:
        """Always: what arrives are copies, which it sends itself."""
        assert isinstance(frame, TcpSegment)
        assert frame.size_bytes <= 1500
        now = self.scheduler.now_ns
        faulty = now < self.heals_at
        copies = 2 if faulty and self.rng.random() < self.repeat else 1
        for _ in range(copies):
            if faulty and self.rng.random() < self.loss:
                continue
            delay = ms(5) + (self.rng.randrange(self.jitter_ns + 1) if faulty else 0)
            segment = clone(frame)
            segment.target = self.devices[1] if frame.src == CLIENT else self.devices[0]
            self.scheduler.post(segment, self.lane, now + delay)
        return True


class Program:
    """One side: writes `data` in random pieces at random times, reads in random pieces, then closes."""

    def __init__(self, sock: TcpSock, data: bytes, rng: random.Random, scheduler: Scheduler, half_close: bool) -> None:
        self.sock = sock
        self.data = data
        self.rng = rng
        self.scheduler = scheduler
        self.half_close = half_close
        self.lane = Lane(50 + rng.randrange(1000))
        self.at = 0
        self.got = bytearray()
        self.ended = False
        self.error = 0
        self.closed = False
        self.planned = False
        sock.waiters.append(self.woken)
        self.plan(0)

    def woken(self, mask: int) -> None:
        assert not self.closed
        self.plan(0)

    def plan(self, delay: int) -> None:
        if not self.planned and not self.closed:
            self.planned = True
            self.scheduler.post(Call(self.turn, None), self.lane, self.scheduler.now_ns + delay)

    def turn(self, _: Any) -> None:
        self.planned = False
        if self.closed:
            return
        # Read.
        for _ in range(self.rng.randrange(1, 5)):
            piece = self.sock.recv(self.rng.randrange(1, 30_000), False)
            if piece is None:
                assert self.sock.recv_errno in (11,), self.sock.recv_errno
                break
            if piece == b"":
                self.ended = True
                break
            self.got += piece
        # Write.
        while self.at < len(self.data):
            size = self.rng.randrange(1, 20_000)
            taken = int(self.sock.send(self.data[self.at : self.at + size], self.rng.random() < 0.1))
            if taken < 0:
                assert taken == -11, taken
                break
            self.at += taken
            if self.rng.random() < 0.3:
                break
        written = self.at == len(self.data)
        if written and self.half_close and not self.sock.write_shut:
            assert self.sock.shutdown(1) == 0
        if written and self.ended:
            self.sock.waiters.clear()
            self.sock.close()
            self.closed = True
            return
        mask = self.sock.poll()
        ready = (mask & POLLIN and not self.ended) or (mask & POLLOUT and not written)
        if ready:
            self.plan(self.rng.randrange(ms(20)))


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.01, 0.05, 0.2]),
    repeat=st.sampled_from([0.0, 0.05, 0.3]),
    jitter=st.sampled_from([0, ms(1), ms(30)]),
    sizes=st.tuples(st.integers(0, 200_000), st.integers(0, 200_000)),
    half_close=st.booleans(),
    rcvbuf=st.sampled_from([0, 4000, 20_000]),
)
def test_stream_arrives_whole(
    seed: int, loss: float, repeat: float, jitter: int, sizes: tuple[int, int], half_close: bool, rcvbuf: int
) -> None:
    rng = random.Random(seed)
    scheduler = Scheduler()
    client, server = Host(scheduler, 1, CLIENT), Host(scheduler, 2, SERVER)
    medium = Faulty(scheduler, rng, loss, repeat, jitter)
    medium.devices = [client.device, server.device]
    join(scheduler, client.device, server.device, medium)

    listening = server.tcp.create(AF_INET)
    assert listening.bind(0, 80) == 0
    if rcvbuf:
        listening.rcvbuf = rcvbuf
        listening.rcvbuf_locked = True
    assert listening.listen(5) == 0
    sock = client.tcp.create(AF_INET)
    sock.connect(SERVER, 80)
    up, down = rng.randbytes(sizes[0]), rng.randbytes(sizes[1])
    programs: list[Program] = []

    def accept(mask: int) -> None:
        child = listening.accept_one()
        assert child is not None
        programs.append(Program(child, down, random.Random(seed + 1), scheduler, True))
        listening.close()

    def connected(mask: int) -> None:
        sock.waiters.clear()
        assert sock.error == 0
        # The server says when it has written all; so the client need not, and does not wait for ever.
        programs.append(Program(sock, up, random.Random(seed + 2), scheduler, half_close))

    listening.waiters.append(accept)
    sock.waiters.append(connected)
    scheduler.run(s(3600), 1 << 40)
    while scheduler.pending():
        scheduler.run(scheduler.now_ns + s(3600), 1 << 40)
        assert scheduler.now_ns < s(100_000), "it never ends"
    got = {len(p.data): p for p in programs}
    assert len(programs) == 2, got
    for program in programs:
        peer = programs[1] if program is programs[0] else programs[0]
        assert program.at == len(program.data)
        assert bytes(program.got) == peer.data
        assert program.closed
    assert client.is_empty() and server.is_empty()
    for tcb in (sock, programs[0].sock, programs[1].sock):
        assert tcb.packets_out == tcb.lost_out == tcb.retrans_out == tcb.sacked_out == 0


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.1]), count=st.integers(1, 8))
def test_random_closes_leave_nothing_behind(seed: int, loss: float, count: int) -> None:
    """Connections that are closed at any time, read or unread: at the end there is no event and no entry."""
    rng = random.Random(seed)
    scheduler = Scheduler()
    client, server = Host(scheduler, 1, CLIENT), Host(scheduler, 2, SERVER)
    medium = Faulty(scheduler, rng, loss, 0.05, ms(10))
    medium.devices = [client.device, server.device]
    join(scheduler, client.device, server.device, medium)
    lane = Lane(98)
    listening = server.tcp.create(AF_INET)
    assert listening.bind(0, 80) == 0 and listening.listen(2) == 0
    socks: list[TcpSock] = []

    def accept(mask: int) -> None:
        while (child := listening.accept_one()) is not None:
            socks.append(child)
            at = scheduler.now_ns + rng.randrange(s(2))
            scheduler.post(Call(act, child), lane, at)

    def act(sock: TcpSock) -> None:
        what = rng.randrange(6)
        if what == 0:
            sock.recv(1 << 20, False)
        elif what == 1:
            sock.send(rng.randbytes(rng.randrange(1, 50_000)), False)
        elif what == 2:
            sock.shutdown(rng.randrange(3))
        elif what == 3:
            sock.linger_on = rng.random() < 0.3
            sock.close()
            return
        if scheduler.now_ns < s(30):
            scheduler.post(Call(act, sock), lane, scheduler.now_ns + rng.randrange(s(1)))
        else:
            sock.close()

    listening.waiters.append(accept)
    for _ in range(count):
        sock = client.tcp.create(AF_INET)
        sock.connect(SERVER, 80)
        socks.append(sock)
        scheduler.post(Call(act, sock), lane, scheduler.now_ns + rng.randrange(s(2)))
    scheduler.post(Call(lambda _: listening.close(), None), lane, s(20))
    scheduler.run(s(100_000), 1 << 40)
    assert scheduler.pending() == 0
    for sock in socks:
        sock.close()
    scheduler.run(s(200_000), 1 << 40)
    assert scheduler.pending() == 0
    assert client.is_empty() and server.is_empty()
    for sock in socks:
        assert sock.state == 7
        assert sock.in_flight() == 0 and sock.packets_out == 0


def test_same_seed_same_run() -> None:
    def digest() -> tuple[int, int, int]:
        rng = random.Random(7)
        scheduler = Scheduler()
        client, server = Host(scheduler, 1, CLIENT), Host(scheduler, 2, SERVER)
        medium = Faulty(scheduler, rng, 0.05, 0.05, ms(3))
        medium.devices = [client.device, server.device]
        join(scheduler, client.device, server.device, medium)
        listening = server.tcp.create(AF_INET)
        assert listening.bind(0, 80) == 0 and listening.listen(5) == 0
        sock = client.tcp.create(AF_INET)
        sock.connect(SERVER, 80)
        lane = Lane(97)

        def write(mask: int) -> None:
            sock.send(b"x" * 5000, False)

        sock.waiters.append(write)
        scheduler.run(s(1), 1 << 40)
        lane.fold(int(sock.rto_ns))
        return int(client.ip.lane.posted), int(scheduler.fired), int(lane.digest_a)

    assert digest() == digest()
