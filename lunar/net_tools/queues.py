"""The queue of a device, as tc(8) names it; here it sets the queue of the wire that the device sends by.

A wire has one queue with a rate, a bound and perhaps early detection (lunar/links/link.py). So `pfifo`, `bfifo` and
`red` say how long it gets, `tbf` how fast it drains, `netem` what becomes of what leaves it. What the tapestry said of
the wire comes back when the queue is deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.links.impairments import Corruption, Duplication, Impairment, RandomLoss, Series
from lunar.links.link import Wire
from lunar.links.red import Red, RedLimits
from lunar.net.device import Device
from weaves import seeds

if TYPE_CHECKING:
    from lunar.host import Host

_ATTRIBUTES: Final = ("rate_bps", "delay_ns", "limit_packets", "limit_bytes", "red", "impairment")


@attrs.define
class Queue:
    """A queue: its `kind`, its `handle` (the number before the colon), what it was told, what the wire was before."""

    kind: str = "noqueue"
    handle: int = 0
    settings: dict[str, Any] = attrs.field(factory=dict)
    before: dict[str, Any] = attrs.field(factory=dict)


_NONE: Final = Queue()


def queue_of(device: Device) -> Queue:
    """The queue that `device` was given, or the one that stands for none."""
    found = device.queue
    return found if isinstance(found, Queue) else _NONE


def wire_of(device: Device) -> Wire | None:
    """The wire that `device` sends by, if it is on a link."""
    found = None if device.medium is None else device.medium.way_out(device)
    return found if isinstance(found, Wire) else None


def take_away(device: Device) -> None:
    """Give the device's wire back what it was before, and let the device have no queue of its own."""
    wire = wire_of(device)
    if wire is not None:
        for name, value in queue_of(device).before.items():
            setattr(wire, name, value)
    device.queue = None
    device.queue_packets = -1
    device.paces = False


def install(host: Host, device: Device, queue: Queue) -> None:
    """Give `device` this queue in place of what it has."""
    take_away(device)
    settings = queue.settings
    device.queue = queue
    device.paces = queue.kind == "fq"
    if settings.get("limit") == 0 and queue.kind in ("pfifo", "bfifo"):
        device.queue_packets = 0  # there is room for nothing: nothing can be sent
        return
    wire = wire_of(device)
    if wire is None:
        return
    queue.before = {name: getattr(wire, name) for name in _ATTRIBUTES}
    if queue.kind in ("pfifo", "fq", "netem"):
        wire.limit_packets, wire.limit_bytes = settings["limit"], 0
    elif queue.kind == "bfifo":
        wire.limit_packets, wire.limit_bytes = 0, settings["limit"]
    elif queue.kind == "red":
        wire.limit_packets, wire.limit_bytes = 0, settings["limit"]
        limits = RedLimits(
            settings["min"], settings["max"], True, settings["probability"], settings["weight"], settings["ecn"]
        )
        wire.red = Red(limits, seeds.generator(host.network.seed, "queue", f"{host.name}/{device.name}/red"))
    if queue.kind == "tbf":
        wire.limit_packets, wire.limit_bytes = 0, settings["limit"]
    rate = settings.get("rate", 0)
    if rate:
        wire.rate_bps = min(rate, int(wire.rate_bps)) if wire.rate_bps else rate
    if queue.kind == "netem":
        wire.delay_ns += settings.get("delay", 0)
        wire.impairment = _impaired(host, device, wire.impairment, settings)


def _impaired(host: Host, device: Device, before: Impairment | None, settings: dict[str, Any]) -> Impairment | None:
    """What netem does to frames, after what the link does already."""

    def rng(what: str) -> Any:
        return seeds.generator(host.network.seed, "queue", f"{host.name}/{device.name}/{what}")

    parts: list[Impairment] = [] if before is None else [before]
    if settings.get("loss"):
        parts.append(RandomLoss(settings["loss"], rng("loss")))
    if settings.get("duplicate"):
        parts.append(Duplication(settings["duplicate"], rng("duplicate")))
    if settings.get("corrupt"):
        parts.append(Corruption(settings["corrupt"], rng("corrupt")))
    return None if not parts else parts[0] if len(parts) == 1 else Series(parts)
