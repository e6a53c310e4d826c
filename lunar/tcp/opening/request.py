"""A connection that is being made by a peer: an entry of a listener's SYN queue, and its timer.

RFC 9293 section 3.10.7.2 to 3.10.7.4. It is found in the table of connections, and is much smaller than a socket, which
is made when the handshake's ACK comes (listen.py). A connection that opens fast (fast_accept.py) keeps its request to
send the SYN-ACK again, and is not in the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from mypy_extensions import i64

from lunar.net import ip_output
from lunar.packet import ACK, AF_INET, SYN, TcpSegment, set_tcp_size
from lunar.tcp import ecn
from lunar.tcp.loss.rtt import RTO_MAX_NS
from lunar.tcp.opening import md5, syn_cookies
from lunar.tcp.receiver import window
from lunar.tcp.tables import Bound, Tables
from lunar.tcp.tcb import NEVER_NS
from weaves.scheduler import Event

if TYPE_CHECKING:
    from lunar.tcp.opening.listen import Listener


@final
class Request(Event):
    """A connection in SYN-RECEIVED."""

    def __init__(self, listener: Listener, segment: TcpSegment, iss: i64, path_mss: i64) -> None:
        super().__init__()
        tcb = listener.tcb
        tables = tcb.tables
        self.listener: Listener = listener
        self.tables: Tables = tables
        listener.next_serial += 1
        self.serial: i64 = listener.next_serial
        self.local_addr: int = segment.dst
        self.local_port: i64 = segment.dport
        self.remote_addr: int = segment.src
        self.remote_port: i64 = segment.sport
        self.syn: TcpSegment = segment  # its options
        self.iss: i64 = iss
        self.path_mss: i64 = path_mss
        # RFC 7323 (1.3, 3.2), RFC 2018 (2): in answer to a SYN, only what that SYN offered, and what the host wants.
        sysctls = tables.sysctls
        self.timestamps: bool = segment.has_timestamps and sysctls.tcp_timestamps != 0
        self.scaled: bool = segment.window_scale >= 0 and sysctls.tcp_window_scaling != 0
        self.ecn_ok: bool = ecn.accepts(tcb, segment)
        self.sack_ok: bool = segment.sack_permitted and sysctls.tcp_sack != 0
        self.ts_offset: i64 = tables.timestamp_offset(segment.dst, segment.src)
        self.ts_recent: i64 = segment.ts_val
        self.rcv_wscale: i64 = window.scale(tcb) if self.scaled else 0
        self.rcv_wnd: i64 = window.initial(tcb, path_mss - (12 if self.timestamps else 0), self.rcv_wscale)
        self.retransmits: i64 = 0
        self.timeouts: i64 = 0
        self.acked: bool = False  # an ACK came, which did not make a connection
        self.md5_key: bytes = md5.find(tcb.md5_keys, segment.src)
        self.by_cookie: bool = False  # a SYN cookie: nothing is kept
        self.timeout_ns: i64 = tables.rules.initial_rto_ns
        self.sent_ns: i64 = 0
        self.last_answer_ns: i64 = NEVER_NS
        self.bound: Bound | None = None
        self.rcv_nxt: i64 = segment.seq + 1
        self.cookie: bytes | None = None  # fast open's, for the answer

    def start(self) -> None:
        """Enter the queue and answer the SYN."""
        scheduler = self.tables.ip.scheduler
        self.listener.requests[int(self.serial)] = self
        self.listener.young += 1
        self.tables.add(self.local_addr, self.local_port, self.remote_addr, self.remote_port, self)
        self.sent_ns = scheduler.now_ns
        self.send_syn_ack()
        scheduler.post(self, self.tables.ip.lane, scheduler.now_ns + self.timeout_ns)

    def drop(self) -> None:
        """Leave the queue; the table of connections too, unless a socket has taken the place."""
        if self.queued:
            self.tables.ip.scheduler.cancel(self)
        if self.listener.requests.pop(int(self.serial), None) is not None and self.timeouts == 0:
            self.listener.young -= 1
        if self.tables.find(self.local_addr, self.local_port, self.remote_addr, self.remote_port) is self:
            self.tables.remove(self.local_addr, self.local_port, self.remote_addr, self.remote_port)

    def fire(self) -> None:
        """Nothing came: send the SYN-ACK again, or forget it. With TCP_DEFER_ACCEPT it waits for data, in silence."""
        listener = self.listener
        ip = self.tables.ip
        limit: i64 = self._retries()
        deferred: i64 = listener.tcb.defer_accept
        expired = self.timeouts >= limit
        again = True
        if deferred > 0 and self.acked:
            expired = expired and self.timeouts >= deferred
            again = self.timeouts >= deferred - 1  # the last chance to get data or another ACK
        if expired:
            ip.counters.tcp_attempt_fails += 1
            self.drop()
            return
        if self.timeouts == 0:
            listener.young -= 1
        self.timeouts += 1
        if again:
            self.retransmits += 1
            ip.counters.tcp_retrans_segs += 1
            ip.counters.tcp_timeouts += 1
            self.send_syn_ack()
        self.timeout_ns = min(self.timeout_ns << 1, RTO_MAX_NS)
        ip.scheduler.post(self, ip.lane, ip.scheduler.now_ns + self.timeout_ns)

    def _retries(self) -> i64:
        """tcp_synack_retries, or TCP_SYNCNT of the listener; fewer when old requests fill more than half of the queue.

        As Linux: it should have room for young ones.
        """
        tcb = self.listener.tcb
        limit: i64 = tcb.syn_retries if tcb.syn_retries > 0 else self.tables.sysctls.tcp_synack_retries
        count: i64 = len(self.listener.requests)
        if count << 1 > max(8, self.listener.backlog):
            young: i64 = self.listener.young << 1
            while limit > 2 and count >= young:
                limit -= 1
                young <<= 1
        return limit

    def send_syn_ack(self) -> None:
        ip = self.tables.ip
        tcb = self.listener.tcb
        segment = TcpSegment(
            self.syn.family, self.local_addr, self.remote_addr, self.local_port, self.remote_port, self.iss,
            self.rcv_nxt & 0xFFFF_FFFF, SYN | ACK, min(self.rcv_wnd, 65_535), b"",
        )  # fmt: skip
        segment.mss = self.path_mss
        if self.scaled:
            segment.window_scale = self.rcv_wscale
        segment.sack_permitted = self.sack_ok
        six = tcb.ipv6
        if six is None or segment.family == AF_INET:
            segment.ttl = tcb.ttl
            segment.tos = tcb.tos
        else:
            six.dress(ip, segment)
            segment.flow_label = six.label(
                ip, self.local_addr, self.local_port, self.remote_addr, self.remote_port, segment.protocol
            )
        if self.ecn_ok:
            ecn.mark_syn_ack(tcb, segment)
        if self.timestamps:
            segment.has_timestamps = True
            ticks: i64 = ip.scheduler.now_ns // 1_000_000
            if self.by_cookie:
                ticks = syn_cookies.stamp(ticks, self.syn.window_scale if self.scaled else -1, self.sack_ok)
            segment.ts_val = (ticks + self.ts_offset) & 0xFFFF_FFFF
            segment.ts_ecr = self.ts_recent
        segment.fast_open = self.cookie
        segment.fast_open_experimental = self.syn.fast_open_experimental
        if self.md5_key:
            if segment.sack_permitted:
                # Linux: a signature, timestamps and SACK blocks do not fit together, and SACK is worth more.
                segment.has_timestamps = self.timestamps = False
            md5.sign(segment, self.md5_key)
        set_tcp_size(segment)
        segment.dont_fragment = True
        ip.counters.tcp_out_segs += 1
        ip_output.send(ip, segment, None if segment.family == AF_INET else ip_output.route_back(ip, self.syn))

    def is_limited(self) -> bool:
        """Whether it has answered a segment without data too recently to answer another (tcp_invalid_ratelimit)."""
        now: i64 = self.tables.ip.scheduler.now_ns
        if now - self.last_answer_ns < self.tables.sysctls.tcp_invalid_ratelimit * 1_000_000:
            return True
        self.last_answer_ns = now
        return False
