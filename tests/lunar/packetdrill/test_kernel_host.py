"""The machine's kernel as the stack under test: packets in and out, calls that block, command lines.

Times of the machine are not exact; nothing here depends on them but for an order.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lunar.kernel.namespace import KernelUnavailable
from lunar.packet import ACK, AF_INET, SYN, TcpSegment
from lunar.packetdrill.backend import Settings, ShellError
from lunar.packetdrill.kernel_host import KernelHost
from lunar.wire import ipv4
from lunar.wire.address import parse_ipv4

LOCAL, REMOTE = "192.168.0.1", "192.0.2.1"
SECONDS = 1_000_000_000
LONG = 5 * SECONDS


def unavailable() -> str:
    """Why this machine has no namespaces or no TUN devices for us; empty if it has both."""
    try:
        KernelHost(Settings()).close()
    except KernelUnavailable as error:
        return str(error)
    return ""


WHY_NOT = unavailable()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture
def kernel() -> Iterator[KernelHost]:
    made = KernelHost(Settings())
    yield made
    made.close()


def segment(seq: int, ack: int, flags: int, payload: bytes = b"") -> bytes:
    made = TcpSegment(AF_INET, parse_ipv4(REMOTE), parse_ipv4(LOCAL), 9999, 8080, seq, ack, flags, 20_000, payload)
    if flags & SYN:
        made.mss = 1000
    return ipv4.encode(made)


def sent(kernel: KernelHost) -> TcpSegment:
    packet = kernel.sent(kernel.now_ns() + LONG)
    assert packet is not None, "the kernel has sent nothing"
    assert packet.at_ns <= kernel.now_ns()
    header = (packet.data[0] & 15) * 4
    sport, dport = (int.from_bytes(packet.data[header + at : header + at + 2], "big") for at in (0, 2))
    seq, ack = (int.from_bytes(packet.data[header + at : header + at + 4], "big") for at in (4, 8))
    options = (packet.data[header + 12] >> 4) * 4
    # By hand: the checksum of what the device has not cut yet is not there.
    return TcpSegment(
        AF_INET, parse_ipv4(LOCAL), parse_ipv4(REMOTE), sport, dport, seq, ack, packet.data[header + 13], 0,
        packet.data[header + options :],
    )


def listening(kernel: KernelHost) -> int:
    calls = kernel.syscalls
    fd = int(calls.socket(socket.AF_INET, socket.SOCK_STREAM, 0))
    calls.bind(fd, ("0.0.0.0", 8080))
    calls.listen(fd, 1)
    return fd


def test_a_call_that_blocks_ends_when_the_packet_comes(kernel: KernelHost) -> None:
    listener = listening(kernel)
    accepting = kernel.start(lambda: kernel.syscalls.accept(listener))
    assert not accepting.done
    kernel.inject(segment(0, 0, SYN))
    synack = sent(kernel)
    assert (synack.flags, synack.ack) == (SYN | ACK, 1)
    before = kernel.now_ns()
    kernel.inject(segment(1, synack.seq + 1, ACK))
    assert kernel.wait(accepting, kernel.now_ns() + LONG)
    connection, peer = accepting.result()
    assert peer == (REMOTE, 9999)
    assert accepting.ended_ns > before
    for fd in (listener, connection):
        kernel.syscalls.close(fd)


def test_segments_are_seen_before_they_are_cut_and_come_in_put_together(kernel: KernelHost) -> None:
    listener = listening(kernel)
    kernel.inject(segment(0, 0, SYN))
    isn = sent(kernel).seq
    kernel.inject(segment(1, isn + 1, ACK))
    connection, _ = kernel.syscalls.accept(listener)
    kernel.syscalls.write(connection, bytes(4000))
    assert len(sent(kernel).payload) > 1000
    kernel.inject(segment(1, isn + 1, ACK, b"x" * 3000), mss=1000)
    assert kernel.syscalls.read(connection, 4000) == b"x" * 3000
    for fd in (listener, connection):
        kernel.syscalls.close(fd)


def test_a_call_that_fails_raises_what_it_says(kernel: KernelHost) -> None:
    task = kernel.start(lambda: kernel.syscalls.listen(-1, 1))
    assert task.done
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        task.result()
    assert caught.value.errno == errno.EBADF


def test_nothing_is_sent_when_nothing_is_to_be_sent(kernel: KernelHost) -> None:
    assert kernel.sent(kernel.now_ns() + SECONDS // 100) is None


def test_commands_are_those_of_a_shell_in_the_scripts_folder(kernel: KernelHost, tmp_path: Path) -> None:
    tmp_path.joinpath("set.sh").write_text("sysctl -qw net.ipv4.tcp_sack=0\nsysctl -n net.ipv4.tcp_sack > out\n")
    kernel.shell("sh ./set.sh", tmp_path)
    assert tmp_path.joinpath("out").read_text() == "0\n"
    with pytest.raises(ShellError, match="'exit 3' ended with status 3"):
        kernel.shell("exit 3", tmp_path)


def test_addresses_are_those_of_the_settings() -> None:
    kernel = KernelHost(Settings(local_ip="10.1.2.3", gateway_ip="10.1.2.9", netmask_ip="255.255.255.0", mtu=1400))
    try:
        calls = kernel.syscalls
        fd = calls.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0)
        with pytest.raises(BlockingIOError):
            calls.connect(fd, (REMOTE, 80))
        packet = kernel.sent(kernel.now_ns() + LONG)
        assert packet is not None
        assert packet.data[12:16] == bytes([10, 1, 2, 3])
        assert b"\x02\x04" + (1360).to_bytes(2, "big") in packet.data  # MSS: the MTU without headers
        calls.close(fd)
    finally:
        kernel.close()
