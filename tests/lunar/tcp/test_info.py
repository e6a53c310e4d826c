"""TCP_INFO: the structure's layout, and what its counters count."""

from __future__ import annotations

import struct

import pytest
from tcp_scenario import ACK, FIN, LOCAL, MSS, PSH, REMOTE, RST, Scenario, established, ms, s, server

from lunar.sockets.options import IPPROTO_TCP, get_bytes, getsockopt
from lunar.sockets.tcp_options import TCP_INFO
from lunar.tcp.info import LAYOUT


def fields(t: Scenario) -> dict[str, int]:
    return t.sock.info().fields()


def test_the_structure_is_that_of_linux_6_18() -> None:
    packed = established().sock.info().pack()
    # linux/tcp.h: eight bytes, 24 words, four double words ...; nothing is padded.
    assert len(packed) == 280 == struct.calcsize("<8B24I4Q6I4Q2I2Q6I2HI7I2H")


@pytest.mark.parametrize(
    ("offset", "code", "name"),
    [
        (0, "B", "tcpi_state"),
        (5, "B", "tcpi_options"),
        (8, "I", "tcpi_rto"),
        (68, "I", "tcpi_rtt"),
        (80, "I", "tcpi_snd_cwnd"),
        (104, "Q", "tcpi_pacing_rate"),
        (120, "Q", "tcpi_bytes_acked"),
        (136, "I", "tcpi_segs_out"),
        (168, "Q", "tcpi_busy_time"),
        (200, "Q", "tcpi_bytes_sent"),
        (228, "I", "tcpi_snd_wnd"),
        (232, "I", "tcpi_rcv_wnd"),
        (244, "I", "tcpi_total_rto_time"),
        (278, "H", "tcpi_accecn_opt_seen"),
    ],
)
def test_where_a_field_is(offset: int, code: str, name: str) -> None:
    t = established(timestamps=True, wscale=7)
    t.write(b"x" * 100)
    info = t.sock.info()
    assert struct.unpack_from("<" + code, info.pack(), offset)[0] == info.fields()[name]


def test_both_window_scales_share_a_byte() -> None:
    t = established(wscale=3)
    assert t.sock.info().pack()[6] == t.sock.info().rcv_wscale << 4 | 3


def test_a_program_gets_as_much_of_it_as_it_asks_for() -> None:
    sock = established().sock
    assert get_bytes(sock, IPPROTO_TCP, TCP_INFO, 1024) == sock.info().pack()
    assert get_bytes(sock, IPPROTO_TCP, TCP_INFO, 3) == sock.info().pack()[:3]
    assert getsockopt(sock, IPPROTO_TCP, TCP_INFO) < 0  # it is no integer


def test_every_field_has_a_name_of_its_own() -> None:
    assert len({field.name for field in LAYOUT}) == len(LAYOUT) == len(established().sock.info().fields())


def test_times_are_microseconds_or_milliseconds() -> None:
    t = established(rtt=ms(100))
    t.run(ms(250))
    got = fields(t)
    assert (got["tcpi_rtt"], got["tcpi_rttvar"], got["tcpi_rto"]) == (100_000, 50_000, 300_000)
    assert (got["tcpi_last_data_sent"], got["tcpi_last_data_recv"], got["tcpi_last_ack_recv"]) == (250, 250, 250)


def test_segments_and_bytes_are_counted_both_ways() -> None:
    t = established()
    # The SYN and the handshake's ACK went out, the SYN-ACK came in; Linux counts the SYN among the acknowledged.
    assert (fields(t)["tcpi_segs_out"], fields(t)["tcpi_segs_in"], fields(t)["tcpi_bytes_acked"]) == (2, 1, 1)
    t.write(b"x" * (MSS + 100))
    t.gets(at=ms(10), ack=LOCAL + 1 + MSS + 100, data=b"answer")
    got = fields(t)
    assert (got["tcpi_data_segs_out"], got["tcpi_bytes_sent"], got["tcpi_bytes_acked"]) == (2, MSS + 100, MSS + 101)
    assert (got["tcpi_segs_in"], got["tcpi_data_segs_in"], got["tcpi_bytes_received"]) == (2, 1, 6)
    t.gets(at=ms(20), seq=REMOTE + 7, flags=FIN | ACK)
    assert fields(t)["tcpi_bytes_received"] == 7  # as Linux, with the FIN


def test_what_is_sent_again_is_counted_twice() -> None:
    t = established()
    t.write(b"x" * 500)
    t.run(s(1))
    got = fields(t)
    assert got["tcpi_total_retrans"] > 0
    assert got["tcpi_bytes_retrans"] == 500 * got["tcpi_total_retrans"]
    assert got["tcpi_bytes_sent"] == 500 + got["tcpi_bytes_retrans"]


def test_a_listener_tells_of_its_queue() -> None:
    t = server(backlog=3)
    info = t.sock.info()
    got = info.fields()
    assert (got["tcpi_state"], got["tcpi_unacked"], got["tcpi_sacked"]) == (10, 0, 3)
    assert got["tcpi_pacing_rate"] == (1 << 64) - 1
    assert got["tcpi_rto"] == got["tcpi_snd_mss"] == 0


def test_a_new_socket_knows_nothing() -> None:
    got = Scenario().tcp.create(2).info().fields()
    assert (got["tcpi_state"], got["tcpi_rto"], got["tcpi_rttvar"], got["tcpi_min_rtt"]) == (
        7, 1_000_000, 250_000, 0xFFFF_FFFF,
    )  # fmt: skip


# What keeps the sender from sending.


def test_a_connection_is_busy_until_all_is_acknowledged() -> None:
    t = established()
    t.write(b"x" * 100)
    t.run(ms(30))
    assert fields(t)["tcpi_busy_time"] == 30_000
    t.gets(at=ms(40), ack=LOCAL + 101)
    t.run(ms(90))
    assert fields(t)["tcpi_busy_time"] == 40_000
    t.sock.shutdown(1)  # a FIN wants to be acknowledged, too
    t.run(ms(95))
    assert fields(t)["tcpi_busy_time"] == 45_000


def test_a_connection_that_is_over_is_not_busy() -> None:
    t = established()
    t.write(b"x" * 100)
    t.gets(at=ms(30), flags=RST)
    t.run(s(10))
    assert fields(t)["tcpi_busy_time"] == 30_000


def test_the_time_that_the_peers_window_costs() -> None:
    t = established(window=1000)
    t.write(b"x" * 3000)
    assert t.sends(at=0).payload == b"x" * 500  # half of the window
    t.run(ms(20))
    assert fields(t)["tcpi_rwnd_limited"] == 20_000
    t.gets(at=ms(20), ack=LOCAL + 1001, window=10_000)
    t.run(ms(50))
    got = fields(t)
    assert (got["tcpi_rwnd_limited"], got["tcpi_busy_time"]) == (20_000, 50_000)


def test_the_time_that_a_full_send_buffer_costs() -> None:
    t = established(window=3000)
    t.sock.sndbuf = 4 * MSS
    t.sock.sndbuf_locked = True
    assert t.write(b"x" * 10 * MSS) == 3 * MSS  # with 832 bytes for each record; the window takes two of them
    t.gets(at=ms(10), ack=LOCAL + 1 + MSS, window=3000)  # all has gone out, and the program waits for room
    t.run(ms(20))
    assert fields(t)["tcpi_sndbuf_limited"] == 10_000
    t.gets(at=ms(20), ack=LOCAL + 1 + 3 * MSS, window=3000)
    t.write(b"x" * MSS)
    t.run(ms(35))
    got = fields(t)
    assert (got["tcpi_sndbuf_limited"], got["tcpi_rwnd_limited"], got["tcpi_busy_time"]) == (10_000, 10_000, 35_000)


def test_what_came_out_of_order_is_counted() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 11, data=b"later", flags=ACK | PSH)
    assert fields(t)["tcpi_rcv_ooopack"] == 1
