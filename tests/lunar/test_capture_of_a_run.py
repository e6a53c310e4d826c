"""The captures of a whole run, against two readers that are not ours: dpkt, field by field, and tcpdump's complaints.

Beside the capture each device has a recorder, which notes the fields of every frame as the stack has them. What dpkt
reads from the files must be the same, packet by packet, to the nanosecond.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dpkt
import pytest

import weaves
from lunar.net.device import Device
from lunar.packet import Frame, IcmpMessage, Packet, TcpSegment, UdpDatagram
from weaves.clock import EPOCH_NS, NS_PER_S

TAPESTRY = """
[tapestry]
seed = 3

[hosts.client]
eth0 = "10.0.0.2/24"
net = "route add default gw 10.0.0.1"
strings = [{ run = "programs.py client" }]

[hosts.router]
eth0 = "10.0.0.1/24"
eth1 = "10.1.0.1/24"
net = "sysctl -w net.ipv4.ip_forward=1"

[hosts.server]
eth0 = "10.1.0.2/24"
net = "route add default gw 10.1.0.1"
strings = [{ run = "programs.py server", background = true }]

[[links]]
ends = ["client", "router.eth0"]
rate = "20mbit"
delay = "3ms"
loss = "4%"

[[links]]
ends = ["router.eth1", "server"]
rate = "10mbit"
delay = "10ms"
"""

PROGRAMS = """
import asyncio, contextlib, random, socket, sys

async def echo(reader, writer):
    while data := await reader.read(10_000):
        writer.write(data)
        await writer.drain()
    writer.close()

class Double(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        self.transport.sendto(data, address)

async def server():
    await asyncio.get_running_loop().create_datagram_endpoint(Double, local_addr=("0.0.0.0", 7))
    await (await asyncio.start_server(echo, "0.0.0.0", 7)).serve_forever()

async def talk():
    reader, writer = await asyncio.open_connection("server", 7)
    async def send():
        for size in (1, 2, 1447, 1448, 1449, 200_001):
            writer.write(random.randbytes(size))
            await writer.drain()
        writer.write_eof()
    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        group.create_task(reader.read())
    writer.close()
    await asyncio.sleep(2)  # what is on its way arrives

def client():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(0.5)
    for size in (0, 1, 2, 1471, 1472):
        sock.sendto(random.randbytes(size), ("server", 7))
        with contextlib.suppress(TimeoutError):
            sock.recv(2000)
    for address, ttl in (("10.1.0.2", 64), ("10.1.0.2", 1), ("10.9.9.9", 64)):   # no port, no time left, no network
        for _ in range(3):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.settimeout(0.5)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sock.connect((address, 9))
            with contextlib.suppress(OSError):
                sock.send(b"odd")
                sock.recv(2000)
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("server", 9))
    asyncio.run(talk())

if sys.argv[1] == "client":
    client()
else:
    asyncio.run(server())
"""


def fields(frame: Frame) -> tuple[Any, ...]:
    """What a reader of the bytes should find; taken at once, because the frame changes hands."""
    assert isinstance(frame, Packet)
    common = (
        frame.eth_src, frame.eth_dst, frame.ethertype, frame.src, frame.dst, frame.protocol, frame.ttl, frame.tos,
        frame.ident, frame.dont_fragment, frame.more_fragments, frame.fragment_offset, frame.size_bytes,
    )  # fmt: skip
    if isinstance(frame, TcpSegment):
        options: dict[str, Any] = {}
        if frame.mss >= 0:
            options["mss"] = frame.mss
        if frame.window_scale >= 0:
            options["window scale"] = frame.window_scale
        if frame.sack_permitted:
            options["sack permitted"] = True
        if frame.has_timestamps:
            options["timestamps"] = (frame.ts_val, frame.ts_ecr)
        if frame.sack_blocks is not None:
            options["sack"] = list(frame.sack_blocks)
        return (
            "tcp", *common, frame.sport, frame.dport, frame.seq, frame.ack, frame.flags, frame.window, frame.urgent,
            options, bytes(frame.payload),
        )  # fmt: skip
    if isinstance(frame, UdpDatagram):
        return ("udp", *common, frame.sport, frame.dport, bytes(frame.payload))
    assert isinstance(frame, IcmpMessage)
    return ("icmp", *common, frame.type, frame.code, frame.rest, bytes(frame.payload))


def fields_by_dpkt(data: bytes) -> tuple[Any, ...]:
    """The same from the bytes, as dpkt reads them, with lengths and checksums checked on the way."""
    eth = dpkt.ethernet.Ethernet(data)
    ip = eth.data
    assert isinstance(ip, dpkt.ip.IP)
    assert (ip.v, ip.hl, ip.rf) == (4, 5, 0)
    assert ip.len == len(data) - 14
    assert internet_sum(data[14:34]) == 0xFFFF
    common = (
        int.from_bytes(eth.src), int.from_bytes(eth.dst), eth.type, int.from_bytes(ip.src), int.from_bytes(ip.dst),
        ip.p, ip.ttl, ip.tos, ip.id, bool(ip.df), bool(ip.mf), ip.offset, ip.len,
    )  # fmt: skip
    body = ip.data
    raw = data[34:]
    pseudo = ip.src + ip.dst + struct.pack(">HH", ip.p, len(raw))
    if isinstance(body, dpkt.tcp.TCP):
        assert internet_sum(pseudo + raw) == 0xFFFF
        assert body.off * 4 + len(body.data) == len(raw)
        return (
            "tcp", *common, body.sport, body.dport, body.seq, body.ack, body.flags, body.win, body.urp,
            options_by_dpkt(body.opts), bytes(body.data),
        )  # fmt: skip
    if isinstance(body, dpkt.udp.UDP):
        assert body.ulen == len(raw)
        assert body.sum != 0
        assert internet_sum(pseudo + raw) == 0xFFFF
        return ("udp", *common, body.sport, body.dport, bytes(body.data))
    assert isinstance(body, dpkt.icmp.ICMP)
    assert internet_sum(raw) == 0xFFFF
    return ("icmp", *common, body.type, body.code, int.from_bytes(raw[4:8]), raw[8:])


def options_by_dpkt(data: bytes) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for kind, value in dpkt.tcp.parse_opts(data):
        if kind == dpkt.tcp.TCP_OPT_MSS:
            options["mss"] = int.from_bytes(value)
        elif kind == dpkt.tcp.TCP_OPT_WSCALE:
            options["window scale"] = value[0]
        elif kind == dpkt.tcp.TCP_OPT_SACKOK:
            options["sack permitted"] = True
        elif kind == dpkt.tcp.TCP_OPT_TIMESTAMP:
            options["timestamps"] = struct.unpack(">II", value)
        elif kind == dpkt.tcp.TCP_OPT_SACK:
            options["sack"] = list(struct.iter_unpack(">II", value))
        else:
            assert kind == dpkt.tcp.TCP_OPT_NOP
    return options


def internet_sum(data: bytes) -> int:
    """RFC 1071, the plain way: the one's complement sum of the 16-bit words."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int(word) for (word,) in struct.iter_unpack(">H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Run:
    """A run with captures in `folder`, and what the recorders beside them noted, by the files' names."""

    def __init__(self, folder: Path) -> None:
        (folder / "site.toml").write_text(TAPESTRY)
        (folder / "programs.py").write_text(PROGRAMS)
        self.captures = folder / "captures"
        self.recorded: dict[str, list[tuple[int, tuple[Any, ...]]]] = {}
        tapestry = weaves.load(folder / "site.toml")
        network = tapestry.network
        network.capture(self.captures)
        for host in network.hosts.values():
            for device in host.devices.values():
                if device.name != "lo":
                    records = self.recorded[f"{host.name}-{device.name}.pcap"] = []
                    device.tap = self._both(records, device.tap, network)
        try:
            tapestry.run_blocking()
            assert tapestry.ok
        finally:
            tapestry.close()

    def _both(
        self, records: list[tuple[int, tuple[Any, ...]]], capture: Callable[[Device, Frame], None], network: Any
    ) -> Callable[[Device, Frame], None]:
        def tap(device: Device, frame: Frame) -> None:
            records.append((int(network.scheduler.now_ns), fields(frame)))
            capture(device, frame)

        return tap


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


def read(path: Path) -> list[tuple[int, bytes]]:
    """The packets of a file with their times, in nanoseconds of virtual time."""
    with open(path, "rb") as file:
        packets = [(int(time * NS_PER_S) - EPOCH_NS, data) for time, data in dpkt.pcap.Reader(file)]
        assert file.read() == b""
    return packets


def test_there_is_a_file_for_each_device(run: Run) -> None:
    names = {path.name for path in run.captures.iterdir()}
    assert names == {"client-eth0.pcap", "router-eth0.pcap", "router-eth1.pcap", "server-eth0.pcap"}
    assert set(run.recorded) == names


def test_dpkt_reads_the_fields_that_the_stack_had(run: Run) -> None:
    for name, expected in run.recorded.items():
        packets = read(run.captures / name)
        assert len(packets) == len(expected)
        for number, ((time_ns, data), (now_ns, ours)) in enumerate(zip(packets, expected, strict=True)):
            assert (name, number, time_ns) == (name, number, now_ns)
            assert fields_by_dpkt(data) == ours, (name, number)


def test_the_run_had_everything_in_it(run: Run) -> None:
    # What the comparison above is worth: every kind of packet, option and length was there.
    seen = [ours for records in run.recorded.values() for _, ours in records]
    kinds = Counter(ours[0] for ours in seen)
    assert kinds["tcp"] > 500
    assert kinds["udp"] > 20
    assert {(ours[14], ours[15]) for ours in seen if ours[0] == "icmp"} == {(3, 3), (3, 0), (11, 0)}
    segments = [ours for ours in seen if ours[0] == "tcp"]
    options = {name for ours in segments for name in ours[21]}
    assert options >= {"mss", "window scale", "timestamps", "sack permitted", "sack"}
    flags = {ours[18] for ours in segments}
    assert {0x02, 0x12, 0x10, 0x18, 0x14} <= flags  # SYN, SYN ACK, ACK, PSH ACK, RST ACK
    assert any(bits & 0x01 for bits in flags)
    assert {len(ours[16]) for ours in seen if ours[0] == "udp"} >= {0, 1, 2, 3, 1471, 1472}
    at_client = [ours for _, ours in run.recorded["client-eth0.pcap"] if ours[0] == "tcp"]
    sent = Counter((ours[16], ours[22]) for ours in at_client if ours[22])
    assert max(sent.values()) > 1  # a retransmission


def test_what_one_device_sends_another_receives_later(run: Run) -> None:
    # The loss-free link: the same packets at both ends, at least the 10 ms delay apart.
    at_router, at_server = run.recorded["router-eth1.pcap"], run.recorded["server-eth0.pcap"]
    assert Counter(str(ours) for _, ours in at_router) == Counter(str(ours) for _, ours in at_server)
    sent = [(now_ns, ours) for now_ns, ours in at_router if ours[5] == 0x0A01_0002]  # to the server
    received = [(now_ns, ours) for now_ns, ours in at_server if ours[5] == 0x0A01_0002]
    for (sent_ns, one), (received_ns, other) in zip(sent, received, strict=True):
        assert one == other
        assert received_ns - sent_ns >= 10_000_000


def test_tcpdump_has_no_complaint(run: Run) -> None:
    tcpdump = shutil.which("tcpdump", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/bin")
    if tcpdump is None:
        pytest.skip("tcpdump is not installed")
    # As root, tcpdump would change to a user of its own, who may not read pytest's directories.
    as_is = ["-Z", "root"] if os.geteuid() == 0 else []
    for name, records in run.recorded.items():
        done = subprocess.run(
            [tcpdump, "-r", str(run.captures / name), "-vv", "-n", *as_is],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = done.stdout.lower()
        for complaint in ("bad ", "incorrect", "wrong", "truncated", "[|", "invalid", "missing", "unknown ip", "opt-"):
            assert complaint not in said, [line for line in said.splitlines() if complaint in line][:3]
        # It looked at every packet, and at the checksum of each; ICMP errors quote one more.
        quoting = sum(1 for _, ours in records if ours[0] == "icmp")
        assert said.count("ip (tos 0x") == len(records) + quoting
        checked = said.count("(correct)") + said.count("udp sum ok]")
        assert checked >= len(records) - quoting


def test_the_command_writes_the_same_files(run: Run, tmp_path: Path) -> None:
    folder = run.captures.parent
    safe_path = ["-P"] if sys.flags.safe_path else []
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    captures = tmp_path / "again"
    done = subprocess.run(
        [sys.executable, *safe_path, "-m", "weaves.cli", "run", "site.toml", "--quiet", "--pcap", str(captures)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, cwd=folder, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # TCP's payloads and all: the programs draw them from the seed.
    for name in run.recorded:
        assert (captures / name).read_bytes() == (run.captures / name).read_bytes()
