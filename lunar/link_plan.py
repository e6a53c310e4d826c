"""What a link is like, as plain values, and the wires that are made by it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs

from lunar.links.impairments import (
    BurstLoss,
    Corruption,
    Duplication,
    Impairment,
    RandomLoss,
    Reordering,
    Series,
)
from lunar.links.link import QUEUE_PACKETS, Wire
from lunar.links.red import Red, RedLimits
from lunar.packet import Port
from weaves import seeds, units
from weaves.supervisor import Supervisor
from weaves.units import REORDER_BY_NS


@attrs.frozen(kw_only=True)
class LinkPlan:
    """Rate in bits a second (None: unlimited), delay in ns, probabilities from 0 to 1, a queue's limits (None: none).

    `impairment` makes one for each direction in place of all the losses. `arp`: see `Network.link`.
    """

    rate_bps: int | None = None
    delay_ns: int = 0
    loss: float = 0.0
    loss_burst: float = 1.0
    reorder: float = 0.0
    reorder_by_ns: int = REORDER_BY_NS
    duplicate: float = 0.0
    corrupt: float = 0.0
    limit_packets: int | None = None
    limit_bytes: int | None = None
    red: RedLimits | None = None
    mtu: int = 1500
    arp: bool | None = None
    impairment: Callable[[], Impairment] | None = None

    def wire(
        self, supervisor: Supervisor, wires: list[Wire], name: str, end: str, target: Port, delay_ns: int,
        lossy: bool = True,
    ) -> Wire:
        """One direction of the link `name`, from `end` (an address), added to its `wires`."""
        verdict: Impairment | None = None
        if lossy and self.impairment is not None:
            verdict = self.impairment()
            if not isinstance(verdict, Impairment):
                raise TypeError(f"impairment() gave {verdict!r}; expected an Impairment")
        elif lossy and max(self.loss, self.reorder, self.duplicate, self.corrupt) > 0:
            # By names and addresses alone, so that what one link draws does not depend on the others.
            verdict = self._impaired(supervisor.seed, f"{name}/{end or len(wires)}")
        made = Wire(
            supervisor.scheduler, supervisor.new_lane(), target, self.rate_bps or 0, delay_ns, self.limit_packets or 0,
            self.limit_bytes or 0, verdict,
        )  # fmt: skip
        if self.red is not None:
            # By the number of the wire among those of its link.
            made.red = Red(self.red, seeds.generator(supervisor.seed, "link", f"{name}/red {len(wires)}"))
        wires.append(made)
        return made

    def _impaired(self, seed: int, direction: str) -> Impairment:
        """Each part draws from a generator of its own: one more does not change what the others do."""

        def rng(suffix: str) -> random.Random:
            return seeds.generator(seed, "link", direction + suffix)

        parts: list[Impairment] = []
        if self.loss > 0 and self.loss_burst > 1 and self.loss < 1:
            parts.append(BurstLoss(self.loss, self.loss_burst, rng("")))
        elif self.loss > 0:
            parts.append(RandomLoss(self.loss, rng("")))
        if self.duplicate > 0:
            parts.append(Duplication(self.duplicate, rng("/duplicate")))
        if self.corrupt > 0:
            parts.append(Corruption(self.corrupt, rng("/corrupt")))
        if self.reorder > 0:
            parts.append(Reordering(self.reorder, self.reorder_by_ns, rng("/reorder")))
        return parts[0] if len(parts) == 1 else Series(parts)


def parse_plan(
    *, rate: str | int | None = None, delay: str | int = 0, loss: str | float = 0.0, loss_burst: float = 1.0,
    reorder: str | float = 0.0, reorder_by: str | int = REORDER_BY_NS, duplicate: str | float = 0.0,
    corrupt: str | float = 0.0, queue: str | int = QUEUE_PACKETS, red: RedLimits | None = None, mtu: int = 1500,
    arp: bool | None = None, impairment: Callable[[], Impairment] | None = None,
) -> LinkPlan:
    """The plan of a link, from what `Network.link` takes. Raises `ValueError` and `TypeError`."""
    if red is not None and not isinstance(red, RedLimits):
        raise TypeError(f"red {red!r}: expected lunar.links.red.RedLimits")
    packets, size = _queue_limit(queue)
    return LinkPlan(
        rate_bps=units.parse_rate(rate) if isinstance(rate, str) else _whole("rate", rate, 1),
        delay_ns=units.parse_wait(delay) if isinstance(delay, str) else _whole("delay", delay, 0),
        loss=units.parse_loss(loss),
        loss_burst=units.parse_burst(loss_burst),
        reorder=units.parse_loss(reorder, "share"),
        reorder_by_ns=units.parse_wait(reorder_by)
        if isinstance(reorder_by, str)
        else _whole("reorder_by", reorder_by, 1),
        duplicate=units.parse_loss(duplicate, "share"),
        corrupt=units.parse_loss(corrupt, "share"),
        limit_packets=packets,
        limit_bytes=size,
        red=red,
        mtu=_whole("mtu", mtu, 68, 65535),
        arp=arp,
        impairment=impairment,
    )


def _whole(what: str, value: int | None, smallest: int, largest: int = units.LIMIT) -> Any:
    """`value`, an int in its range, or None. Raises `ValueError`."""
    if value is None or (isinstance(value, int) and smallest <= value <= largest):
        return value
    limits = f"from {smallest} to {largest}" if largest < units.LIMIT else f"of {smallest} or more"
    raise ValueError(f"{what} {value!r}: expected a whole number {limits}")


def _queue_limit(queue: str | int) -> tuple[int | None, int | None]:
    if not isinstance(queue, str):
        return _whole("queue", queue, 1), None
    return units.parse_queue_limit(queue)
