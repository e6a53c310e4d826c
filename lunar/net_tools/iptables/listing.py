"""The outputs of `-L` and `-S`, and of a rule that is added with `-v`."""

from __future__ import annotations

from typing import Final

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.command import Command
from lunar.net_tools.iptables.edit import listed_target, references, sorted_chains, target_text, zero
from lunar.net_tools.iptables.spec import Spec
from lunar.netfilter.rule import (
    ACCEPT,
    CONTINUE,
    NOT_DST,
    NOT_FRAGMENT,
    NOT_IN,
    NOT_OUT,
    NOT_PROTOCOL,
    NOT_SRC,
    Chain,
    Rule,
    Table,
)

_MOST_EXACT: Final = 99_999
_MOST_SCALED: Final = 9_999


def number_text(number: int, exact: bool, width: int) -> str:
    """A counter, with K, M, G or T from 100,000 on; `width` 0 for no padding."""
    if exact:
        return f"{number:{8 if width else 0}} "
    if number <= _MOST_EXACT:
        return f"{number:{width}} "
    for letter in "KMG":
        number = (number + 500) // 1000
        if number <= _MOST_SCALED:
            return f"{number:{width - 1 if width else 0}}{letter} "
    return f"{(number + 500) // 1000:{width - 1 if width else 0}}T "


def listing(table: Table, command: Command, chains: list[Chain]) -> str:
    """What `-L` prints of these chains."""
    parts = []
    for chain in chains:
        lines = _header(table, chain, command) if not command.number else []
        for number, rule in enumerate(chain.rules, 1):
            if not command.number or number == command.number:
                lines.append(_line(rule, number, command))
        parts.append("".join(line + "\n" for line in lines))
        if command.zero:
            zero(chain)
    return "\n".join(parts)


def _header(table: Table, chain: Chain, command: Command) -> list[str]:
    if chain.policy == CONTINUE:
        first = f"Chain {chain.name} ({references(table, chain)} references)"
    else:
        policy = "ACCEPT" if chain.policy == ACCEPT else "DROP"
        first = f"Chain {chain.name} (policy {policy}"
        if command.verbose:
            packets = number_text(int(chain.packets), command.exact, 0)
            octets = number_text(int(chain.bytes), command.exact, 0)
            first += f" {packets}packets, {octets}bytes"
        first += ")"
    second = "num  " if command.line_numbers else ""
    if command.verbose:
        second += "    pkts      bytes " if command.exact else " pkts bytes "
    second += "target     prot opt "
    if command.verbose:
        second += "in     out     "
    return [first, second + "source               destination         "]


def _line(rule: Rule, number: int, command: Command) -> str:
    spec: Spec = rule.spec
    numeric = command.numeric
    text = f"{number:<4} " if command.line_numbers else ""
    if command.verbose:
        text += number_text(int(rule.packets), command.exact, 5) + number_text(int(rule.bytes), command.exact, 5)
    text += f"{listed_target(rule):<9} {_bang(spec, NOT_PROTOCOL)}{_protocol(spec.protocol, numeric):<4} "
    text += _fragment(spec) + " "
    if command.verbose:
        anything = "*" if numeric else "any"
        for name, bit in ((spec.in_name, NOT_IN), (spec.out_name, NOT_OUT)):
            bang = "!" if spec.inverted & bit else ""
            text += f" {bang + (name or anything):<6}"
        text += " "
    src, dst = spec.addresses(numeric)
    text += f"{_bang(spec, NOT_SRC)}{src:<19} {_bang(spec, NOT_DST)}{dst:<19} "
    if spec.goes:
        text += "[goto] "
    return text + spec.show(numeric)


def _protocol(protocol: int, numeric: bool) -> str:
    if numeric:
        return str(protocol)
    return names.protocol_name(protocol) if protocol else "all"


def _fragment(spec: Spec) -> str:
    if not spec.fragment:
        return "--"
    return "!f" if spec.inverted & NOT_FRAGMENT else "-f"


def _bang(spec: Spec, bit: int) -> str:
    return "!" if spec.inverted & bit else " "


def echo(spec: Spec) -> str:
    """What `-v -A` and its like print of a rule."""
    text = f"{spec.listed} "
    src, dst = spec.addresses(True)
    devices = [
        f"{'!' if spec.inverted & bit else ''}{name or '*'}"
        for name, bit in ((spec.in_name, NOT_IN), (spec.out_name, NOT_OUT))
    ]
    text += f"{_bang(spec, NOT_PROTOCOL)}{_protocol(spec.protocol, False)} opt {_fragment(spec)} "
    text += f"in {devices[0]} out {devices[1]} {_bang(spec, NOT_SRC)}{src} {_bang(spec, NOT_DST)}-> {dst} "
    if spec.goes:
        text += "[goto] "
    return text + " " + spec.show(True) + "\n"


def rules(table: Table, command: Command, chains: list[Chain]) -> str:
    """What `-S` prints of these chains."""
    counted = command.verbose > 0
    lines = [] if command.number else [_declaration(chain, counted) for chain in chains if chain.policy != CONTINUE]
    if not command.number:
        lines += [f"-N {chain.name}" for chain in chains if chain.policy == CONTINUE]
    for chain in chains:
        for number, rule in enumerate(chain.rules, 1):
            if not command.number or number == command.number:
                lines.append(saved(chain, rule, counted))
    return "".join(line + "\n" for line in lines)


def _declaration(chain: Chain, counted: bool) -> str:
    text = f"-P {chain.name} {'ACCEPT' if chain.policy == ACCEPT else 'DROP'}"
    return f"{text} -c {int(chain.packets)} {int(chain.bytes)}" if counted else text


def saved(chain: Chain, rule: Rule, counted: bool = False) -> str:
    """One rule as `-S` and iptables-save write it."""
    counters = f" -c {int(rule.packets)} {int(rule.bytes)}" if counted else ""
    return f"-A {chain.name}{rule.spec.save_matches()}{counters}{target_text(rule.spec, rule)}"


__all__ = ["echo", "listing", "number_text", "rules", "saved", "sorted_chains"]
