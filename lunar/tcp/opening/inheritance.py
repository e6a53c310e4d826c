"""What a connection has from the socket that listens, and a socket that is used again from what it was before.

socket(7) and tcp(7) say of few options whether they are inherited; this list is what Linux does with each of them.
"""

from __future__ import annotations

from lunar.net.zerocopy import ZeroCopy
from lunar.tcp.marks import Marks
from lunar.tcp.sender import pacing
from lunar.tcp.tcb import CLOSED, LISTEN, Tcb


def give_options(tcb: Tcb, child: Tcb) -> None:
    """Let `child` have the options of `tcb`."""
    child.domain = tcb.domain
    child.v6only = tcb.v6only
    child.ipv6 = None if tcb.ipv6 is None else tcb.ipv6.inherited()
    child.reuse_addr = tcb.reuse_addr
    child.reuse_port = tcb.reuse_port
    child.keepalive = tcb.keepalive
    child.keepidle_ns = tcb.keepidle_ns
    child.keepintvl_ns = tcb.keepintvl_ns
    child.keepcnt = tcb.keepcnt
    child.thin_linear = tcb.thin_linear
    child.user_timeout_ns = tcb.user_timeout_ns
    child.notsent_lowat = tcb.notsent_lowat
    if tcb.max_pacing_rate >= 0:
        pacing.limit(child, tcb.max_pacing_rate)
    child.mtu_discover = tcb.mtu_discover
    child.priority = tcb.priority
    child.peek_offset = tcb.peek_offset
    child.select_errors = tcb.select_errors
    child.ttl = tcb.ttl
    child.tos = tcb.tos
    child.sndbuf = tcb.sndbuf
    child.rcvbuf = tcb.rcvbuf
    child.sndbuf_locked = tcb.sndbuf_locked
    child.rcvbuf_locked = tcb.rcvbuf_locked
    if tcb.state in (CLOSED, LISTEN):
        child.window_clamp = tcb.window_clamp
    child.linger_on = tcb.linger_on
    child.linger_s = tcb.linger_s
    child.recverr = tcb.recverr
    child.rcvlowat = tcb.rcvlowat
    child.mark = tcb.mark
    child.freebind = tcb.freebind
    child.recverr6 = tcb.recverr6
    child.tells_inq = tcb.tells_inq
    if tcb.zerocopy is not None and tcb.zerocopy.on:
        child.zerocopy = ZeroCopy()
        child.marks = Marks()
    if tcb.stamping is not None:
        child.stamping = tcb.stamping.inherited()
        child.marks = Marks()
    child.bound_device = tcb.bound_device
    child.nodelay = tcb.nodelay
    child.cork = tcb.cork
    child.oob_inline = tcb.oob_inline
    child.user_mss = tcb.user_mss
    child.syn_retries = tcb.syn_retries
    child.linger2_s = tcb.linger2_s
    child.md5_keys = None if tcb.md5_keys is None else tcb.md5_keys.copy()
    child.fastopen_no_cookie = tcb.fastopen_no_cookie
    child.rcvtimeo_ns = tcb.rcvtimeo_ns
    child.sndtimeo_ns = tcb.sndtimeo_ns
