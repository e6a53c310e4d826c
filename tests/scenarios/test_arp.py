"""ARP between hosts: what programs notice of it, who answers for whom, what a changed address does to neighbours."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

import lunar
from lunar.host import Host
from lunar.net import arp
from lunar.net.neighbor import Neighbors
from lunar.net_tools import CommandError
from lunar.packet import ArpMessage, Frame, IcmpMessage, TcpSegment
from lunar.wire.address import ipv4_text, parse_ipv4
from lunar.wire.ethernet import mac_text


class Lan:
    """Hosts 10.0.0.1, 10.0.0.2 ... on a switch, 1 ms from each other."""

    def __init__(self, count: int = 3) -> None:
        self.net = lunar.Network(seed=1, arp=True)
        self.hosts = [self.net.host(f"h{number}", f"10.0.0.{number}/24") for number in range(1, count + 1)]
        self.net.link(*self.hosts, delay="1ms")

    def hears(self, number: int) -> list[str]:
        """The ARP messages that arrive at a host from now on."""
        heard: list[str] = []
        device = self.hosts[number - 1].devices["eth0"]

        def see(_device: object, frame: Frame) -> None:
            if isinstance(frame, ArpMessage) and frame.eth_src != device.mac:
                who = ipv4_text(frame.sender_ip)
                what = "has" if frame.operation == 2 else "tells" if frame.sender_ip == frame.target_ip else "asks for"
                heard.append(f"{who} {what} {ipv4_text(frame.target_ip)}")

        device.tap = see
        return heard

    def serve(self, host: Host, text: bytes) -> None:
        async def serve() -> None:
            async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(text)
                writer.close()

            async with await asyncio.start_server(handle, port=80):
                await asyncio.sleep(10_000)

        self.net.start(host, serve, background=True)

    def fetch(self, host: Host, address: str) -> bytes:
        async def fetch() -> bytes:
            reader, writer = await asyncio.open_connection(address, 80)
            told = await reader.read()
            writer.close()
            return told

        return bytes(self.net.run(fetch(), on=host))


def known(host: Host) -> dict[str, str]:
    """The neighbours of a host: address -> hardware address."""
    table = host.ip.inet.neighbors
    assert isinstance(table, Neighbors)
    return {ipv4_text(entry.address): mac_text(int(entry.mac)) for entry in table.all() if entry.mac >= 0}


def test_the_first_packet_meets_a_question_the_next_ones_do_not() -> None:
    lan = Lan()
    lan.serve(lan.hosts[1], b"hello")
    heard = lan.hears(3)
    assert lan.fetch(lan.hosts[0], "10.0.0.2") == b"hello"
    first = lan.net.now
    assert lan.fetch(lan.hosts[0], "10.0.0.2") == b"hello"
    # A question and its answer: 2 ms more than the second time.
    assert round(first - (lan.net.now - first), 6) == 0.002
    assert heard == ["10.0.0.1 asks for 10.0.0.2"]  # who was asked learns by the question, and asks nobody


def test_connect_to_nobody_fails_after_three_seconds() -> None:
    lan = Lan()

    def connect() -> tuple[int, float]:
        with socket.socket() as sock:
            return sock.connect_ex(("10.0.0.99", 80)), lan.net.now

    assert lan.net.run(connect, on=lan.hosts[0]) == (errno.EHOSTUNREACH, 3.0)


def test_a_router_tells_who_sends_to_nobody_behind_it() -> None:
    net = lunar.Network(seed=1, arp=True)
    client, router = net.host("client", "10.0.0.2/24"), net.host("router", "10.0.0.1/24", "10.0.1.1/24")
    server = net.host("server", "10.0.1.2/24")
    net.link(client, router, delay="1ms")
    net.link("router.eth1", server, delay="1ms")
    router.sh("sysctl -q net.ipv4.ip_forward=1")
    client.sh("route add default gw 10.0.0.1")
    told: list[tuple[int, int, int]] = []

    def see(_device: object, frame: Frame) -> None:
        if isinstance(frame, IcmpMessage):
            told.append((net.scheduler.now_ns // 1_000_000, int(frame.type), int(frame.code)))

    client.devices["eth0"].tap = see

    def connect() -> int:
        with socket.socket() as sock:
            return sock.connect_ex(("10.0.1.99", 80))

    assert net.run(connect, on=client) == errno.EHOSTUNREACH
    assert told[0] == (3004, 3, 1)  # asked for 3 s, behind two times 1 ms of ARP and of the packet's way


def test_an_address_that_moves_is_found_by_a_gratuitous_message() -> None:
    lan = Lan()
    one, two, three = lan.hosts
    lan.serve(two, b"two")
    lan.serve(three, b"three")
    assert lan.fetch(one, "10.0.0.2") == b"two"
    lan.net.run(until="5s")
    two.set_up(two.devices["eth0"], False)
    three.sh("sysctl -q net.ipv4.conf.eth0.arp_notify=1")
    three.add_address(three.devices["eth0"], parse_ipv4("10.0.0.2"), 24)
    arp.of(three.ip).announce_all(three.devices["eth0"])
    lan.net.run(until="6s")
    assert known(one)["10.0.0.2"] == mac_text(int(three.devices["eth0"].mac))
    assert lan.fetch(one, "10.0.0.2") == b"three"


def test_a_new_hardware_address_is_told_to_those_who_know_the_old_one() -> None:
    lan = Lan()
    one, two = lan.hosts[:2]
    lan.serve(two, b"two")
    assert lan.fetch(one, "10.0.0.2") == b"two"
    lan.net.run(until="5s")
    two.sh("sysctl -q net.ipv4.conf.eth0.arp_notify=1")
    two.sh("ip link set eth0 address 02:00:00:00:00:77")
    assert known(two) == {}
    lan.net.run(until="6s")
    assert known(one)["10.0.0.2"] == "02:00:00:00:00:77"
    assert lan.fetch(one, "10.0.0.2") == b"two"


@pytest.mark.parametrize(("notify", "heard"), [(1, ["10.0.0.2 tells 10.0.0.2"]), (0, [])])
def test_a_device_that_comes_up_may_tell_its_addresses(notify: int, heard: list[str]) -> None:
    lan = Lan()
    two = lan.hosts[1]
    two.sh(f"sysctl -q net.ipv4.conf.eth0.arp_notify={notify}")
    two.sh("ifconfig eth0 down")
    seen = lan.hears(1)
    two.sh("ifconfig eth0 up")
    lan.net.run(until="1s")
    assert seen == heard


def test_an_address_that_moves_silently_is_found_when_nobody_answers_any_more() -> None:
    lan = Lan()
    one, two, three = lan.hosts
    lan.serve(two, b"two")
    lan.serve(three, b"three")
    assert lan.fetch(one, "10.0.0.2") == b"two"
    lan.net.run(until="100s")  # the entry is stale
    two.set_up(two.devices["eth0"], False)
    three.add_address(three.devices["eth0"], parse_ipv4("10.0.0.2"), 24)
    began = lan.net.now
    assert lan.fetch(one, "10.0.0.2") == b"three"
    # 5 s of trust, 3 s of questions to whoever was there; then all are asked. SYNs go again after 1, 2, 3, 4, 5 s
    # (linear timeouts), 7 and 11 s; that of 7 s is lost, too, and that of 11 s finds the new one.
    assert 11.0 <= lan.net.now - began < 11.1


def test_a_host_answers_for_its_addresses_at_all_devices_unless_it_is_told_not_to() -> None:
    net = lunar.Network(seed=1, arp=True)
    asker = net.host("asker", "10.0.0.1/16")
    other = net.host("other", "10.0.0.2/16", "10.0.1.2/24")
    net.link(asker, "other.eth0", delay="1ms")
    far = net.host("far", "10.0.1.3/24")
    net.link("other.eth1", far)

    def answered() -> bool:
        asker.sh("ip neigh flush all")
        with_sock = net.run(connect, on=asker)
        return bool(with_sock == errno.ECONNREFUSED)

    def connect() -> int:
        with socket.socket() as sock:
            return sock.connect_ex(("10.0.1.2", 80))

    assert answered()
    other.sh("sysctl -q net.ipv4.conf.eth0.arp_ignore=1")
    assert not answered()


def test_a_proxy_lets_two_halves_of_a_network_reach_each_other() -> None:
    net = lunar.Network(seed=1, arp=True)
    left, right = net.host("left", "10.0.0.2/16"), net.host("right", "10.0.1.2/16")
    router = net.host("router", "10.0.0.1/24", "10.0.1.1/24")
    net.link(left, "router.eth0", delay="1ms")
    net.link("router.eth1", right, delay="1ms")
    router.sh("sysctl -q net.ipv4.ip_forward=1")

    def connect() -> int:
        with socket.socket() as sock:
            return sock.connect_ex(("10.0.1.2", 80))

    assert net.run(connect, on=left) == errno.EHOSTUNREACH
    router.sh("sysctl -q net.ipv4.conf.all.proxy_arp=1")
    assert net.run(connect, on=left) == errno.ECONNREFUSED
    assert known(left)["10.0.1.2"] == mac_text(int(router.devices["eth0"].mac))
    # One address alone: arp's `pub`, for what the router does not answer for by itself.
    router.sh("sysctl -q net.ipv4.conf.all.proxy_arp=0")
    left.sh("ip neigh flush all")
    assert net.run(connect, on=left) == errno.EHOSTUNREACH
    router.sh("arp -i eth0 -Ds 10.0.1.2 eth0 pub")
    assert router.sh("arp -an").splitlines()[-1] == "? (10.0.1.2) at <from_interface> PERM PUB on eth0"
    assert net.run(connect, on=left) == errno.ECONNREFUSED


def test_the_tools_show_neighbours_and_change_them() -> None:
    lan = Lan()
    one = lan.hosts[0]
    one.sh("arp -s 10.0.0.7 02:00:00:00:00:07")
    lan.net.run(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("10.0.0.2", 9)), on=one)
    lan.net.run(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("10.0.0.99", 9)), on=one)
    lan.net.run(until="10s")
    assert one.sh("ip neigh") == (
        "10.0.0.7 dev eth0 lladdr 02:00:00:00:00:07 PERMANENT \n"
        "10.0.0.2 dev eth0 lladdr 02:00:00:00:00:02 REACHABLE \n"
        "10.0.0.99 dev eth0 FAILED \n"
    )
    assert one.sh("arp -n") == (
        "Address                  HWtype  HWaddress           Flags Mask            Iface\n"
        "10.0.0.7                 ether   02:00:00:00:00:07   CM                    eth0\n"
        "10.0.0.2                 ether   02:00:00:00:00:02   C                     eth0\n"
        "10.0.0.99                        (incomplete)                              eth0\n"
    )
    assert one.sh("arp -a") == (
        "? (10.0.0.7) at 02:00:00:00:00:07 [ether] PERM on eth0\n"
        "h2 (10.0.0.2) at 02:00:00:00:00:02 [ether] on eth0\n"
        "? (10.0.0.99) at <incomplete> on eth0\n"
    )
    one.sh("arp -d 10.0.0.7")
    one.sh("ip neigh flush dev eth0")
    assert one.sh("arp -n") == ""


def test_arping_asks_tests_and_tells() -> None:
    lan = Lan()
    one = lan.hosts[0]
    assert one.sh("arping -c 2 10.0.0.2") == (
        "ARPING 10.0.0.2 from 10.0.0.1 eth0\n"
        "Unicast reply from 10.0.0.2 [02:00:00:00:00:02]  2.000ms\n"
        "Unicast reply from 10.0.0.2 [02:00:00:00:00:02]  2.000ms\n"
        "Sent 2 probes (1 broadcast(s))\n"
        "Received 2 response(s)\n"
    )
    assert one.sh("arping -c 2 -w 3 10.0.0.9").splitlines()[1:] == [
        "Sent 2 probes (2 broadcast(s))", "Received 0 response(s)"
    ]
    # RFC 5227: whether an address is free is asked in nobody's name.
    heard = lan.hears(3)
    assert "Received 1 response(s)" in one.sh("arping -D -c 2 10.0.0.2")
    assert "Received 0 response(s)" in one.sh("arping -D -c 2 10.0.0.9")
    assert heard == ["0.0.0.0 asks for 10.0.0.2", *["0.0.0.0 asks for 10.0.0.9"] * 2]
    # What is told by hand corrects those who know the address.
    lan.serve(lan.hosts[1], b"two")
    assert lan.fetch(one, "10.0.0.2") == b"two"
    three = lan.hosts[2]
    three.add_address(three.devices["eth0"], parse_ipv4("10.0.0.2"), 24)
    three.sh("arping -U -c 1 -I eth0 10.0.0.2")
    assert known(one)["10.0.0.2"] == mac_text(int(three.devices["eth0"].mac))
    two = mac_text(int(lan.hosts[1].devices["eth0"].mac))
    lan.hosts[1].sh("arping -A -c 1 -I eth0 10.0.0.2")
    assert known(one)["10.0.0.2"] == two
    for command, wrong in (
        ("arping -c 1 -I eth7 10.0.0.2", "Device eth7 not available"),
        ("arping -c 1 -I lo 127.0.0.1", "not ARPable"),
        ("arping -U -c 1 10.0.0.3", "Cannot assign requested address"),
        ("arping 10.0.0.2", "never end"),
    ):
        with pytest.raises(CommandError, match=wrong):
            one.sh(command)
    one.sh("ip link set eth0 arp off")
    with pytest.raises(CommandError, match=r'^Interface "eth0" is not ARPable$'):
        one.sh("arping -c 1 10.0.0.2")


def test_names_that_a_name_server_would_have_to_be_asked_for() -> None:
    lan = Lan()
    one = lan.hosts[0]
    one.paths.put("/etc/resolv.conf", "nameserver 10.0.0.2\n")
    one.sh("arp -s 10.0.0.2 02:00:00:00:00:99")
    assert "10.0.0.2" in one.sh("arp")
    for command in ("arp -d two.example.org", "arping -c 1 two.example.org"):
        with pytest.raises(CommandError, match="to ask the host's name servers takes time; expected an address"):
            one.sh(command)


def test_a_network_without_arp_is_as_it_was() -> None:
    net = lunar.Network(seed=1)
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
    net.link(a, b, delay="1ms")
    seen: list[Frame] = []
    b.devices["eth0"].tap = lambda _device, frame: seen.append(frame)

    def connect() -> int:
        with socket.socket() as sock:
            return sock.connect_ex(("10.0.0.2", 80))

    assert net.run(connect, on=a) == errno.ECONNREFUSED
    assert net.now == 0.002
    assert {type(frame) for frame in seen} == {TcpSegment}
