"""Raw and ping sockets between hosts: routers answer, errors come back, buffers fill. One host alone: tests/parity."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from lunar.network import Network
from lunar.wire.checksum import internet

SOL_RAW, ICMP_FILTER = 255, 1
RECEIVED = b"\0\0"  # type and code of an echo reply
TIME_EXCEEDED = b"\x0b\0"


class World:
    """near (10.0.0.2) - 5 ms - router (10.0.0.1, 10.1.0.1) - 3 ms - far (10.1.0.2)."""

    def __init__(self, through_bytes: bool = False) -> None:
        self.network = Network(seed=1, through_bytes=through_bytes)
        self.near = self.network.host("near", "10.0.0.2/24")
        self.router = self.network.host("router", "10.0.0.1/24", "10.1.0.1/24")
        self.far = self.network.host("far", "10.1.0.2/24")
        self.network.link(self.near, self.router, delay="5ms")
        self.network.link(self.router, self.far, delay="3ms")
        self.router.sh("sysctl -w net.ipv4.ip_forward=1")
        self.near.sh("route add default gw 10.0.0.1")
        self.far.sh("route add default gw 10.1.0.1")

    def run(self, function: Callable[[], Any]) -> Any:
        """What a blocking function on `near` returns."""
        found: list[Any] = []
        self.network.start(self.near, lambda: found.append(function()))
        self.network.run()
        return found[0]


def echo(sequence: int, data: bytes = b"") -> bytes:
    body = struct.pack("!BBHHH", 8, 0, 0, 7, sequence) + data
    return struct.pack("!BBHHH", 8, 0, int(internet(body)), 7, sequence) + data


def raw(protocol: int = socket.IPPROTO_ICMP) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    sock.settimeout(1)
    return sock


def test_an_echo_takes_a_round_trip() -> None:
    def ping() -> Any:
        sock = raw()
        began = time.monotonic_ns()
        sock.sendto(echo(1, b"data"), ("10.1.0.2", 0))
        packet, sender = sock.recvfrom(100)
        return packet[20:22], packet[24:], sender, time.monotonic_ns() - began, packet[8]

    # The TTL is 63: the reply came through one router.
    assert World().run(ping) == (RECEIVED, struct.pack("!HH", 7, 1) + b"data", ("10.1.0.2", 0), 16_000_000, 63)


def test_a_router_says_that_the_time_is_over() -> None:
    def hops() -> list[Any]:
        sock = raw()
        found = []
        for ttl in (1, 2):
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sock.sendto(echo(ttl), ("10.1.0.2", 0))
            packet, sender = sock.recvfrom(200)
            found.append((sender[0], packet[20:22]))
            if packet[20:22] == TIME_EXCEEDED:
                assert packet[28 + 20 :] == echo(ttl)  # the quotation: the IP header and our message
        return found

    assert World().run(hops) == [("10.0.0.1", TIME_EXCEEDED), ("10.1.0.2", RECEIVED)]


@pytest.mark.parametrize("through_bytes", [False, True])
def test_what_a_program_makes_wrong_is_dropped_at_its_destination(through_bytes: bool) -> None:
    world = World(through_bytes)

    def send() -> Any:
        sock = raw()
        sock.sendto(b"\x08\0\0\0 no checksum", ("10.1.0.2", 0))
        try:
            return sock.recv(100)
        except TimeoutError:
            return None

    assert world.run(send) is None
    assert world.far.ip.counters.icmp_in_msgs == 1
    assert world.far.ip.counters.icmp_in_errors == 1


def test_a_protocol_that_nobody_speaks_is_an_error_to_a_connected_socket() -> None:
    def send() -> Any:
        sock = raw(200)
        sock.connect(("10.1.0.2", 0))
        sock.send(b"anybody?")
        with pytest.raises(OSError) as failed:
            sock.recv(100)
        return failed.value.errno

    assert World().run(send) == errno.ENOPROTOOPT


def test_who_is_not_connected_is_told_nothing() -> None:
    def send() -> Any:
        sock = raw(200)
        sock.sendto(b"anybody?", ("10.1.0.2", 0))
        with pytest.raises(TimeoutError):
            sock.recv(100)
        return True

    assert World().run(send)


def test_a_raw_socket_is_enough_for_its_protocol() -> None:
    world = World()
    got: list[bytes] = []
    world.network.start(world.far, lambda: got.append(raw(200).recv(100)[20:]))
    watched: list[Any] = []

    def send() -> Any:
        watcher = raw()
        raw(200).sendto(b"hello", ("10.1.0.2", 0))
        with pytest.raises(TimeoutError):
            watched.append(watcher.recv(100))  # no "protocol unreachable"
        return watched

    assert world.run(send) == []
    assert got == [b"hello"]


def test_a_packet_above_the_mtu_is_cut_or_refused_where_it_must_not_be() -> None:
    def send() -> Any:
        sock = raw(200)
        sock.sendto(bytes(1481), ("10.1.0.2", 0))
        sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: IP_PMTUDISC_DO
        sock.sendto(bytes(1480), ("10.1.0.2", 0))
        with pytest.raises(OSError) as failed:
            sock.sendto(bytes(1481), ("10.1.0.2", 0))
        return failed.value.errno

    assert World().run(send) == errno.EMSGSIZE


def test_a_full_buffer_drops() -> None:
    def fill() -> Any:
        sock = raw(200)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2000)
        for number in range(10):
            sock.sendto(bytes([number]) * 100, ("127.0.0.1", 0))
        time.sleep(1)
        sock.setblocking(False)
        count = 0
        while True:
            try:
                sock.recv(200)
            except BlockingIOError:
                return count
            count += 1

    assert World().run(fill) == 4  # 4000 bytes hold four of 120 bytes and 768 beside


def test_the_table_ends_with_its_sockets() -> None:
    world = World()
    world.run(lambda: [raw().close(), raw(200).close()])
    table: Any = world.near.ip.raw
    assert table.socks == {}


def test_a_broadcast_is_heard_by_everybody() -> None:
    world = World()
    got: list[bytes] = []
    world.network.start(world.router, lambda: got.append(raw(200).recv(100)))

    def send() -> Any:
        sock = raw(200)
        with pytest.raises(PermissionError):
            sock.sendto(b"x", ("10.0.0.255", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(b"all", ("10.0.0.255", 0))
        return sock.recv(100)[20:]

    assert world.run(send) == b"all"
    assert got[0][20:] == b"all"


def test_ping_sockets_see_their_own_replies_only() -> None:
    world = World()
    world.near.sh('sysctl -w net.ipv4.ping_group_range="0 0"')

    def ping() -> Any:
        first, second = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) for _ in range(2))
        second.settimeout(1)
        second.bind(("", 99))
        first.sendto(echo(3, b"abc"), ("10.1.0.2", 0))
        data, sender = first.recvfrom(100)
        with pytest.raises(TimeoutError):
            second.recv(100)
        return data[:2], data[4:6] == struct.pack("!H", first.getsockname()[1]), data[6:], sender

    assert world.run(ping) == (RECEIVED, True, b"\0\x03abc", ("10.1.0.2", 0))


def test_a_connected_ping_socket_hears_that_there_is_no_way() -> None:
    world = World()
    world.near.sh('sysctl -w net.ipv4.ping_group_range="0 0"')
    world.router.sh("route del -net 10.1.0.0/24")

    def ping() -> Any:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        sock.settimeout(1)
        sock.connect(("10.1.0.2", 0))
        sock.send(echo(1))
        with pytest.raises(TimeoutError):  # "network unreachable" is a hint, not final (RFC 1122 3.2.2.1)
            sock.recv(100)
        return True

    assert world.run(ping)


def test_an_error_about_a_packet_with_options_is_told_with_the_data_behind_them() -> None:
    def send() -> bytes:
        sock = raw(253)
        sock.setsockopt(socket.IPPROTO_IP, 4, b"\1\1\1\0")  # IP_OPTIONS
        sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        sock.sendto(b"the data of it", ("10.1.0.2", 0))
        time.sleep(1)
        data, _ancillary, _flags, _address = sock.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
        return data

    assert World().run(send) == b"the data of it"


@pytest.mark.parametrize("number", [0, 77])
def test_fragments_that_a_program_writes_are_put_together(number: int) -> None:
    network = Network(seed=1)
    near, far = network.host("near", "2001:db8::1/64"), network.host("far", "2001:db8::2/64")
    network.link(near, far, delay="1ms")
    data = bytes(range(16))
    ends = b"".join(socket.inet_pton(socket.AF_INET6, address) for address in ("2001:db8::1", "2001:db8::2"))
    check = int(internet(ends + struct.pack("!II", 24, 17) + struct.pack("!HHHH", 9, 5000, 24, 0) + data))
    whole = struct.pack("!HHHH", 9, 5000, 24, check) + data
    got: list[bytes] = []

    def receive() -> None:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::", 5000))
        sock.settimeout(1)
        got.append(sock.recv(100))

    def send() -> None:
        time.sleep(0.1)
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        for offset, more in ((0, 1), (16, 0)):
            part = whole[offset : offset + 16]
            header = struct.pack("!IHBB", 0x6000_0000, 8 + len(part), 44, 64) + ends
            sock.sendto(header + struct.pack("!BBHI", 17, 0, offset | more, number) + part, ("2001:db8::2", 0))

    network.start(far, receive)
    network.start(near, send)
    network.run()
    assert got == [data]
