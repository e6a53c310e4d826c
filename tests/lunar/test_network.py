"""Network, the Python face of a tapestry: building, running, what a run returns and raises, and that it repeats."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lunar
from lunar.host_socket import LunarSocket
from lunar.links.impairments import Impairment, RandomLoss
from lunar.links.link import Link
from lunar.links.switch import Switch
from lunar.net import ip_output
from lunar.net.icmp import ECHO_REPLY
from lunar.packet import AF_INET, Frame, IcmpMessage
from lunar.wire.address import parse_ipv4
from weaves.strings import ENDED, FAILED, KILLED

MS = 1_000_000

networks: list[lunar.Network] = []


@pytest.fixture(autouse=True)
def close_networks() -> Iterator[None]:
    yield
    while networks:
        networks.pop().close()


def network(*args: Any, **options: Any) -> lunar.Network:
    made = lunar.Network(*args, **options)
    networks.append(made)
    return made


def pair(seed: int = 1, through_bytes: bool = False, on_error: str = "stop", **link: Any) -> lunar.Network:
    """Hosts a (10.0.0.1) and b (10.0.0.2) and a link."""
    net = network(seed=seed, through_bytes=through_bytes, on_error=on_error)
    net.host("a", "10.0.0.1/24")
    net.host("b", "10.0.0.2/24")
    net.link("a", "b", **{"delay": "5ms", **link})
    return net


# Hosts


def test_a_host_has_lo_and_a_device_for_each_address() -> None:
    host = network().host("a", "10.0.0.1/24", "10.1.0.1/16")
    assert list(host.devices) == ["lo", "eth0", "eth1"]
    assert [(own.address, own.prefix) for own in host.devices["eth1"].addresses] == [(parse_ipv4("10.1.0.1"), 16)]


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [((), "127.0.0.1"), (("10.0.0.1/24",), "10.0.0.1"), (("10.1.0.1/8", "10.0.0.1/24"), "10.1.0.1")],
)
def test_the_address_of_a_host_is_its_first(addresses: tuple[str, ...], expected: str) -> None:
    assert network().host("a", *addresses).address == expected


def test_hardware_addresses_differ() -> None:
    net = network()
    hosts = [net.host(f"h{i}", "10.0.0.1/24", "10.1.0.1/24") for i in range(3)]
    macs = [host.devices[name].mac for host in hosts for name in ("eth0", "eth1")]
    assert macs == [0x0200_0000_0000 + i for i in range(1, 7)]


def test_a_host_can_have_more_names() -> None:
    with lunar.Network() as net:
        server, client = net.host("server", "10.0.0.1/24", "10.1.0.1/24"), net.host("client", "10.0.0.2/24")
        server.add_name("www.example.org")
        found = client.getaddrinfo("WWW.example.org", 80, type=socket.SOCK_STREAM)
        assert [entry[4] for entry in found] == [("10.0.0.1", 80), ("10.1.0.1", 80)]
        assert client.getnameinfo(("10.0.0.1", 80))[0] == "server"  # its own name comes first


def test_a_name_is_taken_once() -> None:
    net = network()
    net.host("a")
    with pytest.raises(ValueError, match=r"^there is a host a already$"):
        net.host("a")


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/x", "10.0.0.1/-1"])
def test_an_address_needs_a_prefix_length(text: str) -> None:
    net = network()
    with pytest.raises(ValueError) as raised:
        net.host("a", text)
    assert str(raised.value) == (
        f'{text} is not an address; expected an IPv4 address with a prefix length, such as "10.0.0.2/24"'
    )
    assert net.hosts == {}


def test_a_short_address_counts_within_its_network() -> None:
    assert network().host("a", "10.1.513/16").address == "10.1.2.1"  # 513 = 2 * 256 + 1, as in a tapestry


@pytest.mark.parametrize("text", ["0.0.0.1/24", "224.0.0.1/24", "10.0.0.0/24", "10.0.0.255/24", "127.0.0.5/8"])
def test_an_address_that_no_device_can_have_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        network().host("a", text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0}, "rate 0: expected a whole number of 1 or more"),
        ({"rate": 1.5}, "rate 1.5: expected a whole number of 1 or more"),
        ({"delay": -1}, "delay -1: expected a whole number of 0 or more"),
        ({"queue": 0}, "queue 0: expected a whole number of 1 or more"),
        ({"mtu": 10}, "mtu 10: expected a whole number from 68 to 65535"),
    ],
)
def test_a_wrong_number_for_a_link_is_refused(settings: dict[str, Any], message: str) -> None:
    net = network()
    with pytest.raises(ValueError, match=f"^{message}$"):
        net.link(net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24"), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"red": {"least": 3}}, "red {'least': 3}: expected lunar.links.red.RedLimits"),
        ({"impairment": lambda: None}, "impairment() gave None; expected an Impairment"),
    ],
)
def test_a_part_of_a_link_that_is_none_is_refused(settings: dict[str, Any], message: str) -> None:
    net = network()
    with pytest.raises(TypeError) as refused:
        net.link(net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24"), **settings)
    assert str(refused.value) == message


@pytest.mark.parametrize("value", ["cubic", None, 5.0, [1]])
def test_an_option_takes_integers_and_bytes(value: Any) -> None:
    def program() -> None:
        with socket.socket() as sock, pytest.raises(TypeError) as refused:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, value)
        # Of the machine's socket.
        assert str(refused.value) == f"a bytes-like object is required, not '{type(value).__name__}'"

    net = network()
    net.run(program, on=net.host("a", "10.0.0.1/24"))


def test_a_time_before_now_is_refused() -> None:
    net = network()
    with pytest.raises(ValueError, match=r"^until -1: expected seconds of 0 or more$"):
        net.run(until=-1)
    with pytest.raises(ValueError, match=r"^at -1: expected seconds of 0 or more$"):
        net.start(net.host("a"), print, at=-1)


def test_a_device_can_have_a_name_of_its_own() -> None:
    host = network().host("a", "10.0.0.1/24")
    assert host.add_device([], "wlan0").name == "wlan0"
    assert host.add_device([]).name == "eth1"
    with pytest.raises(ValueError, match=r"^host a has a device wlan0 already$"):
        host.add_device([], "wlan0")


# Links


def three() -> lunar.Network:
    net = network()
    net.host("a", "10.0.0.1/24", "10.1.0.1/24")
    net.host("b", "10.0.0.2/24")
    net.host("c", "10.1.0.3/24")
    return net


END: dict[str, Callable[[lunar.Network], Any]] = {
    "host": lambda net: net.hosts["a"],
    "name": lambda net: "a",
    "name and device": lambda net: "a.eth0",
    "device": lambda net: net.hosts["a"].devices["eth0"],
}


@pytest.mark.parametrize("end", END.values(), ids=END.keys())
def test_an_end_is_a_host_a_device_or_a_name(end: Callable[[lunar.Network], Any]) -> None:
    net = three()
    link = net.link(end(net), "b")
    assert isinstance(link, Link)
    assert link.a is net.hosts["a"].devices["eth0"]
    assert link.b.medium is link.a.medium is link


def test_a_host_gives_its_first_free_device() -> None:
    net = three()
    net.link("a", "b")
    link = net.link("a", "c")
    assert isinstance(link, Link)
    assert link.a is net.hosts["a"].devices["eth1"]


def test_two_ends_make_a_link_and_three_a_switch() -> None:
    net = three()
    assert isinstance(net.link("a.eth1", "b", "c"), Switch)
    assert net.link("a.eth0", net.hosts["a"].add_device([])) in net.links


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (("a", "nobody"), "there is no host nobody"),
        (("a", "b.eth1"), "host b has no device eth1"),
        (("a",), "a link joins two devices or more"),
        ((), "a link joins two devices or more"),
        (("a.eth0", "a.eth0"), "a link joins different devices"),
        (("a.eth0", "b", "a.eth0"), "a link joins different devices"),
    ],
)
def test_wrong_ends(ends: tuple[str, ...], message: str) -> None:
    net = three()
    with pytest.raises(ValueError) as raised:
        net.link(*ends)
    assert str(raised.value) == message
    assert net.links == []


def test_a_host_without_a_free_device() -> None:
    net = three()
    net.link("b", "c")
    with pytest.raises(ValueError, match=r"^host b has no device that is free for a link$"):
        net.link("a", "b")


def test_a_device_is_on_one_link() -> None:
    net = three()
    net.link("b", "c")
    with pytest.raises(ValueError, match=r"^a device eth0 is on a link already$"):
        net.link("a", "b.eth0")


def test_a_device_of_another_network() -> None:
    with pytest.raises(ValueError, match=r"^device eth0 is of another network$"):
        three().link("a", three().hosts["b"].devices["eth0"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": "fast"}, '"fast" is not a rate'),
        ({"delay": "5"}, '"5" is not a duration'),
        ({"loss": "2"}, '"2" is not a loss'),
        ({"loss": 1.1}, "1.1 is out of range"),
        ({"queue": "many"}, '"many" is not a queue limit'),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    net = three()
    with pytest.raises(ValueError) as raised:
        net.link("a", "b", **options)
    assert str(raised.value).startswith(message)
    assert net.links == []


def test_values_as_text_and_as_numbers() -> None:
    net = three()
    net.link("a", "b", rate="100mbit", delay="5ms", loss="1%", queue="64 kb", name="text")
    net.link("a", "c", rate=100_000_000, delay=5 * MS, loss=0.01, queue=64, name="numbers")
    text, numbers = net.wires["text"][0], net.wires["numbers"][0]
    assert (text.rate_bps, text.delay_ns) == (numbers.rate_bps, numbers.delay_ns) == (100_000_000, 5 * MS)
    assert (text.limit_packets, text.limit_bytes) == (0, 65_536)
    assert (numbers.limit_packets, numbers.limit_bytes) == (64, 0)


def test_without_values_a_link_is_perfect() -> None:
    net = three()
    net.link("a", "b")
    (wire, back) = net.wires["a.eth0 - b.eth0"]
    assert (wire.rate_bps, wire.delay_ns, wire.impairment, wire.limit_packets) == (0, 0, None, 1000)
    assert back.target is net.hosts["a"].devices["eth0"]


def test_links_of_one_name_are_told_apart() -> None:
    net = three()
    net.link("a", "b", name="wire")
    net.link("a", "c", name="wire")
    assert list(net.wires) == ["wire", "wire #1"]


def test_the_mtu_is_that_of_the_link() -> None:
    net = three()
    net.link("a", "b", mtu=900)
    assert [net.hosts[name].devices["eth0"].mtu for name in ("a", "b", "c")] == [900, 900, 1500]


class DropAll(Impairment):
    def drops(self, frame: Frame) -> bool:
        return True


def test_each_direction_has_a_loss_of_its_own() -> None:
    net = pair(loss=0.5)
    there, back = (wire.impairment for wire in net.wires["a.eth0 - b.eth0"])
    assert isinstance(there, RandomLoss)
    assert isinstance(back, RandomLoss)
    assert [there.rng.random() for _ in range(5)] != [back.rng.random() for _ in range(5)]


def test_an_impairment_of_ones_own_for_each_direction() -> None:
    made: list[DropAll] = []

    def make() -> DropAll:
        made.append(DropAll())
        return made[-1]

    net = pair(impairment=make)
    assert [wire.impairment for wire in net.wires["a.eth0 - b.eth0"]] == made
    assert len(made) == 2
    sends(net, "a", "10.0.0.2")
    net.run(until=1)
    assert net.wires["a.eth0 - b.eth0"][0].dropped_loss == 1


def sends(net: lunar.Network, host: str, dst: str, count: int = 1, size: int = 86) -> None:
    """Echo replies, which nobody answers."""
    for _ in range(count):
        message = IcmpMessage(AF_INET, 0, parse_ipv4(dst), ECHO_REPLY, 0, 0, bytes(size - 28))
        message.size_bytes = size
        assert ip_output.send(net.hosts[host].ip, message, None) == 0


# Figures


def test_the_figures_of_a_link() -> None:
    # 100 bytes with the Ethernet header: 100 us each at 8 Mbit/s. Five at once: one is sent, two wait, two are dropped.
    net = pair(rate="8mbit", queue=2)
    sends(net, "a", "10.0.0.2", count=5)
    sends(net, "b", "10.0.0.1")
    net.run(until=1)
    assert net.link_figures() == [
        {
            "name": "a.eth0 - b.eth0",
            "packets": 4,
            "bytes": 4 * 86,
            "lost": 0,
            "duplicated": 0,
            "corrupted": 0,
            "held_back": 0,
            "queue_drops": 2,
            "marked": 0,
            "mean_queueing_s": 0.000075,  # (0 + 100 + 200 + 0) / 4 us
            "peak_queue_packets": 2,
        }
    ]


def test_the_figures_of_an_idle_link() -> None:
    (figures,) = pair().link_figures()
    assert (figures["packets"], figures["mean_queueing_s"], figures["peak_queue_packets"]) == (0, 0.0, 0)


def test_totals_count_each_hop() -> None:
    net = network()
    a, r, b = net.host("a", "10.0.1.2/24"), net.host("r", "10.0.1.1/24", "10.0.2.1/24"), net.host("b", "10.0.2.2/24")
    net.link("a", "r.eth0")
    net.link("r.eth1", "b")
    a.sh("route add default gw 10.0.1.1")
    r.sh("sysctl -w net.ipv4.ip_forward=1")
    sends(net, "a", "10.0.2.2", count=3)
    net.run(until=1)
    assert net.totals() == {"hosts": 3, "packets": 6}
    assert b.ip.counters.ip_in_delivers == 3


def test_without_tcp_its_figures_are_zero() -> None:
    assert set(pair().tcp_figures().values()) == {0}


# Running


async def sleep(seconds: float, result: Any = None) -> Any:
    await asyncio.sleep(seconds)
    return result


def test_a_new_network_is_at_zero() -> None:
    assert network().now == 0.0


def test_run_returns_the_result_of_a_coroutine() -> None:
    net = pair()
    assert net.run(sleep(1.5, "done"), on=net.hosts["a"]) == "done"
    assert net.now == 1.5


def test_run_takes_a_coroutine_function_with_arguments() -> None:
    net = pair()
    assert net.run(sleep, 1.5, "done", on=net.hosts["a"]) == "done"


def test_run_takes_a_blocking_function_with_arguments() -> None:
    def block(seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    net = pair()
    assert net.run(block, 2.5, on=net.hosts["a"]) == "slept"
    assert net.now == 2.5


def test_run_needs_a_host() -> None:
    with pytest.raises(TypeError, match=r"^run\(\) with a coroutine or function needs on=HOST$"):
        pair().run(sleep(1))


def test_time_goes_on_from_run_to_run() -> None:
    net = pair()
    net.run(sleep(1), on=net.hosts["a"])
    net.run(sleep(2), on=net.hosts["b"])
    assert net.now == 3.0


def test_run_stops_at_the_end_of_main_and_others_go_on_later() -> None:
    net = pair()
    other = net.start(net.hosts["b"], sleep, 5)
    net.run(sleep(1), on=net.hosts["a"])
    assert (net.now, other.over) == (1.0, False)
    net.run()
    assert (net.now, other.state) == (5.0, ENDED)


def test_run_raises_the_exception_of_main() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise LookupError("no such thing")

    net = pair()
    with pytest.raises(LookupError, match="no such thing"):
        net.run(fails(), on=net.hosts["a"])
    assert net.run(sleep(1, "still alive"), on=net.hosts["a"]) == "still alive"


def test_run_raises_the_exception_of_a_blocking_main() -> None:
    def fails() -> None:
        time.sleep(1)
        raise LookupError("no such thing")

    net = pair()
    with pytest.raises(LookupError, match="no such thing"):
        net.run(fails, on=net.hosts["a"])
    assert net.now == 1.0


def test_a_main_that_was_killed_is_cancelled() -> None:
    net = pair()
    strings = net.hosts["a"].weave.strings

    async def killer() -> None:
        await asyncio.sleep(1)
        strings[0].kill()

    net.start(net.hosts["b"], killer)
    with pytest.raises(asyncio.CancelledError):
        net.run(sleep(5), on=net.hosts["a"])
    assert net.now == 1.0
    assert strings[0].state == KILLED


def test_without_main_run_ends_with_the_last_string() -> None:
    net = pair()
    strings = [net.start(net.hosts["a"], sleep, seconds, seconds) for seconds in (3, 1, 2)]
    assert net.run() is None
    assert net.now == 3.0
    assert [string.result for string in strings] == [3, 1, 2]


def test_background_strings_are_not_waited_for() -> None:
    net = pair()
    background = net.start(net.hosts["a"], sleep, 9, background=True)
    net.start(net.hosts["b"], sleep, 1)
    net.run()
    assert (net.now, background.over) == (1.0, False)


def test_a_run_with_nothing_to_do_ends_at_once() -> None:
    net = pair()
    net.run()
    assert net.now == 0.0


# until


@pytest.mark.parametrize("until", ["10s", 10, 10.0, "10000ms"])
def test_until_is_where_the_clock_stands(until: str | float) -> None:
    net = pair()
    net.run(until=until)
    assert net.scheduler.now_ns == 10_000 * MS
    assert net.now == 10.0


@pytest.mark.parametrize("seconds", [3, 10, 100])
def test_until_holds_whenever_the_strings_end(seconds: float) -> None:
    net = pair()
    string = net.start(net.hosts["a"], sleep, seconds)
    net.run(until="10s")
    assert (net.now, string.over) == (10.0, seconds <= 10)


def test_what_happens_at_until_happens() -> None:
    net = pair()
    string = net.start(net.hosts["a"], sleep, 10, "in time")
    net.run(until=10)
    assert string.result == "in time"


def test_until_is_a_time_and_not_a_duration() -> None:
    net = pair()
    net.run(until=10)
    net.run(until=15)
    assert net.now == 15.0


def test_until_in_the_past_does_nothing() -> None:
    net = pair()
    net.run(until=10)
    net.run(until=5)
    assert net.now == 10.0


def test_main_may_end_before_until() -> None:
    net = pair()
    assert net.run(sleep(1, "early"), on=net.hosts["a"], until=10) == "early"
    assert net.now == 1.0


def test_main_may_end_at_until() -> None:
    net = pair()
    assert net.run(sleep(10, "just"), on=net.hosts["a"], until=10) == "just"


def test_a_main_that_is_late_is_a_timeout() -> None:
    net = pair()
    with pytest.raises(TimeoutError, match=r"^string sleep had not ended at the virtual time 10\.0 s$"):
        net.run(sleep, 11, on=net.hosts["a"], until=10)
    assert net.now == 10.0
    assert net.hosts["a"].weave.strings[0].state == KILLED


def test_a_main_that_nothing_can_wake_is_not_late_but_stalled() -> None:
    net = pair()
    with pytest.raises(lunar.Stalled):
        net.run(forever, on=net.hosts["a"], until=10)


# Starting


def test_a_string_starts_at_a_time_from_now() -> None:
    net = pair()
    net.run(until=1)
    times: list[float] = []

    async def note() -> None:
        times.append(net.now)

    net.start(net.hosts["a"], note)
    net.start(net.hosts["a"], note, at="250ms")
    net.start(net.hosts["a"], note, at=0.5)
    net.run()
    assert times == [1.0, 1.25, 1.5]


def test_arguments_by_name_reach_the_function() -> None:
    net = pair()
    string = net.start(net.hosts["a"], sleep, seconds=1, result="named")
    net.run()
    assert string.result == "named"


def test_a_string_is_called_as_its_function_or_as_one_says() -> None:
    net = pair()
    assert net.start(net.hosts["a"], sleep, 1).name == "sleep"
    assert net.start(net.hosts["a"], sleep, 1, name="nap").name == "nap"


def test_strings_of_one_instant_run_in_the_order_of_their_hosts() -> None:
    net = pair()
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    net.start(net.hosts["b"], note, "b")
    net.start(net.hosts["a"], note, "a1")
    net.start(net.hosts["a"], note, "a2")
    net.run()
    assert order == ["a1", "a2", "b"]


# Failures of others


async def breaks(seconds: float = 1) -> None:
    await asyncio.sleep(seconds)
    raise LookupError("broken")


def test_the_failure_of_another_string_stops_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    net = pair()
    string = net.start(net.hosts["b"], breaks)
    with pytest.raises(lunar.StringFailed) as raised:
        net.run(sleep(5), on=net.hosts["a"])
    assert str(raised.value) == "string breaks on host b failed: LookupError('broken')"
    assert raised.value.string is string
    assert isinstance(raised.value.__cause__, LookupError)
    assert (net.now, string.state) == (1.0, FAILED)
    assert capsys.readouterr().err.startswith("host b, weave b, string breaks:\nTraceback")


def test_it_stops_a_run_without_main_too() -> None:
    net = pair()
    net.start(net.hosts["a"], sleep, 5)
    net.start(net.hosts["b"], breaks)
    with pytest.raises(lunar.StringFailed):
        net.run()
    assert net.now == 1.0


def test_it_stops_a_bounded_run_too() -> None:
    net = pair()
    net.start(net.hosts["b"], breaks)
    with pytest.raises(lunar.StringFailed):
        net.run(until=10)
    assert net.now == 1.0


def test_a_run_can_go_on_after_a_failure() -> None:
    net = pair()
    net.start(net.hosts["b"], breaks)
    other = net.start(net.hosts["a"], sleep, 5)
    with pytest.raises(lunar.StringFailed):
        net.run()
    net.run()
    assert (net.now, other.state) == (5.0, ENDED)


@pytest.mark.parametrize("where", ["network", "string"])
def test_a_failure_may_be_passed_over(where: str) -> None:
    net = pair(on_error="continue" if where == "network" else "stop")
    string = net.start(net.hosts["b"], breaks, on_error="continue" if where == "string" else None)
    assert net.run(sleep(5, "through"), on=net.hosts["a"]) == "through"
    assert string.state == FAILED


def test_a_string_may_be_started_again() -> None:
    net = pair()
    string = net.start(net.hosts["b"], breaks, on_error="restart")
    net.run(until=6)
    # It breaks at 1 s and is dead for one second: again at 3 s and 5 s.
    assert string.restarts == 3


# Stalled


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_a_main_that_nothing_can_wake_is_stalled() -> None:
    net = pair()
    with pytest.raises(lunar.Stalled) as raised:
        net.run(forever, on=net.hosts["a"])
    assert str(raised.value) == (
        "nothing is left that could wake forever on a: no packet is on its way and no timer is set"
    )


def test_strings_that_nothing_can_wake_are_named() -> None:
    net = pair()
    for number in range(7):
        net.start(net.hosts["a"], forever, name=f"s{number}")
    with pytest.raises(lunar.Stalled) as raised:
        net.run()
    assert str(raised.value) == (
        "nothing is left that could wake s0 on a, s1 on a, s2 on a, s3 on a, s4 on a and 2 more: "
        "no packet is on its way and no timer is set"
    )


def test_a_blocking_main_can_stall_too() -> None:
    def block() -> None:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).recv(1)

    net = pair()
    with pytest.raises(lunar.Stalled):
        net.run(block, on=net.hosts["a"])


def test_with_until_strings_may_wait_for_nothing() -> None:
    net = pair()
    net.start(net.hosts["a"], forever)
    net.run(until=10)
    assert net.now == 10.0


def test_background_strings_may_wait_for_nothing() -> None:
    net = pair()
    net.start(net.hosts["a"], forever, background=True)
    net.start(net.hosts["a"], sleep, 1)
    net.run()
    assert net.now == 1.0


# Inside a loop of the machine


def test_run_async_in_a_loop_of_the_machine() -> None:
    net = pair()

    async def outer() -> tuple[Any, bool]:
        own = asyncio.get_running_loop()
        result = await net.run_async(sleep(3600, "async"), on=net.hosts["a"])
        return result, asyncio.get_running_loop() is own

    assert asyncio.run(outer()) == ("async", True)
    assert net.now == 3600.0


def test_run_async_raises_as_run_does() -> None:
    net = pair()

    async def outer() -> None:
        await net.run_async(breaks(), on=net.hosts["a"])

    with pytest.raises(LookupError, match="broken"):
        asyncio.run(outer())


def test_run_async_tells_of_each_slice() -> None:
    net = pair()
    net.start(net.hosts["a"], sleep, 10)
    turns: list[float] = []

    async def outer() -> None:
        await net.run_async(until=10, on_slice=lambda: turns.append(net.now))

    asyncio.run(outer())
    assert turns[-1] == 10.0


# The end


def test_closing_twice() -> None:
    net = pair()
    net.start(net.hosts["a"], forever)
    net.run(until=1)
    net.close()
    net.close()
    assert net.hosts["a"].weave.strings[0].state == KILLED


def test_the_end_of_a_with_closes() -> None:
    with pair() as net:
        string = net.start(net.hosts["a"], forever)
        net.run(until=1)
    assert string.state == KILLED


def test_closing_before_any_run() -> None:
    net = pair()
    string = net.start(net.hosts["a"], forever)
    net.close()
    assert string.state == KILLED


def test_close_gives_finally_clauses_their_turn_inside() -> None:
    net = pair()
    seen: list[object] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            seen.append((isinstance(socket.socket(), LunarSocket), asyncio.get_running_loop().time()))
            await asyncio.sleep(0)
            seen.append("a turn later")

    net.start(net.hosts["a"], waits)
    net.run(until=2)
    net.close()
    assert seen == [(True, 2.0), "a turn later"]


def test_close_does_not_wait_for_who_does_not_end() -> None:
    net = pair()
    turns = 0

    async def stubborn() -> None:
        nonlocal turns
        try:
            await asyncio.sleep(9)
        finally:
            while True:
                turns += 1
                await asyncio.sleep(0)

    net.start(net.hosts["a"], stubborn)
    net.run(until=2)
    net.close()
    assert 0 < turns <= 200  # 100 for the string, and 100


def test_a_closed_network_does_not_run() -> None:
    net = pair()
    net.close()
    with pytest.raises(RuntimeError, match="the network was closed"):
        net.run()


# Repeatability


class Chatter(asyncio.DatagramProtocol):
    """Answers each datagram with as many bytes as its host's generator says."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(bytes(random.randrange(1000)), addr)


async def serve() -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(Chatter, local_addr=("0.0.0.0", 53))
    await asyncio.sleep(3600)


async def chat(peer: str) -> list[tuple[float, int]]:
    """When the answers to 200 datagrams came, and how long they were."""
    loop = asyncio.get_running_loop()
    answers: list[tuple[float, int]] = []

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            answers.append((loop.time(), len(data)))

    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=(peer, 53))
    for _ in range(200):
        transport.sendto(bytes(random.randrange(1000)))
        await asyncio.sleep(random.random() / 100)
    await asyncio.sleep(1)
    transport.close()
    return answers


def conversation(seed: int = 1, extra: int = 0, **options: Any) -> tuple[str, list[tuple[float, int]]]:
    """The digest of a conversation over a lossy link, and what the client saw; with `extra` hosts that do nothing."""
    net = pair(seed=seed, rate="1mbit", loss="5%", queue=5, **options)
    for number in range(extra):
        net.host(f"extra{number}", "10.9.0.1/24")
    net.start(net.hosts["b"], serve, background=True)
    answers = net.run(chat("b"), on=net.hosts["a"])
    figures = net.link_figures()[0]
    assert figures["lost"] > 5
    assert figures["packets"] > 200
    return net.digest(), answers


def test_equal_seeds_give_equal_runs() -> None:
    assert conversation() == conversation()


def test_other_seeds_give_other_runs() -> None:
    digests = {conversation(seed)[0] for seed in range(5)}
    assert len(digests) == 5


def test_without_loss_the_seed_changes_what_programs_draw() -> None:
    first, second = (conversation(seed)[1] for seed in (1, 2))
    assert [size for _, size in first][:10] != [size for _, size in second][:10]


@pytest.mark.parametrize("through_bytes", [False, True])
def test_every_wire_knows_whether_packets_go_through_bytes(through_bytes: bool) -> None:
    net = pair(through_bytes=through_bytes)
    assert [wire.through_bytes for wire in net.wires["a.eth0 - b.eth0"]] == [through_bytes] * 2


def test_through_bytes_nothing_changes() -> None:
    assert conversation(through_bytes=True) == conversation()


def test_an_unrelated_host_changes_nothing_for_the_others() -> None:
    assert conversation(extra=3)[1] == conversation()[1]


def test_an_unrelated_host_from_before_changes_nothing_for_the_others() -> None:
    def answers(first: bool) -> list[tuple[float, int]]:
        net = network(seed=1)
        if first:
            net.host("other", "10.9.0.1/24")
        net.host("a", "10.0.0.1/24")
        net.host("b", "10.0.0.2/24")
        net.link("a", "b", delay="5ms", loss="5%")
        net.start(net.hosts["b"], serve, background=True)
        found: list[tuple[float, int]] = net.run(chat("b"), on=net.hosts["a"])
        return found

    assert answers(True) == answers(False)


def test_the_digest_grows_with_the_run() -> None:
    net = pair()
    before = net.digest()
    sends(net, "a", "10.0.0.2")
    after = net.digest()
    net.run(until=1)
    assert before != after
    assert len(after) == 32


def test_two_networks_at_once_do_not_meet() -> None:
    one, two = pair(), pair(seed=2)
    one.run(sleep(1), on=one.hosts["a"])
    two.run(sleep(2), on=two.hosts["a"])
    one.run(sleep(1), on=one.hosts["a"])
    assert (one.now, two.now) == (2.0, 2.0)


# Programs' view


def test_the_wall_clock_starts_at_the_epoch() -> None:
    async def clocks() -> tuple[float, float]:
        await asyncio.sleep(2)
        return time.time(), time.monotonic()

    net = network(epoch_ns=1_000_000_000 * 10**9)
    assert net.run(clocks(), on=net.host("a")) == (1_000_000_002.0, 2.0)


def test_a_host_knows_its_name() -> None:
    async def name() -> str:
        return socket.gethostname()

    net = pair()
    assert [net.run(name(), on=net.hosts[which]) for which in ("a", "b")] == ["a", "b"]


def test_sh_runs_a_command() -> None:
    net = pair()
    assert net.hosts["a"].sh("sysctl -n net.ipv4.ip_forward") == "0\n"


def test_capture_writes_a_file_for_each_device(tmp_path: Any) -> None:
    net = pair()
    net.capture(tmp_path)
    sends(net, "a", "10.0.0.2")
    net.run(until=1)
    net.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-eth0.pcap", "b-eth0.pcap"]
