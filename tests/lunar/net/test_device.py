"""A device: what it takes, what it counts, and what it does when it is down."""

from __future__ import annotations

from lunar.links.loopback import Loopback
from lunar.net.address import Address
from lunar.net.device import RING_FRAMES, Device
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.packet import AF_INET, BROADCAST_MAC, Packet
from weaves.scheduler import Lane, Scheduler

MAC = 0x02_00_00_00_00_05


class Bench:
    """A device of its own and the network layer behind it."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.ip = Ip(self.scheduler, Lane(1), None)
        self.device = Device("eth0", MAC, 1500, IpInput(self.ip))

    def gets(self, mac: int) -> None:
        frame = Packet(AF_INET, 1, 2, 253, b"")
        frame.eth_dst, frame.size_bytes = mac, 100
        self.device.arrive(frame)


def test_its_own_frames_are_received() -> None:
    b = Bench()
    b.gets(MAC)
    assert (b.device.rx_packets, b.device.rx_bytes, b.device.rx_dropped) == (1, 100, 0)
    assert b.ip.counters.ip_in_receives == 1


def test_broadcasts_are_received() -> None:
    b = Bench()
    b.gets(BROADCAST_MAC)
    assert b.ip.counters.ip_in_receives == 1


def test_frames_for_another_are_dropped() -> None:
    b = Bench()
    b.gets(MAC + 1)
    assert (b.device.rx_packets, b.device.rx_dropped, b.ip.counters.ip_in_receives) == (0, 1, 0)


def test_a_device_that_is_down_receives_nothing() -> None:
    b = Bench()
    b.device.up = False
    b.gets(MAC)
    assert (b.device.rx_packets, b.device.rx_dropped, b.ip.counters.ip_in_receives) == (0, 1, 0)


def test_a_device_that_is_down_sends_nothing() -> None:
    b = Bench()
    b.device.medium = Loopback(b.scheduler)
    b.device.up = False
    b.device.transmit(Packet(AF_INET, 1, 2, 253, b""))
    assert (b.device.tx_packets, b.device.tx_dropped, b.scheduler.pending()) == (0, 1, 0)


def test_an_unplugged_device_drops_what_it_sends() -> None:
    b = Bench()
    b.device.transmit(Packet(AF_INET, 1, 2, 253, b""))
    assert (b.device.tx_packets, b.device.tx_dropped) == (0, 1)


def test_sending_sets_the_source_and_counts() -> None:
    b = Bench()
    b.device.medium = Loopback(b.scheduler)
    frame = Packet(AF_INET, 1, 2, 253, b"")
    frame.size_bytes = 60
    b.device.transmit(frame)
    assert (frame.eth_src, b.device.tx_packets, b.device.tx_bytes) == (MAC, 1, 60)


def test_a_tap_sees_both_ways() -> None:
    b = Bench()
    b.device.medium = Loopback(b.scheduler)
    seen: list[int] = []
    b.device.tap = lambda _device, frame: seen.append(frame.eth_dst)
    b.device.transmit(Packet(AF_INET, 1, 2, 253, b""))
    b.gets(MAC)
    b.gets(MAC + 1)  # not its own: no capture either
    assert seen == [0, MAC]


def test_the_primary_address_is_the_first() -> None:
    b = Bench()
    assert b.device.primary_address() == 0
    b.device.addresses.extend([Address(AF_INET, 7, 24), Address(AF_INET, 8, 24)])
    assert b.device.primary_address() == 7


def test_a_device_without_power_takes_and_sends_nothing() -> None:
    b = Bench()
    b.device.medium = Loopback(b.scheduler)
    b.device.power_off()
    b.gets(MAC)
    b.device.transmit(Packet(AF_INET, 1, 2, 253, b""))
    assert (b.device.rx_packets, b.device.rx_dropped, b.device.tx_dropped) == (0, 1, 1)
    assert b.scheduler.pending() == 0


def test_the_ring_holds_what_is_meant_for_the_device() -> None:
    b = Bench()
    b.device.hold()
    b.gets(MAC)
    b.gets(MAC + 1)
    assert (b.device.rx_packets, b.device.rx_dropped, b.ip.counters.ip_in_receives) == (0, 1, 0)
    b.device.go_on()
    b.gets(MAC)
    assert (b.device.rx_packets, b.device.rx_dropped, b.ip.counters.ip_in_receives) == (2, 1, 2)


def test_a_full_ring_drops() -> None:
    b = Bench()
    b.device.hold()
    for _ in range(RING_FRAMES + 3):
        b.gets(MAC)
    b.device.go_on()
    assert (b.device.rx_packets, b.device.rx_dropped) == (RING_FRAMES, 3)


def test_what_the_ring_held_is_gone_with_the_power() -> None:
    b = Bench()
    b.device.hold()
    b.gets(MAC)
    b.device.power_off()
    b.device.running = True
    assert b.ip.counters.ip_in_receives == 0
