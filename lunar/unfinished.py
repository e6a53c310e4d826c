"""What programs have left to their stacks and has not gone out yet, as a kernel goes on with it when they have ended.

That is: connections that were closed and whose bytes or FIN nobody has acknowledged, packets that wait for the hardware
address of a neighbour, and frames on a wire. What only waits for the other side (FIN-WAIT-2, TIME-WAIT) is no work.
"""

from __future__ import annotations

from collections.abc import Iterable

from lunar.host import Host
from lunar.life import DOWN
from lunar.net.neighbor import Neighbor
from lunar.packet import Frame
from weaves.scheduler import Scheduler


def is_left(hosts: Iterable[Host], scheduler: Scheduler) -> bool:
    """Whether something is. Looks through all hosts and the whole heap: it is for the end of a run."""
    return scheduler.awaits(Frame) or any(_is_left_on(host) for host in hosts)


def _is_left_on(host: Host) -> bool:
    if host.state == DOWN:
        return False
    return host.tcp.tables.orphans > 0 or any(
        isinstance(entry, Neighbor) and entry.queue
        for device in host.ip.devices
        for entry in (device.neighbors or {}).values()
    )
