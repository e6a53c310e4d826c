"""Urgent data: the pointer on the wire, the byte out of the stream, the mark."""

from __future__ import annotations

import errno

from tcp_scenario import ACK, FIN, LOCAL, MSS, PSH, REMOTE, Scenario, established, ms

from lunar.net.sock import POLLIN, POLLOUT, POLLPRI
from lunar.packet import URG

# Sending.


def test_the_pointer_names_what_follows_the_last_byte() -> None:
    t = established()
    assert t.sock.send(b"abc", False, True) == 3
    t.sends(at=0, seq=LOCAL + 1, data=b"abc", flags=ACK | PSH | URG, urgent=3)


def test_segments_after_the_urgent_byte_do_not_point_back() -> None:
    t = established()
    t.sock.send(b"!", False, True)
    t.sends(at=0, data=b"!", flags=ACK | PSH | URG)
    t.sock.send(b"x" * MSS, False)
    t.sends(at=0, seq=LOCAL + 2, size=MSS, flags=ACK | PSH, urgent=0)


def test_segments_before_it_point_ahead() -> None:
    t = established(window=MSS)
    t.sock.send(b"x" * (2 * MSS - 1) + b"!", False, True)
    t.sends(at=0, size=MSS // 2, flags=ACK | URG, urgent=2 * MSS)  # half of the peer's window is a full segment
    t.sends(at=0, size=MSS // 2, flags=ACK | URG, urgent=2 * MSS - MSS // 2)


def test_what_is_urgent_is_not_held_by_nagle_or_a_cork() -> None:
    t = established()
    t.write(b"a")
    t.sends(at=0, data=b"a")
    t.write(b"b")
    t.sends_nothing(until=ms(1))  # Nagle: a small segment is unacknowledged
    t.sock.send(b"!", True, True)
    t.sends(at=ms(1), data=b"b!", flags=ACK | URG, urgent=2)  # more is to come: no PSH


def test_urgent_mode_ends_with_the_acknowledgment() -> None:
    t = established()
    t.sock.send(b"!", False, True)
    t.sends(at=0, data=b"!")
    t.gets(at=ms(10), ack=LOCAL + 2)
    t.write(b"a")
    t.sends(at=ms(10), data=b"a", flags=ACK | PSH, urgent=0)


def test_a_retransmission_points_as_well() -> None:
    t = established()
    t.sock.send(b"ab!", False, True)
    t.sends(at=0, data=b"ab!", urgent=3)
    t.sends(at=ms(300), data=b"ab!", flags=ACK | PSH | URG, urgent=3)


def test_a_closed_window_does_not_keep_the_pointer() -> None:
    t = established(window=0)
    t.sock.send(b"ab!", False, True)
    t.sends(at=ms(300), seq=LOCAL + 1, data=b"", flags=ACK | URG, urgent=3)
    t.sends(at=ms(300), seq=LOCAL, data=b"", flags=ACK | URG, urgent=4)


def test_a_pointer_that_is_too_far_goes_as_far_as_it_can() -> None:
    t = established(window=30, wscale=14)
    t.gets(at=0, window=30)  # the SYN-ACK's window was not scaled; this one is 30 * 16384 bytes
    t.sock.sndbuf = 400_000
    t.sock.send(b"x" * 100_000, False, True)
    first = t.sends(at=0, size=MSS)
    assert first.flags & URG and first.urgent == 0xFFFF


# Receiving.


def test_the_urgent_byte_is_taken_out_of_the_stream() -> None:
    t = established()
    t.gets(at=0, data=b"abc!", flags=ACK | PSH | URG, urgent=4)
    assert t.woken == [POLLIN | POLLPRI]
    assert t.read() == b"abc"
    assert t.sock.at_mark()
    assert t.sock.recv_urgent(1, True) == b"!"
    assert t.sock.recv_urgent(1, False) == b"!"
    assert t.sock.recv_urgent(1, False) is None and t.sock.recv_errno == errno.EINVAL
    assert t.read() is None and t.sock.recv_errno == errno.EAGAIN


def test_reading_stops_at_the_mark_once() -> None:
    t = established()
    t.gets(at=0, data=b"ab!cd", flags=ACK | PSH | URG, urgent=3)
    assert t.read() == b"ab"
    assert t.read() == b"cd"
    assert not t.sock.at_mark()
    assert t.sock.recv_urgent(1, False) is None and t.sock.recv_errno == errno.EINVAL  # read past: it is lost


def test_inline_the_byte_stays_where_it_is() -> None:
    t = established()
    t.sock.oob_inline = True
    t.gets(at=0, data=b"ab!cd", flags=ACK | PSH | URG, urgent=3)
    assert t.sock.recv_urgent(1, False) is None and t.sock.recv_errno == errno.EINVAL
    assert t.read() == b"ab"
    assert t.sock.at_mark()
    assert t.read() == b"!cd"


def test_the_pointer_may_come_before_its_byte() -> None:
    t = established()
    called: list[int] = []
    t.sock.on_urgent = lambda: called.append(t.now)
    t.gets(at=0, data=b"ab", flags=ACK | URG, urgent=5)
    assert called == [0]
    assert t.sock.poll() == POLLIN | POLLOUT
    assert t.sock.recv_urgent(1, False) is None and t.sock.recv_errno == errno.EAGAIN
    t.gets(at=ms(1), seq=REMOTE + 3, data=b"cd!e")  # without a flag of its own
    assert t.sock.poll() == POLLIN | POLLOUT | POLLPRI
    assert t.sock.recv_urgent(1, False) == b"!"
    assert called == [0]
    assert t.read() == b"abcd"
    assert t.read() == b"e"


def test_the_urgent_byte_overtakes_a_hole() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 4, data=b"!", flags=ACK | URG, urgent=1)
    assert t.sock.recv_urgent(1, False) == b"!"
    assert t.read() is None
    t.gets(at=ms(1), seq=REMOTE + 1, data=b"abc")
    assert t.read() == b"abc"
    assert t.sock.at_mark()


def test_a_pointer_to_what_was_received_is_no_news() -> None:
    t = established()
    t.gets(at=0, data=b"abc")
    t.gets(at=ms(1), data=b"abc", flags=ACK | URG, urgent=3)  # the same segment again, urgent by now
    assert not t.sock.at_mark()
    assert t.sock.recv_urgent(1, False) is None and t.sock.recv_errno == errno.EINVAL
    assert t.read() == b"abc"


def test_a_second_mark_takes_the_place_of_the_first() -> None:
    t = established()
    t.gets(at=0, data=b"a!b", flags=ACK | URG, urgent=2)
    t.gets(at=0, seq=REMOTE + 4, data=b"c?d", flags=ACK | URG, urgent=2)
    assert t.sock.recv_urgent(1, False) == b"?"
    assert t.read() == b"a!bc"  # the first urgent byte is ordinary again
    assert t.read() == b"d"


def test_stdurg_reads_the_pointer_as_rfc_1122_does() -> None:
    t = established()
    t.host.ip.tcp_stdurg = True
    t.gets(at=0, data=b"ab!c", flags=ACK | PSH | URG, urgent=2)
    assert t.sock.recv_urgent(1, False) == b"!"
    assert t.read() == b"ab"


def test_nothing_but_the_urgent_byte_is_no_input() -> None:
    t = established()
    t.gets(at=0, data=b"!", flags=ACK | PSH | URG, urgent=1)
    assert t.sock.poll() == POLLOUT | POLLPRI
    assert not t.sock.has_input()
    t.gets(at=ms(1), seq=REMOTE + 2, data=b"a")
    assert t.sock.poll() == POLLIN | POLLOUT | POLLPRI
    assert t.sock.recv(10, True) == b"a"  # a look does not go past the mark
    assert t.sock.poll() & POLLPRI
    assert t.read() == b"a"
    assert t.sock.poll() == POLLOUT


def test_after_the_end_of_the_stream() -> None:
    t = established()
    t.gets(at=0, data=b"ab!", flags=ACK | FIN | URG, urgent=3)
    assert t.read() == b"ab"
    assert t.sock.at_mark()
    assert t.read() == b""
    t = established()
    t.gets(at=0, data=b"", flags=ACK | FIN | URG, urgent=3)
    assert t.sock.recv_urgent(1, False) == b""  # it never will come


def test_no_mark_no_urgent_data() -> None:
    t = Scenario()
    assert t.tcp.create(2).recv_urgent(1, False) is None
    t = established()
    assert t.sock.recv_urgent(1, False) is None and t.sock.recv_errno == errno.EINVAL
