"""UDP: ports, who gets a datagram, buffers, errors; and the asyncio endpoint over it. A link takes 1 ms."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lunar
from lunar.net import bpf, path_mtu
from lunar.net.datagram_sock import QUEUE_OVERHEAD_BYTES
from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP
from lunar.packet import AF_INET, Frame, Packet
from lunar.sockets import options, syscalls
from lunar.udp import MAX_PAYLOAD, UdpSock
from lunar.wire.address import ipv4_text, parse_ipv4

A, B = "10.0.0.1", "10.0.0.2"
MS = 1_000_000

PORT_FIRST, PORT_LAST = 32_768, 60_999  # net.ipv4.ip_local_port_range


networks: list[lunar.Network] = []


@pytest.fixture(autouse=True)
def close_networks() -> Iterator[None]:
    yield
    while networks:
        networks.pop().close()


class Wire:
    """Hosts a (10.0.0.1) and b (10.0.0.2), 1 ms apart."""

    def __init__(self, seed: int = 1, mtu: int = 1500) -> None:
        self.net = lunar.Network(seed=seed)
        networks.append(self.net)
        self.a = self.net.host("a", f"{A}/24")
        self.b = self.net.host("b", f"{B}/24")
        self.net.link(self.a, self.b, delay="1ms", mtu=mtu)

    def runs(self) -> None:
        self.net.run(until=self.net.now + 1)


def udp(host: lunar.Host, address: str = "0.0.0.0", port: int = -1, **flags: bool) -> UdpSock:
    """A socket of `host`, bound unless `port` is -1, with flags such as reuse_addr set."""
    sock = host.udp.create(AF_INET)
    for name, value in flags.items():
        setattr(sock, name, value)
    if port >= 0:
        assert sock.bind(parse_ipv4(address), port) == 0
    return sock


def sends(sock: UdpSock, data: bytes, address: str, port: int) -> int:
    return syscalls.sendto(sock, data, 0, parse_ipv4(address), port)


def gets(sock: UdpSock, size: int = 65_536) -> list[bytes]:
    """All that waits in `sock`."""
    found = []
    while (got := syscalls.recvfrom(sock, size, 0)).errno == 0:
        found.append(got.data)
    assert got.errno == errno.EAGAIN
    return found


# Binding


def bind(sock: UdpSock, address: str, port: int) -> int:
    return syscalls.bind(sock, parse_ipv4(address), port)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("0.0.0.0", "0.0.0.0", -errno.EADDRINUSE),
        ("0.0.0.0", A, -errno.EADDRINUSE),
        (A, "0.0.0.0", -errno.EADDRINUSE),
        (A, A, -errno.EADDRINUSE),
        (A, "127.0.0.1", 0),
        ("127.0.0.1", "127.0.0.2", 0),
    ],
)
def test_a_port_is_taken_at_an_address(first: str, second: str, expected: int) -> None:
    w = Wire()
    udp(w.a, first, 53)
    assert bind(udp(w.a), second, 53) == expected


@pytest.mark.parametrize("flag", ["reuse_addr", "reuse_port"])
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(True, True, 0), (True, False, -errno.EADDRINUSE), (False, True, -errno.EADDRINUSE)],
)
def test_reuse_needs_the_consent_of_both(flag: str, first: bool, second: bool, expected: int) -> None:
    w = Wire()
    udp(w.a, "0.0.0.0", 53, **{flag: first})
    assert bind(udp(w.a, **{flag: second}), "0.0.0.0", 53) == expected


def test_two_kinds_of_reuse_do_not_add_up() -> None:
    w = Wire()
    udp(w.a, "0.0.0.0", 53, reuse_addr=True)
    assert bind(udp(w.a, reuse_port=True), "0.0.0.0", 53) == -errno.EADDRINUSE


def test_reuse_needs_the_consent_of_all() -> None:
    w = Wire()
    udp(w.a, A, 53, reuse_addr=True)
    udp(w.a, "127.0.0.1", 53)
    assert bind(udp(w.a, reuse_addr=True), "0.0.0.0", 53) == -errno.EADDRINUSE


@pytest.mark.parametrize("address", ["0.0.0.0", A, "127.0.0.1", "127.9.9.9", "10.0.0.255", "255.255.255.255"])
def test_an_address_of_the_host_can_be_bound(address: str) -> None:
    assert bind(udp(Wire().a), address, 53) == 0


@pytest.mark.parametrize("address", [B, "10.0.0.0", "192.168.0.1", "128.0.0.1"])
def test_another_cannot(address: str) -> None:
    assert bind(udp(Wire().a), address, 53) == -errno.EADDRNOTAVAIL


def test_binding_twice_is_einval() -> None:
    sock = udp(Wire().a, "0.0.0.0", 53)
    assert bind(sock, "0.0.0.0", 54) == -errno.EINVAL
    assert sock.local_port == 53


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_out_of_range_is_einval(port: int) -> None:
    assert bind(udp(Wire().a), "0.0.0.0", port) == -errno.EINVAL


def test_hosts_have_ports_of_their_own() -> None:
    w = Wire()
    udp(w.a, "0.0.0.0", 53)
    assert bind(udp(w.b), "0.0.0.0", 53) == 0


# Ephemeral ports


def ephemeral(host: lunar.Host, count: int) -> list[int]:
    return [int(udp(host, "0.0.0.0", 0).local_port) for _ in range(count)]


def test_ephemeral_ports_are_in_linux_range_and_differ() -> None:
    ports = ephemeral(Wire().a, 500)
    assert len(set(ports)) == 500
    assert min(ports) >= PORT_FIRST
    assert max(ports) <= PORT_LAST


def test_ephemeral_ports_repeat_with_the_seed() -> None:
    assert ephemeral(Wire(seed=7).a, 20) == ephemeral(Wire(seed=7).a, 20)


def test_another_seed_gives_others() -> None:
    assert ephemeral(Wire(seed=7).a, 20) != ephemeral(Wire(seed=8).a, 20)


def test_another_host_draws_others() -> None:
    w = Wire()
    assert ephemeral(w.a, 20) != ephemeral(w.b, 20)


def test_the_last_free_port_is_found_and_then_none() -> None:
    w = Wire()
    taken = udp(w.a, "0.0.0.0", PORT_FIRST)
    for port in range(PORT_FIRST, PORT_LAST + 1):
        if port != 40_000:
            w.a.udp.ports[port] = [taken]
    assert ephemeral(w.a, 1) == [40_000]
    assert bind(udp(w.a), "0.0.0.0", 0) == -errno.EADDRINUSE


def test_sending_takes_a_port() -> None:
    w = Wire()
    sock = udp(w.a)
    assert sends(sock, b"x", B, 53) == 1
    assert PORT_FIRST <= sock.local_port <= PORT_LAST
    assert sock.local_addr == 0


# Sending


def test_a_datagram_takes_the_delay_of_the_link() -> None:
    w = Wire()
    server, client = udp(w.b, "0.0.0.0", 53), udp(w.a, "0.0.0.0", 4000)
    times: list[int] = []
    server.waiters.append(lambda _mask: times.append(w.net.scheduler.now_ns))
    assert sends(client, b"hello", B, 53) == 5
    w.runs()
    got = syscalls.recvfrom(server, 100, 0)
    assert (got.data, ipv4_text(got.addr), got.port) == (b"hello", A, 4000)
    assert times == [1 * MS]


def test_datagrams_keep_their_order_and_their_bounds() -> None:
    w = Wire()
    server, client = udp(w.b, "0.0.0.0", 53), udp(w.a)
    for data in (b"one", b"", b"three"):
        sends(client, data, B, 53)
    w.runs()
    assert gets(server) == [b"one", b"", b"three"]


@pytest.mark.parametrize(
    ("address", "source"),
    [(A, A), ("127.0.0.1", "127.0.0.1"), ("127.0.0.5", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")],
)
def test_to_oneself(address: str, source: str) -> None:
    w = Wire()
    server, client = udp(w.a, "0.0.0.0", 53), udp(w.a)
    sends(client, b"me", address, 53)
    w.runs()
    got = syscalls.recvfrom(server, 100, 0)
    assert (got.data, ipv4_text(got.addr)) == (b"me", source)


def test_a_bound_address_is_the_source() -> None:
    w = Wire()
    w.a.add_address(w.a.devices["eth0"], parse_ipv4("10.0.0.11"), 24)
    server = udp(w.b, "0.0.0.0", 53)
    sends(udp(w.a, "10.0.0.11", 0), b"x", B, 53)
    w.runs()
    assert ipv4_text(syscalls.recvfrom(server, 100, 0).addr) == "10.0.0.11"


def test_without_an_address_and_a_peer_it_is_edestaddrreq() -> None:
    assert syscalls.send(udp(Wire().a), b"x", 0) == -errno.EDESTADDRREQ


def test_port_zero_is_einval() -> None:
    assert sends(udp(Wire().a), b"x", B, 0) == -errno.EINVAL


def test_no_route_is_enetunreach() -> None:
    assert sends(udp(Wire().a), b"x", "192.168.0.1", 53) == -errno.ENETUNREACH


def test_no_neighbour_is_not_told() -> None:
    w = Wire()
    assert sends(udp(w.a), b"x", "10.0.0.9", 53) == 1
    assert w.a.ip.counters.ip_out_discards == 1


@pytest.mark.parametrize(("size", "expected"), [(MAX_PAYLOAD, MAX_PAYLOAD), (MAX_PAYLOAD + 1, -errno.EMSGSIZE)])
def test_the_largest_datagram(size: int, expected: int) -> None:
    assert sends(udp(Wire().a), bytes(size), "127.0.0.1", 53) == expected


@pytest.mark.parametrize(("discover", "expected"), [(0, 1473), (1, 1473), (2, -errno.EMSGSIZE), (3, -errno.EMSGSIZE)])
def test_a_datagram_beyond_the_mtu_goes_in_pieces_unless_that_is_forbidden(discover: int, expected: int) -> None:
    w = Wire()
    server, client = udp(w.b, "0.0.0.0", 53), udp(w.a)
    options.setsockopt(client, options.IPPROTO_IP, options.IP_MTU_DISCOVER, discover)
    assert sends(client, bytes(1472), B, 53) == 1472  # 1500 - 20 - 8
    assert sends(client, bytes(1473), B, 53) == expected
    w.runs()
    assert [len(syscalls.recvfrom(server, 9000, 0).data) for _ in range(1 + (expected > 0))] == [1472, 1473][
        : 1 + (expected > 0)
    ]
    assert w.a.ip.counters.ip_frag_creates == (2 if expected > 0 else 0)


def test_the_options_of_the_header() -> None:
    w = Wire()
    server, client = udp(w.b, "0.0.0.0", 53), udp(w.a)
    options.setsockopt(client, options.IPPROTO_IP, options.IP_TTL, 9)
    options.setsockopt(client, options.IPPROTO_IP, options.IP_TOS, 0x2E)
    sends(client, b"x", B, 53)
    w.runs()
    assert (server.queue[0].ttl, server.queue[0].tos) == (9, 0x2E)


def test_the_hosts_default_ttl() -> None:
    w = Wire()
    w.a.sh("sysctl -w net.ipv4.ip_default_ttl=7")
    server = udp(w.b, "0.0.0.0", 53)
    sends(udp(w.a), b"x", B, 53)
    w.runs()
    assert server.queue[0].ttl == 7


def test_what_is_sent_and_received_is_counted() -> None:
    w = Wire()
    udp(w.b, "0.0.0.0", 53)
    client = udp(w.a)
    sends(client, b"x", B, 53)
    sends(client, b"x", B, 54)
    w.runs()
    assert w.a.ip.counters.udp_out_datagrams == 2
    assert (w.b.ip.counters.udp_in_datagrams, w.b.ip.counters.udp_no_ports) == (1, 1)


# Connected sockets


def test_connecting_fixes_both_ends() -> None:
    sock = udp(Wire().a)
    assert syscalls.connect(sock, parse_ipv4(B), 53) == 0
    assert (ipv4_text(sock.local_addr), ipv4_text(sock.remote_addr), sock.remote_port) == (A, B, 53)
    assert PORT_FIRST <= sock.local_port <= PORT_LAST


@pytest.mark.parametrize(
    ("address", "local"), [(A, A), ("127.0.0.1", "127.0.0.1"), ("127.0.0.7", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")]
)
def test_connecting_to_oneself(address: str, local: str) -> None:
    sock = udp(Wire().a)
    syscalls.connect(sock, parse_ipv4(address), 53)
    assert ipv4_text(sock.local_addr) == local


def test_a_connected_socket_sends_without_an_address() -> None:
    w = Wire()
    server, client = udp(w.b, "0.0.0.0", 53), udp(w.a)
    syscalls.connect(client, parse_ipv4(B), 53)
    assert syscalls.send(client, b"hi", 0) == 2
    w.runs()
    assert gets(server) == [b"hi"]


def test_a_connected_socket_can_send_elsewhere() -> None:
    w = Wire()
    other, client = udp(w.b, "0.0.0.0", 54), udp(w.a)
    syscalls.connect(client, parse_ipv4(B), 53)
    sends(client, b"hi", B, 54)
    w.runs()
    assert gets(other) == [b"hi"]


@pytest.mark.parametrize(("port", "expected"), [(53, [b"x"]), (54, [])])
def test_a_connected_socket_hears_its_peer_alone(port: int, expected: list[bytes]) -> None:
    w = Wire()
    client = udp(w.a, "0.0.0.0", 4000)
    syscalls.connect(client, parse_ipv4(B), 53)
    sends(udp(w.b, "0.0.0.0", port), b"x", A, 4000)
    w.runs()
    assert gets(client) == expected


def test_what_a_connected_socket_does_not_hear_finds_no_port() -> None:
    w = Wire()
    syscalls.connect(udp(w.a, "0.0.0.0", 4000), parse_ipv4(B), 53)
    stranger = udp(w.b, "0.0.0.0", 54)
    syscalls.connect(stranger, parse_ipv4(A), 4000)
    syscalls.send(stranger, b"x", 0)
    w.runs()
    assert stranger.take_error() == errno.ECONNREFUSED


def test_connecting_again_changes_the_peer() -> None:
    w = Wire()
    client = udp(w.a, "0.0.0.0", 4000)
    syscalls.connect(client, parse_ipv4(B), 53)
    syscalls.connect(client, parse_ipv4(B), 54)
    sends(udp(w.b, "0.0.0.0", 53), b"old", A, 4000)
    sends(udp(w.b, "0.0.0.0", 54), b"new", A, 4000)
    w.runs()
    assert gets(client) == [b"new"]


def test_no_route_to_the_peer_is_enetunreach() -> None:
    sock = udp(Wire().a)
    assert syscalls.connect(sock, parse_ipv4("192.168.0.1"), 53) == -errno.ENETUNREACH
    assert sock.local_port == 0


def test_disconnecting_hears_everybody_again() -> None:
    w = Wire()
    client = udp(w.a, "0.0.0.0", 4000)
    syscalls.connect(client, parse_ipv4(B), 53)
    client.disconnect()
    sends(udp(w.b, "0.0.0.0", 54), b"x", A, 4000)
    w.runs()
    assert gets(client) == [b"x"]


# Who gets it


def test_the_exact_address_is_preferred() -> None:
    w = Wire()
    w.a.add_address(w.a.devices["eth0"], parse_ipv4("10.0.0.11"), 24)
    # The exact one is bound first, so that it is not preferred for being the last.
    exact, wild = udp(w.a, "10.0.0.11", 53, reuse_addr=True), udp(w.a, "0.0.0.0", 53, reuse_addr=True)
    sender = udp(w.b)
    sends(sender, b"to 1", A, 53)
    sends(sender, b"to 11", "10.0.0.11", 53)
    w.runs()
    assert (gets(wild), gets(exact)) == ([b"to 1"], [b"to 11"])


def test_the_connected_socket_is_preferred() -> None:
    w = Wire()
    connected, exact = udp(w.a, A, 53, reuse_addr=True), udp(w.a, A, 53, reuse_addr=True)
    syscalls.connect(connected, parse_ipv4(B), 4000)
    sends(udp(w.b, "0.0.0.0", 4000), b"peer", A, 53)
    sends(udp(w.b, "0.0.0.0", 4001), b"stranger", A, 53)
    w.runs()
    assert (gets(connected), gets(exact)) == ([b"peer"], [b"stranger"])


def test_of_equals_the_last_bound_gets_it() -> None:
    # As on Linux, see the parity test below.
    w = Wire()
    socks = [udp(w.a, "0.0.0.0", 53, reuse_addr=True) for _ in range(3)]
    sends(udp(w.b), b"x", A, 53)
    w.runs()
    assert [gets(sock) for sock in socks] == [[], [], [b"x"]]


def test_of_equals_the_kernel_gives_it_to_the_last_bound_too() -> None:
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    port = 0
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        port = sock.getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", port))
    socks[2].settimeout(10)
    assert socks[2].recv(10) == b"x"
    for sock in socks:
        sock.close()


# Broadcasts


def test_a_broadcast_needs_so_broadcast() -> None:
    w = Wire()
    sock = udp(w.a)
    assert sends(sock, b"x", "10.0.0.255", 53) == -errno.EACCES
    options.setsockopt(sock, options.SOL_SOCKET, options.SO_BROADCAST, 1)
    assert sends(sock, b"x", "10.0.0.255", 53) == 1


def test_connecting_to_a_broadcast_needs_it_too() -> None:
    w = Wire()
    assert syscalls.connect(udp(w.a), parse_ipv4("10.0.0.255"), 53) == -errno.EACCES
    assert syscalls.connect(udp(w.a, broadcast=True), parse_ipv4("10.0.0.255"), 53) == 0


@pytest.mark.parametrize("address", ["10.0.0.255", "255.255.255.255"])
def test_a_broadcast_reaches_every_socket_of_every_host(address: str) -> None:
    w = Wire()
    w.a.sh("route add default dev eth0")  # for 255.255.255.255
    far = [udp(w.b, "0.0.0.0", 53, reuse_addr=True) for _ in range(2)]
    own = udp(w.a, "0.0.0.0", 53, broadcast=True)
    sends(own, b"all", address, 53)
    w.runs()
    assert [gets(sock) for sock in (*far, own)] == [[b"all"]] * 3


def test_the_sender_of_a_broadcast_is_its_unicast_address() -> None:
    w = Wire()
    far = udp(w.b, "0.0.0.0", 53)
    sends(udp(w.a, "10.0.0.255", 4000, broadcast=True), b"x", "10.0.0.255", 53)
    w.runs()
    assert ipv4_text(far.queue[0].src) == A


@pytest.mark.parametrize(("address", "expected"), [("0.0.0.0", [b"x"]), ("10.0.0.255", [b"x"]), (B, [])])
def test_a_socket_bound_to_one_address_hears_no_broadcast(address: str, expected: list[bytes]) -> None:
    w = Wire()
    far = udp(w.b, address, 53)
    sends(udp(w.a, broadcast=True), b"x", "10.0.0.255", 53)
    w.runs()
    assert gets(far) == expected


# Receiving


def test_nothing_there_is_eagain() -> None:
    assert syscalls.recvfrom(udp(Wire().a, "0.0.0.0", 53), 10, 0).errno == errno.EAGAIN


def waiting(*datagrams: bytes) -> UdpSock:
    """A socket in which `datagrams` wait."""
    w = Wire()
    sock, client = udp(w.b, "0.0.0.0", 53), udp(w.a)
    for data in datagrams:
        sends(client, data, B, 53)
    w.runs()
    return sock


def test_the_rest_of_a_long_datagram_is_lost() -> None:
    sock = waiting(b"abcdef", b"next")
    assert gets(sock, 3) == [b"abc", b"nex"]


def test_a_size_of_zero_takes_the_datagram() -> None:
    sock = waiting(b"abcdef", b"next")
    assert syscalls.recvfrom(sock, 0, 0).data == b""
    assert gets(sock) == [b"next"]


def test_peeking_takes_nothing() -> None:
    sock = waiting(b"abc")
    assert [syscalls.recvfrom(sock, 2, syscalls.MSG_PEEK).data for _ in range(2)] == [b"ab", b"ab"]
    assert gets(sock) == [b"abc"]


def test_peeking_at_nothing_is_eagain() -> None:
    assert syscalls.recvfrom(waiting(), 2, syscalls.MSG_PEEK).errno == errno.EAGAIN


def fill(rcvbuf: int, *sizes: int) -> tuple[list[int], Wire]:
    """Which of datagrams of these sizes a socket with this receive buffer keeps."""
    w = Wire()
    sock, client = udp(w.b, "0.0.0.0", 53), udp(w.a)
    sock.rcvbuf = rcvbuf
    for size in sizes:
        sends(client, bytes(size), B, 53)
    w.runs()
    return [len(data) for data in gets(sock)], w


def test_a_full_buffer_drops_and_counts() -> None:
    # Each is charged 768 + 232 = 1000 bytes.
    assert QUEUE_OVERHEAD_BYTES == 768
    kept, w = fill(3000, *[232] * 5)
    assert kept == [232] * 3
    counters = w.b.ip.counters
    assert (counters.udp_in_datagrams, counters.udp_rcvbuf_errors, counters.udp_in_errors) == (3, 2, 2)


def test_a_buffer_that_is_one_byte_short() -> None:
    assert fill(2999, *[232] * 5)[0] == [232] * 2


def test_a_small_one_fits_where_a_large_one_did_not() -> None:
    # 1000, then 1768 do not fit into the remaining 1000, then 768 do.
    assert fill(2000, 232, 1000, 0)[0] == [232, 0]


def test_an_empty_buffer_takes_one_of_any_size() -> None:
    assert fill(2304, 1472, 1)[0] == [1472]


def test_the_kernel_takes_one_of_any_size_too() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(bytes(3000), receiver.getsockname())
        assert len(receiver.recv(4000)) == 3000


def test_reading_makes_room() -> None:
    w = Wire()
    sock, client = udp(w.b, "0.0.0.0", 53), udp(w.a)
    sock.rcvbuf = 2000
    for _ in range(3):
        for _ in range(3):
            sends(client, bytes(232), B, 53)
        w.runs()
        assert len(gets(sock)) == 2
    assert sock.queued_bytes == 0


# Errors from the network


def test_a_connected_socket_is_refused() -> None:
    w = Wire()
    client = udp(w.a)
    syscalls.connect(client, parse_ipv4(B), 53)
    syscalls.send(client, b"x", 0)
    w.runs()
    assert syscalls.recvfrom(client, 10, 0).errno == errno.ECONNREFUSED


def test_the_error_is_told_once() -> None:
    w = Wire()
    client = udp(w.a)
    syscalls.connect(client, parse_ipv4(B), 53)
    syscalls.send(client, b"x", 0)
    w.runs()
    assert [syscalls.send(client, b"y", 0) for _ in range(2)] == [-errno.ECONNREFUSED, 1]


def test_the_error_wakes_who_waits() -> None:
    w = Wire()
    client = udp(w.a)
    syscalls.connect(client, parse_ipv4(B), 53)
    woken: list[tuple[int, int]] = []
    client.waiters.append(lambda mask: woken.append((w.net.scheduler.now_ns, mask)))
    syscalls.send(client, b"x", 0)
    w.runs()
    assert woken == [(2 * MS, POLLERR | POLLIN | POLLOUT)]


def test_an_unconnected_socket_hears_of_no_error() -> None:
    w = Wire()
    client = udp(w.a)
    sends(client, b"x", B, 53)
    w.runs()
    assert w.a.ip.counters.icmp_in_msgs == 1
    assert syscalls.recvfrom(client, 10, 0).errno == errno.EAGAIN


def test_a_router_tells_that_the_datagram_is_too_large() -> None:
    net = lunar.Network(seed=1)
    networks.append(net)
    near, far = net.host("near", "10.0.0.1/24"), net.host("far", "10.1.0.1/24")
    router = net.host("router", "10.0.0.9/24", "10.1.0.9/24")
    net.link(near, router)
    net.link(router, far, mtu=600)
    router.sh("sysctl -w net.ipv4.ip_forward=1")
    near.sh("route add default gw 10.0.0.9")
    connected, free = udp(near), udp(near)
    syscalls.connect(connected, parse_ipv4("10.1.0.1"), 53)
    assert syscalls.send(connected, bytes(573), 0) == 573  # 601 bytes with both headers
    assert sends(free, bytes(573), "10.1.0.1", 53) == 573
    net.run(until=1)
    assert router.ip.counters.icmp_out_msgs == 2
    assert syscalls.recvfrom(connected, 10, 0).errno == errno.EMSGSIZE
    assert syscalls.recvfrom(free, 10, 0).errno == errno.EAGAIN


def test_so_error_takes_the_error() -> None:
    w = Wire()
    client = udp(w.a)
    syscalls.connect(client, parse_ipv4(B), 53)
    syscalls.send(client, b"x", 0)
    w.runs()
    answers = [options.getsockopt(client, options.SOL_SOCKET, options.SO_ERROR) for _ in range(2)]
    assert answers == [errno.ECONNREFUSED, 0]


# Poll, shutdown, close


def test_poll_says_what_is_there() -> None:
    assert waiting().poll() == POLLOUT
    assert waiting(b"x").poll() == POLLOUT | POLLIN


def test_poll_shows_an_error() -> None:
    sock = waiting()
    sock.error = errno.ECONNREFUSED
    assert sock.poll() == POLLOUT | POLLERR


@pytest.mark.parametrize(
    ("how", "mask"),
    [(0, POLLOUT | POLLIN | POLLRDHUP), (1, POLLOUT), (2, POLLOUT | POLLIN | POLLRDHUP | POLLHUP)],
)
def test_poll_after_shutdown(how: int, mask: int) -> None:
    sock = waiting()
    syscalls.shutdown(sock, how)
    assert sock.poll() == mask


def test_shutdown_without_a_peer_takes_effect_and_is_enotconn() -> None:
    sock = waiting()
    assert syscalls.shutdown(sock, 2) == -errno.ENOTCONN
    assert sends(sock, b"x", A, 53) == -errno.EPIPE


def test_shutdown_with_a_peer() -> None:
    sock = udp(Wire().a)
    syscalls.connect(sock, parse_ipv4(B), 53)
    assert syscalls.shutdown(sock, 1) == 0
    assert syscalls.send(sock, b"x", 0) == -errno.EPIPE


def test_reading_after_shutdown_gives_what_is_there_and_then_nothing() -> None:
    sock = waiting(b"x")
    syscalls.shutdown(sock, 0)
    got = [syscalls.recvfrom(sock, 10, 0) for _ in range(2)]
    assert [(one.data, one.errno) for one in got] == [(b"x", 0), (b"", 0)]


def test_an_unknown_way_to_shut_down_is_einval() -> None:
    assert syscalls.shutdown(waiting(), 3) == -errno.EINVAL


def test_a_closed_port_is_free_again() -> None:
    w = Wire()
    first = udp(w.a, "0.0.0.0", 53)
    syscalls.close(first)
    assert w.a.udp.ports == {}
    assert bind(udp(w.a), "0.0.0.0", 53) == 0


def test_closing_one_of_two_leaves_the_other() -> None:
    w = Wire()
    first, second = (udp(w.a, "0.0.0.0", 53, reuse_addr=True) for _ in range(2))
    syscalls.close(second)
    sends(udp(w.b), b"x", A, 53)
    w.runs()
    assert gets(first) == [b"x"]


def test_closing_twice_is_harmless() -> None:
    w = Wire()
    first = udp(w.a, "0.0.0.0", 53)
    syscalls.close(first)
    second = udp(w.a, "0.0.0.0", 53)
    syscalls.close(first)
    assert w.a.udp.ports == {53: [second]}


def test_closing_an_unbound_socket() -> None:
    w = Wire()
    syscalls.close(udp(w.a))
    assert w.a.udp.ports == {}


def test_a_datagram_on_its_way_to_a_closed_socket_finds_no_port() -> None:
    w = Wire()
    server = udp(w.b, "0.0.0.0", 53)
    sends(udp(w.a), b"x", B, 53)
    syscalls.close(server)
    w.runs()
    assert w.b.ip.counters.udp_no_ports == 1


def test_streams_calls_are_not_for_datagrams() -> None:
    sock = waiting()
    assert syscalls.listen(sock, 1) == -errno.EOPNOTSUPP
    assert syscalls.accept(sock) is None
    assert syscalls.accept_errno(sock) == errno.EOPNOTSUPP


# The asyncio endpoint


class Recorder(asyncio.DatagramProtocol):
    """Writes down what it is told, with the virtual time in milliseconds."""

    def __init__(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.told: list[tuple[float, str, Any]] = []
        self.answer = answer

    def _tell(self, what: str, value: Any) -> None:
        self.told.append((asyncio.get_running_loop().time() * 1000, what, value))

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._tell("made", None)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._tell("data", (data, addr))
        if self.answer is not None:
            self.transport.sendto(self.answer(data), addr)

    def error_received(self, exc: Exception) -> None:
        self._tell("error", type(exc))

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell("lost", exc)


async def endpoint(protocol: Recorder, **options: Any) -> asyncio.DatagramTransport:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: protocol, **options)
    return transport


async def serve(protocol: Recorder) -> None:
    transport = await endpoint(protocol, local_addr=("0.0.0.0", 53))
    await asyncio.sleep(1)
    transport.close()


def test_an_endpoint_asks_and_is_answered() -> None:
    w = Wire()
    client = Recorder()

    async def ask() -> tuple[str, int]:
        transport = await endpoint(client, remote_addr=("b", 53))
        transport.sendto(b"abc")
        await asyncio.sleep(0.5)
        transport.close()
        return transport.get_extra_info("peername")

    w.net.start(w.b, serve, Recorder(bytes.upper))
    assert w.net.run(ask(), on=w.a) == (B, 53)
    assert client.told == [(0, "made", None), (2, "data", (b"ABC", (B, 53))), (500, "lost", None)]


def test_a_connected_endpoint_is_told_of_the_refusal() -> None:
    w = Wire()
    client = Recorder()

    async def ask() -> None:
        transport = await endpoint(client, remote_addr=(B, 53))
        transport.sendto(b"abc")
        await asyncio.sleep(0.5)
        transport.close()

    w.net.run(ask(), on=w.a)
    assert client.told == [(0, "made", None), (2, "error", ConnectionRefusedError), (500, "lost", None)]


def test_an_endpoint_for_all_is_not() -> None:
    w = Wire()
    client = Recorder()

    async def ask() -> None:
        transport = await endpoint(client, local_addr=("0.0.0.0", 0))
        transport.sendto(b"abc", (B, 53))
        await asyncio.sleep(0.5)
        transport.abort()

    w.net.run(ask(), on=w.a)
    assert client.told == [(0, "made", None), (500, "lost", None)]


def test_what_cannot_be_sent_is_an_error_received() -> None:
    w = Wire()
    client = Recorder()

    async def ask() -> None:
        transport = await endpoint(client, local_addr=("0.0.0.0", 0))
        transport.sendto(b"abc", ("192.168.0.1", 53))
        await asyncio.sleep(0.5)
        transport.close()

    w.net.run(ask(), on=w.a)
    assert client.told[1][1:] == ("error", OSError)


def test_broadcasts_with_allow_broadcast() -> None:
    w = Wire()
    client, server = Recorder(), Recorder()

    async def ask() -> None:
        transport = await endpoint(client, local_addr=("0.0.0.0", 4000), allow_broadcast=True)
        transport.sendto(b"abc", ("10.0.0.255", 53))
        await asyncio.sleep(0.5)
        transport.close()

    w.net.start(w.b, serve, server)
    w.net.run(ask(), on=w.a)
    assert server.told == [(0, "made", None), (1, "data", (b"abc", (A, 4000)))]


def test_without_it_they_are_an_error() -> None:
    w = Wire()
    client = Recorder()

    async def ask() -> None:
        transport = await endpoint(client, local_addr=("0.0.0.0", 4000))
        transport.sendto(b"abc", ("10.0.0.255", 53))
        transport.close()

    w.net.run(ask(), on=w.a)
    assert client.told[1][1:] == ("error", PermissionError)


def test_an_endpoint_at_a_taken_port() -> None:
    w = Wire()

    async def second() -> None:
        await asyncio.sleep(0.1)
        await endpoint(Recorder(), local_addr=("0.0.0.0", 53))

    w.net.start(w.b, serve, Recorder())
    with pytest.raises(OSError) as raised:
        w.net.run(second(), on=w.b)
    assert raised.value.errno == errno.EADDRINUSE


def test_several_datagrams_of_one_instant_arrive_in_order() -> None:
    w = Wire()
    server = Recorder()

    async def send() -> None:
        transport = await endpoint(Recorder(), remote_addr=(B, 53))
        for number in range(5):
            transport.sendto(bytes([number]))
        await asyncio.sleep(0.5)
        transport.close()

    w.net.start(w.b, serve, server)
    w.net.run(send(), on=w.a)
    assert [(time, value[0]) for time, what, value in server.told if what == "data"] == [
        (1, bytes([number])) for number in range(5)
    ]


def test_nothing_is_received_after_close() -> None:
    w = Wire()
    server = Recorder()

    async def closes_early() -> None:
        transport = await endpoint(server, local_addr=("0.0.0.0", 53))
        await asyncio.sleep(0.005)
        transport.close()
        await asyncio.sleep(1)

    async def send() -> None:
        transport = await endpoint(Recorder(), local_addr=("0.0.0.0", 0))
        for _ in range(3):
            transport.sendto(b"x", (B, 53))
            await asyncio.sleep(0.01)
        transport.close()

    w.net.start(w.b, closes_early)
    w.net.run(send(), on=w.a)
    # They arrive at 1, 11 and 21 ms.
    assert [(time, what) for time, what, _ in server.told] == [(0, "made"), (1, "data"), (5, "lost")]
    assert w.b.ip.counters.udp_no_ports == 2


def test_at_the_end_no_port_and_no_descriptor_is_left() -> None:
    w = Wire()

    async def ask() -> None:
        transport = await endpoint(Recorder(), remote_addr=("b", 53))
        transport.sendto(b"abc")
        await asyncio.sleep(2)
        transport.close()

    w.net.start(w.b, serve, Recorder(bytes.upper))
    w.net.start(w.a, ask)
    w.net.run()
    w.net.run(until=10)
    for host in (w.a, w.b):
        assert host.udp.ports == {}
        assert host.descriptors.all() == []


# The blocking face


def test_blocking_sockets_wait_in_virtual_time() -> None:
    w = Wire()

    def ask() -> tuple[bytes, Any]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"abc", ("b", 53))
            return sock.recvfrom(100)

    w.net.start(w.b, serve, Recorder(bytes.upper), background=True)
    assert w.net.run(ask, on=w.a) == (b"ABC", (B, 53))
    assert w.net.now == 0.002


def test_a_timeout_of_a_blocking_receive() -> None:
    w = Wire()

    def wait() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 53))
            sock.settimeout(1.5)
            sock.recv(10)

    with pytest.raises(TimeoutError):
        w.net.run(wait, on=w.a)
    assert w.net.now == 1.5


def test_a_blocking_receive_is_refused() -> None:
    w = Wire()

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((B, 53))
            sock.send(b"x")
            sock.recv(10)

    with pytest.raises(ConnectionRefusedError):
        w.net.run(ask, on=w.a)
    assert w.net.now == 0.002
    assert w.a.udp.ports == {}


# What becomes of a datagram that is too large (IP_MTU_DISCOVER): a router has said 1,000 bytes, the device takes 1,500


@pytest.mark.parametrize(
    ("discover", "fits_path", "fits_device", "fits_none"),
    [
        # (DF, pieces), or the errno.
        (0, (False, 1), (False, 2), (False, 2)),
        (1, (True, 1), (False, 2), (False, 2)),
        (2, (True, 1), -errno.EMSGSIZE, -errno.EMSGSIZE),
        (3, (True, 1), (True, 1), -errno.EMSGSIZE),
        (4, (False, 1), (False, 1), -errno.EMSGSIZE),
        (5, (False, 1), (False, 1), (False, 2)),
    ],
)
def test_what_is_too_large_for_the_path_or_the_device(
    discover: int, fits_path: Any, fits_device: Any, fits_none: Any
) -> None:
    w = Wire()
    route = w.a.ip.inet.routes.lookup(parse_ipv4(B))
    assert route is not None
    path_mtu.note(w.a.ip, route, parse_ipv4(B), 1000)
    sock = udp(w.a)
    assert options.setsockopt(sock, socket.IPPROTO_IP, options.IP_MTU_DISCOVER, discover) == 0
    seen: list[Packet] = []

    def note(_device: Any, frame: Frame) -> None:
        if isinstance(frame, Packet):
            seen.append(frame)

    w.a.devices["eth0"].tap = note
    for size, expected in ((1000, fits_path), (1500, fits_device), (1501, fits_none)):
        seen.clear()
        sent = sends(sock, bytes(size - 28), B, 9)
        assert (sent if sent < 0 else (seen[0].dont_fragment, len(seen))) == expected, size
        assert sum(packet.size_bytes - 20 for packet in seen) == (0 if sent < 0 else size - 20)
        if sent >= 0 and expected[1] > 1:
            assert max(int(packet.size_bytes) for packet in seen) <= (1500 if discover == 5 else 1000)


# Of several sockets that share a port


def test_sockets_that_share_a_port_share_its_senders() -> None:
    w = Wire()
    socks = [udp(w.b, B, 53, reuse_port=True) for _ in range(4)]
    senders = [udp(w.a, A, 1000 + at) for at in range(200)]
    for _ in range(2):
        for at, sender in enumerate(senders):
            sends(sender, b"%d" % at, B, 53)
        w.runs()
    got = [gets(sock) for sock in socks]
    assert all(30 <= len(found) // 2 <= 70 for found in got)  # 50 each, about
    assert all(sorted(found) == sorted(2 * list(set(found))) for found in got)  # each sender always reached the same


def test_a_socket_of_a_device_hears_what_comes_by_it_alone() -> None:
    w = Wire()
    net = w.net
    other = net.host("c", "10.1.0.3/24")
    w.b.add_device([(parse_ipv4("10.1.0.2"), 24)])
    net.link(w.b.devices["eth1"], other, delay="1ms")
    sock = udp(w.b, "0.0.0.0", 53)
    sock.bound_device = "eth1"
    sends(udp(w.a), b"by eth0", B, 53)
    sends(udp(other), b"by eth1", "10.1.0.2", 53)
    w.runs()
    assert gets(sock) == [b"by eth1"]
    assert w.b.ip.counters.udp_no_ports == 1


@pytest.mark.parametrize("cutter", [0, 1, 2])
def test_what_a_filter_cuts_of_a_broadcast_the_other_sockets_get_whole(cutter: int) -> None:
    w = Wire()
    socks = [udp(w.b, port=53, reuse_addr=True) for _ in range(3)]
    socks[cutter].filter = bpf.checked(struct.pack("<HBBI", 6, 0, 0, 8 + 4))  # return 12
    sender = udp(w.a)
    sender.broadcast = True
    assert sends(sender, b"datagram", "10.0.0.255", 53) == 8
    w.runs()
    assert [gets(sock) for sock in socks] == [[b"data" if at == cutter else b"datagram"] for at in range(3)]


def test_options_count_for_the_largest_datagram() -> None:
    w = Wire()
    sock = udp(w.a)
    sock.ip_options = bytes([1, 1, 1, 0])
    assert sends(sock, bytes(MAX_PAYLOAD - 3), "127.0.0.1", 53) == -errno.EMSGSIZE
    assert sends(sock, bytes(MAX_PAYLOAD - 4), "127.0.0.1", 53) == MAX_PAYLOAD - 4
