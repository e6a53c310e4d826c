"""An address of a device, as ip-address(8) shows it: Linux' in_ifaddr and inet6_ifaddr as one class.

What an address may be used for is here; who gives a device its addresses is lunar/host.py, and of IPv6 autoconf.py.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.packet import AF_INET

# Scopes as rtnetlink(7) numbers them: how far the address means anything.
SCOPE_GLOBAL: Final = 0
SCOPE_SITE: Final = 200
SCOPE_LINK: Final = 253
SCOPE_HOST: Final = 254

# Flags (linux/if_addr.h).
IFA_F_SECONDARY: Final = 0x01  # for IPv6: temporary (RFC 8981)
IFA_F_NODAD: Final = 0x02
IFA_F_OPTIMISTIC: Final = 0x04
IFA_F_DADFAILED: Final = 0x08
IFA_F_HOMEADDRESS: Final = 0x10
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40
IFA_F_PERMANENT: Final = 0x80
IFA_F_MANAGETEMPADDR: Final = 0x100
IFA_F_NOPREFIXROUTE: Final = 0x200
IFA_F_STABLE_PRIVACY: Final = 0x800

FOREVER: Final = -1  # of a lifetime

_LOOPBACK6: Final = 1


@final
class Address:
    """One address of a device. `prefix` is its length; `broadcast` and `peer` are addresses or 0, `label` is IPv4's
    ("eth0:1") or "". Lifetimes are points of virtual time in nanoseconds, FOREVER for no end.
    """

    def __init__(self, family: i64, address: int, prefix: i64) -> None:
        self.family: i64 = family
        self.bits: i64 = 32 if family == AF_INET else 128
        self.address: int = address
        self.prefix: i64 = prefix
        self.broadcast: int = 0
        self.peer: int = 0
        self.label: str = ""
        self.scope: i64 = scope_of(family, address)
        self.flags: i64 = IFA_F_PERMANENT
        self.valid_until_ns: i64 = FOREVER
        self.preferred_until_ns: i64 = FOREVER

    def network(self) -> int:
        """The network's address: the first of those that are on the device's own network."""
        free: i64 = self.bits - self.prefix
        base = self.peer if self.peer else self.address
        return (base >> int(free)) << int(free)

    def covers(self, address: int) -> bool:
        """Whether `address`, of the same family, is on the network."""
        base = self.peer if self.peer else self.address
        return (base ^ address) >> int(self.bits - self.prefix) == 0


def scope_of(family: i64, address: int) -> i64:
    """The scope that Linux gives an address unless it is told another (RFC 4007; of IPv4 loopback and link-local)."""
    if family == AF_INET:
        if address >> 24 == 127:
            return SCOPE_HOST
        return SCOPE_GLOBAL
    if address == _LOOPBACK6:
        return SCOPE_HOST
    if is_link_local(address):
        return SCOPE_LINK
    return SCOPE_SITE if address >> 118 == 0x3FB else SCOPE_GLOBAL


def needs_scope(address: int) -> bool:
    """Whether an IPv6 address means something only beside a device: link-local, or a group of a link or interface."""
    if address >> 120 == 0xFF:
        return (address >> 112) & 0xF in (1, 2)
    return is_link_local(address)


def is_link_local(address: int) -> bool:
    """Whether `address` is of fe80::/10."""
    return address >> 118 == 0x3FA
