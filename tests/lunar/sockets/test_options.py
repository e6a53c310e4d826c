"""Socket options: what is set is read back, and every answer is the one that Linux gives."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

import lunar
from lunar.net.sock import Sock
from lunar.sockets import options, syscalls, tcp_options
from lunar.sockets.options import getsockopt, set_linger, setsockopt

STREAM, DGRAM = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM)
SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP = 1, 0, 6


def new(kind: int = DGRAM) -> Sock:
    host = lunar.Network(seed=1).host("a", "10.0.0.1/24")
    made = syscalls.socket(host.tcp, host.udp, socket.AF_INET, kind, 0)
    assert made is not None
    return made


# Set and read


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
@pytest.mark.parametrize(
    "name", [options.SO_REUSEADDR, options.SO_REUSEPORT, options.SO_KEEPALIVE, options.SO_BROADCAST]
)
def test_a_flag_is_off_then_on_then_off(kind: int, name: int) -> None:
    sock = new(kind)
    answers = []
    for value in (0, 5, 0):
        answers.append(setsockopt(sock, SOL_SOCKET, name, value))
        answers.append(getsockopt(sock, SOL_SOCKET, name))
    assert answers == [0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("level", "name", "default", "value"),
    [
        (IPPROTO_IP, options.IP_TTL, 64, 9),
        (IPPROTO_IP, options.IP_TOS, 0, 0xB8),
        (SOL_SOCKET, options.SO_PRIORITY, 0, 6),
        (IPPROTO_TCP, tcp_options.TCP_NODELAY, 0, 1),
        (IPPROTO_TCP, tcp_options.TCP_CORK, 0, 1),
        (IPPROTO_TCP, tcp_options.TCP_KEEPIDLE, 7200, 60),
        (IPPROTO_TCP, tcp_options.TCP_KEEPINTVL, 75, 10),
        (IPPROTO_TCP, tcp_options.TCP_KEEPCNT, 9, 3),
        (IPPROTO_TCP, tcp_options.TCP_MAXSEG, 536, 1000),
        (IPPROTO_TCP, tcp_options.TCP_QUICKACK, 1, 0),
    ],
)
def test_a_default_a_new_value_and_the_same_on_the_kernel(level: int, name: int, default: int, value: int) -> None:
    sock = new(STREAM)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as kernel:
        assert getsockopt(sock, level, name) == kernel.getsockopt(level, name) == default
        assert setsockopt(sock, level, name, value) == 0
        kernel.setsockopt(level, name, value)
        assert getsockopt(sock, level, name) == kernel.getsockopt(level, name) == value


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
@pytest.mark.parametrize(
    "name",
    [
        options.SO_TYPE, options.SO_PROTOCOL, options.SO_DOMAIN, options.SO_ERROR, options.SO_ACCEPTCONN,
        options.SO_DONTROUTE, options.SO_OOBINLINE,
    ],
)  # fmt: skip
def test_what_a_new_socket_says_of_itself(kind: int, name: int) -> None:
    with socket.socket(socket.AF_INET, kind) as kernel:
        assert getsockopt(new(kind), SOL_SOCKET, name) == kernel.getsockopt(SOL_SOCKET, name)


def test_a_listening_socket_says_so() -> None:
    sock = new(STREAM)
    syscalls.bind(sock, 0, 80)
    syscalls.listen(sock, 5)
    assert getsockopt(sock, SOL_SOCKET, options.SO_ACCEPTCONN) == 1


def test_so_error_is_taken_by_reading_it() -> None:
    sock = new()
    sock.error = errno.ECONNREFUSED
    assert [getsockopt(sock, SOL_SOCKET, options.SO_ERROR) for _ in range(2)] == [errno.ECONNREFUSED, 0]


# Bounds

BUFFER_VALUES = [0, 1, 2, 1000, 1151, 1152, 1153, 2303, 2304, 2305, 4608, 50_000, 100_001, 212_992]


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
@pytest.mark.parametrize("name", [options.SO_SNDBUF, options.SO_RCVBUF])
@pytest.mark.parametrize("value", BUFFER_VALUES)
def test_a_buffer_is_doubled_within_bounds_as_by_the_kernel(kind: int, name: int, value: int) -> None:
    sock = new(kind)
    assert setsockopt(sock, SOL_SOCKET, name, value) == 0
    with socket.socket(socket.AF_INET, kind) as kernel:
        kernel.setsockopt(SOL_SOCKET, name, value)
        assert getsockopt(sock, SOL_SOCKET, name) == kernel.getsockopt(SOL_SOCKET, name)


@pytest.mark.parametrize("name", [options.SO_SNDBUF, options.SO_RCVBUF])
@pytest.mark.parametrize("value", [4_194_304, 4_194_305, 2**31 - 1, -1, -(2**31)])
def test_the_most_is_that_of_linux_by_default(name: int, value: int) -> None:
    # net.core.rmem_max and wmem_max of Linux 6.18. A negative value counts as unsigned.
    sock = new()
    setsockopt(sock, SOL_SOCKET, name, value)
    assert getsockopt(sock, SOL_SOCKET, name) == 2 * 4_194_304


def test_a_buffer_that_was_set_is_not_tuned() -> None:
    sock = new(STREAM)
    assert (sock.sndbuf_locked, sock.rcvbuf_locked) == (False, False)
    setsockopt(sock, SOL_SOCKET, options.SO_SNDBUF, 10_000)
    assert (sock.sndbuf_locked, sock.rcvbuf_locked) == (True, False)
    setsockopt(sock, SOL_SOCKET, options.SO_RCVBUF, 10_000)
    assert (sock.sndbuf_locked, sock.rcvbuf_locked) == (True, True)


# The kernel's answer to many values


def answers(sock: Sock, level: int, name: int, value: int) -> tuple[int, int]:
    """(errno or 0, value afterwards or -errno)."""
    return -setsockopt(sock, level, name, value), getsockopt(sock, level, name)


def kernel_answers(kernel: socket.socket, level: int, name: int, value: int) -> tuple[int, int]:
    result = 0
    try:
        kernel.setsockopt(level, name, value)
    except OSError as error:
        assert error.errno is not None
        result = error.errno
    try:
        return result, kernel.getsockopt(level, name)
    except OSError as error:
        assert error.errno is not None
        return result, -error.errno


TRIED: list[tuple[int, int, list[int]]] = [
    (IPPROTO_IP, options.IP_TTL, [-2, -1, 0, 1, 64, 255, 256]),
    (IPPROTO_IP, options.IP_TOS, [-1, 0, 1, 2, 3, 0x10, 0x13, 0xB8, 255, 256]),
    (IPPROTO_TCP, tcp_options.TCP_NODELAY, [-1, 0, 1, 7]),
    (IPPROTO_TCP, tcp_options.TCP_MAXSEG, [-1, 0, 1, 87, 88, 1460, 32_767, 32_768]),
    (IPPROTO_TCP, tcp_options.TCP_CORK, [-1, 0, 1, 7]),
    (IPPROTO_TCP, tcp_options.TCP_KEEPIDLE, [-1, 0, 1, 32_767, 32_768]),
    (IPPROTO_TCP, tcp_options.TCP_KEEPINTVL, [-1, 0, 1, 32_767, 32_768]),
    (IPPROTO_TCP, tcp_options.TCP_KEEPCNT, [-1, 0, 1, 127, 128]),
    (IPPROTO_TCP, tcp_options.TCP_SYNCNT, [-1, 0, 1, 127, 128]),
    (IPPROTO_TCP, tcp_options.TCP_DEFER_ACCEPT, [-1, 0, 1, 2, 3, 4, 7, 8, 1000, 100_000]),
    (IPPROTO_TCP, tcp_options.TCP_FASTOPEN, [-1, 0, 5, 100_000]),
    (IPPROTO_TCP, tcp_options.TCP_FASTOPEN_CONNECT, [-1, 0, 1, 2]),
    (IPPROTO_TCP, tcp_options.TCP_FASTOPEN_NO_COOKIE, [-1, 0, 1, 2]),
    (SOL_SOCKET, options.SO_PRIORITY, [0, 1, 6]),
    (SOL_SOCKET, options.SO_TYPE, [1]),
    (SOL_SOCKET, options.SO_ERROR, [1]),
    (SOL_SOCKET, options.SO_PROTOCOL, [1]),
    (SOL_SOCKET, options.SO_DOMAIN, [1]),
    (SOL_SOCKET, options.SO_ACCEPTCONN, [1]),
    (SOL_SOCKET, 9999, [0, 1]),
    (IPPROTO_IP, 9999, [0, 1]),
    (IPPROTO_TCP, 9999, [0, 1]),
    (9999, 1, [0, 1]),
]


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
@pytest.mark.parametrize(("level", "name", "values"), TRIED)
def test_every_value_is_answered_as_by_the_kernel(kind: int, level: int, name: int, values: list[int]) -> None:
    for value in values:
        with socket.socket(socket.AF_INET, kind) as kernel:
            assert answers(new(kind), level, name, value) == kernel_answers(kernel, level, name, value), value


@pytest.mark.parametrize("value", [-5, 0, 1, 120, 121, 100_000])
def test_linger2_as_by_the_kernel(value: int) -> None:
    sock = new(STREAM)
    with socket.socket() as kernel:
        kernel.setsockopt(IPPROTO_TCP, tcp_options.TCP_LINGER2, value)
        assert setsockopt(sock, IPPROTO_TCP, tcp_options.TCP_LINGER2, value) == 0
        # As bytes, because it may be negative.
        told = options.get_bytes(sock, IPPROTO_TCP, tcp_options.TCP_LINGER2, 4)
        assert told == kernel.getsockopt(IPPROTO_TCP, tcp_options.TCP_LINGER2, 4)


@pytest.mark.parametrize("value", [-1, 7])
def test_a_priority_beyond_six_takes_a_privilege(value: int) -> None:
    assert setsockopt(new(), SOL_SOCKET, options.SO_PRIORITY, value) == -errno.EPERM


@pytest.mark.parametrize("name", [options.SO_DONTROUTE])
def test_what_the_stack_does_not_obey_is_refused(name: int) -> None:
    assert setsockopt(new(STREAM), SOL_SOCKET, name, 1) == -errno.ENOPROTOOPT


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (SOL_SOCKET, socket.SO_RCVTIMEO),
        (IPPROTO_IP, socket.IP_HDRINCL),
        (IPPROTO_TCP, socket.TCP_INFO),
    ],
)  # fmt: skip
def test_options_that_are_not_here_yet_are_refused(level: int, name: int) -> None:
    sock = new(STREAM)
    assert (setsockopt(sock, level, name, 1), getsockopt(sock, level, name)) == (-errno.ENOPROTOOPT,) * 2


# The default TTL


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
def test_minus_one_is_the_hosts_default_ttl(kind: int) -> None:
    host = lunar.Network(seed=1).host("a")
    host.sh("sysctl -w net.ipv4.ip_default_ttl=77")
    sock = syscalls.socket(host.tcp, host.udp, socket.AF_INET, kind, 0)
    assert sock is not None
    assert getsockopt(sock, IPPROTO_IP, options.IP_TTL) == 77
    setsockopt(sock, IPPROTO_IP, options.IP_TTL, 5)
    setsockopt(sock, IPPROTO_IP, options.IP_TTL, -1)
    assert getsockopt(sock, IPPROTO_IP, options.IP_TTL) == 77


# SO_LINGER


def test_lingering() -> None:
    sock = new(STREAM)
    assert set_linger(sock, 3, 7) == 0
    assert (sock.linger_on, sock.linger_s) == (True, 7)
    set_linger(sock, 0, 0)
    assert (sock.linger_on, sock.linger_s) == (False, 7)  # Linux keeps the time, for whoever asks


def test_lingering_is_not_an_integer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as kernel, pytest.raises(OSError) as raised:
        kernel.setsockopt(SOL_SOCKET, socket.SO_LINGER, 1)
    assert setsockopt(new(STREAM), SOL_SOCKET, options.SO_LINGER, 1) == -errno.EINVAL == -(raised.value.errno or 0)


# Through the faces


def test_a_program_sets_and_reads_integers_and_bytes() -> None:
    with lunar.Network(seed=1) as net:

        def program() -> list[Any]:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, b"\1\0\0\0")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\7\0\0\0")
                return [
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR),
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 4),
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8),
                ]

        assert net.run(program, on=net.host("a")) == [1, b"\1\0\0\0", b"\1\0\0\0\7\0\0\0"]


@pytest.mark.parametrize(("level", "name"), [(SOL_SOCKET, 9999), (IPPROTO_TCP, 9999)])
def test_a_program_is_told_of_what_is_refused(level: int, name: int) -> None:
    with lunar.Network(seed=1) as net:

        def program() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.setsockopt(level, name, 1)

        with pytest.raises(OSError, match="Protocol not available") as raised:
            net.run(program, on=net.host("a"))
        assert raised.value.errno == errno.ENOPROTOOPT
