"""One rule as text: what was asked of it, how it is printed back, and how it is made into what lunar/netfilter runs."""

from __future__ import annotations

from typing import Final

import attrs

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.address import mask_of, mask_text, network_text
from lunar.net_tools.iptables.errors import invalid
from lunar.net_tools.iptables.match_transport import Tcp
from lunar.net_tools.iptables.option import MatchExtension, TargetExtension
from lunar.net_tools.iptables.target_change import TcpMss
from lunar.netfilter import rule as run
from lunar.netfilter.netfilter import Netfilter
from lunar.packet import AF_INET
from lunar.wire.address import address_text

# QUEUE is to a program that asks for it; while none does, Linux drops what is queued.
_VERDICTS: Final = {
    "": run.NO_TARGET, "ACCEPT": run.ACCEPTS, "DROP": run.DROPS, "RETURN": run.RETURNS, "QUEUE": run.DROPS,
}  # fmt: skip
_SYN_BIT: Final = 0x02


@attrs.define(eq=False)
class Spec:
    """One rule. `verdict` is ACCEPT, DROP, RETURN, the name of a chain (`-j` or, with `goes`, `-g`), or empty."""

    family: int
    src: tuple[int, int] = (0, 0)
    dst: tuple[int, int] = (0, 0)
    protocol: int = 0
    in_name: str = ""
    out_name: str = ""
    fragment: bool = False
    inverted: int = 0
    matches: list[MatchExtension] = attrs.field(factory=list)
    target: TargetExtension | None = None
    verdict: str = ""
    goes: bool = False
    packets: int = 0
    bytes: int = 0
    checked: tuple[int, str] | None = None  # where the kernel has found it good: points, table

    def finish(self) -> None:
        """All of the command line is read: check what options go together, in the order in which they came."""
        for match in self.matches:
            match.finish()
        if self.target is not None:
            self.target.finish()
        for extension in (*self.matches, self.target):
            if extension is not None:
                extension.rule_protocol = self.protocol
                extension.rule_protocol_inverted = bool(self.inverted & run.NOT_PROTOCOL)
        if isinstance(self.target, TcpMss):
            self.target.matches_syn = any(_looks_for_syn(match) for match in self.matches)

    # As text

    def save(self) -> str:
        """The rule as -S prints it, without `-A CHAIN`; a space is before each part."""
        return self.save_matches() + self.save_target()

    def save_matches(self) -> str:
        """What is before the target."""
        text = ""
        for letter, (address, mask), bit in (("s", self.src, run.NOT_SRC), ("d", self.dst, run.NOT_DST)):
            if mask or self.inverted & bit:
                written = f"{address_text(self.family, address)}/{mask_text(self.family, mask)}"
                text += f"{self._bang(bit)} -{letter} {written}"
        for letter, name, bit in (("i", self.in_name, run.NOT_IN), ("o", self.out_name, run.NOT_OUT)):
            if name:
                text += f"{self._bang(bit)} -{letter} {name}"
        if self.protocol:
            text += f"{self._bang(run.NOT_PROTOCOL)} -p {names.protocol_name(self.protocol)}"
        if self.fragment:
            text += f"{self._bang(run.NOT_FRAGMENT)} -f"
        for match in self.matches:
            text += f" -m {match.name}{match.save()}"
        return text

    def save_target(self) -> str:
        """The target."""
        if self.target is not None:
            return f" -j {self.target.name}{self.target.save()}"
        return f" -{'g' if self.goes else 'j'} {self.verdict}" if self.verdict else ""

    def _bang(self, bit: int) -> str:
        return " !" if self.inverted & bit else ""

    @property
    def listed(self) -> str:
        """How a listing calls the target."""
        return self.target.listed if self.target is not None else self.verdict

    def show(self, numeric: bool) -> str:
        """What a listing tells of matches and target."""
        text = "".join(match.show(numeric) for match in self.matches)
        return text + (self.target.show(numeric) if self.target is not None else "")

    # For the kernel

    def refuse(self, points: int, table: str) -> None:
        """Raise `Refused` for what the kernel does not take at these points."""
        if self.checked == (points, table):
            return
        for extension in (*self.matches, self.target):
            if extension is None:
                continue
            if points & ~extension.points:
                raise invalid()
            extension.refuse(points, table)
        self.checked = (points, table)

    @property
    def tracks(self) -> bool:
        """Whether connection tracking is needed."""
        return any(extension is not None and extension.tracks for extension in (*self.matches, self.target))

    def build(self, netfilter: Netfilter, table: run.Table) -> run.Rule:
        """What is asked for each packet. A chain that is jumped to is in `table`."""
        rule = run.Rule(self._build_target(netfilter, table))
        rule.src, rule.src_mask = self.src
        rule.dst, rule.dst_mask = self.dst
        rule.protocol = self.protocol
        rule.in_name, rule.out_name = self.in_name, self.out_name
        rule.fragment = self.fragment
        rule.inverted = self.inverted
        rule.matches = [match.build(netfilter) for match in self.matches]
        rule.packets, rule.bytes = self.packets, self.bytes
        rule.spec = self
        rule.settle()
        return rule

    def _build_target(self, netfilter: Netfilter, table: run.Table) -> run.Target:
        if self.target is not None:
            return self.target.build(netfilter)
        kind = _VERDICTS.get(self.verdict)
        if kind is not None:
            return run.Plain(kind)
        return run.Jump(run.GOES if self.goes else run.JUMPS, table.chains[self.verdict])

    def addresses(self, numeric: bool) -> tuple[str, str]:
        """Source and destination as a listing has them."""
        return self._address(self.src, numeric), self._address(self.dst, numeric)

    def _address(self, network: tuple[int, int], numeric: bool) -> str:
        address, mask = network
        if not mask:
            if not numeric:
                return "anywhere"
            return "0.0.0.0/0" if self.family == AF_INET else "::/0"
        whole = mask == mask_of(self.family, 32 if self.family == AF_INET else 128)
        if whole and not numeric:
            if address == 0x7F00_0001:
                return "localhost"
            if address == 0:
                return "anywhere"
        return network_text(self.family, address, mask)


def _looks_for_syn(match: MatchExtension) -> bool:
    if not isinstance(match, Tcp) or "flags" not in match.values or "flags" in match.inverted:
        return False
    return bool(match.values["flags"][1] & _SYN_BIT)

