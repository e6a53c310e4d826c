"""The parameters of a host's conntrack: net.netfilter.nf_conntrack_*, with the defaults of Linux 6.18.

Times are in seconds. Read nf_conntrack-sysctl in the kernel's documentation for what they mean.
lunar/parameters/netfilter.py has the table by which commands and tapestries reach them.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64


@final
class ConntrackSysctls:
    """One host's parameters. The names are Linux' without `nf_conntrack_`."""

    def __init__(self) -> None:
        self.max: i64 = 262_144  # connections; 0: as many as come
        self.acct: i64 = 0  # whether packets and bytes are counted
        self.timestamp: i64 = 0  # whether the time of a connection's beginning is kept
        self.checksum: i64 = 1  # whether what has a bad checksum is invalid
        self.generic_timeout: i64 = 600
        self.icmp_timeout: i64 = 30
        self.icmpv6_timeout: i64 = 30
        self.udp_timeout: i64 = 30
        self.udp_timeout_stream: i64 = 120
        self.tcp_be_liberal: i64 = 0  # out of the window is not invalid
        self.tcp_ignore_invalid_rst: i64 = 0
        self.tcp_loose: i64 = 1  # a connection may be picked up in its middle
        self.tcp_max_retrans: i64 = 3
        self.tcp_timeout_syn_sent: i64 = 120
        self.tcp_timeout_syn_recv: i64 = 60
        self.tcp_timeout_established: i64 = 432_000
        self.tcp_timeout_fin_wait: i64 = 120
        self.tcp_timeout_close_wait: i64 = 60
        self.tcp_timeout_last_ack: i64 = 30
        self.tcp_timeout_time_wait: i64 = 120
        self.tcp_timeout_close: i64 = 10
        self.tcp_timeout_max_retrans: i64 = 300
        self.tcp_timeout_unacknowledged: i64 = 300
