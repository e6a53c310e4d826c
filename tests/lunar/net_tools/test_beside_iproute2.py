"""ip(8) beside the real one: the same commands one after the other, here and on the machine's kernel, print the same.

What they refuse is compared, too, so that a mistake is told in the words that people know.
"""

from __future__ import annotations

from beside import common, ground

# In the order in which they are run; each may change what the next ones show.
COMMANDS = """
ip addr add 10.0.0.1/24 brd + dev eth0
ip addr add 10.0.0.7/24 dev eth0 label eth0:1
ip addr add 10.1.0.1/16 dev eth1
ip addr add 2001:db8::1/64 dev eth0 nodad
ip addr add 192.168.5.1 peer 192.168.5.2 dev eth1
ip addr add 10.9.0.1/24 dev eth1 valid_lft 300 preferred_lft 200 scope link
ip addr add 10.0.0.1/24 dev eth0
ip addr add 10.0.0.300/24 dev eth0
ip addr add foo dev eth0
ip addr add 10.0.0.9/24
ip addr del 1.2.3.4/8 dev eth0
ip a
ip -4 a
ip -6 a
ip -br a
ip -br -4 a
ip -o a
ip -j a
ip -j -p a show dev eth0
ip a show eth1
ip a show up scope link
ip a show to 10.0.0.0/24
ip a show secondary
ip a show permanent dev eth1
ip a show dynamic
ip link
ip -br link
ip -o link
ip -j link
ip link set eth1 promisc on alias hello
ip link show eth1
ip link set eth1 promisc off alias x txqueuelen 77 allmulticast on mtu 1400
ip link show eth1
ip link set eth1 allmulticast off mtu 1500 txqueuelen 1000
ip link set eth0 mtu 20
ip link set eth9 up
ip r
ip -6 r
ip -j r
ip route add default via 10.0.0.9
ip route add 10.3.0.0/16 via 10.0.0.9 metric 7 mtu 1400 advmss 1300 initcwnd 4 src 10.0.0.7
ip route add blackhole 10.4.0.0/16
ip route add 10.5.0.0/16 nexthop via 10.0.0.9 weight 2 nexthop dev eth1
ip route add unreachable 10.6.0.0/16 table 100
ip -6 route add default via 2001:db8::9
ip rule add from 10.0.0.7 lookup 100
ip rule add fwmark 5 iif eth0 table 200 prio 1000
ip route
ip -j route
ip -j -p route
ip -o route
ip -d route
ip route show table all
ip -6 route show table all
ip route show table 100
ip route show table local
ip -N route show table local
ip route show dev eth1
ip route show proto kernel
ip route show scope link
ip route show 10.3.0.0/16
ip route show match 10.3.4.5
ip route show root 10.0.0.0/8
ip route list type blackhole
ip route show default
ip route show via 10.0.0.9
ip route get 10.0.0.9
ip route get 10.3.4.5
ip route get 10.0.0.1
ip route get 10.4.0.1
ip route get 10.0.0.255
ip -j route get 10.3.4.5
ip route get 8.8.8.8 mark 5
ip route get 9.9.9.9 oif eth1
ip -6 route get 2001:db8::9
ip -6 route get ::1
ip route get
ip rule
ip -6 rule
ip -j rule
ip route add 10.0.0.0/24 dev eth0
ip route del 99.0.0.0/8
ip route add 10.7.0.1/16 via 10.0.0.9
ip route add 10.7.0.0/16 via 172.16.0.1
ip route add 10.7.0.0/16
ip route change 10.7.0.0/16 via 10.0.0.9
ip route add default via 10.0.0.9
ip rule del prio 77
ip rule add prio 1000 fwmark 5 iif eth0 table 200
ip -6 route add default via fe80::1
ip rule add not from 10.0.0.0/8 to 10.1.2.3 tos 0x10 fwmark 0x5/0xff iif eth0 oif eth1 uidrange 5-10 ipproto tcp \
sport 5-6 dport 80 suppress_prefixlength 8 lookup 77 prio 99
ip rule add from 10.8.0.0/16 blackhole
ip rule add prohibit
ip rule add from 1.2.3.4 goto 32766
ip rule add unreachable prio 500 to 4.4.4.4
ip rule add nop prio 501
ip rule add table main suppress_prefixlength 0 pref 502
ip rule
ip -j rule
ip rule list from 10.8.0.0/16
ip rule show table 100
ip rule del prio 99
ip rule del from 10.8.0.0/16 blackhole
ip rule
ip rule del prohibit
ip rule del prio 501
ip route add 10.20.0.0/16 via 10.0.0.9 src 1.2.3.4
ip route add 10.20.0.0/16 via 10.0.0.9 dev eth1
ip route add 10.20.0.0/16 via 99.9.9.9 dev eth1 onlink
ip route add 10.21.0.0/16 dev eth1 proto static scope link metric 5 table 50
ip route add 10.22.0.0/16 via 10.0.0.9 mtu lock 1300 hoplimit 9 tos 0x10
ip route add prohibit 10.23.0.0/16 metric 3
ip route add throw 10.24.0.0/16 table 50
ip route
ip route show table 50
ip route flush table 50
ip route show table 50
ip route flush 10.22.0.0/16
ip route del 10.23.0.0/16 metric 4
ip route append 10.20.0.0/16 via 10.0.0.9
ip route add 10.20.0.0/16 via 10.0.0.8
ip route replace 10.20.0.0/16 via 10.0.0.8
ip route show 10.20.0.0/16
ip -6 route add unreachable 2001:db8:5::/48
ip -6 route add 2001:db8:6::/48 via 2001:db8::9 metric 5 mtu 1400
ip -6 route add 2001:db8:7::/48 nexthop via 2001:db8::9 weight 2 nexthop via fe80::9 dev eth0
ip -6 route add 2001:db8:8::/48 dev eth1
ip -6 route
ip -j -6 route
ip -6 route add 2001:db8:9::/48 via 2001:db9::1
ip -6 route del 2001:db8:99::/48
ip -6 route get 2001:db8:5::1
ip -6 route get 2001:db8:6::1
ip -6 rule add from 2001:db8::/64 table 9
ip -6 rule
ip route del 10.5.0.0/16
ip link set eth1 down
ip route
ip -6 route
ip link
ip route add 10.30.0.0/16 dev eth1
ip link set eth1 up
ip route
ip addr add 2001:db8::2/64 dev eth0 nodad
ip addr add 2001:db8::1/64 dev eth0
ip a show dev eth0
ip addr del 2001:db8::1/64 dev eth0
ip -6 route
ip addr replace 10.0.0.1/24 dev eth0 valid_lft 100 preferred_lft 50
ip a show dev eth0
ip addr del 10.0.0.1/24 dev eth0
ip a show dev eth0
ip route
ip addr flush dev eth1
ip a
ip addr add 10.3.3.3/24 label eth1:1 dev eth1
ip link set eth1 name lan0
ip addr show lan0
ip link
ip route show dev lan0
ip link set lan0 name eth0
ip link set lan0 name a/b
ip link set lan0 name toolongnameforadevice
ip link set lan0 name a:b
ip link set lan0 name eth1
ip addr show eth1
ip rule flush
ip rule
ip route flush
ip addr flush
"""


def test_the_same_commands_print_the_same() -> None:
    both = ground("ip")
    try:
        differ = []
        for line in filter(None, COMMANDS.splitlines()):
            kernel, ours = common(both.kernel(line)), common(both.ours(line))
            if kernel != ours:
                differ.append(f"{line}\n--- the kernel's\n{kernel}--- ours\n{ours}")
        assert not differ, "\n".join(differ)
    finally:
        both.close()
