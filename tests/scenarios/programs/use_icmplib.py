"""icmplib: ping, many hosts at once, traceroute, and the same awaited; over raw sockets, and without privileges.

    use_icmplib.py client SERVER ABSENT

SERVER is two hops away; nobody has the address ABSENT. Nothing of this program runs on the server: its kernel answers.
"""

import asyncio
import sys

import icmplib

COUNT = 10


def facts(host):
    assert host.packets_sent == COUNT
    assert host.packets_received >= COUNT / 2, host
    assert 0 < host.min_rtt <= host.avg_rtt <= host.max_rtt
    return host.address


async def awaited(server, absent):
    one = await icmplib.async_ping(server, count=COUNT, interval=0.2, timeout=1)
    several = await icmplib.async_multiping([server, absent, "127.0.0.1"], count=2, interval=0.2, timeout=1)
    return facts(one), [host.is_alive for host in several]


def client(server, absent):
    address = icmplib.resolve(server)[0]
    assert facts(icmplib.ping(server, count=COUNT, interval=0.2, timeout=1)) == address
    assert facts(icmplib.ping(server, count=COUNT, interval=0.2, timeout=1, payload_size=1000)) == address
    unprivileged = icmplib.ping(server, count=COUNT, interval=0.2, timeout=1, privileged=False)
    assert facts(unprivileged) == address
    silent = icmplib.ping(absent, count=3, interval=0.2, timeout=0.5)
    assert not silent.is_alive and silent.packet_loss == 1
    alive = [host.is_alive for host in icmplib.multiping([server, absent, "127.0.0.1"], count=2, timeout=1)]
    assert alive == [True, False, True]
    hops = icmplib.traceroute(server, count=3, interval=0.05, timeout=1)
    assert [hop.distance for hop in hops] == list(range(1, len(hops) + 1))
    assert hops[-1].address == address and hops[-1].avg_rtt > hops[0].avg_rtt
    assert asyncio.run(awaited(server, absent)) == (address, alive)
    with icmplib.ICMPv4Socket() as sock:
        request = icmplib.ICMPRequest(server, id=7, sequence=1, ttl=1, payload=b"x" * 56)
        sock.send(request)
        try:
            sock.receive(request, timeout=1).raise_for_status()
        except icmplib.TimeExceeded as error:
            early = error.reply.source
    assert early == hops[0].address
    print(f"pinged {address}, alive {alive}, {len(hops)} hops, time exceeded at {early}")


if __name__ == "__main__":
    client(*sys.argv[2:])
