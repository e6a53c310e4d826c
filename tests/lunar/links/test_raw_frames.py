"""Frames that are bytes and nothing else: marked, damaged, doubled, counted into the digest, and read where they end.

At 8 Mbit/s a byte takes one microsecond.
"""

from __future__ import annotations

import random
from typing import Final

import lunar
from lunar.links.impairments import Corruption, Duplication, Impairment
from lunar.links.link import Wire
from lunar.links.outside_link import Doorway, Intake, WayIn
from lunar.links.red import Red, RedLimits
from lunar.links.switch import Switch, SwitchPort
from lunar.packet import AF_INET, AF_INET6, ArpMessage, Frame, IcmpMessage, Packet, Port, RawFrame
from lunar.wire import ethernet
from weaves.outside import Gates
from weaves.scheduler import FOREVER, Lane, Scheduler

BYTE_US: Final = 8_000_000
OURS, THEIRS, OTHERS = 0x0200_0000_0001, 0x0600_0000_0002, 0x0600_0000_0003


def keeping() -> tuple[Doorway, list[Frame]]:
    """The end of a wire, and what arrives there."""
    end, frames = Doorway(), list[Frame]()
    end.tap = lambda _door, frame: frames.append(frame)
    return end, frames


def echo(family: int = AF_INET, dst: int = OURS, src: int = THEIRS, tos: int = 0, number: int = 0) -> bytes:
    message = IcmpMessage(family, 0x0A00_0001, 0x0A00_0002, 8, 0, number, bytes(50))
    if family == AF_INET6:
        message = IcmpMessage(family, 0x2001_0DB8 << 96 | 1, 0x2001_0DB8 << 96 | 2, 128, 0, number, bytes(50))
    message.eth_dst, message.eth_src, message.tos = dst, src, tos
    return ethernet.encode(message)


def carried(data: bytes, impairment: Impairment | None = None, red: Red | None = None) -> tuple[list[Frame], Wire]:
    """What arrives of a frame at the end of a wire."""
    scheduler, (end, frames) = Scheduler(), keeping()
    wire = Wire(scheduler, Lane(1), end, BYTE_US, 0, 0, 0, impairment)
    wire.red = red
    wire.send(RawFrame(data))
    scheduler.run(FOREVER, 100)
    return frames, wire


def test_its_addresses_and_its_type_are_those_in_the_bytes() -> None:
    frame = RawFrame(echo())
    assert (frame.eth_dst, frame.eth_src, frame.ethertype) == (OURS, THEIRS, 0x0800)
    assert frame.size_bytes == 20 + 8 + 50
    for length in range(14):
        short = RawFrame(bytes(range(1, 15))[:length])
        assert short.size_bytes == 0
        assert ethernet.encode(short) == bytes(range(1, 15))[:length]


def test_a_copy_is_another_frame_of_the_same_bytes() -> None:
    frames, wire = carried(echo(), Duplication(1.0, random.Random(1)))
    assert [ethernet.encode(frame) for frame in frames] == [echo(), echo()]
    assert frames[0] is not frames[1]
    assert wire.duplicated == 1


def test_one_bit_of_the_packet_is_flipped() -> None:
    for family in (AF_INET, AF_INET6):
        data = echo(family)
        (frame,), wire = carried(data, Corruption(1.0, random.Random(1)))
        assert isinstance(frame, RawFrame)
        changed = int.from_bytes(frame.data, "big") ^ int.from_bytes(data, "big")
        assert changed.bit_count() == 1
        assert frame.data[:14] == data[:14]
        assert wire.corrupted == 1


def test_what_carries_no_ip_is_left_whole() -> None:
    message = ArpMessage(1, THEIRS, 0x0A00_0002, 0, 0x0A00_0001)
    message.eth_src, message.eth_dst = THEIRS, 0xFFFF_FFFF_FFFF
    for data in (ethernet.encode(message), echo()[:14], bytes(12) + b"\x81\x00" + bytes(50)):
        (frame,), wire = carried(data, Corruption(1.0, random.Random(1)))
        assert ethernet.encode(frame) == data
        assert wire.corrupted == 0


def marked(data: bytes) -> list[Frame]:
    """What arrives of a frame where every one is marked that can be."""
    return carried(data, red=Red(RedLimits(0, 0, False, 1.0, 1.0, ecn=True), random.Random(1)))[0]


def test_a_mark_leaves_the_checksum_right() -> None:
    for seed in range(200):  # sums that carry, and those that do not
        for ect in (1, 2, 3):
            data = echo(tos=4 * (seed % 64) | ect, number=seed)
            changed = bytearray(data)
            changed[18:20] = random.Random(seed).randbytes(2)  # the identification
            packet = ethernet.frame_of(data)
            assert isinstance(packet, Packet)
            packet.ident = int.from_bytes(changed[18:20], "big")
            (frame,) = marked(ethernet.encode(packet))
            found = ethernet.decode(ethernet.encode(frame))  # which looks at the checksum
            assert isinstance(found, IcmpMessage)
            assert (found.tos, found.ident) == (packet.tos | 3, packet.ident)


def test_a_mark_of_ipv6() -> None:
    (frame,) = marked(echo(AF_INET6, tos=0xFD))
    found = ethernet.decode(ethernet.encode(frame))
    assert isinstance(found, IcmpMessage) and found.tos == 0xFF


def test_who_cannot_do_ecn_is_dropped() -> None:
    assert marked(echo(tos=0xFC)) == marked(echo(AF_INET6, tos=0xFC)) == marked(echo()[:30]) == []
    assert marked(bytes(12) + b"\x81\x00" + bytes(50)) == []


def test_the_headers_are_in_the_digest_and_the_data_is_not() -> None:
    def digest(data: bytes) -> tuple[int, int]:
        wire = carried(data)[1]
        return wire.lane.digest_a, wire.lane.digest_b

    data = echo() + bytes(100)
    assert digest(data) == digest(data)
    assert digest(data) != digest(data[:30] + b"\1" + data[31:])
    assert digest(data) == digest(data[:-1] + b"\1")
    assert digest(data) != digest(data[:-1])


class Crossing:
    """A switch with the doors `left` and `right`, and a host at eth0."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1)
        self.device = self.net.host("host", "10.0.0.1/24").devices["eth0"]
        self.device.arp = True
        self.gates = Gates(self.net.scheduler)
        self.gates.live = True
        self.switch = Switch("crossing")
        self.doors = [Doorway(self.gates), Doorway(self.gates)]
        self.ways: list[WayIn] = []
        lanes = iter(range(10, 20))

        def wire(target: Port) -> Wire:
            return Wire(self.net.scheduler, Lane(next(lanes)), target, 0, 0, 0, 0, None)

        self.switch.plug(self.device, wire(SwitchPort(self.switch, self.device)), wire(Intake(self.device)))
        self.device.medium = self.switch
        for door in self.doors:
            self.ways.append(WayIn(wire(SwitchPort(self.switch, door)), door))
            self.switch.plug_outside(door, wire(door))

    def comes(self, number: int, data: bytes) -> list[list[bytes]]:
        """A frame comes in at the door of that number; what has gone out of each of them."""
        frame = self.ways[number].arrival(data)
        assert frame.target is not None
        frame.target.arrive(frame)
        self.net.scheduler.run(self.net.scheduler.now_ns, 100)
        out = [door.frames.copy() for door in self.doors]
        for door in self.doors:
            door.frames.clear()
        return out


def test_a_switch_learns_who_is_behind_a_door() -> None:
    crossing = Crossing()
    to_others = echo(dst=OTHERS)
    assert crossing.comes(0, to_others) == [[], [to_others]]  # nobody knows them: to all doors but its own
    answer = echo(dst=THEIRS, src=OTHERS)
    assert crossing.comes(1, answer) == [[answer], []]
    assert crossing.switch.learned == {THEIRS: crossing.doors[0], OTHERS: crossing.doors[1]}
    # Who is behind the same door has heard it there.
    assert crossing.comes(1, to_others) == [[], []]
    assert crossing.device.rx_packets == 0


def test_what_is_for_a_device_of_the_run_is_read_there() -> None:
    crossing = Crossing()
    assert crossing.comes(0, echo(dst=crossing.device.mac)) == [[], []]
    assert crossing.device.rx_packets == 1
    broadcast = echo(dst=0xFFFF_FFFF_FFFF)
    assert crossing.comes(0, broadcast) == [[], [broadcast]]
    assert crossing.device.rx_packets == 2


def test_strangers_do_not_fill_the_table() -> None:
    crossing = Crossing()
    for number in range(2000):
        crossing.comes(0, echo(src=0x0600_0000_1000 + number))
        crossing.comes(0, echo(src=0x0100_0000_0000 + number))  # a group sends nothing
    assert len(crossing.switch.learned) == 1024
    # A known one may come by another door all the same.
    crossing.comes(1, echo(src=0x0600_0000_1000))
    assert crossing.switch.learned[0x0600_0000_1000] is crossing.doors[1]
    # Nobody takes the address of a device of the run.
    crossing.comes(1, echo(src=crossing.device.mac))
    assert crossing.device.mac not in crossing.switch.learned


def test_nothing_waits_where_nobody_takes_it() -> None:
    crossing = Crossing()
    crossing.gates.live = False
    assert crossing.comes(0, echo(dst=OTHERS)) == [[], []]


def test_without_its_cable_nothing_comes_through() -> None:
    crossing = Crossing()
    crossing.doors[1].plugged = False
    assert crossing.comes(0, echo(dst=OTHERS)) == [[], []]
    assert crossing.comes(1, echo(dst=crossing.device.mac)) == [[], []]
    assert crossing.device.rx_packets == 0


class Second(Impairment):
    """Loses the second frame."""

    seen = 0

    def drops(self, frame: Frame) -> bool:
        self.seen += 1
        return self.seen == 2


def test_bytes_come_out_when_they_have_been_sent_and_have_travelled() -> None:
    scheduler, (end, frames) = Scheduler(), keeping()
    wire = Wire(scheduler, Lane(1), end, BYTE_US, 5_000, 10, 0, None)
    wire.send(RawFrame(bytes(100)))
    wire.send(RawFrame(b"x" * 50))
    # 100 us on the wire and 5 us on the way; the second frame leaves after the first.
    assert scheduler.next_ns() == 105_000
    scheduler.run(104_999, 10)
    assert frames == []
    scheduler.run(FOREVER, 10)
    assert [(ethernet.encode(frame), frame.at_ns) for frame in frames] == [(bytes(100), 105_000), (b"x" * 50, 155_000)]
    assert end.frames == [bytes(100), b"x" * 50]
    assert scheduler.next_ns() == FOREVER


def test_a_frame_of_bytes_is_lost_as_any_other() -> None:
    scheduler, (end, _frames) = Scheduler(), keeping()
    wire = Wire(scheduler, Lane(1), end, 0, 0, 0, 0, Second())
    for data in (b"a" * 20, b"b" * 20, b"c" * 20):
        wire.send(RawFrame(data))
    scheduler.run(FOREVER, 10)
    assert end.frames == [b"a" * 20, b"c" * 20]
    assert wire.dropped_loss == 1
    assert wire.bytes == 12  # as of all frames, without the Ethernet header
