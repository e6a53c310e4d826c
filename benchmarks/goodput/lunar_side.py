"""Two virtual hosts joined by the same link, in virtual time."""

from __future__ import annotations

import transfer
from cells import SYSCTLS, Run

import lunar
from lunar.links.impairments import RandomLoss


def measure(run: Run) -> float:
    """The goodput of one run in bits a second."""
    net = lunar.Network(seed=run.number + 1)
    with net:
        sending, receiving = net.host("sending", "10.0.0.1/24"), net.host("receiving", "10.0.0.2/24")
        generators = iter(run.generators())
        cell = run.cell
        net.link(
            sending, receiving, rate=cell.rate_bps, delay=cell.delay_ns, queue=cell.queue_packets,
            impairment=(lambda: RandomLoss(cell.loss, next(generators))) if cell.loss else None,
        )
        for host in (sending, receiving):
            for name, value in SYSCTLS.items():
                host.sh(f"sysctl -w '{name}={value}'")
        net.start(sending, _send, run.congestion, at=0.000_001, background=True)
        return float(net.run(_receive, cell.seconds, on=receiving))


def _receive(seconds: float) -> float:
    return transfer.receive(transfer.listen("10.0.0.2"), seconds)


def _send(congestion: str) -> None:
    transfer.send(transfer.sender(congestion), "10.0.0.2")
