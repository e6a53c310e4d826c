"""The MSS: the payload of a full segment, as peer, path and program allow it now.

RFC 9293 sections 3.7.1 and 3.8.6.2.1. What the path allows is in lunar/net/path_mtu.py, the search for more in
mtu_probe.py. `tcb.path_mss` and `tcb.peer_mss` are before options, `tcb.mss` is after those that all segments have.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.net import path_mtu
from lunar.net.route import Route
from lunar.tcp.opening import md5
from lunar.tcp.receiver import sack_report
from lunar.tcp.sender import mtu_probe
from lunar.tcp.tcb import Tcb

_TIMESTAMP_BYTES: Final = 12
_MSS_MIN: Final = 48  # however small the peer's window is


def of_mtu(mtu: i64, family: i64) -> i64:
    """RFC 9293 (3.7.1): the MSS to announce on a device. An IP packet has 65,535 bytes at most."""
    return min(mtu, path_mtu.largest(family)) - path_mtu.headers_bytes(family)


def update(tcb: Tcb) -> None:
    """The payload of a full segment: the least of what peer, path and program allow, without options.

    RFC 9293 (3.8.6.2.1): against a tiny window, segments of half of it are full ones.
    """
    mss: i64 = min(tcb.peer_mss, tcb.path_mss)
    if tcb.user_mss > 0:
        mss = min(mss, tcb.user_mss)
    least: i64 = tcb.tables.sysctls.tcp_min_snd_mss
    mss = max(mss, least)
    if tcb.timestamps:
        mss -= _TIMESTAMP_BYTES
    if tcb.md5_key:
        mss -= md5.OPTION_BYTES
    most: i64 = tcb.max_window >> 1 if tcb.max_window > 536 else tcb.max_window
    if most > 0 and mss > most:
        mss = max(most, _MSS_MIN)
    if tcb.mtu_search is not None:
        mss = min(mss, mtu_probe.payload_of(tcb, tcb.mtu_search.low))
    tcb.mss = mss


def sync(tcb: Tcb, route: Route) -> None:
    """The route's MTU, or what is known of the path, is another: compute the MSS anew (Linux' tcp_sync_mss)."""
    ip = tcb.ip
    mtu: i64 = path_mtu.mtu(ip, route, tcb.remote_addr)
    said = path_mtu.learned(ip, tcb.remote_addr)
    tcb.path_mtu_expires_ns = said.expires_ns if said is not None else 0
    tcb.path_mtu_changes = ip.path_mtu_changes
    tcb.route_mtu = path_mtu.of_route(route)
    tcb.path_mss = of_mtu(mtu, tcb.family)
    search = tcb.mtu_search
    if search is not None and search.high > mtu:
        search.high = mtu
    update(tcb)


def start(tcb: Tcb, route: Route | None, active: bool) -> None:
    """The handshake is complete: the first MSS. `active`: we opened the connection."""
    # Linux: a search for the path's MTU begins with small segments in what connect() made, at the next change of the
    # MTU in what accept() gives.
    if active:
        mtu_probe.start(tcb)
    if route is not None:
        sync(tcb, route)
    else:
        update(tcb)
    if not active:
        mtu_probe.start(tcb)


def current(tcb: Tcb) -> i64:
    """The payload of a full segment that goes now: by the path's MTU of now, and a SACK option takes its room."""
    route = tcb.route
    if route is not None:
        mtu: i64 = route.mtu if route.mtu > 0 else route.device.mtu
        if (
            mtu != tcb.route_mtu
            or tcb.ip.path_mtu_changes != tcb.path_mtu_changes
            or (tcb.path_mtu_expires_ns != 0 and tcb.scheduler.now_ns >= tcb.path_mtu_expires_ns)
        ):
            sync(tcb, route)
    if tcb.sack_report is None:
        return tcb.mss
    return tcb.mss - sack_report.option_bytes(tcb)
