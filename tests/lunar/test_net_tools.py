"""The command lines: what each tool does, prints, and refuses, word by word."""

from __future__ import annotations

import pytest

import lunar
from lunar.net_tools import CommandError, names, run
from lunar.parameters import table
from lunar.parameters.parameter import READ_ONLY, WRITE_ONLY
from lunar.wire.address import ipv4_text, parse_ipv4
from weaves.tapestry_errors import suggestion


def router() -> lunar.Host:
    """A host "r" with eth0 10.0.0.1/24 and eth1 10.1.0.1/16; a neighbour "gate" at 10.0.0.9 and 192.168.0.1."""
    net = lunar.Network(seed=1)
    made = net.host("r", "10.0.0.1/24", "10.1.0.1/16")
    gate = net.host("gate", "192.168.0.1/24", "10.0.0.9/24")
    net.link("r.eth0", "gate.eth1")
    assert gate.address == "192.168.0.1"
    return made


def routes(host: lunar.Host) -> set[str]:
    """The routes besides the loopback's, as "network/prefix gateway device metric"."""
    return {
        f"{ipv4_text(one.network)}/{one.prefix} {ipv4_text(one.gateway)} {one.device.name} {one.metric}"
        for one in host.ip.inet.routes.all()
        if one.device.name != "lo"
    }


OWN = {"10.0.0.0/24 0.0.0.0 eth0 0", "10.1.0.0/16 0.0.0.0 eth1 0"}


def refusal(command: str) -> str:
    """What is said against `command`, which shall change nothing."""
    host = router()
    before = (routes(host), host.sh("ifconfig"), host.sh("sysctl -a"))
    with pytest.raises(CommandError) as raised:
        host.sh(command)
    assert (routes(host), host.sh("ifconfig"), host.sh("sysctl -a")) == before
    return str(raised.value)


# Any command


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("ifconfg eth0", 'there is no command "ifconfg"; did you mean "ifconfig"?'),
        ("nosuch -x", f'there is no command "nosuch"; {suggestion("nosuch", names())}'),
        ("route 'add", "\"route 'add\": No closing quotation"),
    ],
)
def test_what_is_no_command(command: str, message: str) -> None:
    assert refusal(command) == message


@pytest.mark.parametrize("command", ["", "   "])
def test_nothing_is_nothing(command: str) -> None:
    assert run(router(), command) == ""


def test_words_may_be_quoted() -> None:
    assert router().sh("sysctl -n 'net.ipv4.ip_forward'") == "0\n"


# route


@pytest.mark.parametrize(
    ("command", "added"),
    [
        ("route add default gw 10.0.0.9", "0.0.0.0/0 10.0.0.9 eth0 0"),
        ("route add -net default gw 10.0.0.9", "0.0.0.0/0 10.0.0.9 eth0 0"),
        ("route add 0.0.0.0 gw 10.0.0.9", "0.0.0.0/0 10.0.0.9 eth0 0"),
        ("route add 0.0.0.0/0 gw 10.0.0.9", "0.0.0.0/0 10.0.0.9 eth0 0"),
        ("route add default gw gate", "0.0.0.0/0 10.0.0.9 eth0 0"),
        ("route add default gw 10.1.2.3", "0.0.0.0/0 10.1.2.3 eth1 0"),
        ("route add default eth1", "0.0.0.0/0 0.0.0.0 eth1 0"),
        ("route add default dev eth1", "0.0.0.0/0 0.0.0.0 eth1 0"),
        ("route add default gw 10.0.0.9 metric 7", "0.0.0.0/0 10.0.0.9 eth0 7"),
        ("route add default metric 7 gw 10.0.0.9 dev eth0", "0.0.0.0/0 10.0.0.9 eth0 7"),
        ("route add 10.3.0.0/16 gw 10.0.0.9", "10.3.0.0/16 10.0.0.9 eth0 0"),
        ("route add -net 10.3.0.0/16 gw 10.0.0.9", "10.3.0.0/16 10.0.0.9 eth0 0"),
        ("route add -net 10.3.0.0 netmask 255.255.0.0 gw 10.0.0.9", "10.3.0.0/16 10.0.0.9 eth0 0"),
        ("route add 10.3.0.0 netmask 255.255.128.0 eth1", "10.3.0.0/17 0.0.0.0 eth1 0"),
        ("route add 10.3.0.7 gw 10.0.0.9", "10.3.0.7/32 10.0.0.9 eth0 0"),
        ("route add -host 10.3.0.7 eth0", "10.3.0.7/32 0.0.0.0 eth0 0"),
        ("route add -net 11.0.0.0 gw 10.0.0.9", "11.0.0.0/8 10.0.0.9 eth0 0"),
        ("route add -net 172.16.0.0 gw 10.0.0.9", "172.16.0.0/16 10.0.0.9 eth0 0"),
        ("route add -net 192.168.7.0 gw 10.0.0.9", "192.168.7.0/24 10.0.0.9 eth0 0"),
    ],
)
def test_route_add(command: str, added: str) -> None:
    host = router()
    assert host.sh(command) == ""
    assert routes(host) == OWN | {added}


@pytest.mark.parametrize(
    "command",
    [
        "route del default",
        "route del default gw 10.0.0.9",
        "route del 0.0.0.0/0 dev eth0",
        "route del default metric 7",
    ],
)
def test_route_del(command: str) -> None:
    host = router()
    host.sh("route add default gw 10.0.0.9 metric 7")
    assert host.sh(command) == ""
    assert routes(host) == OWN


def test_route_del_takes_the_one_with_the_metric() -> None:
    host = router()
    for metric in (1, 2, 3):
        host.sh(f"route add default gw 10.0.0.9 metric {metric}")
    host.sh("route del default metric 2")
    assert routes(host) == OWN | {"0.0.0.0/0 10.0.0.9 eth0 1", "0.0.0.0/0 10.0.0.9 eth0 3"}


def test_a_hosts_own_network_can_be_deleted() -> None:
    host = router()
    host.sh("route del -net 10.1.0.0 netmask 255.255.0.0 dev eth1")
    assert routes(host) == {"10.0.0.0/24 0.0.0.0 eth0 0"}


@pytest.mark.parametrize(("command", "default"), [("route", "default"), ("route -n", "0.0.0.0")])
def test_route_shows_the_table(command: str, default: str) -> None:
    host = router()
    host.sh("route add default gw 10.0.0.9 metric 7")
    host.sh("route add 10.3.0.7 eth1")
    assert host.sh(command) == (
        "Kernel IP routing table\n"
        "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n"
        f"{default:<15} 10.0.0.9        0.0.0.0         UG    7      0        0 eth0\n"
        "10.0.0.0        0.0.0.0         255.255.255.0   U     0      0        0 eth0\n"
        "10.1.0.0        0.0.0.0         255.255.0.0     U     0      0        0 eth1\n"
        "10.3.0.7        0.0.0.0         255.255.255.255 UH    0      0        0 eth1\n"
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("route flush", 'route: "flush" is not supported; expected add, del or -n'),
        ("route -n add", 'route: "-n" is not supported; expected add, del or -n'),
        ("route add", "route: the target is missing; expected default, an address or a network"),
        ("route add -net", "route: the target is missing; expected default, an address or a network"),
        ("route add gate gw 10.0.0.9", '"gate" is not default, an address or a network'),
        ("route add 10.3.0.0/x gw 10.0.0.9", '"x" is not a prefix length'),
        ("route add 10.3.0.0/33 gw 10.0.0.9", "route: /33: expected a prefix length from 0 to 32"),
        ("route add 10.3.0.0/-1 gw 10.0.0.9", "route: /-1: expected a prefix length from 0 to 32"),
        ("route add 10.3.0.1/16 gw 10.0.0.9", "route: 10.3.0.1/16: the address has bits beyond its netmask"),
        (
            "route add -net 10.3.0.0 netmask 255.0.255.0 gw 10.0.0.9",
            '"255.0.255.0" is not a netmask',
        ),
        ("route add -net 10.3.0.0 netmask x gw 10.0.0.9", '"x" is not a netmask'),
        ("route add -host 10.3.0.0/16 gw 10.0.0.9", "route: -host 10.3.0.0/16: a host has no prefix length"),
        ("route add -host 10.3.0.7 netmask 255.255.255.255 eth0", "route: netmask: a host has none"),
        ("route add default", "route: add default: a gateway (gw) or a device (dev) is missing"),
        ("route add default gw", "route: gw: a value is missing"),
        ("route add default dev", "route: dev: a value is missing"),
        ("route add default gw nobody", 'route: gw "nobody" is neither an address nor a host of the tapestry'),
        ("route add default gw 172.16.0.1", "route: gateway 172.16.0.1 is not in a network of r"),
        ("route add default gw 10.0.0.1", "route: gateway 10.0.0.1 is r itself"),
        ("route add default gw 10.0.0.9 dev eth1", "route: gateway 10.0.0.9 is not in a network of eth1"),
        ("route add default dev eth7", "route: eth7: no such device; r has lo, eth0, eth1"),
        ("route add default gw 10.0.0.9 metric x", '"x" is not a metric'),
        ("route add default gw 10.0.0.9 metric -1", "route: metric -1: expected 0 to 2147483647"),
        ("route add default gw 10.0.0.9 metric 2147483648", "route: metric 2147483648: expected 0 to 2147483647"),
        (
            "route add default gw 10.0.0.9 window 1000",
            'route: "window" is not supported; expected gw, netmask, metric, mss, reject or dev',
        ),
        ("route add 10.0.0.0/24 eth0", "route: add 10.0.0.0/24: there is such a route already"),
        ("route del default", "route: del default: there is no such route"),
        ("route del 10.0.0.0/24 eth1", "route: del 10.0.0.0/24: there is no such route"),
        ("route del 10.0.0.0/24 metric 3", "route: del 10.0.0.0/24: there is no such route"),
    ],
)
def test_route_refuses(command: str, message: str) -> None:
    assert refusal(command) == message


def test_a_gateway_behind_a_gateway_is_refused() -> None:
    host = router()
    host.sh("route add 172.16.0.0/16 gw 10.0.0.9")
    with pytest.raises(CommandError, match=r"^route: gateway 172\.16\.0\.1 is not in a network of r$"):
        host.sh("route add default gw 172.16.0.1")


# ifconfig

EXPECTED = (
    "an address, netmask, broadcast, mtu, up, down, [-]arp, [-]promisc, [-]allmulti, txqu"
    "euelen, hw ether, add or del"
)



def test_ifconfig_shows_a_device() -> None:
    host = router()
    assert host.sh("ifconfig eth0") == (
        "eth0: flags=4291<UP,BROADCAST,RUNNING,NOARP,MULTICAST>  mtu 1500\n"
        "        inet 10.0.0.1  netmask 255.255.255.0  broadcast 10.0.0.255\n"
        "        ether 02:00:00:00:00:01  txqueuelen 1000  (Ethernet)\n"
        "        RX packets 0  bytes 0 (0.0 B)\n"
        "        RX errors 0  dropped 0  overruns 0  frame 0\n"
        "        TX packets 0  bytes 0 (0.0 B)\n"
        "        TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0\n"
        "\n"
    )


def test_a_device_that_is_on_no_link_does_not_run() -> None:
    assert router().sh("ifconfig eth1").startswith("eth1: flags=4227<UP,BROADCAST,NOARP,MULTICAST>  mtu 1500\n")


@pytest.mark.parametrize("command", ["ifconfig", "ifconfig -a"])
def test_ifconfig_shows_all(command: str) -> None:
    host = router()
    assert host.sh(command) == "".join(host.sh(f"ifconfig {name}") for name in ("eth0", "eth1", "lo"))


@pytest.mark.parametrize(
    ("words", "address", "prefix"),
    [
        ("10.0.0.5/24", "10.0.0.5", 24),
        ("172.20.0.1/31", "172.20.0.1", 31),
        ("172.20.0.1 netmask 255.255.255.128", "172.20.0.1", 25),
        ("netmask 255.255.255.128 172.20.0.1", "172.20.0.1", 25),
        # Without a mask the class's, as the real tool: A, B, C.
        ("11.0.0.1", "11.0.0.1", 8),
        ("172.20.0.1", "172.20.0.1", 16),
        ("192.168.7.1", "192.168.7.1", 24),
    ],
)
def test_ifconfig_gives_an_address(words: str, address: str, prefix: int) -> None:
    host = router()
    assert host.sh(f"ifconfig eth1 {words}") == ""
    eth1 = host.devices["eth1"]
    # In place of the one that it had.
    assert [(own.address, own.prefix) for own in eth1.addresses] == [(parse_ipv4(address), prefix)]
    assert host.ip.local[parse_ipv4(address)] is eth1


def test_an_address_brings_the_route_to_its_network() -> None:
    host = router()
    host.sh("ifconfig eth1 172.20.5.1/20")
    eth0 = {route for route in OWN if "eth1" not in route}
    assert routes(host) == eth0 | {"172.20.0.0/20 0.0.0.0 eth1 0"}


def test_the_old_address_goes_with_what_needs_it() -> None:
    host = router()
    old = host.devices["eth1"].addresses[0].address
    gateway = ipv4_text(old + 1)
    host.sh(f"route add -net 172.30.0.0/16 gw {gateway}")
    host.sh("ifconfig eth1 172.20.5.1/20")
    assert old not in host.ip.local
    assert old not in host.network.names.lookup("r")
    assert not [route for route in routes(host) if route.startswith("172.30.")]


def test_another_address_in_the_same_network_keeps_its_route() -> None:
    host = router()
    host.sh("ifconfig eth0 10.0.0.77/24")
    assert routes(host) == OWN


def test_a_second_address_in_a_network_needs_no_route() -> None:
    host = router()
    host.add_address(host.devices["eth0"], parse_ipv4("10.0.0.77"), 24)
    assert routes(host) == OWN


def test_ifconfig_sets_several_things_at_once() -> None:
    host = router()
    host.sh("ifconfig eth1 192.168.7.1 mtu 900 down")
    eth1 = host.devices["eth1"]
    assert (eth1.mtu, eth1.up) == (900, False)
    assert [(own.address, own.prefix) for own in eth1.addresses] == [(parse_ipv4("192.168.7.1"), 24)]


def test_down_and_up() -> None:
    host = router()
    host.sh("ifconfig eth0 down")
    assert host.sh("ifconfig eth0").startswith("eth0: flags=4226<BROADCAST,NOARP,MULTICAST>  mtu 1500\n")
    assert "eth0" not in host.sh("ifconfig")
    assert "eth0" in host.sh("ifconfig -a")
    host.sh("ifconfig eth0 up")
    assert host.devices["eth0"].up


def test_a_device_that_goes_down_loses_its_routes_and_gets_back_those_to_its_networks() -> None:
    host = router()
    eth1 = {route for route in OWN if "eth1" in route}
    host.sh("route add default dev eth1")
    host.sh("ifconfig eth1 down")
    assert routes(host) == OWN - eth1
    host.sh("ifconfig eth1 up")
    assert routes(host) == OWN


@pytest.mark.parametrize("mtu", [68, 65_535])
def test_the_bounds_of_the_mtu(mtu: int) -> None:
    host = router()
    host.sh(f"ifconfig eth0 mtu {mtu}")
    assert host.devices["eth0"].mtu == mtu


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("ifconfig eth7", "ifconfig: eth7: no such device; r has lo, eth0, eth1"),
        ("ifconfig eth0 mtu", "ifconfig: mtu: a value is missing"),
        ("ifconfig eth0 mtu x", '"x" is not an MTU'),
        ("ifconfig eth0 mtu 67", "ifconfig: mtu 67: expected 68 to 65535"),
        ("ifconfig eth0 mtu 65536", "ifconfig: mtu 65536: expected 68 to 65535"),
        ("ifconfig eth0 netmask", "ifconfig: netmask: a value is missing"),
        ("ifconfig eth0:3 netmask 255.255.0.0", "ifconfig: a netmask without an address"),
        ("ifconfig eth0 10.0.0.5 netmask 255.0.255.0", '"255.0.255.0" is not a netmask'),
        ("ifconfig eth0 10.0.0.5 netmask mask", '"mask" is not a netmask'),
        ("ifconfig eth0 10.0.0.256", '"10.0.0.256" is not an IPv4 address'),
        ("ifconfig eth0 10.0.0.5/33", "ifconfig: /33: expected a prefix length from 0 to 32"),
        ("ifconfig eth0 10.0.0.5/-1", "ifconfig: /-1: expected a prefix length from 0 to 32"),
        ("ifconfig eth0 10.0.0.5/x", '"x" is not a prefix length'),
        (
            "ifconfig eth0 10.0.0.5 10.0.0.6",
            'ifconfig: "10.0.0.6" is not supported; expected ' + EXPECTED,
        ),
        (
            "ifconfig eth0 media auto",
            'ifconfig: "media" is not supported; expected ' + EXPECTED,
        ),
        # Nothing is half obeyed.
        (
            "ifconfig eth0 down mtu 900 media",
            'ifconfig: "media" is not supported; expected ' + EXPECTED,
        ),
        ("ifconfig eth0:3 mtu 900 netmask 255.0.0.0", "ifconfig: a netmask without an address"),
    ],
)
def test_ifconfig_refuses(command: str, message: str) -> None:
    assert refusal(command) == message


# sysctl


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("sysctl net.ipv4.ip_forward", "net.ipv4.ip_forward = 0\n"),
        ("sysctl net/ipv4/ip_forward", "net.ipv4.ip_forward = 0\n"),
        ("sysctl -n net.ipv4.ip_default_ttl", "64\n"),
        ("sysctl net.ipv4.ping_group_range", "net.ipv4.ping_group_range = 1\t0\n"),
        ("sysctl -w net.ipv4.ip_default_ttl=0x20", "net.ipv4.ip_default_ttl = 32\n"),
        ('sysctl -w net.ipv4.ping_group_range="0 1000"', "net.ipv4.ping_group_range = 0\t1000\n"),
        ("sysctl -w net.ipv4.ip_forward=1", "net.ipv4.ip_forward = 1\n"),
        ("sysctl net.ipv4.ip_forward=1", "net.ipv4.ip_forward = 1\n"),
        ("sysctl -w 'net.ipv4.ip_forward = 1'", "net.ipv4.ip_forward = 1\n"),
        ("sysctl -w net.ipv4.ip_forward = 1", "net.ipv4.ip_forward = 1\n"),
        ("sysctl -n -w net.ipv4.ip_forward=1", "1\n"),
        ("sysctl -q -w net.ipv4.ip_forward=1", ""),
        ("sysctl -q net.ipv4.ip_forward", "net.ipv4.ip_forward = 0\n"),
        (
            "sysctl -w net.ipv4.ip_forward=1 net.ipv4.ip_default_ttl=9",
            "net.ipv4.ip_forward = 1\nnet.ipv4.ip_default_ttl = 9\n",
        ),
    ],
)
def test_sysctl(command: str, printed: str) -> None:
    assert router().sh(command) == printed


def test_sysctl_sets_what_the_stack_obeys() -> None:
    host = router()
    host.sh("sysctl -w net.ipv4.ip_forward=1 net.ipv4.ip_default_ttl=255")
    assert (host.ip.inet.forwarding, host.ip.inet.hop_limit) == (True, 255)


def test_sysctl_lists_all_that_it_can_set() -> None:
    host = router()
    lines = host.sh("sysctl -a").splitlines()
    readable = [path for path in table.paths(host) if (row := table.find(host, path)) and row.mode != WRITE_ONLY]
    assert [line.partition(" = ")[0] for line in lines] == [table.name_of(path) for path in readable]
    # Each can be set to what it is.
    for line in lines:
        name, _, value = line.partition(" = ")
        parameter = table.find(host, table.path_of(name))
        assert parameter is not None
        if parameter.mode == READ_ONLY:
            continue  # a fact, and no setting
        assert host.sh(f'sysctl -w {name}="{value}"') == line + "\n"


KNOWN = '"sysctl -a" lists what it obeys'


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sysctl", "sysctl: a parameter is missing; expected NAME or NAME=VALUE"),
        ("sysctl -w", "sysctl: a parameter is missing; expected NAME or NAME=VALUE"),
        ("sysctl -w net.ipv4.ip_forward", "sysctl: -w net.ipv4.ip_forward: expected NAME=VALUE"),
        ("sysctl net.ipv4.tcp_nosuch", f'sysctl: this stack does not obey "net.ipv4.tcp_nosuch"; {KNOWN}'),
        ("sysctl -w net.ipv4.tcp_nosuch=1", f'sysctl: this stack does not obey "net.ipv4.tcp_nosuch"; {KNOWN}'),
        ("sysctl -z", 'sysctl: unknown option "-z"; expected -a, -n, -N, -q, -e, -w, -b, -r or -p'),
        ("sysctl net.ipv4.ip_forward=2", "sysctl: net.ipv4.ip_forward=2: expected 0 to 1"),
        ("sysctl net.ipv4.ip_forward=-1", "sysctl: net.ipv4.ip_forward=-1: expected 0 to 1"),
        ("sysctl net.ipv4.ip_default_ttl=0", "sysctl: net.ipv4.ip_default_ttl=0: expected 1 to 255"),
        ("sysctl net.ipv4.ip_default_ttl=256", "sysctl: net.ipv4.ip_default_ttl=256: expected 1 to 255"),
        ("sysctl net.ipv4.ping_group_range=0", "sysctl: net.ipv4.ping_group_range=0: expected 2 integers"),
        ("sysctl net.ipv4.ip_forward=yes", 'sysctl: net.ipv4.ip_forward=yes: "yes" is not an integer'),
        ("sysctl net.ipv4.ip_forward=", 'sysctl: net.ipv4.ip_forward=: "" is not an integer'),
        # Nothing is half obeyed.
        (
            "sysctl -w net.ipv4.ip_forward=1 net.ipv4.ip_default_ttl=256",
            "sysctl: net.ipv4.ip_default_ttl=256: expected 1 to 255",
        ),
    ],
)
def test_sysctl_refuses(command: str, message: str) -> None:
    assert refusal(command) == message


# ip


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("ip route add 10.9.0.0/16 via 99.9.9.9", "Error: Nexthop has invalid gateway."),
        ("ip route add 10.9.0.0/16 via 99.9.9.9 dev eth0", "Error: Nexthop has invalid gateway."),
        ("ip route add 10.9.0.0/16 via nobody", 'Error: any valid inet address is expected rather than "nobody".'),
        ("ip route add 10.9.0.0/16", "RTNETLINK answers: No such device"),
    ],
)
def test_ip_route_refuses(command: str, message: str) -> None:
    assert refusal(command) == message


def test_ip_route_by_the_name_of_a_host() -> None:
    with lunar.Network() as net:
        host, gate = net.host("host", "10.0.0.1/24"), net.host("gate", "10.7.0.1/24", "10.0.0.9/24")
        net.link(host, "gate.eth1")
        host.sh("ip route add default via gate")
        assert "0.0.0.0         10.0.0.9 " in host.sh("route -n")
        assert gate.name == "gate"


# ip link set name


def test_a_device_gets_another_name_until_the_next_boot() -> None:
    host = router()
    host.sh("ip link set eth1 name wan0")
    assert list(host.devices) == ["lo", "eth0", "wan0"]
    assert host.sh("ip -br link show wan0").startswith("wan0 ")
    host.sh("ip link set wan0 name wan1")
    host.crash()
    host.boot()
    assert list(host.devices) == ["lo", "eth0", "eth1"]
    assert "10.1.0.1/16" in host.sh("ip -br addr show eth1")
