"""Each target in a rule of a router: what becomes of a packet, and of the counters."""

from __future__ import annotations

import pytest
from bench import ACK, LEFT, LEFT6, RIGHT, RIGHT6, ROUTER, SYN, Bench, at, fragment, ping, tcp, udp

from lunar.packet import AF_INET, IcmpMessage, Packet, TcpSegment, UdpDatagram, set_tcp_size
from lunar.wire import inet


def only(sent: list[Packet]) -> Packet:
    """The one packet."""
    assert len(sent) == 1
    return sent[0]


def test_accept_drop_return_and_chains_of_the_users() -> None:
    bench = Bench(
        "-N inner", "-N outer",
        "-A inner -p udp --dport 1 -j DROP",
        "-A inner -p udp --dport 2 -j RETURN",
        "-A inner -p udp --dport 3 -j ACCEPT",
        "-A outer -j inner",
        "-A outer -p udp --dport 2 -j DROP",
        "-A FORWARD -j outer",
        "-A FORWARD -p udp -j DROP",
    )  # fmt: skip
    assert [bench.passes(udp(dport=port)) for port in (1, 2, 3, 4)] == [False, False, True, False]
    assert bench.passes(ping())
    assert [packets for packets, _bytes in bench.counters("inner")] == [1, 1, 1]
    assert [packets for packets, _bytes in bench.counters("outer")] == [5, 1]
    assert [packets for packets, _bytes in bench.counters()] == [5, 1]
    assert ":FORWARD ACCEPT [1:36]" in bench.router.sh("iptables-save -c")


def test_goto_does_not_come_back() -> None:
    bench = Bench("-N there", "-A FORWARD -p udp -g there", "-A FORWARD -j DROP", "-A there -p udp --dport 1 -j DROP")
    assert [bench.passes(udp(dport=port)) for port in (1, 2)] == [False, True]
    assert not bench.passes(ping())
    bench.rules("-N before", "-I before -g there", "-I FORWARD -p tcp -j before")
    assert not bench.passes(tcp())  # the end of `there` is behind the jump to `before`


def test_a_policy_decides_of_what_no_rule_does() -> None:
    bench = Bench("-P FORWARD DROP", "-A FORWARD -p icmp -j ACCEPT")
    assert not bench.passes(udp())
    assert bench.passes(ping())
    assert ":FORWARD DROP [1:33]" in bench.router.sh("iptables-save -c")


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("icmp-net-unreachable", 0), ("icmp-host-unreachable", 1), ("icmp-proto-unreachable", 2),
        ("icmp-port-unreachable", 3), ("icmp-net-prohibited", 9), ("icmp-host-prohibited", 10),
        ("icmp-admin-prohibited", 13),
    ],
)  # fmt: skip
def test_reject_tells_the_sender_by_icmp(word: str, code: int) -> None:
    bench = Bench(f"-A FORWARD -p udp -j REJECT --reject-with {word}")
    error = only(bench.send(udp()))
    assert isinstance(error, IcmpMessage)
    assert (error.type, error.code, error.src, error.dst) == (3, code, at(ROUTER), at(LEFT))
    assert bench.counters() == [(1, 33)]


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("icmp6-no-route", 0), ("icmp6-adm-prohibited", 1), ("icmp6-addr-unreachable", 3),
        ("icmp6-port-unreachable", 4), ("icmp6-policy-fail", 5), ("icmp6-reject-route", 6),
    ],
)  # fmt: skip
def test_reject_tells_the_sender_by_icmpv6(word: str, code: int) -> None:
    bench = Bench(f"ip6tables -A FORWARD -p udp -j REJECT --reject-with {word}")
    error = only(bench.send(udp(LEFT6, RIGHT6)))
    assert isinstance(error, IcmpMessage)
    assert (error.type, error.code, error.dst) == (1, code, at(LEFT6))


@pytest.mark.parametrize(("tool", "src", "dst"), [("iptables", LEFT, RIGHT), ("ip6tables", LEFT6, RIGHT6)])
def test_reject_resets_a_connection(tool: str, src: str, dst: str) -> None:
    bench = Bench(f"{tool} -A FORWARD -p tcp -j REJECT --reject-with tcp-reset")
    reset = only(bench.send(tcp(src, dst)))
    assert isinstance(reset, TcpSegment)
    assert (reset.src, reset.sport, reset.dst, reset.dport) == (at(dst), 80, at(src), 40000)
    # A SYN is answered by what acknowledges it, anything with an ACK by what it acknowledged.
    assert (reset.flags, reset.seq, reset.ack) == (0x14, 0, 1001)
    reset = only(bench.send(tcp(src, dst, flags=ACK, payload=b"abc")))
    assert isinstance(reset, TcpSegment)
    assert (reset.flags, reset.seq, reset.ack) == (0x04, 2000, 0)
    assert bench.send(tcp(src, dst, flags=0x04)) == []  # no reset for a reset


def test_what_a_host_itself_sends_is_refused_with_eperm() -> None:
    import socket

    bench = Bench()
    bench.router.sh("iptables -A OUTPUT -p udp --dport 7 -j DROP")

    def talk() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (RIGHT, 8))
            try:
                sock.sendto(b"x", (RIGHT, 7))
            except PermissionError as error:
                return str(error)
        return "sent"

    assert bench.net.run(talk, on=bench.router) == "[Errno 1] Operation not permitted"


def test_log_writes_linux_lines_to_the_kernels_log() -> None:
    bench = Bench(
        "-A FORWARD -p tcp -j LOG --log-prefix 'tcp: ' --log-level info --log-tcp-sequence --log-tcp-options",
        "-A FORWARD -p udp -j LOG",
        "-A FORWARD -p icmp -j LOG --log-macdecode",
        "ip6tables -A FORWARD -j LOG",
    )
    segment = tcp()
    segment.dont_fragment, segment.ident, segment.tos = True, 5, 0xB8
    bench.send(segment)
    bench.send(udp())
    bench.send(fragment(16, False, b"x" * 8))
    bench.send(ping())
    bench.send(ping(LEFT6, RIGHT6))
    lines = bench.router.sh("dmesg -t").splitlines()
    left = bench.left.devices["eth0"].mac.to_bytes(6, "big").hex(":")
    own = bench.router.devices["eth0"].mac.to_bytes(6, "big").hex(":")
    devices = f"IN=eth0 OUT=eth1 MAC={own}:{left}:08:00 SRC=10.0.0.2 DST=10.0.1.2"
    assert lines == [
        f"tcp: {devices} LEN=44 TOS=0x18 PREC=0xA0 TTL=63 ID=5 DF PROTO=TCP SPT=40000 DPT=80 SEQ=1000 ACK=0 "
        "WINDOW=5000 RES=0x00 SYN URGP=0 OPT (020405B4) ",
        f"{devices} LEN=33 TOS=0x00 PREC=0x00 TTL=63 ID=0 PROTO=UDP SPT=40000 DPT=53 LEN=13 ",
        f"{devices} LEN=28 TOS=0x00 PREC=0x00 TTL=63 ID=77 FRAG:2 PROTO=UDP ",
        f"IN=eth0 OUT=eth1 MACSRC={left} MACDST={own} MACPROTO=0800 SRC=10.0.0.2 DST=10.0.1.2 LEN=36 TOS=0x00 "
        "PREC=0x00 TTL=63 ID=0 PROTO=ICMP TYPE=8 CODE=0 ID=7 SEQ=1 ",
        f"IN=eth0 OUT=eth1 MAC={own}:{left}:86:dd SRC=2001:0db8:0001:0000:0000:0000:0000:0002 "
        "DST=2001:0db8:0002:0000:0000:0000:0000:0002 LEN=56 TC=0 HOPLIMIT=63 FLOWLBL=0 PROTO=ICMPv6 TYPE=128 CODE=0 "
        "ID=7 SEQ=1 ",
    ]
    assert bench.router.sh("dmesg -l info").startswith("[    0.10")
    bench.router.sh("dmesg -C")
    assert bench.router.sh("dmesg") == ""


def test_log_of_an_error_has_the_packet_that_it_is_about() -> None:
    bench = Bench("-A OUTPUT -p icmp -j LOG", "-A FORWARD -p udp -j REJECT")
    bench.send(udp())
    line = bench.router.sh("dmesg -t")
    assert line.startswith("IN= OUT=eth0 SRC=10.0.0.1 DST=10.0.0.2 LEN=61 ")
    assert "PROTO=ICMP TYPE=3 CODE=3 [SRC=10.0.0.2 DST=10.0.1.2 LEN=33 " in line
    assert line.endswith("PROTO=UDP SPT=40000 DPT=53 LEN=13 ] \n")


@pytest.mark.parametrize("start", ["41000000", "4f000000", "4f00000a", "45000003"])
def test_log_of_an_error_that_quotes_garbage(start: str) -> None:
    bench = Bench("-A FORWARD -p icmp -j LOG")
    quoted = bytes.fromhex(start) + bytes(4) + bytes((64, 47, 0, 0)) + bytes(range(1, 9)) + bytes(20)
    message = IcmpMessage(AF_INET, at(LEFT), at(RIGHT), 3, 3, 0, quoted)
    message.size_bytes = 28 + len(quoted)
    bench.send(message)
    assert "[SRC=1.2.3.4 DST=5.6.7.8 LEN=" in bench.router.sh("dmesg -t")


def test_mark_is_for_rules_behind_it_and_for_routing() -> None:
    bench = Bench(
        "-t mangle -A PREROUTING -p udp -j MARK --set-mark 6",
        "-t mangle -A PREROUTING -p udp -j MARK --or-mark 1",
        "-t mangle -A PREROUTING -p udp -j MARK --xor-mark 2",
        "-t mangle -A PREROUTING -p udp -j MARK --and-mark 0x7",
        "-A FORWARD -m mark --mark 5 -j DROP",
    )
    assert not bench.passes(udp())
    assert bench.passes(ping())


@pytest.mark.parametrize(
    ("target", "tos"),
    [
        ("TOS --set-tos 0x10", 0x10), ("TOS --set-tos Minimize-Cost", 0x82), ("TOS --and-tos 0xf", 0x01),
        ("TOS --or-tos 0x2", 0x83), ("TOS --xor-tos 0xff", 0x7E), ("DSCP --set-dscp-class EF", 0xB9),
    ],
)  # fmt: skip
def test_tos_and_dscp_change_the_traffic_class(target: str, tos: int) -> None:
    bench = Bench(f"-t mangle -A FORWARD -j {target}", f"ip6tables -t mangle -A FORWARD -j {target}")
    for packet in (udp(), udp(LEFT6, RIGHT6)):
        packet.tos = 0x81
        assert only(bench.send(packet)).tos == tos


@pytest.mark.parametrize(
    ("option", "before", "after"), [("set 9", 64, 9), ("inc 200", 64, 255), ("inc 1", 64, 64), ("dec 63", 64, 0)]
)
def test_ttl_and_hl_set_the_hops_that_are_left(option: str, before: int, after: int) -> None:
    bench = Bench(
        f"-t mangle -A FORWARD -j TTL --ttl-{option}", f"ip6tables -t mangle -A FORWARD -j HL --hl-{option}"
    )
    for packet in (udp(), udp(LEFT6, RIGHT6)):
        packet.ttl = before
        assert only(bench.send(packet)).ttl == after


@pytest.mark.parametrize(
    ("target", "mss", "after"),
    [
        ("--set-mss 1000", 1460, 1000), ("--set-mss 1000", 900, 900), ("--set-mss 1000", -1, 536),
        ("--set-mss 100", -1, 100), ("--clamp-mss-to-pmtu", 1460, 1240), ("--clamp-mss-to-pmtu", 500, 500),
    ],
)  # fmt: skip
def test_tcpmss_lowers_what_a_syn_says(target: str, mss: int, after: int) -> None:
    bench = Bench(f"-t mangle -A FORWARD -p tcp --syn -j TCPMSS {target}")
    bench.router.devices["eth1"].mtu = 1280
    segment = only(bench.send(tcp(mss=mss)))
    assert isinstance(segment, TcpSegment)
    assert (segment.mss, segment.size_bytes) == (after, 44)
    back = only(bench.send(tcp(RIGHT, LEFT, mss=mss)))  # the smaller MTU of the way to the other end
    assert isinstance(back, TcpSegment)
    assert back.mss == after


@pytest.mark.parametrize(("src", "dst", "options"), [(LEFT, RIGHT, "01010101"), (LEFT6, RIGHT6, "3c00010400000000")])
def test_tcpmss_gives_a_syn_its_mss_once_beside_options(src: str, dst: str, options: str) -> None:
    tool = "iptables" if src == LEFT else "ip6tables"
    bench = Bench(f"{tool} -t mangle -A FORWARD -p tcp --syn -j TCPMSS --set-mss 500")
    packet = tcp(src, dst, mss=-1)
    packet.options = bytes.fromhex(options)
    set_tcp_size(packet)
    segment = only(bench.send(packet))
    assert isinstance(segment, TcpSegment)
    assert segment.mss == 500
    assert segment.size_bytes == len(inet.encode(segment))


def test_notrack_keeps_a_packet_out_of_the_table_of_connections() -> None:
    bench = Bench(
        "-t raw -A PREROUTING -p udp --dport 53 -j NOTRACK",
        "-A FORWARD -m state --state UNTRACKED",
        "-A FORWARD -m state --state NEW",
    )
    bench.send(udp())
    bench.send(udp(dport=54))
    assert [packets for packets, _bytes in bench.counters()] == [1, 1]
    conntrack = bench.router.netfilter.conntrack
    assert conntrack is not None
    assert conntrack.count() == 1


def test_mirror_sends_a_packet_back_with_its_addresses_exchanged() -> None:
    bench = Bench("-A FORWARD -p udp -j MIRROR", "-A INPUT -p udp -j MIRROR", "-A OUTPUT -j DROP")
    back = only(bench.send(udp()))
    assert isinstance(back, UdpDatagram)
    # Ports stay, and no rule sees it, not even OUTPUT's.
    assert (back.src, back.sport, back.dst, back.dport, back.ttl) == (at(RIGHT), 40000, at(LEFT), 53, 63)
    assert only(bench.send(udp(dst=ROUTER))).ttl == 63
    tired = udp(dst=ROUTER)
    tired.ttl = 1
    assert bench.send(tired) == []  # and what tells of it, OUTPUT drops


def test_nat_targets_rewrite_and_answers_come_back() -> None:
    bench = Bench(
        "-t nat -A PREROUTING -d 10.0.0.1 -p udp --dport 5353 -j DNAT --to-destination 10.0.1.2:53",
        "-t nat -A POSTROUTING -o eth1 -j MASQUERADE",
        "-t nat -A PREROUTING -d 10.9.0.0/24 -j NETMAP --to 10.0.1.0/24",
    )
    there = only(bench.send(udp(dst=ROUTER, dport=5353)))
    assert isinstance(there, UdpDatagram)
    assert (there.src, there.sport, there.dst, there.dport) == (at("10.0.1.1"), 40000, at(RIGHT), 53)
    back = only(bench.send(udp(RIGHT, "10.0.1.1", 53, 40000)))
    assert isinstance(back, UdpDatagram)
    assert (back.src, back.sport, back.dst, back.dport) == (at(ROUTER), 5353, at(LEFT), 40000)
    assert only(bench.send(ping(dst="10.9.0.2"))).dst == at(RIGHT)
    assert [packets for packets, _bytes in bench.counters("PREROUTING", "nat")] == [1, 1]


def test_snat_and_redirect() -> None:
    bench = Bench(
        "-t nat -A POSTROUTING -p udp -j SNAT --to-source 10.0.1.77:1000-1001",
        "-t nat -A PREROUTING -p udp --dport 99 -j REDIRECT --to-ports 53",
        "-A INPUT -p udp --dport 53",
    )
    sent = only(bench.send(udp()))
    assert isinstance(sent, UdpDatagram)
    assert (sent.src, sent.sport in (1000, 1001)) == (at("10.0.1.77"), True)
    bench.send(udp(dport=99))
    assert bench.counters("INPUT") == [(1, 33)]


def test_a_first_rule_is_what_switches_the_filter_on() -> None:
    bench = Bench()
    assert bench.router.ip.filter is None
    bench.router.sh("iptables -L")
    assert bench.router.ip.filter is None
    bench.rules("-A FORWARD -p udp")
    assert bench.router.ip.filter is not None
    assert bench.router.netfilter.conntrack is None
    bench.rules("-A FORWARD -m state --state NEW")
    assert bench.router.netfilter.conntrack is not None


def test_rules_are_gone_after_a_boot_but_for_those_of_the_tapestry() -> None:
    bench = Bench()
    bench.router.sh("iptables -A FORWARD -p udp -j DROP", each_boot=True)
    bench.rules("-A FORWARD -p tcp -j DROP")
    assert not bench.passes(tcp())
    bench.router.crash()
    bench.router.boot()
    bench.router.sh("sysctl -w net.ipv4.ip_forward=1")
    assert not bench.passes(udp())
    assert bench.passes(tcp(flags=SYN))


def test_fragments_are_gathered_for_a_host_that_tracks_and_cut_again() -> None:
    whole = udp(payload=bytes(range(256)) * 8)
    bytes_of_all = bytes.fromhex("9c40003508080000") + whole.payload
    pieces = [fragment(0, True, bytes_of_all[:1480]), fragment(1480, False, bytes_of_all[1480:])]
    bench = Bench("-A FORWARD -p udp --dport 53", "-A FORWARD -f")
    assert [len(bench.send(piece)) for piece in pieces] == [1, 1]
    assert [packets for packets, _bytes in bench.counters()] == [1, 1]
    pieces = [fragment(1480, False, bytes_of_all[1480:]), fragment(0, True, bytes_of_all[:1480])]
    bench = Bench("-A FORWARD -p udp --dport 53 -m state --state NEW", "-A FORWARD -f")
    assert [len(bench.send(piece)) for piece in pieces] == [0, 2]
    assert bench.counters() == [(1, 20 + len(bytes_of_all)), (0, 0)]


def test_a_hosts_name_in_a_rule_is_its_addresses() -> None:
    bench = Bench("-A FORWARD -s left -d right -j DROP", "ip6tables -A FORWARD -d right -j DROP")
    assert not bench.passes(udp())
    assert not bench.passes(udp(LEFT6, RIGHT6))
    assert bench.passes(udp(RIGHT, LEFT))
    assert bench.router.sh("iptables -S FORWARD").splitlines()[1] == "-A FORWARD -s 10.0.0.2/32 -d 10.0.1.2/32 -j DROP"
