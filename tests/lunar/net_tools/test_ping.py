"""ping: what it sends and prints, at exact virtual times; and the ways to wait for a command that takes time."""

from __future__ import annotations

import asyncio

import pytest

import lunar
from lunar.net_tools import CommandError


def pair(delay: str = "5ms") -> tuple[lunar.Network, lunar.Host, lunar.Host]:
    """A client, 10.0.0.2, and a server, 10.0.0.3, on one link."""
    net = lunar.Network(seed=1)
    client = net.host("client", "10.0.0.2/24")
    server = net.host("server", "10.0.0.3/24")
    net.link(client, server, delay=delay)
    return net, client, server


def test_an_echo_a_second() -> None:
    net, client, _ = pair()
    assert client.sh("ping -c 3 10.0.0.3") == (
        "PING 10.0.0.3 (10.0.0.3) 56(84) bytes of data.\n"
        "64 bytes from 10.0.0.3: icmp_seq=1 ttl=64 time=10.0 ms\n"
        "64 bytes from 10.0.0.3: icmp_seq=2 ttl=64 time=10.0 ms\n"
        "64 bytes from 10.0.0.3: icmp_seq=3 ttl=64 time=10.0 ms\n"
        "\n"
        "--- 10.0.0.3 ping statistics ---\n"
        "3 packets transmitted, 3 received, 0% packet loss, time 2000ms\n"
        "rtt min/avg/max/mdev = 10.000/10.000/10.000/0.000 ms\n"
    )
    assert net.now == 2.010  # it ends with the last reply


def test_a_name_is_shown_with_its_address() -> None:
    _, client, _ = pair("250us")
    printed = client.sh("ping -c 1 server")
    assert printed.startswith("PING server (10.0.0.3) 56(84) bytes of data.\n")
    assert "64 bytes from server (10.0.0.3): icmp_seq=1 ttl=64 time=0.500 ms\n" in printed
    assert "64 bytes from 10.0.0.3: icmp_seq=1" in client.sh("ping -n -c 1 server")


@pytest.mark.parametrize(("delay", "shown"), [("5us", "0.010"), ("1ms", "2.00"), ("49ms", "98.0"), ("100ms", "200")])
def test_digits_of_the_time(delay: str, shown: str) -> None:
    _, client, _ = pair(delay)
    assert f"time={shown} ms\n" in client.sh("ping -c 1 10.0.0.3")


def test_without_room_for_a_stamp_no_time_is_told() -> None:
    _, client, _ = pair()
    printed = client.sh("ping -c 1 -s 8 10.0.0.3")
    assert "16 bytes from 10.0.0.3: icmp_seq=1 ttl=64\n" in printed
    assert "rtt" not in printed


def test_who_gets_no_reply_waits_ten_seconds_after_the_last_request() -> None:
    net, client, _ = pair()
    printed = client.sh("ping -c 2 10.0.0.9")
    assert "2 packets transmitted, 0 received" in printed
    assert "100% packet loss" in printed
    assert net.now == 11.0


def test_w_bounds_the_whole_and_W_the_last_wait() -> None:
    net, client, _ = pair()
    client.sh("ping -c 2 -W 3 10.0.0.9")
    assert net.now == 4.0
    assert "6 packets transmitted, 6 received" in client.sh("ping -w 5.5 10.0.0.3")
    assert net.now == 9.5


def test_q_is_quiet_and_O_tells_of_silence() -> None:
    _, client, _ = pair()
    assert "icmp_seq" not in client.sh("ping -q -c 2 10.0.0.3")
    assert "no answer yet for icmp_seq=1\n" in client.sh("ping -O -c 2 10.0.0.9")


def test_a_router_tells_that_the_time_to_live_is_over() -> None:
    net = lunar.Network(seed=1)
    client, router, server = net.host("a", "10.0.0.2/24"), net.host("r", "10.0.0.1/24", "10.1.0.1/24"), net.host(
        "b", "10.1.0.2/24"
    )
    net.link("a", "r.eth0", delay="1ms")
    net.link("b", "r.eth1", delay="1ms")
    client.sh("route add default gw 10.0.0.1")
    server.sh("route add default gw 10.1.0.1")
    router.sh("sysctl -w net.ipv4.ip_forward=1")
    assert "64 bytes from b (10.1.0.2): icmp_seq=1 ttl=63 time=4.00 ms" in client.sh("ping -c 1 b")
    printed = client.sh("ping -c 1 -t 1 b")
    assert "From r (10.0.0.1) icmp_seq=1 Time to live exceeded\n" in printed
    assert "1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms\n" in printed


def test_what_is_too_big_for_the_device() -> None:
    _, client, _ = pair()
    printed = client.sh("ping -c 1 -M do -s 3000 10.0.0.3")
    assert "ping: local error: message too long, mtu=1500\n" in printed


def test_ipv6_and_everybody_on_a_link() -> None:
    net = lunar.Network(seed=1)
    hosts = [net.host(f"h{number}", f"2001:db8::{number}/64") for number in (1, 2, 3)]
    net.link(*hosts, delay="5ms")
    told = hosts[0].sh("ping -c 1 h2")
    assert told.startswith("PING h2(h2 (2001:db8::2)) 56 data bytes\n")
    assert "64 bytes from h2 (2001:db8::2): icmp_seq=1 ttl=64 time=10.0 ms\n" in told
    told = hosts[0].sh("ping -c 2 -I eth0 ff02::1")
    answers = [line.partition(": ")[0] for line in told.splitlines() if "icmp_seq=1" in line]
    # It hears itself, too.
    assert answers[1:] == [f"64 bytes from fe80::ff:fe00:{number}%eth0" for number in (2, 3)]
    assert "64 bytes from fe80::ff:fe00:2%eth0:" in hosts[0].sh("ping -c 1 fe80::ff:fe00:2%eth0")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("ping", "ping: expected one destination; there is none"),
        ("ping -c 1 a b", 'ping: expected one destination; found "a b"'),
        ("ping -c x server", 'ping: -c "x" is not a number'),
        ("ping -c 0 server", "ping: -c 0: expected 1 to 2147483647"),
        ("ping -c", "ping: -c: a value is missing"),
        ("ping -t 256 server", "ping: -t 256: expected 1 to 255"),
        ("ping -M perhaps server", 'ping: -M "perhaps": expected do, want or dont'),
        ("ping -I eth7 server", "ping: eth7: no such device; client has lo, eth0"),
        ("ping -6 10.0.0.3", "ping: 10.0.0.3: Address family for hostname not supported"),
        ("ping -c 1 nobody", "ping: nobody: Name or service not known"),
        ("ping -c 1 10.9.9.9", "ping: connect: Network is unreachable"),
        ("ping server", "ping: this would never end; expected -c or -w"),
        (
            "ping -f server",
            'ping: "-f" is not supported; expected -4, -6, -b, -D, -n, -O, -q, -c, -i, -I, -m, -M, -Q, -s, -t, -w, -W',
        ),
    ],
)
def test_refused(command: str, message: str) -> None:
    _, client, _ = pair()
    with pytest.raises(CommandError) as raised:
        client.sh(command)
    assert str(raised.value) == message


def test_a_blocking_string_waits_for_it_on_its_own_host_and_on_another() -> None:
    net, client, server = pair()
    seen: list[float] = []

    def work() -> None:
        for host, whom in ((client, "server"), (server, "client")):
            assert "2 received" in host.sh(f"ping -c 2 {whom}")
            seen.append(net.now)

    net.run(work, on=client)
    assert seen == [1.010, 2.020]


async def test_it_can_be_awaited_inside_and_outside() -> None:
    net, client, server = pair()

    async def work() -> str:
        first, second = await asyncio.gather(client.sh_async("ping -c 1 server"), server.sh_async("ping -c 2 client"))
        assert "1 received" in first
        return second

    assert "2 received" in await net.run_async(work(), on=client)
    assert net.now == 1.010
    assert "1 received" in await client.sh_async("ping -c 1 server")
    assert await client.sh_async("sysctl -n net.ipv4.ip_forward") == "0\n"
    with pytest.raises(CommandError, match="Network is unreachable"):
        await client.sh_async("ping -c 1 10.9.9.9")


def test_the_crash_of_the_other_host_ends_the_wait() -> None:
    net, client, server = pair()
    net.at("1500ms", server.crash)

    def work() -> None:
        server.sh("ping -c 100 client")

    with pytest.raises(CommandError, match="ping: host server crashed"):
        net.run(work, on=client)
    assert net.now == 2.0


async def test_the_crash_of_its_own_host_is_told_outside_of_a_run() -> None:
    net, client, _ = pair()
    net.at("1500ms", client.crash)
    with pytest.raises(CommandError, match=r"^ping: host client crashed$"):
        client.sh("ping -c 100 server")
    with pytest.raises(CommandError, match=r"^host client is down: no command runs there until it has booted$"):
        client.sh("ip addr")
    client.boot()
    net.at("3500ms", client.crash)
    with pytest.raises(CommandError, match=r"^ping: host client crashed$"):
        await client.sh_async("ping -c 100 server")
    client.boot()
    waiting = asyncio.ensure_future(client.sh_async("ping -c 100000000 server"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("name", ["a..b", "x" * 64])
def test_what_can_be_no_name_is_unknown(name: str) -> None:
    _, client, _ = pair()
    with pytest.raises(CommandError, match=f"^ping: {name}: Name or service not known$"):
        client.sh(f"ping -c 1 {name}")


def test_a_command_line_is_one_text() -> None:
    _, client, _ = pair()
    with pytest.raises(TypeError, match="a command line is one text, as a shell reads it, not list"):
        client.sh(["ip", "addr"])  # type: ignore[arg-type]


def test_a_net_line_lets_it_run_beside_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    net, client, _ = pair()
    client.sh("ping -c 3 server", each_boot=True)
    client.sh("ping server", each_boot=True)  # without an end: nobody waits for it
    assert net.now == 0
    net.run()
    assert net.now == 2.010
    net.close()
    printed = capsys.readouterr().out
    assert "3 packets transmitted, 3 received, 0% packet loss, time 2000ms\n" in printed
    assert "3 packets transmitted, 2 received" in printed  # the third reply was still to be read when the run ended
