"""Which of its IPv6 addresses a host sends from: RFC 6724, and what getaddrinfo needs of it to sort destinations.

`select` is section 5: candidates are the addresses of the device that the packet leaves by, and unless the destination
is a group or on a link, those of all devices. Pairs are compared by rules 1 to 8; rule 4 (home addresses) has nothing
to say here, nor has 5.5, which Linux leaves out too. Of addresses that all rules find equal Linux takes the one that
was given last. The policy table is section 2.1's.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.net.address import IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_SECONDARY, Address
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.packet import AF_INET, AF_INET6

# Scopes as RFC 4291 (2.7) numbers those of groups; of unicast addresses RFC 6724 (3.1).
LINK: Final = 0x2
SITE: Final = 0x5
GLOBAL: Final = 0xE

# RFC 6724 (2.1): prefix, its length, precedence, label; the longest first.
_POLICIES: Final = [
    (1, 128, 50, 0),
    (0xFFFF << 32, 96, 35, 4),
    (0, 96, 1, 3),
    (0x2001_0000 << 96, 32, 5, 5),
    (0x2002 << 112, 16, 30, 2),
    (0x3FFE << 112, 16, 1, 12),
    (0xFEC0 << 112, 10, 1, 11),
    (0xFC00 << 112, 7, 3, 13),
    (0, 0, 40, 1),
]


def as_six(family: i64, address: int) -> int:
    """An address of either family as the IPv6 address that the rules are about: IPv4's are mapped (section 3.2)."""
    return address | 0xFFFF_0000_0000 if family == AF_INET else address


def policy(six: int) -> tuple[int, int]:
    """Precedence and label of an address (`as_six`)."""
    for prefix, length, precedence, label in _POLICIES:
        if (six ^ prefix) >> (128 - length) == 0:
            return precedence, label
    raise AssertionError("the last row is for all addresses")


def scope(six: int) -> i64:
    """How far an address (`as_six`) means anything: LINK, SITE, GLOBAL, or another number of a group's scope.

    ::1 has LINK's (section 3.1, RFC 4007), and so have 127.0.0.0/8 and 169.254.0.0/16 (section 3.2).
    """
    if six >> 120 == 0xFF:
        return (six >> 112) & 0xF
    if six >> 118 == 0x3FA or six == 1:
        return LINK
    if six >> 32 == 0xFFFF:
        four = six & 0xFFFF_FFFF
        return LINK if four >> 24 == 127 or four >> 16 == 0xA9FE else GLOBAL
    return SITE if six >> 118 == 0x3FB else GLOBAL


def common_bits(a: int, b: int) -> int:
    """How many leading bits two IPv6 addresses have in common."""
    return 128 - (a ^ b).bit_length()


def select(ip: Ip, device: Device, dst: int) -> int:
    """The source of a packet to `dst`, an IPv6 address, that leaves by `device`; 0 when the host has none."""
    best: Address | None = None
    best_device = device
    reach: i64 = scope(dst)
    label = policy(dst)[1]
    bound = dst >> 120 == 0xFF or reach <= LINK
    for other in ip.devices:
        if other is not device and (bound or not other.up):
            continue
        at: i64 = len(other.addresses)
        while at > 0:
            at -= 1
            own = other.addresses[at]
            if own.family != AF_INET6 or own.flags & IFA_F_DADFAILED:
                continue
            if best is None or _is_better(own, other, best, best_device, device, dst, reach, label):
                best = own
                best_device = other
    return 0 if best is None else best.address


def _is_better(
    a: Address, on_a: Device, b: Address, on_b: Device, device: Device, dst: int, reach: i64, label: int
) -> bool:
    """Whether `a` is to be preferred to `b`, which was found before it."""
    # Rule 1: the same address.
    if b.address == dst:
        return False
    if a.address == dst:
        return True
    # Rule 2: an appropriate scope: of two that reach, the nearer; otherwise the farther.
    scope_a: i64 = scope(a.address)
    scope_b: i64 = scope(b.address)
    if scope_a < scope_b:
        return scope_a >= reach
    if scope_b < scope_a:
        return scope_b < reach
    # Rule 3: none that is deprecated.
    if (a.flags ^ b.flags) & IFA_F_DEPRECATED:
        return b.flags & IFA_F_DEPRECATED != 0
    # Rule 5: that of the device it leaves by.
    if (on_a is device) != (on_b is device):
        return on_a is device
    # Rule 6: the same label.
    fits_a = policy(a.address)[1] == label
    if fits_a != (policy(b.address)[1] == label):
        return fits_a
    # Rule 7: Linux prefers public addresses to temporary ones, unless use_tempaddr is 2.
    if (a.flags ^ b.flags) & IFA_F_SECONDARY:
        return b.flags & IFA_F_SECONDARY != 0
    # Rule 8: the longest matching prefix, within the network.
    return min(common_bits(a.address, dst), int(a.prefix)) > min(common_bits(b.address, dst), int(b.prefix))
