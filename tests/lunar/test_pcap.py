"""Captures on disk: what dpkt reads back, whole records at any moment, and what tcpdump thinks of our packets."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from dpkt.pcap import Reader

from lunar.packet import (
    ACK,
    AF_INET,
    AF_INET6,
    FIN,
    PSH,
    SYN,
    UDP,
    URG,
    IcmpMessage,
    Packet,
    TcpSegment,
    UdpDatagram,
    set_tcp_size,
)
from lunar.pcap import CaptureDirectory
from lunar.wire import ethernet, ipv4, ipv6, transport
from lunar.wire.address import parse_ipv6
from weaves import file_set
from weaves.clock import EPOCH_NS, NS_PER_MS, NS_PER_S

SRC, DST = 0x0A00_0002, 0x0A00_0003
FILE_HEADER_BYTES, RECORD_HEADER_BYTES = 24, 16


def datagram(payload: bytes = b"hello") -> UdpDatagram:
    packet = UdpDatagram(AF_INET, SRC, DST, 1000, 2000, payload)
    packet.eth_src, packet.eth_dst = 0x02_00_00_00_00_02, 0x02_00_00_00_00_03
    return packet


def records(path: Path) -> list[tuple[int, bytes]]:
    """The time stamps, in nanoseconds, and frames of a capture that ends where a record ends."""
    data = path.read_bytes()
    magic, major, minor, zone, figures, snaplen, linktype = struct.unpack_from("<IHHIIII", data)
    assert (magic, major, minor, zone, figures, snaplen, linktype) == (0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)
    found = []
    at = FILE_HEADER_BYTES
    while at < len(data):
        seconds, nanoseconds, length, original = struct.unpack_from("<IIII", data, at)
        assert length == original
        at += RECORD_HEADER_BYTES
        assert at + length <= len(data), "half a record"
        found.append((seconds * NS_PER_S + nanoseconds, data[at : at + length]))
        at += length
    return found


def test_dpkt_reads_what_was_recorded(tmp_path: Path) -> None:
    with CaptureDirectory(tmp_path) as captures:
        captures.record("server", "eth0", 5 * NS_PER_MS, datagram(b"first"))
        captures.record("server", "eth0", 6 * NS_PER_S + 1, datagram(b"second"))
    with open(tmp_path / "server-eth0.pcap", "rb") as file:
        reader = Reader(file)
        assert reader.datalink() == 1
        assert [(int(time * NS_PER_S) - EPOCH_NS, frame) for time, frame in reader] == [
            (5 * NS_PER_MS, ethernet.encode(datagram(b"first"))),
            (6 * NS_PER_S + 1, ethernet.encode(datagram(b"second"))),
        ]


def test_time_stamps_count_from_the_epoch(tmp_path: Path) -> None:
    with CaptureDirectory(tmp_path, epoch_ns=NS_PER_S - 1) as captures:
        captures.record("a", "eth0", 0, datagram())
        captures.record("a", "eth0", 1, datagram())
    assert [time for time, _ in records(tmp_path / "a-eth0.pcap")] == [NS_PER_S - 1, NS_PER_S]


def test_time_stamps_come_round_in_2106(tmp_path: Path) -> None:
    with CaptureDirectory(tmp_path, epoch_ns=0) as captures:
        captures.record("a", "eth0", 2**32 * NS_PER_S + 7, datagram())
    assert [time for time, _ in records(tmp_path / "a-eth0.pcap")] == [7]


def test_an_epoch_before_1970_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="since 1970"):
        CaptureDirectory(tmp_path, epoch_ns=-1)


def test_a_file_for_each_device_that_saw_a_frame(tmp_path: Path) -> None:
    with CaptureDirectory(tmp_path / "new" / "directory") as captures:
        captures.record("a", "eth0", 0, datagram(b"1"))
        captures.record("a", "lo", 0, datagram(b"2"))
        captures.record("b", "eth0", 0, datagram(b"3"))
    files = {path.name: records(path)[0][1][-1:] for path in (tmp_path / "new" / "directory").iterdir()}
    assert files == {"a-eth0.pcap": b"1", "a-lo.pcap": b"2", "b-eth0.pcap": b"3"}


def test_no_frame_no_file(tmp_path: Path) -> None:
    with CaptureDirectory(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_frame_is_recorded_as_it_was_then(tmp_path: Path) -> None:
    frame = datagram()
    with CaptureDirectory(tmp_path) as captures:
        captures.record("a", "eth0", 0, frame)
        frame.ttl -= 1
        captures.record("b", "eth0", 0, frame)
    ttls = [records(tmp_path / f"{host}-eth0.pcap")[0][1][22] for host in "ab"]
    assert ttls == [64, 63]


def test_an_older_file_is_replaced_with_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "a-eth0.pcap"
    path.write_bytes(b"from an earlier run")
    captures = CaptureDirectory(tmp_path)
    captures.record("a", "eth0", 0, datagram())
    assert records(path) == []  # valid already, though the record is still gathered
    captures.close()
    assert len(records(path)) == 1


def test_what_is_on_disk_is_whole_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "a-eth0.pcap"
    frame = datagram(bytes(997))
    record_bytes = RECORD_HEADER_BYTES + 14 + 28 + 997
    seen = set()
    with CaptureDirectory(tmp_path) as captures:
        for number in range(200):
            captures.record("a", "eth0", number, frame)
            seen.add(len(records(path)))
    # 63 records are the first that are more than 64 KiB, and are written together.
    assert 62 * record_bytes <= 64 * 1024 < 63 * record_bytes
    assert seen == {0, 63, 126, 189}
    assert len(records(path)) == 200


def test_all_buffers_together_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_set, "TOTAL_BUFFER_BYTES", 10_000)
    frame = datagram(bytes(942))  # 1000 bytes a record
    with CaptureDirectory(tmp_path) as captures:
        for number in range(10):
            captures.record(f"h{number}", "eth0", 0, frame)
        assert sum(len(records(path)) for path in tmp_path.iterdir()) == 0
        captures.record("h10", "eth0", 0, frame)
        assert [len(records(path)) for path in tmp_path.iterdir()] == [1] * 11
        for number in range(10):
            captures.record(f"h{number}", "eth0", 0, frame)
        assert sum(len(records(path)) for path in tmp_path.iterdir()) == 11


def test_thousands_of_devices_hold_no_descriptors(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc/self/fd to count descriptors in")
    before = len(os.listdir("/proc/self/fd"))
    with CaptureDirectory(tmp_path) as captures:
        for number in range(2000):
            captures.record(f"h{number}", "eth0", 0, datagram())
        assert len(os.listdir("/proc/self/fd")) == before
    assert len(os.listdir(tmp_path)) == 2000


def test_flush_brings_files_up_to_date(tmp_path: Path) -> None:
    with CaptureDirectory(tmp_path) as captures:
        captures.record("a", "eth0", 0, datagram())
        captures.flush()
        assert len(records(tmp_path / "a-eth0.pcap")) == 1
    assert len(records(tmp_path / "a-eth0.pcap")) == 1


def test_close_may_be_repeated_and_is_final(tmp_path: Path) -> None:
    captures = CaptureDirectory(tmp_path)
    captures.record("a", "eth0", 0, datagram())
    captures.close()
    captures.close()
    assert len(records(tmp_path / "a-eth0.pcap")) == 1
    with pytest.raises(ValueError, match="after the capture was closed"):
        captures.record("a", "eth0", 0, datagram())


@pytest.mark.parametrize(
    ("host", "device", "name"),
    [
        ("client-17", "eth0", "client-17-eth0.pcap"),
        ("a.example.org", "eth0.5", "a.example.org-eth0.5.pcap"),
        ("../../etc", "eth0", "..%2F..%2Fetc-eth0.pcap"),
        ("a b", "eth:1", "a%20b-eth%3A1.pcap"),
        ("a%20b", "\0", "a%2520b-%00.pcap"),
        ("höst", "\ud800", "h%C3%B6st-%ED%A0%80.pcap"),
    ],
)
def test_names_are_made_safe(tmp_path: Path, host: str, device: str, name: str) -> None:
    assert file_set.file_name(host, device, "pcap") == name
    with CaptureDirectory(tmp_path) as captures:
        captures.record(host, device, 0, datagram())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_different_devices_never_share_a_file() -> None:
    assert file_set.file_name("a-b", "c", "pcap") != file_set.file_name("a", "b-c", "pcap")
    assert file_set.file_name("a/b", "c", "pcap") != file_set.file_name("a_b", "c", "pcap")
    assert file_set.file_name("a", "br-lan", "pcap") == "a-br%2Dlan.pcap"


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(FileExistsError, match="cannot write captures to this directory: File exists") as caught:
        CaptureDirectory(path)
    assert caught.value.filename == str(path)


def test_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(PermissionError, match="cannot write captures to this directory: Permission denied"):
        CaptureDirectory(tmp_path)


def test_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(directory: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), directory)

    monkeypatch.setattr(file_set, "_try_to_write", read_only)
    with pytest.raises(OSError, match="cannot write captures to this directory: Read-only") as caught:
        CaptureDirectory(tmp_path)
    assert caught.value.errno == errno.EROFS


class FillingDisk:
    """os.write() of a disk with room for so many bytes, which takes 100 at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.write = os.write

    def __call__(self, descriptor: int, data: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self.write(descriptor, data[: min(100, self.room)])
        self.room -= written
        return written


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", FillingDisk(10_000))
    with CaptureDirectory(tmp_path) as captures:
        captures.record("a", "eth0", 0, datagram(bytes(1000)))
    assert len(records(tmp_path / "a-eth0.pcap")) == 1


def test_a_full_disk_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a-eth0.pcap"
    captures = CaptureDirectory(tmp_path)
    captures.record("a", "eth0", 0, datagram(b"written"))
    captures.flush()
    captures.record("a", "eth0", 1, datagram(bytes(1000)))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", FillingDisk(250))
        with pytest.raises(OSError, match="No space left"):
            captures.flush()
    assert len(records(path)) == 1
    captures.close()  # there is room again, and nothing was lost
    assert len(records(path)) == 2


def test_close_tries_every_file(tmp_path: Path) -> None:
    captures = CaptureDirectory(tmp_path)
    for host in "abc":
        captures.record(host, "eth0", 0, datagram())
    (tmp_path / "a-eth0.pcap").unlink()
    (tmp_path / "a-eth0.pcap").mkdir()
    with pytest.raises(IsADirectoryError):
        captures.close()
    assert [len(records(tmp_path / f"{host}-eth0.pcap")) for host in "bc"] == [1, 1]


def segment(flags: int, seq: int, payload: bytes = b"") -> TcpSegment:
    s = TcpSegment(AF_INET, SRC, DST, 40000, 5001, seq, 77 if flags & ACK else 0, flags, 64240, payload)
    s.dont_fragment = True
    return s


def all_kinds() -> list[Packet]:
    """Every kind of packet that the stack makes, with every option, and odd and even lengths."""
    syn = segment(SYN, 100)
    syn.mss, syn.sack_permitted, syn.has_timestamps, syn.ts_val, syn.window_scale = 1460, True, True, 1, 7
    plain_syn = segment(SYN, 100)
    plain_syn.mss, plain_syn.sack_permitted = 536, True
    data = segment(ACK | PSH, 101, bytes(range(255)))
    data.has_timestamps, data.ts_val, data.ts_ecr = True, 2, 1
    sack = segment(ACK, 356)
    sack.has_timestamps, sack.ts_val, sack.sack_blocks = True, 3, [(1000, 2000), (4000, 5000), (7000, 8000)]
    urgent = segment(ACK | URG, 356, b"!")
    urgent.urgent = 1
    fin = segment(FIN | ACK, 357)
    full = segment(ACK, 358, bytes(1460))
    segments = [syn, plain_syn, data, sack, urgent, fin, full]
    for s in segments:
        set_tcp_size(s)

    datagrams = [datagram(bytes(size)) for size in (0, 1, 2, 1472)]
    unreachable = IcmpMessage(AF_INET, DST, SRC, 3, 3, 0, ipv4.encode(datagrams[1]))
    too_big = IcmpMessage(AF_INET, DST, SRC, 3, 4, 1280, ipv4.encode(data))
    echo = IcmpMessage(AF_INET, SRC, DST, 8, 0, (1 << 16) | 1, bytes(range(57)))
    reply = IcmpMessage(AF_INET, DST, SRC, 0, 0, (1 << 16) | 1, bytes(range(57)))

    body = transport.encode(datagram(bytes(2000)))
    first = Packet(AF_INET, SRC, DST, UDP, body[:1480])
    first.more_fragments = True
    last = Packet(AF_INET, SRC, DST, UDP, body[1480:])
    last.fragment_offset = 1480
    experiment = Packet(AF_INET, SRC, DST, 253, b"experiment")
    return [*segments, *datagrams, unreachable, too_big, echo, reply, first, last, experiment]


def all_kinds_of_ipv6() -> list[Packet]:
    """The same over IPv6, with extension headers and a fragment header."""
    src, dst = parse_ipv6("2001:db8::1"), parse_ipv6("fe80::200:5eff:fe00:5302")
    syn = TcpSegment(AF_INET6, src, dst, 40000, 5001, 100, 0, SYN, 64240, b"")
    syn.mss, syn.sack_permitted, syn.has_timestamps, syn.ts_val, syn.window_scale = 1440, True, True, 1, 7
    data = TcpSegment(AF_INET6, src, dst, 40000, 5001, 101, 77, ACK | PSH, 64240, bytes(range(255)))
    data.flow_label, data.tos = 0x12345, 0x28
    for one in (syn, data):
        set_tcp_size(one)
    datagrams = [UdpDatagram(AF_INET6, src, dst, 1000, 2000, bytes(size)) for size in (0, 1, 2, 1452)]
    datagrams[1].options = bytes.fromhex("00 00 05 02 0000 01 00  3c 00 01 04 00000000")
    unreachable = IcmpMessage(AF_INET6, dst, src, 1, 4, 0, ipv6.encode(datagrams[2]))
    too_big = IcmpMessage(AF_INET6, dst, src, 2, 0, 1280, ipv6.encode(data))
    echo = IcmpMessage(AF_INET6, src, dst, 128, 0, (1 << 16) | 1, bytes(range(57)))
    body = transport.encode(UdpDatagram(AF_INET6, src, dst, 1000, 2000, bytes(2000)))
    first = Packet(AF_INET6, src, dst, UDP, body[:1448])
    first.more_fragments, first.ident = True, 0x1234_5678
    last = Packet(AF_INET6, src, dst, UDP, body[1448:])
    last.fragment_offset, last.ident = 1448, 0x1234_5678
    experiment = Packet(AF_INET6, src, dst, 253, b"experiment")
    return [syn, data, *datagrams, unreachable, too_big, echo, first, last, experiment]


def told_by_tcpdump(tmp_path: Path, packets: list[Packet]) -> str:
    """What tcpdump prints of a capture with these packets, of which it must not complain."""
    tcpdump = shutil.which("tcpdump", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/bin")
    if tcpdump is None:
        pytest.skip("tcpdump is not installed")
    with CaptureDirectory(tmp_path) as captures:
        for number, packet in enumerate(packets):
            captures.record("a", "eth0", number * NS_PER_MS + 5, packet)
    # As root, tcpdump would change to a user of its own, who may not read pytest's directories.
    as_is = ["-Z", "root"] if os.geteuid() == 0 else []
    # -S: sequence numbers as they are, not from the first one seen.
    command = [tcpdump, "-r", str(tmp_path / "a-eth0.pcap"), "-vv", "-n", "-S", *as_is]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    output = run.stdout
    for complaint in ("bad", "incorrect", "wrong", "truncated", "[|", "invalid", "unknown ip"):
        assert complaint not in output.lower(), output
    return output


def test_tcpdump_finds_nothing_wrong(tmp_path: Path) -> None:
    packets = all_kinds()
    output = told_by_tcpdump(tmp_path, packets)
    # It saw all of them, and looked at the checksums. A segment and a datagram are there again, quoted in ICMP errors.
    assert output.count("IP (tos 0x0") == len(packets) + 2
    assert output.count("(correct)") == 7 + 1
    assert output.count("[udp sum ok]") == 4 + 1
    assert "options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0" in output
    assert "options [mss 536,nop,nop,sackOK], length 0" in output
    assert "options [nop,nop,TS val 3 ecr 0,nop,nop,sack 3 {1000:2000}{4000:5000}{7000:8000}]" in output
    assert "need to frag (mtu 1280)" in output
    assert "ICMP echo request, id 1, seq 1, length 65" in output


def test_tcpdump_finds_nothing_wrong_with_ipv6(tmp_path: Path) -> None:
    packets = all_kinds_of_ipv6()
    output = told_by_tcpdump(tmp_path, packets)
    assert output.count(" IP6 (") == len(packets)
    assert (output.count("(correct)"), output.count("[udp sum ok]"), output.count("[icmp6 sum ok]")) == (2, 4, 3)
    assert "IP6 (class 0x28, flowlabel 0x12345, hlim 64, next-header TCP (6) payload length: 275)" in output
    assert "HBH (rtalert: 0x0000) (padn) DSTOPT (padn) 1000 > 2000: [udp sum ok] UDP, length 1" in output
    assert "ICMP6, destination unreachable, unreachable port, fe80::200:5eff:fe00:5302 udp port 2000" in output
    assert "ICMP6, packet too big, mtu 1280" in output
    assert "frag (0x12345678:0|1448) 1000 > 2000: UDP, length 2000" in output
    assert "frag (0x12345678:1448|560)" in output
