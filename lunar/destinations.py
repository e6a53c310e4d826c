"""The order of a name's addresses: RFC 6724 section 6, by which getaddrinfo(3) sorts.

The stack is asked from which of its addresses it would send to each. The first rule that prefers one of two decides;
where none does, the order stays as it was found. The policy table is the RFC's (lunar/net/source.py).
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import Final

import attrs

from lunar.net import ip_output, source
from lunar.net.address import IFA_F_DEPRECATED, Address
from lunar.net.ip import Ip
from lunar.packet import AF_INET
from lunar.wire.address import network_mask

_LAST: Final = 1
_FIRST: Final = -1


@attrs.frozen
class _Candidate:
    """A destination; `own` is the source for it, None where the host cannot reach it."""

    family: int
    address: int
    own: Address | None

    @property
    def six(self) -> int:
        return source.as_six(self.family, self.address)

    @property
    def own_six(self) -> int:
        assert self.own is not None, "asked only of two that can be reached"
        return source.as_six(self.family, self.own.address)


def in_order(ip: Ip, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (family, address) pairs of `found`, that to be tried first first."""
    if len(found) < 2:
        return found
    candidates = [_Candidate(family, address, _source(ip, family, address)) for family, address in found]
    return [(one.family, one.address) for one in sorted(candidates, key=cmp_to_key(_compare))]


def _source(ip: Ip, family: int, address: int) -> Address | None:
    """The own address from which the stack would send there."""
    route = ip_output.route_for(ip, family, address)
    if route is None:
        return None
    if ip.has_address(address):
        chosen = address
    elif family == AF_INET:
        chosen = ip_output.source_for(ip, address, route)
    else:
        chosen = route.source or source.select(ip, route.device, address)
    for device in ip.devices:
        for own in device.addresses:
            if own.address == chosen:
                return own
    # All of 127.0.0.0/8 is the host's own, though lo has one address of it.
    return Address(family, chosen, 8) if chosen else None


def _compare(a: _Candidate, b: _Candidate) -> int:
    # Rule 1: what cannot be reached comes last.
    if a.own is None or b.own is None:
        return (a.own is None) - (b.own is None)
    # Rule 2: the source reaches as far as the destination.
    fits_a, fits_b = (source.scope(one.six) == source.scope(one.own_six) for one in (a, b))
    if fits_a != fits_b:
        return _FIRST if fits_a else _LAST
    # Rule 3: the source is not deprecated.
    old_a, old_b = (bool(one.own is not None and one.own.flags & IFA_F_DEPRECATED) for one in (a, b))
    if old_a != old_b:
        return _LAST if old_a else _FIRST
    # Rule 4 is of home addresses. Rule 5: the labels match.
    (precedence_a, label_a), (precedence_b, label_b) = source.policy(a.six), source.policy(b.six)
    same_a, same_b = label_a == source.policy(a.own_six)[1], label_b == source.policy(b.own_six)[1]
    if same_a != same_b:
        return _FIRST if same_a else _LAST
    # Rule 6: the higher precedence. Rule 7 is of tunnels, of which there are none.
    if precedence_a != precedence_b:
        return precedence_b - precedence_a
    # Rule 8: the smaller scope.
    if source.scope(a.six) != source.scope(b.six):
        return int(source.scope(a.six) - source.scope(b.six))
    # Rule 9: the longest prefix in common with the source; of IPv4 glibc looks only within the source's network.
    if a.family == b.family:
        return _in_common(b) - _in_common(a)
    return 0


def _in_common(one: _Candidate) -> int:
    assert one.own is not None, "asked only of what can be reached"
    if one.family == AF_INET:
        mask = network_mask(int(one.own.prefix))
        if (one.address ^ one.own.address) & mask:
            return 0
    return source.common_bits(one.six, one.own_six)
