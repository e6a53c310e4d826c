"""iptables' command lines against the machine's iptables: what is printed, what is refused, and in which words."""

from __future__ import annotations

import pytest
from side_by_side_iptables import machine, needs_iptables, ours

# Rules of all extensions; each is added, listed in all forms, saved, and deleted by its own text.
RULES = [
    "INPUT -p tcp --dport 22 -j REJECT",
    "INPUT -p tcp ! --sport 1024:65535 --dport http:https ! --syn -j DROP",
    "INPUT -p tcp --tcp-flags ALL NONE --tcp-option 8 -j ACCEPT",
    "INPUT -p tcp -m multiport ! --ports ssh,2:4 -m comment --comment 'two words'",
    "INPUT -p udp --sport domain -m udp -m multiport --dports 1,2,3:9",
    "INPUT -p icmp --icmp-type 3/4 -j ACCEPT",
    "INPUT -p icmp --icmp-type echo-request -m limit --limit 3/minute --limit-burst 7 -j ACCEPT",
    "INPUT -p icmp ! --icmp-type 3/77",
    "INPUT ! -i eth0 ! -s 10.0.0.0/255.0.255.0 -d 10/8 ! -p udp -f -j DROP",
    "FORWARD -i eth+ ! -o ppp0 -m state ! --state INVALID,RELATED -j ACCEPT",
    "FORWARD -m conntrack --ctstate NEW,DNAT ! --ctproto 17 ! --ctorigsrc 1.2.3.0/24 --ctorigdstport 1:4 "
    "! --ctstatus ASSURED,EXPECTED --ctexpire 3:7 --ctdir REPLY",
    "FORWARD -p tcp -m tcpmss ! --mss 3:700",
    "INPUT -m ttl --ttl-lt 3 -m length --length 100: -m mac ! --mac-source 00:aB:02:03:04:05",
    "INPUT -m dscp --dscp-class AF41 -m tos --tos Minimize-Delay -m tos ! --tos 0x10",
    "INPUT -m mark ! --mark 5/7 -m connmark --mark 3",
    "INPUT -m addrtype ! --src-type LOCAL,MULTICAST --dst-type ANYCAST --limit-iface-in",
    "INPUT -m statistic --mode random --probability 0.3",
    "INPUT -m statistic --mode nth ! --every 7 --packet 3",
    "INPUT -m string --hex-string 'GET |0d 0a|x' --algo kmp --icase --from 3 --to 20",
    "INPUT -m string ! --string 'a b\"c' --algo bm",
    "INPUT -m connlimit ! --connlimit-above 3 --connlimit-mask 24 --connlimit-daddr",
    "INPUT -m hashlimit --hashlimit-above 700/s --hashlimit-mode srcip,dstport --hashlimit-name a "
    "--hashlimit-srcmask 24 --hashlimit-htable-size 100",
    "INPUT -m hashlimit --hashlimit-upto 123456b/s --hashlimit-burst 200kb --hashlimit-name b",
    "OUTPUT -m owner ! --uid-owner 5-7 --gid-owner nogroup",
    "OUTPUT -m owner --uid-owner root -m owner ! --socket-exists -j ACCEPT",
    "INPUT -j LOG --log-level debug --log-prefix 'a, b: ' --log-uid --log-macdecode --log-ip-options",
    "INPUT -j LOG",
    "INPUT -p tcp -j REJECT --reject-with tcp-reset",
    "FORWARD -j REJECT --reject-with host-prohib",
    "INPUT -j MARK --set-mark 3/7",
    "INPUT -j MARK --and-mark 3",
    "INPUT -j MARK --xor-mark 3",
    "INPUT -j CONNMARK --save-mark --mask 0xff",
    "INPUT -j CONNMARK --set-xmark 3/1",
    "INPUT -c 123456789 12345678901234 -j ACCEPT",
]
NAT_RULES = [
    "PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.9-10.0.0.11:8000-8010/8000 --persistent",
    "PREROUTING -p udp -j REDIRECT --to-ports 42-1234 --random",
    "POSTROUTING -o eth0 -j MASQUERADE --random-fully",
    "POSTROUTING -p tcp -j SNAT --to-source 1.1.1.1-1.1.1.3:1000-2000 --random",
    "OUTPUT -d 10.0.0.0/24 -j NETMAP --to 192.168.7.0/24",
    "OUTPUT -p tcp -j DNAT --to-destination :80",
]
MANGLE_RULES = [
    "FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu",
    "FORWARD -p tcp --syn -j TCPMSS --set-mss 1000",
    "PREROUTING -j TOS --set-tos Minimize-Delay",
    "PREROUTING -j TOS --or-tos 0x12",
    "PREROUTING -j TTL --ttl-inc 1",
    "PREROUTING -j DSCP --set-dscp-class EF",
]
RULES6 = [
    "INPUT -s 2001:db8::/32 ! -d ::1 -p tcp --dport 22 -j REJECT --reject-with adm-prohibited",
    "INPUT -p icmpv6 --icmpv6-type neighbour-solicitation -m hl --hl-eq 255 -j ACCEPT",
    "INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 1/0",
    "FORWARD -m hl ! --hl-eq 4 -m length --length 5 -m conntrack --ctorigdst 2001:db8::1",
    "INPUT -m connlimit --connlimit-upto 3 --connlimit-mask 64",
]


@needs_iptables
@pytest.mark.parametrize(
    ("tool", "table", "rules"),
    [
        ("iptables", "filter", RULES), ("iptables", "nat", NAT_RULES), ("iptables", "mangle", MANGLE_RULES),
        ("iptables", "raw", ["PREROUTING -j NOTRACK", "OUTPUT -j CT --notrack"]), ("ip6tables", "filter", RULES6),
    ],
)  # fmt: skip
def test_rules_are_printed_as_the_real_tool_prints_them(tool: str, table: str, rules: list[str]) -> None:
    base = f"{tool} -t {table}"
    lines = [f"{base} -A {rule}" for rule in rules]
    lines += [f"{base} {form}" for form in ("-S", "-S -v", "-L", "-L -n", "-L -v", "-nvL --line-numbers", "-L -x -v")]
    lines += [f"{tool}-save -t {table}", f"{tool}-save -c -t {table}"]
    lines += [f"{base} -C {rule}" for rule in rules] + [f"{base} -D {rule}" for rule in rules] + [f"{base} -S"]
    for line, real, own in zip(lines, machine(lines), ours(lines), strict=True):
        assert own == real, line


# A story of chains; every line is compared, refused or not.
STORY = """
iptables -N web
iptables -N web
iptables -A INPUT -p tcp -j web
iptables -A web -s 10.0.0.1,10.0.0.2 -j RETURN
iptables -I web 1 -j LOG
iptables -I web 9 -j LOG
iptables -R web 1 -j DROP
iptables -R web 9 -j DROP
iptables -R web
iptables -E web www
iptables -E nobody www
iptables -E www DROP
iptables -X www
iptables -A www -g INPUT
iptables -A www -j www
iptables -L www -n -v
iptables -S INPUT 1
iptables -L INPUT 1 -v
iptables -D www 1
iptables -D www 7
iptables -D www -j ACCEPT
iptables -C www -s 10.0.0.1 -j RETURN
iptables -Z www 2
iptables -Z www 9
iptables -v -F www
iptables -X www
iptables -F
iptables -v -X
iptables -X INPUT
iptables -P INPUT DROP
iptables -P INPUT REJECT
iptables -P web DROP
iptables -v -A INPUT ! -i eth0 ! -s 1.2.3.0/24 ! -p tcp -f
iptables -v -A INPUT -p udp --dport 53 -j LOG --log-prefix "a b"
iptables -L -Z
iptables -nL nobody
iptables -S nobody
iptables -F nobody
iptables -t nothing -L
iptables -S
""".strip().splitlines()

REFUSED = """
iptables -A INPUT -p tcp --dportx 22
iptables -A INPUT --dport 22
iptables -A INPUT -m nothing
iptables -A INPUT -j NOTHING
iptables -A NOTHING -j ACCEPT
iptables -A INPUT -g nothing
iptables -A INPUT -s 1.2.3.400
iptables -A INPUT -s 1.2.3.4/33
iptables -A INPUT -p nothing
iptables -A INPUT ! -p 0
iptables -A INPUT -p tcp -p udp
iptables -A INPUT -m tcp --dport 1
iptables -A INPUT -p tcp --dport 65536
iptables -A INPUT -p tcp --sport 80:20
iptables -A INPUT -p tcp --dport 5 --dport 6
iptables
iptables -A INPUT nothing
iptables -A INPUT -A FORWARD
iptables -A
iptables -A INPUT -j
iptables -A INPUT -o eth0
iptables -A OUTPUT -i eth0
iptables -A INPUT -x
iptables -L -j ACCEPT
iptables -A INPUT ! -j ACCEPT
iptables -A INPUT ! ! -p tcp
iptables -A INPUT -j ACCEPT -j DROP
iptables -A INPUT -i thisinterfaceistoolong0
iptables -A INPUT -c 3 -j DROP
iptables -A INPUT -d 1.2.3.4,1.2.3.5 ! -s 1.2.3.4,1.2.3.5
iptables -A INPUT -j INPUT
iptables -A INPUT -Q
iptables -N -x
iptables -N averyveryverylongchainnamethatisnotok
iptables -N ACCEPT
iptables -N LOG
iptables -P INPUT
iptables -E INPUT
iptables -I INPUT x
iptables -I INPUT 0
iptables -A INPUT -m limit --limit 10001/s
iptables -A INPUT -m limit --limit 7/fortnight
iptables -A INPUT -m limit --limit-burst 0
iptables -A INPUT -m limit ! --limit 3/s
iptables -A INPUT -m state --state NEW,NOTHING
iptables -A INPUT -m statistic --mode nth --every 3
iptables -A INPUT -m statistic --mode random --probability -1
iptables -A INPUT -m string --string a
iptables -A INPUT -m string --string a --algo nothing
iptables -A INPUT -m string --hex-string 'a|0' --algo bm
iptables -A INPUT -m multiport --ports 1,2
iptables -A INPUT -p icmp -m multiport --sports 1
iptables -A INPUT -p tcp -m multiport --sports 1 --dports 2
iptables -A INPUT -p tcp -m multiport --sports 9:2
iptables -A OUTPUT -m mac --mac-source 00:aB:02:03:04:05
iptables -A INPUT -m owner --uid-owner 3
iptables -A OUTPUT -m owner --uid-owner nosuch
iptables -A OUTPUT -m addrtype --src-type LOCAL --limit-iface-in
iptables -A INPUT -m ttl --ttl-lt 3 --ttl-gt 4
iptables -A INPUT -m dscp --dscp-class NOTHING
iptables -A INPUT -m mark --mark 5 --mark 6
iptables -A INPUT -j TTL --ttl-set 3
iptables -A INPUT -j NOTRACK
iptables -A INPUT -j REJECT --reject-with tcp-reset
iptables -A INPUT -j REJECT --reject-with nothing
iptables -A INPUT -j LOG --log-level 8
iptables -A INPUT -j LOG --log-prefix ''
iptables -A INPUT -j DNAT --to-destination 1.1.1.1
iptables -t nat -A POSTROUTING -j DNAT --to-destination 1.1.1.1
iptables -t nat -A OUTPUT -p tcp -j DNAT --to-destination 1.1.1.1:80-70
iptables -t nat -A OUTPUT -p tcp -j DNAT --to-destination 1.1.1
iptables -t nat -A OUTPUT -j MASQUERADE
iptables -t nat -A PREROUTING -j DROP
iptables -t nat -A FORWARD -j ACCEPT
iptables -t mangle -A PREROUTING -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu
iptables -t mangle -A POSTROUTING -p tcp ! --syn -j TCPMSS --set-mss 1000
ip6tables -A INPUT -f
ip6tables -A INPUT -s 1.2.3.4
ip6tables -A INPUT -m ttl --ttl-eq 3
ip6tables -A INPUT -m addrtype --src-type BROADCAST
ip6tables -A INPUT -m addrtype --dst-type LOCAL,BLACKHOLE
ip6tables -A INPUT -j REJECT --reject-with tcp-reset
""".strip().splitlines()


@needs_iptables
def test_chains_live_and_end_as_with_the_real_tool() -> None:
    for line, real, own in zip(STORY, machine(STORY), ours(STORY), strict=True):
        assert own == real, line


@needs_iptables
def test_what_is_refused_is_refused_in_the_real_tools_words() -> None:
    for line, real, own in zip(REFUSED, machine(REFUSED), ours(REFUSED), strict=True):
        assert own == real, line
        assert real, f"{line}: the real tool takes it"
