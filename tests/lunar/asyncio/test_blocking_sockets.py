"""`socket.socket` in blocking strings: plain blocking programs between two virtual hosts."""

from __future__ import annotations

import array
import asyncio
import errno
import io
import socket
import struct
import time
from typing import Any

import pytest
from two_hosts import CLIENT, DELAY, ROUND_TRIP, SERVER, TwoHosts

from lunar.host_socket import LunarSocket


def echo_server(port: int = 80) -> None:
    """Serves one connection after the other."""
    with socket.create_server(("", port)) as listener:
        while True:
            sock, _address = listener.accept()
            with sock:
                while data := sock.recv(65536):
                    sock.sendall(data)


def connected(port: int = 80) -> socket.socket:
    return socket.create_connection((SERVER, port))


def fails(number: int, function: Any, *args: Any) -> type[BaseException]:
    """The class of the OSError with errno `number` that the call raises."""
    with pytest.raises(OSError) as caught:
        function(*args)
    assert caught.value.errno == number, caught.value
    return caught.type


# The life of a connection


def test_a_blocking_client_and_server_take_the_links_time(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> Any:
        sock = socket.socket()
        sock.connect(("server", 80))
        connecting = time.monotonic()
        assert sock.send(b"ping") == 4
        return connecting, sock.recv(100), time.monotonic()

    assert hosts.run(main) == (ROUND_TRIP, b"ping", 2 * ROUND_TRIP)


def test_it_is_a_socket_by_class_and_descriptor(hosts: TwoHosts) -> None:
    def main() -> Any:
        with socket.socket() as sock:
            assert isinstance(sock, LunarSocket) and isinstance(sock, socket.socket)
            assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, socket.SOCK_STREAM, 0)
            assert sock.getblocking() and sock.gettimeout() is None
            number = sock.fileno()
            assert number > 1_000_000  # far above the machine's
        assert sock.fileno() == -1
        assert "closed" in repr(sock)
        return number

    assert hosts.run(main) == hosts.run(main), "the lowest free number is given, on every host alike"


def test_subclasses_keep_their_methods_and_their_class(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    class Counting(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.count = 0

        def send(self, data: Any, *args: Any) -> int:
            sent = super().send(data, *args)
            self.count += sent
            return sent

    def main() -> Any:
        sock = Counting()
        sock.connect((SERVER, 80))
        sock.send(b"abc")
        sock.send(b"defg")
        return isinstance(sock, Counting), isinstance(sock, LunarSocket), sock.count

    assert hosts.run(main) == (True, True, 7)


def test_makefile_reads_and_writes_lines(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> Any:
        with connected() as sock, sock.makefile("rw", encoding="utf-8", newline="\n") as file:
            file.write("first\nsecönd\n")
            file.flush()
            return file.readline(), file.readline()

    assert hosts.run(main) == ("first\n", "secönd\n")


def test_a_socket_is_closed_when_its_files_are_closed_too(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> None:
        sock = connected()
        file = sock.makefile("rb")
        sock.close()
        assert sock.fileno() >= 0
        file.close()
        assert sock.fileno() == -1

    hosts.run(main)
    assert hosts.client.descriptors.all() == []


def test_recv_variants(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> Any:
        sock = connected()
        sock.sendall(b"abcdefgh")
        time.sleep(1)
        peeked = sock.recv(3, socket.MSG_PEEK)
        first = sock.recv(3)
        buffer = bytearray(2)
        count = sock.recv_into(buffer)
        numbers = array.array("H", [0])
        assert sock.recv_into(numbers, 2) == 2
        rest, ancillary, flags, _address = sock.recvmsg(100)
        return peeked, first, count, bytes(buffer), numbers.tobytes(), rest, ancillary, flags

    assert hosts.run(main) == (b"abc", b"abc", 2, b"de", b"fg", b"h", [], 0)


def test_sendmsg_gathers(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> bytes:
        sock = connected()
        assert sock.sendmsg([b"ab", memoryview(b"cd"), bytearray(b"e")]) == 5
        return sock.recv(10)

    assert hosts.run(main) == b"abcde"


def test_sendfile_of_a_file(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)
    content = bytes(range(256)) * 200

    def main() -> Any:
        sock = connected()
        assert sock.sendfile(io.BytesIO(content), offset=6, count=40_000) == 40_000  # type: ignore[arg-type]
        got = b""
        while len(got) < 40_000:
            got += sock.recv(65536)
        return got == content[6:40_006]

    assert hosts.run(main) is True


def test_a_megabyte_passes_a_small_window(hosts: TwoHosts) -> None:
    def sink() -> int:
        with socket.create_server(("", 80)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            sock, _address = listener.accept()
            count = 0
            while data := sock.recv(10_000):
                count += len(data)
            return count

    string = hosts.net.start(hosts.server, sink)

    def main() -> None:
        with connected() as sock:
            sock.sendall(bytes(1_000_000))

    hosts.run(main)
    hosts.net.run()
    assert string.result == 1_000_000


def test_half_close(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> Any:
        sock = connected()
        sock.sendall(b"all of it")
        sock.shutdown(socket.SHUT_WR)
        fails(errno.EPIPE, sock.send, b"more")
        got = b""
        while data := sock.recv(4):
            got += data
        return got

    assert hosts.run(main) == b"all of it"


# Timeouts


def test_a_timeout_is_exact_for_each_blocking_call() -> None:
    hosts = TwoHosts(loss=1.0)

    def main() -> Any:
        ends = []
        for call in (
            lambda sock: sock.connect((SERVER, 80)),
            lambda sock: (sock.bind(("", 81)), sock.listen(), sock.accept()),
        ):
            with socket.socket() as sock:
                sock.settimeout(1.5)
                with pytest.raises(TimeoutError):
                    call(sock)
                ends.append(time.monotonic())
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", 53))
            sock.settimeout(0.25)
            with pytest.raises(TimeoutError):
                sock.recvfrom(10)
            ends.append(time.monotonic())
        return ends

    assert hosts.run(main) == [1.5, 3.0, 3.25]
    hosts.net.close()


def test_recv_times_out_and_works_again(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> Any:
        sock = connected()
        sock.settimeout(2)
        with pytest.raises(TimeoutError, match="timed out"):
            sock.recv(10)
        at = time.monotonic()
        sock.send(b"x")
        return at, sock.recv(10)

    assert hosts.run(main) == (ROUND_TRIP + 2, b"x")


def test_a_send_times_out_when_nobody_reads(hosts: TwoHosts) -> None:
    def silent() -> None:
        with socket.create_server(("", 80)) as listener:
            _sock, _address = listener.accept()
            time.sleep(3600)

    hosts.serve(silent)

    def main() -> float:
        sock = connected()
        sock.settimeout(60)
        with pytest.raises(TimeoutError):
            sock.sendall(bytes(20_000_000))  # one deadline for all of it
        return time.monotonic()

    assert hosts.run(main) == ROUND_TRIP + 60


def test_the_default_timeout_applies_to_new_sockets(hosts: TwoHosts) -> None:
    def main() -> Any:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(7)
        try:
            with socket.socket() as sock:
                return before, sock.gettimeout()
        finally:
            socket.setdefaulttimeout(before)

    assert hosts.run(main) == (None, 7.0)


def test_a_non_blocking_socket_never_waits(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> Any:
        sock = socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        assert sock.gettimeout() == 0.0 and not sock.getblocking()
        assert fails(errno.EINPROGRESS, sock.connect, (SERVER, 80)) is BlockingIOError
        assert sock.connect_ex((SERVER, 80)) == errno.EALREADY
        time.sleep(1)
        assert sock.connect_ex((SERVER, 80)) == 0
        assert sock.connect_ex((SERVER, 80)) == errno.EISCONN
        assert fails(errno.EAGAIN, sock.recv, 10) is BlockingIOError
        sock.setblocking(True)
        assert sock.gettimeout() is None
        sock.send(b"x")
        return fails(errno.EAGAIN, sock.recv, 10, socket.MSG_DONTWAIT), sock.recv(10), time.monotonic()

    assert hosts.run(main) == (BlockingIOError, b"x", 1.0 + ROUND_TRIP)


# Errors


def test_connect_errors(hosts: TwoHosts) -> None:
    def main() -> Any:
        assert fails(errno.ECONNREFUSED, socket.socket().connect, (SERVER, 81)) is ConnectionRefusedError
        refused = time.monotonic()
        fails(errno.ENETUNREACH, socket.socket().connect, ("192.0.2.1", 80))
        assert socket.socket().connect_ex((SERVER, 81)) == errno.ECONNREFUSED
        with pytest.raises(socket.gaierror):
            socket.socket().connect(("nobody.example", 80))
        for wrong in ("10.0.0.2", ("10.0.0.2",), ("10.0.0.2", "80"), (5, 80)):
            with pytest.raises(TypeError):
                socket.socket().connect(wrong)
        for port in (-1, 65536):
            with pytest.raises(OverflowError):
                socket.socket().connect((SERVER, port))
        return refused, time.monotonic()

    assert hosts.run(main) == (ROUND_TRIP, 2 * ROUND_TRIP)


def test_bind_and_listen_errors(hosts: TwoHosts) -> None:
    def main() -> None:
        first, second = socket.socket(), socket.socket()
        first.bind(("", 80))
        fails(errno.EINVAL, first.bind, ("", 81))
        fails(errno.EADDRINUSE, second.bind, (CLIENT, 80))
        fails(errno.EADDRNOTAVAIL, second.bind, (SERVER, 80))
        fails(errno.EINVAL, second.accept)
        first.listen()
        fails(errno.EISCONN, first.connect, (SERVER, 80))
        fails(errno.ENOTCONN, first.recv, 1)
        datagram = socket.socket(type=socket.SOCK_DGRAM)
        fails(errno.EOPNOTSUPP, datagram.listen)
        fails(errno.EOPNOTSUPP, datagram.accept)

    hosts.run(main)


def test_what_is_not_connected_says_so(hosts: TwoHosts) -> None:
    def main() -> None:
        sock = socket.socket()
        fails(errno.ENOTCONN, sock.getpeername)
        fails(errno.ENOTCONN, sock.recv, 1)
        assert fails(errno.EPIPE, sock.send, b"x") is BrokenPipeError
        fails(errno.ENOTCONN, sock.shutdown, socket.SHUT_RDWR)
        assert sock.getsockname() == ("0.0.0.0", 0)

    hosts.run(main)


def test_kinds_of_sockets_that_there_are_not(hosts: TwoHosts) -> None:
    def main() -> None:
        fails(errno.EAFNOSUPPORT, socket.socket, socket.AF_NETLINK)
        fails(errno.ESOCKTNOSUPPORT, socket.socket, socket.AF_PACKET)
        fails(errno.EPROTONOSUPPORT, socket.socket, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP)
        fails(errno.ESOCKTNOSUPPORT, socket.socket, socket.AF_INET, socket.SOCK_SEQPACKET)

    hosts.run(main)


def test_everything_on_a_closed_socket_is_a_bad_descriptor(hosts: TwoHosts) -> None:
    def main() -> None:
        sock = socket.socket()
        sock.close()
        sock.close()  # again is nothing
        for call in (
            lambda: sock.recv(1), lambda: sock.send(b"x"), lambda: sock.bind(("", 0)), sock.listen,
            sock.accept, lambda: sock.connect((SERVER, 80)), sock.getsockname,
            lambda: sock.setsockopt(1, 2, 1), lambda: sock.getsockopt(1, 2), lambda: sock.shutdown(2),
            lambda: sock.setblocking(True), lambda: sock.settimeout(1),
        ):  # fmt: skip
            fails(errno.EBADF, call)

    hosts.run(main)


def test_a_reset_raises_in_the_middle_of_recv(hosts: TwoHosts) -> None:
    def reset() -> None:
        with socket.create_server(("", 80)) as listener:
            sock, _address = listener.accept()
            time.sleep(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    hosts.serve(reset)

    def main() -> Any:
        sock = connected()
        kind = fails(errno.ECONNRESET, sock.recv, 10)
        at = time.monotonic()
        assert sock.recv(10) == b""  # the error is told once
        fails(errno.EPIPE, sock.send, b"x")
        return kind, at

    # Accepted at 15 ms, reset 1 s later, here 5 ms after.
    assert hosts.run(main) == (ConnectionResetError, 1.02)


def test_a_blocking_call_in_a_coroutine_holds_up_the_other_coroutines_of_its_loop(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        begun = time.monotonic()
        beside = asyncio.create_task(asyncio.sleep(0, "beside"))
        with connected() as sock:
            sock.sendall(b"abc")
            answer = sock.recv(10)
            return answer, time.monotonic() - begun, beside.done(), await beside

    # One round trip to connect, one for the data.
    assert hosts.run(main) == (b"abc", 2 * ROUND_TRIP, False, "beside")


# Datagrams


def test_datagrams(hosts: TwoHosts) -> None:
    def answer() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", 53))
            while True:
                data, address = sock.recvfrom(2000)
                sock.sendto(data.upper(), address)

    hosts.serve(answer)

    def main() -> Any:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        assert sock.sendto(b"abc", (SERVER, 53)) == 3
        first = sock.recvfrom(100)
        at = time.monotonic()
        sock.connect(("server", 53))
        assert sock.getpeername() == (SERVER, 53)
        sock.send(b"a long one")
        cut = sock.recv(5)  # the rest of the datagram is lost
        sock.send(b"next")
        buffer = bytearray(10)
        return first, at, cut, sock.recvfrom_into(buffer), bytes(buffer[:4])

    peer = (SERVER, 53)
    assert hosts.run(main) == ((b"ABC", peer), ROUND_TRIP, b"A LON", (4, peer), b"NEXT")


def test_a_connected_datagram_socket_hears_of_a_closed_port(hosts: TwoHosts) -> None:
    def main() -> Any:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.connect((SERVER, 54))
        sock.send(b"anybody?")
        kind = fails(errno.ECONNREFUSED, sock.recv, 10)
        return kind, time.monotonic()

    assert hosts.run(main) == (ConnectionRefusedError, ROUND_TRIP)


def test_datagram_errors(hosts: TwoHosts) -> None:
    def main() -> None:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        fails(errno.EDESTADDRREQ, sock.send, b"x")
        fails(errno.EMSGSIZE, sock.sendto, bytes(65508), (SERVER, 53))
        fails(errno.EACCES, sock.sendto, b"x", ("10.0.0.255", 53))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        assert sock.sendto(b"x", ("10.0.0.255", 53)) == 1
        fails(errno.ENETUNREACH, sock.sendto, b"x", ("192.0.2.1", 53))
        with pytest.raises(TypeError):
            sock.sendto(b"x")  # type: ignore[call-overload]

    hosts.run(main)


# Options


def test_options_are_those_of_linux(hosts: TwoHosts) -> None:
    def main() -> None:
        sock = socket.socket()
        for level, name in (
            (socket.SOL_SOCKET, socket.SO_REUSEADDR), (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        ):  # fmt: skip
            assert sock.getsockopt(level, name) == 0
            sock.setsockopt(level, name, 1)
            assert sock.getsockopt(level, name) == 1
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 20_000  # socket(7): the kernel doubles it
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 7
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 5)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR, 4) == bytes(4)
        fails(errno.EINVAL, sock.setsockopt, socket.IPPROTO_IP, socket.IP_TTL, 256)
        fails(errno.ENOPROTOOPT, sock.setsockopt, socket.SOL_SOCKET, 9999, 1)

    hosts.run(main)


# Closing under somebody's hands, and the end


def test_a_descriptor_can_be_taken_over(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    def main() -> bytes:
        first = connected()
        number = first.detach()
        assert first.fileno() == -1
        second = socket.socket(fileno=number)
        second.send(b"taken over")
        return second.recv(20)

    assert hosts.run(main) == b"taken over"


def test_a_socket_that_nobody_holds_is_closed(hosts: TwoHosts) -> None:
    ends: list[float] = []

    def server() -> None:
        with socket.create_server(("", 80)) as listener:
            sock, _address = listener.accept()
            assert sock.recv(1) == b""
            ends.append(time.monotonic())

    hosts.serve(server)

    def main() -> None:
        sock = connected()
        time.sleep(1)
        del sock
        time.sleep(1)

    hosts.run(main)
    assert ends == [1.0 + ROUND_TRIP + DELAY]


def test_a_call_that_waits_holds_the_socket_that_is_closed_meanwhile(hosts: TwoHosts) -> None:
    async def main() -> tuple[bytes, bytes]:
        ours, theirs = socket.socketpair()
        reading = asyncio.ensure_future(asyncio.to_thread(ours.recv, 10))
        await asyncio.sleep(1)
        ours.close()
        await asyncio.sleep(1)
        theirs.sendall(b"late")  # no EPIPE: the call holds the other end
        return await reading, theirs.recv(10)  # and with its end that is closed

    assert hosts.run(main) == (b"late", b"")


def test_a_call_with_a_timeout_finds_the_socket_closed_when_something_comes(hosts: TwoHosts) -> None:
    async def main() -> bool:
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        reading = asyncio.ensure_future(asyncio.to_thread(fails, errno.EBADF, ours.recv, 10))
        await asyncio.sleep(1)
        ours.close()
        await asyncio.sleep(1)
        theirs.sendall(b"late")
        return await reading is OSError

    assert hosts.run(main) is True


def test_what_is_left_open_sends_nothing_after_the_end(tmp_path: Any) -> None:
    hosts = TwoHosts()
    hosts.net.capture(tmp_path)
    hosts.serve(echo_server)
    left: list[Any] = []

    def main() -> None:
        left.append(connected())

    hosts.run(main)
    hosts.net.close()
    packets = hosts.net.totals()["packets"]
    left.clear()  # closes it: there is no network any more, and no capture that could take a FIN
    assert hosts.net.totals()["packets"] == packets


def test_names(hosts: TwoHosts) -> None:
    def main() -> None:
        assert socket.gethostname() == "client"
        assert socket.getfqdn() == "client"
        assert socket.gethostbyname("server") == SERVER
        assert socket.getaddrinfo("server", 80, type=socket.SOCK_STREAM)[0][4] == (SERVER, 80)
        assert socket.getnameinfo((SERVER, 80), 0) == ("server", "http")

    hosts.run(main)


def test_outside_of_a_weave_nothing_is_changed(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)
    hosts.run(lambda: connected().close())
    with socket.socket() as sock:
        assert type(sock) is socket.socket and 0 <= sock.fileno() < 1_000_000
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with socket.create_connection(sock.getsockname()) as peer:
            accepted, _address = sock.accept()
            peer.sendall(b"real")
            assert accepted.recv(10) == b"real"
            accepted.close()
