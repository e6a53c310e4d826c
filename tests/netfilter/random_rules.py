"""Random rule sets in iptables' words, for duel.py: every table, chains of the user, most matches and targets.

What the kernel decides by chance or by the machine's clock is not drawn, because it cannot be compared: `statistic
--mode random`, limits that refill within a run, SNAT and MASQUERADE to several addresses or ports, --random. A range of
ports for DNAT and REDIRECT is drawn: Linux begins it with its first. `connlimit` looks through what it has counted at
most once in a tick of the kernel's clock. `owner`, `mac` and `LOG` need what the two routers have not (programs,
Ethernet, a log of the namespace's own); `MIRROR` left Linux long ago.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

TABLES: Final = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
SOURCES: Final = ("10.0.0.2", "10.0.0.3", "10.0.0.0/24", "10.1.0.2", "10.1.0.0/24", "10.0.0.0/31", "0.0.0.0/0")
PORTS: Final = (22, 53, 80, 443, 1003)
PROTOCOLS: Final = ("tcp", "udp", "icmp")
# Which chains of the user stand in which tables.
USER_CHAINS: Final = {"filter": ("one", "two", "three"), "mangle": ("marks",), "nat": ("maps",), "raw": ()}
_STATES: Final = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "NEW,ESTABLISHED", "ESTABLISHED,RELATED", "UNTRACKED")
_REJECTS: Final = (
    "icmp-net-unreachable", "icmp-host-unreachable", "icmp-port-unreachable", "icmp-proto-unreachable",
    "icmp-net-prohibited", "icmp-host-prohibited", "icmp-admin-prohibited",
)  # fmt: skip


class RuleSet:
    """The commands that make one set of rules, from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"rules {seed}")
        self.commands: list[str] = []
        self._number = 0
        tables = [table for table in TABLES if self.rng.random() < 0.7] or ["filter"]
        for table in tables:
            for chain in USER_CHAINS[table]:
                self.commands.append(f"iptables -t {table} -N {chain}")
            for chain in TABLES[table]:
                for _ in range(self.rng.choice((0, 0, 1, 2, 3))):
                    self._rule(table, chain, chain)
                if table == "filter" and self.rng.random() < 0.1:
                    self.commands.append(f"iptables -P {chain} DROP")
            for chain in USER_CHAINS[table]:
                for _ in range(self.rng.choice((1, 2, 3))):
                    # For what a chain is reached from decides what may stand in it.
                    self._rule(table, chain, {"filter": "FORWARD", "mangle": "FORWARD", "nat": "PREROUTING"}[table])

    def _rule(self, table: str, chain: str, hook: str) -> None:
        rng = self.rng
        words = [f"iptables -t {table} -A {chain}"]
        if rng.random() < 0.3:
            words.append(f"{self._not()}-s {rng.choice(SOURCES[:-1])}")
        if rng.random() < 0.3:
            words.append(f"{self._not()}-d {rng.choice(SOURCES[:-1])}")
        if rng.random() < 0.25 and hook in ("PREROUTING", "INPUT", "FORWARD"):
            words.append(f"{self._not()}-i {rng.choice(('ta', 'tb', 't+', 'lo'))}")
        if rng.random() < 0.25 and hook in ("POSTROUTING", "OUTPUT", "FORWARD"):
            words.append(f"{self._not()}-o {rng.choice(('ta', 'tb', 't+'))}")
        target, protocol = self._target(table, chain, hook)
        if protocol is None and rng.random() < 0.5:
            protocol = rng.choice(PROTOCOLS)
        if protocol is not None:
            words.append(f"-p {protocol}")
            if rng.random() < 0.5:
                words.append(self._of_protocol(protocol))
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            match = rng.choice(_MATCHES)(self)
            # A family that a raw table's rule cannot know yet: conntrack comes behind it.
            if table == "raw" and match.startswith(("-m conn", "-m state")):
                continue
            words.append(match)
        if protocol in ("tcp", "udp") and rng.random() < 0.15:
            words.append(self._multiport())
        words.append(target)
        self.commands.append(" ".join(word for word in words if word))

    def _not(self) -> str:
        return "! " if self.rng.random() < 0.2 else ""

    def _of_protocol(self, protocol: str) -> str:
        rng = self.rng
        if protocol == "icmp":
            return f"{self._not()}--icmp-type {rng.choice(('echo-request', 'echo-reply', '3', '3/3', 'time-exceeded'))}"
        match = rng.choice(("sport", "dport", "dport", "flags", "option"))
        if match == "flags" and protocol == "tcp":
            return self._not() + rng.choice(("--syn", "--tcp-flags SYN,ACK SYN,ACK", "--tcp-flags ALL FIN,ACK"))
        if match == "option" and protocol == "tcp":
            return f"{self._not()}--tcp-option 2"
        first = rng.choice(PORTS)
        ports = f"{first}" if rng.random() < 0.6 else f"{first}:{first + rng.choice((1, 500, 40_000))}"
        return f"{self._not()}--{'sport' if match == 'sport' else 'dport'} {ports}"

    def _multiport(self) -> str:
        name = self.rng.choice(("sports", "dports", "ports"))
        return f"-m multiport {self._not()}--{name} 22,53,{self.rng.choice(('80', '80:90', '443,1000:1010'))}"

    # Matches

    def _state(self) -> str:
        return f"-m state {self._not()}--state {self.rng.choice(_STATES[:6])}"

    def _conntrack(self) -> str:
        rng = self.rng
        kind = rng.choice(("state", "state", "nat", "proto", "src", "dst", "reply", "direction", "status", "port"))
        if kind == "state":
            return f"-m conntrack {self._not()}--ctstate {rng.choice(_STATES)}"
        if kind == "nat":
            return f"-m conntrack {self._not()}--ctstate {rng.choice(('SNAT', 'DNAT', 'SNAT,DNAT'))}"
        if kind == "proto":
            return f"-m conntrack {self._not()}--ctproto {rng.choice(('6', '17', '1'))}"
        if kind == "direction":
            return f"-m conntrack --ctdir {rng.choice(('ORIGINAL', 'REPLY'))}"
        if kind == "status":
            return f"-m conntrack {self._not()}--ctstatus {rng.choice(('SEEN_REPLY', 'ASSURED', 'CONFIRMED', 'NONE'))}"
        if kind == "port":
            return f"-m conntrack --ctproto 17 {self._not()}--ctorigdstport {rng.choice(PORTS)}"
        name = {"src": "ctorigsrc", "dst": "ctorigdst", "reply": "ctreplsrc"}[kind]
        return f"-m conntrack {self._not()}--{name} {rng.choice(SOURCES[:-1])}"

    def _mark(self) -> str:
        return f"-m mark {self._not()}--mark {self.rng.choice(('1', '2', '0x1/0x1', '0'))}"

    def _connmark(self) -> str:
        return f"-m connmark {self._not()}--mark {self.rng.choice(('1', '2', '0x1/0x1', '0'))}"

    def _length(self) -> str:
        return f"-m length {self._not()}--length {self.rng.choice(('28', '40:60', '0:39', '100:1500'))}"

    def _ttl(self) -> str:
        return f"-m ttl {self.rng.choice(('--ttl-eq 64', '--ttl-lt 64', '--ttl-gt 2', '! --ttl-eq 63'))}"

    def _tos(self) -> str:
        return f"-m tos {self._not()}--tos {self.rng.choice(('0x10', '0x08/0xff', '0'))}"

    def _dscp(self) -> str:
        return f"-m dscp {self._not()}--dscp {self.rng.choice(('0x04', '0x02', '0x2e'))}"

    def _limit(self) -> str:
        return f"-m limit --limit 1/hour --limit-burst {self.rng.choice((1, 3, 7))}"

    def _hashlimit(self) -> str:
        self._number += 1
        mode = self.rng.choice(("srcip", "dstip", "srcip,dstport"))
        return (
            f"-m hashlimit --hashlimit-upto 1/minute --hashlimit-burst {self.rng.choice((1, 3))} "
            f"--hashlimit-mode {mode} --hashlimit-name h{self._number}"
        )

    def _statistic(self) -> str:
        every = self.rng.choice((2, 3, 5))
        return f"-m statistic --mode nth --every {every} --packet {self.rng.randrange(every)}"

    def _string(self) -> str:
        algorithm = self.rng.choice(("bm", "kmp"))
        return f"-m string --algo {algorithm} {self._not()}--string {self.rng.choice(('evil', 'GET'))}"

    def _addrtype(self) -> str:
        side = self.rng.choice(("src", "dst"))
        return f"-m addrtype {self._not()}--{side}-type {self.rng.choice(('LOCAL', 'UNICAST', 'BROADCAST'))}"

    def _comment(self) -> str:
        return f'-m comment --comment "{self.rng.choice(("a word", "b"))}"'

    # Targets

    def _target(self, table: str, chain: str, hook: str) -> tuple[str, str | None]:
        """A target, and the protocol that it needs."""
        rng = self.rng
        plain = ["-j ACCEPT", "-j ACCEPT", "-j RETURN", "", "-j DROP"]
        if chain in TABLES[table] and USER_CHAINS[table] and self._fits(table, hook) and rng.random() < 0.3:
            return f"{rng.choice(('-j', '-j', '-g'))} {rng.choice(USER_CHAINS[table])}", None
        if chain == "one" and rng.random() < 0.3:
            return "-j two", None
        if table == "raw":
            return rng.choice(("-j NOTRACK", "-j CT --notrack", "-j ACCEPT", "", "-j DROP")), None
        if table == "filter":
            if rng.random() < 0.25:
                if rng.random() < 0.3:
                    return "-j REJECT --reject-with tcp-reset", "tcp"
                return f"-j REJECT --reject-with {rng.choice(_REJECTS)}", None
            return rng.choice(plain), None
        if table == "mangle":
            return self._mangling(hook)
        return self._translation(hook)

    def _fits(self, table: str, hook: str) -> bool:
        return {"filter": hook in ("FORWARD", "INPUT"), "mangle": True, "nat": hook == "PREROUTING"}[table]

    def _mangling(self, hook: str) -> tuple[str, str | None]:
        rng = self.rng
        kind = rng.randrange(9)
        if kind == 0:
            return f"-j MARK --set-xmark {rng.choice(('1', '2', '0x3/0x1'))}", None
        if kind == 1:
            return f"-j MARK {rng.choice(('--or-mark 1', '--and-mark 2', '--xor-mark 3'))}", None
        if kind == 2:
            return f"-j CONNMARK {rng.choice(('--set-mark 1', '--save-mark', '--restore-mark', '--or-mark 2'))}", None
        if kind == 3:
            return f"-j TOS --set-tos {rng.choice(('0x10', '0x08/0x0c', '0'))}", None
        if kind == 4:
            return f"-j DSCP --set-dscp {rng.choice(('0x04', '0x2e'))}", None
        if kind == 5:
            return f"-j TTL {rng.choice(('--ttl-set 33', '--ttl-inc 2', '--ttl-dec 1'))}", None
        if kind == 6 and hook in ("FORWARD", "OUTPUT", "POSTROUTING"):
            return f"--tcp-flags SYN,RST SYN -j TCPMSS {rng.choice(('--set-mss 900', '--clamp-mss-to-pmtu'))}", "tcp"
        return rng.choice(("-j ACCEPT", "", "-j RETURN", "-j DROP")), None

    def _translation(self, hook: str) -> tuple[str, str | None]:
        rng = self.rng
        if rng.random() < 0.25:
            return rng.choice(("-j ACCEPT", "-j RETURN", "")), None
        kind = rng.randrange(5)
        if hook in ("PREROUTING", "OUTPUT"):
            if kind == 0:
                return f"-j DNAT --to-destination {rng.choice(('10.1.0.3', '10.0.0.3', '10.1.0.1', '10.0.0.2'))}", None
            if kind == 1:
                to = rng.choice(("10.1.0.3:80", "10.0.0.2:1003", "10.1.0.2:5000-5010", "10.1.0.1:53"))
                return f"-j DNAT --to-destination {to}", rng.choice(("tcp", "udp"))
            if kind == 2:
                return "-j REDIRECT", None
            if kind == 3:
                return f"-j REDIRECT --to-ports {rng.choice(('80', '5000-5010'))}", rng.choice(("tcp", "udp"))
            return f"-j NETMAP --to {rng.choice(('10.1.0.0/24', '10.0.0.0/24', '10.1.0.4/30'))}", None
        if kind == 0:
            return f"-j SNAT --to-source {rng.choice(('10.1.0.77', '10.0.0.77', '10.1.0.1'))}", None
        if hook == "INPUT":
            return "-j ACCEPT", None
        if kind == 1:
            return f"-j NETMAP --to {rng.choice(('10.1.0.64/26', '10.0.0.64/26'))}", None
        return "-j MASQUERADE", None


_MATCHES: Final[tuple[Callable[[RuleSet], str], ...]] = (
    RuleSet._state, RuleSet._conntrack, RuleSet._conntrack, RuleSet._mark, RuleSet._connmark, RuleSet._length,
    RuleSet._ttl, RuleSet._tos, RuleSet._dscp, RuleSet._limit, RuleSet._hashlimit,
    RuleSet._statistic, RuleSet._string, RuleSet._addrtype, RuleSet._comment,
)  # fmt: skip


def undo() -> list[str]:
    """The commands after which IPv4 has no rule, whatever there was, but those that have it tracked."""
    commands = []
    for table, chains in TABLES.items():
        commands += [f"iptables -t {table} -F", f"iptables -t {table} -X", f"iptables -t {table} -Z"]
        if table == "filter":
            commands += [f"iptables -P {chain} ACCEPT" for chain in chains]
    return [*commands, *_KEPT, "conntrack -F"]


# Linux tracks while there is a rule that needs it, and asks the nat table once there is one. These are in chains that
# nothing leads to, so that both begin each set alike.
_KEPT: Final = (
    "iptables -N kept", "iptables -A kept -m conntrack --ctstate NEW",
    "iptables -t nat -N kept", "iptables -t nat -A kept -p tcp -j DNAT --to-destination 10.1.0.9",
)  # fmt: skip


# What a rule of IPv4's is called in ip6tables; words that are not here are the same.
_SIX: Final = {
    "iptables": "ip6tables", "icmp": "icmpv6", "--icmp-type": "--icmpv6-type", "3": "1", "3/3": "1/4", "ttl": "hl",
    "TTL": "HL", "BROADCAST": "MULTICAST", "icmp-net-unreachable": "icmp6-no-route",
    "icmp-host-unreachable": "icmp6-addr-unreachable", "icmp-port-unreachable": "icmp6-port-unreachable",
    "icmp-proto-unreachable": "icmp6-adm-prohibited", "icmp-net-prohibited": "icmp6-adm-prohibited",
    "icmp-host-prohibited": "icmp6-adm-prohibited", "icmp-admin-prohibited": "icmp6-adm-prohibited",
}  # fmt: skip
_ADDRESS: Final = re.compile(r"10\.([01])\.0\.(\d+)(?:/(\d+))?(?::(.*))?")


def six(command: str) -> str:
    """The same rule for ip6tables: 10.0.0.x becomes 2001:db8::x, 10.1.0.x 2001:db8:b::x."""
    words = command.split(" ")
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if word.startswith("--ttl-"):
            words[at] = word.replace("ttl", "hl")
        elif before == "--ctproto":
            words[at] = "58" if word == "1" else word
        elif word in ("3", "3/3") and before != "--icmpv6-type":
            continue  # a number of something else
        elif (found := _ADDRESS.fullmatch(word)) is not None:
            words[at] = _six_address(*found.groups())
        else:
            words[at] = _SIX.get(word, word)
    return " ".join(words)


def _six_address(network: str, host: str, prefix: str | None, ports: str | None) -> str:
    address = f"2001:db8{':b' if network == '1' else ''}::{int(host):x}"
    if prefix is not None:
        # A /24 there is the whole network, which is a /64 here; of longer ones as many addresses.
        address += f"/{64 if prefix == '24' else 96 + int(prefix)}"
    return f"[{address}]:{ports}" if ports is not None else address
