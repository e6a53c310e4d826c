"""Impairments: the verdict of each, several in a row, and what wires and receivers make of damaged frames."""

from __future__ import annotations

import itertools
import random

import pytest

from lunar.links.impairments import (
    LOST,
    PASS,
    BurstLoss,
    Copy,
    Corruption,
    Duplication,
    Impairment,
    RandomLoss,
    Reordering,
    Series,
    Verdict,
)
from lunar.links.link import Link, Wire
from lunar.net.address import Address
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.network import Network
from lunar.packet import AF_INET, TCP, Damaged, Frame, Packet, TcpSegment, set_tcp_size
from lunar.wire import ethernet
from weaves.scheduler import Lane, Scheduler

MAC_A, MAC_B = 0x02_00_00_00_00_01, 0x02_00_00_00_00_02
A, B = 0x0A00_0001, 0x0A00_0002


PASS_ALL = RandomLoss(0.0, random.Random(1))


def ms(count: int) -> int:
    return count * 1_000_000


def segment(payload: bytes = b"payload", ident: int = 0) -> TcpSegment:
    made = TcpSegment(AF_INET, A, B, 1000, 80, 7, 9, 0x10, 500, payload)
    made.ident, made.eth_src, made.eth_dst = ident, MAC_A, MAC_B
    set_tcp_size(made)
    return made


class Gives(Impairment):
    """The verdicts that it was given, one after the other."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = list(verdicts)
        self.asked = 0

    def judge(self, frame: Frame) -> Verdict:
        self.asked += 1
        return self.verdicts.pop(0)


class Bench:
    """A wire to a host whose TCP is there and listens to nobody; what arrives as (time, frame)."""

    def __init__(self, impairment: Impairment, rate: int = 0, packets: int = 0) -> None:
        self.scheduler = Scheduler()
        self.ip = Ip(self.scheduler, Lane(1), random.Random(1))
        self.device = Device("eth0", MAC_B, 1500, IpInput(self.ip))
        self.device.addresses.append(Address(AF_INET, B, 24))
        self.ip.local[B] = self.device
        self.device.tap = self._arrived
        self.wire = Wire(self.scheduler, Lane(2), self.device, rate, ms(5), packets, 0, impairment)
        self.arrivals: list[tuple[int, Frame]] = []

    def _arrived(self, _device: Device, frame: Frame) -> None:
        self.arrivals.append((int(self.scheduler.now_ns), frame))

    def sends(self, *frames: Frame) -> list[tuple[int, Frame]]:
        for frame in frames:
            self.wire.send(frame)
        self.scheduler.run(1 << 61, 1 << 40)
        return self.arrivals


# Verdicts


def copies(verdict: Verdict) -> list[tuple[int, tuple[int, ...]]]:
    return [(int(copy.delay_ns), copy.flipped) for copy in verdict.copies]


def test_what_only_drops_passes_or_loses() -> None:
    never, always = RandomLoss(0.0, random.Random(1)), RandomLoss(1.0, random.Random(1))
    assert never.judge(segment()) is PASS
    assert always.judge(segment()) is LOST


def test_duplication_sends_two_alike() -> None:
    assert copies(Duplication(1.0, random.Random(1)).judge(segment())) == [(0, ()), (0, ())]
    assert Duplication(0.0, random.Random(1)).judge(segment()) is PASS


def test_corruption_flips_one_bit_of_the_packet() -> None:
    corruption = Corruption(1.0, random.Random(1))
    size = int(segment().size_bytes)
    bits = {copies(corruption.judge(segment()))[0][1] for _ in range(5000)}
    assert bits == {(bit,) for bit in range(8 * size)}  # 5,000 draws of 376 miss one with a chance of 6e-4


def test_reordering_holds_back_by_up_to_its_time() -> None:
    reordering = Reordering(1.0, 3, random.Random(1))
    assert {copies(reordering.judge(segment()))[0] for _ in range(100)} == {(1, ()), (2, ()), (3, ())}


def test_burst_loss_has_its_mean_and_its_rows() -> None:
    loss = BurstLoss(0.1, 5.0, random.Random(1))
    lost = [loss.drops(segment()) for _ in range(100_000)]
    rows = sum(1 for before, now in zip([False, *lost], lost, strict=False) if now and not before)
    assert 0.09 < sum(lost) / len(lost) < 0.11
    assert 4.5 < sum(lost) / rows < 5.5


def test_burst_loss_of_rows_of_one_has_no_rows() -> None:
    loss = BurstLoss(0.2, 1.0, random.Random(1))
    lost = [loss.drops(segment()) for _ in range(10_000)]
    assert not any(a and b for a, b in itertools.pairwise(lost))


def test_burst_loss_keeps_its_share_when_the_rows_must_be_longer() -> None:
    loss = BurstLoss(0.9, 2.0, random.Random(1))
    assert 0.88 < sum(loss.drops(segment()) for _ in range(20_000)) / 20_000 < 0.92


def test_a_series_asks_about_each_copy_and_adds_up() -> None:
    two = Verdict([Copy(1, ()), Copy(2, (5,))])
    second = Gives(Verdict([Copy(10, (7,))]), Verdict([Copy(20, ()), Copy(30, ())]))
    assert copies(Series([Gives(PASS), Gives(two), second]).judge(segment())) == [(11, (7,)), (22, (5,)), (32, (5,))]


def test_a_series_does_not_ask_about_what_is_lost() -> None:
    after = Gives(PASS)
    assert Series([Gives(LOST), after]).judge(segment()) is LOST
    assert after.asked == 0


def test_a_series_that_loses_all_copies_loses_the_frame() -> None:
    two = Verdict([Copy(0, ()), Copy(0, ())])
    assert Series([Gives(two), Gives(LOST, LOST)]).judge(segment()) is LOST


# On the wire


def test_copies_are_queued_one_behind_the_other() -> None:
    b = Bench(Duplication(1.0, random.Random(1)), rate=8_000_000)
    arrived = b.sends(segment(b"x" * 46))  # 86 bytes and 14 of Ethernet: 100 us
    assert [at for at, _ in arrived] == [ms(5) + 100_000, ms(5) + 200_000]
    assert arrived[0][1] is not arrived[1][1]
    assert ethernet.encode(arrived[0][1]) == ethernet.encode(arrived[1][1])
    assert (b.wire.packets, b.wire.duplicated, b.wire.dropped_loss) == (2, 1, 0)


def test_a_copy_that_the_queue_has_no_room_for_is_dropped() -> None:
    b = Bench(Gives(Verdict([Copy(0, ()), Copy(0, ()), Copy(0, ())])), rate=8_000_000, packets=1)
    assert len(b.sends(segment())) == 2
    assert b.wire.dropped_queue == 1


def test_what_is_held_back_is_overtaken() -> None:
    b = Bench(Gives(Verdict([Copy(ms(1), ())]), PASS))
    arrived = b.sends(segment(ident=1), segment(ident=2))
    assert [(at, frame.ident) for at, frame in arrived if isinstance(frame, Packet)] == [(ms(5), 2), (ms(6), 1)]
    assert b.wire.held_back == 1


def test_the_digest_tells_what_was_done_to_a_frame() -> None:
    digests = set()
    for copy in (Copy(0, ()), Copy(1, ()), Copy(2, ()), Copy(0, (3,)), Copy(0, (9,)), Copy(0, (200,))):
        b = Bench(Gives(Verdict([copy])))
        b.sends(segment())
        digests.add((int(b.wire.lane.digest_a), int(b.wire.lane.digest_b)))
    # The payload's bits are not in the digest: (200,) is in TCP's header, and its segment a plain packet.
    assert len(digests) == 6


# Damage


@pytest.mark.parametrize("bit", range(0, 160))
def test_damage_to_the_ip_header_is_counted_by_the_next_host(bit: int) -> None:
    b = Bench(Gives(Verdict([Copy(0, (bit,))])))
    ((_, frame),) = b.sends(segment())
    assert isinstance(frame, Damaged)
    assert (b.ip.counters.ip_in_receives, b.ip.counters.ip_in_hdr_errors, b.ip.counters.ip_in_delivers) == (1, 1, 0)


@pytest.mark.parametrize("bit", range(160, 376))
def test_damage_behind_it_is_counted_by_the_destination(bit: int) -> None:
    b = Bench(Gives(Verdict([Copy(0, (bit,))])))
    ((_, frame),) = b.sends(segment())
    assert type(frame) is Packet and frame.protocol == TCP and frame.payload != ethernet.encode(segment())[34:]
    assert (b.ip.counters.ip_in_hdr_errors, b.ip.counters.ip_in_receives) == (0, 1)


def test_two_flips_that_make_up_for_each_other_are_not_noticed() -> None:
    b = Bench(Gives(Verdict([Copy(0, (320, 336))])))  # the same bit of two words of the payload, one set, one not
    ((_, frame),) = b.sends(segment(b"\x80\x00\x00\x00"))
    assert isinstance(frame, TcpSegment) and frame.payload == b"\x00\x00\x80\x00"


def test_a_damaged_frame_has_bytes_and_can_be_copied() -> None:
    damaged = ethernet.corrupt(segment(), (0,))
    copied = ethernet.copy(damaged)
    whole = ethernet.encode(segment())
    assert ethernet.encode(damaged) == ethernet.encode(copied) == whole[:14] + bytes([whole[14] ^ 0x80]) + whole[15:]
    again = ethernet.corrupt(copied, (0,))
    assert ethernet.encode(again) == whole  # flipped back, it is whole again
    assert isinstance(again, TcpSegment)


@pytest.mark.parametrize("size", range(0, 14))
def test_a_frame_without_a_whole_header_is_one_that_no_device_takes(size: int) -> None:
    b = Bench(PASS_ALL)
    frame = ethernet.frame_of(bytes.fromhex("0200000000ff")[:size].ljust(size, b"\1"))
    b.device.arrive(frame)
    assert (b.device.rx_dropped, b.device.rx_packets) == (1, 0)


def test_a_frame_of_another_protocol_is_dropped_and_counted() -> None:
    b = Bench(PASS_ALL)
    data = bytearray(ethernet.encode(segment()))
    data[12:14] = b"\x88\xcc"
    b.device.arrive(ethernet.frame_of(bytes(data)))
    assert (b.device.rx_dropped, b.ip.counters.ip_in_receives) == (1, 0)


@pytest.mark.parametrize("src", [B, 0x7F00_0001, 0xE000_0001, 0xFFFF_FFFF])
def test_a_source_that_nobody_outside_can_have_is_dropped(src: int) -> None:
    b = Bench(PASS_ALL)
    frame = segment()
    frame.src = src
    b.sends(frame)
    assert (b.ip.counters.ip_in_addr_errors, b.ip.counters.ip_in_delivers) == (1, 0)


# As keys of a link


def pair(**keys: object) -> Network:
    net = Network(seed=1)
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
    net.link(a, b, **keys)  # type: ignore[arg-type]
    return net


def test_the_keys_of_a_link_make_impairments_in_order() -> None:
    net = pair(loss="1%", loss_burst=3, duplicate=0.1, corrupt="2%", reorder=0.5, reorder_by="3ms")
    link = net.links[0]
    assert isinstance(link, Link)
    series = link.a_to_b.impairment
    assert isinstance(series, Series)
    assert [type(part) for part in series.parts] == [BurstLoss, Duplication, Corruption, Reordering]
    assert series.parts[3].most_ns == ms(3)


def test_one_key_makes_one_impairment_and_none_makes_none() -> None:
    for keys, kind in (({"loss": 0.1}, RandomLoss), ({"corrupt": 0.1}, Corruption), ({}, type(None))):
        link = pair(**keys).links[0]
        assert isinstance(link, Link)
        assert type(link.a_to_b.impairment) is kind


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"duplicate": "2"}, "is not a share"),
        ({"corrupt": 1.5}, "out of range"),
        ({"loss_burst": 0.5}, "1 or more"),
        ({"reorder_by": 0}, "reorder_by"),
    ],
)
def test_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair(**keys)


def test_a_stream_gets_through_all_of_it() -> None:
    import asyncio

    data = random.Random(5).randbytes(300_000)

    async def serve() -> bytes:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.read(-1))
            writer.close()

        async with await asyncio.start_server(handle, port=80):
            return await got

    async def send() -> None:
        _, writer = await asyncio.open_connection("10.0.0.2", 80)
        writer.write(data)
        writer.write_eof()
        await writer.drain()
        writer.close()

    net = pair(loss="2%", loss_burst=3, duplicate="5%", corrupt="5%", reorder="10%", reorder_by="20ms", delay="10ms")
    served = net.start(net.hosts["b"], serve)
    net.start(net.hosts["a"], send, at="1ms")
    net.run()
    assert served.result == data
    net.run(until="100s")  # the FINs, and what was sent twice, are still on their way
    figures = net.link_figures()[0]
    assert min(figures[name] for name in ("lost", "duplicated", "corrupted", "held_back")) > 0
    # Whatever was damaged was noticed, by one layer or the other, of one host or the other.
    counters = [host.ip.counters for host in net.hosts.values()]
    noticed = sum(int(one.ip_in_hdr_errors + one.tcp_in_errs) for one in counters)
    assert noticed == figures["corrupted"]
    net.close()
