"""Programs behind firewalls: what they see of rules, on the way and on their own hosts. Times are virtual and exact."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest

import lunar
from weaves import tapestry
from weaves.loader import load
from weaves.tapestry_errors import TapestryError

MS = 0.001
_open: list[lunar.Network] = []


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    """The networks of a test end with it, and what still serves in them."""
    yield
    while _open:
        _open.pop().close()


def site(*rules: str) -> tuple[lunar.Network, lunar.Host, lunar.Host]:
    """A client, a router with `rules`, a server with an echo at 80, 22 and 8080. The way there takes 2 ms."""
    net = lunar.Network(seed=1)
    _open.append(net)
    router = net.host("router", "10.0.0.1/24")
    client, server = net.host("client", "10.0.0.2/24"), net.host("server", "10.0.1.2/24")
    second = router.add_device([(0x0A00_0101, 24)])
    net.link(client, router, delay="1ms")
    net.link(server, second, delay="1ms")
    router.sh("sysctl -w net.ipv4.ip_forward=1")
    client.sh("route add default gw 10.0.0.1")
    server.sh("route add default gw 10.0.1.1")
    for rule in rules:
        router.sh(f"iptables {rule}")
    for port in (80, 22, 8080):
        net.start(server, serve, port, background=True)
    return net, client, router


async def serve(port: int) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "0.0.0.0", port)
    await server.serve_forever()


async def visit(port: int, text: bytes = b"hello") -> bytes:
    reader, writer = await asyncio.open_connection("10.0.1.2", port)
    writer.write(text)
    answer = await reader.readexactly(len(text))
    writer.close()
    return answer


def outcome(net: lunar.Network, client: lunar.Host, port: int) -> str | int:
    """What a visit of the port comes to: the answer, or the errno."""
    try:
        return net.run(visit(port), on=client).decode()
    except OSError as error:
        assert error.errno is not None
        return error.errno


def test_a_firewall_lets_pass_what_its_rules_name() -> None:
    net, client, router = site(
        "-P FORWARD DROP",
        "-A FORWARD -m state --state ESTABLISHED,RELATED -j ACCEPT",
        "-A FORWARD -p tcp --dport 80 -m state --state NEW -j ACCEPT",
        "-A FORWARD -p tcp --dport 22 -j REJECT --reject-with tcp-reset",
        "-A FORWARD -p tcp --dport 8080 -j REJECT --reject-with icmp-admin-prohibited",
    )
    assert outcome(net, client, 80) == "hello"
    before = net.now
    assert outcome(net, client, 22) == errno.ECONNREFUSED
    assert outcome(net, client, 8080) == errno.EHOSTUNREACH
    assert net.now - before == pytest.approx(4 * MS)  # twice to the router and back
    assert router.sh("iptables -L FORWARD 3 -v -x -n").split()[:2] == ["1", "60"]


def test_dropped_connections_run_into_their_timeout() -> None:
    net, client, _router = site("-A FORWARD -p tcp --dport 22 -j DROP")
    client.sh("sysctl -w net.ipv4.tcp_syn_retries=1")
    assert outcome(net, client, 22) == errno.ETIMEDOUT


def test_a_rule_in_the_middle_of_a_connection_stops_it() -> None:
    net, client, router = site()

    async def talk() -> str:
        reader, writer = await asyncio.open_connection("10.0.1.2", 80)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        router.sh("iptables -A FORWARD -p tcp -m string --string forbidden --algo bm -j REJECT --reject-with tcp-reset")
        writer.write(b"two")
        assert await reader.readexactly(3) == b"two"
        writer.write(b"what is forbidden")
        try:
            await reader.readexactly(3)
        except ConnectionResetError:
            return "reset"
        return "answered"

    assert net.run(talk(), on=client) == "reset"


def test_output_rules_give_programs_their_errno() -> None:
    net, client, _router = site()
    client.sh("iptables -A OUTPUT -p udp --dport 7 -j DROP")
    client.sh("iptables -A OUTPUT -p tcp --dport 22 -j REJECT --reject-with icmp-host-prohibited")

    def talk() -> list[int | None]:
        errors: list[int | None] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(b"x", ("10.0.1.2", 7))
            except OSError as error:
                errors.append(error.errno)
        try:
            socket.create_connection(("10.0.1.2", 22))
        except OSError as error:
            errors.append(error.errno)
        return errors

    assert net.run(talk, on=client) == [errno.EPERM, errno.EHOSTUNREACH]


def test_a_flood_of_connections_is_held_to_a_rate() -> None:
    net, client, router = site(
        "-A FORWARD -p tcp --syn --dport 80 -m hashlimit --hashlimit-upto 10/s --hashlimit-burst 5 --hashlimit-mode "
        "srcip --hashlimit-name syns -j ACCEPT",
        "-A FORWARD -p tcp --syn --dport 80 -j REJECT --reject-with tcp-reset",
    )

    async def flood() -> list[bool]:
        async def one() -> bool:
            try:
                return await visit(80) == b"hello"
            except ConnectionRefusedError:
                return False

        return list(await asyncio.gather(*(one() for _ in range(20))))

    assert sum(net.run(flood(), on=client)) == 5
    assert router.sh("iptables -L FORWARD 2 -v -x -n").split()[0] == "15"


def test_mss_is_clamped_where_a_narrow_link_drops_what_tells_of_it() -> None:
    net, client, router = site(
        "-A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP",
        "-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
    )
    router.devices["eth1"].mtu = 600

    async def talk() -> int:
        return len(await visit(80, b"x" * 5000))

    assert net.run(talk(), on=client) == 5000


TAPESTRY = """
[tapestry]
name = "wrong"
until = "1s"

[hosts.router]
eth0 = "10.0.0.1/24"
net = '''
iptables -A FORWARD -p tcp --dport 80 -j ACCEPT
iptables -A FORWARD -p tcp --dprot 22 -j ACCEPT
'''
"""


def test_a_wrong_rule_of_a_tapestry_is_told_with_its_place() -> None:
    with pytest.raises(TapestryError) as caught:
        load(tapestry.parse(TAPESTRY, "site.toml"))
    said = str(caught.value)
    assert "site.toml:10" in said
    assert 'unknown option "--dprot"' in said
