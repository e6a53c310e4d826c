"""iptables(8), ip6tables(8), and their -save and -restore: the command lines of netfilter, as iptables-legacy 1.8.9.

Output and refusals are those of the real tool to the letter. command.py reads a line, spec.py is one rule as text,
option.py says how matches and targets take their options, and match_*.py and target_*.py are those; edit.py changes the
tables, listing.py and save.py print them. What packets meet is in lunar/netfilter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunar.net_tools.iptables.command import Command, Parser
from lunar.net_tools.iptables.edit import Editor
from lunar.net_tools.iptables.errors import VERSION, IptablesError, ParameterProblem, Refused
from lunar.net_tools.iptables.listing import echo, listing, rules
from lunar.net_tools.iptables.save import restore, save
from lunar.netfilter.netfilter import TABLES
from lunar.packet import AF_INET, AF_INET6

if TYPE_CHECKING:
    from lunar.host import Host


def run(host: Host, words: list[str]) -> str:
    """`iptables ...`."""
    return _run(host, AF_INET, "iptables", words)


def run6(host: Host, words: list[str]) -> str:
    """`ip6tables ...`."""
    return _run(host, AF_INET6, "ip6tables", words)


def run_save(host: Host, words: list[str]) -> str:
    """`iptables-save ...`."""
    return save(host, AF_INET, words)


def run_save6(host: Host, words: list[str]) -> str:
    """`ip6tables-save ...`."""
    return save(host, AF_INET6, words)


def run_restore(host: Host, words: list[str], stdin: str = "") -> str:
    """`iptables-restore ...`."""
    return restore(host, AF_INET, words, stdin)


def run_restore6(host: Host, words: list[str], stdin: str = "") -> str:
    """`ip6tables-restore ...`."""
    return restore(host, AF_INET6, words, stdin)


def _run(host: Host, family: int, tool: str, words: list[str]) -> str:
    def has_chain(table: str, chain: str) -> bool:
        if table not in TABLES:
            return False
        return chain in host.netfilter.tables(family).make(table).chains

    try:
        command = Parser(family, has_chain, host.network.names.lookup).parse(words)
        if command.version:
            return f"{tool} v{VERSION} (legacy)\n"
        if command.help:
            return _help(tool)
        if command.table not in TABLES:
            raise IptablesError(
                f"{tool} v{VERSION} (legacy): can't initialize {tool} table `{command.table}': Table does not exist "
                "(do you need to insmod?)\nPerhaps iptables or your kernel needs to be upgraded.",
                3,
            )
        return _do(Editor(host.netfilter, family, command.table), command)
    except (ParameterProblem, Refused) as error:
        raise error.by(tool) from None


def _do(editor: Editor, command: Command) -> str:
    if command.letter in "LS":
        chains = editor.chains(command.chain)
        return (listing if command.letter == "L" else rules)(editor.table, command, chains)
    said = ""
    if command.verbose:
        if command.letter in "FZ" and not command.number:
            done = "Flushing" if command.letter == "F" else "Zeroing"
            said = "".join(f"{done} chain `{chain.name}'\n" for chain in editor.chains(command.chain))
        elif command.letter == "X":
            doomed = editor.chains(command.chain)
            said = "".join(f"Deleting chain `{chain.name}'\n" for chain in doomed if chain.policy == -1)
        else:
            said = "".join(echo(spec) for spec in command.specs)
    editor.apply(command)
    return said


def _help(tool: str) -> str:
    return (
        f"{tool} v{VERSION} (legacy)\n\n"
        f"Usage: {tool} -[ACD] chain rule-specification [options]\n"
        f"       {tool} -I chain [rulenum] rule-specification [options]\n"
        f"       {tool} -R chain rulenum rule-specification [options]\n"
        f"       {tool} -D chain rulenum [options]\n"
        f"       {tool} -[LS] [chain [rulenum]] [options]\n"
        f"       {tool} -[FZ] [chain] [options]\n"
        f"       {tool} -[NX] chain\n"
        f"       {tool} -E old-chain-name new-chain-name\n"
        f"       {tool} -P chain target [options]\n"
        f"       {tool} -h (print this help information)\n"
    )


__all__ = ["IptablesError", "run", "run6", "run_restore", "run_restore6", "run_save", "run_save6"]
