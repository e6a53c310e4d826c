"""Finding the path's MTU by trying (RFC 4821), where routers send no ICMP: net.ipv4.tcp_mtu_probing.

With 1 it begins when a connection sees a black hole: its timeouts go on, so segments become smaller until they pass.
With 2 it is on from the start, at `tcp_base_mss`. Then, as there is enough to send, one larger segment goes out ahead
of others; acknowledged, its size is the new one; lost alone, it is too large, which is no congestion. The search halves
the interval until it is below `tcp_probe_threshold`, and begins again after `tcp_probe_interval` seconds.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import path_mtu
from lunar.tcp.sender import records
from lunar.tcp.tcb import OPEN, SearchState, Tcb

_CWND_LEAST: Final = 11  # a probe must not be what stalls the connection
_S: Final = 1_000_000_000


@final
class MtuSearch(SearchState):
    """The search of one connection: IP packets of `low` bytes pass, those above `high` do not."""

    def __init__(self, low: i64, high: i64, now: i64) -> None:
        super().__init__()
        self.low = low
        self.high = high
        self.begun_ns: i64 = now
        self.seq: i64 = 0  # where the probe in flight begins
        self.end_seq: i64 = 0


def start(tcb: Tcb) -> None:
    """The connection is established: search if the host's parameter says so."""
    if tcb.tables.sysctls.tcp_mtu_probing > 1:
        _begin(tcb)


def _begin(tcb: Tcb) -> MtuSearch:
    low: i64 = tcb.tables.sysctls.tcp_base_mss + path_mtu.headers_bytes(tcb.family)
    search = MtuSearch(low, _highest(tcb), tcb.scheduler.now_ns)
    tcb.mtu_search = search
    return search


def _highest(tcb: Tcb) -> i64:
    """What the peer takes, options on top."""
    mss: i64 = tcb.peer_mss
    if 0 < tcb.user_mss < mss:
        mss = tcb.user_mss
    return mss + path_mtu.headers_bytes(tcb.family)


def _of(tcb: Tcb) -> MtuSearch:
    search = tcb.mtu_search
    assert isinstance(search, MtuSearch), "only this file makes searches"
    return search


def payload_of(tcb: Tcb, mtu: i64) -> i64:
    """The payload of a segment whose IP packet has `mtu` bytes, in what the peer takes."""
    mss: i64 = min(mtu - path_mtu.headers_bytes(tcb.family), tcb.peer_mss)
    if tcb.user_mss > 0:
        mss = min(mss, tcb.user_mss)
    mss = max(mss, tcb.tables.sysctls.tcp_min_snd_mss)
    return mss - 12 if tcb.timestamps else mss


def next_size(tcb: Tcb, mss: i64, reordering: i64) -> i64:
    """The payload of the probe that should go now; 0: none; -1: none, and nothing else either until cwnd or the window
    has room for it.
    """
    search = _of(tcb)
    in_flight: i64 = tcb.packets_out - tcb.sacked_out - tcb.lost_out + tcb.retrans_out
    if search.size != 0 or tcb.ca_state != OPEN or tcb.cwnd < _CWND_LEAST or tcb.sack_report is not None:
        return 0
    sysctls = tcb.tables.sysctls
    size: i64 = payload_of(tcb, (search.high + search.low) >> 1)
    needed: i64 = size + (reordering + 1) * tcb.mss
    if size > payload_of(tcb, search.high) or search.high - search.low < sysctls.tcp_probe_threshold:
        _search_again(tcb, search, mss)
        return 0
    if tcb.unsent.size < needed or tcb.snd_wnd < needed or not _joins(tcb, size):
        return 0
    if tcb.snd_nxt + needed > tcb.snd_una + tcb.snd_wnd:
        return -1
    if in_flight + 2 > tcb.cwnd:
        return 0 if in_flight == 0 else -1
    return size


def _joins(tcb: Tcb, size: i64) -> bool:
    """Whether the first `size` unsent bytes may be one record: none that ends in them is the end of one (MSG_EOR)."""
    unsent = tcb.unsent
    at: i64 = unsent.head
    while at < len(unsent.records) and size > 0:
        record = unsent.records[at]
        size -= record.end_seq - record.seq
        if record.eor and size > 0:
            return False
        at += 1
    return True


def _search_again(tcb: Tcb, search: MtuSearch, mss: i64) -> None:
    now: i64 = tcb.scheduler.now_ns
    if now - search.begun_ns >= tcb.tables.sysctls.tcp_probe_interval * _S:
        search.size = 0
        search.high = _highest(tcb)
        search.low = mss + path_mtu.headers_bytes(tcb.family) + (12 if tcb.timestamps else 0)
        search.begun_ns = now


def prepare(tcb: Tcb, size: i64) -> None:
    """Make the first unsent record one of `size` bytes."""
    first = tcb.unsent.first()
    have: i64 = first.end_seq - first.seq
    if have < size:
        records.grow(tcb, first, size - have)
    elif have > size:
        records.cut_unsent(tcb, first, size)


def sent(tcb: Tcb, size: i64) -> None:
    """The probe went out, from where `snd_nxt` was. It stands for two segments."""
    search = _of(tcb)
    search.end_seq = tcb.snd_nxt
    search.seq = tcb.snd_nxt - size
    search.size = size + path_mtu.headers_bytes(tcb.family) + (12 if tcb.timestamps else 0)
    tcb.set_cwnd(tcb.cwnd - 1)


def acknowledged(tcb: Tcb) -> bool:
    """snd_una moved: whether a probe has passed. Then segments are larger, and cwnd counts fewer of them; the caller
    computes the MSS anew.
    """
    search = _of(tcb)
    if search.size == 0 or search.end_seq > tcb.snd_una:
        return False
    size: i64 = tcb.mss + path_mtu.headers_bytes(tcb.family) + (12 if tcb.timestamps else 0)
    tcb.set_cwnd(max(tcb.cwnd * size // search.size, 1))
    tcb.cwnd_count = 0
    tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    search.low = search.size
    search.size = 0
    return True


def was_lost(tcb: Tcb) -> bool:
    """Loss was detected: whether it is that of a probe alone, which says that it was too large, and nothing else."""
    search = tcb.mtu_search
    if search is None or search.size == 0:
        return False
    probe = _of(tcb)
    if tcb.snd_una != probe.seq:
        return False
    search.high = search.size - 1
    search.size = 0
    tcb.set_cwnd(tcb.cwnd + 1)
    return True


def black_hole(tcb: Tcb) -> bool:
    """Timeouts go on (`tcp_retries1` of them): perhaps no router tells that segments are too large. Try smaller ones.

    Whether the MSS is to be computed anew.
    """
    sysctls = tcb.tables.sysctls
    if sysctls.tcp_mtu_probing == 0:
        return False
    if tcb.mtu_search is None:
        _begin(tcb)
        return True
    search = _of(tcb)
    mss: i64 = min(payload_of(tcb, search.low) >> 1, sysctls.tcp_base_mss)
    mss = max(mss, sysctls.tcp_mtu_probe_floor, sysctls.tcp_min_snd_mss)
    search.low = mss + path_mtu.headers_bytes(tcb.family) + (12 if tcb.timestamps else 0)
    return True
