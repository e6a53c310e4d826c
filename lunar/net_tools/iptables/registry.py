"""Which matches and targets there are."""

from __future__ import annotations

from typing import Final

from lunar.net_tools.iptables import (
    match_addrtype,
    match_owner,
    match_packet,
    match_rate,
    match_state,
    match_string,
    match_transport,
    target_answer,
    target_change,
    target_nat,
)
from lunar.net_tools.iptables.errors import ParameterProblem
from lunar.net_tools.iptables.option import MatchExtension, TargetExtension

_MATCHES: Final[dict[str, type[MatchExtension]]] = {
    found.name: found
    for module in (match_transport, match_packet, match_addrtype, match_string, match_owner, match_rate, match_state)
    for found in module.EXTENSIONS
}
_TARGETS: Final[dict[str, type[TargetExtension]]] = {
    found.name: found for module in (target_change, target_answer, target_nat) for found in module.EXTENSIONS
}
# Other names of the same: those of protocols, which -p brings along.
_MATCH_ALIASES: Final = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6"}

STANDARD: Final = ("ACCEPT", "DROP", "RETURN", "QUEUE")


def new_match(name: str, family: int) -> MatchExtension:
    """A match of this name for a rule of `family`."""
    found = _MATCHES.get(_MATCH_ALIASES.get(name, name))
    if found is None or family not in found.families:
        raise ParameterProblem(f"Couldn't load match `{name}':No such file or directory\n")
    return found(family)


def match_of_protocol(name: str, family: int) -> MatchExtension | None:
    """The match that options of a rule with `-p name` may mean without naming it."""
    found = _MATCHES.get(_MATCH_ALIASES.get(name, name))
    if found is None or not found.protocol or family not in found.families:
        return None
    return found(family)


def new_target(name: str, family: int) -> TargetExtension:
    """A target of this name for a rule of `family`."""
    found = _TARGETS.get(name)
    if found is None or family not in found.families:
        raise ParameterProblem(f"Couldn't load target `{name}':No such file or directory\n")
    return found(family)


def is_target(name: str) -> bool:
    """Whether a chain cannot have this name."""
    return name in _TARGETS or name in STANDARD


MATCHES: Final = tuple(sorted(_MATCHES))
TARGETS: Final = tuple(sorted(_TARGETS))
