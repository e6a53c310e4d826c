"""ICMP's header: dpkt both ways, an error that quotes a packet, bad checksums."""

from __future__ import annotations

import dpkt
import pytest

from lunar.packet import AF_INET, IcmpMessage, UdpDatagram
from lunar.wire import icmp, ipv4
from lunar.wire.malformed import Malformed

SRC, DST = 0x0A00_0001, 0x0A00_0002
ECHO, UNREACHABLE, FRAGMENTATION_NEEDED = 8, 3, 4


def echo(payload: bytes) -> IcmpMessage:
    return IcmpMessage(AF_INET, SRC, DST, ECHO, 0, (0x1234 << 16) | 7, payload)  # identifier, sequence


def refused(data: bytes) -> str:
    result = icmp.decode(AF_INET, SRC, DST, data)
    assert isinstance(result, Malformed)
    assert result.layer == "icmp"
    return result.reason


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(56))])
def test_dpkt_reads_it_and_finds_the_same_checksum(payload: bytes) -> None:
    data = icmp.encode(echo(payload))
    header = dpkt.icmp.ICMP(data)
    assert (header.type, header.code) == (ECHO, 0)
    assert (header.data.id, header.data.seq, header.data.data) == (0x1234, 7, payload)
    header.sum = 0  # dpkt fills it in
    assert bytes(header) == data


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(56))])
def test_reads_what_dpkt_made(payload: bytes) -> None:
    data = bytes(dpkt.icmp.ICMP(type=0, data=dpkt.icmp.ICMP.Echo(id=0xFFFF, seq=1, data=payload)))
    got = icmp.decode(AF_INET, SRC, DST, data)
    assert isinstance(got, IcmpMessage)
    assert (got.src, got.dst, got.protocol) == (SRC, DST, 1)
    assert (got.type, got.code, got.rest, got.payload) == (0, 0, 0xFFFF_0001, payload)


def test_an_error_quotes_the_offending_packet() -> None:
    offending = ipv4.encode(UdpDatagram(AF_INET, DST, SRC, 1000, 2000, b"too big"))[:28]
    data = icmp.encode(IcmpMessage(AF_INET, SRC, DST, UNREACHABLE, FRAGMENTATION_NEEDED, 1280, offending))
    header = dpkt.icmp.ICMP(data)
    assert (header.type, header.code, header.data.mtu) == (UNREACHABLE, FRAGMENTATION_NEEDED, 1280)
    got = icmp.decode(AF_INET, SRC, DST, data)
    assert isinstance(got, IcmpMessage)
    assert (got.rest, got.payload) == (1280, offending)


def test_bad_checksum() -> None:
    assert refused(icmp.encode(echo(b"abc"))[:-1] + b"d") == "bad transport checksum"


@pytest.mark.parametrize("size", range(8))
def test_truncated_header(size: int) -> None:
    assert refused(icmp.encode(echo(b""))[:size]) == "bad transport header"
