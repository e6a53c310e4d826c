"""TCP_INFO, tcp(7): what a connection tells of itself, as a snapshot and as the bytes of Linux' `struct tcp_info`.

`TcpInfo` reads the connection, in our units: nanoseconds, bytes, segments. `LAYOUT` is the one description of the
structure: name, size, from which attribute, in which unit. The bytes of getsockopt(2), the values that packetdrill's
scripts assert, and the table of docs/syscalls.md follow from it. Who counts what is said in tcb.py.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import path_mtu
from lunar.tcp import chronograph
from lunar.tcp.loss import rate
from lunar.tcp.rules import RTO_INITIAL_NS
from lunar.tcp.tcb import LISTEN, Tcb

# Bits of tcpi_options, netinet/tcp.h.
OPT_TIMESTAMPS: Final = 1
OPT_SACK: Final = 2
OPT_WSCALE: Final = 4
OPT_ECN: Final = 8
OPT_ECN_SEEN: Final = 16
OPT_SYN_DATA: Final = 32
OPT_TFO_CHILD: Final = 128

_US: Final = 1_000  # nanoseconds in the unit of most of the structure's times
_MS: Final = 1_000_000
_UNLIMITED: Final = (1 << 64) - 1  # a rate that nobody has set
_NO_RTT_NS: Final = 0xFFFF_FFFF * 1_000  # what is told as the least RTT before one was measured


@final
class TcpInfo:
    """A snapshot of a connection, in the manner of Linux' TCP_INFO. Times in nanoseconds, windows in bytes, rates in
    bytes a second; cwnd, ssthresh and what is `unacked`, `sacked`, `lost` ... in segments.

    Of a listener `unacked` is how many connections wait for accept(2), `sacked` how many may.
    """

    def __init__(self, tcb: Tcb, waiting: i64, backlog: i64) -> None:
        now: i64 = tcb.scheduler.now_ns
        self.state: int = int(tcb.state)
        self.ca_state: int = int(tcb.ca_state)
        self.retransmits: int = int(tcb.retransmits)
        self.probes: int = int(tcb.probes_out)
        self.backoff: int = int(tcb.backoff)
        self.options: int = int(_options(tcb))
        fast = tcb.fast_open
        self.fast_open_failure: int = 0 if fast is None else int(fast.failure)
        self.snd_wscale: int = int(tcb.snd_wscale)
        self.rcv_wscale: int = int(tcb.rcv_wscale)
        self.rto_ns: int = int(tcb.rto_ns)
        self.ato_ns: int = int(tcb.ato_ns)
        self.snd_mss: int = int(tcb.mss)
        self.rcv_mss: int = int(tcb.rcv_mss)
        self.unacked: int = int(tcb.packets_out)
        self.sacked: int = int(tcb.sacked_out)
        if tcb.state == LISTEN:
            self.unacked = int(waiting)
            self.sacked = int(backlog)
        self.lost: int = int(tcb.lost_out)
        self.retrans: int = int(tcb.retrans_out)
        self.since_sent_ns: int = int(now - tcb.last_sent_ns)
        self.since_received_ns: int = int(now - tcb.last_received_ns)
        self.since_ack_ns: int = int(now - tcb.last_ack_ns)
        self.pmtu: int = int(tcb.path_mss + path_mtu.headers_bytes(tcb.family)) if tcb.path_mss else 0
        self.rcv_ssthresh: int = int(tcb.rcv_ssthresh)
        self.srtt_ns: int = int(tcb.srtt_ns)
        # Before anything is measured Linux' mean deviation is the initial timeout.
        self.rttvar_ns: int = int((tcb.mdev_ns if tcb.srtt_ns else RTO_INITIAL_NS) >> 2)
        self.ssthresh: int = int(tcb.ssthresh)
        self.cwnd: int = int(tcb.cwnd)
        self.advmss: int = int(tcb.advmss)
        self.reordering: int = int(tcb.reordering)
        self.rcv_rtt_ns: int = int(tcb.rcv_rtt_ns)
        self.rcv_space: int = int(tcb.tuning_space)
        self.total_retrans: int = int(tcb.total_retrans)
        self.pacing_rate: int = int(tcb.pacing_rate) if tcb.pacing_rate > 0 else _UNLIMITED
        self.max_pacing_rate: int = int(tcb.max_pacing_rate) if tcb.max_pacing_rate >= 0 else _UNLIMITED
        # Linux counts sequence numbers: the SYN of an active open and the FINs are among them.
        self.bytes_acked: int = int(max(tcb.snd_una - tcb.acked_from, 0))
        self.bytes_received: int = int(tcb.bytes_received) + int(tcb.fin_received)
        self.segs_out: int = int(tcb.segs_out)
        self.segs_in: int = int(tcb.segs_in)
        self.notsent_bytes: int = int(tcb.unsent.size)
        self.min_rtt_ns: int = int(rate.min_rtt(tcb)) if tcb.rtt_filter is not None else _NO_RTT_NS
        self.data_segs_in: int = int(tcb.data_segs_in)
        self.data_segs_out: int = int(tcb.data_segs_out)
        self.delivery_rate: int = int(rate.delivery_rate(tcb))
        self.delivery_rate_app_limited: int = int(tcb.rate_app_limited)
        self.busy_ns: int = int(chronograph.busy_ns(tcb))
        self.rwnd_limited_ns: int = int(chronograph.total_ns(tcb, chronograph.RWND_LIMITED))
        self.sndbuf_limited_ns: int = int(chronograph.total_ns(tcb, chronograph.SNDBUF_LIMITED))
        self.sndq_bytes: int = int(tcb.write_seq - tcb.snd_una)
        self.now_ns: int = int(now)
        self.delivered: int = int(tcb.delivered)
        self.delivered_ce: int = int(tcb.delivered_ce)
        self.bytes_sent: int = int(tcb.bytes_sent)
        self.bytes_retrans: int = int(tcb.bytes_retrans)
        self.dsack_dups: int = int(tcb.dsack_dups)
        self.reord_seen: int = int(tcb.reord_seen)
        self.rcv_ooopack: int = int(tcb.rcv_ooopack)
        self.snd_wnd: int = int(tcb.snd_wnd)
        self.rcv_wnd: int = int(tcb.rcv_wnd)
        self.total_rto: int = int(tcb.total_rto)
        self.total_rto_recoveries: int = int(tcb.total_rto_recoveries)
        self.total_rto_time_ns: int = int(tcb.total_rto_time_ns)

    def fields(self) -> dict[str, int]:
        """The fields of `struct tcp_info` by their names, in its order and units, as large as they can hold."""
        listening = self.state == LISTEN
        return {
            field.name: 0 if listening and field.name not in _OF_LISTENERS else field.value(self) for field in LAYOUT
        }

    def pack(self) -> bytes:
        """`struct tcp_info` as Linux 6.18 has it on a machine of 64 bits, little endian."""
        values = self.fields()
        packed = bytearray()
        bits = 0  # of the byte that is being filled
        held = 0
        for field in LAYOUT:
            value = values[field.name]
            if field.bits:
                held |= value << bits
                bits += field.bits
                if field.ends_byte:
                    packed.append(held)
                    bits = held = 0
            else:
                packed += value.to_bytes(field.size, "little")
        return bytes(packed)


def _options(tcb: Tcb) -> i64:
    found: i64 = 0
    if tcb.timestamps:
        found |= OPT_TIMESTAMPS
    if tcb.sack_ok:
        found |= OPT_SACK
    if tcb.snd_wscale > 0 or tcb.rcv_wscale > 0:
        found |= OPT_WSCALE
    if tcb.ecn_ok:
        found |= OPT_ECN
    if tcb.ecn_seen:
        found |= OPT_ECN_SEEN
    if tcb.syn_data_acked:
        found |= OPT_SYN_DATA
    if tcb.opened_fast:
        found |= OPT_TFO_CHILD
    return found


@final
class Field:
    """One field: `size` in bytes, or `bits` of a byte, which ends with `ends_byte`; `unit` divides the attribute."""

    def __init__(
        self, name: str, size: int, attribute: str, unit: int = 1, bits: int = 0, ends_byte: bool = False
    ) -> None:
        self.name: str = "tcpi_" + name
        self.size: int = size
        self.attribute: str = attribute  # of TcpInfo; "" for what is always 0
        self.unit: int = unit
        self.bits: int = bits
        self.ends_byte: bool = ends_byte

    def value(self, info: TcpInfo) -> int:
        """As the structure has it, no more than fits."""
        if not self.attribute:
            return 0
        value: int = getattr(info, self.attribute)
        return min(value // self.unit, (1 << (self.bits or self.size * 8)) - 1)


# What Linux tells of a listener; the rest is 0.
_OF_LISTENERS: Final = (
    "tcpi_state", "tcpi_unacked", "tcpi_sacked", "tcpi_snd_cwnd", "tcpi_reordering", "tcpi_pacing_rate",
    "tcpi_max_pacing_rate",
)  # fmt: skip

LAYOUT: Final = (
    Field("state", 1, "state"),
    Field("ca_state", 1, "ca_state"),
    Field("retransmits", 1, "retransmits"),
    Field("probes", 1, "probes"),
    Field("backoff", 1, "backoff"),
    Field("options", 1, "options"),
    Field("snd_wscale", 1, "snd_wscale", bits=4),
    Field("rcv_wscale", 1, "rcv_wscale", bits=4, ends_byte=True),
    Field("delivery_rate_app_limited", 1, "delivery_rate_app_limited", bits=1),
    Field("fastopen_client_fail", 1, "fast_open_failure", bits=2, ends_byte=True),
    Field("rto", 4, "rto_ns", _US),
    Field("ato", 4, "ato_ns", _US),
    Field("snd_mss", 4, "snd_mss"),
    Field("rcv_mss", 4, "rcv_mss"),
    Field("unacked", 4, "unacked"),
    Field("sacked", 4, "sacked"),
    Field("lost", 4, "lost"),
    Field("retrans", 4, "retrans"),
    Field("fackets", 4, ""),
    Field("last_data_sent", 4, "since_sent_ns", _MS),
    Field("last_ack_sent", 4, ""),
    Field("last_data_recv", 4, "since_received_ns", _MS),
    Field("last_ack_recv", 4, "since_ack_ns", _MS),
    Field("pmtu", 4, "pmtu"),
    Field("rcv_ssthresh", 4, "rcv_ssthresh"),
    Field("rtt", 4, "srtt_ns", _US),
    Field("rttvar", 4, "rttvar_ns", _US),
    Field("snd_ssthresh", 4, "ssthresh"),
    Field("snd_cwnd", 4, "cwnd"),
    Field("advmss", 4, "advmss"),
    Field("reordering", 4, "reordering"),
    Field("rcv_rtt", 4, "rcv_rtt_ns", _US),
    Field("rcv_space", 4, "rcv_space"),
    Field("total_retrans", 4, "total_retrans"),
    Field("pacing_rate", 8, "pacing_rate"),
    Field("max_pacing_rate", 8, "max_pacing_rate"),
    Field("bytes_acked", 8, "bytes_acked"),
    Field("bytes_received", 8, "bytes_received"),
    Field("segs_out", 4, "segs_out"),
    Field("segs_in", 4, "segs_in"),
    Field("notsent_bytes", 4, "notsent_bytes"),
    Field("min_rtt", 4, "min_rtt_ns", _US),
    Field("data_segs_in", 4, "data_segs_in"),
    Field("data_segs_out", 4, "data_segs_out"),
    Field("delivery_rate", 8, "delivery_rate"),
    Field("busy_time", 8, "busy_ns", _US),
    Field("rwnd_limited", 8, "rwnd_limited_ns", _US),
    Field("sndbuf_limited", 8, "sndbuf_limited_ns", _US),
    Field("delivered", 4, "delivered"),
    Field("delivered_ce", 4, "delivered_ce"),
    Field("bytes_sent", 8, "bytes_sent"),
    Field("bytes_retrans", 8, "bytes_retrans"),
    Field("dsack_dups", 4, "dsack_dups"),
    Field("reord_seen", 4, "reord_seen"),
    Field("rcv_ooopack", 4, "rcv_ooopack"),
    Field("snd_wnd", 4, "snd_wnd"),
    Field("rcv_wnd", 4, "rcv_wnd"),
    Field("rehash", 4, ""),
    Field("total_rto", 2, "total_rto"),
    Field("total_rto_recoveries", 2, "total_rto_recoveries"),
    Field("total_rto_time", 4, "total_rto_time_ns", _MS),
    # Accurate ECN, which this stack does not speak.
    Field("received_ce", 4, ""),
    Field("delivered_e1_bytes", 4, ""),
    Field("delivered_e0_bytes", 4, ""),
    Field("delivered_ce_bytes", 4, ""),
    Field("received_e1_bytes", 4, ""),
    Field("received_e0_bytes", 4, ""),
    Field("received_ce_bytes", 4, ""),
    Field("accecn_fail_mode", 2, ""),
    Field("accecn_opt_seen", 2, ""),
)
