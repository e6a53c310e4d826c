"""Policy routing: which tables are asked for a packet's route, and in which order (ip-rule(8)).

A host has rules, for each family, once somebody has changed them; before that `Family.rules` is None and the three that
Linux starts with (local, main, default) hold without being walked. A rule says which packets it is for and what becomes
of them: a table is asked, and if that has no route the next rule comes; or they are refused. Read the man page beside
this file. What a packet has that rules look at is a `Flow` (Linux' flowi).

Left out: rules of l3mdev, tunnel identifiers and realms.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

# What a rule does. Numbers of linux/fib_rules.h (FR_ACT_...).
TO_TABLE: Final = 1
GOTO: Final = 2
NOP: Final = 3
BLACKHOLE: Final = 6
UNREACHABLE: Final = 7
PROHIBIT: Final = 8

# Tables that have names (/etc/iproute2/rt_tables).
TABLE_DEFAULT: Final = 253
TABLE_MAIN: Final = 254
TABLE_LOCAL: Final = 255

# Priorities of the rules that each host has at first. IPv6 has no rule for a default table.
_LOCAL_PRIORITY: Final = 0
_MAIN_PRIORITY: Final = 32_766
_DEFAULT_PRIORITY: Final = 32_767

_DSCP_MASK: Final = 0x1C  # IPTOS_RT_MASK: of TOS Linux' rules look at these bits only


@final
class Flow:
    """What a route is looked up by. Zero, "" and -1 (`uid`) are for what is not known. Devices are names.

    `iif` is "lo" for what the host sends itself, as ip-rule(8) has it.
    """

    def __init__(self, dst: int) -> None:
        self.dst: int = dst
        self.src: int = 0
        self.tos: i64 = 0
        self.mark: i64 = 0
        self.iif: str = "lo"
        self.oif: str = ""
        self.protocol: i64 = 0
        self.sport: i64 = 0
        self.dport: i64 = 0
        self.uid: i64 = -1


@final
class Rule:
    """One rule. A prefix of 0, a name "", a mask 0 and a port range from -1 are no condition."""

    def __init__(self, bits: i64, priority: i64, action: i64, table: i64) -> None:
        self.bits: i64 = bits
        self.priority: i64 = priority
        self.action: i64 = action
        self.table: i64 = table
        self.target: i64 = 0  # of a GOTO: the priority at which it goes on
        self.inverted: bool = False  # `not`
        self.src: int = 0
        self.src_prefix: i64 = 0
        self.dst: int = 0
        self.dst_prefix: i64 = 0
        self.iif: str = ""
        self.oif: str = ""
        self.mark: i64 = 0
        self.mask: i64 = 0
        self.tos: i64 = 0
        self.protocol: i64 = 0  # ipproto
        self.sport_first: i64 = -1
        self.sport_last: i64 = -1
        self.dport_first: i64 = -1
        self.dport_last: i64 = -1
        self.uid_first: i64 = -1
        self.uid_last: i64 = -1
        self.suppress_prefix: i64 = -1  # suppress_prefixlength: routes of that length or less do not count
        self.proto: i64 = 3  # who made it (RTPROT_BOOT); 2 of the kernel's own

    def matches(self, flow: Flow) -> bool:
        """Whether the rule is for `flow`."""
        return self._agrees(flow) != self.inverted

    def _agrees(self, flow: Flow) -> bool:
        if self.src_prefix and (self.src ^ flow.src) >> int(self.bits - self.src_prefix):
            return False
        if self.dst_prefix and (self.dst ^ flow.dst) >> int(self.bits - self.dst_prefix):
            return False
        if (self.iif and self.iif != flow.iif) or (self.oif and self.oif != flow.oif):
            return False
        if (self.mark ^ flow.mark) & self.mask:
            return False
        if self.tos and self.tos != flow.tos & _DSCP_MASK:
            return False
        if self.protocol and self.protocol != flow.protocol:
            return False
        if self.sport_first >= 0 and not self.sport_first <= flow.sport <= self.sport_last:
            return False
        if self.dport_first >= 0 and not self.dport_first <= flow.dport <= self.dport_last:
            return False
        return self.uid_first < 0 or self.uid_first <= flow.uid <= self.uid_last

    def same(self, other: Rule) -> bool:
        """Whether it says the same as `other`: of two such rules the second is refused."""
        return (
            self.priority == other.priority and self.action == other.action and self.table == other.table
            and self.target == other.target and self.inverted == other.inverted
            and self.src == other.src and self.src_prefix == other.src_prefix
            and self.dst == other.dst and self.dst_prefix == other.dst_prefix
            and self.iif == other.iif and self.oif == other.oif
            and self.mark == other.mark and self.mask == other.mask and self.tos == other.tos
            and self.protocol == other.protocol
            and self.sport_first == other.sport_first and self.sport_last == other.sport_last
            and self.dport_first == other.dport_first and self.dport_last == other.dport_last
            and self.uid_first == other.uid_first and self.uid_last == other.uid_last
            and self.suppress_prefix == other.suppress_prefix
        )  # fmt: skip


@final
class Rules:
    """All rules of a host for one family, in the order in which they are asked."""

    def __init__(self, bits: i64) -> None:
        self.bits: i64 = bits
        self.rules: list[Rule] = []
        for priority, table in ((_LOCAL_PRIORITY, TABLE_LOCAL), (_MAIN_PRIORITY, TABLE_MAIN)):
            self._put(Rule(bits, priority, TO_TABLE, table))
        if bits == 32:
            self._put(Rule(bits, _DEFAULT_PRIORITY, TO_TABLE, TABLE_DEFAULT))
        for rule in self.rules:
            rule.proto = 2

    def add(self, rule: Rule) -> None:
        """Add a rule, behind those of its priority. One of priority -1 gets the place before the second rule, as the
        next lower number. Raises `FileExistsError` (EEXIST) when there is one that says the same.
        """
        if rule.priority < 0:
            rule.priority = self._free_priority()
        for other in self.rules:
            if other.same(rule):
                raise FileExistsError(errno.EEXIST, "File exists")
        self._put(rule)

    def _free_priority(self) -> i64:
        # Linux takes one less than the first rule after the one at the front.
        if len(self.rules) > 1 and self.rules[1].priority > 0:
            return self.rules[1].priority - 1
        return 0

    def _put(self, rule: Rule) -> None:
        at = len(self.rules)
        while at > 0 and self.rules[at - 1].priority > rule.priority:
            at -= 1
        self.rules.insert(at, rule)

    def remove(self, rule: Rule) -> None:
        """Take a rule of `rules` away."""
        self.rules.remove(rule)

    def flush(self) -> None:
        """Take all rules away but the one at the front, as `ip rule flush` does."""
        self.rules[:] = [rule for rule in self.rules if rule.priority == 0]
