"""How a host's ICMP behaves, of one family: net.ipv4.icmp_... and net.ipv6.icmp....

Both families have one class; what only one has is left at its first value.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from lunar.packet import AF_INET


@final
class IcmpConf:
    """`ratelimit_ms` is the least time between two errors to one host, of the types whose bit is set in `ratemask`."""

    def __init__(self, family: i64) -> None:
        self.ratelimit_ms: i64 = 1000 if family == AF_INET else 100
        # Unreachable, source quench, time exceeded, parameter problem; of ICMPv6 all errors but "too big".
        self.ratemask: int = 0x1818 if family == AF_INET else (1 << 128) - 1 - (1 << 2)
        self.echo_ignore_all: bool = False
        self.echo_ignore_broadcasts: bool = family == AF_INET  # icmp_echo_ignore_broadcasts
        self.echo_ignore_multicast: bool = False  # net.ipv6.icmp.echo_ignore_multicast
        self.errors_use_inbound_ifaddr: bool = False
