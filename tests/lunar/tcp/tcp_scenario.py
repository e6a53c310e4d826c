"""The language of the TCP tests: one host, and a peer that is the test itself.

A `Scenario` is a host with one device, whose medium only notes what is sent. `gets` hands the host a segment at a time,
`sends` says what it must have sent next, with the exact time. Times are virtual nanoseconds from the handshake's end;
sequence numbers are relative: the host's initial one is LOCAL, the peer's is REMOTE, whatever the real ones are.
"""

from __future__ import annotations

import errno
import random
from typing import Any

from lunar.links.impairments import Impairment
from lunar.links.link import Link, Wire
from lunar.links.loopback import Loopback
from lunar.net.address import Address
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.net.route import Route
from lunar.packet import ACK, AF_INET, FIN, PSH, RST, SYN, Frame, TcpSegment
from lunar.tcp.congestion.reno import Reno
from lunar.tcp.demux import Tcp
from lunar.tcp.sock import TcpSock
from weaves.scheduler import Lane, Scheduler

OWN = 0x0A00_0001
PEER = 0x0A00_0002
OWN_PORT = 4000
PEER_PORT = 80
LOCAL = 5_000_000
REMOTE = 9_000_000
MSS = 1460  # without timestamps
MASK = 0xFFFF_FFFF

__all__ = [
    "ACK", "FIN", "LOCAL", "MSS", "OWN", "OWN_PORT", "PEER", "PEER_PORT", "PSH", "REMOTE", "RST", "SYN", "Host",
    "Scenario", "TcpSegment", "TcpSock", "established", "join", "ms", "s", "server",
]  # fmt: skip


def ms(value: float) -> int:
    return round(value * 1_000_000)


def s(value: float) -> int:
    return round(value * 1_000_000_000)


class Recorder(Impairment):
    """Notes what is sent, and when; nothing arrives. (A compiled `Medium` cannot be subclassed here.)"""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.sent: list[tuple[int, TcpSegment]] = []

    def drops(self, frame: Frame) -> bool:
        assert isinstance(frame, TcpSegment)
        self.sent.append((int(self.scheduler.now_ns), frame))
        return True


def join(scheduler: Scheduler, a: Device, b: Device, impairment: Impairment) -> None:
    """A link between two devices, both of whose directions ask `impairment`."""
    wires = [Wire(scheduler, Lane(90 + n), to, 0, 0, 0, 0, impairment) for n, to in enumerate((b, a))]
    a.medium = b.medium = Link("test", a, b, wires[0], wires[1])


class Host:
    """A stack of ip and tcp with `lo` and eth0."""

    def __init__(self, scheduler: Scheduler, number: int, addr: int, mtu: int = 1500) -> None:
        self.scheduler = scheduler
        self.ip = Ip(scheduler, Lane(number), random.Random(number))
        receiver = IpInput(self.ip)
        lo = Device("lo", 0, 65536, receiver)
        lo.medium = Loopback(scheduler)
        lo.addresses.append(Address(AF_INET, 0x7F00_0001, 8))
        self.ip.local[0x7F00_0001] = lo
        self.ip.inet.loopback_route = Route(0x7F00_0001, 32, 0, lo, 0, 0)
        self.ip.inet.routes.add(Route(0x7F00_0000, 8, 0, lo, 0, 0x7F00_0001))
        self.device = Device("eth0", number, mtu, receiver)
        self.device.addresses.append(Address(AF_INET, addr, 24))
        self.ip.local[addr] = self.device
        self.ip.broadcasts[addr | 0xFF] = self.device
        self.ip.inet.routes.add(Route(addr & 0xFFFF_FF00, 24, 0, self.device, 0, addr))
        self.tcp = Tcp(self.ip)
        self.tcp.congestion = Reno  # whose windows are easily told; other algorithms have tests of their own
        self.ip.handlers[6] = self.tcp

    @property
    def count(self) -> Any:
        return self.ip.counters

    def is_empty(self) -> bool:
        """Whether no connection, listener or port is left in the tables."""
        tables = self.tcp.tables
        return not tables.connections and not tables.ports and not tables.listeners


class Scenario:
    """One host and the test as its peer; see the module's docstring."""

    def __init__(self, mtu: int = 1500) -> None:
        self.scheduler = Scheduler()
        self.host = Host(self.scheduler, 1, OWN, mtu)
        self.tcp = self.host.tcp
        self.medium = Recorder(self.scheduler)
        join(self.scheduler, self.host.device, Host(self.scheduler, 2, PEER).device, self.medium)
        self.start = 0
        self.iss = 0
        self.timestamps = False
        self.window_shift = 0
        self.last_ts_val = 0
        self.woken: list[int] = []
        self._sock: TcpSock | None = None

    # The host's side.

    @property
    def sysctls(self) -> Any:
        return self.tcp.tables.sysctls

    @property
    def sock(self) -> TcpSock:
        assert self._sock is not None
        return self._sock

    def watch(self, sock: TcpSock) -> TcpSock:
        self._sock = sock
        self.iss = int(sock.iss)
        sock.waiters.append(self.woken.append)
        return sock

    def connect(self, at: int = 0, port: int = OWN_PORT) -> TcpSock:
        self.run(at)
        sock = self.tcp.create(AF_INET)
        assert sock.bind(OWN, port) == 0
        assert sock.connect(PEER, PEER_PORT) == -errno.EINPROGRESS
        return self.watch(sock)

    def read(self, size: int = 1 << 20) -> bytes | None:
        return self.sock.recv(size, False)

    def write(self, data: bytes, more: bool = False) -> int:
        return int(self.sock.send(data, more))

    def run(self, until: int) -> None:
        """Let everything happen up to and including `until`."""
        self.scheduler.run(self.start + until, 1 << 40)
        assert self.scheduler.now_ns <= self.start + until, "the test went back in time"
        self.scheduler.now_ns = max(self.scheduler.now_ns, self.start + until)  # when no event was left

    @property
    def now(self) -> int:
        return int(self.scheduler.now_ns) - self.start

    # The peer's side.

    def gets(
        self,
        at: int,
        seq: int = REMOTE + 1,
        ack: int | None = None,
        data: bytes = b"",
        flags: int = ACK,
        window: int = 65535,
        ts_val: int | None = None,
        ts_ecr: int | None = None,
        ports: tuple[int, int] = (PEER_PORT, OWN_PORT),
        sack: list[tuple[int, int]] | None = None,
        **options: Any,
    ) -> None:
        """The host receives a segment. Without `ack` it acknowledges nothing new; `sack`: blocks relative to LOCAL."""
        self.run(at)
        if ack is None:
            ack = LOCAL + 1 if self._sock is None else int(self._sock.snd_una) - self.iss + LOCAL
        wire_ack = (ack - LOCAL + self.iss) & MASK if flags & ACK else 0
        segment = TcpSegment(AF_INET, PEER, OWN, *ports, seq & MASK, wire_ack, flags, window, data)
        if self.timestamps or ts_val is not None:
            segment.has_timestamps = True
            segment.ts_val = (1_000_000 + self.now // 1_000_000 if ts_val is None else ts_val) & MASK
            segment.ts_ecr = self.last_ts_val if ts_ecr is None else ts_ecr
        if sack is not None:
            segment.sack_blocks = [tuple((edge - LOCAL + self.iss) & MASK for edge in block) for block in sack]
        for name, value in options.items():
            setattr(segment, name, value)
        self.tcp.receive(segment, self.host.device)

    def sends(self, at: int, **expected: Any) -> TcpSegment:
        """The next segment that the host sent left at `at`, and its fields are as expected.

        `seq` is relative to LOCAL, `ack` to REMOTE; `data` and `size` speak of the payload.
        """
        self.run(max(at, self.now))
        assert self.medium.sent, f"nothing was sent by {at / 1e6} ms"
        when, segment = self.medium.sent.pop(0)
        relative = int(segment.seq) - self.iss + LOCAL
        actual = {
            "at": when - self.start,
            "seq": relative,
            "ack": int(segment.ack),
            "data": segment.payload,
            "size": len(segment.payload),
            "flags": int(segment.flags),
            "window": int(segment.window) << self.window_shift,
        }
        if segment.has_timestamps:
            self.last_ts_val = int(segment.ts_val)
        expected["at"] = at
        for name, value in expected.items():
            found = actual.get(name, getattr(segment, name, None))
            assert found == value, f"{name} is {found}, not {value} ({describe(actual)})"
        return segment

    def sends_nothing(self, until: int) -> None:
        """Nothing is sent up to and including `until`."""
        self.run(until)
        assert not self.medium.sent, [(t - self.start, describe_segment(g)) for t, g in self.medium.sent]

    def forget(self) -> int:
        """Drop what was sent and not looked at; how many segments that was."""
        count = len(self.medium.sent)
        for _, segment in self.medium.sent:
            if segment.has_timestamps:
                self.last_ts_val = int(segment.ts_val)
        self.medium.sent.clear()
        return count

    def live_events(self) -> int:
        return self.scheduler.pending()


def describe(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items() if name != "data")


def describe_segment(segment: TcpSegment) -> str:
    return f"seq={segment.seq} ack={segment.ack} flags={segment.flags:#x} size={len(segment.payload)}"


def established(
    timestamps: bool = False, rtt: int = ms(100), window: int = 65535, wscale: int = -1, mss: int = 1460,
    sack: bool = False,
) -> Scenario:  # fmt: skip
    """A connection that the host opened; the SYN-ACK came after `rtt`, at time 0.

    With an RTT of 100 ms: SRTT 100 ms, four times RTTVAR 200 ms, RTO 300 ms.
    """
    scenario = Scenario()
    sock = scenario.connect()
    scenario.start = rtt
    scenario.timestamps = timestamps
    scenario.forget()
    scenario.gets(
        at=0, seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK, window=window, mss=mss, window_scale=wscale,
        sack_permitted=sack,
    )  # fmt: skip
    assert sock.state == 1
    scenario.window_shift = int(sock.rcv_wscale)
    scenario.sends(at=0, seq=LOCAL + 1, ack=REMOTE + 1, flags=ACK)
    scenario.woken.clear()
    return scenario


def server(backlog: int = 10) -> Scenario:
    """A host that listens at OWN:OWN_PORT; `sock` is the listening socket."""
    scenario = Scenario()
    sock = scenario.tcp.create(AF_INET)
    assert sock.bind(0, OWN_PORT) == 0
    assert sock.listen(backlog) == 0
    scenario.watch(sock)
    return scenario
