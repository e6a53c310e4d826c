"""What must hold of a connection after every event, whatever the network did to it.

`Watch` looks at one socket: its sequence space, its queue of retransmissions and the counts over it, its windows, its
buffers and its timers. `WireWatch` looks at what a host sends and hears: the right edge of an offered window, data
beyond the window that the peer offered, and cwnd. Both only read. What does not hold raises `Broken`.

Names are those of lunar/tcp/tcb.py. RFC 9293 section 3.3.1 is where most of this comes from.
"""

from __future__ import annotations

from typing import Any

from lunar.packet import ACK, FIN, RST, SYN, Frame, TcpSegment
from lunar.tcp import timers
from lunar.tcp.seq import unwrap
from lunar.tcp.tcb import CLOSED, LISTEN, LOST, RETRANSMITTED, SACKED, SYN_RECEIVED, SYN_SENT

# What may be in flight beyond cwnd: limited transmit (RFC 3042) sends two segments.
BEYOND_CWND = 2
# Records are counted again while there are so few, and each _EVERY-th time otherwise: it is all that costs here.
_FEW = 40
_EVERY = 16
# The most that one packet is charged, with what its memory is rounded up to.
_ONE_PACKET = 70_000


class Broken(AssertionError):
    """An invariant does not hold, or a network did not do what it must."""


def require(holds: object, what: str, *values: Any) -> None:
    if not holds:
        raise Broken(f"{what}: {', '.join(map(str, values))}")


class Watch:
    """One socket, looked at after each event."""

    def __init__(self, sock: Any, name: str) -> None:
        self.sock = sock
        self.name = name
        self.edge = -1
        self.una = -1
        self.looks = 0

    def look(self) -> None:
        """All that must hold now."""
        t = self.sock
        state = t.state
        if state == LISTEN:
            return
        if state == CLOSED:
            self._over()
            return
        una, nxt, end = t.snd_una, t.snd_nxt, t.write_seq
        require(una <= nxt <= end, "snd_una <= snd_nxt <= write_seq", una, nxt, end)
        require(una >= self.una, "snd_una goes back", self.una, una)
        self.una = una
        unsent = t.unsent.size + (1 if t.fin_queued else 0)
        require(end - nxt == unsent, "what is unsent is not what is queued", end - nxt, unsent)
        self.looks += 1
        if t.packets_out < _FEW or self.looks % _EVERY == 0:
            self._records()
        flying = t.in_flight()
        require(flying >= 0, "in flight is negative", flying)
        require(t.cwnd >= 1, "cwnd is below a segment", t.cwnd)
        require(t.ssthresh >= 2, "ssthresh is below two segments", t.ssthresh)
        if state not in (SYN_SENT, SYN_RECEIVED):
            self._receiving()
        self._timers(unsent)

    def _over(self) -> None:
        t = self.sock
        counts = (t.packets_out, t.sacked_out, t.lost_out, t.retrans_out, t.unsent.size, t.out_of_order_bytes)
        require(not any(counts), "a closed socket holds something", *counts)
        armed = (t.retransmit_timer.at_ns, t.delayed_ack_timer.at_ns, t.keepalive_timer.at_ns)
        require(not any(armed), "a closed socket has a timer", *armed)

    def _records(self) -> None:
        t = self.sock
        at = -1
        packets = lost = retransmitted = sacked = 0
        for record in t.sent[t.sent_head :]:
            if at < 0:
                require(record.end_seq > t.snd_una, "an acknowledged record is kept", record.end_seq, t.snd_una)
                require(record.seq <= t.snd_una, "a hole at snd_una", record.seq, t.snd_una)
            else:
                require(record.seq == at, "records do not follow one another", at, record.seq)
            at = record.end_seq
            length = at - record.seq - (1 if record.flags & FIN else 0) - (1 if record.flags & SYN else 0)
            have = len(record.payload) - record.acked
            require(length == have, "a record's payload is not its length", length, have)
            segs = record.segs
            require(segs >= 1, "a record stands for nothing", segs)
            packets += segs
            marks = record.marks
            if marks & LOST:
                lost += segs
            if marks & RETRANSMITTED:
                retransmitted += segs
            if marks & SACKED:
                sacked += segs
                require(not marks & LOST, "a record is SACKed and lost", record.seq)
        if at >= 0:
            require(at == t.snd_nxt, "the last record does not end at snd_nxt", at, t.snd_nxt)
        else:
            require(t.snd_una == t.snd_nxt, "something is in flight without a record", t.snd_una, t.snd_nxt)
        require(packets == t.packets_out, "packets_out", packets, t.packets_out)
        require(lost == t.lost_out, "lost_out", lost, t.lost_out)
        require(retransmitted == t.retrans_out, "retrans_out", retransmitted, t.retrans_out)
        if sacked:
            require(sacked == t.sacked_out, "sacked_out", sacked, t.sacked_out)
        require(t.sacked_out + t.lost_out <= packets, "more has left than was sent", t.sacked_out, lost, packets)

    def _receiving(self) -> None:
        t = self.sock
        nxt = t.rcv_nxt
        require(t.rcv_wup <= nxt, "more acknowledged than received", t.rcv_wup, nxt)
        edge = t.rcv_wup + t.rcv_wnd
        # A SYN says 65,535 at most, and scaling may be refused: what the handshake had in mind is more than it told.
        if t.rcv_wnd <= 65_535 << t.rcv_wscale:
            require(edge >= self.edge, "the right edge of the window moves left", self.edge, edge)
            self.edge = edge
        held = 0
        at = nxt
        for piece in t.out_of_order:
            require(piece.seq > at or (piece.seq == at and at > nxt), "early data overlaps", at, piece.seq, nxt)
            at = piece.end_seq
            held += at - piece.seq
            require(len(piece.payload) == at - piece.seq, "early data is not its length", piece.seq, at)
        require(held == t.out_of_order_bytes, "out_of_order_bytes", held, t.out_of_order_bytes)
        # One packet may be taken beyond the limit, as on Linux.
        require(0 <= t.rmem <= t.rcvbuf + _ONE_PACKET, "more memory than the receive buffer has", t.rmem, t.rcvbuf)
        if t.received.size == 0 and not held:
            require(t.rmem == 0, "memory is charged for nothing", t.rmem)

    def _timers(self, unsent: int) -> None:
        t = self.sock
        now = t.scheduler.now_ns
        timer = t.retransmit_timer
        for one in (timer, t.delayed_ack_timer, t.keepalive_timer):
            if one.at_ns:
                event = one.event
                require(event is not None and event.queued, "a timer is set and nothing will fire", one.kind)
                require(now <= event.at_ns <= one.at_ns, "a timer fires too late", event.at_ns, one.at_ns, now)
        if t.packets_out > 0:
            require(timer.at_ns, "something is in flight and no timer watches it", t.packets_out)
            require(timer.kind != timers.PROBE, "the window is probed with data in flight", t.packets_out)
        elif unsent and not _waits_below(t):
            require(timer.at_ns, "something is to be sent, and neither sent nor timed", unsent)
        else:
            # What fast open made repeats its SYN-ACK, of which there is no record.
            reason = unsent or t.state == SYN_RECEIVED
            require(not timer.at_ns or reason, "the retransmission timer runs for nothing", timer.kind, timer.at_ns)
        if t.keepalive_timer.at_ns:
            require(t.keepalive, "a keepalive timer that nobody asked for")


def _waits_below(tcb: Any) -> bool:
    """Whether what is unsent waits for the device or for pacing, which have their own events."""
    pacing = getattr(tcb, "pacing_timer", None)
    return (pacing is not None and pacing.at_ns != 0) or bool(getattr(tcb, "throttled", False))


class WireWatch:
    """What the host at `device` sends and hears on one connection. `sock` is its end, once there is one."""

    def __init__(self) -> None:
        self.sock: Any = None
        self.offered = -1  # the right edge that we have told, unwrapped
        self.allowed = -1  # the right edge that the peer has told
        self.allowed_scale = 0
        self.highest = -1  # end of what was ever sent
        self.probes = 0  # new segments beyond cwnd since the peer was heard

    def transmitted(self, frame: Frame) -> None:
        """Our segment goes out."""
        if not isinstance(frame, TcpSegment) or frame.flags & RST:
            return
        flags = frame.flags
        if flags & SYN:
            self.highest = frame.seq + 1
            if frame.payload:
                # RFC 7413 (4.2.1): as much as a segment, before a window is known.
                self.allowed = max(self.allowed, frame.seq + 1 + len(frame.payload))
        sock = self.sock
        if sock is None or sock.state == CLOSED:
            return  # an old SYN may have begun a connection of its own
        if flags & ACK and not flags & SYN:
            edge = unwrap(frame.ack, self.offered) if self.offered >= 0 else frame.ack
            edge += frame.window << sock.rcv_wscale
            require(edge >= self.offered, "the window that is offered shrinks", self.offered, edge)
            self.offered = edge
        size = len(frame.payload)
        if size and self.allowed >= 0:
            end = unwrap(frame.seq, self.allowed) + size
            require(end <= self.allowed, "data beyond the window that the peer offered", end, self.allowed)
            top = unwrap(frame.seq + size & 0xFFFF_FFFF, self.highest) if self.highest >= 0 else end
            if top > self.highest:
                self.highest = top
                flying, cwnd = sock.in_flight(), sock.cwnd
                if flying > cwnd + BEYOND_CWND:
                    # A tail loss probe may be of new data, whatever is in flight; one for each silence.
                    self.probes += 1
                    require(self.probes == 1, "more in flight than cwnd allows", flying, cwnd)

    def heard(self, frame: Frame) -> None:
        """The peer's segment comes in; all that is whole counts, since only more can be allowed by it."""
        if not isinstance(frame, TcpSegment) or frame.flags & RST:
            return
        self.probes = 0
        if frame.flags & SYN:
            self.allowed_scale = max(frame.window_scale, 0)
        if not frame.flags & ACK:
            return
        sock = self.sock
        scale = 0 if frame.flags & SYN else (sock.snd_wscale if sock is not None else self.allowed_scale)
        edge = (unwrap(frame.ack, self.allowed) if self.allowed >= 0 else frame.ack) + (frame.window << scale)
        self.allowed = max(self.allowed, edge)
