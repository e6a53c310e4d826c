"""The system calls as functions: who may call them, how they wait in virtual time, what they tell of the host.

That each gives the result or the errno that Linux gives is shown in tests/parity/test_syscall_errnos.py.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lunar import syscalls
from lunar.network import Network
from lunar.sockets import (
    datagram_options,
    filter_options,
    ipv6_options,
    multicast_options,
    options,
    report_options,
    tcp_options,
)
from lunar.sockets.fdtable import FD_BASE
from weaves.loader import load

INET, UNIX, STREAM, DGRAM = socket.AF_INET, socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM
SECOND = struct.pack("qq", 1, 0)  # SO_RCVTIMEO, SO_SNDTIMEO


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as made:
        alpha, beta = made.host("alpha", "10.0.0.1/24"), made.host("beta", "10.0.0.2/24")
        made.link(alpha, beta, delay="5ms")
        yield made


def on_alpha(net: Network, function: Any, *args: Any) -> Any:
    return net.run(function, *args, on=net.hosts["alpha"])


def listener(port: int = 80) -> int:
    fd = syscalls.socket(INET, STREAM)
    syscalls.bind(fd, ("0.0.0.0", port))
    syscalls.listen(fd)
    return fd


# Who may call


def test_outside_of_all_strings_there_is_no_host() -> None:
    with pytest.raises(RuntimeError, match="outside of its strings"):
        syscalls.socket(INET, STREAM)


def test_a_call_that_waits_in_a_coroutine_holds_up_its_loop(net: Network) -> None:
    async def main() -> tuple[bytes, float]:
        fd = syscalls.socket(INET, DGRAM)
        syscalls.bind(fd, ("10.0.0.1", 9))
        asyncio.get_running_loop().call_later(0.5, log.append, "late")
        data = syscalls.recv(fd, 10)
        assert not log
        return data, time.monotonic()

    def send() -> None:
        time.sleep(1)
        syscalls.sendto(syscalls.socket(INET, DGRAM), b"x", 0, ("10.0.0.1", 9))

    log: list[str] = []
    net.start(net.hosts["beta"], send)
    assert on_alpha(net, main) == (b"x", 1.005)


def test_numbers_are_the_lowest_that_are_free(net: Network) -> None:
    def main() -> list[int]:
        fds = [syscalls.socket(INET, STREAM) for _ in range(3)]
        syscalls.close(fds[1])
        return [fd - FD_BASE for fd in (*fds, syscalls.dup(fds[0]), syscalls.fcntl(fds[0], fcntl.F_DUPFD, FD_BASE + 9))]

    assert on_alpha(net, main) == [0, 1, 2, 1, 9]


def test_the_end_of_a_program_closes_what_it_opened(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(
        "from lunar import syscalls\n"
        "fd = syscalls.socket(2, 1)\nsyscalls.bind(fd, ('', 80))\nsyscalls.listen(fd)\n"
        "fd, _ = syscalls.accept(fd)\nassert syscalls.read(fd, 9) == b'go'\n"
    )
    (tmp_path / "client.py").write_text(
        "import socket\nwith socket.create_connection(('server', 80)) as s:\n    s.send(b'go')\n    print(s.recv(9))\n"
    )
    (tmp_path / "site.toml").write_text(
        '[hosts.server]\neth0 = "10.0.0.1/24"\nstrings = [{ run = "server.py" }]\n'
        '[hosts.client]\neth0 = "10.0.0.2/24"\nstrings = [{ run = "client.py", start = "1s" }]\n'
        '[[links]]\nends = ["server", "client"]\n'
    )
    live = load(tmp_path / "site.toml")
    live.run_blocking()
    assert live.ok


# Waiting


def test_a_server_and_a_client_of_system_calls(net: Network) -> None:
    def serve() -> tuple[bytes, bytes, float]:
        fd, peer = syscalls.accept(listener())
        assert peer[0] == "10.0.0.2"
        first, rest = syscalls.recv(fd, 8, socket.MSG_WAITALL), syscalls.read(fd, 100)
        assert syscalls.write(fd, bytes(1_000_000)) == 1_000_000  # more than any buffer takes
        syscalls.close(fd)
        return first, rest, time.monotonic()

    def visit() -> int:
        fd = syscalls.socket(INET, STREAM)
        syscalls.connect(fd, ("10.0.0.1", 80))
        syscalls.send(fd, b"half")
        time.sleep(1)
        syscalls.writev(fd, [b"half", b" and ", b"more"])
        return len(syscalls.recv(fd, 2_000_000, socket.MSG_WAITALL))

    net.start(net.hosts["alpha"], serve)
    served = net.hosts["alpha"].weave.strings[-1]
    assert net.run(visit, on=net.hosts["beta"]) == 1_000_000
    first, rest, when = served.result
    assert (first, rest) == (b"halfhalf", b" and more")
    assert when > 1


def test_a_timeout_of_receiving_takes_that_time(net: Network) -> None:
    def main() -> list[Any]:
        log: list[Any] = []
        datagram, listening = syscalls.socket(INET, DGRAM), listener()
        calls = (datagram, lambda: syscalls.recv(datagram, 1)), (listening, lambda: syscalls.accept(listening))
        for fd, call in calls:
            syscalls.setsockopt(fd, socket.SOL_SOCKET, socket.SO_RCVTIMEO, SECOND)
            before = time.monotonic()
            with pytest.raises(BlockingIOError) as failed:
                call()
            log += [failed.value.errno, time.monotonic() - before]
        return log

    assert on_alpha(net, main) == [errno.EAGAIN, 1.0, errno.EAGAIN, 1.0]


def test_a_timeout_of_sending_ends_a_connect_that_goes_on(net: Network) -> None:
    def main() -> tuple[int, float, int]:
        net.hosts["beta"].devices["eth0"].plugged = False
        fd = syscalls.socket(INET, STREAM)
        syscalls.setsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDTIMEO, SECOND)
        with pytest.raises(BlockingIOError) as first:
            syscalls.connect(fd, ("10.0.0.2", 80))
        when = time.monotonic()
        with pytest.raises(BlockingIOError) as second:
            syscalls.connect(fd, ("10.0.0.2", 80))
        return int(first.value.errno or 0), when, int(second.value.errno or 0)

    assert on_alpha(net, main) == (errno.EINPROGRESS, 1.0, errno.EALREADY)


def test_part_of_what_was_waited_for_is_given_when_the_time_is_over(net: Network) -> None:
    def main() -> bytes:
        first, second = syscalls.socketpair(UNIX, STREAM)
        syscalls.setsockopt(first, socket.SOL_SOCKET, socket.SO_RCVTIMEO, SECOND)
        syscalls.send(second, b"part")
        return syscalls.recv(first, 10, socket.MSG_WAITALL)

    assert on_alpha(net, main) == b"part"


def test_the_parts_of_a_datagram_go_as_one(net: Network) -> None:
    def main() -> list[bytes]:
        reading, writing = syscalls.socket(INET, DGRAM), syscalls.socket(INET, DGRAM)
        syscalls.bind(reading, ("127.0.0.1", 9))
        syscalls.connect(writing, ("127.0.0.1", 9))
        syscalls.send(writing, b"one ", socket.MSG_MORE)
        syscalls.send(writing, b"datagram")
        syscalls.setsockopt(writing, socket.IPPROTO_UDP, 1, 1)  # UDP_CORK
        syscalls.send(writing, b"another ")
        syscalls.send(writing, b"one")
        syscalls.setsockopt(writing, socket.IPPROTO_UDP, 1, 0)
        return [syscalls.recv(reading, 100), syscalls.recv(reading, 100)]

    assert on_alpha(net, main) == [b"one datagram", b"another one"]


def test_a_stream_that_was_disconnected_connects_again(net: Network) -> None:
    def serve() -> None:
        listening = listener()
        for _ in range(2):
            fd, _ = syscalls.accept(listening)
            try:
                syscalls.write(fd, syscalls.read(fd, 100).upper())
            except ConnectionResetError:
                syscalls.close(fd)

    def visit() -> list[bytes]:
        fd, log = syscalls.socket(INET, STREAM), []
        for word in (b"first", b"second"):
            syscalls.connect(fd, ("10.0.0.1", 80))
            syscalls.write(fd, word)
            log.append(syscalls.read(fd, 100))
            syscalls.connect(fd, syscalls.Sockaddr.unspecified())
        return log

    net.start(net.hosts["alpha"], serve)
    assert net.run(visit, on=net.hosts["beta"]) == [b"FIRST", b"SECOND"]


def test_select_poll_and_epoll_wait_for_what_another_string_does(net: Network) -> None:
    def write(fds: list[int]) -> None:
        for fd in fds:
            time.sleep(1)
            syscalls.write(fd, b"x")

    def main() -> list[Any]:
        pipes = [syscalls.pipe() for _ in range(3)]
        epfd = syscalls.epoll_create1(0)
        syscalls.epoll_ctl(epfd, syscalls.EPOLL_CTL_ADD, pipes[2][0], 1)
        net.start(net.hosts["alpha"], write, [writing for _, writing in pipes])
        log: list[Any] = []
        for found in (
            lambda: syscalls.select([pipes[0][0]], [], [], 5)[0],
            lambda: syscalls.poll([(pipes[1][0], 1)], 5000),
            lambda: syscalls.epoll_wait(epfd, 5, 5000),
            lambda: syscalls.poll([(syscalls.pipe()[0], 1)], 500),
        ):
            log += [found(), time.monotonic()]
        first, second, third = (reading for reading, _ in pipes)
        assert log == [[first], 1.0, [(second, 1)], 2.0, [(third, 1)], 3.0, [], 3.5]
        return log

    assert on_alpha(net, main)


def test_errnos_that_only_a_network_gives(net: Network) -> None:
    def main() -> list[Any]:
        log: list[Any] = []

        def attempt(function: Any, *args: Any) -> None:
            before = time.monotonic()
            try:
                function(*args)
            except OSError as failed:
                log.extend([errno.errorcode[failed.errno or 0], round(time.monotonic() - before)])

        connected = syscalls.socket(INET, STREAM)
        syscalls.connect(connected, ("10.0.0.2", 80))
        attempt(syscalls.connect, syscalls.socket(INET, STREAM), ("192.0.2.1", 80))  # no route
        attempt(syscalls.sendto, syscalls.socket(INET, DGRAM), b"x", 0, ("192.0.2.1", 80))
        net.hosts["beta"].devices["eth0"].plugged = False
        attempt(syscalls.connect, syscalls.socket(INET, STREAM), ("10.0.0.2", 80))  # tcp_syn_retries
        syscalls.send(connected, b"x")
        attempt(syscalls.recv, connected, 1)  # tcp_retries2
        return log

    net.start(net.hosts["beta"], lambda: syscalls.accept(listener()))
    # Of tcp_retries2 Linux says 924.6 s where the RTO is the least there is; a round trip of 10 ms makes it longer.
    assert on_alpha(net, main) == ["ENETUNREACH", 0, "ENETUNREACH", 0, "ETIMEDOUT", 131, "ETIMEDOUT", 935]


def test_what_is_refused_over_lo_is_always_told(net: Network) -> None:
    # Other hosts are told a bounded number of times a second, programs of the same host each time (as Linux has it).
    def main() -> list[int]:
        log = []
        for _ in range(100):
            fd = syscalls.socket(INET, DGRAM)
            syscalls.connect(fd, ("127.0.0.1", 9))
            syscalls.send(fd, b"x")
            syscalls.poll([(fd, 0)], 1000)
            log.append(syscalls.getsockopt(fd, socket.SOL_SOCKET, socket.SO_ERROR))
        return log

    assert on_alpha(net, main) == [errno.ECONNREFUSED] * 100


# What they tell of the host


def test_sysctl_by_name_and_by_numbers(net: Network) -> None:
    def main() -> list[Any]:
        log: list[Any] = [syscalls.sysctl("net.ipv4.ip_forward", 1), syscalls.sysctl([3, 5, 8])]
        for name, value in (("net.ipv4.no_such_thing", None), ([9, 9], None), ("net.ipv4.ip_default_ttl", 0)):
            with pytest.raises(OSError) as failed:
                syscalls.sysctl(name, value)
            log.append(failed.value.errno)
        return log

    assert on_alpha(net, main) == [0, 1, errno.ENOTDIR, errno.ENOTDIR, errno.EINVAL]
    assert net.hosts["alpha"].sh("sysctl net.ipv4.ip_forward") == "net.ipv4.ip_forward = 1\n"


def test_the_devices_by_the_recipe_that_everybody_knows(net: Network) -> None:
    def main() -> tuple[list[tuple[str, str]], str]:
        with socket.socket(INET, DGRAM) as sock:
            room = array.array("B", bytes(400))
            asked = struct.pack("iL", 400, room.buffer_info()[0])
            size = struct.unpack("iL", fcntl.ioctl(sock.fileno(), 0x8912, asked))[0]  # SIOCGIFCONF
            told = room.tobytes()[:size]
            address = fcntl.ioctl(sock, 0x8915, struct.pack("256s", b"eth0"))[20:24]  # SIOCGIFADDR
        return (
            [
                (told[at : at + 16].rstrip(b"\0").decode(), socket.inet_ntoa(told[at + 20 : at + 24]))
                for at in range(0, size, 40)
            ],
            socket.inet_ntoa(address),
        )

    assert on_alpha(net, main) == ([("lo", "127.0.0.1"), ("eth0", "10.0.0.1")], "10.0.0.1")


def test_a_device_as_it_is_now(net: Network) -> None:
    def main() -> list[Any]:
        fd = syscalls.socket(INET, DGRAM)
        name = b"eth0".ljust(40, b"\0")
        up = struct.unpack("H", syscalls.ioctl(fd, 0x8913, name)[16:18])[0] & 1
        net.hosts["alpha"].sh("ifconfig eth0 down mtu 1400")
        down = struct.unpack("H", syscalls.ioctl(fd, 0x8913, name)[16:18])[0] & 1
        mtu = struct.unpack("i", syscalls.ioctl(fd, 0x8921, name)[16:20])[0]
        with pytest.raises(PermissionError):
            syscalls.ioctl(fd, 0x8922, name)  # SIOCSIFMTU
        return [up, down, mtu]

    assert on_alpha(net, main) == [1, 0, 1400]


def test_sendfile_and_dup2_of_os_know_a_hosts_descriptors(net: Network, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def main() -> tuple[int, bytes, bool]:
        first, second = socket.socketpair()
        with path.open("rb") as file:
            sent = os.sendfile(first.fileno(), file.fileno(), 2, 5)
        other = os.dup2(second.fileno(), FD_BASE + 50)
        first.close()
        second.close()
        data = os.read(other, 100)
        os.close(other)
        return sent, data, other == FD_BASE + 50

    assert on_alpha(net, main) == (5, b"23456", True)


# The documentation

def number_of(name: str) -> int:
    """The number of a level or an option, as our own tables have it, or Python."""
    for module in (
        options, tcp_options, report_options, datagram_options, filter_options, multicast_options, ipv6_options, socket,
    ):  # fmt: skip
        if (number := getattr(module, name, None)) is not None:
            return int(number)
    raise AssertionError(f"no table knows {name}")


def test_the_options_of_the_documentation_are_those_that_are_obeyed(net: Network) -> None:
    page = (Path(__file__).parents[2] / "docs" / "syscalls.md").read_text(encoding="utf-8")
    table = page.partition("## Options")[2].partition("##")[0]
    listed = {
        (level, name): (number_of(level), number_of(name))
        for level, row in re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }

    def obeyed() -> set[tuple[int, int]]:
        found = set()
        fds = [
            syscalls.socket(INET, STREAM), syscalls.socket(INET, DGRAM), syscalls.socket(UNIX, STREAM),
            syscalls.socket(socket.AF_INET6, STREAM), syscalls.socket(INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        ]  # fmt: skip
        for level in {level for level, _ in listed.values()}:
            for name in range(128):
                for fd in fds:
                    for call, rest in ((syscalls.getsockopt, 64), (syscalls.setsockopt, 1)):
                        try:
                            call(fd, level, name, rest)
                        except OSError as failed:
                            if failed.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
                                continue
                        found.add((level, name))
        return found

    assert on_alpha(net, obeyed) == set(listed.values())
