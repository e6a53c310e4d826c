"""The rule lines of iptables' own tests against our command lines: `python tests/netfilter/extensions.py FOLDER`.

FOLDER is `extensions` of iptables' source (https://www.netfilter.org/projects/iptables/), in which each extension has a
file of lines: a rule, how it is printed back ("=" for as it is), and whether it is accepted. Lines with `:` name the
chains, with `*` the table; `#` is a comment, `@` a command for the machine. This prints a row for each extension that
Lunar has, each line that came out otherwise, and the sum; the exit code is 1 when fewer than 95 % came out as there.
Nothing of the machine's netfilter is touched.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import attrs

import lunar
from lunar.net_tools.errors import CommandError

# The files of the extensions that Lunar has; each name with both families' prefix where there are two.
FILES = (
    "iptables", "libxt_standard", "libip6t_standard", "libxt_tcp", "libxt_udp", "libipt_icmp", "libip6t_icmp6",
    "libxt_multiport", "libxt_state", "libxt_conntrack", "libxt_limit", "libxt_hashlimit", "libxt_connlimit",
    "libxt_mark", "libxt_connmark", "libxt_tos", "libxt_dscp", "libipt_ttl", "libip6t_hl", "libxt_tcpmss",
    "libxt_length", "libxt_mac", "libxt_statistic", "libxt_string", "libxt_owner", "libxt_addrtype", "libxt_comment",
    "libipt_REJECT", "libip6t_REJECT", "libipt_LOG", "libip6t_LOG", "libxt_MARK", "libxt_CONNMARK", "libxt_TOS",
    "libxt_DSCP", "libipt_TTL", "libip6t_HL", "libxt_TCPMSS", "libipt_SNAT", "libip6t_SNAT", "libipt_DNAT",
    "libip6t_DNAT", "libipt_MASQUERADE", "libip6t_MASQUERADE", "libxt_REDIRECT", "libipt_NETMAP", "libip6t_NETMAP",
    "libxt_NOTRACK", "libxt_CT",
)  # fmt: skip
ENOUGH = 0.95


@attrs.frozen
class Case:
    """One line in one of its chains."""

    tool: str
    table: str
    chain: str
    rule: str
    printed: str | None  # None: it is to be refused

    def run(self, host: lunar.Host) -> str | None:
        """What came out otherwise; None if all is as there."""
        line = f"{self.tool} -t {self.table} -A {self.chain} {self.rule}"
        try:
            host.sh(line)
        except CommandError as error:
            return None if self.printed is None else f"refused: {str(error).splitlines()[0]}"
        listed = host.sh(f"{self.tool} -t {self.table} -S {self.chain}").splitlines()[-1]
        in_save = host.sh(f"{self.tool}-save -t {self.table}").splitlines()
        host.sh(f"{self.tool} -t {self.table} -F {self.chain}")
        if self.printed is None:
            return f"accepted, as {listed}"
        wanted = f"-A {self.chain} {self.printed}".rstrip()
        if listed.rstrip() != wanted:
            return f"printed {listed}"
        return None if listed in in_save else "not in the save"


def cases(file: pathlib.Path) -> Iterator[Case]:
    """The lines of a file, each for all chains that it is for."""
    tool = "ip6tables" if file.name.startswith("libip6t_") else "iptables"
    table, chains = "filter", ["INPUT"]
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line or line[0] in "#@%":
            continue
        if line[0] == ":":
            chains = line[1:].split(",")
        elif line[0] == "*":
            table = line[1:]
        else:
            rule, printed, verdict = line.split(";")[:3]
            back = None if verdict != "OK" else rule if printed == "=" else printed
            for chain in chains:
                yield Case(tool, table, chain, rule, back)


def host() -> lunar.Host:
    """A host for the rules."""
    net = lunar.Network(seed=1)
    return net.host("router", "10.0.0.1/24")


def main(folder: str) -> int:
    """Run all files of `folder`; the exit code."""
    good = total = 0
    for name in FILES:
        file = pathlib.Path(folder) / f"{name}.t"
        if not file.exists():
            print(f"{name:22} not in {folder}")
            continue
        here = host()
        outcomes = [(case, case.run(here)) for case in cases(file)]
        fine = sum(said is None for _case, said in outcomes)
        good, total = good + fine, total + len(outcomes)
        print(f"{name:22} {fine:4} of {len(outcomes):4}")
        for case, said in outcomes:
            if said is not None:
                print(f"    {case.tool} -t {case.table} -A {case.chain} {case.rule[:90]}\n        {said[:160]}")
    print(f"{good} of {total} as in iptables' own tests: {100 * good / max(total, 1):.1f} %")
    return 0 if total and good / total >= ENOUGH else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/netfilter/extensions.py FOLDER")
    sys.exit(main(sys.argv[1]))
