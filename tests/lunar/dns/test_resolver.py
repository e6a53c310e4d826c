"""Hosts that ask name servers: what getaddrinfo finds, when it asks again, what it says when nobody answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from lunar.dns.server import Server, serve
from lunar.host import Host
from lunar.net.device import Device
from lunar.network import Network
from lunar.packet import UdpDatagram
from lunar.wire.address import ipv6_text

ZONES = {
    "example.org": {
        "www": ["10.0.0.80", "10.0.0.81"],
        "six": ["2001:db8::6"],
        "both": ["10.0.0.82", "2001:db8::7"],
        "many": [f"10.1.{n // 250}.{n % 250 + 1}" for n in range(600)],
    },
    "alias.test": "$TTL 60\n@ SOA ns h 1 1 1 1 60\n@ NS ns\nns A 10.0.0.53\nwww CNAME www.example.org.\n",
    "0.0.10.in-addr.arpa": "$TTL 60\n@ SOA ns. h. 1 1 1 1 60\n@ NS ns.\n80 PTR www.example.org.\n",
}


SERVERS = {0x0A00_0035: "ns", 0x0A00_0036: "ns2"}


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as made:
        client = made.host("client", "10.0.0.2/24")
        made.host("ns", "10.0.0.53/24")
        made.host("ns2", "10.0.0.54/24")
        made.link(client, "ns", "ns2", delay="1ms")
        made.start(made.hosts["ns"], serve, ZONES, background=True)
        client.paths.put("/etc/resolv.conf", "nameserver 10.0.0.53\n")
        yield made


def client_of(net: Network, resolv_conf: str | None = None) -> Host:
    client = net.hosts["client"]
    if resolv_conf is not None:
        client.paths.put("/etc/resolv.conf", resolv_conf)
    return client


def found(name: str | bytes, family: int = 0, flags: int = 0) -> Any:
    """The addresses of a name, sorted, since a server tells them in another order each time; or the error's name."""
    try:
        return sorted(entry[4][0] for entry in socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM, 0, flags))
    except socket.gaierror as failed:
        return next(name for name in vars(socket) if name[:4] == "EAI_" and getattr(socket, name) == failed.errno)


def timed(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """What a blocking call gives, and how long it took."""

    async def main() -> tuple[Any, float]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        return await asyncio.to_thread(function, *args), round(loop.time() - start, 6)

    return asyncio.run(main())


def questions(net: Network) -> list[tuple[str, str, str]]:
    """(server, name, kind) of each question that leaves the client from now on, over UDP."""
    asked: list[tuple[str, str, str]] = []

    def tap(device: Device, frame: Any) -> None:
        payload = getattr(frame, "payload", None)
        if isinstance(frame, UdpDatagram) and frame.dport == 53 and frame.eth_src == device.mac:
            question = dns.message.from_wire(bytes(payload)).question[0]
            asked.append((SERVERS[frame.dst], question.name.to_text(), question.rdtype.name))

    net.hosts["client"].devices["eth0"].tap = tap
    return asked


@pytest.mark.parametrize(
    ("name", "family", "expected"),
    [
        ("www.example.org", socket.AF_INET, ["10.0.0.80", "10.0.0.81"]),
        ("www.example.org", 0, ["10.0.0.80", "10.0.0.81"]),
        ("WWW.Example.ORG.", 0, ["10.0.0.80", "10.0.0.81"]),
        ("www.example.org", socket.AF_INET6, "EAI_NODATA"),
        ("six.example.org", socket.AF_INET6, ["2001:db8::6"]),
        ("six.example.org", socket.AF_INET, "EAI_NODATA"),
        ("nobody.example.org", 0, "EAI_NONAME"),
        ("www.alias.test", 0, ["10.0.0.80", "10.0.0.81"]),
        ("www.example.com", 0, "EAI_AGAIN"),  # refused by the only server
        ("localhost", 0, ["127.0.0.1"]),
        ("client", 0, ["10.0.0.2"]),
        ("ns2", 0, "EAI_AGAIN"),  # the tapestry's names are not told to who has a name server
        ("10.0.0.7", 0, ["10.0.0.7"]),
        (b"x" * 64 + b".example.org", 0, "EAI_NONAME"),
    ],
)
def test_a_lookup(net: Network, name: str | bytes, family: int, expected: Any) -> None:
    assert net.run(found, name, family, on=client_of(net)) == expected


def test_without_a_server_the_tapestry_answers(net: Network) -> None:
    assert net.run(found, "ns2", on=client_of(net, "")) == ["10.0.0.54"]


def test_a_and_aaaa_go_out_together(net: Network) -> None:
    asked = questions(net)
    assert net.run(timed, found, "www.example.org", on=client_of(net)) == (["10.0.0.80", "10.0.0.81"], 0.002)
    assert asked == [("ns", "www.example.org.", "A"), ("ns", "www.example.org.", "AAAA")]


def test_of_a_single_request_the_second_waits(net: Network) -> None:
    client = client_of(net, "nameserver 10.0.0.53\noptions single-request\n")
    assert net.run(timed, found, "www.example.org", on=client)[1] == 0.004


def test_a_loop_looks_up_without_a_thread(net: Network) -> None:
    async def main() -> tuple[list[str], float]:
        loop = asyncio.get_running_loop()
        first, _slept = await asyncio.gather(
            loop.getaddrinfo("www.example.org", 80, type=socket.SOCK_STREAM), asyncio.sleep(0.001)
        )
        return sorted(entry[4][0] for entry in first), loop.time()

    assert net.run(main, on=client_of(net)) == (["10.0.0.80", "10.0.0.81"], 0.002)


def test_a_lookup_that_is_cancelled_leaves_no_socket(net: Network) -> None:
    client = client_of(net, "nameserver 10.0.0.99\n")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("www.example.org", 80), 1)

    net.run(main, on=client)
    assert not client.udp.ports


def test_who_answers_nothing_is_waited_for_and_asked_again(net: Network) -> None:
    asked = questions(net)
    net.hosts["ns2"].crash()
    client = client_of(net, "nameserver 10.0.0.54\n")
    assert net.run(timed, found, "www.example.org", on=client) == ("EAI_AGAIN", 10.0)
    assert [kind for _, _, kind in asked] == ["A", "AAAA", "A", "AAAA"]


def silent(host: Host) -> Callable[[], Any]:
    """A program that takes questions and says nothing."""

    def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", 53))
            while True:
                sock.recv(512)

    return main


def test_the_second_server_is_asked_when_the_first_is_silent(net: Network) -> None:
    net.start(net.hosts["ns2"], silent(net.hosts["ns2"]), background=True)
    asked = questions(net)
    client = client_of(net, "nameserver 10.0.0.54\nnameserver 10.0.0.53\noptions timeout:3\n")
    assert net.run(timed, found, "www.example.org", on=client) == (["10.0.0.80", "10.0.0.81"], 3.002)
    assert [server for server, _, _ in asked] == ["ns2", "ns2", "ns", "ns"]


def test_attempts_and_timeout_bound_the_wait(net: Network) -> None:
    net.start(net.hosts["ns2"], silent(net.hosts["ns2"]), background=True)
    client = client_of(net, "nameserver 10.0.0.54\noptions timeout:1 attempts:3\n")
    assert net.run(timed, found, "www.example.org", on=client) == ("EAI_AGAIN", 3.0)


def test_a_closed_port_is_not_waited_for(net: Network) -> None:
    client = client_of(net, "nameserver 10.0.0.54\nnameserver 10.0.0.53\n")
    answer, seconds = net.run(timed, found, "www.example.org", on=client)
    assert (answer, seconds) == (["10.0.0.80", "10.0.0.81"], 0.004)


def test_servers_take_turns_with_rotate(net: Network) -> None:
    net.start(net.hosts["ns2"], serve, ZONES, background=True)
    asked = questions(net)
    client = client_of(net, "nameserver 10.0.0.53\nnameserver 10.0.0.54\noptions rotate\n")
    for _ in range(3):
        net.run(found, "www.example.org", socket.AF_INET, on=client)
    assert [server for server, _, _ in asked] == ["ns", "ns2", "ns"]


@pytest.mark.parametrize(
    ("options", "name", "tried"),
    [
        ("", "www", ["www.lan.", "www.example.org."]),
        ("", "no.such", ["no.such.", "no.such.lan.", "no.such.example.org."]),
        ("", "www.", ["www."]),
        ("options ndots:3", "no.such", ["no.such.lan.", "no.such.example.org.", "no.such."]),
        ("options ndots:0", "no", ["no.", "no.lan.", "no.example.org."]),
    ],
)
def test_the_domains_that_are_searched(net: Network, options: str, name: str, tried: list[str]) -> None:
    zones: dict[str, Any] = {"lan": {}, "such": {}, "no": {}, "www": {}, "example.org": {"www": "10.0.0.80"}}
    net.start(net.hosts["ns2"], serve, zones, background=True)
    asked = questions(net)
    client = client_of(net, f"nameserver 10.0.0.54\nsearch lan example.org\n{options}\n")
    net.run(found, name, socket.AF_INET, on=client)
    assert [question for _, question, _ in asked] == tried


def test_what_does_not_fit_comes_over_tcp(net: Network) -> None:
    asked = questions(net)
    addresses = net.run(found, "many.example.org", on=client_of(net))
    assert len(addresses) == 600
    assert addresses[0] == "10.1.0.1"
    assert [kind for _, _, kind in asked] == ["A", "AAAA"]
    assert net.hosts["client"].ip.counters.tcp_active_opens == 1


def test_with_use_vc_all_goes_over_tcp(net: Network) -> None:
    asked = questions(net)
    client = client_of(net, "nameserver 10.0.0.53\noptions use-vc\n")
    assert net.run(found, "www.example.org", on=client) == ["10.0.0.80", "10.0.0.81"]
    assert asked == []


def test_answers_of_others_are_not_believed(net: Network) -> None:
    """Wrong id, wrong name, wrong port: none of them is an answer. The right one, after them, is."""

    def liar() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as other:
            sock.bind(("", 53))
            data, client = sock.recvfrom(512)
            query = dns.message.from_wire(data)
            name = query.question[0].name
            lie = dns.message.make_response(query)
            lie.answer = [dns.rrset.from_text(name, 60, "IN", "A", "6.6.6.6")]
            other.sendto(lie.to_wire(), client)
            lie.id ^= 1
            sock.sendto(lie.to_wire(), client)
            lie.id ^= 1
            lie.question = [dns.rrset.from_text("other.example.org.", 60, "IN", "A", "6.6.6.6")]
            sock.sendto(lie.to_wire(), client)
            sock.sendto(b"noise", client)
            right = dns.message.make_response(query)
            right.answer = [dns.rrset.from_text(name, 60, "IN", "A", "10.0.0.9")]
            sock.sendto(right.to_wire(), client)

    net.start(net.hosts["ns2"], liar, background=True)
    client = client_of(net, "nameserver 10.0.0.54\n")
    assert net.run(found, "www.example.org", socket.AF_INET, on=client) == ["10.0.0.9"]


def test_ids_and_ports_differ_from_question_to_question(net: Network) -> None:
    seen: list[tuple[int, int]] = []

    def tap(device: Device, frame: Any) -> None:
        if isinstance(frame, UdpDatagram) and frame.dport == 53 and frame.eth_src == device.mac:
            seen.append((int.from_bytes(bytes(frame.payload)[:2], "big"), int(frame.sport)))

    client = client_of(net)
    client.devices["eth0"].tap = tap
    for _ in range(4):
        net.run(found, "www.example.org", socket.AF_INET, on=client)
    assert len({number for number, _ in seen}) == len({port for _, port in seen}) == 4


def test_the_canonical_name_is_that_at_the_end_of_the_aliases(net: Network) -> None:
    def main() -> str:
        return socket.getaddrinfo("www.alias.test", 80, socket.AF_INET, 0, 0, socket.AI_CANONNAME)[0][3]

    assert net.run(main, on=client_of(net)) == "www.example.org"


def test_the_name_of_an_address_is_asked_for(net: Network) -> None:
    def main() -> list[Any]:
        return [
            socket.getnameinfo(("10.0.0.80", 80), 0),
            socket.gethostbyaddr("10.0.0.80"),
            socket.getnameinfo(("10.0.0.81", 80), 0),
            socket.getnameinfo(("10.0.0.2", 80), 0)[0],
            socket.getfqdn("10.0.0.80"),
        ]

    assert net.run(main, on=client_of(net)) == [
        ("www.example.org", "http"),
        ("www.example.org", [], ["10.0.0.80"]),
        ("10.0.0.81", "http"),
        "client",
        "www.example.org",
    ]


def test_etc_hosts_comes_before_the_servers(net: Network) -> None:
    client = client_of(net)
    client.paths.put("/etc/hosts", "127.0.0.1 localhost\n10.0.0.1 www.example.org alias # a lie\nbad line\n")
    asked = questions(net)
    assert net.run(found, "www.example.org", on=client) == ["10.0.0.1"]
    assert net.run(found, "alias", on=client) == ["10.0.0.1"]
    assert asked == []
    assert net.run(found, "six.example.org", socket.AF_INET6, on=client) == ["2001:db8::6"]


def test_a_program_that_names_a_server_is_heard(net: Network) -> None:
    def main() -> list[Any]:
        with open("/etc/resolv.conf", "w") as file:
            file.write("nameserver 10.0.0.53\n")
        return [found("www.example.org")]

    assert net.run(main, on=client_of(net, "")) == [["10.0.0.80", "10.0.0.81"]]


# The server as a cache


def test_a_forwarder_asks_once_and_remembers(net: Network) -> None:
    cache = Server({}, ["10.0.0.53"])
    net.start(net.hosts["ns2"], cache.serve, background=True)
    client = client_of(net, "nameserver 10.0.0.54\n")
    for _ in range(3):
        assert net.run(found, "www.example.org", socket.AF_INET, on=client) == ["10.0.0.80", "10.0.0.81"]
        assert net.run(found, "nobody.example.org", socket.AF_INET, on=client) == "EAI_NONAME"
    assert (cache.questions, cache.forwarded) == (6, 2)
    net.run(until=4000)
    net.run(found, "www.example.org", socket.AF_INET, on=client)
    assert cache.forwarded == 3  # an hour has gone by, which was its TTL


def test_a_forwarder_takes_what_was_cut_over_tcp(net: Network) -> None:
    net.start(net.hosts["ns2"], serve, {}, ["10.0.0.53"], background=True)
    client = client_of(net, "nameserver 10.0.0.54\n")
    assert len(net.run(found, "many.example.org", on=client)) == 600


def test_a_forwarder_without_an_answer_says_so(net: Network) -> None:
    net.start(net.hosts["ns2"], serve, {}, ["10.0.0.99"], background=True)
    client = client_of(net, "nameserver 10.0.0.54\noptions timeout:30 attempts:1\n")
    assert net.run(found, "www.example.org", on=client) == "EAI_AGAIN"


def test_what_is_no_question_is_not_answered(net: Network) -> None:
    async def main() -> list[Any]:
        server = Server({"example.org": {}})
        query = dns.message.make_query("www.example.org", "A", id=7)
        response = dns.message.make_response(query)
        notify = dns.message.make_query("example.org", "SOA", id=8)
        notify.set_opcode(4)  # type: ignore[arg-type]
        answers = [await server.answer(data) for data in (
            b"", b"short", response.to_wire(), b"\0\7" + b"\0" * 3 + b"\1" + b"\0" * 6 + b"\xff",
            notify.to_wire(), dns.message.make_query("www.example.com", "A").to_wire(),
            dns.message.make_query("example.org", "ANY").to_wire(),
        )]  # fmt: skip
        return [None if answer is None else dns.rcode.to_text(answer.rcode()) for answer in answers]

    assert net.run(main, on=net.hosts["ns2"]) == [None, None, None, "FORMERR", "NOTIMP", "REFUSED", "REFUSED"]


def test_a_server_is_asked_over_ipv6(net: Network) -> None:
    with Network(seed=1) as six:
        client = six.host("client", "2001:db8::2/64")
        six.link(client, six.host("ns", "2001:db8::53/64"), delay="1ms")
        six.start(six.hosts["ns"], serve, ZONES, background=True)
        client.paths.put("/etc/resolv.conf", "nameserver 2001:db8::53\n")
        assert six.run(found, "six.example.org", on=client) == ["2001:db8::6"]
        assert len(six.run(found, "many.example.org", on=client)) == 600


@pytest.mark.parametrize("scope", ["eth0", "2"])
def test_a_server_is_asked_by_the_address_of_its_link(scope: str) -> None:
    with Network(seed=1) as six:
        client, server = six.host("client", "2001:db8::2/64"), six.host("ns", "2001:db8::53/64")
        six.link(client, server, delay="1ms")
        six.start(server, serve, ZONES, background=True)
        address = next(own for own in server.devices["eth0"].addresses if own.address >> 118 == 0x3FA).address
        client.paths.put("/etc/resolv.conf", f"nameserver {ipv6_text(address)}%{scope}\n")
        assert six.run(found, "six.example.org", on=client) == ["2001:db8::6"]


def test_runs_with_name_servers_repeat() -> None:
    def once() -> str:
        with Network(seed=5) as net:
            client = net.host("client", "10.0.0.2/24")
            net.link(client, net.host("ns", "10.0.0.53/24"), delay="1ms", loss="20%")
            net.start(net.hosts["ns"], serve, ZONES, background=True)
            client.paths.put("/etc/resolv.conf", "nameserver 10.0.0.53\noptions timeout:1 attempts:5\n")
            net.run(found, "both.example.org", on=client)
            return net.digest()

    assert once() == once()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www.example.org", ("www.example.org", [], ["10.0.0.80"])),
        ("www", ("www.example.org", [], ["10.0.0.80"])),
        ("alias.example.org", ("www.example.org", ["alias.example.org"], ["10.0.0.80"])),
    ],
)
def test_the_canonical_name_and_the_alias(name: str, expected: tuple[str, list[str], list[str]]) -> None:
    net = Network(seed=1)
    server, client = net.host("server", "10.0.0.53/24"), net.host("client", "10.0.0.2/24")
    net.link(server, client)
    zone = "@ SOA ns h 1 1 1 1 1\n@ NS ns\nns A 10.0.0.53\nwww A 10.0.0.80\nalias CNAME www\n"
    net.start(server, serve, {"example.org": "$TTL 60\n" + zone}, background=True)
    client.paths.put("/etc/resolv.conf", "nameserver 10.0.0.53\nsearch example.org\n")
    assert net.run(socket.gethostbyname_ex, name, on=client) == expected
