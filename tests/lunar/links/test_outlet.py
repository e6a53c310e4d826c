"""Outlets: bytes go in at one end of a wire and come out at the other at their time, or not at all."""

from __future__ import annotations

from lunar.links.impairments import Impairment
from lunar.links.link import Wire
from lunar.links.outlet import Outlet
from lunar.packet import Frame, RawFrame
from weaves.scheduler import FOREVER, Lane, Scheduler

BYTE_US = 8_000_000  # bits per second: a byte takes one microsecond


class Second(Impairment):
    """Loses the second frame."""

    seen = 0

    def drops(self, frame: Frame) -> bool:
        self.seen += 1
        return self.seen == 2


def test_bytes_come_out_when_they_have_been_sent_and_have_travelled() -> None:
    scheduler = Scheduler()
    out: list[tuple[bytes, int]] = []
    wire = Wire(scheduler, Lane(1), Outlet(lambda data, at_ns: out.append((data, at_ns))), BYTE_US, 5_000, 10, 0, None)
    wire.send(RawFrame(bytes(100)))
    wire.send(RawFrame(b"x" * 50))
    # 100 us on the wire and 5 us on the way; the second frame leaves after the first.
    assert scheduler.next_ns() == 105_000
    scheduler.run(104_999, 10)
    assert out == []
    scheduler.run(FOREVER, 10)
    assert out == [(bytes(100), 105_000), (b"x" * 50, 155_000)]
    assert scheduler.next_ns() == FOREVER


def test_a_frame_of_bytes_is_lost_as_any_other() -> None:
    scheduler = Scheduler()
    out: list[bytes] = []
    wire = Wire(scheduler, Lane(1), Outlet(lambda data, _at_ns: out.append(data)), 0, 0, 0, 0, Second())
    for data in (b"a" * 20, b"b" * 20, b"c" * 20):
        wire.send(RawFrame(data))
    scheduler.run(FOREVER, 10)
    assert out == [b"a" * 20, b"c" * 20]
    assert wire.dropped_loss == 1
    assert wire.bytes == 12  # as of all frames, without the Ethernet header
