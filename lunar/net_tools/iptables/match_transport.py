"""`-m tcp`, `udp`, `icmp`, `icmp6`, `multiport`, `tcpmss` as text."""

from __future__ import annotations

from typing import Any, Final

from lunar.net_tools.iptables import icmp_names, names
from lunar.net_tools.iptables.errors import ParameterProblem, invalid
from lunar.net_tools.iptables.option import Extension, MatchExtension, Option, pair, uint_range
from lunar.netfilter import match_transport as run
from lunar.netfilter.headers import WITH_PORTS
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Match
from lunar.packet import AF_INET, AF_INET6, ICMP, ICMPV6, TCP, UDP

_ALL_PORTS: Final = (0, 65535)
# In the order in which they are listed.
_FLAGS: Final = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32}
_SYN_ALONE: Final = (0x17, 0x02)
_MOST_PORTS: Final = 15


def _tcp_ports(extension: Extension, option: Option, text: str) -> tuple[int, int]:
    first, last = _ports(text, "tcp")
    if first > last:
        raise ParameterProblem("invalid portrange (min > max)")
    return first, last


def _ports(text: str, protocol: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    low = _port(first, protocol) if first or not colon else 0
    if not colon:
        return low, low
    return low, _port(last, protocol) if last else 65535


def _port(text: str, protocol: str) -> int:
    found = names.port(text, protocol)
    if found is None:
        raise ParameterProblem(f"invalid port/service `{text}' specified")
    return found


def _udp_ports(extension: Extension, option: Option, text: str) -> tuple[int, int]:
    # libxtables reads numbers of udp as wide ones and cuts them to 16 bits; names and signs it looks up.
    def one(part: str) -> int:
        number = names.parse_number(part, 0, 0xFFFF_FFFF)
        found = number if number is not None else names.port(part, "udp")
        if found is None:
            raise ParameterProblem(f'Port "{part}" does not resolve to anything.\n')
        return found & 0xFFFF

    first, colon, last = text.partition(":")
    low = one(first) if first or not colon else 0
    if not colon:
        return low, low
    return low, one(last) if last else 65535


class _Ports(MatchExtension):
    """What `tcp` and `udp` have in common."""

    def saved_ports(self) -> str:
        return "".join(
            f" {self.bang(key)}--{key} {pair(self.values[key])}"
            for key in ("sport", "dport")
            if self._is_asked(key)
        )

    def shown_ports(self, numeric: bool) -> str:
        text = ""
        for key, short in (("sport", "spt"), ("dport", "dpt")):
            if not self._is_asked(key):
                continue
            first, last = self.values[key]
            low = names.port_text(first, self.name, numeric)
            bang = "!" if key in self.inverted else ""
            if first == last:
                text += f" {short}:{bang}{low}"
            else:
                text += f" {short}s:{bang}{low}:{names.port_text(last, self.name, numeric)}"
        return text

    def _is_asked(self, key: str) -> bool:
        return key in self.values and (self.values[key] != _ALL_PORTS or key in self.inverted)

    def refuse(self, points: int, table: str) -> None:
        if self.rule_protocol != self.protocol or self.rule_protocol_inverted:
            raise invalid()

    def ports(self) -> tuple[tuple[int, int], tuple[int, int], int]:
        bits = (run.NOT_SPORT if "sport" in self.inverted else 0) | (run.NOT_DPORT if "dport" in self.inverted else 0)
        return self.get("sport", _ALL_PORTS), self.get("dport", _ALL_PORTS), bits


def _flag_bits(text: str) -> int:
    bits = 0
    for word in text.split(","):
        if word.upper() == "ALL":
            bits |= 0x3F
        elif word.upper() != "NONE":
            if word.upper() not in _FLAGS:
                raise ParameterProblem(f"Unknown TCP flag `{word}'")
            bits |= _FLAGS[word.upper()]
    return bits


def _flag_names(bits: int) -> str:
    return ",".join(name for name, bit in _FLAGS.items() if bits & bit) or "NONE"


def _tcp_flags(extension: Extension, option: Option, text: str) -> tuple[int, int]:
    mask, _space, flags = text.partition(" ")
    if not flags:
        raise ParameterProblem("--tcp-flags requires two args.")
    return _flag_bits(mask), _flag_bits(flags)


def _tcp_option(extension: Extension, option: Option, text: str) -> int:
    number = names.parse_number(text, 1, 255)
    if number is None:
        raise ParameterProblem(f"Bad TCP option `{text}'")
    return number


class Tcp(_Ports):
    """`-m tcp`."""

    name = "tcp"
    protocol = TCP
    options = (
        Option("source-port", "sport", _tcp_ports, invert=True),
        Option("sport", "sport", _tcp_ports, invert=True),
        Option("destination-port", "dport", _tcp_ports, invert=True),
        Option("dport", "dport", _tcp_ports, invert=True),
        Option("syn", "flags", None, invert=True),
        Option("tcp-flags", "flags", _tcp_flags, invert=True, words=2),
        Option("tcp-option", "option", _tcp_option, invert=True),
    )

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        if option.id in self.values:
            what = {"sport": "--source-port", "dport": "--destination-port", "option": "--tcp-option"}.get(option.id)
            said = "Only one of `--syn' or `--tcp-flags'  allowed" if what is None else f"Only one `{what}' allowed"
            raise ParameterProblem(said)
        super().accept(option, text, inverted)
        if option.name == "syn":
            self.values["flags"] = _SYN_ALONE

    def save(self) -> str:
        text = self.saved_ports()
        if "option" in self.values:
            text += f" {self.bang('option')}--tcp-option {self.values['option']}"
        if self._flags_asked():
            mask, flags = self.values["flags"]
            text += f" {self.bang('flags')}--tcp-flags {_flag_names(mask)} {_flag_names(flags)}"
        return text

    def show(self, numeric: bool) -> str:
        text = " tcp" + self.shown_ports(numeric)
        if "option" in self.values:
            text += f" option={'!' if 'option' in self.inverted else ''}{self.values['option']}"
        if self._flags_asked():
            mask, flags = self.values["flags"]
            bang = "!" if "flags" in self.inverted else ""
            both = f"0x{mask:02X}/0x{flags:02X}" if numeric else f"{_flag_names(mask)}/{_flag_names(flags)}"
            text += f" flags:{bang}{both}"
        return text

    def _flags_asked(self) -> bool:
        return "flags" in self.values and (self.values["flags"] != (0, 0) or "flags" in self.inverted)

    def build(self, netfilter: Netfilter) -> Match:
        sports, dports, bits = self.ports()
        mask, flags = self.get("flags", (0, 0))
        bits |= run.NOT_FLAGS if "flags" in self.inverted else 0
        bits |= run.NOT_OPTION if "option" in self.inverted else 0
        return run.TcpMatch(sports, dports, mask, flags, self.get("option", 0), bits)


class Udp(_Ports):
    """`-m udp`."""

    name = "udp"
    protocol = UDP
    options = (
        Option("source-port", "sport", _udp_ports, invert=True),
        Option("sport", "sport", _udp_ports, invert=True),
        Option("destination-port", "dport", _udp_ports, invert=True),
        Option("dport", "dport", _udp_ports, invert=True),
    )

    def save(self) -> str:
        return self.saved_ports()

    def show(self, numeric: bool) -> str:
        return " udp" + self.shown_ports(numeric)

    def build(self, netfilter: Netfilter) -> Match:
        sports, dports, bits = self.ports()
        return run.UdpMatch(sports, dports, bits)


def _icmp_type(extension: Extension, option: Option, text: str) -> tuple[int, int, int]:
    found = icmp_names.parse(extension.family, text)
    if found is None:
        raise ParameterProblem(f"Unknown {'ICMP' if extension.family == AF_INET else 'ICMPv6'} type `{text}'")
    return found


class Icmp(MatchExtension):
    """`-m icmp`."""

    name = "icmp"
    families = (AF_INET,)
    protocol = ICMP
    options = (Option("icmp-type", "type", _icmp_type, invert=True, must=True),)

    def save(self) -> str:
        type, first, last = self.values["type"]
        if type == icmp_names.ANY:
            return f" {self.bang('type')}--{self.options[0].name} any"
        code = "" if (first, last) == (0, 255) else f"/{first}"
        return f" {self.bang('type')}--{self.options[0].name} {type}{code}"

    def show(self, numeric: bool) -> str:
        type, first, last = self.values["type"]
        label = "icmp" if self.family == AF_INET else "ipv6-icmp"
        if not numeric and not self.inverted:
            name = icmp_names.name_of(self.family, type, first, last)
            if name is not None:
                return f" {label} {name}"
        text = f" {label} !type {type}" if self.inverted else f" {label}type {type}"
        if first == last:
            return f"{text} code {first}"
        return text if (first, last) == (0, 255) else f"{text} codes {first}-{last}"

    def refuse(self, points: int, table: str) -> None:
        if self.rule_protocol != self.protocol or self.rule_protocol_inverted:
            raise invalid()

    def build(self, netfilter: Netfilter) -> Match:
        type, first, last = self.values["type"]
        return run.IcmpMatch(type, first, last, bool(self.inverted), 255 if self.family == AF_INET else -1)


class Icmp6(Icmp):
    """`-m icmp6`."""

    name = "icmp6"
    families = (AF_INET6,)
    protocol = ICMPV6
    options = (Option("icmpv6-type", "type", _icmp_type, invert=True, must=True),)


def _port_list(extension: Extension, option: Option, text: str) -> list[tuple[int, int]]:
    ranges = []
    room = _MOST_PORTS
    for word in text.split(","):
        first, colon, last = word.partition(":")
        room -= 2 if colon else 1
        if room < 0:
            raise ParameterProblem("too many ports specified")
        low = _port(first, names.protocol_name(extension.rule_protocol))
        high = _port(last, names.protocol_name(extension.rule_protocol)) if colon else low
        if low > high:
            raise ParameterProblem("invalid portrange specified")
        ranges.append((low, high))
    return ranges


class Multiport(MatchExtension):
    """`-m multiport`."""

    name = "multiport"
    options = (
        Option("source-ports", "sports", _port_list, invert=True, not_with=("dports", "ports")),
        Option("sports", "sports", _port_list, invert=True, not_with=("dports", "ports")),
        Option("destination-ports", "dports", _port_list, invert=True, not_with=("sports", "ports")),
        Option("dports", "dports", _port_list, invert=True, not_with=("sports", "ports")),
        Option("ports", "ports", _port_list, invert=True, not_with=("sports", "dports")),
    )

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        if self.rule_protocol == 0 or self.rule_protocol_inverted:
            raise ParameterProblem("multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'")
        if self.rule_protocol not in WITH_PORTS:
            raise ParameterProblem("multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP")
        super().accept(option, text, inverted)

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("multiport expection an option")

    def _asked(self) -> tuple[str, Any]:
        return next(iter(self.values.items()))

    def save(self) -> str:
        key, ranges = self._asked()
        return f" {self.bang(key)}--{key} {','.join(pair(one) for one in ranges)}"

    def show(self, numeric: bool) -> str:
        key, ranges = self._asked()
        protocol = names.protocol_name(self.rule_protocol)
        ports = ",".join(
            names.port_text(low, protocol, numeric)
            + ("" if low == high else ":" + names.port_text(high, protocol, numeric))
            for low, high in ranges
        )
        return f" multiport {key} {' !' if self.inverted else ''}{ports}"

    def refuse(self, points: int, table: str) -> None:
        if self.rule_protocol not in WITH_PORTS or self.rule_protocol_inverted:
            raise invalid()

    def build(self, netfilter: Netfilter) -> Match:
        key, ranges = self._asked()
        side = {"sports": run.SOURCE, "dports": run.DESTINATION}.get(key, run.EITHER)
        return run.MultiportMatch(side, ranges, bool(self.inverted))


class TcpMss(MatchExtension):
    """`-m tcpmss`."""

    name = "tcpmss"
    options = (Option("mss", "mss", uint_range(65535), invert=True, must=True),)

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        super().accept(option, text, inverted)
        first, last = self.values["mss"]
        if first > last:
            raise ParameterProblem("tcpmss: invalid range given")

    def save(self) -> str:
        return f" {self.bang('mss')}--mss {pair(self.values['mss'])}"

    def show(self, numeric: bool) -> str:
        return f" tcpmss match {'!' if self.inverted else ''}{pair(self.values['mss'])}"

    def refuse(self, points: int, table: str) -> None:
        if self.rule_protocol != TCP or self.rule_protocol_inverted:
            raise invalid()

    def build(self, netfilter: Netfilter) -> Match:
        first, last = self.values["mss"]
        return run.TcpMssMatch(first, last, bool(self.inverted))


EXTENSIONS: Final = (Tcp, Udp, Icmp, Icmp6, Multiport, TcpMss)
