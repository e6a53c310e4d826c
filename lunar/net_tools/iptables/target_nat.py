"""`-j SNAT`, `DNAT`, `MASQUERADE`, `REDIRECT`, `NETMAP` as text. What they do is in lunar/netfilter/target_nat.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from lunar import services
from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.address import bits_of, mask_of, mask_text, parse_network, prefix_of
from lunar.net_tools.iptables.errors import ParameterProblem, invalid
from lunar.net_tools.iptables.option import IN, OUT, POST, PRE, Extension, Option, TargetExtension
from lunar.netfilter import target_nat as run
from lunar.netfilter.headers import WITH_PORTS
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import (
    MAP_ADDRESS,
    MAP_PORTS,
    NETMAP,
    OFFSET,
    PERSISTENT,
    RANDOM,
    RANDOM_FULLY,
    Range,
    Target,
)
from lunar.packet import AF_INET, ICMP, ICMPV6
from lunar.wire.address import address_text, parse_ipv4, parse_ipv6

_RANDOM: Final = Option("random", "random", None)
_RANDOM_FULLY: Final = Option("random-fully", "random-fully", None)
_PERSISTENT: Final = Option("persistent", "persistent", None)


def _port(text: str) -> int:
    number = names.parse_number(text, 0, 65535)
    found = number if number is not None else services.port_of(text)
    if found is None:
        raise ParameterProblem(f"Port `{text}' not valid")
    return found


def parse_ports(text: str, shifts: bool) -> tuple[int, int, int]:
    """(first, last, base) of `80`, `80-90`, `80-90/8000`; base 0 when there is none."""
    span, slash, base_text = text.partition("/")
    if slash and not shifts:
        raise ParameterProblem("Shifted portmap ranges not supported with this kernel")
    first, dash, last = span.partition("-")
    if dash and not first.isdigit():
        first, dash, last = span, "", ""  # the name of a service may have a dash in it
    if dash and not last.isdigit():
        raise ParameterProblem(f"Port `{last}' not valid")
    low = _port(first)
    high = _port(last) if dash else low
    if low > high:
        raise ParameterProblem(f"Port range `{last}' funky")
    base = _port(base_text) if slash else 0
    if slash and base == 0:
        raise ParameterProblem(f"Port `{base_text}' not valid")
    return low, high, base


def _address(family: int, text: str) -> int:
    try:
        return parse_ipv4(text) if family == AF_INET else parse_ipv6(text)
    except ValueError:
        raise ParameterProblem(f'Bad IP address "{text}"') from None


def _range(shifts: bool) -> Callable[[Extension, Option, str], Range]:
    """`A`, `A-B`, `A:PORTS`; of IPv6 `[A-B]:PORTS`."""

    def parse(extension: Extension, option: Option, text: str) -> Range:
        made = Range(0, 0, 0, 0, 0, 0)
        family = extension.family
        if family == AF_INET:
            addresses, colon, ports = text.partition(":")
        elif text.startswith("["):
            inner, bracket, rest = text[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise ParameterProblem("Invalid address format")
            addresses, colon, ports = inner, rest[:1], rest[1:]
        else:
            addresses, colon, ports = text, "", ""
        if colon:
            if extension.rule_protocol_inverted or extension.rule_protocol not in (*WITH_PORTS, ICMP, ICMPV6):
                raise ParameterProblem("Need TCP, UDP, SCTP or DCCP with port specification")
            low, high, base = parse_ports(ports, shifts)
            made.min_port, made.max_port, made.base_port = low, high, base
            made.flags |= MAP_PORTS | (OFFSET if base else 0)
        if addresses:
            first, dash, last = addresses.partition("-")
            made.min_address = _address(family, first)
            made.max_address = _address(family, last) if dash else made.min_address
            made.flags |= MAP_ADDRESS
        return made

    return parse


def range_text(family: int, made: Range) -> str:
    """A range as it is printed."""
    text = ""
    if made.flags & MAP_ADDRESS:
        text = address_text(family, made.min_address)
        if made.max_address != made.min_address:
            text += "-" + address_text(family, made.max_address)
    if made.flags & MAP_PORTS:
        if family != AF_INET and text:
            text = f"[{text}]"
        text += ":" + ports_text(made)
    return text


def ports_text(made: Range) -> str:
    """Ports as they are printed."""
    text = str(int(made.min_port))
    if made.max_port != made.min_port:
        text += f"-{int(made.max_port)}"
    return f"{text}/{int(made.base_port)}" if made.flags & OFFSET else text


class _Nat(TargetExtension):
    """What they have in common: the table, the flags."""

    tracks = True

    def refuse(self, points: int, table: str) -> None:
        if table != "nat":
            raise invalid()

    def flags(self) -> int:
        return (
            (RANDOM if "random" in self.values else 0)
            | (RANDOM_FULLY if "random-fully" in self.values else 0)
            | (PERSISTENT if "persistent" in self.values else 0)
        )

    def flags_text(self, dashes: str) -> str:
        return "".join(
            f" {dashes}{key}" for key in ("random", "random-fully", "persistent") if key in self.values
        )

    def with_flags(self, made: Range) -> Range:
        return Range(
            made.flags | self.flags(), made.min_address, made.max_address, made.min_port, made.max_port, made.base_port
        )


class Snat(_Nat):
    """`-j SNAT`."""

    name = "SNAT"
    points = IN | POST
    options: ClassVar[tuple[Option, ...]] = (
        Option("to-source", "to", _range(False), must=True),
        _RANDOM, _RANDOM_FULLY, _PERSISTENT,
    )  # fmt: skip

    def save(self) -> str:
        return f" --{self.options[0].name} {range_text(self.family, self.values['to'])}{self.flags_text('--')}"

    def show(self, numeric: bool) -> str:
        return f" to:{range_text(self.family, self.values['to'])}{self.flags_text('')}"

    def build(self, netfilter: Netfilter) -> Target:
        return run.Snat(self.with_flags(self.values["to"]))


class Dnat(Snat):
    """`-j DNAT`."""

    name = "DNAT"
    points = PRE | OUT
    options = (
        Option("to-destination", "to", _range(True), must=True),
        _RANDOM, _PERSISTENT,
    )  # fmt: skip

    def build(self, netfilter: Netfilter) -> Target:
        return run.Dnat(self.with_flags(self.values["to"]))


def _to_ports(extension: Extension, option: Option, text: str) -> Range:
    if extension.rule_protocol_inverted or extension.rule_protocol not in (*WITH_PORTS, ICMP, ICMPV6):
        raise ParameterProblem("Need TCP, UDP, SCTP or DCCP with port specification")
    if text.startswith("-"):
        raise ParameterProblem(f"Port `{text}' not valid")
    low, high, _base = parse_ports(text, False)
    return Range(MAP_PORTS, 0, 0, low, high, 0)


class Masquerade(_Nat):
    """`-j MASQUERADE`."""

    name = "MASQUERADE"
    points = POST
    options: ClassVar[tuple[Option, ...]] = (Option("to-ports", "ports", _to_ports), _RANDOM, _RANDOM_FULLY)

    @property
    def listed(self) -> str:
        return "MASQUERADE"

    def made(self) -> Range:
        return self.with_flags(self.get("ports", Range(0, 0, 0, 0, 0, 0)))

    def save(self) -> str:
        text = f" --to-ports {ports_text(self.values['ports'])}" if "ports" in self.values else ""
        return text + self.flags_text("--")

    def show(self, numeric: bool) -> str:
        text = f" masq ports: {ports_text(self.values['ports'])}" if "ports" in self.values else ""
        return text + self.flags_text("")

    def build(self, netfilter: Netfilter) -> Target:
        return run.Masquerade(self.made())


class Redirect(Masquerade):
    """`-j REDIRECT`."""

    name = "REDIRECT"
    points = PRE | OUT
    options = (Option("to-ports", "ports", _to_ports), _RANDOM)

    @property
    def listed(self) -> str:
        return self.name

    def show(self, numeric: bool) -> str:
        text = f" redir ports {ports_text(self.values['ports'])}" if "ports" in self.values else ""
        return text + self.flags_text("")

    def build(self, netfilter: Netfilter) -> Target:
        return run.Redirect(self.made())


def _network(extension: Extension, option: Option, text: str) -> tuple[int, int]:
    found = parse_network(extension.family, text)
    if len(found) != 1:
        raise ParameterProblem(f'Bad IP address "{text}"')
    address, mask = found[0]
    if prefix_of(extension.family, mask) is None:
        mask = mask_of(extension.family, bits_of(extension.family))
    return address, mask


class Netmap(_Nat):
    """`-j NETMAP`."""

    name = "NETMAP"
    points = PRE | IN | OUT | POST
    options = (Option("to", "to", _network, must=True),)

    def _text(self) -> str:
        address, mask = self.values["to"]
        return f"{address_text(self.family, address)}/{mask_text(self.family, mask)}"

    def save(self) -> str:
        return f" --to {self._text()}"

    def show(self, numeric: bool) -> str:
        return f" to:{self._text()}"

    def build(self, netfilter: Netfilter) -> Target:
        address, mask = self.values["to"]
        last = address | (mask ^ mask_of(self.family, bits_of(self.family)))
        return run.Netmap(Range(MAP_ADDRESS | NETMAP, address, last, 0, 0, 0))


EXTENSIONS: Final = (Snat, Dnat, Masquerade, Redirect, Netmap)
