"""The options of level IPPROTO_TCP, tcp(7): which there are, and what they do to a connection.

options.py asks here for a socket of TCP's. `set_integer` and `get_integer` are of those with an integer for a value; of
the others `set_bytes` and `get_bytes` say None when `name` is not one of them. Numbers are Linux' (linux/tcp.h).
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.packet import AF_INET, AF_INET6
from lunar.tcp import sockopt
from lunar.tcp.congestion import registry
from lunar.tcp.opening import fast_open, md5
from lunar.tcp.sender import probes
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import CLOSED, LISTEN

TCP_NODELAY: Final = 1
TCP_MAXSEG: Final = 2
TCP_CORK: Final = 3
TCP_KEEPIDLE: Final = 4
TCP_KEEPINTVL: Final = 5
TCP_KEEPCNT: Final = 6
TCP_WINDOW_CLAMP: Final = 10
TCP_INFO: Final = 11
TCP_SYNCNT: Final = 7
TCP_LINGER2: Final = 8
TCP_DEFER_ACCEPT: Final = 9
TCP_QUICKACK: Final = 12
TCP_MD5SIG: Final = 14
TCP_MD5SIG_EXT: Final = 32
TCP_SAVE_SYN: Final = 27
TCP_SAVED_SYN: Final = 28
TCP_CONGESTION: Final = 13
TCP_CC_INFO: Final = 26
TCP_THIN_LINEAR_TIMEOUTS: Final = 16
TCP_USER_TIMEOUT: Final = 18
TCP_NOTSENT_LOWAT: Final = 25
TCP_FASTOPEN: Final = 23
TCP_FASTOPEN_CONNECT: Final = 30
TCP_FASTOPEN_KEY: Final = 33
TCP_FASTOPEN_NO_COOKIE: Final = 34
TCP_INQ: Final = 36

_CA_NAME_BYTES: Final = 16  # TCP_CA_NAME_MAX, with the NUL
_INFO_BYTES: Final = {"bbr_bw": 8, "dctcp_enabled": 2, "dctcp_ce_state": 2}  # what has not four

_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_LINGER2_MAX_S: Final = 120  # TCP_FIN_TIMEOUT_MAX
_MD5SIG_BYTES: Final = 216
_MD5SIG_FLAG_PREFIX: Final = 1
# Of a SYN-ACK: the first timeout, doubled each time up to the most.
_SYN_ACK_S: Final = 1
_SYN_ACK_MAX_S: Final = 120


def set_integer(sock: TcpSock, name: int, value: int) -> int:
    """Set an integer option. 0 or -errno (EINVAL, ENOPROTOOPT)."""
    if name == TCP_NODELAY:
        sockopt.set_nodelay(sock, value != 0)
    elif name == TCP_CORK:
        sockopt.set_cork(sock, value != 0)
    elif name == TCP_MAXSEG:
        if value and not 88 <= value <= 32767:
            return -errno.EINVAL
        sock.user_mss = value
    elif name == TCP_KEEPIDLE:
        if not 1 <= value <= 32767:
            return -errno.EINVAL
        sock.keepidle_ns = value * _NS_PER_S
        sockopt.keepalive_changed(sock)
    elif name == TCP_KEEPINTVL:
        if not 1 <= value <= 32767:
            return -errno.EINVAL
        sock.keepintvl_ns = value * _NS_PER_S
    elif name == TCP_KEEPCNT:
        if not 1 <= value <= 127:
            return -errno.EINVAL
        sock.keepcnt = value
    elif name == TCP_WINDOW_CLAMP:
        return int(sockopt.set_window_clamp(sock, value))
    elif name == TCP_QUICKACK:
        sockopt.set_quickack(sock, value != 0)
    elif name == TCP_CONGESTION:
        return set_congestion(sock, value.to_bytes(4, "little", signed=True))
    elif name == TCP_THIN_LINEAR_TIMEOUTS:
        if value not in (0, 1):
            return -errno.EINVAL
        sock.thin_linear = value != 0
    elif name == TCP_USER_TIMEOUT:
        if value < 0:
            return -errno.EINVAL
        sock.user_timeout_ns = value * _NS_PER_MS
    elif name == TCP_NOTSENT_LOWAT:
        sockopt.set_notsent_lowat(sock, value & 0xFFFF_FFFF)
    elif name == TCP_SYNCNT:
        if not 1 <= value <= 127:
            return -errno.EINVAL
        sock.syn_retries = value
    elif name == TCP_LINGER2:
        sock.linger2_s = -1 if value < 0 else min(value, _LINGER2_MAX_S)
    elif name == TCP_DEFER_ACCEPT:
        sock.defer_accept = _timeouts_in(value)
    elif name == TCP_SAVE_SYN:
        if value not in (0, 1):  # Linux has 2, too, for the link's header beside
            return -errno.EINVAL
        sock.save_syn = value != 0
    elif name == TCP_FASTOPEN:
        return int(sockopt.set_fast_limit(sock, value))
    elif name == TCP_FASTOPEN_CONNECT:
        if value not in (0, 1):
            return -errno.EINVAL
        if sock.tables.sysctls.tcp_fastopen & fast_open.CLIENT == 0:
            return -errno.EOPNOTSUPP
        if sock.state != CLOSED:
            return -errno.EINVAL
        sock.fastopen_connect = value != 0
    elif name == TCP_FASTOPEN_NO_COOKIE:
        if value not in (0, 1) or sock.state not in (CLOSED, LISTEN):
            return -errno.EINVAL
        sock.fastopen_no_cookie = value != 0
    elif name == TCP_INQ:
        if value != 0 and value != 1:
            return -errno.EINVAL
        sock.tells_inq = value == 1
    else:
        return -errno.ENOPROTOOPT
    return 0


def set_congestion(sock: TcpSock, value: bytes) -> int:
    """TCP_CONGESTION: the name of an algorithm. 0, -EINVAL for nothing, -ENOENT for none that is known, -EPERM."""
    if not value:
        return -errno.EINVAL
    try:
        algorithm = registry.find(value[: _CA_NAME_BYTES - 1].split(b"\0")[0].decode("latin-1"))
    except LookupError:
        return -errno.ENOENT
    # The one that it has is no change. Programs have no CAP_NET_ADMIN, and may take what is allowed to all.
    if sock.congestion.name != algorithm.name and algorithm.name not in registry.allowed(sock.tables):
        return -errno.EPERM
    sockopt.set_congestion(sock, algorithm)
    return 0


def _set_md5(sock: TcpSock, name: int, value: bytes) -> int:
    """A `struct tcp_md5sig` (linux/tcp.h): the peer's address, flags, prefix, the key's length, and the key."""
    if len(value) < _MD5SIG_BYTES:
        return -errno.EINVAL
    family = int.from_bytes(value[:2], "little")
    addr = int.from_bytes(value[4:8], "big")
    mapped = False
    if family == AF_INET6 and sock.domain == AF_INET6:
        addr = int.from_bytes(value[8:24], "big")
        mapped = addr >> 32 == 0xFFFF
        if mapped:
            addr &= 0xFFFF_FFFF
    elif family != AF_INET:
        return -errno.EINVAL
    flags, prefix, size = value[128], value[129], int.from_bytes(value[130:132], "little")
    if name == TCP_MD5SIG_EXT and flags & _MD5SIG_FLAG_PREFIX:
        if mapped:
            prefix -= 96
        if not 0 <= prefix <= (128 if family == AF_INET6 and not mapped else 32):
            return -errno.EINVAL
    else:
        prefix = 128 if family == AF_INET6 and not mapped else 32
    if size > md5.KEY_MAX:
        return -errno.EINVAL
    return int(sockopt.set_md5_key(sock, addr, prefix, value[136 : 136 + size]))


def _timeouts_in(seconds: int) -> int:
    """How many timeouts of a SYN-ACK take `seconds` or more; 255 at most."""
    count = 0
    passed, wait = 0, _SYN_ACK_S
    while passed < seconds and count < 255:
        count += 1
        passed += wait
        wait = min(wait * 2, _SYN_ACK_MAX_S)
    return count


def _seconds_of(timeouts: i64) -> int:
    passed, wait = 0, _SYN_ACK_S
    for _ in range(int(timeouts)):
        passed += wait
        wait = min(wait * 2, _SYN_ACK_MAX_S)
    return passed


def set_bytes(sock: TcpSock, name: int, value: bytes) -> int | None:
    """Set an option whose value is bytes or a structure. 0 or -errno; None for another option."""
    if name == TCP_CONGESTION:
        return set_congestion(sock, value)
    if name == TCP_MD5SIG or name == TCP_MD5SIG_EXT:
        return _set_md5(sock, name, value)
    if name == TCP_FASTOPEN_KEY:
        return int(sockopt.set_fast_keys(sock, value))
    return None


def get_integer(sock: TcpSock, name: int) -> int:
    """The value of an integer option, or -ENOPROTOOPT."""
    found: i64 = -errno.ENOPROTOOPT
    if name == TCP_NODELAY:
        found = int(sock.nodelay)
    elif name == TCP_CORK:
        found = int(sock.cork)
    elif name == TCP_MAXSEG:
        # What was asked for, until there is a connection that knows better.
        found = sock.user_mss if sock.user_mss and sock.state in (CLOSED, LISTEN) else sock.mss
    elif name == TCP_KEEPIDLE:
        found = probes.idle_ns(sock) // _NS_PER_S
    elif name == TCP_KEEPINTVL:
        found = probes.interval_ns(sock) // _NS_PER_S
    elif name == TCP_KEEPCNT:
        found = probes.count(sock)
    elif name == TCP_WINDOW_CLAMP:
        found = sock.window_clamp
    elif name == TCP_QUICKACK:
        found = int(not sock.pingpong)
    elif name == TCP_CONGESTION:
        found = int.from_bytes(_congestion_name(sock)[:4], "little", signed=True)
    elif name == TCP_THIN_LINEAR_TIMEOUTS:
        found = int(sock.thin_linear)
    elif name == TCP_USER_TIMEOUT:
        found = sock.user_timeout_ns // _NS_PER_MS
    elif name == TCP_SYNCNT:
        found = sock.syn_retries if sock.syn_retries else sock.tables.sysctls.tcp_syn_retries
    elif name == TCP_DEFER_ACCEPT:
        found = _seconds_of(sock.defer_accept)
    elif name == TCP_SAVE_SYN:
        found = int(sock.save_syn)
    elif name == TCP_SAVED_SYN:
        found = -errno.EINVAL  # there is one, and the program has no room for it
    elif name == TCP_FASTOPEN:
        found = sock.fast_limit
    elif name == TCP_FASTOPEN_CONNECT:
        found = int(sock.fastopen_connect)
    elif name == TCP_FASTOPEN_NO_COOKIE:
        found = int(sock.fastopen_no_cookie)
    elif name == TCP_INQ:
        found = int(sock.tells_inq)
    return int(found)


def get_bytes(sock: TcpSock, name: int, size: int) -> bytes | None:
    """The value of an option that has bytes or a structure, whole; None for another option, and for TCP_SAVED_SYN when
    it has more than `size` bytes.
    """
    if name == TCP_SAVED_SYN:
        saved = sock.saved_syn
        if len(saved) > size:
            return None
        sock.saved_syn = b""  # told once, as on Linux
        return saved
    if name == TCP_INFO:
        return sock.info().pack()
    if name == TCP_CONGESTION:
        return _congestion_name(sock)
    if name == TCP_CC_INFO:
        return _congestion_info(sock)
    if name == TCP_NOTSENT_LOWAT:
        # 32 bits without a sign.
        return int(sock.notsent_lowat).to_bytes(4, "little")
    if name == TCP_FASTOPEN_KEY:
        return sockopt.fast_keys_used(sock)
    if name == TCP_LINGER2:
        # It may be negative, which as an integer would be an error.
        seconds = sock.linger2_s if sock.linger2_s else sock.tables.sysctls.tcp_fin_timeout
        return int(seconds).to_bytes(4, "little", signed=True)
    return None


def _congestion_info(sock: TcpSock) -> bytes:
    """What the algorithm tells of itself, as Linux' `union tcp_cc_info` has it: mostly 32 bits each, in a row."""
    packed = b""
    for name, value in sock.congestion.info(sock).items():
        size = _INFO_BYTES.get(name, 4)
        packed += min(max(value, 0), (1 << 8 * size) - 1).to_bytes(size, "little")
    return packed


def _congestion_name(sock: TcpSock) -> bytes:
    name: str = sock.congestion.name
    return name.encode("ascii").ljust(_CA_NAME_BYTES, b"\0")
