"""arp(8) and `ip neigh` beside the real ones: the same commands one after the other print the same.

Nobody is asked here: all entries are put there by hand. What is shown when neighbours answer, or do not, is in
tests/scenarios/test_arp.py; what the kernel learns of them in tests/parity. Of several entries the kernel shows the
order of a hash table, so their lines are sorted on both sides.
"""

from __future__ import annotations

import re

from beside import common, ground

# In the order in which they are run; each may change what the next ones show.
COMMANDS = """
ip link set eth0 arp on
ip addr add 10.0.0.1/24 dev eth0
ip addr add 2001:db8::1/64 dev eth0 nodad
ip link set eth0 up
ip neigh
arp -n
arp -an
ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev eth0
ip neigh add 10.0.0.8 lladdr 02:00:00:00:00:08 dev eth0 nud stale
ip neigh add 10.0.0.8 lladdr 02:00:00:00:00:09 dev eth0 nud stale
ip neigh add 10.0.0.9 dev eth0
ip neigh change 10.0.0.10 lladdr 02:00:00:00:00:09 dev eth0
ip neigh change 10.0.0.8 lladdr 02:00:00:00:00:0a dev eth0 nud permanent
ip neigh del 10.0.0.99 dev eth0
ip neigh add 2001:db8::7 lladdr 02:00:00:00:00:07 dev eth0 router
ip neigh add 2001:db8::8 lladdr 02:00:00:00:00:08 dev eth0 nud stale
ip neigh replace 2001:db8::8 lladdr 02:00:00:00:00:18 dev eth0
ip neigh add proxy 10.0.0.50 dev eth0
ip neigh add proxy 2001:db8::50 dev eth0
ip neigh show proxy
ip -6 neigh show proxy
ip neigh
ip neigh show dev eth0
ip -4 neigh show nud permanent
ip -6 neigh
ip neigh show 10.0.0.0/29
ip neigh show 10.0.0.7
ip neigh get 10.0.0.7 dev eth0
ip neigh get 10.0.0.77 dev eth0
arp
arp -n
arp -a
arp -an
arp -vn
arp -n 10.0.0.7
arp -n 10.0.0.200
arp -a 10.0.0.200
arp -i eth9
arp -s 10.0.0.20 02:00:00:00:00:20
arp -s 10.0.0.21 02:00:00:00:00:21 temp
arp -s 10.0.0.22 02:00:00:00:00:22 pub
arp -Ds 10.0.0.23 eth0 pub
arp -s 10.0.9.20 02:00:00:00:00:20
arp -s 10.0.0.20 zz
arp -d 10.0.0.99
arp -an -i eth0
arp -i eth0 -d 10.0.0.20
arp -d 10.0.0.23 pub
arp -an
arp -d 10.0.0.50
arp -an
arp -i eth0 -d 10.0.0.23 pub
arp -i eth0 -d 10.0.0.50
arp -an
ip neigh flush dev eth0
ip neigh
ip -s neigh flush dev eth0
ip neigh del 10.0.0.7 dev eth0
ip neigh del 2001:db8::7 dev eth0
ip neigh del proxy 10.0.0.50 dev eth0
ip neigh
ip neigh flush
ip neigh foo
ip neigh add 10.0.0.7
ip neigh add 10.0.0.7 lladdr xx dev eth0
ip neigh add xx lladdr 02:00:00:00:00:07 dev eth0
ip neigh add 10.0.0.1 lladdr 02:00:00:00:00:07 dev eth5
ip neigh show nud foo
ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev eth0
ip link set eth0 down
ip neigh
"""


def in_order(text: str) -> str:
    """Its lines in one order, without that of the tool's own help."""
    return "\n".join(sorted(re.sub(r"(?s)Usage:.*", "", common(text)).splitlines()))


def test_the_same_commands_print_the_same() -> None:
    both = ground("ip", "arp")
    try:
        differ = []
        for line in filter(None, COMMANDS.splitlines()):
            kernel, ours = in_order(both.kernel(line)), in_order(both.ours(line))
            if kernel != ours:
                differ.append(f"{line}\n--- the kernel's\n{kernel}\n--- ours\n{ours}\n")
        assert not differ, "\n".join(differ)
    finally:
        both.close()
