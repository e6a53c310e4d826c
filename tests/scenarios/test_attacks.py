"""Attacks on a host, by programs with raw sockets: it does what Linux does, as seen on its kernel or in its papers.

A server, a client and an attacker are on one switch; the server's way to all other addresses leads to the attacker, so
that answers to forged senders go nowhere. docs/attacks.md says beside each what Linux does. Attacks of one connection's
peer are scripts, which the kernel passes too: tests/scenarios/packetdrill/attacks.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from typing import Any

import pytest

from lunar.network import Network
from lunar.packet import ACK, AF_INET, PSH, RST, SYN, Packet, TcpSegment, set_tcp_size
from lunar.tcp.sock import TcpSock
from lunar.wire import ipv4
from lunar.wire.address import parse_ipv4

SERVER, CLIENT, ATTACKER = "10.0.0.1", "10.0.0.2", "10.0.0.66"
PORT = 80
BACKLOG = 16
FLOOD = 1000


def network(*commands: str) -> Network:
    """The three hosts; the commands configure the server."""
    net = Network(seed=1)
    server, client = net.host("server", f"{SERVER}/24"), net.host("client", f"{CLIENT}/24")
    net.link(server, client, net.host("attacker", f"{ATTACKER}/24"), delay="1ms")
    for command in (f"route add default gw {ATTACKER}", *commands):
        server.sh(command)
    return net


def segment(src: str, sport: int, dst: str, dport: int, seq: int, ack: int, flags: int, data: bytes = b"") -> bytes:
    """A TCP segment as an IP packet."""
    made = TcpSegment(AF_INET, parse_ipv4(src), parse_ipv4(dst), sport, dport, seq, ack, flags, 65_535, data)
    if flags & SYN:
        made.mss = 1460
    set_tcp_size(made)
    return ipv4.encode(made)


def forge(packets: list[bytes], dst: str = SERVER, at: float = 0.0, every: float = 0.0) -> None:
    """A program that sends these packets as they are."""
    time.sleep(at)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for packet in packets:
            raw.sendto(packet, (dst, 0))
            if every:
                time.sleep(every)


def serve_one(backlog: int = BACKLOG, wait: float = 1000.0) -> bytes:
    """Accept one connection, and return what comes on it to its end."""
    with socket.create_server(("", PORT), backlog=backlog) as listening:
        listening.settimeout(wait)
        conn, _ = listening.accept()
        with conn:
            heard = b""
            while piece := conn.recv(65_536):
                heard += piece
            return heard


def knock(at: float, timeout: float = 2.5, data: bytes = b"x") -> str:
    """Connect, say something, and tell how it went."""
    time.sleep(at)
    try:
        with socket.create_connection((SERVER, PORT), timeout=timeout) as sock:
            sock.sendall(data)
    except TimeoutError:
        return "timed out"
    return "connected"


def listener_of(net: Network) -> Any:
    (row,) = net.hosts["server"].tcp.tables.listeners.values()
    listener = row[0]
    assert isinstance(listener, TcpSock) and listener.listener is not None
    return listener.listener


def connection_of(net: Network, host: str) -> TcpSock:
    """The one connection of a host."""
    ends = [end for row in net.hosts[host].tcp.tables.connections.values() for end in row.values()]
    assert len(ends) == 1 and isinstance(ends[0], TcpSock)
    return ends[0]


# A flood of SYNs from senders that do not exist, at 20,000 a second.


def syns(count: int = FLOOD) -> list[bytes]:
    senders = [(f"198.51.{100 + n // 200}.{1 + n % 200}", 1000 + n) for n in range(count)]
    return [segment(src, sport, SERVER, PORT, 7 * sport, 0, SYN) for src, sport in senders]


def flood(cookies: int) -> tuple[Network, Any, Any]:
    net = network(f"sysctl -w net.ipv4.tcp_syncookies={cookies}", "sysctl -w net.ipv4.tcp_max_syn_backlog=128")
    served = net.start(net.hosts["server"], serve_one, background=True)
    net.start(net.hosts["attacker"], forge, syns(), every=50e-6)
    knocked = net.start(net.hosts["client"], knock, 0.2)
    net.run(until=0.15)
    return net, served, knocked


def test_syn_flood_without_cookies_shuts_the_client_out() -> None:
    net, _, knocked = flood(0)
    counters = net.hosts["server"].ip.counters
    # The kernel, too: 17 half open with a backlog of 16, 983 of 1,000 dropped.
    assert len(listener_of(net).requests) == BACKLOG + 1
    assert (counters.tcp_req_q_full_drop, counters.tcp_listen_drops) == (FLOOD - BACKLOG - 1,) * 2
    net.run(until=10)
    assert knocked.result == "timed out"
    net.close()


def test_syn_flood_with_cookies_leaves_the_client_in() -> None:
    net, served, knocked = flood(1)
    counters = net.hosts["server"].ip.counters
    assert len(listener_of(net).requests) == BACKLOG + 1
    assert counters.tcp_syncookies_sent == counters.tcp_req_q_full_do_cookies == FLOOD - BACKLOG - 1
    net.run(until=10)
    assert (knocked.result, served.result) == ("connected", b"x")
    assert (counters.tcp_syncookies_recv, counters.tcp_syncookies_failed) == (1, 0)
    net.close()


def test_cookies_for_all_keep_nothing_at_all() -> None:
    net, served, knocked = flood(2)
    counters = net.hosts["server"].ip.counters
    assert len(listener_of(net).requests) == 0
    assert counters.tcp_syncookies_sent == FLOOD
    net.run(until=10)
    assert (knocked.result, served.result) == ("connected", b"x")
    net.close()


def test_a_guessed_cookie_is_a_reset() -> None:
    net, _, _ = flood(2)
    counters = net.hosts["server"].ip.counters
    resets = int(counters.tcp_out_rsts)
    guesses = [segment("198.51.100.1", 100 + n, SERVER, PORT, 5, 12_345 * n + 1, ACK) for n in range(100)]
    net.run(forge, guesses, on=net.hosts["attacker"])
    net.run(until=20)
    assert (counters.tcp_syncookies_failed, counters.tcp_out_rsts - resets) == (100, 100)
    assert connection_count(net) == 0
    net.close()


def connection_count(net: Network) -> int:
    return sum(len(row) for row in net.hosts["server"].tcp.tables.connections.values())


# Half-open connections, as many as the queue has room for, and no more.


def test_half_open_connections_make_room_when_they_are_old() -> None:
    net = network("sysctl -w net.ipv4.tcp_syncookies=0")
    served = net.start(net.hosts["server"], serve_one, background=True)
    net.start(net.hosts["attacker"], forge, syns(BACKLOG + 1))
    early = net.start(net.hosts["client"], knock, 3)
    late = net.start(net.hosts["client"], knock, 30)
    # The kernel, too: 17 for 7 s; then, since the queue is more than half full, the older ones have fewer retries, and
    # 8 are left; those go after the last of tcp_synack_retries, 1 + 2 + 4 + 8 + 16 + 32 s.
    for at, left in ((6.9, BACKLOG + 1), (7.2, 8), (29, 8)):
        net.run(until=at)
        assert (at, connection_count(net)) == (at, left)
    assert early.result == "timed out"
    net.run(until=62.9)
    assert (late.result, served.result) == ("connected", b"x")
    net.run(until=64)
    assert connection_count(net) == 0
    net.close()


def test_half_open_connections_cost_little_memory_and_no_socket() -> None:
    net = network("sysctl -w net.core.somaxconn=4096")
    net.start(net.hosts["server"], serve_one, 4096, background=True)
    net.start(net.hosts["attacker"], forge, syns(4000), every=50e-6)
    net.run(until=0.5)
    ends = [end for row in net.hosts["server"].tcp.tables.connections.values() for end in row.values()]
    assert len(ends) == 4000 and not any(isinstance(end, TcpSock) for end in ends)
    assert net.hosts["server"].ip.counters.tcp_passive_opens == 0
    net.close()


# Peers that do not read.


def say_much(linger: float) -> int:
    """Write until the buffer is full, then close."""
    with socket.create_server(("", PORT)) as listening:
        conn, _ = listening.accept()
    sent = 0
    conn.setblocking(False)
    try:
        while True:
            sent += conn.send(bytes(10_000))
    except BlockingIOError:
        time.sleep(linger)
        conn.close()
        return sent


def hear_nothing(seconds: float) -> None:
    sock = socket.create_connection((SERVER, PORT))
    time.sleep(seconds)
    sock.close()


def test_a_peer_that_never_reads_is_probed_for_as_long_as_it_answers() -> None:
    net = network()
    said = net.start(net.hosts["server"], say_much, 24 * 3600.0)
    net.start(net.hosts["client"], hear_nothing, 25 * 3600.0)
    net.run(until=3600)
    tcb = connection_of(net, "server")
    assert tcb.snd_wnd == 0 and tcb.unsent.size > 0
    assert tcb.write_seq - tcb.snd_una <= tcb.sndbuf  # the program was told to wait; nothing more is held
    segments = int(net.hosts["server"].ip.counters.tcp_out_segs)
    net.run(until=2 * 3600)
    assert connection_of(net, "server") is tcb
    # One probe in 120 s (TCP_RTO_MAX).
    assert 28 <= net.hosts["server"].ip.counters.tcp_out_segs - segments <= 31
    net.run(until=26 * 3600)
    assert said.result > 0
    net.close()


def test_nobody_waits_for_ever_for_a_peer_that_never_reads() -> None:
    """Once the program has gone, the stack gives up, though every probe is answered (tcp_orphan_retries)."""
    net = network()
    net.start(net.hosts["server"], say_much, 1.0)
    net.start(net.hosts["client"], hear_nothing, 1000.0)
    net.run(until=30)
    assert connection_count(net) == 1
    # As long as the intervals of its probes grow: 0.2 s, 0.4 s ... to 120 s.
    net.run(until=400)
    assert connection_count(net) == 0
    net.run()
    net.close()


# Fragments that overlap.


def fragments(ident: int, *pieces: tuple[int, bool, bytes]) -> list[bytes]:
    packets = []
    for offset, more, body in pieces:
        packet = Packet(AF_INET, parse_ipv4(CLIENT), parse_ipv4(SERVER), 17, body)
        packet.ident, packet.fragment_offset, packet.more_fragments = ident, offset, more
        packets.append(ipv4.encode(packet))
    return packets


def test_fragments_that_overlap_in_part_end_their_packet() -> None:
    def hear() -> list[bytes]:
        heard: list[bytes] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 9000))
            sock.settimeout(5)
            with contextlib.suppress(TimeoutError):
                while True:
                    heard.append(sock.recv(1000))
        return heard

    net = network()
    heard = net.start(net.hosts["server"], hear)
    datagram = (1).to_bytes(2, "big") + (9000).to_bytes(2, "big") + (64).to_bytes(2, "big") + bytes(2) + b"a" * 56
    packets = fragments(1, (0, True, datagram[:32]), (32, False, datagram[32:]))
    packets += fragments(2, (0, True, datagram[:32]), (24, False, b"B" * 8 + datagram[32:]))
    packets += fragments(3, (0, True, datagram[:32]), (8, True, b"B" * 8), (32, False, datagram[32:]))
    net.start(net.hosts["attacker"], forge, packets)
    net.run()
    counters = net.hosts["server"].ip.counters
    # The first packet, and the third, whose second fragment is covered by its first and left out; not the second.
    assert heard.result == [b"a" * 56, b"a" * 56]
    assert (counters.ip_reasm_oks, counters.ip_reasm_overlaps) == (2, 1)
    net.close()


# Guesses about a connection of others.


def talk(count: int) -> str:
    """A client that says something each 100 ms, and hears it again."""
    try:
        with socket.create_connection((SERVER, PORT)) as sock:
            for number in range(count):
                message = number.to_bytes(4, "big")
                sock.sendall(message)
                if sock.recv(4, socket.MSG_WAITALL) != message:
                    return "forged"
                time.sleep(0.1)
    except ConnectionResetError:
        return "reset"
    return "whole"


def echo() -> None:
    with socket.create_server(("", PORT)) as listening:
        conn, _ = listening.accept()
        with conn:
            try:
                while data := conn.recv(100):
                    conn.sendall(data)
            except ConnectionResetError:
                pass


def test_guessed_resets_provoke_challenges_and_end_nothing() -> None:
    net = network()
    net.start(net.hosts["server"], echo)
    talked = net.start(net.hosts["client"], talk, 100)
    net.run(until=1)
    tcb = connection_of(net, "server")
    rng = random.Random(1)
    numbers = [int(tcb.rcv_nxt + rng.randrange(1000, 60_000)) & 0xFFFF_FFFF for _ in range(1000)]
    guesses = [segment(CLIENT, int(tcb.remote_port), SERVER, PORT, number, 0, RST) for number in numbers]
    net.start(net.hosts["attacker"], forge, guesses, every=5e-3)
    net.run()
    assert talked.result == "whole"
    counters = net.hosts["server"].ip.counters
    # 5 s of guesses, one challenge in 500 ms (tcp_invalid_ratelimit). The client hears them as ACKs of nothing new.
    assert 9 <= counters.tcp_challenge_acks <= 11
    net.close()


def test_a_reset_with_the_right_number_is_believed() -> None:
    net = network()
    net.start(net.hosts["server"], echo, background=True)  # it never hears of it
    talked = net.start(net.hosts["client"], talk, 100)
    net.run(until=1.05)  # between two messages
    tcb = connection_of(net, "client")
    right = segment(SERVER, PORT, CLIENT, int(tcb.local_port), int(tcb.rcv_nxt) & 0xFFFF_FFFF, 0, RST)
    net.start(net.hosts["attacker"], forge, [right], CLIENT)
    net.run()
    assert talked.result == "reset"
    net.close()


def test_two_ends_that_were_put_out_of_step_do_not_answer_each_other_for_ever() -> None:
    """Data forged to both ends (Joncheray, 1995): each then acknowledges what the other has never sent."""
    net = network()
    net.start(net.hosts["server"], echo, background=True)
    net.start(net.hosts["client"], talk, 1000, background=True)
    net.run(until=1.05)
    server, client = connection_of(net, "server"), connection_of(net, "client")
    port = int(client.local_port)
    stamps = {"server": (server, CLIENT, port, SERVER, PORT), "client": (client, SERVER, PORT, CLIENT, port)}
    for tcb, src, sport, dst, dport in stamps.values():
        made = TcpSegment(
            AF_INET, parse_ipv4(src), parse_ipv4(dst), sport, dport, int(tcb.rcv_nxt) & 0xFFFF_FFFF,
            int(tcb.snd_nxt) & 0xFFFF_FFFF, ACK | PSH, 65_535, b"forged",
        )  # fmt: skip
        made.has_timestamps, made.ts_val, made.ts_ecr = True, tcb.ts_recent, tcb.timestamp()
        set_tcp_size(made)
        net.start(net.hosts["attacker"], forge, [ipv4.encode(made)], dst)
    net.run(until=1.1)
    before = [int(net.hosts[name].ip.counters.tcp_out_segs) for name in ("server", "client")]
    net.run(until=11.1)
    after = [int(net.hosts[name].ip.counters.tcp_out_segs) for name in ("server", "client")]
    # Ten seconds: retransmissions, and answers once in 500 ms; a storm would be one each 2 ms, 5,000.
    assert sum(after) - sum(before) < 80
    net.close()


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, RST | ACK, ACK | PSH])
def test_a_flood_of_segments_for_nobody_costs_nothing_that_stays(flags: int) -> None:
    net = network()
    net.start(net.hosts["server"], serve_one, background=True)
    packets = [segment("198.51.100.1", 1000 + n, SERVER, PORT, n, n, flags) for n in range(500)]
    net.run(forge, packets, on=net.hosts["attacker"])
    net.run(until=1)
    counters = net.hosts["server"].ip.counters
    assert connection_count(net) == 0
    # A RST for each, but never for a RST (RFC 9293, 3.5.2).
    assert counters.tcp_out_rsts == (0 if flags & RST else 500)
    assert counters.tcp_in_segs == 500
    net.close()


def test_what_claims_to_come_from_the_host_itself_is_dropped() -> None:
    """The LAND attack: a SYN from the server's own address and port would make it talk to itself."""
    net = network()
    net.start(net.hosts["server"], serve_one, background=True)
    net.run(forge, [segment(SERVER, PORT, SERVER, PORT, 1, 0, SYN)] * 10, on=net.hosts["attacker"])
    net.run(until=1)
    counters = net.hosts["server"].ip.counters
    assert (counters.ip_in_addr_errors, counters.tcp_in_segs, connection_count(net)) == (10, 0, 0)
    net.close()
