"""Write the table in sysctl.md: `python docs/make_sysctl.py`. Names, defaults and ranges come from the code.

EFFECTS says in a few words what each parameter does; a test (tests/test_sysctl_table.py) wants one for each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lunar
from lunar.net_tools.sysctl import PARAMETERS

PAGE = Path(__file__).parent / "sysctl.md"
BEGIN = "<!-- made by make_sysctl.py -->\n"
END = "<!-- end -->\n"

EFFECTS = {
    "net.core.somaxconn": "the most that `listen` takes for a backlog",
    "net.ipv4.ip_default_ttl": "the time to live of what has no `IP_TTL`",
    "net.ipv4.ip_forward": "packets for others are passed on",
    "net.ipv4.ip_local_port_range": "the ports that `connect` and `bind` to port 0 choose from",
    "net.ipv4.ip_no_pmtu_disc": "1: IPv4 sends without DF and learns no path MTU; 2: it does not believe ICMP either",
    "net.ipv4.ping_group_range": 'the groups whose programs may have ping sockets; `"1 0"` is nobody',
    "net.ipv4.route.min_pmtu": "the least path MTU that an ICMP message may set, in bytes",
    "net.ipv4.route.mtu_expires": "how long a path MTU is remembered, in seconds",
    "net.ipv4.tcp_abort_on_overflow": "a full accept queue answers with RST instead of silence",
    "net.ipv4.tcp_allowed_congestion_control": "what programs may choose by `TCP_CONGESTION`",
    "net.ipv4.tcp_available_congestion_control": "what is registered; read only",
    "net.ipv4.tcp_base_mss": "where the search for the path's MTU begins, in bytes",
    "net.ipv4.tcp_challenge_ack_limit": "challenge ACKs of the host in a second (RFC 5961)",
    "net.ipv4.tcp_comp_sack_delay_ns": "how long ACKs about a hole are gathered, at most",
    "net.ipv4.tcp_comp_sack_nr": "how many of them, at most; 0 sends each",
    "net.ipv4.tcp_congestion_control": "the algorithm of new sockets",
    "net.ipv4.tcp_dsack": "duplicates are told to the peer (RFC 2883)",
    "net.ipv4.tcp_early_retrans": "3: tail loss probes (RFC 8985); 0: none",
    "net.ipv4.tcp_ecn": "0: no ECN; 1: asked for and accepted; 2: accepted (RFC 3168)",
    "net.ipv4.tcp_ecn_fallback": "a SYN that asks for ECN is repeated without",
    "net.ipv4.tcp_fastopen": "bits: 1 client, 2 server, 4 no cookie needed here, 0x200 nor there, 0x400 all listeners",
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec": "how long fast open pauses when the path swallows it; 0: never",
    "net.ipv4.tcp_fastopen_key": "the key of the cookies, or two; drawn when it is first needed",
    "net.ipv4.tcp_fin_timeout": "how long a closed socket waits for the peer's FIN, in seconds",
    "net.ipv4.tcp_frto": "spurious timeouts are found (RFC 5682)",
    "net.ipv4.tcp_invalid_ratelimit": "the least time between two answers to invalid segments, in ms",
    "net.ipv4.tcp_keepalive_intvl": "the time between keepalive probes, in seconds",
    "net.ipv4.tcp_keepalive_probes": "how many of them go unanswered before the connection is given up",
    "net.ipv4.tcp_keepalive_time": "how long a connection is idle before the first, in seconds",
    "net.ipv4.tcp_max_orphans": "sockets that no program has any more; above this they are reset",
    "net.ipv4.tcp_max_reordering": "how much reordering is learned, in segments",
    "net.ipv4.tcp_max_syn_backlog": "how many connections may be half open at a listener",
    "net.ipv4.tcp_max_tw_buckets": "how many may be in TIME-WAIT; above this they are gone at once",
    "net.ipv4.tcp_min_rtt_wlen": "for how long the least RTT is remembered, in seconds",
    "net.ipv4.tcp_min_snd_mss": "the least MSS that is obeyed, in bytes, with options",
    "net.ipv4.tcp_min_tso_segs": "segments that go at once at the least, however slow the pace",
    "net.ipv4.tcp_moderate_rcvbuf": "receive buffers grow by themselves",
    "net.ipv4.tcp_mtu_probe_floor": "below this a black hole does not lower the MSS, in bytes",
    "net.ipv4.tcp_mtu_probing": "0: no search for the path's MTU; 1: after a black hole; 2: always (RFC 4821)",
    "net.ipv4.tcp_notsent_lowat": "a socket is writable while less than this is unsent, in bytes",
    "net.ipv4.tcp_orphan_retries": "timeouts of a socket that no program has; 0 means 8",
    "net.ipv4.tcp_pacing_ca_ratio": "the pace in congestion avoidance, in percent of cwnd in an RTT",
    "net.ipv4.tcp_pacing_ss_ratio": "the pace in slow start",
    "net.ipv4.tcp_probe_interval": "how often the path's MTU is tried anew, in seconds",
    "net.ipv4.tcp_probe_threshold": "the search ends when its bounds are this near, in bytes",
    "net.ipv4.tcp_recovery": "bits: 2 RACK's wait is not widened, 4 three duplicates do not end it; 1 changes nothing",
    "net.ipv4.tcp_reordering": "how far segments may overtake another at first and none be lost",
    "net.ipv4.tcp_retrans_collapse": "small segments are put together when they are sent again",
    "net.ipv4.tcp_retries1": "timeouts after which the route is doubted",
    "net.ipv4.tcp_retries2": "timeouts after which a connection is given up: 15 are at least 924.6 s",
    "net.ipv4.tcp_rfc1337": "a RST does not end TIME-WAIT",
    "net.ipv4.tcp_rmem": "receive buffers: the least (when memory is short, so never here), default, most; in bytes",
    "net.ipv4.tcp_rto_min_us": "the least variance term of the retransmission timeout",
    "net.ipv4.tcp_sack": "SACK is offered and accepted (RFC 2018)",
    "net.ipv4.tcp_slow_start_after_idle": "cwnd decays while nothing is sent (RFC 2861)",
    "net.ipv4.tcp_stdurg": "the urgent pointer is RFC 1122's",
    "net.ipv4.tcp_syn_linear_timeouts": "SYNs that are repeated each second, before the interval doubles",
    "net.ipv4.tcp_syn_retries": "repeated SYNs before `connect` fails: 6 are at least 127 s",
    "net.ipv4.tcp_synack_retries": "repeated SYN-ACKs before a half-open connection is forgotten",
    "net.ipv4.tcp_syncookies": "0: a full SYN queue drops; 1: it answers with cookies; 2: cookies always",
    "net.ipv4.tcp_thin_linear_timeouts": "thin streams do not double their timeout, six times",
    "net.ipv4.tcp_timestamps": "timestamps are offered and accepted (RFC 7323); 2: without an offset drawn by lot",
    "net.ipv4.tcp_tso_rtt_log": "near peers get larger bursts: half per 2**this microseconds of RTT",
    "net.ipv4.tcp_tso_win_divisor": "a burst waits until this part of the window may go",
    "net.ipv4.tcp_tw_reuse": "`connect` takes ports in TIME-WAIT: 0 never, 1 always, 2 over loopback",
    "net.ipv4.tcp_tw_reuse_delay": "after this time, in ms",
    "net.ipv4.tcp_window_scaling": "window scale is offered and accepted (RFC 7323)",
    "net.ipv4.tcp_wmem": "send buffers, in the same way",
    "tcp_cubic.hystart": "CUBIC leaves slow start by HyStart",
    "tcp_cubic.hystart_detect": "bits: 1 by trains of ACKs, 2 by delay",
    "tcp_cubic.hystart_low_window": "from this cwnd on",
}


def table() -> str:
    """A row for each parameter."""
    net = lunar.Network(seed=0)
    host = net.host("host", "10.0.0.1/24")
    lines = ["| parameter | default | range | effect |", "| --- | --- | --- | --- |"]
    for name in sorted(PARAMETERS):
        parameter = PARAMETERS[name]
        default = " ".join(host.sh(f"sysctl -n {name}").split())
        bounds = f"{parameter.smallest} to {parameter.largest}"
        if name.endswith("fastopen_key"):
            default, bounds = "drawn", "four hexadecimal words, or eight"
        elif name.endswith("congestion_control"):
            bounds = "names"
        elif (parameter.smallest, parameter.largest) == (0, 1):
            bounds = "0, 1"
        lines.append(f"| `{name}` | {default} | {bounds} | {EFFECTS[name]} |")
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """sysctl.md with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    missing = sorted(set(PARAMETERS) - set(EFFECTS))
    if missing:
        sys.exit(f"EFFECTS has no words for {', '.join(missing)}")
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
