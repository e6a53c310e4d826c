"""What programs and routers say of packets that cannot go on: limits, echoes, times, a path found hop by hop."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import time
from typing import Any

import pytest

import lunar
from lunar.packet import IcmpMessage


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def message(kind: int, data: bytes) -> bytes:
    """An ICMP request with identifier 1 and sequence 2."""
    bare = struct.pack("!BBHHH", kind, 0, 0, 1, 2) + data
    return bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]


def row(routers: int) -> tuple[lunar.Network, list[lunar.Host]]:
    """Hosts in a row, each a router but the first and the last; 10.N.0.0/24 is between host N and the next."""
    net = lunar.Network(seed=1)
    hosts = [net.host("h0", "10.0.0.1/24")]
    for number in range(1, routers + 1):
        hosts.append(net.host(f"h{number}", f"10.{number - 1}.0.2/24", f"10.{number}.0.1/24"))
    hosts.append(net.host(f"h{routers + 1}", f"10.{routers}.0.2/24"))
    for number, (one, other) in enumerate(itertools.pairwise(hosts)):
        net.link(one.devices["eth1" if number else "eth0"], other.devices["eth0"], delay="1ms")
        one.sh(f"ip route add default via 10.{number}.0.2")
    for number, host in enumerate(hosts[1:], 1):
        for back in range(number - 1):
            host.sh(f"ip route add 10.{back}.0.0/24 via 10.{number - 1}.0.1")
        host.sh("sysctl -w net.ipv4.ip_forward=1")
    return net, hosts


def ask(net: lunar.Network, host: lunar.Host, address: str, request: bytes, ttl: int = 64) -> list[Any]:
    """What a raw socket of ICMP hears within a second after `request` went to an address: type, code, from whom."""

    def program() -> list[Any]:
        heard = []
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sock.settimeout(1)
            sock.sendto(request, (address, 0))
            try:
                while True:
                    data, (peer, _) = sock.recvfrom(2000)
                    heard.append((data[20], data[21], peer, data[24:]))
            except TimeoutError:
                return heard

    result: list[Any] = net.run(program, on=host)
    return result


def test_a_path_is_found_hop_by_hop() -> None:
    net, hosts = row(3)
    found = [ask(net, hosts[0], "10.3.0.2", message(8, bytes(8)), ttl)[0][:3] for ttl in range(1, 5)]
    assert found == [(11, 0, "10.0.0.2"), (11, 0, "10.1.0.2"), (11, 0, "10.2.0.2"), (0, 0, "10.3.0.2")]


def test_a_host_tells_its_time() -> None:
    net, hosts = row(0)
    net.run(until=2.5)
    ((kind, code, peer, data),) = ask(net, hosts[0], "10.0.0.2", message(13, struct.pack("!III", 7, 0, 0)))
    assert (kind, code, peer) == (14, 0, "10.0.0.2")
    sent, received, replied = struct.unpack("!III", data[4:])
    # Milliseconds since midnight, a millisecond after the question was asked.
    midnight_ms = (net.epoch_ns // 1_000_000 + 2501) % 86_400_000
    assert (sent, received, replied) == (7, midnight_ms, midnight_ms)


def test_a_host_may_keep_silent() -> None:
    net, hosts = row(0)
    hosts[1].sh("sysctl -w net.ipv4.icmp_echo_ignore_all=1")
    assert ask(net, hosts[0], "10.0.0.2", message(8, bytes(8))) == []


@pytest.mark.parametrize(("ignored", "answers"), [(1, []), (0, ["10.0.0.2", "10.0.0.3"])])
def test_an_echo_to_everybody(ignored: int, answers: list[str]) -> None:
    net = lunar.Network(seed=1)
    hosts = [net.host(f"h{number}", f"10.0.0.{number}/24") for number in (1, 2, 3)]
    net.link(*hosts, delay="1ms")
    for host in hosts[1:]:
        host.sh(f"sysctl -w net.ipv4.icmp_echo_ignore_broadcasts={ignored}")

    def program() -> list[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.settimeout(1)
            sock.sendto(message(8, bytes(8)), ("10.0.0.255", 0))
            heard = []
            try:
                while True:
                    data, (peer, _) = sock.recvfrom(2000)
                    if data[20] == 0:
                        heard.append(peer)
            except TimeoutError:
                return sorted(heard)

    assert net.run(program, on=hosts[0]) == answers


def test_a_peer_gets_six_errors_at_once_and_then_one_a_second() -> None:
    net, hosts = row(0)
    errors: list[int] = []

    def see(_device: object, frame: object) -> None:
        if isinstance(frame, IcmpMessage) and frame.type == 3:
            errors.append(int(net.scheduler.now_ns))

    hosts[0].devices["eth0"].tap = see

    def program() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for _ in range(50):
                sock.sendto(b"x", ("10.0.0.2", 9))
                time.sleep(0.1)

    net.run(program, on=hosts[0])
    # The bucket of six is refilled by one each second of the five that this takes.
    assert len(errors) == 6 + 4
    assert errors[5] - errors[0] == 500_000_000
    gaps = [after - before for before, after in itertools.pairwise(errors[6:])]
    assert set(gaps) == {1_000_000_000}


def test_a_router_that_is_asked_not_to_speak_is_silent() -> None:
    net, hosts = row(1)
    hosts[1].sh("sysctl -w net.ipv4.icmp_msgs_per_sec=0")
    assert ask(net, hosts[0], "10.1.0.2", message(8, bytes(8)), ttl=1) == []


def test_a_program_hears_why() -> None:
    net, hosts = row(1)
    hosts[1].sh("ip route add prohibit 10.9.0.0/16")

    def program() -> str:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.connect(("10.9.0.1", 9))
            sock.send(b"x")
            try:
                sock.recv(1)
            except OSError as error:
                return errno.errorcode[error.errno or 0]
        return ""

    assert net.run(program, on=hosts[0]) == "EHOSTUNREACH"  # code 13, as icmp(7) has it


def test_recorded_routes_come_back() -> None:
    net, hosts = row(2)

    def program() -> list[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
            sock.setsockopt(socket.IPPROTO_IP, 4, bytes([7, 39, 4]) + bytes(37))  # IP_OPTIONS: record route
            sock.sendto(message(8, bytes(8)), ("10.2.0.2", 0))
            data, _peer = sock.recvfrom(2000)
        option = data[20 : 20 + 39]
        return [socket.inet_ntoa(option[at : at + 4]) for at in range(3, option[2] - 1, 4)]

    # Each router by the address that it sends from, there and back; the end twice, when it comes and when it answers.
    assert net.run(program, on=hosts[0]) == [
        "10.0.0.1", "10.1.0.1", "10.2.0.1", "10.2.0.2", "10.2.0.2", "10.1.0.2", "10.0.0.2", "10.0.0.1",
    ]  # fmt: skip
