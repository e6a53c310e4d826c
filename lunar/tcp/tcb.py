"""The transmission control block of RFC 9293 section 3.3.1: all that one connection knows.

`Tcb` is data and the few changes that others want to see (state, cwnd, ssthresh, loss state: one `set_` method each).
What happens to it is in input.py (a segment came), output.py (a segment goes), ack.py and recovery.py (the peer got
something), reassembly.py (we got something), urgent.py (some of it is urgent), timeouts.py (nothing came) and sock.py
(the program asks).

Sequence numbers are unwrapped (seq.py), times are nanoseconds, cwnd and its like count segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from lunar.net.ip import Ip
from lunar.net.route import Route
from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, Sock
from lunar.packet import AF_INET, TCP
from lunar.tcp import chronograph, timers
from lunar.tcp.congestion.control import INFINITE_SSTHRESH, CongestionControl
from lunar.tcp.congestion.windowed import WindowedMin
from lunar.tcp.marks import Marks
from lunar.tcp.opening.md5 import Md5Key
from lunar.tcp.receiver.byte_queue import ByteQueue
from lunar.tcp.sender.unsent import Unsent
from lunar.tcp.tables import Bound, Tables
from weaves.scheduler import Lane, Scheduler

if TYPE_CHECKING:
    from lunar.tcp.opening.request import Request

SOCK_STREAM: Final = 1

# RFC 9293 section 3.3.2, with the numbers that Linux shows in TCP_INFO (netinet/tcp.h).
ESTABLISHED: Final = 1
SYN_SENT: Final = 2
SYN_RECEIVED: Final = 3
FIN_WAIT_1: Final = 4
FIN_WAIT_2: Final = 5
TIME_WAIT: Final = 6
CLOSED: Final = 7
CLOSE_WAIT: Final = 8
LAST_ACK: Final = 9
LISTEN: Final = 10
CLOSING: Final = 11

# Loss states, with Linux' names and numbers (TCP_CA_*); recovery.py.
OPEN: Final = 0
DISORDER: Final = 1
CWR: Final = 2
RECOVERY: Final = 3
LOSS: Final = 4

# Marks on a sent segment.
SACKED: Final = 1
LOST: Final = 2
RETRANSMITTED: Final = 4  # since it was last marked lost: a copy is in flight
EVER_RETRANSMITTED: Final = 8
FOUND_LOST: Final = 16  # by RACK, which looks at it again when it was sent again

DEFAULT_MSS: Final = 536  # RFC 9293 (3.7.1), when the peer says nothing
DEFAULT_MSS6: Final = 1220  # the same over IPv6
DELAYED_ACK_MIN_NS: Final = 40_000_000  # Linux' TCP_DELACK_MIN and TCP_ATO_MIN
NEVER_NS: Final = -1_000_000_000_000_000

# How far a connect() has come, as Linux' socket state knows it beside the TCP state.
UNCONNECTED: Final = 0
CONNECTING: Final = 1
CONNECTED: Final = 2


def default_mss(family: i64) -> i64:
    """The MSS of a peer that does not tell one."""
    return DEFAULT_MSS if family == AF_INET else DEFAULT_MSS6


@final
class Sent:
    """What was sent and is not acknowledged by the cumulative ACK: one segment of the MSS, or several in a row.

    `segs` is how many; what counts segments (`packets_out` and its like, cwnd) counts that many. Before it is sent, in
    the queue of unsent.py, it has no payload yet, and `end_seq` leaves out a FIN.
    """

    def __init__(self, seq: i64, end_seq: i64, payload: bytes, flags: i64, sent_ns: i64) -> None:
        self.seq: i64 = seq
        self.end_seq: i64 = end_seq
        self.payload: bytes = payload
        self.flags: i64 = flags
        self.sent_ns: i64 = sent_ns  # the last time
        self.turn: i64 = 0  # and the how manieth that the connection sent it was (rate.py); 0: it is the first of all
        self.mss: i64 = DEFAULT_MSS  # the size of its segments
        self.segs: i64 = 1
        self.marks: i64 = 0
        # When it was sent (rate.py).
        self.first_tx_ns: i64 = sent_ns
        self.delivered_ns: i64 = -1
        self.delivered: i64 = 0
        self.delivered_ce: i64 = 0
        self.app_limited: bool = False
        self.acked: i64 = 0  # how many bytes at the start of `payload` lie before `seq`
        self.eor: bool = False  # nothing may be added to it (MSG_EOR)

    def data(self) -> bytes:
        """The bytes from `seq` on."""
        return self.payload if self.acked == 0 else self.payload[self.acked :]


@final
class Held:
    """Data that came out of order, in the queue of reassembly.py. `end_seq` is that of the data, without the FIN."""

    def __init__(self, seq: i64, end_seq: i64, payload: bytes, fin: bool) -> None:
        self.seq: i64 = seq
        self.end_seq: i64 = end_seq
        self.payload: bytes = payload
        self.fin: bool = fin


class Report:
    """What the ACKs of a connection have to tell of holes and duplicates: sack_report.py."""


@final
class FastOpen:
    """How a connection opens fast (fast_open.py): what a client's SYN carried, or a server's unfinished handshake."""

    def __init__(self) -> None:
        self.cookie: bytes | None = None  # of the first SYN; b"" asks for one, None for no option
        self.experimental: bool = False  # in the experiment's option
        self.sent: bool = False  # the SYN had the option
        self.data: bool = False  # the SYN had data
        self.plain: bool = False  # it went again without, because a router could not pass it
        self.failure: i64 = 0  # fast_open.COOKIE_UNAVAILABLE ...
        self.request: Request | None = None  # the server's side, until the handshake is over
        self.accepted: bool = False  # the program has it


class SearchState:
    """What a search for the path's MTU (mtu_probe.py) tells others: `size` is that of a probe in flight, 0 for none;
    packets of `low` bytes pass, those above `high` do not.
    """

    def __init__(self) -> None:
        self.size: i64 = 0
        self.low: i64 = 0
        self.high: i64 = 0


class Tcb(Sock):
    """One connection's state; TcpSock (sock.py) is its only subclass."""

    def __init__(self, tables: Tables, family: i64, congestion: CongestionControl) -> None:
        super().__init__(family, SOCK_STREAM, TCP)
        ip = tables.ip
        self.sndbuf = tables.sysctls.tcp_wmem_default
        self.rcvbuf = tables.sysctls.tcp_rmem_default
        if ip.no_pmtu_disc != 0:
            self.mtu_discover = 0
        self.tables: Tables = tables
        self.ip: Ip = ip
        self.scheduler: Scheduler = ip.scheduler
        self.lane: Lane = ip.lane
        self.state: i64 = CLOSED
        self.progress: i64 = UNCONNECTED
        self.hashed: bool = False  # in the table of connections
        self.bound: Bound | None = None
        self.port_locked: bool = False  # bound by the program to this port: kept until close()
        self.addr_locked: bool = False  # bound by the program to this address
        self.orphan: bool = False  # the program has closed it
        self.is_counted_orphan: bool = False  # among tables.orphans
        self.read_shut: bool = False  # by the program, or by the peer's FIN
        self.write_shut: bool = False
        self.fin_received: bool = False
        self.route: Route | None = None  # as the table was when it had `route_generation`
        self.route_generation: i64 = -1
        self.soft_error: i64 = 0  # reported by ICMP; told when the connection dies of a timeout
        self.pending_wake: i64 = 0  # what `flush_wake` will tell
        self.recv_errno: i64 = 0  # why a call that receives or accepts returned None
        # Options.
        self.nodelay: bool = False
        self.cork: bool = False
        self.thin_linear: bool = False  # TCP_THIN_LINEAR_TIMEOUTS
        self.peek_offset: i64 = -1  # SO_PEEK_OFF; negative: MSG_PEEK looks at the beginning
        self.tells_inq: bool = False  # TCP_INQ: recvmsg tells how much is left
        # What we offer in our SYN, and then what both ends have (`timestamps`, below, is a third).
        self.sack_ok: bool = False  # SACK, RFC 2018
        self.scaled: bool = False  # windows are scaled, RFC 7323
        self.user_mss: i64 = 0  # TCP_MAXSEG, 0 for none
        self.keepidle_ns: i64 = 0  # these three, 0: the host's parameters (probes.py)
        self.keepintvl_ns: i64 = 0
        self.keepcnt: i64 = 0
        self.user_timeout_ns: i64 = 0  # TCP_USER_TIMEOUT, 0 for none
        self.notsent_lowat: i64 = 0  # TCP_NOTSENT_LOWAT in bytes, 0: the host's tcp_notsent_lowat

        # Opening (connect.py, fast_open.py, fast_accept.py, listen.py, md5.py).
        self.fastopen_connect: bool = False  # TCP_FASTOPEN_CONNECT
        self.fastopen_no_cookie: bool = False  # TCP_FASTOPEN_NO_COOKIE
        self.deferred: bool = False  # connect() has promised a SYN, which waits for data (TCP_FASTOPEN_CONNECT)
        self.fast_open: FastOpen | None = None
        self.opened_fast: bool = False  # made by a SYN with the option of fast open
        self.syn_data_acked: bool = False  # data of a SYN were taken, by the peer or from it
        self.syn_ack_pending: bool = False  # opened fast, and our SYN-ACK is not acknowledged
        self.write_pending: bool = False  # a call waits for the handshake with data to send
        self.syn_retries: i64 = 0  # TCP_SYNCNT, 0 for the host's
        self.defer_accept: i64 = 0  # TCP_DEFER_ACCEPT, in timeouts of a SYN-ACK
        self.md5_keys: list[Md5Key] | None = None  # TCP_MD5SIG
        self.md5_key: bytes = b""  # of them, the peer's
        self.save_syn: bool = False  # TCP_SAVE_SYN, of a listener
        self.saved_syn: bytes = b""  # TCP_SAVED_SYN: the headers of the peer's SYN
        self.linger2_s: i64 = 0  # TCP_LINGER2: 0 for the host's tcp_fin_timeout, negative for not at all

        # Sending, RFC 9293 figure 3. `write_seq` is the end of what the program wrote.
        self.iss: i64 = 0
        self.snd_una: i64 = 0
        self.snd_nxt: i64 = 0
        self.snd_wnd: i64 = 0  # in bytes, scaled
        self.snd_wl1: i64 = 0
        self.snd_wscale: i64 = 0
        self.max_window: i64 = 0  # the largest window the peer has offered
        self.small_end: i64 = 0  # end of the last segment below the MSS that was sent (Minshall's test)
        self.write_seq: i64 = 0
        self.push_seq: i64 = 0  # the end of the last write that was not "more to come"
        self.snd_up: i64 = 0  # the end of the last urgent write (urgent.py)
        self.mss: i64 = DEFAULT_MSS  # of payload, options taken off
        self.peer_mss: i64 = DEFAULT_MSS  # from its SYN, before options
        self.path_mss: i64 = 0  # from the path's MTU, before options
        self.route_mtu: i64 = 0  # of the route, when `path_mss` was computed from it and what is known of the path
        self.path_mtu_changes: i64 = 0
        self.path_mtu_expires_ns: i64 = 0  # when what a router said is forgotten, 0: nothing was said
        self.mtu_search: SearchState | None = None
        self.unsent: Unsent = Unsent()
        self.push_all: bool = False  # TCP_NODELAY was set: what waits is held by nothing, a cork neither
        self.fin_queued: bool = False  # a FIN is to follow the unsent bytes
        self.want_space: bool = False  # the program met a full send buffer
        self.last_sent_ns: i64 = 0
        # The retransmission queue is sent[sent_head:]. Reno has no SACK: `sacked_out` counts duplicate ACKs.
        self.sent: list[Sent] = []
        self.sent_head: i64 = 0
        self.packets_out: i64 = 0
        self.sacked_out: i64 = 0
        self.lost_out: i64 = 0
        self.retrans_out: i64 = 0

        # Congestion control.
        self.congestion: CongestionControl = congestion
        self.ca_state: i64 = OPEN
        self.cwnd: i64 = 10  # RFC 6928; cwnd.start
        self.ssthresh: i64 = INFINITE_SSTHRESH
        self.cwnd_count: i64 = 0
        self.high_seq: i64 = 0  # snd_nxt when the last recovery began: RFC 6582's "recover"
        self.max_packets_out: i64 = 0
        self.is_cwnd_limited: bool = False
        self.cwnd_usage_seq: i64 = 0
        self.cwnd_used: i64 = 0
        self.cwnd_stamp_ns: i64 = 0
        self.prior_cwnd: i64 = 0  # before the last reduction
        self.congestion_started: bool = False
        self.congestion_chosen: bool = False  # by TCP_CONGESTION: what accept(2) gives has the same
        self.full_control: bool = False  # what the class says of itself (congestion/control.py)
        self.needs_pacing: bool = False
        self.pacing_rate: i64 = 0  # in bytes a second; 0: none yet

        # Explicit Congestion Notification (ecn.py).
        self.ecn_ok: bool = False  # both sides can; before the handshake's end: we would
        self.ecn_asks: bool = False  # our next SYN says so
        self.ecn_high: i64 = 0  # the end of what was sent as capable
        self.ecn_owes_cwr: bool = False  # cwnd was reduced, and the receiver is to be told
        self.ecn_echo: bool = False  # as a receiver: a mark came, and the sender has not answered
        self.ecn_seen: bool = False  # the peer's data is marked as capable
        self.ecn_marked: bool = False  # the last data came with the mark (RFC 8257)
        self.needs_ecn: bool = False
        self.echoes_each_mark: bool = False

        # What was delivered, in segments (rate.py).
        self.delivered: i64 = 0  # those that the peer has, the SYN and the FIN among them
        self.delivered_ce: i64 = 0  # with the mark of congestion
        self.lost: i64 = 0  # marked lost so far
        self.delivered_ns: i64 = 0  # when `delivered` last grew
        self.first_tx_ns: i64 = 0  # when the segment went out that begins the next interval
        self.app_limited: i64 = 0  # `delivered` up to which samples are limited by the program
        self.rate_delivered: i64 = 0
        self.rate_interval_ns: i64 = 0
        self.rate_app_limited: bool = False
        self.rtt_filter: WindowedMin | None = None

        # What the peer has beyond a hole (sack.py), and what was lost (scoreboard.py, rack.py).
        self.high_sacked: i64 = 0  # the end of the highest record that is sacked; while one is
        self.sack_cache: list[tuple[int, int]] | None = None  # the blocks of the last ACK, sorted
        self.reneged: bool = False  # the peer dropped what it had told of
        self.reordering: i64 = tables.sysctls.tcp_reordering  # how far segments overtake one another
        self.reord_seen: i64 = 0  # how often they did
        self.dsack_dups: i64 = 0  # segments that arrived twice
        self.resend_seq: i64 = 0  # nothing below is lost and not sent again
        self.resent: list[Sent] = []  # what was sent again, in the order in which it was
        self.rack_seq: i64 = 0  # nothing below can be found lost for the first time
        self.turns: i64 = 0  # how many records were sent, or sent again
        self.rack_turn: i64 = 0  # of all that arrived, what was sent last: its turn, and its end
        self.rack_end_seq: i64 = 0
        self.rack_rtt_ns: i64 = 0
        self.rack_advanced: bool = False  # something arrived since losses were looked for
        self.rack_steps: i64 = 1  # the reordering window, in quarters of the least RTT
        self.rack_persist: i64 = 0  # for how many recoveries more
        self.rack_duplicate: bool = False  # a D-SACK came
        self.rack_last_delivered: i64 = 0  # `delivered` when the window last changed
        self.tlp_high_seq: i64 = -1  # snd_nxt when a tail loss probe was sent that is unanswered; -1: none is
        self.tlp_retrans: bool = False  # the probe repeated something
        # Reducing cwnd (prr.py), and undoing it (undo.py).
        self.prr_delivered: i64 = 0
        self.prr_out: i64 = 0
        self.prior_ssthresh: i64 = 0  # 0: ssthresh is not to be restored
        self.undo_marker: i64 = -1
        self.undo_retrans: i64 = 0
        self.retrans_stamp: i64 = -1  # the timestamp of the first retransmission, -1 without
        self.frto: bool = False  # F-RTO finds out whether the last timeout was spurious

        # Round-trip time and retransmission timeout (rtt.py).
        self.srtt_ns: i64 = 0  # 0: none measured
        self.mdev_ns: i64 = 0
        self.mdev_max_ns: i64 = 0
        self.rttvar_ns: i64 = 0
        self.rtt_seq: i64 = 0
        self.rto_ns: i64 = tables.rules.initial_rto_ns
        self.rto_min_ns: i64 = tables.sysctls.tcp_rto_min_us * 1000  # of the variance term
        self.backoff: i64 = 0
        self.retransmits: i64 = 0  # timeouts since the peer last acknowledged something
        self.retransmit_began_ns: i64 = 0  # when the first of them happened
        self.total_retrans: i64 = 0
        self.probes_out: i64 = 0  # window or keepalive probes since anything was heard
        self.probes_since_ns: i64 = 0  # when the first window probe went, 0: none since the window closed
        self.last_ack_ns: i64 = 0  # when an ACK last came

        # Receiving.
        self.irs: i64 = 0
        self.rcv_nxt: i64 = 0
        self.rcv_wup: i64 = 0  # rcv_nxt when we last sent an ACK: RFC 7323's Last.ACK.sent
        self.rcv_wnd: i64 = 0  # what that ACK offered
        self.rcv_wscale: i64 = 0
        self.rcv_ssthresh: i64 = 0  # the most we offer, growing as data comes (window.py)
        self.window_clamp: i64 = 0  # the most that we offer; before the connection TCP_WINDOW_CLAMP, 0 for none
        self.advmss: i64 = DEFAULT_MSS
        self.received: ByteQueue = ByteQueue()
        self.out_of_order: list[Held] = []  # by sequence, without overlaps
        self.out_of_order_bytes: i64 = 0
        # Memory, receive_buffer.py: of the receive queue, of what waits beyond holes; what the last packet has left.
        self.rmem: i64 = 0
        self.rmem_held: i64 = 0
        self.rmem_tail: i64 = 0
        self.scaling_ratio: i64 = 128
        self.sack_report: Report | None = None  # None as long as nothing came out of order or twice
        self.rcv_ooopack: i64 = 0  # segments that came out of order
        self.bytes_received: i64 = 0
        self.urgent_state: i64 = 0  # urgent.NONE ...; of the byte at `urgent_seq`
        self.urgent_seq: i64 = 0
        self.urgent_byte: i64 = 0

        # When to acknowledge (delayed_ack.py).
        self.ack_scheduled: bool = False
        self.ack_now: bool = False
        self.pushed: i64 = 0  # segments below rcv_mss since the last ACK, 2 at most
        self.quick_acks: i64 = 0
        self.pingpong: bool = False
        self.ato_ns: i64 = 0
        self.rcv_mss: i64 = DEFAULT_MSS
        self.last_rcv_size: i64 = 0
        self.last_received_ns: i64 = 0
        self.last_challenge_ns: i64 = NEVER_NS

        # Timestamps, RFC 7323. `ts_recent` is 32 bits, as on the wire.
        self.timestamps: bool = False
        self.ts_offset: i64 = 0
        self.ts_recent: i64 = 0
        self.ts_recent_ns: i64 = 0

        # Receive buffer auto-tuning (window.py).
        self.rcv_rtt_ns: i64 = 0
        self.rcv_rtt_seq: i64 = 0
        self.rcv_rtt_stamp_ns: i64 = 0
        self.rcv_rtt_ecr: i64 = -1
        self.tuning_space: i64 = 0
        self.tuning_seq: i64 = 0
        self.tuning_stamp_ns: i64 = 0

        # What is counted for TCP_INFO alone (info.py). Segments as on the wire, bytes of payload.
        self.acked_from: i64 = 0  # snd_una when nothing was acknowledged
        self.segs_in: i64 = 0
        self.segs_out: i64 = 0
        self.data_segs_in: i64 = 0
        self.data_segs_out: i64 = 0
        self.bytes_sent: i64 = 0  # again, too
        self.bytes_retrans: i64 = 0
        self.max_pacing_rate: i64 = -1
        self.departure_ns: i64 = 0  # when the next record may go, of a connection that is paced (pacing.py)
        self.total_rto: i64 = 0  # timeouts
        self.total_rto_recoveries: i64 = 0  # of which the peer answered again
        self.total_rto_time_ns: i64 = 0  # how long those took
        self.rto_began_ns: i64 = -1  # when the first of a row of timeouts came, -1 without
        self.marks: Marks | None = None  # None while the program wants to know of no byte
        self.chrono: i64 = 0  # what keeps it from sending (chronograph.py), since when, and for how long before
        self.chrono_since_ns: i64 = 0
        self.chrono_busy_ns: i64 = 0
        self.chrono_rwnd_ns: i64 = 0
        self.chrono_sndbuf_ns: i64 = 0

        # Timers (timers.py).
        self.pacing_timer: timers.Timer | None = None
        self.retransmit_timer: timers.Timer = timers.Timer(self)
        self.delayed_ack_timer: timers.Timer = timers.Timer(self)
        self.keepalive_timer: timers.Timer = timers.Timer(self)

    # What the layers below call and sock.py answers; so that they need not know it.

    def timer_fired(self, kind: i64) -> None:
        raise NotImplementedError

    def ended(self) -> None:
        """The connection is over."""
        raise NotImplementedError

    def end_marks(self) -> None:
        raise NotImplementedError

    def spawn(self) -> Tcb:
        """A new socket that inherits this listener's options."""
        raise NotImplementedError

    def renew(self) -> None:
        """The connection is over: become as a new socket, with the same options, users and, if bound to it, port."""
        raise NotImplementedError

    # Changes that a trace wants to see.

    def set_state(self, state: i64) -> None:
        """Move to another state of RFC 9293 section 3.3.2."""
        old = self.state
        if state == old:
            return
        self.state = state
        if self.orphan and self.waiters:
            self.wake(POLLHUP)  # a close() that lingers
        if state == CLOSED:
            if old in (ESTABLISHED, CLOSE_WAIT):
                self.ip.counters.tcp_estab_resets += 1
            elif old in (SYN_SENT, SYN_RECEIVED):
                self.ip.counters.tcp_attempt_fails += 1
            self.unhash()
            if not self.port_locked:
                self.release_port()

    def set_cwnd(self, cwnd: i64) -> None:
        self.cwnd = cwnd

    def set_ssthresh(self, ssthresh: i64) -> None:
        self.ssthresh = ssthresh

    def set_ca_state(self, state: i64) -> None:
        if state != self.ca_state:
            self.congestion.on_state(self, state)
            self.ca_state = state

    def note_retransmission(self, sent: Sent) -> None:
        """`sent` goes out once more."""
        self.total_retrans += sent.segs
        self.bytes_retrans += len(sent.payload) - sent.acked
        self.ip.counters.tcp_retrans_segs += sent.segs

    # Small facts.

    def in_flight(self) -> i64:
        """The segments that are thought to be in the network (RFC 6675's pipe)."""
        return self.packets_out - self.sacked_out - self.lost_out + self.retrans_out

    def timestamp(self) -> i64:
        """RFC 7323 (5.4): our clock, in milliseconds from a random start."""
        return (self.scheduler.now_ns // 1_000_000 + self.ts_offset) & 0xFFFF_FFFF

    def has_unsent(self) -> bool:
        """Whether data or a FIN waits to be sent for the first time."""
        return self.unsent.size > 0 or self.fin_queued

    # Tables.

    def hash(self) -> None:
        """Enter the table of connections."""
        self.hashed = True
        self.tables.add(self.local_addr, self.local_port, self.remote_addr, self.remote_port, self)

    def unhash(self) -> None:
        if self.hashed:
            self.hashed = False
            self.tables.remove(self.local_addr, self.local_port, self.remote_addr, self.remote_port)

    def release_port(self) -> None:
        if self.bound is not None:
            self.tables.release(self.bound)
            self.bound = None

    # Endings.

    def queue_fin(self) -> None:
        """A FIN is to follow what was written; the caller sends."""
        self.set_state(LAST_ACK if self.state == CLOSE_WAIT else FIN_WAIT_1)
        self.fin_queued = True
        self.write_seq += 1

    def done(self) -> None:
        """The connection is over; what was received may still be read."""
        if self.congestion_started:
            self.congestion_started = False
            self.congestion.stop(self)
        if self.fast_open is not None:
            self.ended()
        self.retransmit_timer.disarm()
        if self.pacing_timer is not None:
            self.pacing_timer.disarm()
        self.delayed_ack_timer.disarm()
        self.keepalive_timer.disarm()
        self.set_state(CLOSED)
        self.read_shut = True
        self.write_shut = True
        self.unsent.clear()
        self.fin_queued = False
        if self.marks is not None:
            self.end_marks()
        self.sent.clear()
        self.resent.clear()
        self.sent_head = 0
        self.packets_out = 0
        self.sacked_out = 0
        self.lost_out = 0
        self.retrans_out = 0
        if self.chrono != chronograph.IDLE:
            chronograph.stop(self, chronograph.BUSY)
        self.out_of_order.clear()
        self.out_of_order_bytes = 0
        self.rmem_held = 0
        self.ack_scheduled = False
        if self.is_counted_orphan:
            self.is_counted_orphan = False
            self.tables.orphans -= 1
        if self.orphan:
            self.received.clear()
            self.rmem = 0
            self.release_port()

    def fail(self, errno: i64) -> None:
        """The connection is over by an error, which the program will be told."""
        self.error = errno
        self.done()
        self.pending_wake |= POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP

    def flush_wake(self) -> None:
        """Wake who waits, after all that one segment or timer changed is in place."""
        mask = self.pending_wake
        self.pending_wake = 0
        if mask != 0 and not self.orphan:
            self.wake(mask)
