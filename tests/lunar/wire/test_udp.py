"""UDP's header: dpkt both ways, the checksum that must not be zero, lengths that do not fit."""

from __future__ import annotations

import dpkt
import pytest

from lunar.packet import AF_INET, UdpDatagram
from lunar.wire import checksum, udp
from lunar.wire.malformed import Malformed

SRC, DST = 0x0A00_0001, 0x0A00_0002


def datagram(payload: bytes, sport: int = 5353, dport: int = 53) -> UdpDatagram:
    return UdpDatagram(AF_INET, SRC, DST, sport, dport, payload)


def refused(data: bytes) -> str:
    result = udp.decode(AF_INET, SRC, DST, data)
    assert isinstance(result, Malformed)
    assert result.layer == "udp"
    return result.reason


def accepted(data: bytes) -> UdpDatagram:
    result = udp.decode(AF_INET, SRC, DST, data)
    assert isinstance(result, UdpDatagram)
    return result


@pytest.mark.parametrize("payload", [b"", b"x", b"even", bytes(range(255))])
def test_dpkt_reads_it_and_finds_the_same_checksum(payload: bytes) -> None:
    data = udp.encode(datagram(payload))
    header = dpkt.udp.UDP(data)
    assert (header.sport, header.dport, header.ulen, header.data) == (5353, 53, 8 + len(payload), payload)
    ip = dpkt.ip.IP(src=SRC.to_bytes(4, "big"), dst=DST.to_bytes(4, "big"), p=17, len=20 + len(data), data=header)
    header.sum = 0  # dpkt fills it in
    assert bytes(ip)[20:] == data


@pytest.mark.parametrize("payload", [b"", b"x", b"even"])
def test_reads_what_dpkt_made(payload: bytes) -> None:
    header = dpkt.udp.UDP(sport=68, dport=67, ulen=8 + len(payload), data=payload)
    ip = dpkt.ip.IP(src=SRC.to_bytes(4, "big"), dst=DST.to_bytes(4, "big"), p=17, len=28 + len(payload), data=header)
    got = accepted(bytes(ip)[20:])
    assert (got.src, got.dst, got.protocol, got.sport, got.dport, got.payload) == (SRC, DST, 17, 68, 67, payload)


def cancelling_datagram() -> UdpDatagram:
    """A datagram whose words, the pseudo-header's included, sum to 0xffff: its checksum comes out as 0."""
    words = checksum.pseudo_header(SRC, DST, 17, 10) + 5353 + 53 + 10
    return datagram((0xFFFF - words % 0xFFFF).to_bytes(2, "big"))


def test_zero_checksum_is_sent_as_ffff() -> None:
    data = udp.encode(cancelling_datagram())
    assert data[6:8] == b"\xff\xff"
    assert accepted(data).payload == cancelling_datagram().payload


def test_a_sender_that_made_no_checksum_is_believed() -> None:
    data = udp.encode(datagram(b"abc"))
    assert accepted(data[:6] + b"\0\0" + b"xyz").payload == b"xyz"


def test_bad_checksum() -> None:
    data = udp.encode(datagram(b"abc"))
    assert refused(data[:-1] + b"d") == "bad transport checksum"


def test_checksum_covers_the_addresses() -> None:
    result = udp.decode(AF_INET, SRC, DST + 1, udp.encode(datagram(b"abc")))
    assert isinstance(result, Malformed)
    assert result.reason == "bad transport checksum"


def test_bytes_past_the_length_are_cut() -> None:
    assert accepted(udp.encode(datagram(b"abc")) + b"tail").payload == b"abc"


@pytest.mark.parametrize("length", [0, 7, 12, 0xFFFF])
def test_lengths_that_do_not_fit(length: int) -> None:
    data = udp.encode(datagram(b"abc"))  # 11 bytes
    assert refused(data[:4] + length.to_bytes(2, "big") + data[6:]) == "bad transport header"


@pytest.mark.parametrize("size", range(8))
def test_truncated_header(size: int) -> None:
    assert refused(udp.encode(datagram(b"abc"))[:size]) == "bad transport header"
