"""What the names in system calls stand for: constants of Linux' headers, by the names that they have there.

Most of them Python's own modules know; the table has those that they do not, from uapi headers.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import termios
from collections.abc import Mapping
from typing import Final

from lunar.packetdrill.script import ELLIPSIS, Expression, Or, Word

_TABLE: Final[dict[str, int]] = {
    "NULL": 0,
    # asm-generic/socket.h
    "SO_DEBUG": 1, "SO_DONTROUTE": 5, "SO_BROADCAST": 6, "SO_PRIORITY": 12, "SO_BSDCOMPAT": 14, "SO_REUSEPORT": 15,
    "SO_RCVLOWAT": 18, "SO_SNDLOWAT": 19, "SO_RCVTIMEO": 20, "SO_SNDTIMEO": 21, "SO_TIMESTAMP": 29,
    "SO_SNDBUFFORCE": 32, "SO_RCVBUFFORCE": 33, "SO_TIMESTAMPNS": 35, "SO_MARK": 36, "SO_TIMESTAMPING": 37,
    "SO_PROTOCOL": 38, "SO_DOMAIN": 39, "SO_BUSY_POLL": 46, "SO_MAX_PACING_RATE": 47, "SO_INCOMING_CPU": 49,
    "SO_ZEROCOPY": 60, "SO_TXTIME": 61, "SCM_TIMESTAMP": 29, "SCM_TIMESTAMPNS": 35, "SCM_TIMESTAMPING": 37,
    "MSG_FIN": 0x200, "MSG_SYN": 0x400, "MSG_RST": 0x1000, "MSG_ERRQUEUE": 0x2000, "MSG_NOSIGNAL": 0x4000,
    "MSG_MORE": 0x8000, "MSG_EOR": 0x80, "MSG_ZEROCOPY": 0x400_0000, "MSG_FASTOPEN": 0x2000_0000,
    "MSG_WAITFORONE": 0x1_0000, "MSG_CMSG_CLOEXEC": 0x4000_0000,
    "AF_UNSPEC": 0, "SOCK_NONBLOCK": 0o4000, "SOCK_CLOEXEC": 0o2000000,
    "SOL_IP": 0, "SOL_TCP": 6, "SOL_UDP": 17, "SOL_IPV6": 41, "SOL_RAW": 255,
    "IPPROTO_MPTCP": 262,
    # linux/in.h, linux/in6.h
    "IP_TOS": 1, "IP_TTL": 2, "IP_HDRINCL": 3, "IP_OPTIONS": 4, "IP_RECVOPTS": 6, "IP_RETOPTS": 7, "IP_PKTINFO": 8,
    "IP_MTU_DISCOVER": 10, "IP_RECVERR": 11, "IP_RECVTTL": 12, "IP_RECVTOS": 13, "IP_MTU": 14, "IP_FREEBIND": 15,
    "IP_TRANSPARENT": 19, "IP_BIND_ADDRESS_NO_PORT": 24, "IP_LOCAL_PORT_RANGE": 51,
    "IP_PMTUDISC_DONT": 0, "IP_PMTUDISC_WANT": 1, "IP_PMTUDISC_DO": 2, "IP_PMTUDISC_PROBE": 3,
    "IP_PMTUDISC_INTERFACE": 4, "IP_PMTUDISC_OMIT": 5, "IPV6_RECVERR": 25, "IPV6_V6ONLY": 26, "IPV6_TCLASS": 67,
    "IPV6_UNICAST_HOPS": 16, "IPV6_MTU_DISCOVER": 23, "IPV6_MTU": 24, "IPV6_RECVPKTINFO": 49, "IPV6_RECVHOPLIMIT": 51,
    "IPV6_DONTFRAG": 62, "IPV6_RECVTCLASS": 66, "IPV6_AUTOFLOWLABEL": 70, "IPV6_FREEBIND": 78,
    # linux/tcp.h
    "TCP_NODELAY": 1, "TCP_MAXSEG": 2, "TCP_CORK": 3, "TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6,
    "TCP_SYNCNT": 7, "TCP_LINGER2": 8, "TCP_DEFER_ACCEPT": 9, "TCP_WINDOW_CLAMP": 10, "TCP_INFO": 11,
    "TCP_QUICKACK": 12, "TCP_CONGESTION": 13, "TCP_MD5SIG": 14, "TCP_THIN_LINEAR_TIMEOUTS": 16, "TCP_THIN_DUPACK": 17,
    "TCP_USER_TIMEOUT": 18, "TCP_REPAIR": 19, "TCP_FASTOPEN": 23, "TCP_TIMESTAMP": 24, "TCP_NOTSENT_LOWAT": 25,
    "TCP_CC_INFO": 26, "TCP_SAVE_SYN": 27, "TCP_SAVED_SYN": 28, "TCP_FASTOPEN_CONNECT": 30, "TCP_ULP": 31,
    "TCP_MD5SIG_EXT": 32, "TCP_FASTOPEN_KEY": 33, "TCP_FASTOPEN_NO_COOKIE": 34, "TCP_ZEROCOPY_RECEIVE": 35,
    "TCP_INQ": 36, "TCP_CM_INQ": 36, "TCP_TX_DELAY": 37, "TCP_RTO_MAX_MS": 44, "TCP_RTO_MIN_US": 45,
    "TCP_DELACK_MAX_US": 46,
    # linux/udp.h
    "UDP_CORK": 1, "UDP_ENCAP": 100, "UDP_SEGMENT": 103, "UDP_GRO": 104,
    # linux/errqueue.h, linux/net_tstamp.h
    "SO_EE_ORIGIN_NONE": 0, "SO_EE_ORIGIN_LOCAL": 1, "SO_EE_ORIGIN_ICMP": 2, "SO_EE_ORIGIN_ICMP6": 3,
    "SO_EE_ORIGIN_TXSTATUS": 4, "SO_EE_ORIGIN_TIMESTAMPING": 4, "SO_EE_ORIGIN_ZEROCOPY": 5,
    "SO_EE_CODE_ZEROCOPY_COPIED": 1, "SCM_TSTAMP_SND": 0, "SCM_TSTAMP_SCHED": 1, "SCM_TSTAMP_ACK": 2,
    "SOF_TIMESTAMPING_TX_HARDWARE": 1, "SOF_TIMESTAMPING_TX_SOFTWARE": 2, "SOF_TIMESTAMPING_RX_HARDWARE": 4,
    "SOF_TIMESTAMPING_RX_SOFTWARE": 8, "SOF_TIMESTAMPING_SOFTWARE": 16, "SOF_TIMESTAMPING_SYS_HARDWARE": 32,
    "SOF_TIMESTAMPING_RAW_HARDWARE": 64, "SOF_TIMESTAMPING_OPT_ID": 128, "SOF_TIMESTAMPING_TX_SCHED": 256,
    "SOF_TIMESTAMPING_TX_ACK": 512, "SOF_TIMESTAMPING_OPT_CMSG": 1024, "SOF_TIMESTAMPING_OPT_TSONLY": 2048,
    "SOF_TIMESTAMPING_OPT_STATS": 4096, "SOF_TIMESTAMPING_OPT_ID_TCP": 0x1_0000,
    # linux/sockios.h, asm-generic/ioctls.h
    "SIOCINQ": 0x541B, "FIONREAD": 0x541B, "SIOCOUTQ": 0x5411, "SIOCOUTQNSD": 0x894B, "SIOCATMARK": 0x8905,
    "FIONBIO": 0x5421,
    # poll.h, linux/eventpoll.h
    "POLLINVAL": 0x20, "POLLINIT": 0, "POLLRDHUP": 0x2000, "EPOLLRDHUP": 0x2000, "EPOLLEXCLUSIVE": 1 << 28,
    "EPOLLWAKEUP": 1 << 29, "EPOLLONESHOT": 1 << 30, "EPOLLET": 1 << 31, "EPOLL_CTL_ADD": 1, "EPOLL_CTL_DEL": 2,
    "EPOLL_CTL_MOD": 3, "EPOLLNVAL": 0x20,
    # linux/splice.h
    "SPLICE_F_MOVE": 1, "SPLICE_F_NONBLOCK": 2, "SPLICE_F_MORE": 4, "SPLICE_F_GIFT": 8,
}  # fmt: skip
_PREFIXES: Final = (
    "AF_", "PF_", "SO", "MSG_", "SHUT_", "IP", "TCP_", "F_", "O_", "FD_", "S_", "E", "POLL", "SIOC", "FIO",
)  # fmt: skip
_MODULES: Final = (socket, errno, os, fcntl, select, termios)


class UnknownSymbol(Exception):
    """A name that stands for nothing. `str` of it says so."""


def value_of(name: str) -> int:
    """The number that `name` stands for. Raises `UnknownSymbol`."""
    found = _TABLE.get(name)
    if found is not None:
        return found
    if name.startswith(_PREFIXES):
        for module in _MODULES:
            value = getattr(module, name, None)
            if isinstance(value, int):
                _TABLE[name] = int(value)
                return int(value)
    raise UnknownSymbol(f"unknown symbol: '{name}'")


def number(expression: Expression) -> int:
    """The number that an expression is. Raises `UnknownSymbol`, `TypeError` for what is none."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression, Word):
        return value_of(expression.name)
    if isinstance(expression, Or):
        total = 0
        for part in expression.parts:
            total |= number(part)
        return total
    raise TypeError("bad value for ellipsis" if expression is ELLIPSIS else "expected an integer")


def names_of(value: int, names: Mapping[str, int]) -> str:
    """The names of the bits of `value`, as a script writes them; what has none as a number."""
    found = []
    for name, bit in names.items():
        if bit and value & bit == bit:
            found.append(name)
            value &= ~bit
    if value or not found:
        found.append(hex(value) if value else "0")
    return "|".join(found)


POLL_NAMES: Final = {
    name: value_of(name)
    for name in ("POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLNVAL", "POLLRDHUP")
}
