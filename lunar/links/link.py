"""Links: what joins devices, and the only place where packets cross from host to host.

A `Wire` is one direction of a link: it sends at a rate, holds what waits in a bounded queue, asks its impairment for a
verdict, and puts the packet on the scheduler's heap at its arrival time. A `Link` is two wires between two devices. A
switch (switch.py) is two wires for each of its ports.

The queue is drop-tail, with early drops or marks if it is asked for (red.py). It needs no events of its own: with a
fixed rate each accepted packet's departure is known at once, so the queue is the list of departures that lie ahead.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final
from zlib import crc32

from mypy_extensions import i64

from lunar.links.impairments import PASS, Impairment, Verdict
from lunar.links.red import DROP, MARK, Red
from lunar.net.device import Device, Medium
from lunar.packet import (
    ETHERNET_HEADER_BYTES,
    URG,
    ArpMessage,
    Damaged,
    Frame,
    IcmpMessage,
    Packet,
    Port,
    RawFrame,
    TcpSegment,
    UdpDatagram,
)
from lunar.wire import ethernet
from weaves.scheduler import Lane, Scheduler

QUEUE_PACKETS: Final = 1000  # txqueuelen of a Linux Ethernet device
# So much of a frame that is only bytes goes into the digest: Ethernet's header, IPv6's and TCP's without options.
_RAW_HEADERS: Final = 74


@final
class Wire:
    """One direction. Rate in bits a second, 0 for unlimited; limits of packets and bytes, 0 for none."""

    def __init__(
        self, scheduler: Scheduler, lane: Lane, target: Port, rate_bps: i64, delay_ns: i64, limit_packets: i64,
        limit_bytes: i64, impairment: Impairment | None,
    ) -> None:
        self.scheduler: Scheduler = scheduler
        self.lane: Lane = lane
        self.target: Port = target
        self.rate_bps: i64 = rate_bps
        self.delay_ns: i64 = delay_ns
        self.limit_packets: i64 = limit_packets
        self.limit_bytes: i64 = limit_bytes
        self.impairment: Impairment | None = impairment
        self.busy_until_ns: i64 = 0
        # Make and parse the bytes of each frame (the test mode of the wire formats).
        self.through_bytes: bool = False
        # (departure, bytes) of what is queued or being sent.
        self._departures: deque[tuple[i64, i64]] = deque()
        self._backlog_bytes: i64 = 0
        self.packets: i64 = 0  # accepted
        self.bytes: i64 = 0
        self.dropped_queue: i64 = 0
        self.dropped_loss: i64 = 0
        self.red: Red | None = None  # drops or marks early
        self.dropped_early: i64 = 0
        self.marked: i64 = 0  # by ECN
        self.duplicated: i64 = 0
        self.corrupted: i64 = 0
        self.held_back: i64 = 0  # so that others may overtake them
        self.queueing_ns: i64 = 0  # the sum over the accepted packets
        self.peak_packets: i64 = 0  # the most that waited at once, behind the one being sent

    def send(self, frame: Frame) -> None:
        """Take `frame` over: queue it, lose it, or drop it where the queue is full."""
        now: i64 = self.scheduler.now_ns
        impairment = self.impairment
        if impairment is not None:
            verdict = impairment.judge(frame)
            if verdict is not PASS:
                self._send_impaired(frame, now, verdict)
                return
        self._send_copy(frame, now, 0)

    def _send_impaired(self, frame: Frame, now: i64, verdict: Verdict) -> None:
        copies = verdict.copies
        if not copies:
            self.dropped_loss += 1
            self._fold(frame, now, 1)
            return
        count: i64 = len(copies)
        self.duplicated += count - 1
        for copy in copies:
            count -= 1
            # The last one is the frame itself: until then it is still needed whole.
            going = frame if count == 0 else ethernet.copy(frame)
            if copy.flipped:
                self.corrupted += 1
                going = ethernet.corrupt(going, copy.flipped)
            if copy.delay_ns > 0:
                self.held_back += 1
            self._send_copy(going, now, copy.delay_ns)

    def _send_copy(self, frame: Frame, now: i64, extra_ns: i64) -> None:
        """Queue one frame, or drop it where the queue is full; it arrives `extra_ns` later than due."""
        scheduler = self.scheduler
        departure: i64 = now
        if self.rate_bps > 0:
            size: i64 = frame.size_bytes + ETHERNET_HEADER_BYTES
            start: i64 = self.busy_until_ns
            if self.red is not None and not self._kept_by_red(self.red, frame, now, size):
                return
            if start > now:
                if not self._room(now, size):
                    self.dropped_queue += 1
                    self._fold(frame, now, 2)
                    return
                self.queueing_ns += start - now
            else:
                start = now
                self._departures.clear()
                self._backlog_bytes = 0
            # Rounded up, so that two packets never leave at a rate above the link's.
            departure = start + (size * 8_000_000_000 + self.rate_bps - 1) // self.rate_bps
            self.busy_until_ns = departure
            self._departures.append((departure, size))
            self._backlog_bytes += size
            waiting: i64 = len(self._departures) - 1
            if waiting > self.peak_packets:
                self.peak_packets = waiting
        self.packets += 1
        self.bytes += frame.size_bytes
        self._fold(frame, now, 0)
        if self.through_bytes:
            frame = ethernet.copy(frame)
        frame.target = self.target
        if extra_ns > 0:
            self.lane.fold(extra_ns)
        scheduler.post(frame, self.lane, departure + self.delay_ns + extra_ns)

    def cut(self) -> None:
        """The sender has lost its power: what has not left it wholly is gone; so is what the wire holds back."""
        now: i64 = self.scheduler.now_ns
        if self.busy_until_ns <= now:
            return
        # A frame on the heap left its sender a delay before it arrives.
        lost: i64 = self.scheduler.drop_lane(self.lane, now + self.delay_ns)
        self.dropped_queue += lost
        self.busy_until_ns = now
        self._departures.clear()
        self._backlog_bytes = 0
        self.lane.fold(now)
        self.lane.fold((lost << 2) | 3)

    def _kept_by_red(self, red: Red, frame: Frame, now: i64, size: i64) -> bool:
        """Ask the queue's early detection; False if it drops the frame."""
        departures = self._departures
        while departures and departures[0][0] <= now:
            self._backlog_bytes -= departures.popleft()[1]
        waiting: i64 = 0
        idle_since: i64 = -1
        if not departures:
            idle_since = self.busy_until_ns
        elif red.limits.in_bytes:
            waiting = self._backlog_bytes - departures[0][1]
        else:
            waiting = len(departures) - 1
        verdict: i64 = red.judge(frame, waiting, now, idle_since, size * 8_000_000_000 // self.rate_bps)
        if verdict == DROP:
            self.dropped_early += 1
            self.dropped_queue += 1
            self._fold(frame, now, 2)
            return False
        if verdict == MARK:
            self.marked += 1
            self.lane.fold(now)
        return True

    def _room(self, now: i64, size: i64) -> bool:
        """Whether a packet of `size` bytes fits behind those whose departure lies ahead."""
        departures = self._departures
        while departures and departures[0][0] <= now:
            self._backlog_bytes -= departures.popleft()[1]
        # The packet in transmission is not in the queue any more.
        waiting: i64 = len(departures) - 1
        if self.limit_packets > 0 and waiting >= self.limit_packets:
            return False
        if self.limit_bytes > 0 and waiting > 0 and self._backlog_bytes - departures[0][1] + size > self.limit_bytes:
            return False
        return True

    def _fold(self, frame: Frame, now: i64, verdict: i64) -> None:
        """Mix what happened into the lane's digest: the time, the verdict and the headers."""
        lane = self.lane
        lane.fold(now)
        lane.fold((frame.size_bytes << 2) | verdict)
        if isinstance(frame, Packet):
            lane.fold((frame.src ^ (frame.dst << 24)) & 0x3FFF_FFFF_FFFF_FFFF)
            lane.fold((frame.ident << 8) | frame.ttl)
            if isinstance(frame, TcpSegment):
                lane.fold((frame.sport << 46) ^ (frame.dport << 30) ^ frame.seq)
                lane.fold((frame.ack << 24) | (frame.flags << 16) | frame.window)
                if frame.flags & URG:
                    lane.fold(frame.urgent)
                if frame.has_timestamps:
                    lane.fold((frame.ts_val << 30) ^ frame.ts_ecr)
            elif isinstance(frame, UdpDatagram):
                lane.fold((frame.sport << 16) | frame.dport)
            elif isinstance(frame, IcmpMessage):
                lane.fold((frame.type << 40) | (frame.code << 32) | frame.rest)
        elif isinstance(frame, ArpMessage):
            lane.fold((frame.operation << 32) | (frame.sender_ip & 0xFFFF_FFFF))
            lane.fold((frame.sender_mac << 12) ^ frame.target_ip)
            lane.fold(frame.target_mac)
        elif isinstance(frame, Damaged):
            for at in range(0, min(len(frame.data), 20), 4):
                lane.fold(int.from_bytes(frame.data[at : at + 4], "big"))
        elif isinstance(frame, RawFrame):
            lane.fold(crc32(frame.data[:_RAW_HEADERS]))


@final
class Link(Medium):
    """Two devices and a wire in each direction."""

    def __init__(self, name: str, a: Device, b: Device, a_to_b: Wire, b_to_a: Wire) -> None:
        self.name: str = name
        self.a: Device = a
        self.b: Device = b
        self.a_to_b: Wire = a_to_b
        self.b_to_a: Wire = b_to_a

    def transmit(self, frame: Frame, device: Device) -> None:
        if device is self.a:
            self.a_to_b.send(frame)
        else:
            self.b_to_a.send(frame)

    def way_out(self, device: Device) -> object | None:
        return self.a_to_b if device is self.a else self.b_to_a

    def cut(self, device: Device) -> None:
        if device is self.a:
            self.a_to_b.cut()
        else:
            self.b_to_a.cut()

    def resolve(self, device: Device, next_hop: int) -> int:
        peer = self.b if device is self.a else self.a
        return int(peer.mac) if peer.has_address(next_hop) else -1
