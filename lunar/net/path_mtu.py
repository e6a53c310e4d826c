"""The MTU of the path to a destination: the route's, the device's, or less when a router has said so (RFC 1191).

What ICMP said is kept for a host, by destination, and forgotten after ten minutes (net.ipv4.route.mtu_expires), because
the path may have become better. `Ip.path_mtus` is made with the first message. Who remembers an MTU looks again when
`Ip.path_mtu_changes` has moved or the time is over.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.ip import Ip
from lunar.net.route import Route
from lunar.packet import AF_INET, AF_INET6, IPV6_HEADER_BYTES

# RFC 791, RFC 8200: the largest packets, of which IPv6 does not count the header. The least MSS that Linux advertises
# (net.ipv4.route.min_adv_mss, net.ipv6.route.min_adv_mss).
_PACKET_MAX: Final = 65_535
_ADVMSS_MIN: Final = 256
_ADVMSS6_MIN: Final = 1220
IPV6_MIN_MTU: Final = 1280  # RFC 8200 (5)
_ENTRIES: Final = 4096  # a flood of messages must not fill memory
_S: Final = 1_000_000_000

# Values of IP_MTU_DISCOVER.
_WANT: Final = 1
_DO: Final = 2
_PROBE: Final = 3


@final
class Learned:
    """What a router said of the way to a destination. `expires_ns` is when it is forgotten."""

    def __init__(self, mtu: i64, expires_ns: i64) -> None:
        self.mtu: i64 = mtu
        self.expires_ns: i64 = expires_ns


def of_route(route: Route) -> i64:
    """The MTU of a route without what was learned of its path."""
    if route.mtu > 0:
        return route.mtu
    device = route.device
    if route.family == AF_INET6:
        own: i64 = device.inet6.mtu  # as the administrator says, or a router's advertisement
        if 0 < own < device.mtu:
            return own
    return device.mtu


def changed(ip: Ip) -> None:
    """The MTU of a device is another for IPv6: whoever remembers one looks again."""
    ip.path_mtu_changes += 1
    ip.route_changes.changed()


def learned(ip: Ip, dst: int) -> Learned | None:
    """What is known of the path to `dst`."""
    if ip.path_mtu_changes == 0:
        return None
    found = ip.path_mtus.get(dst)
    if found is None:
        return None
    assert isinstance(found, Learned), "only this file puts something there"
    if found.expires_ns <= ip.scheduler.now_ns:
        del ip.path_mtus[dst]
        return None
    return found


def mtu(ip: Ip, route: Route, dst: int) -> i64:
    """The largest packet that goes to `dst` by `route` whole, as far as is known."""
    largest: i64 = of_route(route)
    if ip.path_mtu_changes != 0 and not route.mtu_locked:
        found = learned(ip, dst)
        if found is not None and found.mtu < largest:
            return found.mtu
    return largest


def note(ip: Ip, route: Route, dst: int, said: i64) -> None:
    """A router said that packets to `dst` of more than `said` bytes do not pass. What is less than
    net.ipv4.route.min_pmtu is not believed, and a route whose MTU is locked stays as it is.
    """
    if route.mtu_locked:
        return
    if route.family == AF_INET6 and said < IPV6_MIN_MTU:
        return  # RFC 8201 (4): a host never goes below what every link must carry, and Linux leaves that aside
    now: i64 = mtu(ip, route, dst)
    if said >= now:
        return
    if route.family == AF_INET:
        said = max(said, min(now, ip.route_min_pmtu))
    if len(ip.path_mtus) >= _ENTRIES and dst not in ip.path_mtus:
        ip.path_mtus.clear()
    ip.path_mtus[dst] = Learned(said, ip.scheduler.now_ns + ip.route_mtu_expires * _S)
    ip.path_mtu_changes += 1


def stays_whole(ip: Ip, route: Route, dst: int, discover: i64, size: i64) -> bool:
    """Whether an IPv4 packet of `size` goes out with DF, by the sender's IP_MTU_DISCOVER (ip(7)): with DO and PROBE it
    does, with WANT if the path takes it whole, as far as is known, and may become less.
    """
    if discover == _WANT:
        return ip.no_pmtu_disc == 0 and not route.mtu_locked and size <= mtu(ip, route, dst)
    return discover == _DO or discover == _PROBE


def heard_too_big(ip: Ip, family: i64, dst: int, said: i64) -> None:
    """A packet of ours to `dst` that is not TCP's was larger than `said`, an MTU on its way."""
    found = ip.family(family)
    route = found.routes.lookup(dst)
    if route is not None and said > 0 and (family != AF_INET or ip.no_pmtu_disc == 0):
        note(ip, route, dst, said)


def advertised_mss(ip: Ip, route: Route, dst: int) -> i64:
    """RFC 9293 (3.7.1): the MSS that our SYN tells, by the route's `advmss` or the path's MTU."""
    headers: i64 = headers_bytes(route.family)
    if route.advmss > 0:
        return min(route.advmss, largest(route.family) - headers)
    least: i64 = _ADVMSS_MIN if route.family == AF_INET else _ADVMSS6_MIN
    return max(min(mtu(ip, route, dst), largest(route.family)) - headers, least)


def headers_bytes(family: i64) -> i64:
    """What IP and TCP need of a packet, without options."""
    return 40 if family == AF_INET else 60


def largest(family: i64) -> i64:
    """How many bytes an IP packet can have."""
    return _PACKET_MAX if family == AF_INET else _PACKET_MAX + IPV6_HEADER_BYTES
