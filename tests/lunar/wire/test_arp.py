"""ARP on the wire: dpkt is the oracle, and whatever comes in raises nothing."""

from __future__ import annotations

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.packet import ArpMessage, Damaged, Frame
from lunar.wire import arp, ethernet
from lunar.wire.malformed import Malformed

MACS = st.integers(0, 2**48 - 1)
ADDRESSES = st.integers(0, 2**32 - 1)
MESSAGES = st.builds(ArpMessage, st.integers(0, 0xFFFF), MACS, ADDRESSES, MACS, ADDRESSES)


def fields(message: Frame) -> tuple[int, ...]:
    assert isinstance(message, ArpMessage)
    return (
        message.operation, message.sender_mac, message.sender_ip, message.target_mac, message.target_ip,
        message.eth_dst, message.eth_src, message.size_bytes, message.ethertype,
    )  # fmt: skip


@given(MESSAGES, MACS, MACS)
def test_a_message_comes_back_from_its_bytes(message: ArpMessage, dst: int, src: int) -> None:
    message.eth_dst, message.eth_src = dst, src
    data = ethernet.encode(message)
    assert len(data) == 14 + 28
    assert fields(ethernet.frame_of(data)) == fields(message) == fields(ethernet.copy(message))
    assert fields(arp.copy(message)) == fields(message)
    assert fields(ethernet.frame_of(data.ljust(60, b"\0"))) == fields(message)  # padded


@given(MESSAGES)
def test_dpkt_reads_the_same(message: ArpMessage) -> None:
    read = dpkt.ethernet.Ethernet(ethernet.encode(message)).data
    assert isinstance(read, dpkt.arp.ARP)
    assert (read.hrd, read.pro, read.hln, read.pln, read.op) == (1, 0x0800, 6, 4, message.operation)
    assert read.sha == int(message.sender_mac).to_bytes(6, "big")
    assert read.spa == message.sender_ip.to_bytes(4, "big")
    assert read.tha == int(message.target_mac).to_bytes(6, "big")
    assert read.tpa == message.target_ip.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [(1, 6, "bad protocol"), (3, 1, "bad protocol"), (4, 8, "bad header length"), (5, 16, "bad header length")],
)
def test_what_is_not_of_ipv4_over_ethernet_is_refused(at: int, value: int, reason: str) -> None:
    data = bytearray(arp.encode(ArpMessage(1, 1, 2, 3, 4)))
    data[at] = value
    found = arp.decode(bytes(data))
    assert isinstance(found, Malformed)
    assert (found.layer, found.reason) == ("arp", reason)
    frame = ethernet.frame_of(bytes(12) + b"\x08\x06" + bytes(data))
    assert isinstance(frame, Damaged)
    assert frame.ethertype == 0x0806


@given(st.binary(max_size=40))
def test_nothing_that_comes_in_raises(data: bytes) -> None:
    found = arp.decode(data)
    assert isinstance(found, Malformed) == (len(data) < 28 or data[:6] != b"\x00\x01\x08\x00\x06\x04")
