"""A switch: one hop in, one hop out, and the queue at the way out.

At 8 Mbit/s a byte takes one microsecond. The packets are echo replies, which nobody answers, of 28 + 58 bytes; with the
Ethernet header 100 bytes: 100 us on each of the two wires.
"""

from __future__ import annotations

from typing import Any

import lunar
from lunar.links.switch import Switch
from lunar.net import ip_output
from lunar.net.device import Device
from lunar.net.icmp import ECHO_REPLY
from lunar.packet import AF_INET, BROADCAST_MAC, Frame, IcmpMessage, Packet

BROADCAST = 0x0A00_00FF


def us(count: int) -> int:
    return count * 1_000


def ms(count: int) -> int:
    return count * 1_000_000


def message(dst: int, number: int) -> IcmpMessage:
    made = IcmpMessage(AF_INET, 0, dst, ECHO_REPLY, 0, number, bytes(58))
    made.size_bytes = 86
    return made


class Lan:
    """Hosts h1 (10.0.0.1), h2 ... on one switch; what arrives at their devices as (time, host, number)."""

    def __init__(self, count: int = 4, **options: Any) -> None:
        self.net = lunar.Network(seed=1)
        self.hosts = [self.net.host(f"h{i}", f"10.0.0.{i}/24") for i in range(1, count + 1)]
        switch = self.net.link(*self.hosts, **{"rate": "8mbit", "delay": "5ms", **options})
        assert isinstance(switch, Switch)
        self.switch = switch
        self.arrivals: list[tuple[int, str, int]] = []
        for host in self.hosts:
            host.devices["eth0"].tap = self._seen
            self.device(host).name = host.name

    def device(self, host: lunar.Host) -> Device:
        return host.devices["eth0"]

    def _seen(self, device: Device, frame: Frame) -> None:
        assert isinstance(frame, IcmpMessage)
        if frame.eth_src != device.mac:
            self.arrivals.append((self.net.scheduler.now_ns, device.name, frame.rest))

    def sends(self, sender: int, receiver: int, number: int = 0) -> None:
        dst = BROADCAST if receiver == 255 else 0x0A00_0000 + receiver
        assert ip_output.send(self.hosts[sender - 1].ip, message(dst, number), None) == 0

    def ends(self) -> list[tuple[int, str, int]]:
        self.net.run(until="10s")
        return self.arrivals


def test_a_frame_is_sent_twice_and_delayed_once() -> None:
    lan = Lan()
    lan.sends(1, 2, 7)
    assert lan.ends() == [(ms(5) + us(100 + 100), "h2", 7)]


def test_unicast_reaches_nobody_else() -> None:
    lan = Lan()
    lan.sends(1, 3)
    lan.sends(3, 1)
    assert [name for _, name, _ in lan.ends()] == ["h1", "h3"]
    assert [lan.device(host).rx_dropped for host in lan.hosts] == [0, 0, 0, 0]


def test_the_first_wire_queues_what_one_host_sends() -> None:
    lan = Lan()
    lan.sends(1, 2, 1)
    lan.sends(1, 3, 2)
    # Both leave h1 one after the other; their ways out are different and idle.
    assert lan.ends() == [(ms(5) + us(200), "h2", 1), (ms(5) + us(300), "h3", 2)]


def test_two_senders_compete_for_the_way_out() -> None:
    lan = Lan()
    lan.sends(1, 3, 1)
    lan.sends(2, 3, 2)
    assert lan.ends() == [(ms(5) + us(200), "h3", 1), (ms(5) + us(300), "h3", 2)]


def test_different_ways_out_do_not_compete() -> None:
    lan = Lan()
    lan.sends(1, 3)
    lan.sends(2, 4)
    assert [time for time, _, _ in lan.ends()] == [ms(5) + us(200)] * 2


def test_congestion_drops_at_the_way_out() -> None:
    lan = Lan(5, queue="1 packets")
    for sender in (1, 2, 3, 4):
        lan.sends(sender, 5, sender)
    # All four reach the switch at once: one is sent on, one waits, two are dropped.
    assert lan.ends() == [(ms(5) + us(200), "h5", 1), (ms(5) + us(300), "h5", 2)]
    assert lan.switch.downlinks[lan.device(lan.hosts[4])].dropped_queue == 2


def test_broadcast_reaches_all_others_once() -> None:
    lan = Lan()
    lan.sends(1, 255, 9)
    assert sorted(lan.ends()) == [(ms(5) + us(200), name, 9) for name in ("h2", "h3", "h4")]


def test_broadcast_does_not_come_back_to_its_sender() -> None:
    lan = Lan()
    lan.sends(1, 255)
    lan.ends()
    assert [lan.device(host).rx_packets for host in lan.hosts] == [0, 1, 1, 1]


def test_the_copies_of_a_broadcast_are_separate_packets() -> None:
    lan = Lan(3)
    seen: list[Frame] = []
    for host in lan.hosts[1:]:
        lan.device(host).tap = lambda _device, frame: seen.append(frame)
    lan.sends(1, 255)
    lan.ends()
    first, second = seen
    assert isinstance(first, Packet)
    assert isinstance(second, Packet)
    assert first is not second
    assert (first.src, first.dst, first.ident) == (second.src, second.dst, second.ident)


def test_an_unknown_destination_is_counted() -> None:
    lan = Lan()
    stray = message(0x0A00_0002, 1)
    stray.eth_dst = 0x0200_0000_FFFF
    lan.device(lan.hosts[0]).transmit(stray)
    assert lan.ends() == []
    assert lan.switch.unknown_destination == 1


def test_a_broadcast_is_not_an_unknown_destination() -> None:
    lan = Lan()
    lan.sends(1, 255)
    lan.ends()
    assert lan.switch.unknown_destination == 0


def test_a_neighbour_that_does_not_exist_is_not_resolved() -> None:
    lan = Lan()
    assert lan.switch.resolve(lan.device(lan.hosts[0]), 0x0A00_0063) == -1


def test_an_address_from_after_the_plugging_is_found() -> None:
    lan = Lan()
    assert lan.switch.resolve(lan.device(lan.hosts[0]), 0x0A00_0063) == -1
    lan.hosts[1].sh("ifconfig eth0 10.0.0.99/24")
    lan.sends(1, 99, 3)
    assert lan.ends() == [(ms(5) + us(200), "h2", 3)]


def test_loss_strikes_once_a_frame_on_the_way_in() -> None:
    lan = Lan(3, rate=None, loss=0.5)
    for number in range(1000):
        lan.sends(1, 2, number)
    arrived = len(lan.ends())
    up = lan.switch.uplinks[lan.device(lan.hosts[0])]
    assert arrived == 1000 - up.dropped_loss
    assert [wire.dropped_loss for wire in lan.switch.downlinks.values()] == [0, 0, 0]
    assert 440 < arrived < 560  # 500, and four standard deviations of 15.8 either way


def test_the_switch_adds_no_delay_to_an_unlimited_link() -> None:
    lan = Lan(rate=None)
    lan.sends(1, 2)
    assert lan.ends() == [(ms(5), "h2", 0)]


def test_broadcast_frames_carry_the_broadcast_address() -> None:
    lan = Lan(3)
    seen: list[int] = []
    lan.device(lan.hosts[1]).tap = lambda _device, frame: seen.append(frame.eth_dst)
    lan.sends(1, 255)
    lan.ends()
    assert seen == [BROADCAST_MAC]


def test_of_two_with_one_hardware_address_the_last_gets_the_frames_until_it_gives_it_back() -> None:
    lan = Lan(3)
    one, two = lan.device(lan.hosts[0]), lan.device(lan.hosts[1])
    own, others = int(one.mac), int(two.mac)
    lan.hosts[0].set_mac(one, others)
    lan.sends(3, 2, 1)
    lan.sends(2, 3, 2)  # who has it, too, can send as before
    lan.net.run(until="1s")
    assert [(host, number) for _at, host, number in lan.arrivals] == [("h1", 1), ("h3", 2)]
    lan.hosts[0].set_mac(one, own)
    lan.sends(3, 2, 3)
    lan.sends(3, 1, 4)
    assert [(host, number) for _at, host, number in lan.ends()[2:]] == [("h2", 3), ("h1", 4)]
