"""Conntrack of TCP: the state of a connection as one in its middle sees it, and which segments can belong to it.

The window tracking is that of Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001): for each
sender the end of what it sent, the end of what it may send, and its largest window; four boundaries for sequence and
acknowledgment numbers. What Linux does at each state, flag and boundary was measured (tests/netfilter/conntrack_duel.py
sends random segments past both); where it is odd the comment says so.

Nothing is dropped here. What is not credible is invalid: it has no connection, and rules decide.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.netfilter.conntrack_sysctls import ConntrackSysctls
from lunar.packet import ACK, FIN, RST, SYN, TcpSegment

# States, with Linux' numbers and names (`conntrack -L` shows the names).
NONE: Final = 0
SYN_SENT: Final = 1
SYN_RECV: Final = 2
ESTABLISHED: Final = 3
FIN_WAIT: Final = 4  # one side has sent its FIN
CLOSE_WAIT: Final = 5  # it was acknowledged
LAST_ACK: Final = 6  # both have
TIME_WAIT: Final = 7
CLOSE: Final = 8  # after an RST
SYN_SENT2: Final = 9  # both have sent a SYN: RFC 9293 section 3.5, figure 7
NAMES: Final = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
    "SYN_SENT2",
)  # fmt: skip

# What a segment is to the state machine.
_K_SYN: Final = 0
_K_SYN_ACK: Final = 1
_K_FIN: Final = 2
_K_ACK: Final = 3
_K_RST: Final = 4
_K_NONE: Final = 5

# Besides the states: the segment cannot be, or it passes and changes nothing yet, because it may be conntrack that is
# out of step.
_BAD: Final = -1
_LET: Final = -2

# The next state by kind, a row a state. From the side that opened:
_OF_OPENER: Final = (
    # SYN, SYN-ACK, FIN, ACK, RST
    (SYN_SENT, _BAD, _BAD, ESTABLISHED, _BAD),  # NONE: see `opens`
    (SYN_SENT, _BAD, _BAD, _BAD, CLOSE),
    (_LET, SYN_RECV, FIN_WAIT, ESTABLISHED, CLOSE),  # SYN_RECV
    (_LET, _BAD, FIN_WAIT, ESTABLISHED, CLOSE),
    (_LET, _BAD, LAST_ACK, CLOSE_WAIT, CLOSE),  # FIN_WAIT
    (_LET, _BAD, LAST_ACK, CLOSE_WAIT, CLOSE),
    (_LET, _BAD, LAST_ACK, TIME_WAIT, CLOSE),  # LAST_ACK
    (SYN_SENT, _BAD, TIME_WAIT, TIME_WAIT, CLOSE),
    (SYN_SENT, _BAD, CLOSE, CLOSE, CLOSE),  # CLOSE
    (SYN_SENT2, SYN_RECV, _BAD, _BAD, CLOSE),
)
# and from the other:
_OF_ANSWERER: Final = (
    (_BAD, _BAD, _BAD, _BAD, _BAD),
    (SYN_SENT2, SYN_RECV, _BAD, _LET, CLOSE),  # SYN_SENT
    (_BAD, _LET, FIN_WAIT, SYN_RECV, CLOSE),
    (_BAD, _LET, FIN_WAIT, ESTABLISHED, CLOSE),  # ESTABLISHED
    (_BAD, _LET, LAST_ACK, CLOSE_WAIT, CLOSE),
    (_BAD, _LET, LAST_ACK, CLOSE_WAIT, CLOSE),  # CLOSE_WAIT
    (_BAD, _LET, LAST_ACK, TIME_WAIT, CLOSE),
    (SYN_SENT, _LET, TIME_WAIT, TIME_WAIT, CLOSE),  # TIME_WAIT
    (_BAD, _LET, CLOSE, CLOSE, CLOSE),
    (SYN_SENT2, SYN_RECV, _BAD, _LET, CLOSE),  # SYN_SENT2
)

# What `follow` says of a segment.
INVALID: Final = 0
PASSES: Final = 1  # as part of the connection; its timeout is as it was
REFRESHES: Final = 2  # the timeout begins anew, with `timeout_s`
ENDS: Final = 3  # the connection is over at once
REOPENS: Final = 4  # it is another connection by the same addresses and ports
SHORTENS: Final = 5  # INVALID, and there is reason to doubt that the connection lives: as if data were not acknowledged

# RFC 7323 (2.3).
_MAX_SCALE: Final = 14
# The paper's MAXACKWINDOW: an ACK may be this much older than what was seen, whatever the window.
_MAX_ACK_WINDOW: Final = 66_000
_SYN_SENT2_S: Final = 120  # no parameter has it


@final
class Side:
    """What was seen of one side as a sender. Sequence numbers as on the wire."""

    def __init__(self) -> None:
        self.end: i64 = 0  # behind the last that it sent
        self.max_end: i64 = 0  # behind the last that it may send
        self.max_window: i64 = 0  # the largest that it announced, scaled; 0: it was not seen yet
        self.max_ack: i64 = 0  # the highest that it acknowledged
        self.acked: bool = False  # whether `max_ack` says something
        self.scale: i64 = 0
        self.scales: bool = False  # its SYN had the option
        self.sacks: bool = False
        self.liberal: bool = False  # it was met in the middle: nothing is known of its window
        self.has_closed: bool = False  # the first FIN was its
        self.unacknowledged: bool = False  # it sent what the other side has not acknowledged


@final
class TcpTrack:
    """The TCP of one connection; `sides` are the opener and the answerer."""

    def __init__(self) -> None:
        self.state: i64 = NONE
        self.opener: Side = Side()
        self.answerer: Side = Side()
        self.timeout_s: i64 = 0
        # The last segment: its kind, whether the answerer sent it, and its numbers; how often it came.
        self.last_kind: i64 = _K_NONE
        self.last_by_answerer: bool = False
        self.last_seq: i64 = 0
        self.last_ack: i64 = 0
        self.last_end: i64 = 0
        self.last_window: i64 = 0
        self.repeated: i64 = 0
        # Of a SYN that passed though it did not fit: what it would begin with.
        self.stray_scale: i64 = 0
        self.stray_scales: bool = False
        self.stray_sacks: bool = False
        self.expects_challenge: bool = False  # RFC 5961 (4): it may be answered by an ACK that means nothing else
        self.both_opened: bool = False

    def side(self, by_answerer: bool) -> Side:
        return self.answerer if by_answerer else self.opener


def _before(a: i64, b: i64) -> bool:
    """RFC 9293 (3.4): whether sequence number `a` comes before `b`, modulo 2**32."""
    return ((a - b) & 0xFFFF_FFFF) >= 0x8000_0000


def _kind(segment: TcpSegment) -> i64:
    flags: i64 = segment.flags
    if flags & RST:
        return _K_RST
    if flags & SYN:
        return _K_SYN_ACK if flags & ACK else _K_SYN
    if flags & FIN:
        return _K_FIN
    return _K_ACK if flags & ACK else _K_NONE


def _is_sane(segment: TcpSegment) -> bool:
    """Whether the flags can go together: SYN or RST alone or with ACK, FIN with ACK; URG not with RST."""
    flags: i64 = segment.flags & 0x37  # without PSH, and ECN's
    urgent = flags & 0x20 != 0
    flags &= 0x17
    if flags == RST or flags == RST | ACK or flags == SYN | ACK:
        return not urgent
    return flags == SYN or flags == ACK or flags == FIN | ACK


def _end(segment: TcpSegment) -> i64:
    """The sequence number behind the segment; SYN and FIN count as one each."""
    length: i64 = len(segment.payload)
    if segment.flags & SYN:
        length += 1
    if segment.flags & FIN:
        length += 1
    return (segment.seq + length) & 0xFFFF_FFFF


def _read_options(side: Side, segment: TcpSegment) -> None:
    side.scale = 0
    side.scales = False
    if segment.window_scale >= 0:
        side.scale = min(segment.window_scale, _MAX_SCALE)
        side.scales = True
    side.sacks = segment.sack_permitted


def _sack(side: Side, segment: TcpSegment, ack: i64) -> i64:
    """The highest that the segment says has arrived: its ACK, or a SACK block's right edge beyond it."""
    highest: i64 = ack
    blocks = segment.sack_blocks
    if blocks is not None and side.sacks:
        for block in blocks:
            right: i64 = block[1]
            if _before(highest, right):
                highest = right
    return highest


def opens(sysctls: ConntrackSysctls, segment: TcpSegment) -> TcpTrack | None:
    """The state of a connection that begins with `segment`; None if none can. `timeout_s` is set by `follow`."""
    kind = _kind(segment)
    if kind == _K_NONE or not _is_sane(segment):
        return None
    row = _OF_OPENER[NONE]
    if row[int(kind)] < 0:
        return None
    tcp = TcpTrack()
    sender = tcp.opener
    sender.end = _end(segment)
    window: i64 = segment.window
    sender.max_window = max(window, 1)
    if kind == _K_SYN:
        sender.max_end = sender.end
        _read_options(sender, segment)
        return tcp
    if sysctls.tcp_loose == 0:
        return None
    # Picked up in the middle: how windows are scaled was said before, so nothing is beyond them.
    sender.max_end = (sender.end + sender.max_window) & 0xFFFF_FFFF
    for side in (sender, tcp.answerer):
        side.sacks = True
        side.liberal = True
    return tcp


def follow(tcp: TcpTrack, sysctls: ConntrackSysctls, segment: TcpSegment, reply: bool, status: i64) -> i64:
    """Take one segment of the connection, of the answerer if `reply`. `status` has the bits of Track.status.

    Returns INVALID ... SHORTENS; with REFRESHES `tcp.timeout_s` says for how long the connection lives on.
    """
    kind = _kind(segment)
    if kind == _K_NONE or not _is_sane(segment):
        return INVALID
    old: i64 = tcp.state
    table = _OF_ANSWERER if reply else _OF_OPENER
    new: i64 = table[int(old)][int(kind)]
    sender = tcp.side(reply)
    receiver = tcp.side(not reply)
    seen_reply = status & 2 != 0
    assured = status & 4 != 0
    if new == SYN_SENT and old >= TIME_WAIT:
        # A SYN where all is over opens a new connection; after an RST only if that was its own.
        if sender.has_closed or receiver.has_closed or (
            tcp.last_by_answerer == reply and tcp.last_kind == _K_RST
        ):  # fmt: skip
            return REOPENS
        new = _LET
    if new == _LET and _is_answer_to_stray_syn(tcp, segment, kind, reply):
        # The SYN that did not fit was good, and its answer too: the two ends agree, and conntrack joins them.
        old = SYN_SENT
        new = SYN_RECV
        _start_over(tcp)
    if new == _BAD:
        return INVALID
    if new == _LET:
        _remember_stray(tcp, segment, kind, reply)
        return PASSES
    if new == TIME_WAIT and old == LAST_ACK and kind == _K_ACK and tcp.expects_challenge:
        if tcp.last_by_answerer != reply and tcp.last_kind == _K_SYN:
            tcp.expects_challenge = False
            return PASSES
    if new == SYN_SENT2:
        tcp.both_opened = True
    if new == SYN_RECV and old == SYN_RECV and tcp.both_opened and kind == _K_ACK:
        new = ESTABLISHED
    unchecked = False
    if kind == _K_RST:
        unchecked = old >= FIN_WAIT and old != SYN_SENT2
        established = old == ESTABLISHED and assured
        # What follows a SYN that passed by may answer it, and what has the number 0 a SYN of which nothing is known.
        about_it = tcp.last_kind != _K_SYN and (segment.seq != 0 or established)
        if not unchecked and receiver.acked and about_it:
            if _before(segment.seq, receiver.max_ack) and sysctls.tcp_ignore_invalid_rst == 0:
                return INVALID
            if segment.seq != receiver.max_ack and established:
                behind = tcp.last_kind == _K_ACK and tcp.last_by_answerer == reply and segment.seq == tcp.last_end
                if not behind:
                    # RFC 5961 (3.2): the receiver will ask by an ACK whether it is meant.
                    new = old
        if seen_reply and tcp.last_by_answerer != reply and _refuses(tcp, segment, assured):
            # What passed by before is refused: then the connection as it was known here is not.
            unchecked = True
            new = CLOSE
    if not unchecked:
        found = _in_window(tcp, sysctls, segment, kind, old, reply)
        if found == INVALID and assured and (kind == _K_RST or kind == _K_FIN):
            return _doubt(tcp, kind, reply)
        if found != REFRESHES:
            return found
    tcp.last_kind = kind
    tcp.last_by_answerer = reply
    tcp.state = new
    if new == FIN_WAIT and old != FIN_WAIT:
        sender.has_closed = True
    _set_timeout(tcp, sysctls, kind)
    if not seen_reply:
        if kind == _K_RST:
            return ENDS  # refused
        if new == ESTABLISHED and tcp.timeout_s > sysctls.tcp_timeout_unacknowledged:
            # Met in its middle, and the other side had not said anything.
            tcp.timeout_s = sysctls.tcp_timeout_unacknowledged
        if kind == _K_SYN and old != NONE:
            return PASSES  # a SYN once more, or the other side's, does not make it live longer
    return REFRESHES


def _doubt(tcp: TcpTrack, kind: i64, reply: bool) -> i64:
    """An FIN or RST is invalid. When the other side's was, too, the two may know better than conntrack does."""
    if tcp.last_by_answerer != reply and (tcp.last_kind == _K_RST or tcp.last_kind == _K_FIN):
        return SHORTENS
    tcp.last_kind = kind
    tcp.last_by_answerer = reply
    return INVALID


def _refuses(tcp: TcpTrack, segment: TcpSegment, assured: bool) -> bool:
    """Whether an RST answers what came before it (RFC 9293, 3.10.7.1): a SYN, by its ACK, or an ACK, by its number."""
    if tcp.last_kind == _K_SYN:
        return segment.ack == tcp.last_end
    if tcp.last_kind != _K_ACK or assured:
        return False
    return segment.seq == tcp.last_ack or segment.ack == tcp.last_end


def _is_answer_to_stray_syn(tcp: TcpTrack, segment: TcpSegment, kind: i64, reply: bool) -> bool:
    return (
        kind == _K_SYN_ACK
        and tcp.last_kind == _K_SYN
        and tcp.last_by_answerer != reply
        and segment.ack == tcp.last_end
    )


def _start_over(tcp: TcpTrack) -> None:
    """The SYN that passed by becomes the connection's first, and nothing is known of its answerer."""
    sender = Side()
    sender.end = tcp.last_end
    sender.max_end = tcp.last_end
    sender.max_window = max(tcp.last_window, 1)
    sender.scale = tcp.stray_scale
    sender.scales = tcp.stray_scales
    sender.sacks = tcp.stray_sacks
    tcp.expects_challenge = False
    other = Side()
    other.liberal = tcp.side(not tcp.last_by_answerer).liberal
    tcp.answerer = sender if tcp.last_by_answerer else other
    tcp.opener = other if tcp.last_by_answerer else sender


def _remember_stray(tcp: TcpTrack, segment: TcpSegment, kind: i64, reply: bool) -> None:
    tcp.last_kind = kind
    tcp.last_by_answerer = reply
    tcp.last_seq = segment.seq
    tcp.last_ack = segment.ack
    tcp.last_end = _end(segment)
    tcp.last_window = segment.window
    if kind == _K_SYN and not reply:
        said = Side()
        _read_options(said, segment)
        tcp.stray_scale = said.scale
        tcp.stray_scales = said.scales
        tcp.stray_sacks = said.sacks
        tcp.expects_challenge = tcp.state == LAST_ACK


def _in_window(
    tcp: TcpTrack, sysctls: ConntrackSysctls, segment: TcpSegment, kind: i64, state: i64, reply: bool
) -> i64:
    """Whether the segment lies within the boundaries, and what it says of the two sides. INVALID, PASSES, REFRESHES."""
    sender = tcp.side(reply)
    receiver = tcp.side(not reply)
    flags: i64 = segment.flags
    seq: i64 = segment.seq
    ack: i64 = segment.ack
    raw_window: i64 = segment.window
    end = _end(segment)
    sack = _sack(receiver, segment, ack)
    if sender.max_window == 0:
        if flags & SYN:
            sender.end = end
            sender.max_end = end
            sender.max_window = max(raw_window, 1)
            _read_options(sender, segment)
            if not (sender.scales and receiver.scales):
                # RFC 7323 (1.3): both must say so.
                sender.scale = 0
                receiver.scale = 0
            if not flags & ACK:
                return REFRESHES  # both open: there is nothing yet to compare with
        else:
            # The first that is seen of this side is in the middle of what it says.
            sender.end = end
            sender.max_window = max(raw_window << sender.scale, 1)
            sender.max_end = (end + sender.max_window) & 0xFFFF_FFFF
            if receiver.max_window == 0:
                receiver.end = sack
                receiver.max_end = sack
            elif sack == (receiver.end + 1) & 0xFFFF_FFFF:
                receiver.end = sack  # it answers a probe of a keepalive
    elif flags & SYN and _before(sender.end, end):
        if state == SYN_SENT or state == SYN_RECV:
            # Another SYN with higher numbers, before the other side has answered: the sender began anew.
            sender.end = end
            sender.max_end = end
            sender.max_window = max(raw_window, 1)
            _read_options(sender, segment)
    if not flags & ACK or (flags & RST and ack == 0):
        ack = receiver.end
        sack = ack
    if flags & RST and seq == 0 and state == SYN_SENT:
        seq = sender.end  # RFC 9293 (3.10.7.1): an RST that answers what has no ACK
        end = seq
    found = _within(sender, receiver, seq, end, sack)
    if found != REFRESHES:
        return REFRESHES if sender.liberal or sysctls.tcp_be_liberal != 0 else found
    _note_sender(sender, receiver, segment, ack, sack, end)
    if kind == _K_ACK:
        _count_repetition(tcp, segment, seq, ack, end, reply)
    return REFRESHES


def _within(sender: Side, receiver: Side, seq: i64, end: i64, sack: i64) -> i64:
    """The paper's four boundaries. What is outside may be late, or ahead of what was seen: it passes, mostly."""
    is_recent = not _before(sack, receiver.end - max(sender.max_window, _MAX_ACK_WINDOW))
    if not _before(seq, sender.max_end + 1):
        # More than the receiver has room for. As much as its window again is let through.
        beyond: i64 = (end - sender.max_end + 1) & 0xFFFF_FFFF
        if is_recent and _before(sack, receiver.end + 1) and beyond <= receiver.max_window:
            # If the receiver takes it all the same, its ACK must be known to be one.
            sender.end = end
            sender.unacknowledged = True
            return PASSES
        return INVALID
    if not _before(sack, receiver.end + 1):
        return INVALID  # it acknowledges what nobody sent
    if receiver.max_window != 0 and not _before(sender.end - receiver.max_window - 1, end):
        return PASSES  # an old one, come late
    return REFRESHES if is_recent else PASSES


def _note_sender(sender: Side, receiver: Side, segment: TcpSegment, ack: i64, sack: i64, end: i64) -> None:
    window: i64 = segment.window
    if not segment.flags & SYN:
        window <<= sender.scale
    # What lies between ACK and SACK is in the receiver's hands: its window reaches as much farther.
    reach: i64 = window + ((sack - ack) & 0xFFFF_FFFF)
    if sender.max_window < reach:
        sender.max_window = reach
    if _before(sender.end, end):
        sender.end = end
        sender.unacknowledged = True
    if segment.flags & ACK:
        if not sender.acked:
            sender.max_ack = ack
            sender.acked = True
        elif _before(sender.max_ack, ack):
            sender.max_ack = ack
    if receiver.max_window != 0 and _before(sender.max_end, end):
        receiver.max_window += (end - sender.max_end) & 0xFFFF_FFFF
    limit: i64 = (sack + window) & 0xFFFF_FFFF
    if not _before(limit, receiver.max_end):
        receiver.max_end = limit
        if window == 0:
            receiver.max_end = (limit + 1) & 0xFFFF_FFFF  # for the probe of a closed window
    if ack == receiver.end:
        receiver.unacknowledged = False


def _count_repetition(tcp: TcpTrack, segment: TcpSegment, seq: i64, ack: i64, end: i64, reply: bool) -> None:
    """The same segment again and again without an answer: its connection is forgotten earlier."""
    if (
        tcp.last_by_answerer == reply
        and tcp.last_seq == seq
        and tcp.last_ack == ack
        and tcp.last_end == end
        and tcp.last_window == segment.window
    ):
        tcp.repeated += 1
        return
    tcp.last_by_answerer = reply
    tcp.last_seq = seq
    tcp.last_ack = ack
    tcp.last_end = end
    tcp.last_window = segment.window
    tcp.repeated = 0


def _set_timeout(tcp: TcpTrack, sysctls: ConntrackSysctls, kind: i64) -> None:
    timeout = state_timeout(tcp.state, sysctls)
    if tcp.repeated >= sysctls.tcp_max_retrans and timeout > sysctls.tcp_timeout_max_retrans:
        timeout = sysctls.tcp_timeout_max_retrans
    elif kind == _K_RST:
        timeout = sysctls.tcp_timeout_close
    elif (tcp.opener.unacknowledged or tcp.answerer.unacknowledged) and timeout > sysctls.tcp_timeout_unacknowledged:
        timeout = sysctls.tcp_timeout_unacknowledged
    elif tcp.last_window == 0 and timeout > sysctls.tcp_timeout_max_retrans:
        timeout = sysctls.tcp_timeout_max_retrans
    tcp.timeout_s = timeout


def state_timeout(state: i64, sysctls: ConntrackSysctls) -> i64:
    """How long a connection lives in a state without a segment, in seconds."""
    if state == ESTABLISHED:
        return sysctls.tcp_timeout_established
    if state == SYN_SENT:
        return sysctls.tcp_timeout_syn_sent
    if state == SYN_RECV:
        return sysctls.tcp_timeout_syn_recv
    if state == FIN_WAIT:
        return sysctls.tcp_timeout_fin_wait
    if state == CLOSE_WAIT:
        return sysctls.tcp_timeout_close_wait
    if state == LAST_ACK:
        return sysctls.tcp_timeout_last_ack
    if state == TIME_WAIT:
        return sysctls.tcp_timeout_time_wait
    if state == CLOSE:
        return sysctls.tcp_timeout_close
    return _SYN_SENT2_S
