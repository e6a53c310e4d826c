"""What commands do to a host's tables, and what the kernel checks of the outcome.

Each change is made to the tables as they are and checked as a whole, as Linux checks the whole table that iptables
hands it: whether chains go in circles, and whether each rule may stand where packets can reach it. What is refused is
taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net_tools.iptables.command import Command
from lunar.net_tools.iptables.errors import IptablesError, Refused, invalid, no_such
from lunar.net_tools.iptables.match_rate import HashLimit
from lunar.net_tools.iptables.spec import Spec
from lunar.netfilter.netfilter import TABLES, Netfilter
from lunar.netfilter.rule import ACCEPT, ACCEPTS, CONTINUE, DROP, DROPS, RETURNS, Chain, Jump, Rule, Table

if TYPE_CHECKING:
    from lunar.host import Host

_POLICIES: Final = {"ACCEPT": ACCEPT, "DROP": DROP}
_BAD_RULE: Final = "Bad rule (does a matching rule exist in that chain?)."


class Snapshot:
    """A table as it was: its chains, their rules and policies."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._chains = [
            (chain, chain.name, list(chain.rules), chain.policy, chain.packets, chain.bytes)
            for chain in table.chains.values()
        ]

    def restore(self) -> None:
        """Let the table be as it was."""
        self._table.chains.clear()
        for chain, name, rules, policy, packets, octets in self._chains:
            chain.name, chain.policy, chain.packets, chain.bytes = name, policy, packets, octets
            chain.rules[:] = rules
            self._table.chains[name] = chain


class Editor:
    """Changes to one table of a host."""

    def __init__(self, netfilter: Netfilter, family: int, table: str) -> None:
        self.netfilter = netfilter
        self.table = netfilter.tables(family).make(table)

    def chain(self, name: str | None) -> Chain:
        """The chain of this name. Raises `Refused`."""
        found = self.table.chains.get(name or "")
        if found is None:
            raise no_such()
        return found

    def chains(self, name: str | None) -> list[Chain]:
        """The chain of this name, or all of them: the built-in ones, then the user's by name."""
        return [self.chain(name)] if name is not None else sorted_chains(self.table)

    def apply(self, command: Command) -> None:
        """Do what `command` asks, if the kernel takes the outcome. Raises `IptablesError`; then nothing has changed."""
        snapshot = Snapshot(self.table)
        try:
            self.change(command)
            self.check()
        except IptablesError:
            snapshot.restore()
            raise

    def change(self, command: Command) -> None:
        """Do it, unchecked."""
        {
            "A": self._append, "I": self._insert, "D": self._delete, "R": self._replace, "C": self._find_all,
            "F": self._flush, "Z": self._zero, "N": self._new, "X": self._drop, "E": self._rename, "P": self._policy,
        }[command.letter](command)  # fmt: skip

    def _build(self, spec: Spec) -> Rule:
        if spec.tracks:
            self.netfilter.need_conntrack()
        verdict = spec.verdict
        if verdict in self.table.chains and self.table.chains[verdict].policy != CONTINUE:
            raise invalid()  # a built-in chain cannot be jumped to
        self.netfilter.switch_on()
        return spec.build(self.netfilter, self.table)

    def _append(self, command: Command) -> None:
        chain = self.chain(command.chain)
        chain.rules.extend([self._build(spec) for spec in command.specs])

    def _insert(self, command: Command) -> None:
        chain = self.chain(command.chain)
        at = command.number - 1
        if at > len(chain.rules):
            raise Refused("Index of insertion too big.")
        # Several, from one line with several addresses, are put in one after the other at the same place.
        for spec in command.specs:
            chain.rules.insert(at, self._build(spec))

    def _delete(self, command: Command) -> None:
        chain = self.chain(command.chain)
        if command.number:
            if command.number > len(chain.rules):
                raise Refused("Index of deletion too big.")
            del chain.rules[command.number - 1]
            return
        for spec in command.specs:
            del chain.rules[self._find(chain, spec)]

    def _replace(self, command: Command) -> None:
        chain = self.chain(command.chain)
        if command.number > len(chain.rules):
            raise Refused("Index of replacement too big.")
        chain.rules[command.number - 1] = self._build(command.specs[0])

    def _find_all(self, command: Command) -> None:
        chain = self.chain(command.chain)
        for spec in command.specs:
            self._find(chain, spec)

    def _find(self, chain: Chain, spec: Spec) -> int:
        wanted = (spec.save_matches(), target_text(spec, None))
        for at, rule in enumerate(chain.rules):
            if (rule.spec.save_matches(), target_text(rule.spec, rule)) == wanted:
                return at
        raise Refused(_BAD_RULE)

    def _flush(self, command: Command) -> None:
        for chain in self.chains(command.chain):
            chain.rules.clear()

    def _zero(self, command: Command) -> None:
        if command.number:
            rules = self.chain(command.chain).rules
            if command.number > len(rules):
                raise Refused("Index of counter too big.")
            rules[command.number - 1].packets = 0
            rules[command.number - 1].bytes = 0
            return
        for chain in self.chains(command.chain):
            zero(chain)

    def _new(self, command: Command) -> None:
        name = command.chain or ""
        if name in self.table.chains:
            raise Refused("Chain already exists.")
        self.table.chains[name] = Chain(name, CONTINUE)

    def _drop(self, command: Command) -> None:
        if command.chain is None:
            doomed = [chain for chain in sorted_chains(self.table) if chain.policy == CONTINUE]
        else:
            doomed = [self.chain(command.chain)]
        for chain in doomed:
            if chain.policy != CONTINUE:
                raise invalid()
            if references(self.table, chain):
                raise Refused("Too many links.")
            if chain.rules:
                raise Refused("Directory not empty.")
            del self.table.chains[chain.name]

    def _rename(self, command: Command) -> None:
        if command.name in self.table.chains or command.name in (*_POLICIES, "RETURN", "QUEUE"):
            raise Refused("File exists.")
        chain = self.chain(command.chain)
        if chain.policy != CONTINUE:
            raise no_such()
        del self.table.chains[chain.name]
        chain.name = command.name
        self.table.chains[chain.name] = chain

    def _policy(self, command: Command) -> None:
        chain = self.table.chains.get(command.chain or "")
        if chain is None or chain.policy == CONTINUE:
            raise Refused("Bad built-in chain name.")
        if command.name not in _POLICIES:
            raise Refused("Bad policy name. Run `dmesg' for more information.")
        chain.policy = _POLICIES[command.name]
        if command.counters is not None:
            chain.packets, chain.bytes = command.counters
        self.netfilter.switch_on()

    # What the kernel checks

    def check(self) -> None:
        """Raise `Refused` if chains go in circles, or if a rule stands where it may not be reached."""
        points = dict.fromkeys(self.table.chains, 0)
        for point, hook in enumerate(self.table.hooks):
            if hook is not None:
                self._walk(hook, 1 << point, points, [])
        for name, chain in self.table.chains.items():
            reached = points[name]
            for rule in chain.rules:
                rule.spec.refuse(reached, self.table.name)
                if _is_end(rule):
                    reached = 0  # no packet comes behind it
        self._forget_unused()
        if self.table.name == "nat" and any(chain.rules for chain in self.table.chains.values()):
            self.netfilter.need_conntrack().nat = True

    def _forget_unused(self) -> None:
        """What the last rule of a name had in common with others ends with it."""
        shared = self.netfilter.shared
        if not shared:
            return
        used = {
            match.shared_name
            for tables in (self.netfilter.inet, self.netfilter.inet6)
            for table in tables.all()
            for chain in table.chains.values()
            for rule in chain.rules
            for match in rule.spec.matches
            if isinstance(match, HashLimit)
        }
        for name in [name for name in shared if name not in used]:
            del shared[name]

    def _walk(self, chain: Chain, bit: int, points: dict[str, int], path: list[Chain]) -> None:
        if chain in path:
            raise Refused("Too many levels of symbolic links.")
        if points[chain.name] & bit:
            return
        points[chain.name] |= bit
        path.append(chain)
        for rule in chain.rules:
            if isinstance(rule.target, Jump):
                if rule.target.chain in path:
                    raise Refused("Too many levels of symbolic links.")
                self._walk(rule.target.chain, bit, points, path)
            elif _is_end(rule):
                break
        path.pop()


def _is_end(rule: Rule) -> bool:
    """Whether all packets that come to the rule leave the chain there."""
    if rule.target.kind not in (ACCEPTS, DROPS, RETURNS) or rule.matches:
        return False
    asks = rule.src_mask or rule.dst_mask or rule.protocol or rule.in_name or rule.out_name or rule.fragment
    return not asks and not rule.inverted


def target_text(spec: Spec, rule: Rule | None) -> str:
    """The target as -S prints it. A chain is called as it is now: it may have been renamed."""
    if rule is not None and isinstance(rule.target, Jump):
        return f" -{'g' if spec.goes else 'j'} {rule.target.chain.name}"
    return spec.save_target()


def listed_target(rule: Rule) -> str:
    """The target as a listing calls it."""
    if isinstance(rule.target, Jump):
        return rule.target.chain.name
    return str(rule.spec.listed)


def zero(chain: Chain) -> None:
    """Set the counters of a chain and its rules to zero."""
    chain.packets = chain.bytes = 0
    for rule in chain.rules:
        rule.packets = rule.bytes = 0


def sorted_chains(table: Table) -> list[Chain]:
    """The built-in chains in the order of a packet's way, then the user's by name."""
    own = sorted(chain.name for chain in table.chains.values() if chain.policy == CONTINUE)
    return [hook for hook in table.hooks if hook is not None] + [table.chains[name] for name in own]


def references(table: Table, chain: Chain) -> int:
    """How many rules jump to `chain`."""
    return sum(
        isinstance(rule.target, Jump) and rule.target.chain is chain
        for other in table.chains.values()
        for rule in other.rules
    )


def editor(host: Host, family: int, table: str) -> Editor | None:
    """The editor of a host's table; None for a name that no table has."""
    return Editor(host.netfilter, family, table) if table in TABLES else None
