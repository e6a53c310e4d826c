"""Namespaces of the machine's kernel: what is made there is there, and only there; and devices that we are behind."""

from __future__ import annotations

import errno
import os
import select
import socket
from pathlib import Path

import pytest

from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.kernel.tun import IFF_TAP, IFF_TUN, TunDevice


def unavailable() -> str:
    """Why this machine has no namespaces or no TUN devices for us; empty if it has both."""
    try:
        TunDevice(Namespace(), "tun0", IFF_TUN).close()
    except KernelUnavailable as error:
        return str(error)
    return ""


WHY_NOT = unavailable()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def own() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_a_thread_goes_there_and_comes_back() -> None:
    home = own()
    with Namespace() as namespace:
        there = own()
        with namespace:
            assert own() == there
        assert own() == there
    assert own() == home != there


def test_a_socket_stays_where_it_was_made() -> None:
    one, other = Namespace(), Namespace()
    with one:
        listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with one:
        socket.create_connection(address).close()
    with other, pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    listener.close()


def test_a_parameter_is_set_there_alone() -> None:
    namespace = Namespace()
    before = Path("/proc/sys/net/ipv4/tcp_syn_retries").read_text()
    assert namespace.sysctl("net.ipv4.tcp_syn_retries", "1") == "1"
    assert Path("/proc/sys/net/ipv4/tcp_syn_retries").read_text() == before
    assert Namespace().sysctl("net.ipv4.tcp_syn_retries") == before.strip()


def test_a_command_that_fails_says_why() -> None:
    namespace = Namespace()
    assert " lo: " in namespace.command("ip", "link")
    with pytest.raises(KernelUnavailable, match=r"ip link show dev nothing: .*nothing"):
        namespace.command("ip", "link", "show", "dev", "nothing")
    with pytest.raises(KernelUnavailable, match="no-such-program is not installed"):
        namespace.command("no-such-program")


def test_what_the_kernel_sends_to_a_tun_device_is_read_as_an_ip_packet() -> None:
    namespace = Namespace()
    device = TunDevice(namespace, "tun0", IFF_TUN)
    namespace.sysctl("net.ipv6.conf.tun0.disable_ipv6", "1")
    namespace.command("ip", "address", "add", "10.9.0.1/24", "dev", "tun0")
    namespace.command("ip", "link", "set", "tun0", "up")
    with namespace, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", ("10.9.0.2", 9))
    assert select.select([device.descriptor], [], [], 5)[0]
    packet = os.read(device.descriptor, 2048)
    assert len(packet) == 20 + 8 + 5
    assert packet[12:20] == bytes([10, 9, 0, 1, 10, 9, 0, 2])
    assert packet.endswith(b"hello")
    with pytest.raises(BlockingIOError):
        os.read(device.descriptor, 2048)
    device.close()


def test_a_device_is_there_once_and_gone_with_its_file() -> None:
    namespace = Namespace()
    device = TunDevice(namespace, "tap0", IFF_TAP)
    with pytest.raises(KernelUnavailable, match=f"no device tap0: {os.strerror(errno.EBUSY)}"):
        TunDevice(namespace, "tap0", IFF_TAP)
    device.close()
    assert "tap0" not in namespace.command("ip", "link")
