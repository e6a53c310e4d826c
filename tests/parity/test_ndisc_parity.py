"""Neighbour discovery: the same probes to the machine's kernel over a TAP device and to Lunar, compared byte by byte.

No field is left out. What is learned of neighbours is compared by `ip neigh`, and after advertisements of routers the
addresses and routes that they bring.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence

import pytest
from taps import LINK_LOCAL, MAC, OWN6, KernelTap, LunarTap, icmpv6

from lunar.net.groups import hardware_address
from lunar.net.ndisc import ALL_NODES, ALL_ROUTERS, solicited_node
from lunar.wire.address import parse_ipv6
from lunar.wire.nd_option import NONCE, SOURCE_ADDRESS, TARGET_ADDRESS, address_option, option

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are root's"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="this machine has no TUN devices"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip(8) is not installed"),
]

NS, NA, RS = 135, 136, 133
PEER_MAC, OTHER_MAC = 0x0200_0000_0042, 0x0200_0000_0043
PEER, OTHER, NOBODY = (parse_ipv6(f"2001:db8::{end}") for end in ("42", "43", "99"))
PEER_LOCAL = parse_ipv6("fe80::42")
PROXIED = parse_ipv6("2001:db8::77")
R, S, O = 0x8000_0000, 0x4000_0000, 0x2000_0000  # noqa: E741 - the names of RFC 4861

CONFIGS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "forwarding": ("sysctl -qw net.ipv6.conf.all.forwarding=1",),
    "force_tllao": ("sysctl -qw net.ipv6.conf.eth0.force_tllao=1",),
    "drop_unsolicited_na": ("sysctl -qw net.ipv6.conf.eth0.drop_unsolicited_na=1",),
    "proxy_ndp": (
        "sysctl -qw net.ipv6.conf.all.forwarding=1",
        "sysctl -qw net.ipv6.conf.eth0.proxy_ndp=1",
        "sysctl -qw net.ipv6.neigh.eth0.proxy_delay=0",
        "ip neigh add proxy 2001:db8::77 dev eth0",
    ),
    "ndisc_tclass": ("sysctl -qw net.ipv6.conf.eth0.ndisc_tclass=12",),
}


def ask(
    src: int, target: int, dst: int = 0, mac: int | None = PEER_MAC, more: bytes = b"", to: int = 0, **header: int
) -> bytes:
    """A neighbour solicitation, to the target's group unless `dst` says other."""
    dst = dst or solicited_node(target)
    body = target.to_bytes(16, "big") + (b"" if mac is None else address_option(SOURCE_ADDRESS, mac)) + more
    eth_dst = to or (hardware_address(dst) if dst >> 120 == 0xFF else MAC)
    return icmpv6(src, dst, NS, 0, body, eth_dst, **header)


def tell(
    target: int, flags: int, dst: int = OWN6, mac: int | None = PEER_MAC, src: int = PEER, more: bytes = b"",
    **header: int,
) -> bytes:  # fmt: skip
    """A neighbour advertisement."""
    body = target.to_bytes(16, "big") + (b"" if mac is None else address_option(TARGET_ADDRESS, mac)) + more
    return icmpv6(src, dst, NA, flags, body, hardware_address(dst) if dst >> 120 == 0xFF else MAC, **header)


def ask_routers(src: int, body: bytes) -> bytes:
    """A router solicitation."""
    return icmpv6(src, ALL_ROUTERS, RS, 0, body, hardware_address(ALL_ROUTERS))


def probes() -> dict[str, tuple[bytes, ...]]:
    """By what they are: frames that come one after another."""
    learned = ask(PEER, OWN6)
    whole = {
        "who has the own address": learned,
        "by link-local": ask(PEER_LOCAL, OWN6),
        "of the link-local address": ask(PEER_LOCAL, LINK_LOCAL),
        "asked itself": ask(PEER, OWN6, OWN6),
        "asked itself without its address": ask(PEER, OWN6, OWN6, None),
        "without its address": ask(PEER, OWN6, 0, None),
        "to all nodes": ask(PEER, OWN6, ALL_NODES),
        "of nobody's": ask(PEER, NOBODY, ALL_NODES),
        "of nobody's, asked itself": ask(PEER, NOBODY, OWN6),
        "of another's in whose place it answers": ask(PEER, PROXIED, ALL_NODES),
        "of another's, asked itself": ask(PEER, PROXIED, OWN6),
        "who tests another's": ask(0, PROXIED, ALL_NODES, None),
        "who tests the own address": ask(0, OWN6, 0, None),
        "who tests it with a nonce": ask(0, OWN6, 0, None, option(NONCE, b"abcdef")),
        "who tests it to itself": ask(0, OWN6, OWN6, None),
        "who tests it and says where it is": ask(0, OWN6),
        "from beyond a router": ask(PEER, OWN6, hops=254),
        "with a code": ask(PEER, OWN6, code=1),
        "of a group": ask(PEER, ALL_NODES, OWN6),
        "by a group": ask(ALL_NODES, OWN6),
        "by the own address": ask(OWN6, OWN6),
        "by loopback": ask(1, OWN6),
        "from another network": ask(parse_ipv6("2001:db8:9::42"), OWN6),
        "with an option of no length": ask(PEER, OWN6, more=bytes(8)),
        "with an option that is cut": ask(PEER, OWN6, more=b"\x63\x02\0\0\0\0\0\0"),
        "with an unknown option": ask(PEER, OWN6, more=option(99, b"what is it?")),
        "with two addresses": ask(PEER, OWN6, more=address_option(SOURCE_ADDRESS, OTHER_MAC)),
        "with a longer address": ask(PEER, OWN6, mac=None, more=option(SOURCE_ADDRESS, bytes(14))),
        "cut": icmpv6(PEER, OWN6, NS, 0, OWN6.to_bytes(16, "big")[:12], MAC),
        "an answer that was not asked for": tell(PEER, S | O),
        "an unsolicited one to all": tell(PEER, O, ALL_NODES),
        "a solicited one to all": tell(PEER, S | O, ALL_NODES),
        "of the own address": tell(OWN6, O, ALL_NODES),
        "a host asks for routers": ask_routers(PEER_LOCAL, address_option(SOURCE_ADDRESS, PEER_MAC)),
        "who has no address asks for routers": ask_routers(0, b""),
    }  # fmt: skip
    found = {name: (frame,) for name, frame in whole.items()}
    more = {
        "another asks": ask(PEER, OWN6, mac=OTHER_MAC),
        "the same answers": tell(PEER, S),
        "the same answers as a router": tell(PEER, R | S),
        "the same answers without its address": tell(PEER, S, mac=None),
        "the same tells without its address": tell(PEER, 0, mac=None),
        "another answers": tell(PEER, S, mac=OTHER_MAC),
        "another answers and overrides": tell(PEER, S | O, mac=OTHER_MAC),
        "another tells all": tell(PEER, 0, ALL_NODES, mac=OTHER_MAC),
        "another tells all and overrides": tell(PEER, O, ALL_NODES, mac=OTHER_MAC),
        "another tells as a router": tell(PEER, R, mac=OTHER_MAC),
        "another tells and overrides as a router": tell(PEER, R | O, mac=OTHER_MAC),
        "the same from beyond a router": tell(PEER, S, hops=64),
        "the same with a bad option": tell(PEER, S, more=bytes(8)),
        "of a group": tell(ALL_NODES, S),
    }
    for name, frame in more.items():
        found[f"known, {name}"] = (learned, frame)
        found[f"confirmed, {name}"] = (learned, tell(PEER, S), frame)
        found[f"a router, {name}"] = (learned, tell(PEER, R | S | O), frame)
    return found


Sides = tuple[KernelTap, LunarTap]


@pytest.fixture(params=list(CONFIGS))
def sides(request: pytest.FixtureRequest) -> Iterator[Sides]:
    kernel, ours = KernelTap(six=True), LunarTap(six=True)
    for side in (kernel, ours):
        # So that no state ends within the test, whatever the machine's clock says.
        side.sh("sysctl -qw net.ipv6.neigh.eth0.delay_first_probe_time=1000")
        side.sh("sysctl -qw net.ipv6.neigh.eth0.base_reachable_time_ms=1000000")
        for command in CONFIGS[request.param]:
            side.sh(command)
    yield kernel, ours
    kernel.close()
    ours.close()


def both(sides: Sides, frames: Sequence[bytes], what: str) -> None:
    kernel, ours = sides
    answers, table = kernel.sends(*frames), kernel.neighbors()
    assert (ours.sends(*frames), ours.neighbors()) == (answers, table), what


def test_each_probe_is_answered_as_the_kernel_does(sides: Sides) -> None:
    for what, frames in probes().items():
        for side in sides:
            side.sh("ip -6 neigh flush all")
        both(sides, frames, what)


def test_so_are_probes_in_any_order(sides: Sides) -> None:
    rng = random.Random(6)
    found = probes()
    names = list(found)
    for _ in range(80):
        name = rng.choice(names)
        both(sides, found[name], name)
