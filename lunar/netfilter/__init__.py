"""netfilter: a host's packet filter, its connection tracking and address translation. See docs/netfilter.md.

It stands beside lunar/net, which knows of it only as the `Filter` that it asks (lunar/net/ip.py). Rules as text, the
command lines of iptables and ip6tables, are in lunar/net_tools/iptables.
"""
