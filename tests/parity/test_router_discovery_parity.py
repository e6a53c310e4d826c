"""What a host makes of routers' advertisements: the machine's kernel over a TAP device, and Lunar.

The same advertisements come to both. Then addresses, routes, neighbours and the sysctls that an advertisement sets are
compared. Lifetimes are multiples of ten seconds, and compared as such: the machine's clock goes on meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from taps import MAC, KernelTap, LunarTap, icmpv6

from lunar.net.address import IFA_F_DEPRECATED, IFA_F_MANAGETEMPADDR, IFA_F_PERMANENT, SCOPE_LINK
from lunar.net.ndisc import ALL_NODES
from lunar.net.route import PROTO_KERNEL, PROTO_RA
from lunar.packet import AF_INET6
from lunar.wire.address import address_text, parse_ipv6
from lunar.wire.nd_option import (
    AUTONOMOUS,
    FOREVER_S,
    ON_LINK,
    SOURCE_ADDRESS,
    address_option,
    mtu_option,
    option,
    prefix_option,
    route_option,
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are root's"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="this machine has no TUN devices"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip(8) is not installed"),
]

RA = 134
ROUTER_MAC, OTHER_MAC = 0x0200_0000_0042, 0x0200_0000_0043
ROUTER, OTHER = parse_ipv6("fe80::42"), parse_ipv6("fe80::43")
NET = parse_ipv6("2001:db8:1::")
NET_2 = parse_ipv6("2001:db8:2::")
BOTH_FLAGS = ON_LINK | AUTONOMOUS

CONFIGS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "accept_ra 0": ("sysctl -qw net.ipv6.conf.eth0.accept_ra=0",),
    "forwarding": ("sysctl -qw net.ipv6.conf.all.forwarding=1",),
    "forwarding, accept_ra 2": (
        "sysctl -qw net.ipv6.conf.all.forwarding=1",
        "sysctl -qw net.ipv6.conf.eth0.accept_ra=2",
    ),
    "accept_ra_defrtr 0": ("sysctl -qw net.ipv6.conf.eth0.accept_ra_defrtr=0",),
    "accept_ra_pinfo 0": ("sysctl -qw net.ipv6.conf.eth0.accept_ra_pinfo=0",),
    "autoconf 0": ("sysctl -qw net.ipv6.conf.eth0.autoconf=0",),
    "accept_ra_mtu 0": ("sysctl -qw net.ipv6.conf.eth0.accept_ra_mtu=0",),
    "accept_ra_min_hop_limit": ("sysctl -qw net.ipv6.conf.eth0.accept_ra_min_hop_limit=50",),
    "route information": ("sysctl -qw net.ipv6.conf.eth0.accept_ra_rt_info_max_plen=64",),
    "metric": ("sysctl -qw net.ipv6.conf.eth0.ra_defrtr_metric=500",),
    "max_addresses": ("sysctl -qw net.ipv6.conf.eth0.max_addresses=3",),
}


def ra(
    *options: bytes, src: int = ROUTER, mac: int | None = ROUTER_MAC, lifetime: int = 1800, hops: int = 64,
    flags: int = 0, reachable: int = 0, retrans: int = 0, **header: int,
) -> bytes:  # fmt: skip
    """A router advertisement to all."""
    body = reachable.to_bytes(4, "big") + retrans.to_bytes(4, "big")
    body += b"" if mac is None else address_option(SOURCE_ADDRESS, mac)
    return icmpv6(
        src, ALL_NODES, RA, hops << 24 | flags << 16 | lifetime, body + b"".join(options), 0x3333_0000_0001, **header
    )


def prefix(
    network: int = NET, length: int = 64, flags: int = BOTH_FLAGS, valid: int = 86_400, preferred: int = 14_400
) -> bytes:
    return prefix_option(network, length, flags, valid, preferred)


def advertisements() -> dict[str, tuple[bytes, ...]]:
    """By what they are: frames that come one after another."""
    known = ra(prefix())
    found: dict[str, tuple[bytes, ...]] = {
        "a prefix": (known,),
        "without the router's address": (ra(prefix(), mac=None),),
        "no default router": (ra(prefix(), lifetime=0),),
        "a default router goes": (known, ra(lifetime=0)),
        "two routers": (known, ra(prefix(), src=OTHER, mac=OTHER_MAC)),
        "one of two goes": (known, ra(src=OTHER, mac=OTHER_MAC), ra(lifetime=0)),
        "from no link-local address": (ra(prefix(), src=parse_ipv6("2001:db8::42")),),
        "from beyond a router": (icmpv6(ROUTER, ALL_NODES, RA, 1800, bytes(8) + prefix(), 0x3333_0000_0001, hops=64),),
        "with a code": (icmpv6(ROUTER, ALL_NODES, RA, 1800, bytes(8) + prefix(), 0x3333_0000_0001, code=1),),
        "cut": (icmpv6(ROUTER, ALL_NODES, RA, 1800, bytes(7), 0x3333_0000_0001),),
        "with an option of no length": (ra(prefix(), bytes(8)),),
        "with an unknown option": (ra(prefix(), option(99, b"what is it?")),),
        "two prefixes": (ra(prefix(), prefix(NET_2)),),
        "not on the link": (ra(prefix(flags=AUTONOMOUS)),),
        "on the link only": (ra(prefix(flags=ON_LINK)),),
        "neither": (ra(prefix(flags=0)),),
        "of another length": (ra(prefix(length=63)),),
        "of 128 bits": (ra(prefix(length=128)),),
        "of too many bits": (ra(prefix(length=129)),),
        "the link-local prefix": (ra(prefix(0xFE80 << 112)),),
        "a group's prefix": (ra(prefix(0xFF05 << 112)),),
        "with bits beyond its length": (ra(prefix(NET | 0x1234)),),
        "for ever": (ra(prefix(valid=FOREVER_S, preferred=FOREVER_S)),),
        "deprecated at once": (ra(prefix(preferred=0)),),
        "of no lifetime": (ra(prefix(valid=0, preferred=0)),),
        "preferred for longer than valid": (ra(prefix(valid=600, preferred=1200)),),
        "cut prefix": (ra(option(3, bytes(14))),),
        "less than two hours": (ra(prefix(valid=600, preferred=300)),),
        "renewed": (known, ra(prefix(valid=100_000, preferred=50_000))),
        "shortened to more than two hours": (known, ra(prefix(valid=10_000, preferred=5000))),
        "shortened to less": (known, ra(prefix(valid=600, preferred=300))),
        "shortened from less": (ra(prefix(valid=600, preferred=300)), ra(prefix(valid=100, preferred=50))),
        "lengthened from less": (ra(prefix(valid=600, preferred=300)), ra(prefix(valid=1000, preferred=50))),
        "taken back": (known, ra(prefix(valid=0, preferred=0))),
        "deprecated later": (known, ra(prefix(preferred=0))),
        "preferred again": (known, ra(prefix(preferred=0)), known),
        "shortened from ever": (ra(prefix(valid=FOREVER_S, preferred=FOREVER_S)), ra(prefix(valid=100, preferred=50))),
        "high": (ra(prefix(), flags=0x08),),
        "low": (ra(prefix(), flags=0x18),),
        "reserved preference": (ra(prefix(), flags=0x10),),
        "high and low": (ra(flags=0x18), ra(src=OTHER, mac=OTHER_MAC, flags=0x08)),
        "hop limit": (ra(hops=32),),
        "hop limit unspecified": (ra(hops=0),),
        "timers": (ra(reachable=20_000, retrans=2000),),
        "short timers": (ra(reachable=5, retrans=1),),
        "MTU": (ra(prefix(), mtu_option(1400)),),
        "MTU too small": (ra(prefix(), mtu_option(1279)),),
        "MTU too large": (ra(prefix(), mtu_option(1501)),),
        "a route": (ra(route_option(parse_ipv6("2001:db8:5::"), 48, 0, 600)),),
        "a default route": (ra(route_option(0, 0, 0, 600), lifetime=0),),
        "a host route": (ra(route_option(parse_ipv6("2001:db8:5::1"), 128, 0, 600)),),
        "a route goes": (
            ra(route_option(parse_ipv6("2001:db8:5::"), 48, 0, 600)),
            ra(route_option(parse_ipv6("2001:db8:5::"), 48, 0, 0)),
        ),
        "a route for ever": (ra(route_option(parse_ipv6("2001:db8:5::"), 48, 0, FOREVER_S)),),
    }  # fmt: skip
    return found


Sides = tuple[KernelTap, LunarTap]
Found = dict[str, Any]


def tens(seconds: int) -> int:
    return -(-seconds // 10) * 10


def of_kernel(kernel: KernelTap) -> Found:
    addresses = []
    for own in json.loads(kernel.sh("ip -j -6 addr show dev eth0"))[0]["addr_info"]:
        if own.get("dynamic"):
            lifetimes = [tens(own[f"{name}_life_time"]) for name in ("valid", "preferred")]
            # Not whether it is deprecated: the kernel sees to that a little later, in a thread of its own.
            addresses.append((own["local"], own["prefixlen"], *lifetimes))
    routes = []
    for route in json.loads(kernel.sh("ip -j -6 route show dev eth0")):
        if route["dst"].startswith(("fe80", "ff00")) or (route["protocol"] == "kernel" and "expires" not in route):
            continue
        target = "::/0" if route["dst"] == "default" else route["dst"] if "/" in route["dst"] else f"{route['dst']}/128"
        expires = tens(route["expires"]) if "expires" in route else -1
        routes.append((target, route.get("gateway", "::"), route["protocol"], expires))
    names = ("conf/eth0/hop_limit", "conf/eth0/mtu", "neigh/eth0/retrans_time_ms", "neigh/eth0/base_reachable_time_ms")
    sysctls = [int(kernel.namespace.sysctl(f"net/ipv6/{name}".replace("/", "."))) for name in names]
    return {"addresses": sorted(addresses), "routes": sorted(routes), "sysctls": sysctls, "known": kernel.neighbors()}


def of_lunar(ours: LunarTap) -> Found:
    now = ours.net.scheduler.now_ns

    def left(until_ns: int) -> int:
        return tens(FOREVER_S) if until_ns < 0 else tens((until_ns - now) // 1_000_000_000)

    addresses = []
    for own in ours.eth0.addresses:
        if own.family == AF_INET6 and own.scope != SCOPE_LINK and own.flags & IFA_F_MANAGETEMPADDR:
            assert not own.flags & IFA_F_PERMANENT
            assert bool(own.flags & IFA_F_DEPRECATED) == (own.preferred_until_ns == now)
            lifetimes = [left(own.valid_until_ns), left(own.preferred_until_ns)]
            addresses.append((address_text(10, own.address), own.prefix, *lifetimes))
    routes = []
    for route in ours.host.ip.inet6.routes.all():
        if route.proto == PROTO_RA or route.expires_ns >= 0:
            target = f"{address_text(10, route.network)}/{route.prefix}"
            protocol = {PROTO_RA: "ra", PROTO_KERNEL: "kernel"}[int(route.proto)]
            expires = -1 if route.expires_ns < 0 else left(route.expires_ns)
            routes.append((target, address_text(10, route.gateway), protocol, expires))
    names = ("conf.eth0.hop_limit", "conf.eth0.mtu", "neigh.eth0.retrans_time_ms", "neigh.eth0.base_reachable_time_ms")
    sysctls = [int(ours.sh(f"sysctl -n net.ipv6.{name}")) for name in names]
    return {"addresses": sorted(addresses), "routes": sorted(routes), "sysctls": sysctls, "known": ours.neighbors()}


def make(config: str) -> Sides:
    kernel, ours = KernelTap(six=True), LunarTap(six=True)
    for side in (kernel, ours):
        side.sh("sysctl -qw net.ipv6.conf.eth0.accept_dad=0")
        side.sh("sysctl -qw net.ipv6.neigh.eth0.delay_first_probe_time=1000")
        for command in CONFIGS[config]:
            side.sh(command)
    return kernel, ours


@pytest.fixture(params=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def both(sides: Sides, frames: Sequence[bytes], what: str) -> None:
    kernel, ours = sides
    assert ours.sends(*frames) == kernel.sends(*frames), what
    assert of_lunar(ours) == of_kernel(kernel), what


def test_advertisements_mean_what_they_mean_to_the_kernel(config: str) -> None:
    assert MAC == 0x0200_0000_0001
    for what, frames in advertisements().items():
        sides = make(config)
        both(sides, frames, what)
        for side in sides:
            side.close()


def test_so_they_do_in_any_order(config: str) -> None:
    rng = random.Random(6)
    found = advertisements()
    sides = make(config)
    for _ in range(25):
        name = rng.choice(list(found))
        both(sides, found[name], name)
    for side in sides:
        side.close()
