"""A link that leads out of the run: how frames leave it as bytes, and how those that came together come in."""

from __future__ import annotations

import pytest

import lunar
from lunar.host import Host
from lunar.links.link import Wire
from lunar.links.outside_link import Doorway, OutsideLink
from lunar.packet import ACK, AF_INET, TcpSegment, UdpDatagram, set_tcp_size
from lunar.wire import ethernet
from weaves.scheduler import FOREVER, Lane

OURS, THEIRS = 0x0A000001, 0x0A000002
TO_US = 0x02_0000_0000_01


class Bench:
    """A host with a device on an outside link, and what arrives at its stack."""

    def __init__(self) -> None:
        self.net = lunar.Network()
        self.host: Host = self.net.host("h", "10.0.0.1/24")
        self.device = self.host.devices["eth0"]
        self.device.mac = TO_US
        self.scheduler = self.net.scheduler
        self.lane = Lane(7)
        self.doorway = Doorway()
        out = Wire(self.scheduler, self.lane, self.doorway, 0, 0, 0, 0, None)
        self.link = OutsideLink("out", self.device, self.doorway, out, None)
        self.device.medium = self.link
        self.seen: list[bytes] = []
        self.device.tap = lambda _device, frame: self.seen.append(ethernet.encode(frame))

    def comes(self, size: int, frames: list[bytes]) -> None:
        self.scheduler.post(self.link.train(size.to_bytes(2) + b"".join(frames)), self.lane, self.scheduler.now_ns)
        self.scheduler.run(FOREVER, 1)


def datagram(payload: bytes) -> bytes:
    made = UdpDatagram(AF_INET, THEIRS, OURS, 1000, 9, payload)
    made.size_bytes = 28 + len(payload)
    made.eth_dst = TO_US
    return ethernet.encode(made)


def segment(seq: int, payload: bytes) -> TcpSegment:
    made = TcpSegment(AF_INET, THEIRS, OURS, 1000, 80, seq, 1, ACK, 500, payload)
    made.eth_dst = TO_US
    set_tcp_size(made)
    return made


def test_frames_that_came_together_arrive_in_their_order_in_one_event() -> None:
    bench = Bench()
    frames = [datagram(b"aaaa"), datagram(b"bbbb"), datagram(b"c")]
    bench.comes(len(frames[0]), frames)
    # A program that is asked for on port 9 is not there: the answers to them are others' business.
    assert [frame for frame in bench.seen if frame[:6] == TO_US.to_bytes(6)] == frames


def test_segments_arrive_one_by_one_unless_the_device_puts_them_together() -> None:
    frames = [ethernet.encode(segment(5 + 100 * number, bytes([number]) * 100)) for number in range(3)]
    for gathers in (False, True):
        bench = Bench()
        bench.host.sh(f"ethtool -K eth0 gro {'on' if gathers else 'off'}")
        bench.comes(len(frames[0]), frames)
        came = [frame for frame in bench.seen if frame[:6] == TO_US.to_bytes(6)]
        if gathers:
            (one,) = came
            assert one[-300:] == b"".join(bytes([number]) * 100 for number in range(3))
        else:
            assert came == frames


@pytest.mark.parametrize("size", [14, 15, 60, 1472])
def test_whatever_comes_raises_nothing(size: int) -> None:
    bench = Bench()
    to_us = TO_US.to_bytes(6) + bytes(6) + b"\x08\x00E" * size
    for data in (bytes(size * 2), b"\xff" * (size * 3 - 1), to_us[: size * 3]):
        bench.comes(size, [data])


def test_a_large_segment_leaves_as_the_frames_that_it_stands_for() -> None:
    bench = Bench()
    large = segment(5, bytes(250))
    large.gso_bytes = 100
    bench.device.transmit(large)
    bench.scheduler.run(FOREVER, 10)
    assert [len(frame) for frame in bench.doorway.frames] == [14 + 40 + 100, 14 + 40 + 100, 14 + 40 + 50]
    assert bench.link.out.packets == 3


def test_one_that_a_switch_brings_to_a_doorway_is_cut_there() -> None:
    doorway = Doorway()
    large = segment(5, bytes(250))
    large.gso_bytes = 100
    doorway.arrive(large)
    assert [len(frame) for frame in doorway.frames] == [154, 154, 104]


@pytest.mark.parametrize("data", [b"", b"\1", b"\0\0", b"\0\0frame"])
def test_what_says_no_length_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="frames without a length"):
        Bench().link.train(data)
