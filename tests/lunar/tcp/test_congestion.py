"""The interface of congestion control: names, the host's default, when each hook is called, cwnd validation."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

import pytest
from tcp_scenario import LOCAL, MSS, Scenario, established, ms, s, server

import lunar
from lunar.sockets import tcp_options
from lunar.tcp import sockopt
from lunar.tcp.congestion import CongestionControl, cwnd, registry
from lunar.tcp.congestion.control import COMPLETE_CWR, CWND_RESTART, TIMEOUT, TX_START
from lunar.tcp.congestion.reno import Reno
from lunar.tcp.congestion.windowed import WindowedMin
from lunar.tcp.loss.rate import Sample
from lunar.tcp.tcb import LOSS, OPEN, RECOVERY, Tcb

D = LOCAL + 1


class Noting(Reno):
    """Reno that notes what it is asked."""

    name = "noting"

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[object] = []

    def start(self, tcb: Tcb) -> None:
        self.notes.append("start")

    def stop(self, tcb: Tcb) -> None:
        self.notes.append("stop")

    def on_sample(self, tcb: Tcb, sample: Sample) -> None:
        self.notes.append(("sample", int(sample.acked), int(sample.rtt_ns)))

    def on_ack(self, tcb: Tcb, acked: int) -> None:
        self.notes.append(("ack", int(acked)))

    def on_loss(self, tcb: Tcb) -> int:
        self.notes.append("loss")
        return 5

    def on_state(self, tcb: Tcb, state: int) -> None:
        self.notes.append(("state", int(state)))

    def on_event(self, tcb: Tcb, event: int) -> None:
        self.notes.append(("event", int(event)))

    def taken(self) -> list[object]:
        notes, self.notes = self.notes, []
        return notes


def noting() -> tuple[Scenario, Noting]:
    """A connection opened with it, with 10 segments in flight since 0 and more to send."""
    t = Scenario()
    t.tcp.congestion = Noting
    sock = t.connect()
    t.start = ms(100)
    t.forget()
    t.gets(at=0, seq=9_000_000, ack=D, flags=0x12, mss=1460, window_scale=10)
    t.forget()
    algorithm = sock.congestion
    assert isinstance(algorithm, Noting)
    assert algorithm.taken()[-1] == "start"
    t.gets(at=0)
    sock.sndbuf = 4_000_000
    t.write(b"x" * 100 * MSS)
    assert t.forget() == 10
    return t, algorithm


# Hooks.


def test_data_after_silence_begins_a_transmission() -> None:
    _, algorithm = noting()
    assert algorithm.taken() == [("event", TX_START)]


def test_each_ack_is_a_sample_and_then_growth() -> None:
    t, algorithm = noting()
    algorithm.taken()
    t.gets(at=ms(70), ack=D + 3 * MSS)
    assert algorithm.taken() == [("sample", 3, ms(70)), ("ack", 3)]


def test_recovery_asks_for_ssthresh_and_ends_with_complete_cwr() -> None:
    t, algorithm = noting()
    algorithm.taken()
    for _ in range(3):
        t.gets(at=ms(70))
    notes = algorithm.taken()
    assert notes.index("loss") < notes.index(("state", RECOVERY))
    assert t.sock.ssthresh == 5
    assert not [note for note in notes if note[:1] == ("ack",)]
    recover = int(t.sock.snd_nxt) - t.iss + LOCAL
    t.gets(at=ms(140), ack=recover)
    t.gets(at=ms(210), ack=recover + MSS)  # without SACK, it ends when something above is acknowledged
    notes = algorithm.taken()
    assert ("state", OPEN) in notes and ("event", COMPLETE_CWR) in notes


def test_timeout_is_an_event_and_a_state() -> None:
    t, algorithm = noting()
    t.run(ms(299))
    algorithm.taken()
    t.run(s(1))
    notes = algorithm.taken()
    assert notes.index("loss") < notes.index(("event", TIMEOUT)) < notes.index(("state", LOSS))


def test_idle_restart_is_told() -> None:
    t, algorithm = noting()
    t.gets(at=ms(70), ack=int(t.sock.snd_nxt) - t.iss + LOCAL)
    while t.sock.has_unsent() or t.sock.packets_out:
        t.gets(at=t.now + ms(70), ack=int(t.sock.snd_nxt) - t.iss + LOCAL)
    algorithm.taken()
    t.run(t.now + s(2))
    t.write(b"x")
    assert algorithm.taken() == [("event", CWND_RESTART), ("event", TX_START)]


def test_end_of_the_connection_is_told_once() -> None:
    t, algorithm = noting()
    algorithm.taken()
    t.gets(at=ms(1), flags=0x14)
    assert [note for note in algorithm.taken() if note == "stop"] == ["stop"]


# Names.


@pytest.mark.parametrize("name", ["reno", "cubic", "bbr", "dctcp", "vegas"])
def test_each_algorithm_can_be_subclassed(name: str) -> None:
    """Compiled, too: the class says so."""

    class Own(lunar.congestion_control(name)):  # type: ignore[misc]
        def on_loss(self, tcb: Tcb) -> int:
            return 3

    t = established()
    sockopt.set_congestion(t.sock, Own)
    assert t.sock.congestion.on_loss(t.sock) == 3 and t.sock.congestion.name == name


def test_names_are_found_and_given() -> None:
    assert registry.names()[:5] == ["reno", "cubic", "bbr", "dctcp", "vegas"]
    assert lunar.congestion_control("cubic").name == "cubic"
    with pytest.raises(LookupError, match="no congestion control is named"):
        lunar.congestion_control("tahoe")
    assert lunar.register_congestion_control(Noting) is Noting
    try:
        assert lunar.congestion_control("noting") is Noting
    finally:
        del registry._classes["noting"]


@pytest.mark.parametrize("name", ["", "a name", "sixteen_letters_", "größe", "a\nb"])
def test_name_that_the_option_cannot_carry_is_refused(name: str) -> None:
    kind = type("Bad", (CongestionControl,), {"name": name})
    with pytest.raises(ValueError, match=r"Bad\.name is"):
        lunar.register_congestion_control(kind)


def test_what_is_no_algorithm_is_refused_when_it_is_registered() -> None:
    def ends(self: object, tcb: object) -> int:
        return 2

    def grows(self: object, tcb: object, acked: int) -> None:
        pass

    with pytest.raises(TypeError, match=r"^5 is not a subclass of lunar\.CongestionControl$"):
        lunar.register_congestion_control(5)
    with pytest.raises(TypeError, match="is not a subclass"):
        lunar.register_congestion_control(Noting())
    for methods, missing in (({"on_loss": ends}, "on_ack"), ({"on_ack": grows}, "on_loss")):
        with pytest.raises(TypeError, match=f"^Half has no {missing}; "):
            lunar.register_congestion_control(type("Half", (CongestionControl,), {"name": "half", **methods}))
    # What sets cwnd in `control` is not asked to grow.
    whole = {"name": "whole", "full_control": True, "on_loss": ends, "control": grows}
    lunar.register_congestion_control(type("Whole", (CongestionControl,), whole))
    del registry._classes["whole"]
    assert "half" not in registry.names()


def test_sysctl_sets_the_default_of_new_sockets() -> None:
    with lunar.Network() as net:
        host = net.host("host", "10.0.0.1/24")
        assert host.sysctl("net.ipv4.tcp_congestion_control") == ("cubic",)
        host.sh("sysctl -w net.ipv4.tcp_congestion_control=vegas")
        assert host.tcp.create(2).congestion.name == "vegas"
        # Who is the default may be chosen by all.
        assert host.sh("sysctl -n net.ipv4.tcp_allowed_congestion_control") == "reno cubic bbr vegas\n"
        assert host.sh("sysctl -n net.ipv4.tcp_available_congestion_control").split()[:2] == ["reno", "cubic"]
        with pytest.raises(Exception, match='no congestion control is named "tahoe"'):
            host.sh("sysctl -w net.ipv4.tcp_congestion_control=tahoe")
        with pytest.raises(ValueError, match="can only be read"):
            host.sysctl("net.ipv4.tcp_available_congestion_control", ("reno",))


def test_accepted_connections_have_the_default_of_their_time() -> None:
    t = server()
    t.tcp.congestion = lunar.congestion_control("bbr")
    child = t.sock.spawn()
    assert child.congestion.name == "bbr"  # the listener was made when it was Reno
    t.sock.congestion_chosen = True
    assert t.sock.spawn().congestion.name == "reno"


# TCP_CONGESTION, tcp(7).


def in_a_program(body: Callable[[], object]) -> None:
    """Run blocking `body` on a host."""
    with lunar.Network() as net:
        host = net.host("host", "10.0.0.1/24")
        net.start(host, body)
        net.run()


def test_option_sets_and_tells_the_name() -> None:
    def body() -> None:
        with socket.socket() as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16) == b"cubic".ljust(16, b"\0")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 4) == b"bbr\0"
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno\0 and what follows")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"

    in_a_program(body)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", errno.EINVAL),
        (b"tahoe", errno.ENOENT),
        (b"vegas", errno.EPERM),  # not in tcp_allowed_congestion_control
        (b"dctcp", errno.EPERM),
        (5, errno.ENOENT),  # the bytes of an integer are a name, too
    ],
)
def test_option_refuses(value: bytes | int, expected: int) -> None:
    def body() -> None:
        with socket.socket() as sock, pytest.raises(OSError) as refused:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, value)
        assert refused.value.errno == expected

    in_a_program(body)


def test_allowed_algorithms_may_be_chosen() -> None:
    def body() -> None:
        with socket.socket() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"vegas")
            with pytest.raises(PermissionError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")

    with lunar.Network() as net:
        host = net.host("host", "10.0.0.1/24")
        host.sh('sysctl -w net.ipv4.tcp_allowed_congestion_control="reno vegas"')
        assert host.sh("sysctl -n net.ipv4.tcp_allowed_congestion_control") == "reno vegas cubic\n"
        net.start(host, body)
        net.run()


def test_algorithms_tell_of_themselves() -> None:
    """TCP_CC_INFO, linux/inet_diag.h: bandwidth of 64 bits, least RTT, gains; u16, u16, u32 ...; four u32."""
    t = established()
    for name, layout in (("bbr", "<QIII"), ("dctcp", "<HHIII"), ("vegas", "<IIII")):
        sockopt.set_congestion(t.sock, lunar.congestion_control(name))
        packed = tcp_options.get_bytes(t.sock, 26, 64)
        assert packed is not None
        values = struct.unpack(layout, packed)
        assert list(t.sock.congestion.info(t.sock).values()) == list(values)
    sockopt.set_congestion(t.sock, lunar.congestion_control("cubic"))
    assert tcp_options.get_bytes(t.sock, 26, 64) == b""

    def body() -> None:
        with socket.socket() as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, 26, 100) == b""

    in_a_program(body)


def test_data_of_the_syn_is_before_the_beginning() -> None:
    """RFC 7413: what the SYN-ACK acknowledges does not reach an algorithm that has not begun."""
    t = Scenario()
    t.tcp.congestion = lunar.congestion_control("bbr")
    sock = t.connect()
    sock.congestion_started = False
    cwnd.control(sock, t.tcp.tables.sample, 1)
    assert sock.cwnd == 10


def test_connection_goes_on_with_another_algorithm() -> None:
    t, algorithm = noting()
    algorithm.taken()
    sockopt.set_congestion(t.sock, Reno)
    assert algorithm.taken() == ["stop"]
    assert t.sock.cwnd == 10
    t.gets(at=ms(70), ack=D + 3 * MSS)
    assert t.sock.cwnd == 13
    sockopt.set_congestion(t.sock, Noting)
    assert t.sock.congestion.notes == ["start"]  # type: ignore[attr-defined]


# Validation of cwnd: RFC 2861, RFC 7661's concern.


def test_slow_start_grows_to_twice_what_was_used() -> None:
    t = established(wscale=10)
    t.gets(at=0)
    t.write(b"x" * 9 * MSS)
    for count in range(1, 10):
        t.gets(at=ms(100) + count, ack=D + count * MSS)
    assert t.sock.cwnd == 18


def test_idle_time_keeps_the_window_without_slow_start_after_idle() -> None:
    t = established(wscale=10)
    t.tcp.tables.sysctls.tcp_slow_start_after_idle = 0
    t.gets(at=0)
    t.write(b"x" * 10 * MSS)
    t.gets(at=ms(100), ack=D + 10 * MSS)
    assert t.sock.cwnd == 20
    t.run(s(100))
    t.write(b"x")
    assert t.sock.cwnd == 20


# The least RTT.


def test_windowed_minimum_forgets() -> None:
    least = WindowedMin(1 << 62)
    values = {0: 50, 10: 70, 30: 60, 60: 80, 90: 90, 101: 85, 131: 100, 200: 120}
    seen = []
    for at, value in values.items():
        least.update(100, at, value)
        seen.append(int(least.best))
    # 50 leaves at 101, 60 at 131.
    assert seen == [50, 50, 50, 50, 50, 60, 80, 85]


def test_windowed_minimum_is_near_the_true_one() -> None:
    """Three candidates: never below the true minimum of the window, and above it only where it skipped a candidate."""
    least = WindowedMin(1 << 62)
    history: list[tuple[int, int]] = []
    value = 1000
    for at in range(0, 3000, 7):
        value = (value * 31 + 17) % 1009 + 100
        history.append((at, value))
        least.update(300, at, value)
        true = min(v for when, v in history if at - when <= 300)
        assert least.best >= true
        assert any(v == least.best and at - when <= 300 for when, v in history)
