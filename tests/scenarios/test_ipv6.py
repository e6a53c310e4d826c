"""IPv6 between hosts of a network: the same programs as over IPv4, with the addresses of RFC 3849."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

import lunar
from lunar import syscalls
from lunar.sockaddr import Sockaddr

ONE, TWO, THREE = "2001:db8::1", "2001:db8::2", "2001:db8:1::3"


def two_hosts(net: lunar.Network) -> tuple[lunar.Host, lunar.Host]:
    a, b = net.host("a", f"{ONE}/64"), net.host("b", f"{TWO}/64")
    net.link(a, b, rate="100mbit", delay="5ms")
    return a, b


def behind_a_router(net: lunar.Network, **link: Any) -> tuple[lunar.Host, lunar.Host, lunar.Host]:
    """Hosts a - r - b; the link from r to b is as `link` says."""
    a, b = net.host("a", f"{ONE}/64"), net.host("b", f"{THREE}/64")
    r = net.host("r", f"{TWO}/64", "2001:db8:1::1/64")
    net.link(a, r.devices["eth0"], delay="1ms")
    net.link(r.devices["eth1"], b, **({"delay": "1ms"} | link))
    r.ip.inet6.forwarding = True
    route(a, TWO)
    route(b, "2001:db8:1::1")
    return a, r, b


def route(host: lunar.Host, gateway: str) -> None:
    from lunar.net.route import Route
    from lunar.packet import AF_INET6
    from lunar.wire.address import parse_ipv6

    host.ip.inet6.routes.add(Route(0, 0, parse_ipv6(gateway), host.devices["eth0"], 1024, 0, AF_INET6))


def code(call: Any, *args: Any) -> str:
    """The name of the errno with which a call fails."""
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "nothing"


def test_a_stream_carries_bytes_both_ways() -> None:
    def serve() -> list[Any]:
        with socket.create_server(("::", 80), family=socket.AF_INET6) as server:
            connection, peer = server.accept()
            with connection:
                data = b"".join(iter(lambda: connection.recv(65536), b""))
                connection.sendall(data[::-1])
                return [peer[0], connection.getsockname(), len(data)]

    def main() -> list[Any]:
        with socket.create_connection((TWO, 80)) as sock:
            peer = sock.getpeername()
            sock.sendall(bytes(range(250)) * 1000)
            sock.shutdown(socket.SHUT_WR)
            back = b"".join(iter(lambda: sock.recv(65536), b""))
            # The MSS is 1500 less 40 less 20, and 12 for timestamps.
            mss = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            return [peer, back == (bytes(range(250)) * 1000)[::-1], mss]

    with lunar.Network(seed=1) as net:
        a, b = two_hosts(net)
        serving = net.start(b, serve)
        assert net.run(main, on=a) == [(TWO, 80, 0, 0), True, 1428]
        assert serving.result == [ONE, (TWO, 80, 0, 0), 250_000]


def test_datagrams_and_who_sent_them() -> None:
    def answer() -> Any:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::", 53))
            data, peer = sock.recvfrom(100)
            sock.sendto(data.upper(), peer)
            return peer[0]

    def main() -> Any:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"ping", (TWO, 53))
            heard = sock.recvfrom(100)
            before = sock.getsockname()[0]
            sock.connect((TWO, 53))
            return heard, before, sock.getsockname()[0]

    with lunar.Network(seed=1) as net:
        a, b = two_hosts(net)
        answering = net.start(b, answer)
        assert net.run(main, on=a) == ((b"PING", (TWO, 53, 0, 0)), "::", ONE)
        assert answering.result == ONE


def test_closed_ports_say_so() -> None:
    def main() -> list[str]:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect((TWO, 9))
            sock.send(b"x")
            refused = [code(sock.recv, 10)]
        with socket.socket(socket.AF_INET6) as sock:
            return [*refused, code(sock.connect, (TWO, 9)), code(sock.connect, ("2001:db8:9::1", 9))]

    with lunar.Network(seed=1) as net:
        a, b = two_hosts(net)
        assert net.run(main, on=a) == ["ECONNREFUSED", "ECONNREFUSED", "ENETUNREACH"]
        # One "port unreachable" and one RST.
        assert (b.ip.inet6.counters.icmp_out_msgs, b.ip.counters.tcp_out_rsts) == (1, 1)
        assert b.ip.counters.icmp_out_msgs == 0


def test_asyncio_over_both_families_with_one_listener() -> None:
    async def serve() -> None:
        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(repr(writer.get_extra_info("peername")).encode())
            writer.close()

        listening = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
        await asyncio.start_server(answer, sock=listening)

    async def main() -> list[str]:
        heard: list[str] = []
        for address in (TWO, "10.0.0.2"):
            reader, writer = await asyncio.open_connection(address, 80)
            heard.append((await reader.read()).decode())
            heard.append(repr(len(writer.get_extra_info("sockname"))))
            writer.close()
        return heard

    with lunar.Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.link(a, b, delay="1ms")
        for host, address in ((a, ONE), (b, TWO)):
            give(host, address)
        net.run(serve, on=b)
        by_six, size, by_four, pair = net.run(main, on=a)
    assert by_six.startswith(f"('{ONE}', ")
    assert by_six.endswith(", 0, 0)")
    assert by_four.startswith("('::ffff:10.0.0.1', ")
    assert (size, pair) == ("4", "2")


def give(host: lunar.Host, address: str) -> None:
    from lunar.wire.address import parse_ipv6

    host.add_address(host.devices["eth0"], parse_ipv6(address), 64)


@pytest.mark.parametrize("only", [False, True])
def test_a_port_of_both_families_is_taken_for_both(only: bool) -> None:
    def main() -> list[str]:
        with socket.socket(socket.AF_INET6) as six, socket.socket() as four:
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            six.bind(("::", 80))
            return [code(four.bind, ("0.0.0.0", 80))]

    with lunar.Network(seed=1) as net:
        a, _b = two_hosts(net)
        assert net.run(main, on=a) == ["nothing" if only else "EADDRINUSE"]


def test_a_router_forwards_and_tells_when_the_hop_limit_is_over() -> None:
    def main() -> list[Any]:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect((THREE, 53))
            sock.send(b"there")
            return [sock.recv(10), sock.getsockname()[0]]

    def answer() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind((THREE, 53))
            sock.sendto(b"back", sock.recvfrom(100)[1])

    with lunar.Network(seed=1) as net:
        a, r, b = behind_a_router(net)
        net.start(b, answer)
        assert net.run(main, on=a) == [b"back", ONE]
        assert r.ip.inet6.counters.ip_forw_datagrams == 2
        a.sh("sysctl -w net.ipv6.conf.eth0.hop_limit=1")
        with pytest.raises(TimeoutError):
            net.run(no_answer, on=a)
        assert (r.ip.inet6.counters.icmp_out_msgs, a.ip.inet6.counters.icmp_in_msgs) == (1, 1)


def no_answer() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((THREE, 53))
        sock.send(b"there")
        sock.recv(10)


def test_tcp_learns_the_mtu_of_a_path() -> None:
    """A router in the way has 1400 bytes for each packet: "packet too big" makes segments of 1400 - 60 - 12 bytes."""

    def serve() -> int:
        with socket.create_server((THREE, 80), family=socket.AF_INET6) as server:
            connection, _peer = server.accept()
            with connection:
                return len(b"".join(iter(lambda: connection.recv(65536), b"")))

    def main() -> tuple[int, int]:
        with socket.create_connection((THREE, 80)) as sock:
            before = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            sock.sendall(bytes(100_000))
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
            return before, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)

    with lunar.Network(seed=1) as net:
        a, r, b = behind_a_router(net)
        r.devices["eth1"].mtu = 1400
        serving = net.start(b, serve)
        assert net.run(main, on=a) == (1428, 1328)
        assert serving.result == 100_000
        assert r.ip.inet6.counters.icmp_out_msgs > 0


# Link-local addresses


def link_local(host: lunar.Host, device: str = "eth0") -> str:
    """The address that the device has made itself."""
    from lunar.wire.address import ipv6_text

    return next(ipv6_text(own.address) for own in host.devices[device].addresses if own.address >> 118 == 0x3FA)


def one_with_two_neighbors(net: lunar.Network) -> tuple[lunar.Host, lunar.Host, lunar.Host]:
    """Host a has b at eth0 and c at eth1."""
    a = net.host("a", f"{ONE}/64", "2001:db8:1::1/64")
    b, c = net.host("b", f"{TWO}/64"), net.host("c", f"{THREE}/64")
    net.link(a.devices["eth0"], b, delay="1ms")
    net.link(a.devices["eth1"], c, delay="1ms")
    return a, b, c


@pytest.mark.parametrize(("name", "device"), [("b", "eth0"), ("c", "eth1")])
def test_a_scope_chooses_the_link(name: str, device: str) -> None:
    def serve(own: str) -> Any:
        with socket.socket(socket.AF_INET6) as server:
            server.bind((own, 80, 0, socket.if_nametoindex("eth0")))
            server.listen()
            connection, peer = server.accept()
            with connection:
                connection.sendall(b"here")
                return peer[0], peer[3], connection.getsockname()[::3]

    def main(there: str) -> Any:
        scope = socket.if_nametoindex(device)
        with socket.socket(socket.AF_INET6) as sock:
            sock.connect((there, 80, 0, scope))
            own, peer = sock.getsockname(), sock.getpeername()
            return own[0], own[3] == scope, peer[0], peer[3] == scope, sock.recv(10)

    with lunar.Network(seed=1) as net:
        a, b, c = one_with_two_neighbors(net)
        there = {"b": b, "c": c}[name]
        serving = net.start(there, serve, link_local(there))
        own = link_local(a, device)
        assert net.run(main, link_local(there), on=a) == (own, True, link_local(there), True, b"here")
        assert serving.result == (own, 2, (link_local(there), 2))


def test_datagrams_tell_the_device_and_are_answered_by_it() -> None:
    def echo() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::", 7))
            data, peer = sock.recvfrom(100)
            sock.sendto(data, peer)

    def main(b: str, c: str) -> list[Any]:
        heard: list[Any] = []
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            for there, device in ((b, "eth0"), (c, "eth1")):
                scope = socket.if_nametoindex(device)
                sock.sendto(device.encode(), (there, 7, 0, scope))
                heard.append(sock.recvfrom(100) == (device.encode(), (there, 7, 0, scope)))
            sock.sendto(b"x", (c, 7, 0, socket.if_nametoindex("eth0")))  # where c is not
            with pytest.raises(TimeoutError):
                sock.recv(10)
        return heard

    with lunar.Network(seed=1) as net:
        a, b, c = one_with_two_neighbors(net)
        net.start(b, echo)
        net.start(c, echo)
        assert net.run(main, link_local(b), link_local(c), on=a) == [True, True]


def test_a_closed_port_of_a_link_local_address_answers_on_its_link() -> None:
    def main(c: str) -> list[str]:
        scope = socket.if_nametoindex("eth1")
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect((c, 9, 0, scope))
            sock.send(b"x")
            refused = [code(sock.recv, 10)]
        with socket.socket(socket.AF_INET6) as sock, socket.socket(socket.AF_INET6) as other:
            return [*refused, code(sock.connect, (c, 9, 0, scope)), code(other.connect, (c, 9))]

    with lunar.Network(seed=1) as net:
        a, _b, c = one_with_two_neighbors(net)
        assert net.run(main, link_local(c), on=a) == ["ECONNREFUSED", "ECONNREFUSED", "EINVAL"]


def test_asyncio_datagrams_to_a_link_local_address() -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    class Client(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.heard.set_result((data, addr[0], addr[3]))

    async def serve() -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("::", 7))
        await asyncio.sleep(1)

    async def main(there: str) -> Any:
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_datagram_endpoint(Client, family=socket.AF_INET6)
        transport.sendto(b"hello", (there, 7, 0, socket.if_nametoindex("eth1")))
        return await client.heard

    with lunar.Network(seed=1) as net:
        a, _b, c = one_with_two_neighbors(net)
        net.start(c, serve)
        assert net.run(main, link_local(c), on=a) == (b"hello", link_local(c), 3)


def test_the_structure_of_an_address_has_the_scope() -> None:
    def serve(own: str) -> Any:
        fd = syscalls.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        syscalls.bind(fd, Sockaddr.inet6(own, 7, 2))
        data, peer = syscalls.recvfrom(fd, 100, 0)
        syscalls.close(fd)
        return data, peer[3], code(syscalls.bind, fd, Sockaddr.inet6(own, 7))

    def main(there: str) -> Any:
        fd = syscalls.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        unnamed = code(syscalls.connect, fd, Sockaddr.inet6(there, 7))
        syscalls.connect(fd, Sockaddr.inet6(there, 7, 3))
        syscalls.send(fd, b"hello", 0)
        return unnamed, syscalls.getpeername(fd)

    with lunar.Network(seed=1) as net:
        a, _b, c = one_with_two_neighbors(net)
        there = link_local(c)
        serving = net.start(c, serve, there)
        assert net.run(main, there, on=a) == ("EINVAL", (there, 7, 0, 3))
        net.run(until="1s")
        assert serving.result == (b"hello", 2, "EBADF")
