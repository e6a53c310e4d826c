"""The socket of a UDP link, on the machine's loopback: rows, batches, strangers, and a peer that is not there."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from lunar.outside.peer_socket import PeerSocket
from tests.lunar.outside.ports import free_ports, has_ipv6

LOOPBACK = "127.0.0.1"


@contextmanager
def pair(address: str = LOOPBACK) -> Iterator[tuple[PeerSocket, PeerSocket, list[bool]]]:
    """Two that are each other's peers, and what the first has heard of the second."""
    one, two = ((address, port) for port in free_ports(2, address))
    heard: list[bool] = []
    a, b = PeerSocket(one, two, heard.append), PeerSocket(two, one, lambda _here: None)
    a.open()
    b.open()
    try:
        yield a, b, heard
    finally:
        a.close()
        b.close()


def everything(sock: PeerSocket) -> list[bytes]:
    """What has come. On loopback it has arrived when the call that sends it returns."""
    found: list[bytes] = []
    empty = 0
    while empty < 2:
        got = sock.receive()
        found += got
        empty = 0 if got else empty + 1
    return found


def test_datagrams_come_in_their_order_whatever_their_lengths() -> None:
    sizes = [100, 100, 100, 40, 100, 1472, 1472, 1472, 1, 60_000, 9, 9, 9, 65_507, 14]
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    with pair() as (a, b, _):
        a.send(sent)
        assert everything(b) == sent
        assert a.sent == b.received == len(sent)
        assert a.sent_bytes == b.received_bytes == sum(sizes)


def test_equal_datagrams_leave_and_come_by_one_call() -> None:
    with pair() as (a, b, _):
        a.send([bytes([number]) * 1472 for number in range(40)] + [b"rest"])
        assert a.calls_out == 1
        assert [data[:1] for data in everything(b)] == [bytes([number]) for number in range(40)] + [b"r"]
        assert b.calls_in == 1


def test_a_row_is_no_longer_than_a_datagram_may_be() -> None:
    with pair() as (a, b, _):
        sent = [bytes([number]) * 8972 for number in range(16)]
        a.send(sent)
        assert a.calls_out == 3  # 7 * 8972 = 62804
        assert everything(b) == sent


def test_where_nothing_can_cut_they_go_one_by_one() -> None:
    with pair() as (a, b, _):
        a._cuts = False
        sent = [b"x" * 100] * 5
        a.send(sent)
        assert a.calls_out == 5
        assert everything(b) == sent


class CannotCut:
    """A socket on a device that cannot cut: EIO, udp(7)."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def __getattr__(self, name: str) -> object:
        return getattr(self.sock, name)

    def sendmsg(self, *_arguments: object) -> int:
        raise OSError(errno.EIO, "cannot cut")


def test_a_device_that_cannot_cut_is_found_out() -> None:
    with pair() as (a, b, _):
        assert a._socket is not None
        a._socket = CannotCut(a._socket)  # type: ignore[assignment]
        sent = [b"x" * 100] * 5
        a.send(sent)
        a.send(sent)
        assert everything(b) == 2 * sent
        assert a.failed_out == 0


def test_strangers_are_kept_apart_and_counted() -> None:
    with pair() as (a, b, _), ExitStack() as stack:
        for number in range(20):
            stranger = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _ in range(50):
                stranger.sendto(b"stranger %d" % number, b.local)
        a.send([b"peer"])
        assert everything(b) == [b"peer"]
        assert b.foreign == 1000
        assert b.foreign == 1000  # also when it is asked again
        b.close()
        assert b.foreign == 1000


def test_nobody_else_gets_the_port() -> None:
    with pair() as (_, b, _heard):
        for option in (0, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                if option:
                    sock.setsockopt(socket.SOL_SOCKET, option, 1)
                with pytest.raises(OSError, match="in use"):
                    sock.bind(b.local)
        other = PeerSocket(b.local, b.remote, lambda _here: None)
        with pytest.raises(OSError, match="in use"):
            other.open()
        with pytest.raises(OSError, match="in use"):
            other.open()


def test_a_peer_that_is_not_there_is_told_once_and_counted() -> None:
    with pair() as (a, b, heard):
        b.close()
        for number in range(5):
            a.send([b"%d" % number])
        assert a.refused >= 4
        assert heard == [False]
        assert a.sent == 5  # none was lost of those that could be sent
        again = PeerSocket(b.local, b.remote, lambda _here: None)
        again.open()
        a.send([b"there"])
        again.send([b"here"])
        assert everything(a) == [b"here"]
        assert everything(again) == [b"there"]
        assert heard == [False, True]
        again.close()
        a.send([b"gone?"])
        assert everything(a) == []
        assert heard == [False, True, False]


def test_what_the_machine_tells_while_nothing_is_sent_ends_no_wait_with_an_error() -> None:
    with pair() as (a, b, heard):
        b.close()
        a.send([b"x"])
        assert a._socket is not None
        assert select.select([a._socket], [], [], 0)[0]
        assert a.receive() == []
        assert a.receive() == []
        assert heard == [False]
        assert not select.select([a._socket], [], [], 0)[0]


def test_what_has_no_room_is_counted() -> None:
    with pair() as (a, b, _):
        a.send([b"x" * 60_000] * 400)  # 24 MB for a buffer of 4 MB, or less
        came = everything(b)
        assert 0 < len(came) < 400
        assert b.no_room_in == 400 - len(came)
        b.close()
        assert b.no_room_in == 400 - len(came)


class Full:
    """A socket without room for what is to be sent."""

    def __init__(self, sock: socket.socket, error: int) -> None:
        self.sock, self.error, self.left = sock, error, 3

    def __getattr__(self, name: str) -> object:
        return getattr(self.sock, name)

    def send(self, data: bytes) -> int:
        if self.left == 0:
            raise OSError(self.error, "full")
        self.left -= 1
        return self.sock.send(data)


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS])
def test_what_the_machine_has_no_room_to_send_is_counted(error: int) -> None:
    with pair() as (a, b, _):
        assert a._socket is not None
        a._socket = Full(a._socket, error)  # type: ignore[assignment]
        a.send([b"x" * size for size in range(1, 11)])
        assert len(everything(b)) == 3
        assert (a.sent, a.no_room_out) == (3, 7)


def test_what_cannot_be_sent_at_all_is_counted() -> None:
    with pair() as (a, b, _):
        a.send([b"x" * 65_508, b"y"])
        assert everything(b) == [b"y"]
        assert (a.sent, a.failed_out, a.last_error) == (1, 1, errno.EMSGSIZE)


def test_a_datagram_of_nothing_is_one() -> None:
    with pair() as (a, b, _):
        a.send([b"", b"", b"x"])
        assert everything(b) == [b"", b"", b"x"]


def test_one_that_came_before_the_port_was_closed_to_others_is_dropped() -> None:
    with pair() as (a, b, _):
        b._source = (LOOPBACK, 1)  # as if it had come from there
        a.send([b"x"])
        assert everything(b) == []
        assert b.early == 1


@pytest.mark.skipif(not has_ipv6(), reason="the machine has no ::1")
def test_the_same_by_ipv6() -> None:
    with pair("::1") as (a, b, _):
        a.send([b"six" * 100] * 50)
        assert everything(b) == [b"six" * 100] * 50
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"x", b.local)
        assert b.foreign == 1
        assert everything(b) == []


def test_closed_it_sends_and_gets_nothing() -> None:
    with pair() as (a, b, _):
        a.close()
        a.send([b"x"])
        assert a.receive() == []
        assert everything(b) == []
