"""The parameters of connection tracking: what lunar/netfilter/conntrack_sysctls.py keeps.

They can be read and set before there is anything to track; a host that nobody asks has no object for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.netfilter import conntrack
from lunar.netfilter.netfilter import Netfilter
from lunar.parameters.parameter import INT_MAX, READ_ONLY, Parameter

if TYPE_CHECKING:
    from lunar.host import Host

# Linux counts them in ticks, of which an int holds so many seconds at 100 a second.
_TIMEOUT_MAX: Final = INT_MAX // 100


def _of_conntrack(host: Host) -> object:
    return conntrack.sysctls_of(host.ip)


@attrs.frozen
class _Count(Parameter):
    """nf_conntrack_count: how many connections there are now."""

    def read(self, host: Host) -> tuple[Any, ...]:
        found = host.ip.filter
        if not isinstance(found, Netfilter) or found.conntrack is None:
            return (0,)
        return (found.conntrack.count(),)


def _timeout(name: str, effect: str) -> Parameter:
    return Parameter(_of_conntrack, (name,), 0, _TIMEOUT_MAX, effect)


def _flag(name: str, effect: str) -> Parameter:
    return Parameter(_of_conntrack, (name,), 0, 1, effect)


_PREFIX: Final = "net.netfilter.nf_conntrack_"
ROWS: Final[dict[str, Parameter]] = {
    _PREFIX + name: parameter
    for name, parameter in {
        "acct": _flag("acct", "packets and bytes of new connections are counted"),
        "checksum": _flag("checksum", "what has a bad checksum belongs to no connection (INVALID)"),
        "count": _Count(_of_conntrack, ("count",), 0, INT_MAX, "how many connections there are", mode=READ_ONLY),
        "generic_timeout": _timeout("generic_timeout", "how long one of another protocol is remembered, in seconds"),
        "icmp_timeout": _timeout("icmp_timeout", "and one of ICMP"),
        "icmpv6_timeout": _timeout("icmpv6_timeout", "and one of ICMPv6"),
        "max": Parameter(
            _of_conntrack, ("max",), 0, INT_MAX,
            "how many connections there may be; one that was never answered is given up for a new one. 0 is no limit",
        ),
        "tcp_be_liberal": _flag("tcp_be_liberal", "segments out of the window belong to the connection all the same"),
        "tcp_ignore_invalid_rst": _flag("tcp_ignore_invalid_rst", "and so does an RST with an old sequence number"),
        "tcp_loose": _flag("tcp_loose", "a connection that is met in its middle is picked up"),
        "tcp_max_retrans": Parameter(
            _of_conntrack, ("tcp_max_retrans",), 0, 255,
            "after so many repetitions without an answer `tcp_timeout_max_retrans` holds",
        ),
        "tcp_timeout_close": _timeout("tcp_timeout_close", "how long a TCP connection is remembered after an RST"),
        "tcp_timeout_close_wait": _timeout("tcp_timeout_close_wait", "after a FIN that was acknowledged"),
        "tcp_timeout_established": _timeout("tcp_timeout_established", "between two segments, when it is open"),
        "tcp_timeout_fin_wait": _timeout("tcp_timeout_fin_wait", "after the first FIN"),
        "tcp_timeout_last_ack": _timeout("tcp_timeout_last_ack", "after the second FIN"),
        "tcp_timeout_max_retrans": _timeout(
            "tcp_timeout_max_retrans", "after many repetitions, or while the window is closed"
        ),
        "tcp_timeout_syn_recv": _timeout("tcp_timeout_syn_recv", "after the SYN-ACK"),
        "tcp_timeout_syn_sent": _timeout("tcp_timeout_syn_sent", "after the SYN"),
        "tcp_timeout_time_wait": _timeout("tcp_timeout_time_wait", "after the last ACK"),
        "tcp_timeout_unacknowledged": _timeout("tcp_timeout_unacknowledged", "while data are not acknowledged"),
        "timestamp": _flag("timestamp", "when a new connection began is kept"),
        "udp_timeout": _timeout("udp_timeout", "how long a UDP connection is remembered"),
        "udp_timeout_stream": _timeout(
            "udp_timeout_stream", "and when it is answered longer than two seconds after its beginning"
        ),
    }.items()
}  # fmt: skip
# An older name of the same, outside of net.netfilter.
ROWS["net.nf_conntrack_max"] = attrs.evolve(ROWS[_PREFIX + "max"], effect="as net.netfilter.nf_conntrack_max")
