"""`-j MARK`, `CONNMARK`, `TOS`, `DSCP`, `TTL`, `HL`, `TCPMSS`, `NOTRACK`, `CT --notrack` as text."""

from __future__ import annotations

from typing import ClassVar, Final

from lunar.net_tools.iptables.errors import ParameterProblem, invalid
from lunar.net_tools.iptables.option import FORWARD, OUT, POST, Extension, Option, TargetExtension, mark_mask, uint
from lunar.net_tools.iptables.tos_names import parse_dscp_class, parse_tos, tos_name
from lunar.netfilter import target_change as run
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Target
from lunar.packet import AF_INET, AF_INET6, TCP

_ALL_BITS: Final = 0xFFFF_FFFF


class Mark(TargetExtension):
    """`-j MARK`. All its options are ways to write `--set-xmark VALUE/MASK`."""

    name = "MARK"
    options = (
        Option("set-xmark", "set-xmark", mark_mask),
        Option("set-mark", "set-mark", mark_mask),
        Option("and-mark", "and-mark", uint()),
        Option("or-mark", "or-mark", uint()),
        Option("xor-mark", "xor-mark", uint()),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required")
        if len(self.values) > 1:
            raise ParameterProblem('MARK: Only one of the options may be used')

    def value_and_mask(self) -> tuple[int, int]:
        return xmark(*next(iter(self.values.items())))

    def save(self) -> str:
        value, mask = self.value_and_mask()
        return f" --set-xmark 0x{value:x}/0x{mask:x}"

    def show(self, numeric: bool) -> str:
        return f" MARK {xmark_text(*self.value_and_mask())}"

    def build(self, netfilter: Netfilter) -> Target:
        return run.MarkTarget(*self.value_and_mask())


def xmark(key: str, value: object) -> tuple[int, int]:
    """What one of the options says as (value, mask) of `--set-xmark`."""
    if isinstance(value, tuple):
        first, mask = value
        return (first, mask | first) if key == "set-mark" else (first, mask)
    assert isinstance(value, int), "the other options have one number"
    return {"and-mark": (0, value ^ _ALL_BITS), "or-mark": (value, value), "xor-mark": (value, 0)}[key]


def xmark_text(value: int, mask: int) -> str:
    """How -L tells of it."""
    if value == 0:
        return f"and 0x{mask ^ _ALL_BITS:x}"
    if value == mask:
        return f"or 0x{value:x}"
    if mask == 0:
        return f"xor 0x{value:x}"
    return f"set 0x{value:x}" if mask == _ALL_BITS else f"xset 0x{value:x}/0x{mask:x}"


class Connmark(TargetExtension):
    """`-j CONNMARK`."""

    name = "CONNMARK"
    tracks = True
    options = (
        Option("set-xmark", "set-xmark", mark_mask),
        Option("set-mark", "set-mark", mark_mask),
        Option("and-mark", "and-mark", uint()),
        Option("or-mark", "or-mark", uint()),
        Option("xor-mark", "xor-mark", uint()),
        Option("save-mark", "save", None),
        Option("restore-mark", "restore", None),
        Option("ctmask", "ctmask", uint(), not_with=("mask",)),
        Option("nfmask", "nfmask", uint(), not_with=("mask",)),
        Option("mask", "mask", uint(), not_with=("ctmask", "nfmask")),
    )

    def check(self) -> None:
        actions = [key for key in self.values if key not in ("ctmask", "nfmask", "mask")]
        if not actions:
            raise ParameterProblem("CONNMARK target: No operation specified")
        if len(actions) > 1:
            raise ParameterProblem("CONNMARK: Only one of the operations may be used")
        self.action = actions[0]

    def _masks(self) -> tuple[int, int]:
        both = self.get("mask", _ALL_BITS)
        return self.get("ctmask", both), self.get("nfmask", both)

    def save(self) -> str:
        if self.action in ("save", "restore"):
            ct_mask, nf_mask = self._masks()
            return f" --{self.action}-mark --nfmask 0x{nf_mask:x} --ctmask 0x{ct_mask:x}"
        value, mask = xmark(self.action, self.values[self.action])
        return f" --set-xmark 0x{value:x}/0x{mask:x}"

    def show(self, numeric: bool) -> str:
        if self.action not in ("save", "restore"):
            return f" CONNMARK {xmark_text(*xmark(self.action, self.values[self.action]))}"
        ct_mask, nf_mask = self._masks()
        text = f" CONNMARK {self.action}"
        if ct_mask == nf_mask:
            return text if ct_mask == _ALL_BITS else f"{text} mask 0x{ct_mask:x}"
        if self.action == "save":
            return f"{text} nfmask 0x{nf_mask:x} ctmask ~0x{ct_mask:x}"
        return f"{text} ctmask 0x{ct_mask:x} nfmask ~0x{nf_mask:x}"

    def build(self, netfilter: Netfilter) -> Target:
        ct_mask, nf_mask = self._masks()
        if self.action == "save":
            return run.ConnmarkTarget(run.SAVE, 0, ct_mask, nf_mask)
        if self.action == "restore":
            return run.ConnmarkTarget(run.RESTORE, 0, ct_mask, nf_mask)
        value, mask = xmark(self.action, self.values[self.action])
        return run.ConnmarkTarget(run.SET, value, mask, _ALL_BITS)


class _InMangle(TargetExtension):
    """One that the kernel takes in the mangle table alone."""

    def refuse(self, points: int, table: str) -> None:
        if table != "mangle":
            raise invalid()


class Tos(_InMangle):
    """`-j TOS`."""

    name = "TOS"
    options = (
        Option("set-tos", "set-tos", parse_tos(0x3F)),
        Option("and-tos", "and-tos", uint(0, 255)),
        Option("or-tos", "or-tos", uint(0, 255)),
        Option("xor-tos", "xor-tos", uint(0, 255)),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("TOS: An action is required")
        if len(self.values) > 1:
            raise ParameterProblem("TOS: Only one action may be used")

    def _value_and_mask(self) -> tuple[int, int]:
        key, value = next(iter(self.values.items()))
        if key == "set-tos":
            first, mask = value
            return first, mask
        return {"and-tos": (0, value ^ 0xFF), "or-tos": (value, value), "xor-tos": (value, 0)}[key]

    def save(self) -> str:
        value, mask = self._value_and_mask()
        return f" --set-tos 0x{value:02x}/0x{mask:02x}"

    def show(self, numeric: bool) -> str:
        value, mask = self._value_and_mask()
        if numeric:
            return f" TOS set 0x{value:02x}/0x{mask:02x}"
        name = tos_name(value, mask)
        if name is not None:
            return f"  TOS set{name}"  # as the real tool prints it
        if value == 0:
            return f" TOS and 0x{mask ^ 0xFF:02x}"
        if value == mask:
            return f" TOS or 0x{value:02x}"
        return f" TOS xor 0x{value:02x}" if mask == 0 else f" TOS set 0x{value:02x}/0x{mask:02x}"

    def build(self, netfilter: Netfilter) -> Target:
        return run.TosTarget(*self._value_and_mask())


class Dscp(_InMangle):
    """`-j DSCP`."""

    name = "DSCP"
    options = (
        Option("set-dscp", "set-dscp", uint(0, 63), not_with=("set-dscp-class",)),
        Option("set-dscp-class", "set-dscp-class", parse_dscp_class, not_with=("set-dscp",)),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("DSCP target: Parameter --set-dscp is required")

    def _value(self) -> int:
        return int(next(iter(self.values.values())))

    def save(self) -> str:
        return f" --set-dscp 0x{self._value():02x}"

    def show(self, numeric: bool) -> str:
        return f" DSCP set 0x{self._value():02x}"

    def build(self, netfilter: Netfilter) -> Target:
        return run.TosTarget(self._value() << 2, 0xFC)


class Ttl(_InMangle):
    """`-j TTL`."""

    name = "TTL"
    families = (AF_INET,)
    options = (
        Option("ttl-set", "set", uint(0, 255), not_with=("inc", "dec")),
        Option("ttl-dec", "dec", uint(1, 255), not_with=("inc", "set")),
        Option("ttl-inc", "inc", uint(1, 255), not_with=("dec", "set")),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem(f"{self.name}: You must specify an action")

    def save(self) -> str:
        key, value = next(iter(self.values.items()))
        return f" --{self.name.lower()}-{key} {value}"

    def show(self, numeric: bool) -> str:
        key, value = next(iter(self.values.items()))
        done = {"set": "set to", "dec": "decrement by", "inc": "increment by"}[key]
        return f" {self.name} {done} {value}"

    def build(self, netfilter: Netfilter) -> Target:
        key, value = next(iter(self.values.items()))
        return run.HopsTarget({"set": run.SET_HOPS, "dec": run.LESS_HOPS, "inc": run.MORE_HOPS}[key], value)


class HopLimit(Ttl):
    """`-j HL`."""

    name = "HL"
    families = (AF_INET6,)
    options = (
        Option("hl-set", "set", uint(0, 255), not_with=("inc", "dec")),
        Option("hl-dec", "dec", uint(1, 255), not_with=("inc", "set")),
        Option("hl-inc", "inc", uint(1, 255), not_with=("dec", "set")),
    )


class TcpMss(TargetExtension):
    """`-j TCPMSS`, which wants a rule for SYNs."""

    name = "TCPMSS"
    options = (
        Option("set-mss", "set-mss", uint(0, 65535)),
        Option("clamp-mss-to-pmtu", "clamp", None),
    )
    matches_syn = False  # set by the rule: one of its matches looks for SYNs

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        super().accept(option, text, inverted)
        if len(self.values) > 1:  # the later one holds
            kept = self.values.pop(option.id)
            self.values = {option.id: kept}

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("TCPMSS target: At least one parameter is required")

    def refuse(self, points: int, table: str) -> None:
        if "clamp" in self.values and points & ~(FORWARD | OUT | POST):
            raise invalid()
        if self.rule_protocol != TCP or self.rule_protocol_inverted or not self.matches_syn:
            raise invalid()

    def save(self) -> str:
        return " --clamp-mss-to-pmtu" if "clamp" in self.values else f" --set-mss {self.values['set-mss']}"

    def show(self, numeric: bool) -> str:
        return " TCPMSS clamp to PMTU" if "clamp" in self.values else f" TCPMSS set {self.values['set-mss']}"

    def build(self, netfilter: Netfilter) -> Target:
        return run.TcpMssTarget(self.get("set-mss", 0))


class Notrack(TargetExtension):
    """`-j NOTRACK`, which is another way to write `-j CT --notrack`."""

    name = "NOTRACK"
    options: ClassVar[tuple[Option, ...]] = ()

    def refuse(self, points: int, table: str) -> None:
        if table != "raw":
            raise invalid()

    def save(self) -> str:
        return ""

    def show(self, numeric: bool) -> str:
        return " NOTRACK"

    @property
    def listed(self) -> str:
        return "CT"

    def build(self, netfilter: Netfilter) -> Target:
        return run.NotrackTarget()


def _left_out(extension: Extension, option: Option, text: str) -> None:
    raise ParameterProblem(f'CT: option "--{option.name}" is left out here; expected --notrack')


class Ct(Notrack):
    """`-j CT --notrack`. Zones, events, helpers and timeouts are left out."""

    name = "CT"
    options = (
        Option("notrack", "notrack", None),
        Option("helper", "helper", _left_out),
        Option("ctevents", "ctevents", _left_out),
        Option("expevents", "expevents", _left_out),
        Option("zone", "zone", _left_out),
        Option("zone-orig", "zone", _left_out),
        Option("zone-reply", "zone", _left_out),
        Option("timeout", "timeout", _left_out),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("CT: --notrack is all that is here of it")

    def save(self) -> str:
        return " --notrack"

    def show(self, numeric: bool) -> str:
        return " CT notrack"


EXTENSIONS: Final = (Mark, Connmark, Tos, Dscp, Ttl, HopLimit, TcpMss, Notrack, Ct)
