"""A connection as text: the lines of `conntrack -L`, and of /proc/net/nf_conntrack.

They are the same but for a few words: the file names the family and the zone, and writes IPv6 addresses in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.netfilter import conntrack_tcp
from lunar.netfilter.conntrack import ASSURED, SEEN_REPLY, Conntrack, Track
from lunar.netfilter.conntrack_tuple import ICMPV6, Tuple
from lunar.netfilter.netfilter import Netfilter
from lunar.packet import AF_INET, ICMP, TCP, UDP
from lunar.wire.address import address_text

if TYPE_CHECKING:
    from lunar.host import Host

_NAMES: Final = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6"}
_S: Final = 1_000_000_000


def proc_file(host: Host) -> str:
    """/proc/net/nf_conntrack."""
    found = host.ip.filter
    conntrack = found.conntrack if isinstance(found, Netfilter) else None
    if conntrack is None:
        return ""
    return "".join(line(conntrack, track, of_proc=True) + "\n" for track in conntrack.all())


def line(conntrack: Conntrack, track: Track, *, extended: bool = False, of_proc: bool = False) -> str:
    """One connection, as conntrack(8) shows it; `extended` with its family, `of_proc` as the file has it."""
    protocol = int(track.original.protocol)
    words = []
    if extended or of_proc:
        family = "ipv4" if track.original.family == AF_INET else "ipv6"
        words.append(f"{family:<8} {track.original.family}")
    words.append(f"{_NAMES.get(protocol, 'unknown'):<8} {protocol} {conntrack.seconds_left(track)}")
    if track.tcp is not None:
        words.append(conntrack_tcp.NAMES[track.tcp.state])
    words.append(_tuple(track.original, of_proc))
    if track.counted:
        words.append(f"packets={track.original_packets} bytes={track.original_bytes}")
    if not track.status & SEEN_REPLY:
        words.append("[UNREPLIED]")
    words.append(_tuple(track.reply, of_proc))
    if track.counted:
        words.append(f"packets={track.reply_packets} bytes={track.reply_bytes}")
    if track.status & ASSURED:
        words.append("[ASSURED]")
    words.append(f"mark={track.mark}")
    if of_proc:
        words.append("zone=0")
    if track.stamped:
        words.append(f"delta-time={(conntrack.ip.scheduler.now_ns - track.made_ns) // _S}")
    words.append("use=2" if of_proc else "use=1")
    return " ".join(words)


def _tuple(one: Tuple, of_proc: bool) -> str:
    text = f"src={_address(one.family, one.src, of_proc)} dst={_address(one.family, one.dst, of_proc)}"
    if one.protocol in (TCP, UDP):
        return f"{text} sport={one.sport} dport={one.dport}"
    if one.protocol in (ICMP, ICMPV6):
        return f"{text} type={one.dport >> 8} code={one.dport & 0xFF} id={one.sport}"
    return text


def _address(family: int, address: int, of_proc: bool) -> str:
    if family == AF_INET or not of_proc:
        return address_text(family, address)
    digits = f"{address:032x}"
    return ":".join(digits[at : at + 4] for at in range(0, 32, 4))
