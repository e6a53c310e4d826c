"""Ethernet's header, with dpkt as the other reader and writer, and hardware addresses in text."""

from __future__ import annotations

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.packet import AF_INET, AF_INET6, Frame, Packet, UdpDatagram
from lunar.wire import ethernet, ipv4
from lunar.wire.malformed import Malformed

HERE, THERE = 0x02_00_00_00_00_01, 0xFE_DC_BA_98_76_54


def datagram() -> UdpDatagram:
    packet = UdpDatagram(AF_INET, 0x0A00_0001, 0x0A00_0002, 1000, 2000, b"hello")
    packet.eth_src = HERE
    packet.eth_dst = THERE
    return packet


def refused(data: bytes) -> tuple[str, str]:
    result = ethernet.decode(data)
    assert isinstance(result, Malformed)
    return result.layer, result.reason


def test_exact_header() -> None:
    data = ethernet.encode(datagram())
    assert data[:14] == bytes.fromhex("fedcba987654 020000000001 0800")
    assert data[14:] == ipv4.encode(datagram())


def test_dpkt_reads_it() -> None:
    frame = dpkt.ethernet.Ethernet(ethernet.encode(datagram()))
    assert (frame.dst, frame.src, frame.type) == (THERE.to_bytes(6, "big"), HERE.to_bytes(6, "big"), 0x0800)
    assert frame.data.data.data == b"hello"


def test_reads_what_dpkt_made() -> None:
    body = dpkt.ip.IP(src=bytes([10, 0, 0, 1]), dst=bytes([10, 0, 0, 2]), p=253, data=b"x", len=21)
    frame = dpkt.ethernet.Ethernet(src=b"\x02\0\0\0\0\x07", dst=b"\xff" * 6, type=0x0800, data=body)
    packet = ethernet.decode(bytes(frame))
    assert isinstance(packet, Packet)
    assert (packet.eth_src, packet.eth_dst, packet.ethertype) == (0x02_00_00_00_00_07, 0xFFFF_FFFF_FFFF, 0x0800)
    assert (packet.protocol, packet.payload) == (253, b"x")


def test_padding_to_the_shortest_frame_is_cut() -> None:
    packet = ethernet.decode(ethernet.encode(datagram()).ljust(60, b"\0"))
    assert isinstance(packet, UdpDatagram)
    assert (packet.payload, packet.size_bytes) == (b"hello", 20 + 8 + 5)


@pytest.mark.parametrize("size", range(14))
def test_truncated_header(size: int) -> None:
    assert refused(ethernet.encode(datagram())[:size]) == ("ethernet", "truncated")


@pytest.mark.parametrize("ethertype", ["0806", "8100", "0000", "05dc"])
def test_other_ethertypes(ethertype: str) -> None:
    data = ethernet.encode(datagram())
    assert refused(data[:12] + bytes.fromhex(ethertype) + data[14:]) == ("ethernet", "ethertype")


def test_header_alone_is_a_truncated_packet() -> None:
    assert refused(ethernet.encode(datagram())[:14]) == ("ipv4", "truncated")


def test_only_packets_have_bytes() -> None:
    with pytest.raises(AssertionError, match="no packet"):
        ethernet.encode(Frame(0x0806))
    with pytest.raises(AssertionError, match="another family"):
        ipv4.encode(UdpDatagram(AF_INET6, 1, 2, 1000, 2000, b""))


@given(st.integers(0, 2**48 - 1))
def test_mac_text_and_back(mac: int) -> None:
    text = ethernet.mac_text(mac)
    assert text == mac.to_bytes(6, "big").hex(":")
    assert ethernet.parse_mac(text) == mac
    assert ethernet.parse_mac(text.upper()) == mac


@pytest.mark.parametrize(
    "text",
    [
        "", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "020000000001", "02-00-00-00-00-01",
        "02:00:00:00:00:0g", "02:00:00:00:00: 1", "+2:00:00:00:00:01", "02:00:00:00:00:01 ",
        "02:00:00:00:00:\u0660\u0661",
    ],
)  # fmt: skip
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(ValueError, match="is not a hardware address; expected six hexadecimal pairs"):
        ethernet.parse_mac(text)
