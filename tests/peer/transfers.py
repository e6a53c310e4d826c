"""The rows of matrix.toml: a setting, a link and a congestion control each, and what is wrong with their transfers."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import options
from bed import Bed, Flow, Outcome, Setting
from options import End

from lunar.links.red import RedLimits

_DATA: Final = tomllib.loads(Path(__file__).with_name("matrix.toml").read_text())
CONGESTION: Final = ("cubic", "reno")
_FACES: Final = ("blocking", "asyncio")


@dataclass(frozen=True)
class Row:
    """One bed, with all kinds of transfers at once."""

    setting: str
    link: str
    congestion: str
    table: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.setting}, {self.link}, {self.congestion}" if self.link else self.setting

    def bed_setting(self) -> Setting:
        """What its bed is like."""
        link = dict(_DATA["links"].get(self.link, {})) | self.table.get("link", {})
        if "red" in self.table:
            link["red"] = RedLimits(in_bytes=False, **self.table["red"])
        sysctls = [
            {f"net.ipv4.{name}": value for name, value in self.table.get(side, {}).items()}
            | {"net.ipv4.tcp_congestion_control": self.congestion}
            for side in ("ours", "kernel")
        ]
        return Setting(
            *sysctls, link=link, tap=self.table.get("tap", {}), mtu=self.table.get("mtu", 1500),
            our_commands=tuple(self.table.get("our_commands", ())),
            kernel_commands=tuple(self.table.get("kernel_commands", ())),
        )  # fmt: skip

    def flows(self) -> list[Flow]:
        """Our programs take turns in being blocking and asyncio ones."""
        found: list[Flow] = []
        size = str(_DATA["sizes"][self.table.get("size", "plain")])
        for kind, programs in _DATA["kinds"].items():
            client, server = (programs[who].replace("N", size) for who in ("client", "server"))
            for family in (4, 6):
                for client_is_us in (True, False):
                    who = "ours" if client_is_us else "the kernel's"
                    pair = (client, server) if client_is_us else (server, client)
                    face = _FACES[(len(found) + len(found) // 4) % 2]
                    found.append(Flow(f"{kind}, client {who}, IPv{family}", *pair, family, face))
        return found


@dataclass
class Result:
    """What came of a row: of how many flows, what either side has counted, and what is wrong with each flow."""

    flows: int
    ours: dict[str, int]
    kernel: dict[str, int]
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def add(self, flow: str, what: str) -> None:
        self.wrong.setdefault(flow, []).append(what)


def rows() -> list[Row]:
    """All of them."""
    found = [
        Row(setting, link, congestion, table)
        for setting, table in _DATA["settings"].items()
        for link in _DATA["links"]
        for congestion in CONGESTION
    ]
    return found + [Row(setting, "", "cubic", table) for setting, table in _DATA["singles"].items()]


def play(row: Row, captures: Path, seed: int = 1, two_kernels: bool = False) -> Result:
    """Play the row, or what it were between two kernels. Raises `KernelUnavailable`."""
    setting = row.bed_setting()
    bed = Bed(setting, captures, seed, two_kernels)
    try:
        outcomes = bed.run(row.flows())
    finally:
        bed.close()
    result = Result(len(outcomes), bed.our_counters, bed.counters)
    ours, kernel = End.of(setting.ours, _mtu(row, setting, True)), End.of(setting.kernel, _mtu(row, setting, False))
    for outcome in outcomes:
        wrong = [*intact(outcome)]
        if not two_kernels:  # there is no capture of what the one in our place sends
            wrong += options.agreed(outcome, ours, kernel, _client_is_us(outcome.flow))
        for what in wrong:
            result.add(outcome.flow.name, what)
    if "red" in row.table and not two_kernels:
        for what in options.marks(outcomes):
            result.add("marks", what)
    return result


def intact(outcome: Outcome) -> Iterator[str]:
    """What is wrong with the logs: a word that failed, an end that is missing, data that did not arrive as sent."""
    for who, log in (("ours", outcome.ours), ("the kernel's", outcome.theirs)):
        if len(log) != 2:
            yield f"{who}: {'; '.join(log)}"
    if len(outcome.ours) > 1 and len(outcome.theirs) > 1:
        yield from crossed(outcome.ours, outcome.theirs)


def crossed(ours: list[str], theirs: list[str]) -> Iterator[str]:
    """What is wrong with the totals of two logs: what one has sent, the other has read."""
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        sent, got = sender[-2].removeprefix("sent "), receiver[-1].removeprefix("got ")
        if sent != got:
            yield f"sent {sent}, got {got}"


def _client_is_us(flow: Flow) -> bool:
    return flow.ours.startswith("connect")


def _mtu(row: Row, setting: Setting, of_ours: bool) -> int:
    """By which an end tells its MSS: its device's, or its route's."""
    commands = setting.our_commands if of_ours else setting.kernel_commands
    for command in commands:
        if " mtu " in command:
            return int(command.rpartition(" mtu ")[2])
    return setting.mtu if of_ours else int(setting.tap.get("mtu", setting.mtu))
