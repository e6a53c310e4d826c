"""What went over the wire, read from our captures with dpkt: TCP segments with their options, a connection at a time.

A capture is of one device; `from_us` says that a segment came from the virtual host. Sequence numbers are as they stand
there, 32 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dpkt
from dpkt.tcp import (
    TCP_OPT_MSS,
    TCP_OPT_SACK,
    TCP_OPT_SACKOK,
    TCP_OPT_TIMESTAMP,
    TCP_OPT_WSCALE,
    TH_ACK,
    TH_CWR,
    TH_ECE,
    TH_FIN,
    TH_RST,
    TH_SYN,
    TH_URG,
)

FIN, SYN, RST, ACK, URG, ECE, CWR = TH_FIN, TH_SYN, TH_RST, TH_ACK, TH_URG, TH_ECE, TH_CWR
TCP_OPT_MD5 = 19  # RFC 2385
TCP_OPT_FASTOPEN = 34  # RFC 7413
CE = 3  # RFC 3168


@dataclass
class Segment:
    """One segment. `at` in seconds; `sack` are the edges of its blocks; `mss`, `wscale` None where there is no such
    option.
    """

    at: float
    from_us: bool
    flags: int
    seq: int
    ack: int
    window: int
    size: int
    ecn: int
    urgent: int = 0
    mss: int | None = None
    wscale: int | None = None
    sack_ok: bool = False
    timestamps: bool = False
    signed: bool = False
    fast_open: bytes | None = None
    sack: list[tuple[int, int]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The sequence number behind it."""
        return (self.seq + self.size + bool(self.flags & SYN) + bool(self.flags & FIN)) & 0xFFFF_FFFF


def before(a: int, b: int) -> bool:
    """Whether `a` comes before `b` in sequence space."""
    return 0 < (b - a) & 0xFFFF_FFFF < 0x8000_0000


def packets(path: Path) -> Iterator[tuple[float, dpkt.ip.IP | dpkt.ip6.IP6]]:
    """The IP packets of a capture."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for at, data in dpkt.pcap.Reader(file):
            packet = dpkt.ethernet.Ethernet(data).data
            if isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6):
                yield float(at), packet


def connections(path: Path, us: set[str]) -> dict[tuple[int, int], list[Segment]]:
    """The segments of each connection of a capture, by (our port, the kernel's port). `us` are our addresses."""
    found: dict[tuple[int, int], list[Segment]] = {}
    for at, packet in packets(path):
        segment = packet.data
        if not isinstance(segment, dpkt.tcp.TCP):
            continue
        from_us = dpkt.utils.inet_to_str(packet.src) in us
        ports = (segment.sport, segment.dport) if from_us else (segment.dport, segment.sport)
        found.setdefault(ports, []).append(_segment(at, from_us, packet, segment))
    return found


def _segment(at: float, from_us: bool, packet: dpkt.ip.IP | dpkt.ip6.IP6, tcp: dpkt.tcp.TCP) -> Segment:
    tos = packet.tos if isinstance(packet, dpkt.ip.IP) else packet.fc
    made = Segment(
        at, from_us, tcp.flags, tcp.seq, tcp.ack, tcp.win, len(tcp.data), tos & 3, tcp.urp if tcp.flags & URG else 0
    )
    for kind, data in dpkt.tcp.parse_opts(tcp.opts):
        if kind == TCP_OPT_MSS:
            made.mss = int.from_bytes(data, "big")
        elif kind == TCP_OPT_WSCALE:
            made.wscale = data[0]
        elif kind == TCP_OPT_SACKOK:
            made.sack_ok = True
        elif kind == TCP_OPT_TIMESTAMP:
            made.timestamps = True
        elif kind == TCP_OPT_MD5:
            made.signed = True
        elif kind == TCP_OPT_FASTOPEN:
            made.fast_open = data
        elif kind == TCP_OPT_SACK:
            edges = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]
            made.sack = list(zip(edges[::2], edges[1::2], strict=True))
    return made


def came_early(segments: list[Segment], from_us: bool) -> bool:
    """Whether data of one side arrived behind a hole, in a capture of who receives."""
    expected: int | None = None
    for each in segments:
        if each.from_us is not from_us or each.flags & RST or each.end == each.seq:
            continue
        if each.flags & SYN:
            expected = each.end
            continue
        if expected is None:
            continue
        if before(expected, each.seq) and each.size:
            return True
        if before(expected, each.end):
            expected = each.end
    return False
