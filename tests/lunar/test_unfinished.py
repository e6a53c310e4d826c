"""What programs have left to their stacks: `Network.unfinished` says whether something of it is still on its way."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import lunar
from weaves.clock_plan import REAL, ClockPlan
from weaves.loader import load
from weaves.tapestry import parse


def pair(*, delay: str = "10ms", arp: bool = False) -> lunar.Network:
    net = lunar.Network(seed=1, arp=arp)
    net.link(net.host("server", "10.0.0.1/24"), net.host("client", "10.0.0.2/24"), delay=delay)
    return net


def send_and_close() -> None:
    with socket.create_connection(("10.0.0.1", 7)) as connection:
        connection.sendall(b"the last word")


def take() -> bytes:
    with socket.create_server(("", 7)) as listener, listener.accept()[0] as connection:
        return connection.recv(100)


def send_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"the only word", ("10.0.0.1", 7))


def steps_until_finished(net: lunar.Network) -> int:
    """In milliseconds."""
    count = 0
    while net.unfinished():
        count += 1
        net.run(until=net.now + 0.001)
    return count


def test_nothing_is_left_of_a_network_that_did_nothing() -> None:
    with pair() as net:
        assert not net.unfinished()
        net.run(until="1s")
        assert not net.unfinished()


def test_bytes_and_fin_are_left_until_the_other_side_has_them() -> None:
    with pair() as net:
        net.start(net.hosts["server"], take)
        net.run(send_and_close, on=net.hosts["client"])
        # The client's program ends at 20 ms. Its FIN arrives at 30 ms, the server closes, its FIN arrives at 40 ms, and
        # the last ACK at 50 ms. What is left then is TIME-WAIT.
        assert net.now == pytest.approx(0.02)
        assert steps_until_finished(net) in (30, 31)
        assert "TIME-WAIT" in net.hosts["client"].sh("ss -tan")


def test_a_connection_whose_peer_does_not_close_is_no_work() -> None:
    def listen() -> None:
        with socket.create_server(("", 7)) as listener:
            held.append(listener.accept()[0])
            held.append(listener.accept()[0])  # never

    held: list[socket.socket] = []
    with pair() as net:
        net.start(net.hosts["server"], listen, background=True)
        net.run(send_and_close, on=net.hosts["client"])
        assert steps_until_finished(net) in (60, 61)  # the FIN, and the ACK of it 40 ms later
        assert "FIN-WAIT-2" in net.hosts["client"].sh("ss -tan")


@pytest.mark.parametrize(("arp", "trips"), [(False, 1), (True, 3)])
def test_a_datagram_is_left_until_it_arrives(arp: bool, trips: int) -> None:
    """Also while the hardware address of its destination is asked for."""
    with pair(arp=arp) as net:
        net.run(send_datagram, on=net.hosts["client"])
        assert net.now == 0
        # The answer, that nobody listens there, is one trip more.
        assert steps_until_finished(net) in (10 * (trips + 1), 10 * (trips + 1) + 1)


@pytest.mark.parametrize("act", [send_and_close, send_datagram])
def test_of_a_host_without_power_nothing_is_left(act: Callable[[], None]) -> None:
    with pair(arp=True) as net:
        net.start(net.hosts["server"], take, background=True)
        net.run(act, on=net.hosts["client"])
        assert net.unfinished()
        net.hosts["client"].crash()
        net.hosts["server"].crash()
        assert steps_until_finished(net) <= 10  # what had left the host arrives



# The end of a run

LISTENER = """
import socket
with socket.create_server(("", 7)) as listener:
    connection, _ = listener.accept()
    while connection.recv(4096):
        pass
"""
TAPESTRY = """
[tapestry]
%s
[hosts.client]
eth0 = "10.0.0.2/24"
strings = [{ run = "client.py" }]

[hosts.server]
eth0 = "10.0.0.1/24"
strings = [{ run = "server.py", background = true }]

[[links]]
name = "cable"
ends = ["server", "client"]
delay = "25ms"

[[events]]
at = "100ms"
do = "link-down"
link = "cable"
"""

DATAGRAM = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'word', ('10.0.0.1', 9))"
AFTER_THE_BREAK = """
import time
with socket.create_connection(("10.0.0.1", 7)):
    time.sleep(0.2)
"""


def end_of_run(folder: Path, program: str, *, until: str = "", outside: bool = True) -> float:
    """When a run ends whose client does that, in seconds; with somebody outside, who says nothing."""
    (folder / "client.py").write_text(f"import socket\n{program}\n")
    (folder / "server.py").write_text(LISTENER)
    # Nobody waits for somebody in virtual time; at this speed ten seconds take no time either.
    clock = ClockPlan(REAL, speed=100_000) if outside else None
    live = load(parse(TAPESTRY % until, folder / "two.toml"), clock=clock)
    try:
        if outside:
            live.supervisor.gates.gate("somebody", lambda data: None)
        live.run_blocking()
        assert live.ok
        return live.now_ns / 1e9
    finally:
        live.close()


def test_where_nobody_is_outside_the_run_ends_with_its_events(tmp_path: Path) -> None:
    assert end_of_run(tmp_path, DATAGRAM, outside=False) == 0.1


def test_a_program_that_leaves_nothing_ends_the_run(tmp_path: Path) -> None:
    assert end_of_run(tmp_path, "import time; time.sleep(1)") == 1


def test_the_last_word_has_come_when_the_run_ends(tmp_path: Path) -> None:
    # Sent at 60 ms, and there and back is 50 ms: that nobody listens is told, too. Until 100 ms the run waits for the
    # break of the cable, and then looks every 10 ms whether something is left.
    assert end_of_run(tmp_path, f"import time; time.sleep(0.06); {DATAGRAM}") == pytest.approx(0.11)


def test_who_never_answers_is_waited_for_ten_seconds(tmp_path: Path) -> None:
    assert end_of_run(tmp_path, AFTER_THE_BREAK) == pytest.approx(0.05 + 0.2 + 10)


def test_until_is_the_end_all_the_same(tmp_path: Path) -> None:
    assert end_of_run(tmp_path, AFTER_THE_BREAK, until='until = "1s"') == 1
