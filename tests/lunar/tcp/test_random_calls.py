"""Random calls on the sockets of two hosts, over a link that loses and reorders: what is counted is what is there, and
when all sockets are closed nothing is left of them.

The programs of tests/property use TCP as programs do. These calls are in any order, in any state of a socket, with any
values of the parameters: those that nobody would write are among them.
"""

from __future__ import annotations

import random

import pytest
from tcp_scenario import OWN, PEER, Host, TcpSock, ms, s

from lunar.links.impairments import Impairment, RandomLoss, Reordering, Series
from lunar.links.link import Link, Wire
from lunar.sockets import tcp_options as option
from lunar.tcp import sockopt
from lunar.tcp.congestion.bbr import Bbr
from lunar.tcp.congestion.cubic import Cubic
from lunar.tcp.congestion.dctcp import Dctcp
from lunar.tcp.congestion.reno import Reno
from lunar.tcp.congestion.vegas import Vegas
from lunar.tcp.tcb import CLOSED, LISTEN, LOST, RETRANSMITTED, SACKED
from weaves.scheduler import Lane, Scheduler

PORTS = (1000, 1001, 1002)
PARAMETERS = {
    "tcp_timestamps": (0, 1), "tcp_sack": (0, 1), "tcp_window_scaling": (0, 1), "tcp_ecn": (0, 1, 2),
    "tcp_reordering": (1, 300), "tcp_max_reordering": (1, 300), "tcp_recovery": (0, 2, 4), "tcp_early_retrans": (0, 3),
    "tcp_frto": (0, 2), "tcp_rto_min_us": (1, 2**31 - 1), "tcp_fastopen": (1, 0x403, 0x605), "tcp_syncookies": (0, 2),
    "tcp_min_tso_segs": (1, 65535), "tcp_mtu_probing": (1, 2), "tcp_rmem_default": (256, 4096),
    "tcp_rmem_max": (256, 4096), "tcp_wmem_default": (4096,), "tcp_comp_sack_nr": (0, 255), "tcp_tso_rtt_log": (0, 40),
    "tcp_tso_win_divisor": (0, 2**31 - 1), "tcp_notsent_lowat": (0, 1), "tcp_fin_timeout": (0,), "tcp_retries2": (0, 3),
    "tcp_max_tw_buckets": (0, 1), "tcp_max_orphans": (0, 2), "tcp_orphan_retries": (1,), "tcp_min_rtt_wlen": (0,),
    "tcp_abort_on_overflow": (1,), "tcp_invalid_ratelimit": (0,), "tcp_retrans_collapse": (0,),
}  # fmt: skip
OPTIONS = (
    (option.TCP_NODELAY, 1), (option.TCP_CORK, 1), (option.TCP_CORK, 0), (option.TCP_MAXSEG, 88),
    (option.TCP_WINDOW_CLAMP, 1000), (option.TCP_QUICKACK, 0), (option.TCP_USER_TIMEOUT, 3000),
    (option.TCP_NOTSENT_LOWAT, 1000), (option.TCP_DEFER_ACCEPT, 3), (option.TCP_FASTOPEN, 5),
    (option.TCP_FASTOPEN_CONNECT, 1), (option.TCP_LINGER2, -1),
)  # fmt: skip


class World:
    """Two hosts, each with two listeners, and the sockets that random calls have made."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.scheduler = Scheduler()
        self.hosts = [Host(self.scheduler, 1, OWN), Host(self.scheduler, 2, PEER)]
        a, b = (host.device for host in self.hosts)
        faults: list[Impairment] = [
            RandomLoss(self.rng.choice((0.0, 0.02, 0.3)), self.rng),
            Reordering(self.rng.choice((0.0, 0.1)), ms(50), self.rng),
        ]
        delay = self.rng.choice((0, ms(30)))
        wires = [Wire(self.scheduler, Lane(90 + n), to, 0, delay, 0, 0, Series(faults)) for n, to in enumerate((b, a))]
        a.medium = b.medium = Link("test", a, b, wires[0], wires[1])
        self.socks: list[TcpSock] = []
        for host in self.hosts:
            for name, values in PARAMETERS.items():
                if self.rng.random() < 0.3:
                    setattr(host.tcp.tables.sysctls, name, self.rng.choice(values))
            for port in PORTS[:2]:
                self.new(host, port).listen(5)

    def new(self, host: Host, port: int) -> TcpSock:
        sock = host.tcp.create(2)
        sock.reuse_addr = True
        sock.bind(0, port)
        self.socks.append(sock)
        return sock

    def call(self) -> None:
        rng = self.rng
        sock = rng.choice(self.socks)
        choice = rng.randrange(14)
        if choice in (1, 2, 3) and sock.state != CLOSED:
            choice = rng.randrange(4, 12)
        if choice == 0:
            self.new(rng.choice(self.hosts), rng.choice((0, *PORTS)))
        elif choice in (1, 2):
            sock.connect(rng.choice((OWN, PEER)), rng.choice(PORTS))
        elif choice == 3:
            sock.send_fast_open(b"f" * rng.randrange(3000), rng.choice((OWN, PEER)), rng.choice(PORTS), False)
        elif choice in (4, 5, 6):
            sock.send(b"d" * rng.choice((1, 1448, 20_000, 200_000)), rng.random() < 0.2, rng.random() < 0.05)
        elif choice in (7, 8):
            sock.recv(rng.choice((1, 1000, 1 << 20)), rng.random() < 0.2)
        elif choice == 9:
            child = sock.accept_one()
            if child is not None:
                self.socks.append(child)
        elif choice == 10:
            sockopt.set_congestion(sock, rng.choice((Reno, Cubic, Bbr, Dctcp, Vegas)))
        elif choice == 11:
            option.set_integer(sock, *rng.choice(OPTIONS))
        elif choice == 12:
            if sock.state != LISTEN or rng.random() < 0.1:
                sock.shutdown(rng.randrange(3))
        elif sock.state != LISTEN or rng.random() < 0.1:
            if rng.random() < 0.5:
                sock.disconnect()
            else:
                sock.close()
                self.socks.remove(sock)

    def run(self, until: int) -> None:
        self.scheduler.run(until, 1_000_000)
        self.scheduler.now_ns = max(self.scheduler.now_ns, until)


def check(sock: TcpSock) -> None:
    flying = sock.sent[int(sock.sent_head) :]

    def count(mark: int) -> int:
        return sum(int(record.segs) for record in flying if record.marks & mark)

    assert sum(int(record.segs) for record in flying) == sock.packets_out
    assert (count(LOST), count(RETRANSMITTED)) == (sock.lost_out, sock.retrans_out)
    assert not sock.sack_ok or count(SACKED) == sock.sacked_out
    assert all(record in flying for record in sock.resent if record.end_seq > sock.snd_una)
    assert sock.cwnd >= 1 and sock.in_flight() >= 0
    if sock.state not in (CLOSED, LISTEN):
        assert sock.write_seq - sock.snd_nxt == sock.unsent.size + sock.fin_queued


@pytest.mark.parametrize("seed", range(100))
def test_what_is_counted_is_there_and_nothing_is_left(seed: int) -> None:
    world = World(seed)
    for _ in range(150):
        if world.socks:
            world.call()
        world.run(int(world.scheduler.now_ns) + world.rng.choice((0, 0, ms(1), ms(50), s(1), s(5))))
        for sock in world.socks:
            check(sock)
    for sock in world.socks:
        sock.close()
    world.run(int(world.scheduler.now_ns) + s(1_000_000))
    for host in world.hosts:
        tables = host.tcp.tables
        assert host.is_empty() and tables.orphans == 0 and tables.time_waits == 0
