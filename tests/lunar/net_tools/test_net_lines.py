"""What is wrong with a line of `net` is found by loading the tapestry, whatever tool it is for: with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

import lunar
from weaves.loader import load
from weaves.tapestry_errors import TapestryError

# A line, and how what is said of it begins.
WRONG = [
    ("ip addr add 10.0.0.5/24 dev eth0 color red", 'ip addr add: "color" is not supported; expected dev, '),
    ("ip route add 10.3.0.0/16 via 10.9.9.9", "Error: Nexthop has invalid gateway."),
    ("ip rule add from 10.0.0.0/33 table 5", 'Error: any valid prefix is expected rather than "10.0.0.0/33".'),
    ("ip link set eth7 up", 'Cannot find device "eth7"'),
    ("ip tunnel add", 'ip: object "tunnel" is not supported; expected one of address, '),
    ("ip -batch file", 'ip: "-batch" is not supported; expected -4, '),
    ("ifconfig eth0 tunnel ::1", 'ifconfig: "tunnel" is not supported; expected an address, '),
    ("route add default gw 10.0.0.9 irtt 3", 'route: "irtt" is not supported; expected gw, '),
    ("arp -H ax25", "arp: "),
    ("ss --kill", 'ss: "--kill" is not supported; expected -n, '),
    ("ss -tan state open", "ss: wrong state name: open"),
    ("netstat -M", 'netstat: "-M" is not supported; expected -r, '),
    ("tc qdisc add dev eth0 root cake", 'tc qdisc add: "cake" is not supported; expected pfifo, '),
    ("hostname a b", "hostname: expected one name"),
    ("hostname a..b", "hostname: the specified hostname is invalid"),
    ("hostname two_words", "hostname: the specified hostname is invalid"),
    ("ping -f server", 'ping: "-f" is not supported; expected -4, '),
    ("traceroute -q 0 server", "traceroute: -q 0: expected 1 to 10"),
    ("sysctl -w net.ipv4.nothing=1", 'sysctl: '),
    ("iptables -A FORWARD -j NOWHERE", "iptables"),
    ("iptables -A FORWARD -m limit --limit 5/fortnight", 'iptables v1.8.9 (legacy): bad rate "5/fortnight"\''),
    ("iptables-restore", "iptables-restore: there is nothing to read; expected a file, or standard input"),
    ("ethtool -K eth0 tso maybe", "ethtool: tso maybe: expected on or off"),
    ("nstat -x", 'nstat: "-x" is not supported; expected -a, -n or -z'),
    ("vconfig add eth0 5", 'there is no command "vconfig"; '),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_a_wrong_line_is_told_with_its_place(tmp_path: Path, line: str, message: str) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'[hosts.a]\neth0 = "10.0.0.1/24"\nnet = """\nsysctl -w net.ipv4.ip_forward=1\n{line}\n"""\n')
    with pytest.raises(TapestryError) as raised:
        load(site)
    told = str(raised.value)
    assert told.startswith(f"{site}:5: [hosts.a] net: ")
    assert told.removeprefix(f"{site}:5: [hosts.a] net: ").startswith(message)


def test_commands_that_take_time_are_not_run_by_loading(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        '[hosts.a]\neth0 = "10.0.0.1/24"\nnet = ["ping -c 3 b", "traceroute b"]\n'
        '[hosts.b]\neth0 = "10.0.0.2/24"\n[[links]]\nends = ["a", "b"]\ndelay = "5ms"\n'
    )
    tapestry = load(site)
    try:
        assert tapestry.now_ns == 0
        tapestry.run_blocking()
        assert tapestry.now_ns == 2_010_000_000
        assert tapestry.ok
    finally:
        tapestry.close()


def test_a_command_beside_the_programs_that_fails_says_what_is_wrong() -> None:
    net = lunar.Network(seed=1)
    net.host("alone", "10.0.0.1/24").sh("ping -c 1 nobody", each_boot=True)
    with pytest.raises(lunar.StringFailed) as raised:
        net.run()
    assert isinstance(raised.value.__cause__, SystemExit)
    assert raised.value.__cause__.code == "ping: nobody: Name or service not known"
