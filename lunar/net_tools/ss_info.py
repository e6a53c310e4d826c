"""What ss(8) tells of a socket besides its ends: timers (-o), inode (-e), memory (-m), a connection's state (-i)."""

from __future__ import annotations

from typing import Final

from lunar.net_tools.seen import Seen
from lunar.tcp.info import OPT_ECN, OPT_ECN_SEEN, OPT_SACK, OPT_TIMESTAMPS, OPT_WSCALE, TcpInfo
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import LISTEN

_MS: Final = 1_000_000
_UNLIMITED: Final = (1 << 64) - 1
_UNITS: Final = ((1e12, "Tbps"), (1e9, "Gbps"), (1e6, "Mbps"), (1e3, "Kbps"))


def timer(seen: Seen) -> str:
    """As timer:(keepalive,119min,0): what for, when, how often it has fired."""
    return f"timer:({seen.timer[1]},{_until(seen.timer_ns // _MS)},{seen.timer_count})"


def _until(ms: int) -> str:
    """A time as ss says it: the larger the less exactly."""
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    text = ""
    if minutes:
        rest = 0
        text = f"{minutes}min"
        if minutes > 9:
            seconds = 0
    if seconds:
        if seconds > 9:
            rest = 0
        text += f"{seconds}{'.' if rest else 'sec'}"
    return text + (f"{rest:03d}ms" if rest else "")


def extended(seen: Seen) -> str:
    """The inode, the socket's own number, and whether it may receive and send."""
    ways = ""
    if seen.kind == "tcp" and seen.sock is not None:
        sock = seen.sock
        assert isinstance(sock, TcpSock), "a socket of TCP"
        ways = f" {'-' if sock.read_shut else '<'}-{'-' if sock.write_shut else '>'}"
    return f"ino:{seen.inode} sk:{seen.inode:x}{ways}"


def memory(seen: Seen) -> str:
    """skmem: what is queued and how much may be. Memory that only a kernel has is 0."""
    sock = seen.sock
    assert sock is not None, "asked for sockets that are there"
    received = int(sock.charged_bytes())
    sent = seen.send_q if seen.kind == "tcp" and seen.state != LISTEN else 0
    return f"skmem:(r{received},rb{int(sock.rcvbuf)},t0,tb{int(sock.sndbuf)},f0,w{sent},o0,bl0,d0)"


def info(seen: Seen, *, numeric: bool, with_options: bool) -> str:
    """TCP_INFO as ss writes it; "" of what has none."""
    sock = seen.sock
    if not isinstance(sock, TcpSock):
        return ""
    told = TcpInfo(sock, 0, 0)
    parts: list[str] = []

    def add(name: str, value: int, scale: int = 1) -> None:
        if value:
            parts.append(f"{name}:{value // scale}")

    options = told.options
    if with_options:
        names = ((OPT_TIMESTAMPS, "ts"), (OPT_SACK, "sack"), (OPT_ECN, "ecn"), (OPT_ECN_SEEN, "ecnseen"))
        parts += [name for bit, name in names if options & bit]
    parts.append(str(sock.congestion.name))
    if options & OPT_WSCALE:
        parts.append(f"wscale:{told.snd_wscale},{told.rcv_wscale}")
    if seen.state == LISTEN:
        return " ".join([*parts, f"cwnd:{told.cwnd}"])
    parts.append(f"rto:{told.rto_ns / _MS:g}")
    add("backoff", told.backoff)
    if told.srtt_ns:
        parts.append(f"rtt:{_ms(told.srtt_ns)}/{_ms(told.rttvar_ns)}")
    if told.ato_ns:
        parts.append(f"ato:{told.ato_ns / _MS:g}")
    for name, value in (
        ("mss", told.snd_mss), ("pmtu", told.pmtu), ("rcvmss", told.rcv_mss), ("advmss", told.advmss),
        ("cwnd", told.cwnd), ("ssthresh", told.ssthresh if told.ssthresh < 0xFFFF else 0),
        ("bytes_sent", told.bytes_sent), ("bytes_retrans", told.bytes_retrans), ("bytes_acked", told.bytes_acked),
        ("bytes_received", told.bytes_received), ("segs_out", told.segs_out), ("segs_in", told.segs_in),
        ("data_segs_out", told.data_segs_out), ("data_segs_in", told.data_segs_in),
    ):  # fmt: skip
        add(name, value)
    if told.srtt_ns and told.snd_mss and told.cwnd:
        parts.append(f"send {_rate(told.cwnd * told.snd_mss * 8 * 1_000_000_000 / told.srtt_ns, numeric)}")
    add("lastsnd", told.since_sent_ns, _MS)
    add("lastrcv", told.since_received_ns, _MS)
    add("lastack", told.since_ack_ns, _MS)
    if told.pacing_rate not in (0, _UNLIMITED):
        limit = f"/{_rate(told.max_pacing_rate * 8, numeric)}" if told.max_pacing_rate != _UNLIMITED else ""
        parts.append(f"pacing_rate {_rate(told.pacing_rate * 8, numeric)}{limit}")
    if told.delivery_rate:
        parts.append(f"delivery_rate {_rate(told.delivery_rate * 8, numeric)}")
    add("delivered", told.delivered)
    add("delivered_ce", told.delivered_ce)
    if told.delivery_rate_app_limited:
        parts.append("app_limited")
    if told.busy_ns:
        parts.append(f"busy:{told.busy_ns // _MS}ms")
        for name, value in (("rwnd_limited", told.rwnd_limited_ns), ("sndbuf_limited", told.sndbuf_limited_ns)):
            if value:
                parts.append(f"{name}:{value // _MS}ms({100 * value / told.busy_ns:.1f}%)")
    add("unacked", told.unacked)
    if told.retrans or told.total_retrans:
        parts.append(f"retrans:{told.retrans}/{told.total_retrans}")
    add("lost", told.lost)
    add("sacked", told.sacked)
    add("dsack_dups", told.dsack_dups)
    add("reordering", told.reordering if told.reordering != 3 else 0)
    add("reord_seen", told.reord_seen)
    if told.rcv_rtt_ns:
        parts.append(f"rcv_rtt:{_ms(told.rcv_rtt_ns)}")
    add("rcv_space", told.rcv_space)
    add("rcv_ssthresh", told.rcv_ssthresh)
    add("notsent", told.notsent_bytes)
    if 0 < told.min_rtt_ns < 0xFFFF_FFFF * 1000:
        parts.append(f"minrtt:{_ms(told.min_rtt_ns)}")
    add("rcv_ooopack", told.rcv_ooopack)
    add("snd_wnd", told.snd_wnd)
    return " ".join(parts)


def _ms(ns: int) -> str:
    """Milliseconds, from the whole microseconds that Linux tells."""
    return f"{ns // 1000 / 1000:g}"


def _rate(bits: float, numeric: bool) -> str:
    if numeric:
        return f"{bits:.0f}bps"
    for size, unit in _UNITS:
        if bits >= size:
            return f"{bits / size:.3g}{unit}"
    return f"{bits:.3g}bps"
