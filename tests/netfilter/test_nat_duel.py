"""What the kernel does where ports clash or run out, measured beside Lunar. Which port is drawn is chance on both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from routers import LunarRouter, Pair, Sent, why_not

from lunar.packet import AF_INET, SYN, IcmpMessage, Packet, TcpSegment, UdpDatagram, set_tcp_size
from lunar.wire import ipv4
from lunar.wire.malformed import Malformed

_REASON = why_not()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=_REASON or "")

_CLIENT: Final = 0x0A00_0002
_SERVER: Final = 0x0A01_0002


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def datagram(client: int, sport: int, dst: int = _SERVER, dport: int = 53) -> bytes:
    return ipv4.encode(UdpDatagram(AF_INET, _CLIENT + client, dst, sport, dport, b"x"))


def segment(client: int, sport: int) -> bytes:
    made = TcpSegment(AF_INET, _CLIENT + client, _SERVER, sport, 80, 1000, 0, SYN, 1000, b"")
    set_tcp_size(made)
    return ipv4.encode(made)


def echo(client: int, identifier: int) -> bytes:
    return ipv4.encode(IcmpMessage(AF_INET, _CLIENT + client, _SERVER, 8, 0, identifier << 16, b""))


def sources(sent: Sent) -> list[tuple[int, int]]:
    """(address, port or identifier) of what was sent."""
    found = []
    for _device, data in sent:
        packet = ipv4.decode(data)
        assert isinstance(packet, Packet) and not isinstance(packet, Malformed)
        port = packet.rest >> 16 if isinstance(packet, IcmpMessage) else getattr(packet, "sport", 0)
        found.append((packet.src, port))
    return found


def both(pair: Pair, packets: list[bytes]) -> tuple[list[int], list[int]]:
    """The ports that the packets leave with, on the kernel and on Lunar; -1 for one that does not."""
    ports: tuple[list[int], list[int]] = ([], [])
    for packet in packets:
        for found, sent in zip(ports, pair.send("ta", packet), strict=True):
            left = sources(sent)
            found.append(left[0][1] if left else -1)
    return ports


@pytest.mark.parametrize(("port", "first", "last"), [(300, 1, 511), (600, 600, 1023), (40_000, 1024, 65_535)])
def test_the_first_keeps_its_port_and_the_others_get_one_of_its_class(
    pair: Pair, port: int, first: int, last: int
) -> None:
    pair.command("iptables -t nat -A POSTROUTING -o tb -j MASQUERADE")
    for ports in both(pair, [datagram(client, port) for client in range(20)]):
        assert ports[0] == port
        assert len(set(ports)) == 20 and all(first <= one <= last for one in ports)


def test_what_has_one_port_in_front_keeps_it_for_other_destinations(pair: Pair) -> None:
    """RFC 4787, REQ-1: endpoint-independent mapping, also of a source that had to get another port."""
    pair.command("iptables -t nat -A POSTROUTING -o tb -j MASQUERADE")
    both(pair, [datagram(0, 40_000)])
    for ports in both(pair, [datagram(1, 40_000, _SERVER + n) for n in range(4)]):
        # With the second destination its own port would be free. It is in use in front all the same.
        assert len(set(ports)) == 1 and ports[0] != 40_000


@pytest.mark.parametrize("random", ["--random", "--random-fully"])
def test_random_gives_each_destination_another(pair: Pair, random: str) -> None:
    pair.command(f"iptables -t nat -A POSTROUTING -o tb -j MASQUERADE {random}")
    for ports in both(pair, [datagram(0, 40_000, _SERVER + n) for n in range(6)]):
        assert len(set(ports)) > 4


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_range_is_used_up_to_its_last_port_and_then_packets_are_dropped(
    pair: Pair, size: int, protocol: str
) -> None:
    pair.command(f"iptables -t nat -A POSTROUTING -o tb -p {protocol} -j MASQUERADE --to-ports 5000-{4999 + size}")
    make = datagram if protocol == "udp" else segment
    for ports in both(pair, [make(0, 1000 + n) for n in range(size + 3)]):
        assert sorted(ports[:size]) == list(range(5000, 5000 + size))
        assert ports[size:] == [-1, -1, -1]
    for router in pair.routers:
        counts = router.command("conntrack -S")
        assert sum(int(word.partition("=")[2]) for word in counts.split() if word.startswith("insert_failed=")) == 3
        assert sum(int(word.partition("=")[2]) for word in counts.split() if word.startswith("drop=")) == 3


def test_identifiers_of_echoes_are_translated_as_ports_are(pair: Pair) -> None:
    pair.command("iptables -t nat -A POSTROUTING -o tb -j MASQUERADE")
    for identifiers in both(pair, [echo(client, 7) for client in range(5)]):
        assert identifiers[0] == 7 and len(set(identifiers)) == 5


def test_addresses_of_a_range_depend_on_source_and_destination_or_persistently_on_the_source(pair: Pair) -> None:
    for flag, count in (("", 4), (" --persistent", 1)):
        pair.command("iptables -t nat -F")
        pair.command("conntrack -F")
        pair.command(f"iptables -t nat -A POSTROUTING -o tb -j SNAT --to-source 10.1.0.10-10.1.0.13{flag}")
        found: tuple[set[int], set[int]] = (set(), set())
        for n in range(24):
            for addresses, sent in zip(found, pair.send("ta", datagram(0, 1000 + n, _SERVER + n)), strict=True):
                addresses.update(address for address, _port in sources(sent))
        assert [len(addresses) for addresses in found] == [count, count]


def test_a_connection_without_a_rule_gets_another_port_if_one_with_a_rule_has_its(pair: Pair) -> None:
    pair.command("iptables -t nat -A POSTROUTING -s 10.0.0.2 -o tb -j SNAT --to-source 10.0.0.9")
    for ports in both(pair, [datagram(0, 1000), datagram(7, 1000)]):
        assert ports[0] == 1000 and ports[1] != 1000 and 600 <= ports[1] < 1024


def test_a_big_range_may_be_found_full_before_it_is() -> None:
    """Linux tries 128 ports in a row, then fewer from elsewhere: of 500 the kernel was seen to give out 493 to 495."""
    router = LunarRouter()
    try:
        router.command("iptables -t nat -A POSTROUTING -o tb -p udp -j MASQUERADE --to-ports 5000-5499")
        sent = sum(len(router.send("ta", datagram(n % 200, 1000 + n // 200))) for n in range(500))
        assert 480 < sent < 500
    finally:
        router.close()
