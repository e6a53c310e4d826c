"""What the interpreter says when a script and the stack differ: each message, in the tool's words.

A script here is a passive connection that is open, then what is given. Its lines are counted from 1 on for the first
line that is given.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lunar.packetdrill import options
from lunar.packetdrill.lunar_host import LunarHost
from lunar.packetdrill.parser import parse
from lunar.packetdrill.runner import Runner
from lunar.packetdrill.script import ScriptError

OPEN = (
    "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3 "
    "+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0 "
    "+0 bind(3, ..., ...) = 0 "
    "+0 listen(3, 1) = 0 "
    "+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7> "
    "+0 > S. 0:0(0) ack 1 <...> "
    "+.1 < . 1:1(0) ack 1 win 257 "
    "+0 accept(3, ..., ...) = 4 "
)


def run(text: str, prefix: str = OPEN) -> str:
    """The first thing that is wrong, "" for nothing."""
    script = parse(prefix + text, "x.pkt")
    settings = options.apply(options.default_settings(), script.options)
    backend = LunarHost(settings)
    try:
        Runner(script, settings, backend).run()
    except ScriptError as error:
        return str(error)
    finally:
        backend.close()
    return ""


def fails(text: str, prefix: str = OPEN) -> str:
    """The first line of what is wrong."""
    found = run(text, prefix)
    assert found, "the script passed"
    return found.partition("\n")[0]


# Packets


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("P. 2:1002(1000) ack 1", "live packet field tcp_seq: expected: 2 (0x2) vs actual: 1 (0x1)"),
        ("P. 1:1001(1000) ack 7", "live packet field tcp_ack_seq: expected: 7 (0x7) vs actual: 1 (0x1)"),
        (". 1:1001(1000) ack 1", "live packet field tcp_psh: expected: 0 (0x0) vs actual: 1 (0x1)"),
        ("P. 1:1001(1000) ack 1 urg 3", "live packet field tcp_urg_ptr: expected: 3 (0x3) vs actual: 0 (0x0)"),
        ("P. 1:501(500) ack 1", "live packet payload: expected 500 bytes vs actual 1000 bytes"),
        (
            "P. 1:1001(1000) ack 1 <nop,nop,TS val 1 ecr 2>",
            "live packet field ipv4_total_length: expected: 1052 (0x41c) vs actual: 1040 (0x410)",
        ),
        ("[ect0] P. 1:1001(1000) ack 1", "live packet field ip_ecn: expected: 2 (0x2) vs actual: 0 (0x0)"),
        ("(tos 0x10) P. 1:1001(1000) ack 1", "live packet field tos: expected: 16 (0x10) vs actual: 0 (0x0)"),
        ("[ttl 3] P. 1:1001(1000) ack 1", "live packet field ttl: expected: 3 (0x3) vs actual: 64 (0x40)"),
    ],
)
def test_a_field_that_differs(expected: str, told: str) -> None:
    assert fails(f"+.1 write(4, ..., 1000) = 1000\n+0 > {expected}") == f"x.pkt:2: error handling packet: {told}"


def test_both_packets_are_shown() -> None:
    found = run("+.1 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1 win 10").splitlines()
    window = found[0].rpartition("actual: ")[2].partition(" ")[0]
    assert found == [
        f"x.pkt:2: error handling packet: live packet field tcp_window: expected: 10 (0xa) vs actual: {window} "
        f"({int(window):#x})",
        "script packet:  0.200000 P. 1:1001(1000) ack 1 win 10 ",
        f"actual packet:  0.200000 P. 1:1001(1000) ack 1 win {window} ",
    ]


def test_an_option_that_differs() -> None:
    begin = OPEN.partition("+0 > S.")[0]
    assert fails("+0 > S. 0:0(0) ack 1 <mss 1400,nop,nop,sackOK,nop,wscale 10>", begin) == (
        "x.pkt:1: error handling packet: bad value in outbound TCP option (kind=2): expected: mss 1400 actual: mss 1460"
    )
    assert fails("+0 > S. 0:0(0) ack 1 <mss 1460,sackOK,nop,nop,nop,wscale 10>", begin) == (
        "x.pkt:1: error handling packet: bad outbound TCP options: expected: "
        "<mss 1460,sackOK,nop,nop,nop,wscale 10> actual: <mss 1460,nop,nop,sackOK,nop,wscale 10>"
    )


def test_a_packet_that_does_not_come() -> None:
    assert fails("+.1 > P. 1:1001(1000) ack 1") == "x.pkt:1: error handling packet: Timed out waiting for packet"


def test_a_packet_at_another_time() -> None:
    write = "+.1 write(4, ..., 1000) = 1000\n"
    assert fails(write + "+.1 > P. 1:1001(1000) ack 1") == (
        "x.pkt:2: error handling packet: timing error: expected outbound packet at 0.300000 sec but happened at "
        "0.200000 sec; tolerance 0.012500 sec"
    )
    assert fails(write + "+.3~+.4 > P. 1:1001(1000) ack 1") == (
        "x.pkt:2: error handling packet: timing error: expected outbound packet in relative time range "
        "+0.300000~+0.400000 sec but happened at +0.000000 sec"
    )
    assert fails(write + "0.1~0.15 > P. 1:1001(1000) ack 1") == (
        "x.pkt:2: error handling packet: timing error: expected outbound packet in time range 0.100000~0.150000 sec "
        "but happened at 0.200000 sec"
    )


def test_the_tolerance() -> None:
    # 4 ms, or an eighth of the time since the event before; the option is the least.
    write = "+.1 write(4, ..., 1000) = 1000\n"
    assert run(write + "+.004 > P. 1:1001(1000) ack 1") == ""
    assert run(write + "+.005 > P. 1:1001(1000) ack 1") != ""
    assert run(write + "+.005 > P. 1:1001(1000) ack 1", "--tolerance_usecs=5000\n" + OPEN) == ""


WITH_TIMESTAMPS = OPEN.replace("sackOK,nop,nop", "sackOK,TS val 100 ecr 0").replace(
    "<...>", "<mss 1460,sackOK,TS val 700 ecr 100,nop,wscale 10>"
).replace("ack 1 win 257", "ack 1 win 257 <nop,nop,TS val 200 ecr 700>")


def test_timestamps() -> None:
    write = "+.1 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1 <nop,nop,TS val {} ecr {}>"
    ticks = "--tcp_ts_tick_usecs=1000\n" + WITH_TIMESTAMPS
    # Without ticks a value is only learned.
    assert run(write.format(5, 200), WITH_TIMESTAMPS) == ""
    assert run(write.format(900, 200), ticks) == ""
    # Within an eighth of the 200 ms that have passed; 25 ms.
    assert run(write.format(920, 200), ticks) == ""
    assert fails(write.format(950, 200), ticks) == (
        "x.pkt:3: error handling packet: bad outbound TCP timestamp value, tolerance 25000"
    )
    assert fails(write.format(900, 201), WITH_TIMESTAMPS) == (
        "x.pkt:2: error handling packet: bad outbound TCP timestamp ecr: expected: 201 actual: 200"
    )


def test_an_echo_of_what_was_not_sent() -> None:
    echo = "+.1 < . 1:1(0) ack 1 win 257 <nop,nop,TS val 300 ecr 777>"
    assert fails(echo, WITH_TIMESTAMPS) == (
        "x.pkt:1: error handling packet: unable to infer live TS ecr for script TS ecr 777;  "
        "no matching or preceding outbound TS val"
    )
    assert run(echo, "--tcp_ts_ecr_scaled\n" + WITH_TIMESTAMPS) == ""


def test_segments_are_put_together() -> None:
    # Two segments of 1000 are what the script calls 2000, unless it is to be strict.
    text = "+.1 write(4, ..., 1000) = 1000\n+0 write(4, ..., 1000) = 1000\n+0 > P. 1:2001(2000) ack 1"
    off = "`ethtool -K tun0 gso off tso off`\n"
    assert run(text, off + OPEN) == ""
    assert fails(text, "--strict_segments\n" + off + OPEN) == (
        "x.pkt:5: error handling packet: live packet payload: expected 2000 bytes vs actual 1000 bytes"
    )


def test_segments_that_do_not_make_it() -> None:
    found = run(
        "+.1 write(4, ..., 1000) = 1000\n+0 write(4, ..., 500) = 500\n+0 > P. 1:3001(3000) ack 1",
        OPEN + "+0 setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 4) = 0 ",
    ).splitlines()
    assert found[0] == (
        "x.pkt:3: error handling packet: fragment payload: expected 1000 bytes vs actual 500 bytes; "
        "total payload: expected 3000 bytes vs actual 1500 bytes"
    )
    assert [line.partition(":")[0].strip() for line in found[1:]] == [
        "script packet", "actual #0 packet", "actual #1 packet",
    ]  # fmt: skip


def test_packets_that_no_event_expects_are_not_looked_at() -> None:
    assert run("+.1 write(4, ..., 1000) = 1000\n") == ""


def test_what_is_not_supported_is_named() -> None:
    assert fails("+0 > gre: . 1:1(0) ack 1") == "x.pkt:1: error handling packet: gre headers are not supported"
    assert fails("+0 < icmp nonsense") == "x.pkt:1: error handling packet: unknown ICMP type: 'nonsense'"
    assert fails("+0 < icmp unreachable nonsense") == "x.pkt:1: error handling packet: unknown ICMP code: 'nonsense'"


def test_a_packet_for_nobody() -> None:
    assert fails("0 < . 1:1(0) ack 1 win 1", "") == (
        "x.pkt:1: error handling packet: no connection for this packet: no SYN came before it"
    )


# Calls

NONBLOCKING = "+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0 "


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            NONBLOCKING + "+0 read(4, ..., 1000) = 1000",
            "read call: Expected result 1000 but got -1 with errno 11 (Resource temporarily unavailable)",
        ),
        (
            NONBLOCKING + "+0 read(4, ..., 1000) = -1 EPIPE (Broken pipe)",
            "read call: Expected errno 32 (Broken pipe) but got 11 (Resource temporarily unavailable)",
        ),
        ("+0 write(4, ..., 10) = 5", "write call: Expected result 5 but got 10"),
        ("+0 write(4, ..., 10) = -1", "write call: Expected result -1 but got 10"),
        (
            "+0 socket(..., SOCK_STREAM, IPPROTO_UDP) = 3",
            "socket call: Expected non-negative result but got -1 with errno 93 (Protocol not supported)",
        ),
        (
            "+0 socket(..., SOCK_STREAM, IPPROTO_UDP) = -99",
            "socket call: Expected result -99 but got -1 with errno 93 (Protocol not supported)",
        ),
        (
            "+0 getsockopt(3, SOL_SOCKET, SO_REUSEADDR, [7], [4]) = 0",
            "getsockopt call: Bad getsockopt optval: expected: 7 actual: 1",
        ),
        ("+0 ioctl(4, SIOCINQ, [1000]) = 0", "ioctl call: Bad ioctl optval: expected: 1000 actual: 0"),
        (
            "+0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLIN}], 1, 0) = 1",
            "poll call: Expected revents of POLLIN but got POLLOUT for pollfd 0",
        ),
        (
            "+0 epoll_create(1) = 5 +0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLOUT, fd=4}) = 0 "
            "+0 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 0) = 1",
            "epoll_wait call: epoll_event->events does not match script: expected: 0x1 actual: 0x4",
        ),
        (
            "+0 < . 1:1001(1000) ack 1 win 257 "
            "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 1000}], msg_flags=MSG_TRUNC}, 0) = 1000",
            "recvmsg call: Expected msg_flags 0x00000020 but got 0x00000000",
        ),
        ("+0 foo(3) = 3", "foo call: Unknown system call: 'foo'"),
        ("+0 write(4, ..., FOO) = 1000", "write call: unknown symbol: 'FOO'"),
        ("+0 write(4) = 1000", "write call: bad arguments: expected 3 of them, and there are 1"),
        ("+0 close(4, 5) = 0", "close call: bad arguments: expected 1 of them, and there are 2"),
        ("+0 fcntl(4) = 0", "fcntl call: bad arguments: expected 2 or 3 of them, and there are 1"),
        ("+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [0], []) = 0", "getsockopt call: bad arguments: too few"),
        (
            "+0 write(4, ..., 99999999999999) = 0",
            "write call: bad arguments: so many bytes are more than the machine's memory",
        ),
    ],
)
def test_a_call_that_does_otherwise(text: str, told: str) -> None:
    assert fails(text) == f"x.pkt:1: runtime error in {told}"


def test_code_that_exits_has_failed() -> None:
    assert fails("+0 %{ raise SystemExit }%") == "x.pkt:1: error in Python code: SystemExit"


def test_time_does_not_go_back() -> None:
    assert fails("1 `true`\n+1 `true`\n.5 `true`") == (
        "x.pkt:3: semantic error: its time, 0.500000 sec, lies before that of an event above it, 1.000000 sec"
    )


def test_a_header_has_room_for_so_many_options() -> None:
    assert fails(f"+0 < . 1:1(0) ack 1 win 9 <{','.join(['nop'] * 44)}>") == (
        "x.pkt:1: error handling packet: its options take 44 bytes, and a header has room for 40"
    )


def test_an_errno_that_is_not_said_is_any() -> None:
    assert run("+0 socket(..., SOCK_STREAM, IPPROTO_UDP) = -1") == ""


def test_a_call_that_blocks_for_too_long() -> None:
    assert fails("+0...0.2 read(4, ..., 1000) = 1000\n+.3 < . 1:1001(1000) ack 1 win 257") == (
        "x.pkt:1: timing error: expected system call return at 0.300000 sec but happened at 0.400000 sec; "
        "tolerance 0.025000 sec"
    )


def test_a_call_that_does_not_block_long_enough() -> None:
    assert fails("+0...0.2 read(4, ..., 1000) = 1000\n+.01 < . 1:1001(1000) ack 1 win 257") == (
        "x.pkt:1: timing error: expected system call return at 0.300000 sec but happened at 0.110000 sec; "
        "tolerance 0.025000 sec"
    )


def test_a_call_that_blocks_for_ever() -> None:
    assert fails("+0...0.2 read(4, ..., 1000) = 1000") == (
        "x.pkt:1: timing error: expected system call return at 0.300000 sec but it blocks still at 1.300000 sec"
    )
    assert fails("+0 read(4, ..., 1000) = 1000") == (
        "x.pkt:1: runtime error in read call: it blocks, and nothing that is to come here can wake it"
    )


# Command lines and code


def test_command_lines() -> None:
    assert fails("+0 `false`") == "x.pkt:1: error executing `false` command: non-zero status 1"
    assert run("+0 `false; true`") == ""
    assert fails("+0 `frobnicate x; true`").startswith('x.pkt:1: there is no command "frobnicate" here')


def test_code() -> None:
    assert run("+0 %{ assert tcpi_state == TCP_ESTABLISHED }%") == ""
    assert fails("+.1 %{ assert tcpi_state == 99, tcpi_state }%") == "x.pkt:1: error in Python code: AssertionError: 1"
    assert fails("+0 %{\nx = 1\nassert x == 2, 'no'\n}%") == (
        "x.pkt:1: error in Python code: AssertionError: no (line 3)"
    )
    assert fails("+0 %{ nonsense( }%").startswith("x.pkt:1: error in Python code: SyntaxError")


def test_names_of_code_last() -> None:
    assert run("+0 %{ before = tcpi_snd_cwnd }% +0 %{ assert before == tcpi_snd_cwnd }%") == ""


def test_the_cleanup_is_done_after_a_failure(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    assert "Timed out" in fails(f"+0 > . 1:1(0) ack 1 `rm {mark}`")
    assert not mark.exists()
