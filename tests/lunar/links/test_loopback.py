"""The loopback: the same instant, and never inside the sender's call."""

from __future__ import annotations

from lunar.links.loopback import Loopback
from lunar.net.device import LOOPBACK_MTU, Device
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.packet import AF_INET, Frame, Packet
from weaves.scheduler import Lane, Scheduler


class Bench:
    """A `lo`, and the identifications of what its two ways have seen."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.lo = Device("lo", 0, LOOPBACK_MTU, IpInput(Ip(self.scheduler, Lane(1), None)))
        self.lo.medium = Loopback(self.scheduler)
        self.lo.tap = self._seen
        self.seen: list[tuple[int, int]] = []

    def _seen(self, _device: Device, frame: Frame) -> None:
        assert isinstance(frame, Packet)
        self.seen.append((self.scheduler.now_ns, frame.ident))

    def sends(self, ident: int) -> None:
        made = Packet(AF_INET, 1, 2, 253, b"")
        made.ident = ident
        self.lo.transmit(made)


def test_it_comes_back_at_the_same_instant() -> None:
    b = Bench()
    b.scheduler.advance(5)
    b.sends(1)
    b.scheduler.run(100, 100)
    assert b.seen == [(5, 1), (5, 1)]  # out and in


def test_it_comes_back_after_the_senders_call() -> None:
    b = Bench()
    b.sends(1)
    assert b.lo.rx_packets == 0
    assert len(b.scheduler.turns) == 1


def test_order_is_kept() -> None:
    b = Bench()
    b.sends(1)
    b.sends(2)
    b.scheduler.run(100, 100)
    assert b.seen == [(0, 1), (0, 2), (0, 1), (0, 2)]


def test_every_neighbour_is_the_device_itself() -> None:
    b = Bench()
    assert b.lo.medium is not None
    assert b.lo.medium.resolve(b.lo, 0x7F00_0001) == b.lo.mac == 0


def test_both_ways_are_counted() -> None:
    b = Bench()
    b.sends(1)
    b.scheduler.run(100, 100)
    assert (b.lo.tx_packets, b.lo.rx_packets, b.lo.rx_dropped) == (1, 1, 0)
