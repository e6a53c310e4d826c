"""A host crashes, boots, is paused and goes on: what runs of it, what is left of it, and what its peers see when."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
import time
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import lunar
from lunar.net.device import RING_FRAMES
from weaves.strings import ENDED, KILLED, RUNNING, WAITING_TO_START

S = 1_000_000_000


class World:
    """Two hosts, 5 ms apart. What programs note is in `log`, with the time."""

    def __init__(self, seed: int = 1, **options: Any) -> None:
        self.net = lunar.Network(seed, **options)
        self.server = self.net.host("server", "10.0.0.2/24")
        self.client = self.net.host("client", "10.0.0.3/24")
        self.net.link(self.server, self.client, delay="5ms")
        self.log: list[Any] = []

    def note(self, what: Any) -> None:
        self.log.append((what, self.net.now))

    def crash_at(self, at: float) -> None:
        self.net.at(at, self.server.crash)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)


async def serve() -> None:
    await (await asyncio.start_server(echo, "0.0.0.0", 80)).serve_forever()


# What runs of a host that crashes: nothing


def noted(world: World, what: str) -> Any:
    """A context that notes how it is left."""

    class Context:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_exc: object) -> None:
            world.note(f"{what} left")

        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *_exc: object) -> None:
            world.note(f"{what} left")

        def __del__(self) -> None:
            world.note(f"{what} deleted")

    return Context()


async def in_an_await(world: World) -> None:
    with noted(world, "with"):
        try:
            async with noted(world, "async with"):
                await asyncio.sleep(100)
        except BaseException:
            world.note("except")
            raise
        finally:
            world.note("finally")


async def in_a_finally(world: World) -> None:
    try:
        try:
            raise LookupError
        finally:
            await asyncio.sleep(100)
            world.note("after the await in finally")
    except LookupError:
        world.note("except")


async def in_several_tasks(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(in_an_await(world))


async def in_a_generator(world: World) -> None:
    async def numbers() -> Any:
        try:
            yield 1
            await asyncio.sleep(100)
        finally:
            world.note("async generator")

    def others() -> Any:
        try:
            yield 1
        finally:
            world.note("generator")

    held = others()
    next(held)
    async for _ in numbers():
        pass
    world.note(held)


def in_a_recv(world: World) -> None:
    with noted(world, "with"):
        try:
            with socket.create_server(("", 80)) as listener:
                connection, _ = listener.accept()
                connection.recv(100)
        except BaseException:
            world.note("except")
            raise
        finally:
            world.note("finally")


def in_a_finally_of_blocking_code(world: World) -> None:
    try:
        try:
            raise LookupError
        finally:
            time.sleep(100)
            world.note("after the sleep in finally")
    except LookupError:
        world.note("except")


def in_asyncio_run(world: World) -> None:
    try:
        asyncio.run(in_an_await(world))
    finally:
        world.note("after asyncio.run")


def in_the_shutdown_of_asyncio_run(world: World) -> None:
    async def main() -> None:
        task = asyncio.create_task(slow_to_end())
        await asyncio.sleep(1)
        assert not task.done()

    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            with noted(world, "the task"):
                await asyncio.sleep(100)

    try:
        asyncio.run(main())
    finally:
        world.note("after asyncio.run")


def in_an_executor(world: World) -> None:
    def sleeps() -> None:
        with noted(world, "with"):
            time.sleep(100)

    async def main() -> None:
        await asyncio.to_thread(sleeps)
        world.note("after to_thread")

    asyncio.run(main())


@pytest.mark.parametrize(
    "program",
    [
        in_an_await, in_a_finally, in_several_tasks, in_a_generator, in_a_recv, in_a_finally_of_blocking_code,
        in_asyncio_run, in_the_shutdown_of_asyncio_run, in_an_executor,
    ],
)  # fmt: skip
def test_no_handler_runs(program: Callable[[World], Any], capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    string = world.net.start(world.server, program, world)
    world.net.run(until=3)
    assert string.state == RUNNING
    world.server.crash()
    gc.collect()
    world.net.run(until=500)
    world.net.close()
    gc.collect()
    assert (world.log, string.state) == ([], KILLED)
    assert capsys.readouterr() == ("", "")


def test_what_waits_for_its_turn_runs_no_more() -> None:
    world = World()

    async def sleeper() -> None:
        await asyncio.sleep(3)
        world.note("ran")

    world.net.start(world.server, sleeper)
    # What is planned comes before all else of its time.
    world.crash_at(3)
    world.net.run(until=10)
    assert world.log == []


def test_a_program_that_crashes_its_own_host_ends_its_turn() -> None:
    world = World()

    async def main() -> None:
        world.server.crash()
        world.note("the turn goes on")
        try:
            await asyncio.sleep(0)
            world.note("and then nothing")
        finally:
            world.note("nothing")

    world.net.start(world.server, main)
    world.net.run()
    assert (world.log, world.server.state) == ([("the turn goes on", 0.0)], "down")


@pytest.mark.parametrize("blocking", [False, True])
def test_a_program_that_crashes_another_host(blocking: bool) -> None:
    world = World()
    for program in (in_asyncio_run, in_a_recv):
        world.net.start(world.server, program, world)

    def crash() -> None:
        loop = asyncio._get_running_loop()
        world.server.crash()
        assert asyncio._get_running_loop() is loop
        world.note("it goes on")

    def sleeps() -> None:
        time.sleep(1)
        crash()
        time.sleep(1)

    async def awaits() -> None:
        await asyncio.sleep(1)
        crash()
        await asyncio.sleep(1)

    world.net.run(sleeps if blocking else awaits, on=world.client)
    assert (world.log, world.net.now) == ([("it goes on", 1.0)], 2.0)


def test_a_program_that_pauses_its_own_host() -> None:
    world = World()

    async def main() -> None:
        world.server.pause()
        world.note("the turn goes on")
        await asyncio.sleep(0)
        world.note("later")

    world.net.start(world.server, main)
    world.net.at(3, world.server.resume)
    world.net.run()
    assert world.log == [("the turn goes on", 0.0), ("later", 3.0)]


def test_the_tracer_and_the_hooks_are_as_before() -> None:
    import sys

    def tracer(*_args: object) -> None:
        return None

    world = World()
    world.net.start(world.server, in_a_recv, world)
    world.net.start(world.server, in_an_await, world)
    world.net.run(until=3)
    before, hook = sys.gettrace(), sys.unraisablehook
    sys.settrace(tracer)
    try:
        world.server.crash()
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert sys.unraisablehook is hook


def test_the_run_does_not_wait_for_a_host_that_crashed() -> None:
    world = World()
    world.net.start(world.server, serve)
    world.crash_at(3)
    world.net.run()
    assert world.net.now == 3.0


def test_a_main_on_a_host_that_crashes_is_cancelled() -> None:
    world = World()
    world.crash_at(3)
    with pytest.raises(asyncio.CancelledError):
        world.net.run(asyncio.sleep, 100, on=world.server)


# What peers see


async def talk(world: World, pause: float) -> None:
    reader, writer = await asyncio.open_connection("server", 80)
    writer.write(b"one")
    assert await reader.read(100) == b"one"
    await asyncio.sleep(pause)
    world.note("writes")
    writer.write(b"two")
    try:
        world.note(await reader.read(100))
    except OSError as error:
        world.note(error.errno)


def test_who_sends_into_a_crash_retransmits_and_times_out() -> None:
    world = World()
    world.net.start(world.server, serve)
    world.crash_at(3)
    world.net.run(talk, world, 5, on=world.client)
    # A round trip for the handshake and one for the echo. Then the probe for a lost tail (RFC 8985, section 7.2), after
    # the RTO, which is shorter than two round trips and a delayed ACK; and 15 retransmissions: the RTO is 200 ms and
    # the RTT, 210 ms, doubled nine times to the limit of 120 s. It gives up at the first timeout after 924.6 s.
    waits = [min(0.21 * 2**n, 120) for n in range(16)]
    assert world.log[0] == ("writes", 5.02)
    assert world.log[1] == (errno.ETIMEDOUT, pytest.approx(5.02 + 0.21 + sum(waits)))
    assert world.client.ip.counters.tcp_loss_probes == 1
    assert world.client.ip.counters.tcp_retrans_segs == 1 + 15
    assert world.server.devices["eth0"].rx_dropped == 17


def test_an_old_connection_is_reset_after_a_boot() -> None:
    world = World()
    world.net.start(world.server, serve)
    world.crash_at(3)
    world.net.at(4, world.server.boot)
    world.net.run(talk, world, 5, on=world.client)
    assert world.log == [("writes", 5.02), (errno.ECONNRESET, 5.03)]


def test_a_boot_between_two_retransmissions() -> None:
    world = World()
    world.net.start(world.server, serve)
    world.crash_at(3)
    world.net.at(6, world.server.boot)
    world.net.run(talk, world, 5, on=world.client)
    # The probe 0.21 s after the segment of 5.02 s, retransmissions 0.42, 0.84 and 1.68 s after it: the third is the
    # first that is answered.
    assert world.log == [("writes", 5.02), (errno.ECONNRESET, pytest.approx(5.02 + 0.21 * 8 + 0.01))]


def test_keepalive_finds_a_host_that_crashed() -> None:
    world = World()

    def waits() -> None:
        with socket.create_connection(("server", 80)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
            try:
                connection.recv(100)
            except OSError as error:
                world.note(error.errno)

    world.net.start(world.server, serve)
    world.crash_at(3)
    world.net.run(waits, on=world.client)
    # The SYN-ACK came at 10 ms; 10 s later the first probe, two more 5 s apart, and 5 s after the last the end.
    assert world.log == [(errno.ETIMEDOUT, pytest.approx(10.01 + 3 * 5))]


def test_no_fin_and_no_reset_is_sent() -> None:
    world = World()
    world.net.start(world.server, serve)
    world.net.start(world.client, talk, world, 100)
    world.net.run(until=3)
    sent = int(world.server.devices["eth0"].tx_packets)
    world.server.crash()
    gc.collect()
    world.net.run(until=50)
    assert world.server.devices["eth0"].tx_packets == sent


def test_a_frame_on_the_wire_arrives_though_its_sender_has_crashed() -> None:
    world = World()

    async def send() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("client", 53)
        )
        transport.sendto(b"last words")
        await asyncio.sleep(100)

    def receive() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 53))
            world.note(sock.recv(100))

    world.net.start(world.server, send)
    world.crash_at(0.004)
    world.net.run(receive, on=world.client)
    assert world.log == [(b"last words", 0.005)]


def test_what_was_queued_for_the_link_is_lost() -> None:
    net = lunar.Network()
    server, client = net.host("server", "10.0.0.2/24"), net.host("client", "10.0.0.3/24")
    # 986 bytes of payload are 1,028 with headers: 8.224 ms each at 1 Mbit/s.
    net.link(server, client, rate="1mbit", delay="50ms")
    got: list[int] = []

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(10):
                sock.sendto(bytes(986), ("client", 53))
            time.sleep(100)

    def receive() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 53))
            while True:
                got.append(len(sock.recv(2000)))

    net.start(server, send)
    net.start(client, receive, background=True)
    net.at("20ms", server.crash)
    net.run(until=1)
    # At 20 ms two have left wholly, the third is being sent.
    assert got == [986, 986]
    assert net.link_figures()[0]["queue_drops"] == 8


# Boot


def test_a_booted_host_has_its_addresses_routes_and_settings() -> None:
    world = World()
    world.server.sh("route add default gw 10.0.0.3", each_boot=True)
    world.server.sh("sysctl -w net.ipv4.ip_forward=1", each_boot=True)
    routes = world.server.sh("route -n")
    world.server.sh("ifconfig eth0 10.0.0.9/24")
    world.server.sh("sysctl -w net.ipv4.ip_default_ttl=9")
    world.server.crash()
    world.server.boot()
    assert world.server.sh("route -n") == routes
    assert world.server.sh("sysctl -n net.ipv4.ip_forward net.ipv4.ip_default_ttl") == "1\n64\n"
    assert (world.server.address, world.net.names.lookup("server")) == ("10.0.0.2", [0x0A00_0002])
    # And once more, with each command once.
    world.server.crash()
    world.server.boot()
    assert (world.server.sh("route -n"), world.server.boots) == (routes, 2)


def test_a_booted_host_finds_its_devices_as_they_were_made() -> None:
    world = World()
    device, lo = world.server.devices["eth0"], world.server.devices["lo"]
    before = world.server.sh("ip link")
    world.server.sh("ip link set eth0 mtu 1300 address 02:00:00:00:77:77 promisc on alias uplink")
    world.server.sh("ip link set eth0 mtu 1200 address 02:00:00:00:88:88")
    world.server.sh("ip link set lo mtu 1500 promisc on")
    world.server.sh("ethtool -K eth0 gso on")
    world.server.crash()
    world.server.boot()
    assert world.server.sh("ip link") == before
    assert (int(device.mtu), int(lo.mtu), lo.promiscuous, device.gso) == (1500, 65_536, False, False)
    assert device.medium is not None
    assert device.medium.resolve(world.client.devices["eth0"], 0x0A00_0002) == device.mac


def test_launches_start_the_programs_of_each_boot() -> None:
    world = World()
    world.server.launches.append(lambda: void(world.net.start(world.server, world_serves, world)))
    world.crash_at(1)
    world.net.at(3, world.server.boot)
    world.net.at(4, world.server.crash)
    world.net.at(5, world.server.boot)
    world.net.run(until=10)
    assert world.log == [("serves", 3.0), ("serves", 5.0)]


def void(_anything: object) -> None:
    """For a lambda that returns nothing."""


async def world_serves(world: World) -> None:
    world.note("serves")
    await serve()


def test_a_boot_draws_other_numbers_and_the_same_in_every_run() -> None:
    def draw(world: World) -> None:
        import os
        import random

        world.log.append((random.random(), os.urandom(4)))

    def drawn(seed: int) -> list[Any]:
        world = World(seed)
        world.server.launches.append(lambda: void(world.net.start(world.server, draw, world)))
        world.net.start(world.server, draw, world)
        for at in (1, 2):
            world.net.at(at, world.server.crash)
            world.net.at(at, world.server.boot)
        world.net.run()
        return world.log

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 3


def test_what_was_to_start_after_the_crash_starts_when_the_host_is_up_again() -> None:
    world = World()
    late = world.net.start(world.server, world_serves, world, at=5, background=True)
    never = world.net.start(world.server, world_serves, world, at=2)
    world.crash_at(1)
    world.net.at(3, world.server.boot)
    world.net.at(4, world.server.crash)
    world.net.at(4.5, world.server.boot)
    world.net.run(until=10)
    assert (world.log, late.state, never.state) == ([("serves", 5.0)], RUNNING, KILLED)


def test_a_host_that_is_down_starts_nothing() -> None:
    world = World()
    world.server.crash()
    with pytest.raises(RuntimeError, match=r"^host server is down: it starts programs after it has booted$"):
        world.net.start(world.server, serve)


def test_crash_and_boot_of_what_is_so_already_change_nothing() -> None:
    world = World()
    world.net.start(world.server, serve, background=True)
    world.server.boot()
    world.server.resume()
    assert (world.server.state, world.server.boots) == ("up", 0)
    world.server.crash()
    world.server.crash()
    world.server.pause()
    world.server.resume()
    assert world.server.state == "down"


def test_the_figures_count_what_came_before_a_crash() -> None:
    world = World()
    world.net.start(world.server, serve, background=True)
    world.net.run(talk, world, 0, on=world.client)
    before = world.net.tcp_figures()
    world.client.crash()
    world.server.crash()
    world.client.boot()
    assert world.net.tcp_figures() == before


# Pause


def test_timers_of_a_paused_host_fire_late_in_their_order() -> None:
    world = World()

    async def sleeps(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        world.note(name)

    for name, seconds in (("b", 3), ("c", 3), ("a", 2.5), ("d", 6)):
        world.net.start(world.server, sleeps, name, seconds)
    world.net.at(2, world.server.pause)
    world.net.at(5, world.server.resume)
    world.net.run()
    assert world.log == [("a", 5.0), ("b", 5.0), ("c", 5.0), ("d", 6.0)]


def test_the_clocks_of_a_paused_host_go_on() -> None:
    world = World()

    def main() -> None:
        begin = time.monotonic(), time.time()
        time.sleep(3)
        world.log.append((time.monotonic() - begin[0], time.time() - begin[1]))

    world.net.start(world.server, main)
    world.net.at(2, world.server.pause)
    world.net.at(60, world.server.resume)
    world.net.run()
    assert world.log == [(60.0, 60.0)]


def test_a_pause_longer_than_the_rto_costs_retransmissions_and_loses_nothing() -> None:
    world = World()
    world.net.start(world.server, serve, background=True)
    world.net.at(5, world.server.pause)
    world.net.at(6, world.server.resume)
    world.net.run(talk, world, 5, on=world.client)
    # The segment, the probe at 0.21 s and retransmissions at 0.42 and 0.84 s wait in the ring; the echo leaves when the
    # host goes on.
    assert world.log == [("writes", 5.02), (b"two", pytest.approx(6.005))]
    assert world.client.ip.counters.tcp_retrans_segs == 3


def test_the_ring_of_a_paused_host_has_room_for_so_many_frames() -> None:
    world = World()
    got: list[bytes] = []

    def receive() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.bind(("", 53))
            while True:
                got.append(sock.recv(100))

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            time.sleep(1)
            for number in range(RING_FRAMES + 10):
                sock.sendto(str(number).encode(), ("server", 53))

    world.net.start(world.server, receive, background=True)
    world.net.at(0.5, world.server.pause)
    world.net.run(send, on=world.client)
    world.net.run(until=2)
    assert (got, world.server.devices["eth0"].rx_dropped) == ([], 10)
    world.server.resume()
    world.net.run(until=3)
    assert got == [str(number).encode() for number in range(RING_FRAMES)]


@pytest.mark.parametrize("turned", [False, True], ids=["there", "back"])
def test_a_paused_router_sends_on_what_it_kept_by_whichever_device(turned: bool) -> None:
    net = lunar.Network()
    hosts = [net.host("left", "10.0.0.2/24"), net.host("right", "10.1.0.2/24")]
    router = net.host("router", "10.0.0.1/24", "10.1.0.1/24")
    for number, host in enumerate(hosts):
        net.link(host, f"router.eth{number}")
        host.sh(f"ip route add default via 10.{number}.0.1")
    router.sh("sysctl -w net.ipv4.ip_forward=1")
    sender, receiver = reversed(hosts) if turned else hosts
    address = "10.0.0.2" if turned else "10.1.0.2"
    got: list[bytes] = []

    def receive() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 53))
            got.append(sock.recv(100))

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"kept", (address, 53))

    net.start(receiver, receive, background=True)
    router.pause()
    net.run(send, on=sender)
    net.at(1, router.resume)
    net.run(until=2)
    assert got == [b"kept"]


def test_what_is_started_on_a_paused_host_begins_when_it_goes_on() -> None:
    world = World()
    world.server.pause()
    world.net.start(world.server, world_serves, world, background=True)
    world.net.run(until=1)
    assert world.log == []
    world.server.resume()
    world.net.run(until=2)
    assert world.log == [("serves", 1.0)]


def test_a_timer_that_is_cancelled_during_the_pause_does_not_fire() -> None:
    world = World()
    handles: list[asyncio.TimerHandle] = []

    async def main() -> None:
        handles.append(asyncio.get_running_loop().call_later(2, world.note, "fired"))
        asyncio.get_running_loop().call_later(3, world.note, "the other")
        await asyncio.sleep(4)

    world.net.start(world.server, main)
    world.net.at(1, world.server.pause)
    world.net.at(1.5, lambda: handles.pop().cancel())
    world.net.at(10, world.server.resume)
    world.net.run()
    assert world.log == [("the other", 10.0)]
    assert world.net.scheduler.pending() == 0


def test_a_host_that_crashes_while_it_is_paused() -> None:
    world = World()
    world.net.start(world.server, in_a_recv, world)
    world.net.start(world.server, in_an_await, world)
    world.net.at(1, world.server.pause)
    world.crash_at(2)
    world.net.at(3, world.server.boot)
    world.net.run(until=200)
    assert (world.log, world.server.state) == ([], "up")


# Signals


def handles_sigterm(world: World) -> None:
    signal.signal(signal.SIGTERM, lambda signum, frame: world.note(signum))
    time.sleep(20)
    world.note("ended")


def test_kill_delivers_to_all_weaves_or_to_one() -> None:
    world = World()
    for name in ("a", "b"):
        weave = world.server.new_weave(name)
        string = lunar.network.String(weave, name, handles_sigterm, (world,))
        world.net.supervisor.start(string, 0)
    world.net.at(1, world.server.kill, signal.SIGTERM)
    world.net.at(2, world.server.kill, signal.SIGTERM, "b")
    world.net.run(until=10)
    assert world.log == [(signal.SIGTERM, 1.0), (signal.SIGTERM, 1.0), (signal.SIGTERM, 2.0)]
    with pytest.raises(ValueError, match=r"^host server has no weave c; it has a, b$"):
        world.server.kill(signal.SIGTERM, "c")


def test_a_signal_for_a_paused_host_comes_when_it_goes_on() -> None:
    world = World()
    world.net.start(world.server, handles_sigterm, world)
    world.net.at(1, world.server.pause)
    world.net.at(2, world.server.kill, signal.SIGTERM)
    world.net.at(5, world.server.resume)
    world.net.run()
    assert world.log == [(signal.SIGTERM, 5.0), ("ended", 20.0)]


def test_a_signal_for_a_program_that_has_not_begun_or_has_ended_reaches_nobody() -> None:
    world = World()

    async def ends() -> None:
        signal.signal(signal.SIGTERM, lambda *_: world.note("a handler of the dead"))

    world.net.start(world.server, ends)
    world.net.at(1, world.server.kill, signal.SIGTERM)
    world.net.start(world.client, ends, at=2)
    world.net.at(1, world.client.kill, signal.SIGTERM)
    strings = world.net.supervisor.strings
    world.net.run()
    assert ([string.state for string in strings], world.log) == ([ENDED, ENDED], [])


def test_sigkill_runs_nothing_and_the_host_closes_what_was_open() -> None:
    world = World()

    def holds() -> None:
        with noted(world, "with"), socket.create_connection(("server", 80)) as connection:
            connection.recv(100)

    async def accepts() -> None:
        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            world.note(await reader.read())

        await (await asyncio.start_server(read, "0.0.0.0", 80)).serve_forever()

    world.net.start(world.server, accepts, background=True)
    string = world.net.start(world.client, holds)
    world.net.at(3, world.client.kill, signal.SIGKILL)
    world.net.run(until=10)
    assert (world.log, string.state) == ([(b"", 3.005)], KILLED)


def test_a_program_that_kills_itself() -> None:
    world = World()

    def main() -> None:
        with noted(world, "with"):
            world.server.kill(signal.SIGKILL)
            world.note("the turn goes on")
            time.sleep(1)

    string = world.net.start(world.server, main)
    world.net.run()
    assert (world.log, string.state, world.net.now) == ([("the turn goes on", 0.0)], KILLED, 0.0)


def test_shutdown_lets_programs_end_and_then_the_power_goes_off() -> None:
    world = World()

    async def ends_in_two_seconds() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await asyncio.sleep(2)
        world.note("ended")

    world.net.start(world.server, ends_in_two_seconds)
    world.net.at(1, world.server.shutdown)
    world.net.run()
    assert (world.log, world.net.now, world.server.state) == ([("ended", 3.0)], 3.0, "down")


def test_shutdown_waits_no_longer_than_the_grace() -> None:
    world = World()
    world.net.start(world.server, handles_sigterm, world)
    world.net.at(1, world.server.shutdown, "4s")
    world.net.run()
    assert (world.log, world.net.now, world.server.state) == ([(signal.SIGTERM, 1.0)], 5.0, "down")


def test_reboot() -> None:
    world = World()
    world.server.launches.append(lambda: void(world.net.start(world.server, world_serves, world, background=True)))
    world.net.start(world.server, handles_sigterm, world)
    world.net.at(1, world.server.reboot, 4)
    world.net.run(until=10)
    assert world.log == [(signal.SIGTERM, 1.0), ("serves", 5.0)]
    assert (world.server.state, world.server.boots) == ("up", 1)


def test_a_reboot_of_a_host_that_is_down_is_one_boot() -> None:
    world = World()
    world.net.at(1, world.server.crash)
    world.net.at(2, world.server.reboot)
    world.net.run()
    assert (world.server.state, world.server.boots) == ("up", 1)


def test_a_crash_ends_a_shutdown_and_a_later_boot_hears_nothing_of_it() -> None:
    world = World()
    world.net.start(world.server, handles_sigterm, world)
    world.net.at(1, world.server.shutdown)                 # complete at 11 s, at the latest
    world.net.at(2, world.server.crash)
    world.net.at(3, world.server.boot)
    world.net.run(until=20)
    assert (world.log, world.server.state) == ([(signal.SIGTERM, 1.0)], "up")


def test_of_two_shutdowns_the_later_one_decides() -> None:
    world = World()
    world.net.start(world.server, handles_sigterm, world)
    world.net.at(1, world.server.shutdown)
    world.net.at(2, world.server.reboot, "1s")
    world.net.run(until=20)
    assert (world.server.state, world.server.boots) == ("up", 1)


# Planned from outside


def test_at_refuses_a_time_that_has_gone_by() -> None:
    world = World()
    world.net.run(until=3)
    with pytest.raises(ValueError, match=r"^at '2s': it is 3\.0 s already; expected a time to come$"):
        world.net.at("2s", world.server.crash)


def test_a_run_waits_for_what_is_planned() -> None:
    world = World()
    world.net.at("5s", world.note, "planned")
    world.net.run()
    assert world.log == [("planned", 5.0)]


# Repeatability, and memory


def test_equal_runs_have_equal_digests() -> None:
    def digest() -> str:
        world = World()
        world.server.launches.append(lambda: void(world.net.start(world.server, serve, background=True)))
        world.server.launches[0]()
        world.crash_at(2)
        world.net.at(3, world.server.boot)
        world.net.at(5.01, world.server.pause)
        world.net.at(6, world.server.resume)
        for pause in (1, 1.99, 2.5, 4):
            world.net.start(world.client, talk, world, pause)
        world.net.run(until=30)
        return f"{world.log} {world.net.digest()}"

    assert digest() == digest()


async def holds_much(world: World, known: list[weakref.ref[Any]]) -> None:
    server = await asyncio.start_server(echo, "0.0.0.0", 80)
    loop = asyncio.get_running_loop()
    known += [weakref.ref(server), weakref.ref(loop)]
    known += [weakref.ref(task) for task in (asyncio.current_task(), loop.create_task(in_an_await(world)))]
    await asyncio.to_thread(time.sleep, 1000)


def test_a_crash_gives_memory_back() -> None:
    world = World()
    known: list[weakref.ref[Any]] = []
    world.server.launches.append(
        lambda: void(world.net.start(world.server, holds_much, world, known, background=True))
    )

    def cycle() -> None:
        world.server.crash()
        world.server.boot()
        world.net.run(until=world.net.now + 1)

    def objects() -> Counter[str]:
        gc.collect()
        return Counter(type(found).__name__ for found in gc.get_objects() if _is_of_a_host(type(found)))

    cycle()
    cycle()
    before = objects()
    for _ in range(20):
        cycle()
    assert not objects() - before  # of other tests there may be less by now
    assert sum(ref() is not None for ref in known) == 4  # of the host that runs
    assert len(world.net.supervisor.strings) == 1
    assert world.net.supervisor.forgotten[KILLED] == 21


def test_the_memory_of_a_main_is_given_back() -> None:
    world = World()
    for _ in range(100):
        world.net.run(asyncio.sleep, 1, on=world.server)
    assert (world.server.weave.strings, world.net.supervisor.strings) == ([], [])
    assert world.net.supervisor.forgotten[ENDED] == 100


def _is_of_a_host(kind: type) -> bool:
    module = str(getattr(kind, "__module__", ""))
    return module.startswith(("weaves", "lunar", "asyncio", "greenlet")) or kind.__name__ == "coroutine"


def test_awaits_of_a_string_that_never_began() -> None:
    world = World()
    string = world.net.start(world.server, awaits_nothing(), at=5)
    world.server.crash()
    assert string.state == WAITING_TO_START
    world.net.run()
    assert (string.state, world.net.now) == (KILLED, 5.0)


def awaits_nothing() -> Awaitable[None]:
    return asyncio.sleep(0)
