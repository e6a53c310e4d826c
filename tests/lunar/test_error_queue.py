"""The error queue in virtual time: exact stamps, one number for one blocking send, what a router says.

That its contents are Linux' is shown in tests/parity/test_error_queue_parity.py.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from typing import Any

import pytest

from lunar import Network

MSG_ERRQUEUE, MSG_ZEROCOPY = 0x2000, 0x400_0000
IP_RECVERR, SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING, SO_ZEROCOPY = 11, 29, 35, 37, 60
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_ID, TX_ACK, OPT_TSONLY = 2, 8, 16, 128, 512, 2048
SCM_TSTAMP_SND, SCM_TSTAMP_ACK = 0, 2
MS = 1_000_000

Report = tuple[int, int, int, int, int, int]  # errno, origin, type, code, info, data


def report(sock: socket.socket) -> tuple[Report, int]:
    """The oldest report of the error queue and its time in nanoseconds, 0 without."""
    _, items, _, _ = sock.recvmsg(0, 512, MSG_ERRQUEUE)
    found: dict[int, bytes] = {kind: data for _, kind, data in items}
    when = struct.unpack("=6q", found[SO_TIMESTAMPING]) if SO_TIMESTAMPING in found else (0, 0)
    number, origin, kind, code, _, info, data = struct.unpack("=IBBBBII", found[IP_RECVERR][:16])
    return (number, origin, kind, code, info, data), when[0] * 1_000_000_000 + when[1]


@pytest.fixture
def net() -> Any:
    with Network(seed=1) as network:
        server = network.host("server", "10.0.0.1/24")
        client = network.host("client", "10.0.0.2/24")
        network.link(server, client, delay="10ms")
        network.start(server, take_all)
        yield network


def take_all() -> None:
    """A server that reads to the end of one connection."""
    with socket.create_server(("10.0.0.1", 80)) as listener:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(1 << 20):
                pass


def connect() -> socket.socket:
    return socket.create_connection(("10.0.0.1", 80))


def test_stamps_are_the_programs_own_clock(net: Network) -> None:
    def program() -> None:
        with connect() as sock:
            sock.setsockopt(
                socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY
            )
            time.sleep(1)
            before = time.time_ns()
            sock.send(b"x" * 500)
            time.sleep(1)
            sent, sent_ns = report(sock)
            acknowledged, acknowledged_ns = report(sock)
        assert sent == (errno.ENOMSG, 4, 0, 0, SCM_TSTAMP_SND, 499) and sent_ns == before
        # There and back; the peer acknowledges its first data at once.
        assert acknowledged[4:] == (SCM_TSTAMP_ACK, 499) and acknowledged_ns == before + 20 * MS

    net.run(program, on=net.hosts["client"])


def test_a_blocking_send_is_one_write_however_many_pieces_it_takes(net: Network) -> None:
    def program() -> None:
        size = 3_000_000  # more than the send buffer ever holds at once
        with connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY)
            sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
            assert sock.send(b"L" * size, MSG_ZEROCOPY) == size
            time.sleep(1)
            assert report(sock)[0][4:] == (SCM_TSTAMP_ACK, size - 1)
            assert report(sock)[0][1:] == (5, 0, 1, 0, 0)
            with pytest.raises(BlockingIOError):
                report(sock)

    net.run(program, on=net.hosts["client"])


def test_what_a_write_that_is_not_to_block_takes_is_one_write(net: Network) -> None:
    def program() -> None:
        with connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY)
            sock.setblocking(False)
            taken = sock.send(b"p" * 3_000_000)
            assert 0 < taken < 3_000_000
            time.sleep(1)
            # Where all of it was sent within the call there is nothing left to be stamped, as on Linux.
            assert report(sock)[0][4:] == (SCM_TSTAMP_ACK, taken - 1)

    net.run(program, on=net.hosts["client"])


def test_who_is_told_of_a_full_error_queue(net: Network) -> None:
    """Reports take room in the receive buffer: what does not fit is lost, and nothing else."""

    def program() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY)
            for _ in range(100):
                sock.sendto(b"x", ("10.0.0.1", 9))
            told = 0
            while True:
                try:
                    assert report(sock)[0][5] == told
                except BlockingIOError:
                    break
                told += 1
            assert told == 5  # 4,608 bytes, 768 each

    net.run(program, on=net.hosts["client"])


def test_a_routers_error_names_it() -> None:
    """Two hops away, the time of a packet to live is over: what traceroute is made of."""

    def program() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            sock.sendto(b"probe", ("10.1.0.5", 33434))
            poll = select.poll()
            poll.register(sock, 0)
            assert poll.poll(1000) == [(sock.fileno(), select.POLLERR)]
            data, items, flags, target = sock.recvmsg(100, 100, MSG_ERRQUEUE)
            (_, kind, error) = items[0]
        assert (data, kind, flags, target) == (b"probe", IP_RECVERR, MSG_ERRQUEUE, ("10.1.0.5", 33434))
        assert struct.unpack("=IBBB", error[:7]) == (errno.EHOSTUNREACH, 2, 11, 0)
        assert socket.inet_ntoa(error[20:24]) == "10.0.0.9"

    with Network(seed=1) as net:
        client, router = net.host("client", "10.0.0.2/24"), net.host("router", "10.0.0.9/24", "10.1.0.9/24")
        net.link(client, router)
        client.sh("route add default gw 10.0.0.9")
        router.sh("sysctl -w net.ipv4.ip_forward=1")
        net.run(program, on=client)


def test_a_ping_socket_is_told_with_its_own_header() -> None:
    def program() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            sock.bind(("0.0.0.0", 7))
            sock.sendto(b"\x08\0\0\0\0\0\0\x05rest", ("10.1.0.5", 0))
            time.sleep(1)
            data, items, _, target = sock.recvmsg(100, 100, MSG_ERRQUEUE)
        # The identifier is the socket's own, the sequence number the program's.
        assert (data[:2], data[4:], target) == (b"\x08\0", b"\0\x07\0\x05rest", ("10.1.0.5", 0))
        assert struct.unpack("=IBBB", items[0][2][:7]) == (errno.EHOSTUNREACH, 2, 11, 0)

    with Network(seed=1) as net:
        client, router = net.host("client", "10.0.0.2/24"), net.host("router", "10.0.0.9/24", "10.1.0.9/24")
        net.link(client, router)
        client.sh("route add default gw 10.0.0.9")
        client.sh('sysctl -w net.ipv4.ping_group_range="0 0"')
        router.sh("sysctl -w net.ipv4.ip_forward=1")
        net.run(program, on=client)


def test_arrivals_have_the_time_of_the_queue_and_not_of_the_read(net: Network) -> None:
    def program() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("10.0.0.2", 0))
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            came = time.time_ns()
            sock.sendto(b"x", sock.getsockname())
            time.sleep(5)
            ((_, _, stamp),) = sock.recvmsg(10, 100)[1]
            assert struct.unpack("=qq", stamp) == divmod(came, 1_000_000_000)

    net.run(program, on=net.hosts["client"])
