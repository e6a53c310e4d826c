"""Each match in a rule of a router: which packets it stops, and that it counts them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bench import ACK, LEFT, LEFT6, RIGHT, RIGHT6, Bench, at, fragment, ping, tcp, udp

from lunar.netfilter.match_state import ConnlimitMatch
from lunar.packet import Packet

RST_ACK, FIN = 0x14, 0x01


def marked(packet: Packet, **fields: int) -> Packet:
    """The packet with these fields of its header."""
    for name, value in fields.items():
        setattr(packet, name, value)
    return packet


def sized(packet: Packet, size: int) -> Packet:
    """A packet of this length in all."""
    packet.payload = b"x" * (size - 28)
    packet.size_bytes = size
    return packet


def with_window_scale(packet: Packet) -> Packet:
    """A SYN with that option."""
    packet.window_scale = 7  # type: ignore[attr-defined]
    packet.size_bytes += 4
    return packet


# The condition; packets that it stops; packets that it lets pass.
IPV4: list[tuple[str, list[Callable[[], Packet]], list[Callable[[], Packet]]]] = [
    ("-s 10.0.0.2", [tcp, udp], [lambda: ping(RIGHT, LEFT)]),
    ("! -s 10.0.0.0/24", [lambda: udp(RIGHT, LEFT)], [udp]),
    ("-d 10.0.1.0/30", [udp], [lambda: udp(RIGHT, LEFT)]),
    ("-d 10.0.9.2/255.255.0.255", [udp, lambda: udp(RIGHT, LEFT)], []),
    ("-i eth0", [udp], [lambda: udp(RIGHT, LEFT)]),
    ("-o eth1", [udp], [lambda: udp(RIGHT, LEFT)]),
    ("! -i eth0", [lambda: udp(RIGHT, LEFT)], [udp]),
    ("-i eth+ -o et+", [udp], []),
    ("-i ppp+", [], [udp]),
    ("-p tcp", [tcp], [udp, ping]),
    ("! -p 17", [tcp, ping], [udp]),
    ("-f", [lambda: fragment(16, False, b"x" * 8)], [lambda: fragment(0, True, b"x" * 16), udp]),
    ("! -f", [lambda: fragment(0, True, b"x" * 16), udp], [lambda: fragment(16, False, b"x" * 8)]),
    ("-p tcp --dport 80", [tcp], [lambda: tcp(dport=81)]),
    ("-p tcp ! --dport 80:90", [lambda: tcp(dport=91)], [tcp, lambda: tcp(dport=90)]),
    ("-p tcp --sport 40000 --dport 80", [tcp], [lambda: tcp(sport=40001)]),
    ("-p tcp --syn", [tcp], [lambda: tcp(flags=ACK), lambda: tcp(flags=0x12)]),
    ("-p tcp ! --syn", [lambda: tcp(flags=ACK)], [tcp]),
    ("-p tcp --tcp-flags ALL RST,ACK", [lambda: tcp(flags=RST_ACK)], [tcp, lambda: tcp(flags=RST_ACK | FIN)]),
    ("-p tcp --tcp-option 3", [lambda: with_window_scale(tcp())], [tcp]),
    ("-p tcp ! --tcp-option 2", [lambda: tcp(mss=-1)], [tcp]),
    ("-p udp --dport 53", [udp], [lambda: udp(dport=54), lambda: fragment(16, False, b"x" * 8)]),
    ("-p udp --sport 40000", [udp, lambda: fragment(0, True, bytes.fromhex("9c40003500180000") + b"x" * 8)], []),
    ("-p icmp --icmp-type echo-request", [ping], [lambda: ping(type=0), lambda: ping(type=13)]),
    ("-p icmp --icmp-type 3/1", [lambda: ping(type=3, code=1)], [lambda: ping(type=3), ping]),
    ("-p icmp --icmp-type any", [ping, lambda: ping(type=3)], [udp]),
    ("-p tcp -m multiport --dports 22,80:90", [tcp, lambda: tcp(dport=90)], [lambda: tcp(dport=91)]),
    ("-p udp -m multiport --ports 53", [udp, lambda: udp(sport=53, dport=9)], [lambda: udp(dport=9)]),
    ("-p tcp -m multiport ! --sports 40000", [lambda: tcp(sport=1)], [tcp]),
    ("-p tcp -m tcpmss --mss 1400:1500", [tcp], [lambda: tcp(mss=1399), lambda: tcp(mss=-1)]),
    ("-p tcp -m tcpmss ! --mss 1400:1500", [lambda: tcp(mss=500), lambda: tcp(mss=-1)], [tcp]),
    # The hop of the router itself is taken before FORWARD.
    ("-m ttl --ttl-eq 63", [udp], [lambda: marked(udp(), ttl=63)]),
    ("-m ttl --ttl-lt 10", [lambda: marked(udp(), ttl=10)], [lambda: marked(udp(), ttl=11)]),
    ("-m ttl --ttl-gt 10", [lambda: marked(udp(), ttl=12)], [lambda: marked(udp(), ttl=11)]),
    ("-m tos --tos 0x10/0x3f", [lambda: marked(udp(), tos=0x50)], [udp, lambda: marked(udp(), tos=0x14)]),
    ("-m tos ! --tos 0x10", [udp], [lambda: marked(udp(), tos=0x10)]),
    ("-m dscp --dscp-class EF", [lambda: marked(udp(), tos=0xB9)], [udp]),
    ("-m length --length 100:200", [lambda: sized(udp(), 100), lambda: sized(udp(), 200)], [lambda: sized(udp(), 201)]),
    ("-m length ! --length 100", [lambda: sized(udp(), 99)], [lambda: sized(udp(), 100)]),
    ("-m addrtype --src-type LOCAL", [], [udp]),
    ("-m addrtype --dst-type UNICAST", [udp], []),
    ("-m addrtype ! --dst-type LOCAL,BROADCAST,MULTICAST", [udp], []),
    ("-m string --string needle --algo bm", [lambda: udp(payload=b"in a needle stack")], [udp]),
    ("-m string --hex-string 'a|00 ff|' --algo kmp", [lambda: udp(payload=b"xa\0\xff")], [lambda: udp(payload=b"a\0")]),
    ("-m string --string NEEDLE --algo bm --icase", [lambda: udp(payload=b"Needle")], [udp]),
    ("-m string --string NEEDLE --algo bm", [], [lambda: udp(payload=b"Needle")]),
    # 20 bytes of IP, 8 of UDP: the payload begins at 28. All of the pattern must lie within.
    ("-m string --string abc --algo bm --to 33", [lambda: udp(payload=b"__abc")], [lambda: udp(payload=b"___abc")]),
    ("-m string --string abc --algo bm --from 30", [lambda: udp(payload=b"__abc")], [lambda: udp(payload=b"_abc")]),
    ("-m string ! --string hello --algo kmp", [tcp], [udp]),
    ("-m comment --comment 'all of it'", [udp, tcp], []),
    ("-m conntrack --ctproto 17 --ctorigsrc 10.0.0.0/24 --ctorigdstport 50:60", [udp], [lambda: udp(dport=61), tcp]),
    ("-m conntrack --ctstate NEW --ctdir ORIGINAL --ctrepldst 10.0.0.2", [udp], []),
    ("-m conntrack ! --ctreplsrc 10.0.1.2", [], [udp]),
    ("-m conntrack --ctstate INVALID", [lambda: tcp(flags=RST_ACK)], [tcp]),
    ("-m conntrack --ctstatus CONFIRMED", [], [udp]),
    ("-m state --state NEW", [udp, ping], []),
    ("-m state ! --state NEW", [lambda: ping(type=3, payload=b"")], [udp]),
    ("-m statistic --mode random --probability 1", [udp], []),
    ("-m statistic --mode random ! --probability 1", [], [udp]),
    ("-m mark --mark 0", [udp], []),
    ("-m mark ! --mark 0/1", [], [udp]),
    ("-m connmark --mark 0", [udp], []),
]  # fmt: skip

IPV6: list[tuple[str, list[Callable[[], Packet]], list[Callable[[], Packet]]]] = [
    ("-s 2001:db8:1::/48", [lambda: udp(LEFT6, RIGHT6)], [lambda: udp(RIGHT6, LEFT6)]),
    ("! -d 2001:db8:2::2", [lambda: udp(RIGHT6, LEFT6)], [lambda: udp(LEFT6, RIGHT6)]),
    ("-i eth0 -p tcp --syn --dport 80", [lambda: tcp(LEFT6, RIGHT6)], [lambda: udp(LEFT6, RIGHT6)]),
    ("-p icmpv6 --icmpv6-type echo-request", [lambda: ping(LEFT6, RIGHT6)], [lambda: ping(LEFT6, RIGHT6, 129)]),
    ("-m hl --hl-eq 63", [lambda: udp(LEFT6, RIGHT6)], [lambda: marked(udp(LEFT6, RIGHT6), ttl=63)]),
    ("-m hl ! --hl-eq 63", [lambda: marked(udp(LEFT6, RIGHT6), ttl=63)], [lambda: udp(LEFT6, RIGHT6)]),
    ("-m dscp --dscp 1", [lambda: marked(udp(LEFT6, RIGHT6), tos=4)], [lambda: udp(LEFT6, RIGHT6)]),
    ("-m length --length 53", [lambda: udp(LEFT6, RIGHT6)], [lambda: udp(LEFT6, RIGHT6, payload=b"")]),
    ("-m string --string hello --algo bm", [lambda: udp(LEFT6, RIGHT6)], [lambda: tcp(LEFT6, RIGHT6)]),
    ("-m state --state NEW", [lambda: udp(LEFT6, RIGHT6)], []),
    ("-m conntrack --ctorigdst 2001:db8:2::/64", [lambda: udp(LEFT6, RIGHT6)], [lambda: udp(RIGHT6, LEFT6)]),
    ("-m addrtype --dst-type UNICAST", [lambda: udp(LEFT6, RIGHT6)], []),
    ("-p udp -m multiport --dports 53", [lambda: udp(LEFT6, RIGHT6)], [lambda: udp(LEFT6, RIGHT6, dport=1)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "condition", "stopped", "passed"),
    [("iptables", *row) for row in IPV4] + [("ip6tables", *row) for row in IPV6],
    ids=[row[0] for row in IPV4] + ["6 " + row[0] for row in IPV6],
)
def test_a_match_stops_what_it_says_and_counts_it(
    tool: str, condition: str, stopped: list[Callable[[], Packet]], passed: list[Callable[[], Packet]]
) -> None:
    bench = Bench(f"{tool} -A FORWARD {condition} -j DROP")
    octets = 0
    for make in stopped:
        packet = make()
        octets += packet.size_bytes
        assert not bench.passes(packet), make
    for make in passed:
        assert bench.passes(make()), make
    counted = bench.counters(tool=tool)[0]
    assert counted == (len(stopped), octets)


def test_state_tells_the_answers_of_a_connection_from_new_ones() -> None:
    bench = Bench("-A FORWARD -m state --state ESTABLISHED,RELATED -j ACCEPT", "-A FORWARD -i eth1 -j DROP")
    assert not bench.passes(udp(RIGHT, LEFT, 53, 40000))
    bench = Bench("-A FORWARD -m state --state ESTABLISHED,RELATED -j ACCEPT", "-A FORWARD -i eth1 -j DROP")
    assert bench.passes(udp())
    assert bench.passes(udp(RIGHT, LEFT, 53, 40000))
    assert bench.counters()[0][0] == 1
    assert not bench.passes(udp(RIGHT, LEFT, 54, 40000))


def test_connmark_is_the_connections_and_restore_mark_gives_it_to_packets() -> None:
    bench = Bench(
        "-t mangle -A PREROUTING -m state --state NEW -i eth0 -j CONNMARK --set-mark 7",
        "-t mangle -A PREROUTING -j CONNMARK --restore-mark",
        "-A FORWARD -m connmark --mark 7 -m mark --mark 7 -i eth1",
    )
    bench.send(udp())
    bench.send(udp(RIGHT, LEFT, 53, 40000))
    assert bench.counters()[0][0] == 1


def test_limit_lets_a_burst_pass_and_then_the_rate() -> None:
    bench = Bench("-A FORWARD -p udp -m limit --limit 10/s --limit-burst 3 -j ACCEPT", "-A FORWARD -p udp -j DROP")
    assert [bench.passes(udp()) for _ in range(5)] == [True, True, True, False, False]
    bench.run(0.1)  # one packet's time
    assert [bench.passes(udp()) for _ in range(2)] == [True, False]
    bench.run(10)  # more than all of the burst
    assert [bench.passes(udp()) for _ in range(4)] == [True, True, True, False]


def test_hashlimit_has_a_bucket_for_each_source() -> None:
    bench = Bench(
        "-A FORWARD -p udp -m hashlimit --hashlimit-upto 1/min --hashlimit-burst 2 --hashlimit-mode srcip "
        "--hashlimit-name users -j ACCEPT",
        "-A FORWARD -p udp -j DROP",
    )
    assert [bench.passes(udp()) for _ in range(3)] == [True, True, False]
    assert [bench.passes(udp(RIGHT, LEFT)) for _ in range(3)] == [True, True, False]
    bench.run(30)
    assert not bench.passes(udp())
    bench.run(31)
    assert bench.passes(udp())


def test_hashlimit_above_counts_bytes() -> None:
    bench = Bench(
        "-A FORWARD -p udp -m hashlimit --hashlimit-above 1kb/s --hashlimit-mode dstport --hashlimit-name b -j DROP"
    )
    # A second's worth at once, in units of 16 bytes of which each packet pays one more than it fills: 32 of 65.
    outcomes = [bench.passes(sized(udp(), 500)) for _ in range(4)]
    assert outcomes == [True, True, False, False]
    assert bench.passes(sized(udp(dport=54), 500))


def test_hashlimit_rate_match_judges_an_interval_by_the_one_before() -> None:
    # Measured on Linux 6.18 with pings of this size.
    bench = Bench(
        "-A FORWARD -p udp -m hashlimit --hashlimit-above 5/sec --hashlimit-name a --hashlimit-rate-match",
        "-A FORWARD -p udp -m hashlimit --hashlimit-above 500b/s --hashlimit-name b --hashlimit-rate-match",
    )
    for _ in range(41):
        bench.send(sized(udp(), 84), 0.025)  # one second: above from the 11th on (burst 5), the 6th (496 bytes)
    assert [packets for packets, _bytes in bench.counters()] == [31, 36]
    bench.run(1.2)  # an interval without: the next one begins anew
    for _ in range(9):
        bench.send(sized(udp(), 84), 0.1)
    assert [packets for packets, _bytes in bench.counters()] == [31, 40]
    bench.send(sized(udp(), 84), 0.2)  # ten in this second, and the next is judged by it
    bench.send(sized(udp(), 84))
    assert [packets for packets, _bytes in bench.counters()] == [32, 42]


def test_hashlimit_lets_a_large_packet_pass_for_a_seconds_worth() -> None:
    rule = "-A FORWARD -p udp -m hashlimit --hashlimit-upto 80b/s --hashlimit-name b -j ACCEPT"
    bench = Bench(rule, "-P FORWARD DROP")
    assert [bench.passes(sized(udp(), 500)) for _ in range(2)] == [True, False]
    bench.run(1)
    assert [bench.passes(sized(udp(), 500)) for _ in range(2)] == [True, False]


def test_hashlimit_of_one_name_ends_with_its_last_rule() -> None:
    rule = "FORWARD -p udp -m hashlimit --hashlimit-upto 1/day --hashlimit-burst 1 --hashlimit-name one -j ACCEPT"
    bench = Bench("-A " + rule, "-A FORWARD -p udp -j DROP")
    assert [bench.passes(udp()) for _ in range(2)] == [True, False]
    bench.rules("-D " + rule, "-I " + rule)
    assert bench.passes(udp())


def test_statistic_nth_takes_one_of_many() -> None:
    bench = Bench("-A FORWARD -p udp -m statistic --mode nth --every 3 --packet 1 -j DROP")
    assert [bench.passes(udp()) for _ in range(7)] == [True, False, True, True, False, True, True]


def test_statistic_random_draws_from_the_hosts_generator() -> None:
    def outcomes(seed: int) -> list[bool]:
        bench = Bench("-A FORWARD -p udp -m statistic --mode random --probability 0.5 -j DROP", seed=seed)
        return [bench.passes(udp()) for _ in range(64)]

    first = outcomes(1)
    assert outcomes(1) == first
    assert outcomes(2) != first
    assert 16 < sum(first) < 48


def test_connlimit_counts_open_connections_of_an_address() -> None:
    bench = Bench("-A FORWARD -p tcp --syn -i eth0 -m connlimit --connlimit-above 2 -j DROP")
    assert [bench.passes(tcp(sport=port)) for port in (1001, 1002, 1003)] == [True, True, False]
    bench.run(0.01)  # the third one has not come through, and is forgotten after two ticks of Linux' clock
    assert bench.passes(tcp(sport=1001))  # the same connection again
    reset = tcp(RIGHT, LEFT, 80, 1001, flags=RST_ACK)
    reset.ack = 1001
    bench.send(reset)
    bench.run(11)  # CLOSE is kept for ten seconds, but does not count
    assert bench.passes(tcp(sport=1003))


def test_mac_is_that_of_the_frame() -> None:
    bench = Bench()
    mac = bench.left.devices["eth0"].mac.to_bytes(6, "big").hex(":")
    bench.rules(f"-A FORWARD -m mac --mac-source {mac} -j DROP")
    assert not bench.passes(udp())
    assert bench.passes(udp(RIGHT, LEFT))


def test_owner_finds_the_program_that_sends() -> None:
    import socket

    bench = Bench()
    host = bench.left
    host.sh("iptables -A OUTPUT -p udp -m owner --cmd-owner talker -j REJECT")
    host.sh("iptables -A OUTPUT -p udp -m owner --socket-exists")
    host.sh("iptables -A OUTPUT -p icmp -m owner ! --socket-exists")

    def talk() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(b"x", (RIGHT, 9))
            except PermissionError:
                return "refused"
            return "sent"

    assert bench.net.run(talk, on=host) == "sent"
    assert host.sh("iptables -v -S OUTPUT").splitlines()[1:3] == [
        "-A OUTPUT -p udp -m owner --cmd-owner talker -c 0 0 -j REJECT --reject-with icmp-port-unreachable",
        "-A OUTPUT -p udp -m owner --socket-exists -c 1 29",
    ]
    host.sh("iptables -A OUTPUT -p udp -m owner --cmd-owner left -j DROP")
    assert bench.net.run(talk, on=host) == "refused"


def test_a_header_that_begins_in_a_later_fragment_is_dropped() -> None:
    bench = Bench("-A FORWARD -p tcp --dport 80 -j ACCEPT")
    assert not bench.send(fragment(8, False, b"x" * 16, protocol=6))
    assert bench.send(fragment(16, False, b"x" * 16, protocol=6))


def test_addrtype_knows_the_routers_own_addresses() -> None:
    bench = Bench(
        "-A INPUT -m addrtype --dst-type LOCAL",
        "-A INPUT -m addrtype --dst-type LOCAL --limit-iface-in",
        "-A INPUT -m addrtype --dst-type BROADCAST",
    )
    bench.send(udp(dst="10.0.0.1"))
    bench.send(udp(dst="10.0.1.1"))  # the address of the other device
    broadcast = udp(dst="10.0.0.255")
    bench.send(broadcast)
    assert [packets for packets, _bytes in bench.counters("INPUT")] == [2, 1, 1]


def test_addresses_are_integers_of_both_families() -> None:
    assert at(LEFT) < 1 << 32 <= at(LEFT6)


def test_hashlimit_has_no_more_buckets_than_it_may() -> None:
    bench = Bench(
        "-A FORWARD -p udp -m hashlimit --hashlimit-upto 100/s --hashlimit-mode dstport --hashlimit-htable-max 2 "
        "--hashlimit-htable-expire 500 --hashlimit-name few -j ACCEPT"
    )
    # What has no room is dropped, whatever the rule says; after the next collection there is room again.
    assert [bench.passes(udp(dport=port)) for port in (1, 2, 3, 1)] == [True, True, False, True]
    bench.run(2)
    assert [bench.passes(udp(dport=port)) for port in (3, 4, 1)] == [True, True, False]


def test_connlimit_remembers_one_list_for_a_network() -> None:
    bench = Bench("-A FORWARD -p udp -m connlimit --connlimit-upto 5")
    limit = bench.router.netfilter.inet.filter.chains["FORWARD"].rules[0].matches[-1]  # type: ignore[union-attr]
    assert isinstance(limit, ConnlimitMatch)
    for number in range(300):
        packet = udp(f"10.0.0.{2 + number % 250}", RIGHT, sport=number)
        packet.eth_dst = bench.router.devices["eth0"].mac
        bench.left.devices["eth0"].transmit(packet)
    bench.run(0.001)
    assert len(limit.seen) == 250


def test_a_first_fragment_whose_header_claims_to_be_shorter_than_it_is_has_no_options() -> None:
    bench = Bench("-A FORWARD -p tcp --tcp-option 2 -j DROP", "-A FORWARD -p tcp -m tcpmss --mss 0:65535 -j DROP")
    header = bytes.fromhex("9c40 0050 00000001 00000000 0002 1000 0000 0000".replace(" ", "")) + bytes(4)
    assert bench.passes(fragment(0, True, header, protocol=6))
