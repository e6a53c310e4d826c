"""The parameters of a host's TCP: net.ipv4.tcp_* and a few of net.core, with the defaults of Linux 6.18.

Read ip-sysctl in the kernel's documentation for what they mean. The names are Linux'; what has several values, as
`tcp_rmem`, is several attributes. lunar/net_tools/sysctl.py has the table by which commands and tapestries reach them.
What stands here is obeyed; what the stack does not obey is not here, and to set it is an error.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64


@final
class Sysctls:
    """One host's parameters; sizes in bytes, times in the unit of their names or as Linux has them."""

    def __init__(self) -> None:
        # The buffers of a socket: the least, what it begins with, the most that it grows to by itself.
        self.tcp_rmem_min: i64 = 4096
        self.tcp_rmem_default: i64 = 131_072
        self.tcp_rmem_max: i64 = 33_554_432
        self.tcp_wmem_min: i64 = 4096
        self.tcp_wmem_default: i64 = 16_384
        self.tcp_wmem_max: i64 = 4_194_304
        self.tcp_moderate_rcvbuf: i64 = 1
        # Options of the handshake.
        self.tcp_timestamps: i64 = 1
        self.tcp_window_scaling: i64 = 1
        self.tcp_sack: i64 = 1
        self.tcp_dsack: i64 = 1
        # Explicit Congestion Notification (ecn.py).
        self.tcp_ecn: i64 = 2
        self.tcp_ecn_fallback: i64 = 1
        # Congestion control (congestion/).
        self.tcp_slow_start_after_idle: i64 = 1
        self.tcp_pacing_ss_ratio: i64 = 200
        self.tcp_pacing_ca_ratio: i64 = 120
        self.tcp_min_rtt_wlen: i64 = 300
        # Parameters of Linux' module tcp_cubic: whether there is HyStart, by which signs, and from which cwnd on.
        self.cubic_hystart: i64 = 1
        self.cubic_hystart_detect: i64 = 3
        self.cubic_hystart_low_window: i64 = 16
        # Loss recovery (recovery.py, rack.py, tail_loss.py) and the retransmission timeout (rtt.py).
        self.tcp_reordering: i64 = 3
        self.tcp_max_reordering: i64 = 300
        self.tcp_recovery: i64 = 1
        self.tcp_early_retrans: i64 = 3
        self.tcp_frto: i64 = 2
        self.tcp_rto_min_us: i64 = 200_000
        self.tcp_thin_linear_timeouts: i64 = 0
        # Opening. `tcp_fastopen_key` has 16 bytes, or 32 for two keys; b"" until one is needed (fast_open.py).
        self.tcp_fastopen: i64 = 1
        self.tcp_fastopen_key: bytes = b""
        self.tcp_fastopen_blackhole_timeout_sec: i64 = 0
        self.somaxconn: i64 = 4096  # net.core
        self.tcp_syn_retries: i64 = 6
        self.tcp_syn_linear_timeouts: i64 = 4
        self.tcp_synack_retries: i64 = 5
        self.tcp_max_syn_backlog: i64 = 4096
        self.tcp_syncookies: i64 = 1
        self.tcp_abort_on_overflow: i64 = 0
        # What does not belong to a connection, or is not credible.
        self.tcp_challenge_ack_limit: i64 = 0x7FFF_FFFF  # a second, for the host; this many is no limit
        self.tcp_invalid_ratelimit: i64 = 500  # in milliseconds
        self.tcp_rfc1337: i64 = 0
        # Closing.
        self.tcp_fin_timeout: i64 = 60  # in seconds
        self.tcp_max_tw_buckets: i64 = 262_144
        self.tcp_tw_reuse: i64 = 2
        self.tcp_tw_reuse_delay: i64 = 1000  # in milliseconds
        self.tcp_max_orphans: i64 = 131_072
        self.tcp_orphan_retries: i64 = 0
        # Acknowledgments for data that is out of order, gathered (delayed_ack.py).
        self.tcp_comp_sack_delay_ns: i64 = 1_000_000
        self.tcp_comp_sack_nr: i64 = 44
        # Sending: how large what goes at once is (records.py).
        self.tcp_min_tso_segs: i64 = 2
        self.tcp_tso_rtt_log: i64 = 9
        self.tcp_tso_win_divisor: i64 = 3
        # The send buffer, and when the program is told that it may write (send_buffer.py).
        self.tcp_notsent_lowat: i64 = 0xFFFF_FFFF
        # How long without an answer (probes.py, timeouts.py); times in seconds.
        self.tcp_keepalive_time: i64 = 7200
        self.tcp_keepalive_intvl: i64 = 75
        self.tcp_keepalive_probes: i64 = 9
        self.tcp_retries2: i64 = 15
        # The size of segments, and the search for it (output.py, mtu_probe.py); sizes in bytes, times in seconds.
        self.tcp_min_snd_mss: i64 = 48
        self.tcp_mtu_probing: i64 = 0
        self.tcp_base_mss: i64 = 1024
        self.tcp_mtu_probe_floor: i64 = 48
        self.tcp_probe_interval: i64 = 600
        self.tcp_probe_threshold: i64 = 8
        self.tcp_retries1: i64 = 3
        self.tcp_retrans_collapse: i64 = 1
