"""The calls between our stack and what it is embedded in, one by one: what each does, and what it makes of mistakes."""

from __future__ import annotations

import gc
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lunar
from lunar.embedded import Embedded
from tests.lunar.small_simulator import (
    MS,
    WHOLE,
    Simulator,
    Station,
    all_of,
    fetch_async,
    join,
    pair,
    serve,
    serve_async,
    started,
)  # fmt: skip

# What a network may do to frames


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.1),
    duplicate=st.floats(0, 0.3),
    spread_ns=st.sampled_from([0, MS, 30 * MS]),
)
def test_loss_duplicates_and_any_order_leave_a_transfer_intact(
    seed: int, loss: float, duplicate: float, spread_ns: int
) -> None:
    simulator, rng = Simulator(), random.Random(seed)
    client, server = pair(simulator)
    with all_of(client, server):

        def towards(station: Station) -> Callable[[int, bytes], None]:
            def carry(_id: int, data: bytes) -> None:
                # Three lost questions of ARP are EHOSTUNREACH, as on Linux, and no transfer.
                is_lost = data[12:14] != b"\x08\x06" and rng.random() < loss
                for _ in range((not is_lost) + (rng.random() < duplicate)):
                    at_ns = simulator.now_ns + 5 * MS + rng.randint(0, spread_ns)
                    simulator.at(at_ns, station.stack.read_msg, 0, data)

            return carry

        client.cable, server.cable = towards(server), towards(client)
        got = started(client, server)
        simulator.run()
        assert [digest for digest, _ in got] == [WHOLE]


@settings(max_examples=50)
@given(data=st.data())
def test_no_frame_makes_it_raise(data: st.DataObject) -> None:
    """Bytes of any kind, and frames of a transfer that goes on beside them with some bytes changed or cut off."""
    simulator, rng = Simulator(), random.Random(data.draw(st.integers(0, 2**32)))
    client, server = pair(simulator)
    with all_of(client, server):

        def towards(station: Station) -> Callable[[int, bytes], None]:
            def carry(_id: int, frame: bytes) -> None:
                simulator.at(simulator.now_ns + MS, station.stack.read_msg, 0, frame)
                if rng.random() < 0.1:
                    bad = bytearray(frame)
                    for _ in range(rng.randint(1, 8)):
                        bad[rng.randrange(len(bad))] = rng.randrange(256)
                    # An Ethernet frame with an FCS that is wrong does not come this far, so TCP's checksum has to
                    # notice; one change of 65,536 passes it, which is not a transfer's fault: not in its payload then.
                    del bad[rng.randrange(14, min(len(bad), 54)) :]
                    simulator.at(simulator.now_ns + MS, station.stack.read_msg, 0, bytes(bad))

            return carry

        client.cable, server.cable = towards(server), towards(client)
        got = started(client, server)
        for junk in data.draw(st.lists(st.binary(max_size=200), max_size=30)):
            simulator.at(rng.randrange(100 * MS), server.stack.read_msg, 0, junk)
            # With a header that says it is for this device.
            mac = int(server.stack.network.hosts["server"].devices["eth0"].mac).to_bytes(6, "big")
            kind = rng.choice([b"\x08\x00", b"\x08\x06", b"\x86\xdd"])
            simulator.at(rng.randrange(100 * MS), server.stack.read_msg, 0, mac + bytes(6) + kind + junk)
        simulator.run()
        assert [digest for digest, _ in got] == [WHOLE]


def test_what_is_no_frame_is_counted_and_dropped() -> None:
    station = Station(Simulator())
    with station.stack as stack:
        device = stack.host("server", "10.0.0.2/24").devices["eth0"]
        for data in (b"", b"\xff" * 5, bytes(14), bytearray(60), memoryview(bytes(70_000))):
            stack.read_msg(0, data)
        assert (device.rx_packets, device.rx_dropped) == (0, 5)


# Repeatability


def test_same_inputs_same_digest_wherever_time_begins() -> None:
    def run(seed: int, begins_ns: int) -> tuple[str, str, list[Any]]:
        simulator = Simulator(begins_ns)
        client, server = pair(simulator, seed=seed)
        with all_of(client, server):
            rng = random.Random(3)

            def towards(station: Station) -> Callable[[int, bytes], None]:
                def carry(_id: int, data: bytes) -> None:
                    if rng.random() > 0.05:
                        simulator.at(simulator.now_ns + MS, station.stack.read_msg, 0, data)

                return carry

            client.cable, server.cable = towards(server), towards(client)
            got = started(client, server)
            simulator.run()
            return client.stack.digest(), server.stack.digest(), got

    first = run(1, 0)
    assert run(1, 0) == first
    assert run(1, 123_456_789_012_345_678) == first
    assert run(2, 0)[0] != first[0]


def test_hosts_of_different_stacks_have_different_hardware_addresses() -> None:
    simulator = Simulator()
    stations = [Station(simulator), Station(simulator), Station(simulator, seed=2)]
    with all_of(*stations):
        hosts = [
            station.stack.host(name, "10.0.0.1/24", "10.0.1.1/24")
            for station, name in zip(stations, ["a", "b", "a"], strict=True)
        ]
        macs = {int(device.mac) for host in hosts for device in host.devices.values() if device.name != "lo"}
        assert len(macs) == 6


def test_addresses_that_ipv6_makes_of_them_are_different_too() -> None:
    simulator = Simulator()
    client, server = Station(simulator), Station(simulator)
    with all_of(client, server):
        hosts = [client.stack.host("a", "2001:db8::1/64"), server.stack.host("b", ["2001:db8::2/64", "auto"])]
        join(client, server, MS)
        local = [own.address for host in hosts for own in host.devices["eth0"].addresses if own.scope == 253]
        assert len({address >> 64 for address in local}) == 1 and len(set(local)) == 2
        server.stack.start(hosts[1], serve_async, "::")
        got: list[Any] = []
        client.stack.start(hosts[0], fetch_async, "2001:db8::2", on_end=lambda string: got.append(string.result))
        simulator.run()
        assert [digest for digest, _ in got] == [WHOLE]
        hosts[0].crash()
        hosts[0].boot()
        assert local[0] in [own.address for own in hosts[0].devices["eth0"].addresses]


def test_the_collector_is_the_stacks_as_long_as_it_is_open() -> None:
    assert gc.isenabled()
    with Station(Simulator()).stack:
        assert not gc.isenabled()
        with Station(Simulator(), repeatable=False).stack:
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with Station(Simulator(), repeatable=False).stack:
        assert gc.isenabled()


# The calls


def sleeper(at: list[int]) -> None:
    for _ in range(3):
        time.sleep(1)
        at.append(time.monotonic_ns())


def test_the_timer_is_asked_for_what_is_due_and_for_nothing_else() -> None:
    simulator = Simulator(500)
    station = Station(simulator)
    with station.stack as stack:
        at: list[int] = []
        stack.start(stack.host("h", "10.0.0.1/24"), sleeper, at, at="250ns")
        assert station.asked == [750]
        simulator.run()
        second = 1000 * MS
        assert station.asked == [750, second + 750, 2 * second + 750, 3 * second + 750]
        assert at == [second + 250, 2 * second + 250, 3 * second + 250]


def test_called_too_early_it_asks_again_and_called_late_it_is_late() -> None:
    simulator = Simulator()
    station = Station(simulator)
    with station.stack as stack:
        at: list[int] = []
        stack.start(stack.host("h", "10.0.0.1/24"), sleeper, at)
        simulator.run(0)
        station.asked.clear()
        stack.timer()
        assert station.asked == [1000 * MS]
        simulator.now_ns = 2500 * MS
        stack.timer()
        # By its own clock it woke in time.
        assert at == [1000 * MS, 2000 * MS]
        assert station.asked[1:] == [3000 * MS]


def test_what_is_done_to_a_host_between_two_calls_happens_then() -> None:
    simulator = Simulator()
    station = Station(simulator)
    sent: list[bytes] = []
    station.cable = lambda id, data: sent.append(data)
    with station.stack as stack:
        host = stack.host("h", "10.0.0.1/24")
        simulator.now_ns = 7000 * MS
        stack.timer()
        assert stack.network.now == 7
        host.sh("arping -c 1 10.0.0.9", each_boot=True)
        assert sent == []
        stack.timer()
        assert [data[12:14] for data in sent] == [b"\x08\x06"]
        host.crash()
        stack.timer()
        assert station.asked[-1] is None


def test_a_program_that_fails_is_told_once() -> None:
    simulator = Simulator()
    station = Station(simulator)
    with station.stack as stack:
        host = stack.host("h", "10.0.0.1/24")
        lasting: list[int] = []

        def fail() -> None:
            raise KeyError("lost")

        string = stack.start(host, fail, on_error="stop")
        stack.start(host, sleeper, lasting)
        stack.network.supervisor.on_failure = lambda failed: None
        with pytest.raises(lunar.StringFailed, match=r"fail on host h failed: KeyError\('lost'\)") as caught:
            simulator.run()
        assert caught.value.string is string
        simulator.run()
        assert len(lasting) == 3
        seen: list[Any] = []
        stack.start(host, fail, on_end=lambda ended: seen.append(ended.error))
        simulator.run()
        assert [type(error) for error in seen] == [KeyError]


def test_what_write_msg_raises_comes_out_and_the_rest_goes_on() -> None:
    simulator = Simulator()
    station = Station(simulator)
    sent: list[bytes] = []

    def broken(_id: int, data: bytes) -> None:
        station.cable = lambda id, data: sent.append(data)
        raise OSError("the cable broke")

    station.cable = broken

    def tell() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for number in range(3):
                sock.sendto(bytes([number]), ("10.0.0.255", 9))

    with station.stack as stack:
        stack.start(stack.host("h", "10.0.0.1/24"), tell)
        with pytest.raises(OSError, match="the cable broke"):
            simulator.run()
        assert sent == []
        simulator.run()
        assert [data[-1] for data in sent] == [1, 2]


def test_mistakes_of_the_caller_are_named() -> None:
    simulator = Simulator(10)
    station = Station(simulator)
    stack = station.stack
    host = stack.host("h", "10.0.0.1/24")
    with pytest.raises(IndexError, match="device 1 of 1 open ones, which count from 0"):
        stack.read_msg(1, bytes(60))
    with pytest.raises(IndexError, match="device -1 of 1"):
        stack.read_msg(-1, bytes(60))
    with pytest.raises(TypeError, match="a frame is bytes, not int"):
        stack.read_msg(0, 60)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is on a link already"):
        stack.open(host.devices["eth0"])
    with pytest.raises(ValueError, match="expected a whole number from 68 to 65535"):
        stack.host("other", "10.0.0.3/24", mtu=9)
    with pytest.raises(RuntimeError, match=r"is embedded: its time goes on by Embedded\.timer, not by run"):
        stack.network.run(until="1s")
    with pytest.raises(RuntimeError, match="the network is embedded"):
        host.sh("ping -c 1 10.0.0.1")
    with pytest.raises(ValueError, match="the network is embedded already"):
        Embedded(station, stack.network)
    with pytest.raises(TypeError, match="seed: the network is there already"):
        Embedded(station, lunar.Network(), seed=3)
    with pytest.raises(ValueError, match="the network is the machine's, by its clock or its links"):
        Embedded(station, clock="real")
    with_udp = lunar.Network()
    with_udp.udp_link(with_udp.host("h", "10.0.0.1/24"), local=9, remote="127.0.0.1:10")
    with pytest.raises(ValueError, match="expected one in virtual time"):
        Embedded(station, with_udp)
    simulator.now_ns = 9
    with pytest.raises(ValueError, match="time went back: now_ns is 9 after 10"):
        stack.timer()
    simulator.now_ns = 1.5  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"now_ns is 1\.5; expected a whole number of nanoseconds"):
        stack.timer()
    simulator.now_ns = 11
    raised: list[BaseException] = []

    def elsewhere() -> None:
        try:
            stack.timer()
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert [str(error) for error in raised] == ["a stack is called from the thread that made it, and from no other"]
    stack.close()
    stack.close()
    stack.read_msg(0, bytes(60))
    stack.timer()
    with pytest.raises(RuntimeError, match="the stack was closed"):
        stack.start(host, serve)


def test_a_close_ends_the_programs_and_sends_nothing() -> None:
    simulator = Simulator()
    client, server = pair(simulator)
    join(client, server, MS)
    started(client, server)
    simulator.run(3 * MS)
    sent: list[bytes] = []
    client.cable = lambda id, data: sent.append(data)
    string = client.stack.network.supervisor.strings[0]
    client.stack.close()
    assert string.over and sent == [] and client.asked[-1] is None
    server.stack.close()
    simulator.run()
    assert sys.exc_info() == (None, None, None)
