"""Links: the time on the wire, the queue before it, what is lost, and what is counted.

At 8 Mbit/s a byte takes one microsecond. A frame is 14 bytes of Ethernet header longer than its packet, so a packet of
86 bytes takes 100 us.
"""

from __future__ import annotations

import random

import pytest

from lunar.links.impairments import Impairment, RandomLoss
from lunar.links.link import Link, Wire
from lunar.net.address import Address
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.packet import AF_INET, Frame, IcmpMessage, Packet, TcpSegment, UdpDatagram
from weaves.scheduler import Lane, Scheduler

MAC_A, MAC_B = 0x02_00_00_00_00_01, 0x02_00_00_00_00_02
A, B = 0x0A00_0001, 0x0A00_0002
BYTE_US = 8_000_000  # bits per second


def us(count: int) -> int:
    return count * 1_000


def ms(count: int) -> int:
    return count * 1_000_000


def packet(ident: int = 0, size: int = 86) -> Packet:
    made = Packet(AF_INET, A, B, 253, b"")
    made.ident, made.size_bytes, made.eth_dst = ident, size, MAC_B
    return made


class DropSome(Impairment):
    """Drops the packets with these identifications; remembers which it was asked about."""

    def __init__(self, *idents: int) -> None:
        self.idents = idents
        self.asked: list[int] = []

    def drops(self, frame: Frame) -> bool:
        assert isinstance(frame, Packet)
        self.asked.append(frame.ident)
        return frame.ident in self.idents


class Bench:
    """One wire, and what arrives at its end as (time, identification)."""

    def __init__(
        self, rate: int = 0, delay: int = 0, packets: int = 0, size: int = 0, impairment: Impairment | None = None
    ) -> None:
        self.scheduler = Scheduler()
        self.device = Device("eth0", MAC_B, 1500, IpInput(Ip(self.scheduler, Lane(1), None)))
        self.device.tap = self._arrived
        self.lane = Lane(2)
        self.wire = Wire(self.scheduler, self.lane, self.device, rate, delay, packets, size, impairment)
        self.arrivals: list[tuple[int, int]] = []
        self.frames: list[Frame] = []

    def _arrived(self, _device: Device, frame: Frame) -> None:
        assert isinstance(frame, Packet)
        self.arrivals.append((self.scheduler.now_ns, frame.ident))
        self.frames.append(frame)

    def at(self, time_ns: int) -> Bench:
        self.scheduler.run(time_ns, 1 << 40)
        if self.scheduler.now_ns < time_ns:
            self.scheduler.advance(time_ns)
        return self

    def sends(self, *idents: int, size: int = 86) -> None:
        for ident in idents:
            self.wire.send(packet(ident, size))

    def ends(self) -> list[tuple[int, int]]:
        self.scheduler.run(1 << 61, 1 << 40)
        return self.arrivals


# Time


def test_serialization_counts_the_ethernet_header() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1)
    assert b.ends() == [(us(100), 1)]  # (86 + 14) bytes


def test_serialization_time_is_rounded_up() -> None:
    b = Bench(rate=7)
    b.sends(1, size=1)
    # (1 + 14) * 8 = 120 bits at 7 bits a second: 17.142857142857... s
    assert b.ends() == [(17_142_857_143, 1)]


def test_a_rate_of_a_terabit_is_exact() -> None:
    b = Bench(rate=10**12)
    b.sends(1, size=111)
    assert b.ends() == [(1, 1)]  # 125 bytes are 1000 bits: one nanosecond


def test_propagation_comes_after_serialization() -> None:
    b = Bench(rate=BYTE_US, delay=ms(5))
    b.sends(1)
    assert b.ends() == [(ms(5) + us(100), 1)]


def test_propagation_does_not_occupy_the_link() -> None:
    b = Bench(rate=BYTE_US, delay=ms(5))
    b.sends(1, 2)
    assert b.ends() == [(ms(5) + us(100), 1), (ms(5) + us(200), 2)]


def test_an_unlimited_rate_takes_no_time() -> None:
    b = Bench(delay=ms(5))
    b.sends(1, 2, size=1500)
    assert b.ends() == [(ms(5), 1), (ms(5), 2)]


def test_nothing_arrives_inside_the_senders_call() -> None:
    b = Bench()
    b.sends(1)
    assert b.arrivals == []


def test_packets_sent_at_once_leave_one_after_the_other() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1, 2, 3)
    assert b.ends() == [(us(100), 1), (us(200), 2), (us(300), 3)]


def test_a_short_packet_waits_for_the_long_one_before_it() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1, size=1486)
    b.sends(2, size=36)
    assert b.ends() == [(us(1500), 1), (us(1550), 2)]


def test_an_idle_link_sends_at_once() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1)
    b.at(us(150)).sends(2)
    assert b.ends() == [(us(100), 1), (us(250), 2)]


def test_a_busy_link_makes_the_packet_wait_for_the_rest() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1)
    b.at(us(60)).sends(2)
    assert b.ends() == [(us(100), 1), (us(200), 2)]
    assert b.wire.queueing_ns == us(40)  # from 60 to 100


def test_a_packet_at_the_moment_of_departure_does_not_wait() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1)
    b.at(us(100)).sends(2)
    b.ends()
    assert b.wire.queueing_ns == 0


# The queue


def test_the_queue_is_limited_in_packets() -> None:
    b = Bench(rate=BYTE_US, packets=2)
    b.sends(1, 2, 3, 4, 5)
    # One is being sent and two wait; the tail is dropped.
    assert b.ends() == [(us(100), 1), (us(200), 2), (us(300), 3)]
    assert b.wire.dropped_queue == 2


def test_a_departure_makes_room_for_one() -> None:
    b = Bench(rate=BYTE_US, packets=1)
    b.sends(1, 2)
    b.at(us(100)).sends(3, 4)  # 1 has left, 2 is being sent, 3 takes the only place
    assert b.ends() == [(us(100), 1), (us(200), 2), (us(300), 3)]
    assert b.wire.dropped_queue == 1


def test_no_room_until_the_departure() -> None:
    b = Bench(rate=BYTE_US, packets=1)
    b.sends(1, 2)
    b.at(us(100) - 1).sends(3)
    assert b.ends() == [(us(100), 1), (us(200), 2)]


@pytest.mark.parametrize(
    ("limit", "survivors"),
    [(99, 2), (100, 2), (199, 2), (200, 3), (250, 3), (299, 3), (300, 4)],
)
def test_the_queue_is_limited_in_bytes(limit: int, survivors: int) -> None:
    # Frames of 100 bytes: one is being sent, and as many wait as fit; one may wait however small the limit.
    b = Bench(rate=BYTE_US, size=limit)
    b.sends(*range(10))
    assert len(b.ends()) == survivors
    assert b.wire.dropped_queue == 10 - survivors


def test_a_small_packet_fits_where_a_large_one_does_not() -> None:
    b = Bench(rate=BYTE_US, size=250)
    b.sends(1, 2, 3)  # 200 bytes wait
    b.sends(4)  # 300 would
    b.sends(5, size=36)  # 250 do
    assert b.ends() == [(us(100), 1), (us(200), 2), (us(300), 3), (us(350), 5)]


def test_bytes_that_left_are_free_again() -> None:
    b = Bench(rate=BYTE_US, size=200)
    b.sends(1, 2, 3)
    b.at(us(100)).sends(4, 5)  # 2 is being sent, 3 and now 4 wait
    assert b.ends() == [(us(100), 1), (us(200), 2), (us(300), 3), (us(400), 4)]


def test_both_limits_hold_at_once() -> None:
    b = Bench(rate=BYTE_US, packets=1, size=1000)
    b.sends(1, 2, 3)
    assert len(b.ends()) == 2


def test_without_limits_everything_waits() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(*range(5000))
    assert b.ends()[-1] == (us(100) * 5000, 4999)


def test_without_a_rate_there_is_no_queue_to_overflow() -> None:
    b = Bench(packets=1, size=1)
    b.sends(*range(10))
    assert len(b.ends()) == 10


# What is counted


def test_accepted_packets_and_their_bytes_without_ethernet() -> None:
    b = Bench(rate=BYTE_US, packets=1)
    b.sends(1, size=100)
    b.sends(2, 3, size=50)
    assert (b.wire.packets, b.wire.bytes) == (2, 150)


def test_queueing_is_summed_over_the_packets() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1, 2, 3)
    assert b.wire.queueing_ns == us(0 + 100 + 200)


def test_what_is_dropped_did_not_queue() -> None:
    b = Bench(rate=BYTE_US, packets=1)
    b.sends(1, 2, 3, 4)
    assert b.wire.queueing_ns == us(100)


def test_peak_is_the_most_that_waited() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1, 2, 3, 4)  # one is being sent
    b.at(us(1000)).sends(5, 6)
    assert b.wire.peak_packets == 3


def test_peak_does_not_count_the_dropped() -> None:
    b = Bench(rate=BYTE_US, packets=2)
    b.sends(1, 2, 3, 4, 5)
    assert b.wire.peak_packets == 2


def test_peak_is_zero_when_nothing_ever_waited() -> None:
    b = Bench(rate=BYTE_US)
    b.sends(1)
    b.at(us(100)).sends(2)
    assert b.wire.peak_packets == 0


# Loss


def test_a_lost_packet_does_not_occupy_the_link() -> None:
    b = Bench(rate=BYTE_US, impairment=DropSome(1))
    b.sends(1, 2)
    assert b.ends() == [(us(100), 2)]
    assert (b.wire.packets, b.wire.dropped_loss, b.wire.dropped_queue) == (1, 1, 0)


def test_a_lost_packet_takes_no_place_in_the_queue() -> None:
    b = Bench(rate=BYTE_US, packets=1, impairment=DropSome(2))
    b.sends(1, 2, 3)
    assert b.ends() == [(us(100), 1), (us(200), 3)]


def test_the_impairment_is_asked_once_a_frame_in_order() -> None:
    impairment = DropSome(2)
    b = Bench(rate=BYTE_US, packets=1, impairment=impairment)
    b.sends(1, 2, 3, 4)
    assert impairment.asked == [1, 2, 3, 4]


def test_random_loss_draws_once_a_frame() -> None:
    b = Bench(impairment=RandomLoss(0.1, random.Random(7)))
    b.sends(*range(1000))
    rng = random.Random(7)
    survivors = [ident for ident in range(1000) if rng.random() >= 0.1]
    assert [ident for _, ident in b.ends()] == survivors
    assert b.wire.dropped_loss == 1000 - len(survivors) == 108


@pytest.mark.parametrize(("probability", "lost"), [(0.0, 0), (1.0, 100)])
def test_certain_loss_and_none(probability: float, lost: int) -> None:
    b = Bench(impairment=RandomLoss(probability, random.Random(1)))
    b.sends(*range(100))
    assert b.wire.dropped_loss == lost


# The digest of the lane


def digest_of(*packets: Packet, at: int = 0) -> tuple[int, int]:
    b = Bench().at(at)
    for one in packets:
        b.wire.send(one)
    return b.lane.digest_a, b.lane.digest_b


def test_equal_traffic_has_an_equal_digest() -> None:
    assert digest_of(packet(1), packet(2)) == digest_of(packet(1), packet(2))


def test_the_digest_knows_the_order() -> None:
    assert digest_of(packet(1), packet(2)) != digest_of(packet(2), packet(1))


def test_the_digest_knows_the_time() -> None:
    assert digest_of(packet(1)) != digest_of(packet(1), at=1)


@pytest.mark.parametrize("field", ["src", "dst", "ident", "ttl", "size_bytes"])
def test_the_digest_knows_each_field_of_the_header(field: str) -> None:
    changed = packet(1)
    setattr(changed, field, getattr(changed, field) + 1)
    assert digest_of(packet(1)) != digest_of(changed)


@pytest.mark.parametrize("field", ["sport", "dport"])
def test_the_digest_knows_the_ports_of_udp(field: str) -> None:
    changed = UdpDatagram(AF_INET, A, B, 1, 2, b"")
    setattr(changed, field, 3)
    assert digest_of(UdpDatagram(AF_INET, A, B, 1, 2, b"")) != digest_of(changed)


@pytest.mark.parametrize("field", ["sport", "dport", "seq", "ack", "flags", "window"])
def test_the_digest_knows_the_fields_of_tcp(field: str) -> None:
    changed = TcpSegment(AF_INET, A, B, 1, 2, 3, 4, 0, 6, b"")
    setattr(changed, field, 9)
    assert digest_of(TcpSegment(AF_INET, A, B, 1, 2, 3, 4, 0, 6, b"")) != digest_of(changed)


def test_the_digest_knows_what_was_lost() -> None:
    kept, lost = Bench(impairment=DropSome()), Bench(impairment=DropSome(1))
    kept.sends(1)
    lost.sends(1)
    assert (kept.lane.digest_a, kept.lane.digest_b) != (lost.lane.digest_a, lost.lane.digest_b)


def test_extreme_fields_fit_the_digest() -> None:
    most = TcpSegment(AF_INET, 2**32 - 1, 2**32 - 1, 65535, 65535, 2**32 - 1, 2**32 - 1, 255, 65535, b"")
    most.has_timestamps, most.ts_val, most.ts_ecr = True, 2**32 - 1, 2**32 - 1
    most.ident, most.ttl, most.size_bytes = 65535, 255, 65535
    assert digest_of(most) == digest_of(most_again()) != digest_of(packet(1))


def most_again() -> TcpSegment:
    made = TcpSegment(AF_INET, 2**32 - 1, 2**32 - 1, 65535, 65535, 2**32 - 1, 2**32 - 1, 255, 65535, b"")
    made.has_timestamps, made.ts_val, made.ts_ecr = True, 2**32 - 1, 2**32 - 1
    made.ident, made.ttl, made.size_bytes = 65535, 255, 65535
    return made


# Through bytes


def test_through_bytes_another_object_arrives_with_the_same_fields() -> None:
    b = Bench(delay=ms(1))
    b.wire.through_bytes = True
    sent = UdpDatagram(AF_INET, A, B, 1000, 2000, b"hello")
    sent.size_bytes, sent.ident, sent.ttl, sent.eth_src, sent.eth_dst = 33, 77, 9, MAC_A, MAC_B
    b.wire.send(sent)
    assert b.ends() == [(ms(1), 77)]
    (got,) = b.frames
    assert isinstance(got, UdpDatagram)
    assert got is not sent
    assert (got.eth_src, got.eth_dst, got.size_bytes, got.ttl) == (MAC_A, MAC_B, 33, 9)
    assert (got.src, got.dst, got.sport, got.dport, got.payload) == (A, B, 1000, 2000, b"hello")


def test_otherwise_the_packet_itself_arrives() -> None:
    b = Bench()
    sent = packet()
    b.wire.send(sent)
    b.ends()
    assert b.frames[0] is sent


# Two wires between two devices


class Pair:
    """Two devices and a link; what each sends and receives as (time, device, identification)."""

    def __init__(self, rate: int = BYTE_US, packets: int = 0) -> None:
        self.scheduler = Scheduler()
        self.a, self.b = (
            Device(name, mac, 1500, IpInput(Ip(self.scheduler, Lane(1), None)))
            for name, mac in (("a", MAC_A), ("b", MAC_B))
        )
        self.a.addresses.append(Address(AF_INET, A, 24))
        self.b.addresses.extend([Address(AF_INET, B, 24), Address(AF_INET, B + 10, 24)])
        wires = (
            Wire(self.scheduler, Lane(2), self.b, rate, 0, packets, 0, None),
            Wire(self.scheduler, Lane(3), self.a, rate, 0, packets, 0, None),
        )
        self.link = Link("a - b", self.a, self.b, *wires)
        self.a.medium = self.b.medium = self.link
        self.arrivals: list[tuple[int, str, int]] = []
        self.a.tap = self.b.tap = self._seen

    def _seen(self, device: Device, frame: Frame) -> None:
        assert isinstance(frame, Packet)
        if frame.eth_dst == device.mac:
            self.arrivals.append((self.scheduler.now_ns, device.name, frame.ident))

    def sends(self, device: Device, ident: int) -> None:
        made = packet(ident)
        made.eth_dst = MAC_B if device is self.a else MAC_A
        device.transmit(made)

    def ends(self) -> list[tuple[int, str, int]]:
        self.scheduler.run(1 << 61, 1 << 40)
        return self.arrivals


def test_the_directions_do_not_wait_for_each_other() -> None:
    p = Pair()
    for ident in (1, 2):
        p.sends(p.a, ident)
        p.sends(p.b, ident)
    assert p.ends() == [(us(100), "b", 1), (us(100), "a", 1), (us(200), "b", 2), (us(200), "a", 2)]


def test_a_full_queue_in_one_direction_drops_nothing_in_the_other() -> None:
    p = Pair(packets=1)
    for ident in (1, 2, 3):
        p.sends(p.a, ident)
    p.sends(p.b, 4)
    assert (p.link.a_to_b.dropped_queue, p.link.b_to_a.dropped_queue) == (1, 0)
    assert (p.link.a_to_b.packets, p.link.b_to_a.packets) == (2, 1)


def test_a_link_resolves_each_address_of_the_other_end() -> None:
    p = Pair()
    assert p.link.resolve(p.b, A) == MAC_A
    assert [p.link.resolve(p.a, address) for address in (B, B + 10)] == [MAC_B, MAC_B]


def test_a_link_resolves_neither_strangers_nor_oneself() -> None:
    p = Pair()
    assert [p.link.resolve(p.a, address) for address in (A, B + 1)] == [-1, -1]


def test_an_icmp_message_passes_as_it_is() -> None:
    p = Pair(rate=0)
    message = IcmpMessage(AF_INET, A, B, 0, 0, 7, b"x")
    message.eth_dst, message.ident = MAC_B, 5
    p.a.transmit(message)
    assert p.ends() == [(0, "b", 5)]
