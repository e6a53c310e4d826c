"""Rules, chains and tables, and how a packet goes through them.

A rule has the match of the IP header in itself (`-s -d -i -o -p -f`), a list of further matches, and a target. A chain
is a list of rules, a table has a built-in chain for each point of a packet's way that it looks at. Chains of the user
are reached by `Jump`. Read `Chain.verdict` first. What the rules look like as text is not known here: `Rule.spec`
belongs to lunar/net_tools/iptables.

Addresses, masks and their inversion are the same code for both families, since an address is an integer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from mypy_extensions import i64

from lunar.net.device import Device
from lunar.packet import AF_INET, Packet

if TYPE_CHECKING:
    from lunar.netfilter.netfilter import Netfilter

# What becomes of a packet: the next rule is asked; dropped; accepted; taken, by a target that keeps it or has sent it.
CONTINUE: Final = -1
DROP: Final = 0
ACCEPT: Final = 1
STOLEN: Final = 2

# Kinds of targets that `Chain.verdict` obeys itself; `act` is called for the others.
NO_TARGET: Final = 0
ACCEPTS: Final = 1
DROPS: Final = 2
RETURNS: Final = 3
JUMPS: Final = 4
GOES: Final = 5
ACTS: Final = 6

# Which parts of a rule's own match are inverted by "!".
NOT_SRC: Final = 1
NOT_DST: Final = 2
NOT_IN: Final = 4
NOT_OUT: Final = 8
NOT_PROTOCOL: Final = 16
NOT_FRAGMENT: Final = 32

# Flags of `Range`: what of it is given, and how an address and a port are chosen.
MAP_ADDRESS: Final = 1
MAP_PORTS: Final = 2
RANDOM: Final = 4
PERSISTENT: Final = 8
RANDOM_FULLY: Final = 16
OFFSET: Final = 32  # ports are moved from `base_port` on
NETMAP: Final = 64  # the network is exchanged, the host's part stays


@final
class Context:
    """One look at one packet: at which point of its way, by which device it came and goes (None where it does not).

    A match that finds the packet broken sets `hotdrop`: it is dropped, whatever the rule says.
    """

    def __init__(
        self, netfilter: Netfilter, point: i64, came_by: Device | None, goes_by: Device | None, now_ns: i64
    ) -> None:
        self.netfilter: Netfilter = netfilter
        self.point: i64 = point
        self.came_by: Device | None = came_by
        self.goes_by: Device | None = goes_by
        self.now_ns: i64 = now_ns
        self.hotdrop: bool = False


class Match:
    """One `-m`: a condition."""

    def matches(self, packet: Packet, context: Context) -> bool:
        """Whether `packet` meets the condition."""
        raise NotImplementedError


class Target:
    """What a rule does with a packet that it matches: `kind` says who does it, this class's `act` for ACTS."""

    def __init__(self, kind: i64) -> None:
        self.kind: i64 = kind

    def act(self, packet: Packet, context: Context) -> i64:
        """Do it. CONTINUE lets the next rule see the packet."""
        raise NotImplementedError


@final
class Plain(Target):
    """ACCEPT, DROP, RETURN, or no target."""


@final
class Jump(Target):
    """`-j CHAIN` (JUMPS), `-g CHAIN` (GOES)."""

    def __init__(self, kind: i64, chain: Chain) -> None:
        super().__init__(kind)
        self.chain: Chain = chain


@final
class Range:
    """What a target of the nat table may choose from. Ports are those of TCP and UDP, or ICMP's identifier."""

    def __init__(
        self, flags: i64, min_address: int, max_address: int, min_port: i64, max_port: i64, base_port: i64
    ) -> None:
        self.flags: i64 = flags
        self.min_address: int = min_address
        self.max_address: int = max_address
        self.min_port: i64 = min_port
        self.max_port: i64 = max_port
        self.base_port: i64 = base_port


@final
class Rule:
    """One rule. A mask of 0 matches all addresses, protocol 0 all protocols, a device "" all; "eth+" begins so."""

    def __init__(self, target: Target) -> None:
        self.src: int = 0
        self.src_mask: int = 0
        self.dst: int = 0
        self.dst_mask: int = 0
        self.protocol: i64 = 0
        self.in_name: str = ""
        self.out_name: str = ""
        self.fragment: bool = False  # -f: the second and further fragments
        self.inverted: i64 = 0
        self.matches: list[Match] = []
        self.target: Target = target
        self.packets: i64 = 0
        self.bytes: i64 = 0
        self.spec: Any = None
        self.is_plain: bool = True  # see `settle`

    def settle(self) -> None:
        """The fields are set: find out whether only addresses, protocol and matches have to be looked at."""
        self.is_plain = not (self.in_name or self.out_name or self.fragment or self.inverted)

    def applies(self, packet: Packet, context: Context) -> bool:
        """Whether the whole rule matches `packet`."""
        if self.is_plain:
            if packet.src & self.src_mask != self.src or packet.dst & self.dst_mask != self.dst:
                return False
            protocol: i64 = self.protocol
            if protocol != 0:
                if packet.protocol != protocol:
                    return False
                if packet.fragment_offset != 0 and packet.family != AF_INET:
                    return False  # whose protocol is that of the first fragment
        elif not self._header_matches(packet, context):
            return False
        for match in self.matches:  # noqa: SIM110 - asked for each packet; compiled, a loop needs no generator
            if not match.matches(packet, context):
                return False
        return True

    def _header_matches(self, packet: Packet, context: Context) -> bool:
        inverted: i64 = self.inverted
        if (packet.src & self.src_mask != self.src) != (inverted & NOT_SRC != 0):
            return False
        if (packet.dst & self.dst_mask != self.dst) != (inverted & NOT_DST != 0):
            return False
        if self.in_name and is_named(context.came_by, self.in_name) == (inverted & NOT_IN != 0):
            return False
        if self.out_name and is_named(context.goes_by, self.out_name) == (inverted & NOT_OUT != 0):
            return False
        if self.protocol != 0:
            if packet.fragment_offset != 0 and packet.family != AF_INET:
                return False
            if (packet.protocol != self.protocol) != (inverted & NOT_PROTOCOL != 0):
                return False
        if self.fragment and (packet.fragment_offset == 0) != (inverted & NOT_FRAGMENT != 0):
            return False
        return True


def is_named(device: Device | None, pattern: str) -> bool:
    """Whether the device has the name `pattern`, or one that begins with what is before its "+". No device has ""."""
    name = device.name if device is not None else ""
    if pattern.endswith("+"):
        return name.startswith(pattern[:-1])
    return name == pattern


@final
class _Return:
    """Where a chain was jumped from."""

    def __init__(self, rules: list[Rule], index: i64) -> None:
        self.rules: list[Rule] = rules
        self.index: i64 = index


@final
class Chain:
    """A list of rules. `policy` is ACCEPT or DROP for a built-in chain, CONTINUE for one of the user's."""

    def __init__(self, name: str, policy: i64) -> None:
        self.name: str = name
        self.policy: i64 = policy
        self.rules: list[Rule] = []
        self.packets: i64 = 0  # those that the policy decided of
        self.bytes: i64 = 0

    def verdict(self, packet: Packet, context: Context) -> i64:
        """Lead `packet` through this built-in chain and those that its rules jump to: DROP, ACCEPT or STOLEN."""
        rules = self.rules
        index: i64 = 0
        stack: list[_Return] | None = None
        while True:
            if index >= len(rules):
                if not stack:
                    break
                back = stack.pop()
                rules = back.rules
                index = back.index
                continue
            rule = rules[index]
            index += 1
            if not rule.applies(packet, context):
                if context.hotdrop:
                    return DROP
                continue
            rule.packets += 1
            rule.bytes += packet.size_bytes
            target = rule.target
            kind: i64 = target.kind
            if kind == ACCEPTS:
                return ACCEPT
            if kind == DROPS:
                return DROP
            if kind == NO_TARGET:
                continue
            if kind == ACTS:
                verdict: i64 = target.act(packet, context)
                if verdict == CONTINUE:
                    continue
                return verdict
            if kind == RETURNS:
                if not stack:
                    break
                back = stack.pop()
                rules = back.rules
                index = back.index
                continue
            assert isinstance(target, Jump), "all other kinds are jumps"
            if kind == JUMPS:
                if stack is None:
                    stack = []
                stack.append(_Return(rules, index))
            rules = target.chain.rules
            index = 0
        self.packets += 1
        self.bytes += packet.size_bytes
        return self.policy


@final
class Table:
    """One table of one family: `chains` by name, `hooks` the built-in ones by the point at which they are asked."""

    def __init__(self, name: str, family: i64, points: list[str]) -> None:
        self.name: str = name
        self.family: i64 = family
        self.chains: dict[str, Chain] = {}
        self.hooks: list[Chain | None] = []
        for builtin in points:
            if builtin:
                chain = Chain(builtin, ACCEPT)
                self.chains[builtin] = chain
                self.hooks.append(chain)
            else:
                self.hooks.append(None)

    def verdict(self, packet: Packet, context: Context) -> i64:
        """What the built-in chain at the context's point says; ACCEPT if there is none."""
        chain = self.hooks[context.point]
        return chain.verdict(packet, context) if chain is not None else ACCEPT
