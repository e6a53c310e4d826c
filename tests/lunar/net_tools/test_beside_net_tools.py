"""ifconfig(8) and route(8) of net-tools beside the real ones: the same commands one after the other print the same.

Counters are left out: the kernel's devices send reports of groups by themselves.
"""

from __future__ import annotations

import re

from beside import common, ground

# In the order in which they are run; each may change what the next ones show.
COMMANDS = """
ifconfig
ip addr add 10.0.0.1/24 brd + dev eth0
ip addr add 10.0.0.7/24 dev eth0 label eth0:1
ip addr add 10.1.0.1/16 dev eth1
ip addr add 2001:db8::1/64 dev eth0 nodad
ifconfig
ifconfig -s
ifconfig eth0:1
ifconfig lo
route add default gw 10.0.0.9
route add -net 10.6.0.0/16 reject
route add -host 10.6.0.1 reject
ip route add blackhole 10.63.0.0/16
ip route add prohibit 10.62.0.0/16
route add -net 10.7.0.0 netmask 255.255.0.0 gw 10.0.0.9 mss 1340 metric 3
route add -host 10.8.0.1 dev eth1
route -n
route -en
route -een
ip route
route -6 add 2001:db8:9::/48 gw 2001:db8::9
route -A inet6 add 2001:db8:8::/48 dev eth1
ip -6 route
route -6 del 2001:db8:8::/48 dev eth1
route del -host 10.8.0.1
ifconfig eth1 10.77.0.1
ip -4 a show eth1
ifconfig eth1 netmask 255.255.0.0
ip -4 a show eth1
ifconfig eth1 broadcast 10.77.9.9
ip -4 a show eth1
ifconfig eth0:2 10.0.0.8 netmask 255.255.255.0
ip -4 a show eth0
ifconfig eth0:1 down
ifconfig eth0 add 2001:db8::77/64
ifconfig eth0 inet6 del 2001:db8::77/64
ifconfig eth0 promisc allmulti
ifconfig eth0
ifconfig eth0 -promisc -allmulti
ifconfig eth0 hw ether 02:00:00:00:00:99
ifconfig eth0 txqueuelen 10
ifconfig eth0
ifconfig eth0 0.0.0.0
ip -4 a show eth0
ifconfig eth1 down
ifconfig
ifconfig -a
ifconfig eth1 10.78.0.1/24 up
ip -4 a show eth1
route -n
"""


def without_counters(text: str) -> str:
    """Packets and bytes of a device as zeros."""
    text = re.sub(r"([RT]X packets) \d+  bytes \d+ \(.*\)", r"\1 0  bytes 0 (0.0 B)", common(text))
    return re.sub(r"^(eth\d +\d+) .* (\w+)$", r"\1 \2", text, flags=re.MULTILINE)


def test_the_same_commands_print_the_same() -> None:
    both = ground("ip", "ifconfig", "route")
    try:
        differ = []
        for line in filter(None, COMMANDS.splitlines()):
            kernel, ours = without_counters(both.kernel(line)), without_counters(both.ours(line))
            if kernel != ours:
                differ.append(f"{line}\n--- the kernel's\n{kernel}--- ours\n{ours}")
        assert not differ, "\n".join(differ)
    finally:
        both.close()
