"""SOF_TIMESTAMPING_OPT_STATS: how a connection was doing when a byte was stamped, as netlink attributes.

linux/tcp.h, TCP_NLA_*: an attribute is its length with the header and its type, 16 bits each, and the value, padded to
four bytes. The order is Linux', which is not that of the numbers.
"""

from __future__ import annotations

from typing import Final

from lunar.tcp.info import TcpInfo

NO_TTL: Final = -1  # no segment came

_TTL: Final = "ttl"  # of the ACK, which is told where one came
# Number, size in bytes, the attribute of TcpInfo ("" for what is always 0), and what it is divided by.
_ATTRIBUTES: Final = (
    (1, 8, "busy_ns", 1000),
    (2, 8, "rwnd_limited_ns", 1000),
    (3, 8, "sndbuf_limited_ns", 1000),
    (4, 8, "data_segs_out", 1),
    (5, 8, "total_retrans", 1),
    (6, 8, "pacing_rate", 1),
    (7, 8, "delivery_rate", 1),
    (8, 4, "cwnd", 1),
    (9, 4, "reordering", 1),
    (10, 4, "min_rtt_ns", 1000),
    (11, 1, "retransmits", 1),
    (12, 1, "delivery_rate_app_limited", 1),
    (15, 4, "ssthresh", 1),
    (16, 4, "delivered", 1),
    (17, 4, "delivered_ce", 1),
    (13, 4, "sndq_bytes", 1),
    (14, 1, "ca_state", 1),
    (18, 8, "bytes_sent", 1),
    (19, 8, "bytes_retrans", 1),
    (20, 4, "dsack_dups", 1),
    (21, 4, "reord_seen", 1),
    (22, 4, "srtt_ns", 1000),
    (23, 2, "", 1),
    (24, 4, "notsent_bytes", 1),
    (25, 8, "now_ns", 1),
    (26, 1, _TTL, 1),
    (27, 4, "", 1),
)


def pack(info: TcpInfo, ttl: int) -> bytes:
    """All of them, 248 bytes, or with `ttl` that of the ACK 256."""
    packed = bytearray()
    for number, size, attribute, unit in _ATTRIBUTES:
        value: int = 0
        if attribute == _TTL:
            if ttl == NO_TTL:
                continue
            value = ttl
        elif attribute:
            value = getattr(info, attribute) // unit
        packed += (4 + size).to_bytes(2, "little") + number.to_bytes(2, "little")
        packed += min(value, (1 << size * 8) - 1).to_bytes(size, "little") + bytes(-size % 4)
    return bytes(packed)
