"""Which system a host behaves as: a table of parameters, and of rules for what has no parameter.

A host is Linux 6.18 if it is not told otherwise. Another personality is a list of differences from that: sysctl(8)'s
parameters by their names there, and the named rules of lunar/tcp/rules.py. `net` lines of a tapestry come after it and
may change the parameters again. docs/personalities.md has the tables with their reasons.

What a personality does not touch stays as it is on Linux 6.18: names of errors, limits, the order of checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.parameters import table
from weaves import units

if TYPE_CHECKING:
    from lunar.host import Host

Value = str | int

DEFAULT: Final = "linux-6.18"


@attrs.frozen
class Personality:
    """Differences from Linux 6.18, checked when a host first takes them. `sysctl` and `rules` are by name."""

    name: str
    sysctl: Mapping[str, Value] = attrs.field(factory=dict)
    rules: Mapping[str, Value] = attrs.field(factory=dict)

    def based_on_this(self, name: str, sysctl: Mapping[str, Value], rules: Mapping[str, Value]) -> Personality:
        """Another one: this one's differences, and those."""
        return Personality(name, {**self.sysctl, **sysctl}, {**self.rules, **rules})

    def apply(self, host: Host) -> None:
        """Make `host` so. Raises `ValueError` for a parameter or a rule that there is not, or cannot have its value."""
        for name, value in self.sysctl.items():
            parameter = table.find(host, table.path_of(name))
            if parameter is None:
                raise ValueError(f'stack "{self.name}": this stack does not obey the parameter "{name}"')
            try:
                parameter.write(host, parameter.parse(name, str(value)))
            except ValueError as wrong:
                raise ValueError(f'stack "{self.name}": {wrong}') from None
        for name, value in self.rules.items():
            rule = RULES.get(name)
            if rule is None:
                raise ValueError(f'stack "{self.name}": there is no rule "{name}"; expected {", ".join(RULES)}')
            try:
                setattr(host.tcp.tables.rules, rule.attribute, rule.parse(value))
            except ValueError as wrong:
                raise ValueError(f'stack "{self.name}": {name}: {wrong}') from None


@attrs.frozen
class Rule:
    """A named rule: where it is kept in lunar/tcp/rules.py, and how its value is read. `effect` is a sentence."""

    attribute: str
    parse: Callable[[Value], Any]
    effect: str


def _initial_window(value: Value) -> int:
    if value == "rfc3390":
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1000:
        raise ValueError(f'{value!r}; expected "rfc3390", or 1 to 1000 segments')
    return value


def _span(value: Value) -> int:
    if not isinstance(value, str):
        raise ValueError(f'{value!r}; expected a duration, as "1s"')
    return int(units.parse_span("duration", value))


def _hz(value: Value) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in (0, 100, 250, 300, 1000):
        raise ValueError(f"{value!r}; expected 0 (no ticks), 100, 250, 300 or 1000 ticks a second")
    return 1_000_000_000 // value if value else 0


RULES: Final[dict[str, Rule]] = {
    "initial-window": Rule(
        "initial_window", _initial_window,
        'The segments that a connection begins with, and begins again with after an idle time; "rfc3390": two to four.',
    ),
    "initial-rto": Rule(
        "initial_rto_ns", _span, "The retransmission timeout before a round trip was measured."
    ),
    "hz": Rule(
        "tick_ns", _hz,
        "Ticks of the clock in a second: timers of connections fire on one, and round trips are so many. 0: no ticks.",
    ),
}  # fmt: skip

# Linux 2.4 as papers of its time and its documentation (ip-sysctl.txt) describe it.
_LINUX_2_4: Final[Mapping[str, Value]] = {
    "net.core.somaxconn": 128,
    "net.ipv4.tcp_congestion_control": "reno",
    "net.ipv4.tcp_recovery": 0,
    "net.ipv4.tcp_early_retrans": 0,
    "net.ipv4.tcp_frto": 0,
    "net.ipv4.tcp_syncookies": 0,
    "net.ipv4.tcp_syn_retries": 5,
    "net.ipv4.tcp_syn_linear_timeouts": 0,
    "net.ipv4.tcp_fastopen": 0,
    "net.ipv4.tcp_ecn": 0,
    "net.ipv4.tcp_ecn_fallback": 0,
    "net.ipv4.tcp_comp_sack_nr": 0,
    "net.ipv4.tcp_max_syn_backlog": 1024,
    "net.ipv4.tcp_min_tso_segs": 1,
    "net.ipv4.tcp_moderate_rcvbuf": 0,
    "net.ipv4.tcp_rmem": "4096 87380 174760",
    "net.ipv4.tcp_wmem": "4096 16384 131072",
}
# FreeBSD 13 as its man pages tcp(4) and inet(4) have it: NewReno, no RACK in the default stack, its buffers.
_FREEBSD: Final[Mapping[str, Value]] = {
    "net.core.somaxconn": 128,
    "net.ipv4.tcp_congestion_control": "reno",
    "net.ipv4.tcp_recovery": 0,
    "net.ipv4.tcp_early_retrans": 0,
    "net.ipv4.tcp_frto": 0,
    "net.ipv4.tcp_comp_sack_nr": 0,
    "net.ipv4.tcp_fastopen": 0,
    "net.ipv4.tcp_syn_linear_timeouts": 0,
    "net.ipv4.tcp_synack_retries": 3,
    "net.ipv4.tcp_min_tso_segs": 1,
    "net.ipv4.tcp_rto_min_us": 230_000,
    "net.ipv4.tcp_rmem": "4096 65536 2097152",
    "net.ipv4.tcp_wmem": "4096 32768 2097152",
    "net.ipv4.ip_local_port_range": "10000 65535",
}

PERSONALITIES: Final[Mapping[str, Personality]] = {
    one.name: one
    for one in (
        Personality(DEFAULT),
        Personality("linux-2.4", _LINUX_2_4, {"initial-window": "rfc3390", "initial-rto": "3s", "hz": 100}),
        Personality("freebsd", _FREEBSD, {"initial-window": 10, "initial-rto": "1s"}),
    )
}


def find(name: str, more: Mapping[str, Personality] | None = None) -> Personality:
    """The personality of this name, of `more` or one that is always there. Raises `ValueError`."""
    found = (more or {}).get(name) or PERSONALITIES.get(name)
    if found is None:
        known = ", ".join([*PERSONALITIES, *(more or {})])
        raise ValueError(f'there is no stack "{name}"; expected {known}, or "package.module:NAME" of one of your own')
    return found
