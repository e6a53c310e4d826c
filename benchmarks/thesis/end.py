"""One end of what is measured, as a process: `end.py SIDE ROLE PORTS BATCH`, with the batch as JSON.

The server says "listening" and answers; the client measures the batch's cells and prints the seconds of each. `with` is
a virtual host in real time with a UDP link to the other process, the rest is the machine's own sockets.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import program
from experiments import ONE_PROCESSOR, WITH, WITH_OFFLOADS, Batch

_ADDRESSES: Final = {"server": "10.0.0.1", "client": "10.0.0.2"}
# Above all that shares its time, so that what else the machine does disturbs no side. Below the kernel's own threads.
_PRIORITY: Final = 5


def main() -> None:
    side, role, ports, text = sys.argv[1:]
    _take_a_processor(0 if role == "server" or side == ONE_PROCESSOR else 1)
    if side in (WITH, WITH_OFFLOADS):
        _on_virtual_host(side, role, ports.split(","), Batch.of(text))
    elif role == "server":
        _serve("127.0.0.1")
    else:
        _measure("127.0.0.1", Batch.of(text), time.perf_counter)


def _take_a_processor(number: int) -> None:
    """Run on one of the processors, before all other work there; where that is allowed."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[number % len(allowed)]})
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))


def _serve(address: str) -> None:
    listener = program.listen(address)
    print("listening", flush=True)
    program.serve(listener)


def _measure(address: str, batch: Batch, clock: Callable[[], float]) -> None:
    for cell in batch.cells:
        print(program.measure(cell, address, clock), flush=True)


def _on_virtual_host(side: str, role: str, ports: list[str], batch: Batch) -> None:
    """`ports` of the machine's loopback are the server's and the client's."""
    import lunar
    from weaves import realtime

    # An echo is waited for without sleep: to be woken takes a virtual machine longer than the way there and back.
    # Frames at a pace are not: who is awake nearly always is stopped for 50 ms of each second (SCHED_FIFO).
    net = lunar.Network(clock="real", busy_poll="200us" if batch.echo else "10us" if batch.rate else "50us")
    host = net.host(role, f"{_ADDRESSES[role]}/24")
    local, remote = ports if role == "server" else reversed(ports)
    net.udp_link(host, local=int(local), remote=f"127.0.0.1:{remote}", rate=batch.rate or None, mtu=batch.mtu)
    if side == WITH_OFFLOADS:
        host.sh("ethtool -K eth0 gso on gro on")
    if role == "server":
        net.run(_serve, _ADDRESSES[role], on=host)
    else:
        # The machine's clock, not the host's: what is measured is how long one has to wait.
        net.run(_measure, _ADDRESSES["server"], batch, realtime.perf_counter, on=host)


if __name__ == "__main__":
    main()
