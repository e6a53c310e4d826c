"""`-j REJECT`, `MIRROR`, `LOG` as text."""

from __future__ import annotations

from typing import Final

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.errors import ParameterProblem, invalid
from lunar.net_tools.iptables.option import FORWARD, IN, OUT, PRE, Extension, Option, TargetExtension
from lunar.netfilter import target_answer as run
from lunar.netfilter import target_log as log
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Target
from lunar.packet import AF_INET, TCP

# (name, short form, ICMP's type, code)
_REJECTS: Final = (
    ("icmp-net-unreachable", "net-unreach", 3, 0), ("icmp-host-unreachable", "host-unreach", 3, 1),
    ("icmp-port-unreachable", "port-unreach", 3, 3), ("icmp-proto-unreachable", "proto-unreach", 3, 2),
    ("icmp-net-prohibited", "net-prohib", 3, 9), ("icmp-host-prohibited", "host-prohib", 3, 10),
    ("tcp-reset", "tcp-rst", -1, 0), ("icmp-admin-prohibited", "admin-prohib", 3, 13),
)  # fmt: skip
_REJECTS6: Final = (
    ("icmp6-no-route", "no-route", 1, 0), ("icmp6-adm-prohibited", "adm-prohibited", 1, 1),
    ("icmp6-addr-unreachable", "addr-unreach", 1, 3), ("icmp6-port-unreachable", "port-unreach", 1, 4),
    ("tcp-reset", "tcp-reset", -1, 0), ("icmp6-policy-fail", "policy-fail", 1, 5),
    ("icmp6-reject-route", "reject-route", 1, 6),
)  # fmt: skip
_RESET: Final = "tcp-reset"
_MOST_PREFIX: Final = 29
_DEFAULT_LEVEL: Final = 4


def _reject_type(extension: Extension, option: Option, text: str) -> str:
    for name, short, _type, _code in _REJECTS if extension.family == AF_INET else _REJECTS6:
        if name.startswith(text.lower()) or short.startswith(text.lower()):
            return name
    raise ParameterProblem(f'unknown reject type "{text}"')


class Reject(TargetExtension):
    """`-j REJECT`."""

    name = "REJECT"
    points = IN | FORWARD | OUT
    options = (Option("reject-with", "with", _reject_type),)

    def _with(self) -> str:
        default = "icmp-port-unreachable" if self.family == AF_INET else "icmp6-port-unreachable"
        return str(self.get("with", default))

    def refuse(self, points: int, table: str) -> None:
        if table != "filter":
            raise invalid()
        if self._with() == _RESET and (self.rule_protocol != TCP or self.rule_protocol_inverted):
            raise invalid()

    def save(self) -> str:
        return f" --reject-with {self._with()}"

    def show(self, numeric: bool) -> str:
        return f" reject-with {self._with()}"

    def build(self, netfilter: Netfilter) -> Target:
        if self._with() == _RESET:
            return run.ResetTarget()
        table = _REJECTS if self.family == AF_INET else _REJECTS6
        return next(run.RejectTarget(type, code) for name, _short, type, code in table if name == self._with())


class Mirror(TargetExtension):
    """`-j MIRROR`, of Linux until 2.4."""

    name = "MIRROR"
    families = (AF_INET,)
    points = PRE | IN | FORWARD

    def save(self) -> str:
        return ""

    def show(self, numeric: bool) -> str:
        return ""

    def build(self, netfilter: Netfilter) -> Target:
        return run.MirrorTarget()


def _prefix(extension: Extension, option: Option, text: str) -> str:
    if not text:
        raise ParameterProblem("Argument must have a minimum length of 1 characters\n")
    if "\n" in text:
        raise ParameterProblem("LOG: Newlines not allowed in --log-prefix\n")
    return text[:_MOST_PREFIX]


def _level(extension: Extension, option: Option, text: str) -> int:
    found = names.level(text)
    if found is None:
        raise ParameterProblem(f'log level "{text}" unknown\n')
    return found


# (key, option, in a listing, bit)
_LOG_FLAGS: Final = (
    ("tcp-sequence", log.TCP_SEQUENCE), ("tcp-options", log.TCP_OPTIONS), ("ip-options", log.IP_OPTIONS),
    ("uid", log.USER), ("macdecode", log.MAC_DECODED),
)  # fmt: skip


class Log(TargetExtension):
    """`-j LOG`."""

    name = "LOG"
    options = (
        Option("log-level", "level", _level),
        Option("log-prefix", "prefix", _prefix),
        *(Option("log-" + key, key, None) for key, _bit in _LOG_FLAGS),
    )

    def _flags(self) -> int:
        return sum(bit for key, bit in _LOG_FLAGS if key in self.values)

    def save(self) -> str:
        text = f' --log-prefix {names.quoted(self.values["prefix"])}' if "prefix" in self.values else ""
        level = self.get("level", _DEFAULT_LEVEL)
        if level != _DEFAULT_LEVEL:
            text += f" --log-level {level}"
        return text + "".join(f" --log-{key}" for key, _bit in _LOG_FLAGS if key in self.values)

    def show(self, numeric: bool) -> str:
        level = self.get("level", _DEFAULT_LEVEL)
        if numeric:
            text = f" LOG flags {self._flags()} level {level}"
        else:
            text = f" LOG level {names.LEVELS[level]}"
            text += "".join(f" {key}" for key, _bit in _LOG_FLAGS if key in self.values)
        return f'{text} prefix "{self.values["prefix"]}"' if "prefix" in self.values else text

    def build(self, netfilter: Netfilter) -> Target:
        return log.LogTarget(self.get("level", _DEFAULT_LEVEL), self.get("prefix", ""), self._flags())


EXTENSIONS: Final = (Reject, Mirror, Log)
