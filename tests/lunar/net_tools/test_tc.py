"""tc: queues of a device, which are those of its wire; what they do to packets, and how they are shown."""

from __future__ import annotations

import pytest
from beside import common, ground

import lunar
from lunar.net_tools import CommandError


def pair(rate: str | None = None) -> tuple[lunar.Network, lunar.Host]:
    """A client on a link of 5 ms with a server, 10.0.0.3."""
    net = lunar.Network(seed=1)
    client, server = net.host("client", "10.0.0.2/24"), net.host("server", "10.0.0.3/24")
    net.link(client, server, delay="5ms", rate=rate)
    return net, client


def round_trip(host: lunar.Host, size: int = 56) -> str:
    """The time that ping tells."""
    return host.sh(f"ping -c 1 -s {size} 10.0.0.3").partition("time=")[2].partition(" ms")[0]


# In the order in which they are run beside the real one, on a device that drains at once.
COMMANDS = """
tc qdisc
tc qdisc add dev eth0 root handle 10: pfifo limit 5
tc qdisc show dev eth0
tc qdisc add dev eth0 root pfifo
tc qdisc change dev eth0 root pfifo limit 7
tc qdisc
tc -j qdisc show dev eth0
tc qdisc replace dev eth0 root handle 11: bfifo limit 10000
tc qdisc show dev eth0
tc qdisc replace dev eth0 root handle 12: tbf rate 1mbit burst 32kbit latency 400ms
tc qdisc show dev eth0
tc -j qdisc show dev eth0
tc qdisc del dev eth0 root
tc qdisc del dev eth0 root
tc qdisc change dev eth1 root pfifo limit 7
tc qdisc add dev eth9 root pfifo
tc qdisc
"""


def test_the_same_commands_print_the_same() -> None:
    both = ground("ip", "tc")
    try:
        for line in filter(None, COMMANDS.splitlines()):
            kernel, ours = common(both.kernel(line)), common(both.ours(line))
            # Each holder of a queue counts; a veth with a queue has one more.
            assert ours.replace("refcnt 3", "refcnt 2") == kernel.replace("refcnt 3", "refcnt 2").replace(
                '"refcnt":3', '"refcnt":2'
            ), line
    finally:
        both.close()


def test_netem_delays_until_it_is_deleted() -> None:
    _, client = pair()
    assert round_trip(client) == "10.0"
    client.sh("tc qdisc add dev eth0 root netem delay 30ms")
    assert round_trip(client) == "40.0"  # one way: the other is the server's
    assert client.sh("tc qdisc show dev eth0") == "qdisc netem 8001: root refcnt 2 limit 1000 delay 30ms\n"
    client.sh("tc qdisc del dev eth0 root")
    assert round_trip(client) == "10.0"


def test_netem_loses() -> None:
    _, client = pair()
    client.sh("tc qdisc add dev eth0 root netem loss 100%")
    assert "100% packet loss" in client.sh("ping -c 3 10.0.0.3")
    client.sh("tc qdisc replace dev eth0 root netem loss 20% duplicate 10%")
    told = client.sh("ping -c 1000 -i 0.01 -q 10.0.0.3")
    lost = 1000 - int(told.partition("transmitted, ")[2].partition(" received")[0])
    assert 150 < lost < 250
    assert "duplicates" in told


def test_a_rate_takes_its_time() -> None:
    _, client = pair()
    client.sh("tc qdisc add dev eth0 root tbf rate 1mbit burst 5kb limit 10000")
    # 986 bytes and 14 of Ethernet: 1000 bytes at 1 Mbit/s are 8 ms; the way back has no limit.
    assert round_trip(client, 986 - 28) == "18.0"
    client.sh("tc qdisc change dev eth0 root tbf rate 500kbit burst 5kb limit 10000")
    assert round_trip(client, 986 - 28) == "26.0"


def test_a_rate_above_the_links_changes_nothing() -> None:
    _, client = pair("1mbit")
    before = round_trip(client)
    client.sh("tc qdisc add dev eth0 root tbf rate 100mbit burst 5kb limit 10000")
    assert round_trip(client) == before


def test_the_bound_of_the_queue() -> None:
    net, client = pair("1mbit")
    client.sh("tc qdisc add dev eth0 root pfifo limit 3")

    def burst() -> None:
        import socket

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(10):
                sock.sendto(b"x" * 958, ("10.0.0.3", 9))

    net.run(burst, on=client)
    # One is being sent, three wait, six find no room.
    assert "(dropped 6," in client.sh("tc -s qdisc show dev eth0")


def test_red_tells_its_limits() -> None:
    _, client = pair("10mbit")
    client.sh("tc qdisc add dev eth0 root red limit 400000 min 30000 max 90000 avpkt 1000 burst 55 ecn")
    assert client.sh("tc qdisc show dev eth0") == (
        "qdisc red 8001: root refcnt 2 limit 400000b min 30000b max 90000b ecn \n"
    )


def test_a_boot_begins_without() -> None:
    _, client = pair()
    client.sh("tc qdisc add dev eth0 root netem delay 30ms", each_boot=True)
    client.crash()
    client.boot()
    assert round_trip(client) == "40.0"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tc class show dev eth0", 'tc: "class" is not supported; expected qdisc: there are no classes and filters '
                                   'here'),
        ("tc qdisc add dev eth0 parent 1:1 pfifo", 'tc qdisc add: "parent" is not supported; expected root: '
                                                   'a device has one queue here'),
        ("tc qdisc add dev eth0 root fq_codel", 'tc qdisc add: "fq_codel" is not supported; expected pfifo, bfifo, fq, '
                                                'red, tbf, netem, noqueue'),
        ("tc qdisc add dev eth0 root pfifo limit x", '"x" is not limit'),
        ("tc qdisc add dev eth0 root netem delay 10ms 5ms", 'tc qdisc add: "5ms" is not supported; expected limit, '
         "delay (without jitter), loss, duplicate, corrupt or rate"),
        ("tc qdisc add dev eth0 root netem loss 200%", 'Illegal "loss percent": "200%"'),
        ("tc qdisc add dev eth0 root tbf rate 1mbit", 'Both "rate" and "burst" are required.'),
        ("tc qdisc change dev eth0 root pfifo", "Error: Qdisc not found. To create specify NLM_F_CREATE flag."),
    ],
)  # fmt: skip
def test_refused(command: str, message: str) -> None:
    _, client = pair()
    with pytest.raises(CommandError) as raised:
        client.sh(command)
    assert str(raised.value) == message
