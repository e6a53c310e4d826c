"""The parameters of TCP: what lunar/tcp/sysctls.py keeps, and the congestion controls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.parameters.parameter import INT_MAX, READ_ONLY, Parameter, UnknownName, of_ip, of_tcp
from lunar.tcp.congestion import registry
from lunar.tcp.opening import fast_accept

if TYPE_CHECKING:
    from lunar.host import Host


@attrs.frozen
class _Congestion(Parameter):
    """Names of congestion controls: the default, those that programs may choose, those that there are."""

    @property
    def bounds(self) -> str:
        return "names"

    def parse(self, name: str, text: str) -> list[Any]:
        words = text.split()
        if self.mode == READ_ONLY:
            raise ValueError(f"{name} can only be read")
        if self.attributes == ("congestion",) and len(words) != 1:
            raise ValueError(f"{name}={text.strip()}: expected one name")
        for word in words:
            try:
                registry.find(word)
            except LookupError as unknown:
                raise UnknownName(f"{name}={word}: {unknown.args[0]}") from None
        return words

    def read(self, host: Host) -> tuple[Any, ...]:
        tables = host.tcp.tables
        if self.attributes == ("congestion",):
            return (tables.congestion.name,)
        return tuple(registry.allowed(tables) if self.attributes else registry.names())

    def write(self, host: Host, values: list[Any]) -> None:
        tables = host.tcp.tables
        if self.attributes == ("congestion",):
            tables.congestion = registry.find(values[0])
        else:
            tables.congestion_allowed = list(values)

    def shown(self, values: tuple[Any, ...]) -> str:
        return " ".join(values)


@attrs.frozen
class _FastOpenKeys(Parameter):
    """net.ipv4.tcp_fastopen_key: four words in hexadecimal joined by "-"; two keys of those by ",". Not numbers."""

    @property
    def bounds(self) -> str:
        return "four hexadecimal words, or eight"

    def read(self, host: Host) -> tuple[Any, ...]:
        keys = fast_accept.host_keys(host.tcp.tables)
        return tuple(int.from_bytes(keys[at : at + 4], "little") for at in range(0, len(keys), 4))

    def write(self, host: Host, values: list[Any]) -> None:
        host.tcp.tables.sysctls.tcp_fastopen_key = b"".join(value.to_bytes(4, "little") for value in values)

    def shown(self, values: tuple[Any, ...]) -> str:
        keys = (values[at : at + 4] for at in range(0, len(values), 4))
        return ",".join("-".join(f"{word:08x}" for word in key) for key in keys)

    def parse(self, name: str, text: str) -> list[Any]:
        keys = text.strip().split(",")
        words = [word for key in keys for word in key.split("-")]
        if len(keys) > 2 or any(not re.fullmatch(r"[0-9a-fA-F]{1,8}(-[0-9a-fA-F]{1,8}){3}", key) for key in keys):
            raise ValueError(f"{name}={text.strip()}: expected xxxxxxxx-xxxxxxxx-xxxxxxxx-xxxxxxxx, or two")
        return [int(word, 16) for word in words]


# (name, smallest, largest, effect), of net.ipv4.
_NUMBERS: Final[tuple[tuple[str, int, int, str], ...]] = (
    ("tcp_abort_on_overflow", 0, 1, "a full accept queue answers with RST instead of silence"),
    ("tcp_base_mss", 48, 65535, "where the search for the path's MTU begins, in bytes"),
    ("tcp_challenge_ack_limit", 0, INT_MAX, "challenge ACKs of the host in a second (RFC 5961)"),
    ("tcp_comp_sack_delay_ns", 0, INT_MAX, "how long ACKs about a hole are gathered, at most"),
    ("tcp_comp_sack_nr", 0, 255, "how many of them, at most; 0 sends each"),
    ("tcp_dsack", 0, 1, "duplicates are told to the peer (RFC 2883)"),
    ("tcp_early_retrans", 0, 4, "3: tail loss probes (RFC 8985); 0: none"),
    ("tcp_ecn", 0, 2, "0: no ECN; 1: asked for and accepted; 2: accepted (RFC 3168)"),
    ("tcp_ecn_fallback", 0, 1, "a SYN that asks for ECN is repeated without"),
    ("tcp_fastopen", -(2**31), INT_MAX,
     "bits: 1 client, 2 server, 4 no cookie needed here, 0x200 nor there, 0x400 all listeners"),
    ("tcp_fastopen_blackhole_timeout_sec", 0, INT_MAX, "how long fast open pauses when the path swallows it; 0: never"),
    ("tcp_fin_timeout", 0, INT_MAX, "how long a closed socket waits for the peer's FIN, in seconds"),
    ("tcp_frto", 0, 2, "spurious timeouts are found (RFC 5682)"),
    ("tcp_invalid_ratelimit", 0, INT_MAX, "the least time between two answers to invalid segments, in ms"),
    ("tcp_keepalive_intvl", 1, 32767, "the time between keepalive probes, in seconds"),
    ("tcp_keepalive_probes", 1, 127, "how many of them go unanswered before the connection is given up"),
    ("tcp_keepalive_time", 1, 32767, "how long a connection is idle before the first, in seconds"),
    ("tcp_max_orphans", 0, INT_MAX, "sockets that no program has any more; above this they are reset"),
    ("tcp_max_reordering", 1, INT_MAX, "how much reordering is learned, in segments"),
    ("tcp_max_syn_backlog", 0, INT_MAX, "how many connections may be half open at a listener"),
    ("tcp_max_tw_buckets", 0, INT_MAX, "how many may be in TIME-WAIT; above this they are gone at once"),
    ("tcp_min_rtt_wlen", 0, 86_400, "for how long the least RTT is remembered, in seconds"),
    ("tcp_min_snd_mss", 48, 1400, "the least MSS that is obeyed, in bytes, with options"),
    ("tcp_min_tso_segs", 1, 0xFFFF, "segments that go at once at the least, however slow the pace"),
    ("tcp_moderate_rcvbuf", 0, 1, "receive buffers grow by themselves"),
    ("tcp_mtu_probe_floor", 48, 65535, "below this a black hole does not lower the MSS, in bytes"),
    ("tcp_mtu_probing", 0, 2, "0: no search for the path's MTU; 1: after a black hole; 2: always (RFC 4821)"),
    ("tcp_notsent_lowat", 0, 0xFFFF_FFFF, "a socket is writable while less than this is unsent, in bytes"),
    ("tcp_orphan_retries", 0, 255, "timeouts of a socket that no program has; 0 means 8"),
    ("tcp_pacing_ca_ratio", 0, 1000, "the pace in congestion avoidance, in percent of cwnd in an RTT"),
    ("tcp_pacing_ss_ratio", 0, 1000, "the pace in slow start"),
    ("tcp_probe_interval", 0, INT_MAX, "how often the path's MTU is tried anew, in seconds"),
    ("tcp_probe_threshold", 0, 65535, "the search ends when its bounds are this near, in bytes"),
    ("tcp_recovery", 0, 255, "bits: 2 RACK's wait is not widened, 4 three duplicates do not end it; 1 changes nothing"),
    ("tcp_reordering", 1, 300, "how far segments may overtake another at first and none be lost"),
    ("tcp_retrans_collapse", 0, 1, "small segments are put together when they are sent again"),
    ("tcp_retries1", 0, 255, "timeouts after which the route is doubted"),
    ("tcp_retries2", 0, 255, "timeouts after which a connection is given up: 15 are at least 924.6 s"),
    ("tcp_rfc1337", 0, 1, "a RST does not end TIME-WAIT"),
    ("tcp_rto_min_us", 1, INT_MAX, "the least variance term of the retransmission timeout"),
    ("tcp_sack", 0, 1, "SACK is offered and accepted (RFC 2018)"),
    ("tcp_slow_start_after_idle", 0, 1, "cwnd decays while nothing is sent (RFC 2861)"),
    ("tcp_syn_linear_timeouts", 0, 127, "SYNs that are repeated each second, before the interval doubles"),
    ("tcp_syn_retries", 1, 127, "repeated SYNs before `connect` fails: 6 are at least 127 s"),
    ("tcp_synack_retries", 0, 255, "repeated SYN-ACKs before a half-open connection is forgotten"),
    ("tcp_syncookies", 0, 2, "0: a full SYN queue drops; 1: it answers with cookies; 2: cookies always"),
    ("tcp_thin_linear_timeouts", 0, 1, "thin streams do not double their timeout, six times"),
    ("tcp_timestamps", 0, 2, "timestamps are offered and accepted (RFC 7323); 2: without an offset drawn by lot"),
    ("tcp_tso_rtt_log", 0, 255, "near peers get larger bursts: half per 2**this microseconds of RTT"),
    ("tcp_tso_win_divisor", 0, INT_MAX, "a burst waits until this part of the window may go"),
    ("tcp_tw_reuse", 0, 2, "`connect` takes ports in TIME-WAIT: 0 never, 1 always, 2 over loopback"),
    ("tcp_tw_reuse_delay", 1, 60_000, "after this time, in ms"),
    ("tcp_window_scaling", 0, 1, "window scale is offered and accepted (RFC 7323)"),
)  # fmt: skip


def _sizes(name: str, effect: str) -> Parameter:
    """The least, the default and the largest size of a buffer."""
    attributes = (f"{name}_min", f"{name}_default", f"{name}_max")
    return Parameter(of_tcp, attributes, 1, INT_MAX, effect, partly=True)


ROWS: Final[dict[str, Parameter]] = {
    **{
        f"net.ipv4.{name}": Parameter(of_tcp, (name,), smallest, largest, effect)
        for name, smallest, largest, effect in _NUMBERS
    },
    "net.ipv4.tcp_allowed_congestion_control": _Congestion(
        of_tcp, ("congestion_allowed",), 0, 0, "what programs may choose by `TCP_CONGESTION`", counts=False
    ),
    "net.ipv4.tcp_available_congestion_control": _Congestion(
        of_tcp, (), 0, 0, "what is registered; read only", mode=READ_ONLY, counts=False
    ),
    "net.ipv4.tcp_congestion_control": _Congestion(
        of_tcp, ("congestion",), 0, 0, "the algorithm of new sockets", counts=False
    ),
    "net.ipv4.tcp_fastopen_key": _FastOpenKeys(
        of_tcp, ("tcp_fastopen_key",), 0, 2**32 - 1, "the key of the cookies, or two; drawn when it is first needed",
        counts=False,
    ),
    "net.ipv4.tcp_rmem": _sizes(
        "tcp_rmem", "receive buffers: the least (when memory is short, so never here), default, most; in bytes"
    ),
    "net.ipv4.tcp_stdurg": Parameter(of_ip, ("tcp_stdurg",), 0, 1, "the urgent pointer is RFC 1122's"),
    "net.ipv4.tcp_wmem": _sizes("tcp_wmem", "send buffers, in the same way"),
    # Linux has these in /sys/module/tcp_cubic/parameters.
    "tcp_cubic.hystart": Parameter(of_tcp, ("cubic_hystart",), 0, 1, "CUBIC leaves slow start by HyStart"),
    "tcp_cubic.hystart_detect": Parameter(
        of_tcp, ("cubic_hystart_detect",), 0, 3, "bits: 1 by trains of ACKs, 2 by delay"
    ),
    "tcp_cubic.hystart_low_window": Parameter(
        of_tcp, ("cubic_hystart_low_window",), 0, INT_MAX, "from this cwnd on"
    ),
}
