"""The size of segments: routes, ICMP (RFC 1191), IP_MTU_DISCOVER, and the search for the path's MTU (RFC 4821)."""

from __future__ import annotations

import errno

from tcp_scenario import ACK, LOCAL, OWN, PEER, PSH, REMOTE, SYN, Scenario, established, ms, s, server

from lunar.net.route import Route
from lunar.packet import IcmpMessage
from lunar.sockets import options

IPPROTO_IP = 0
IP_MTU_DISCOVER, IP_MTU = 10, 14


def route(t: Scenario, **metrics: int) -> Route:
    """A route to the peer with these metrics, in the place of the one before."""
    made = Route(PEER, 32, 0, t.host.device, 0, 0)
    for name, value in metrics.items():
        setattr(made, name, bool(value) if name == "mtu_locked" else value)
    for old in t.host.ip.inet.routes.all():
        if old.prefix == 32 and old.network == PEER:
            t.host.ip.inet.routes.remove(PEER, 32, 0, t.host.device)
    t.host.ip.inet.routes.add(made)
    return made


def too_big(t: Scenario, mtu: int, seq: int = LOCAL + 1) -> None:
    """A router could not pass a segment of ours."""
    wire = (seq - LOCAL + t.iss) & 0xFFFF_FFFF
    quote = (4000).to_bytes(2, "big") + (80).to_bytes(2, "big") + wire.to_bytes(4, "big")
    t.tcp.error(IcmpMessage(2, 0, 0, 3, 4, mtu, b""), errno.EMSGSIZE, False, OWN, PEER, quote)


def with_route(**metrics: int) -> Scenario:
    """As `established`, over a route with metrics."""
    t = Scenario()
    route(t, **metrics)
    t.connect()
    t.forget()
    t.gets(at=0, seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK, mss=1460)
    t.forget()
    return t


# Routes.


def test_advmss_is_what_the_syn_says() -> None:
    t = Scenario()
    route(t, advmss=600, mtu=640)
    t.connect()
    assert t.sends(at=0, flags=SYN).mss == 600
    t = server()
    route(t, advmss=600)
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    assert t.sends(at=0, flags=SYN | ACK).mss == 600


def test_a_routes_mtu_bounds_segments_and_is_the_advertised_mss() -> None:
    t = with_route(mtu=1000)
    assert t.sock.advmss == 960
    t.write(b"x" * 1000)
    assert t.sends(at=0, size=960).dont_fragment
    t.sends(at=0, size=40)


def test_initcwnd_of_a_route() -> None:
    t = with_route(initcwnd=4)
    assert t.sock.cwnd == 4


def test_a_changed_route_counts_when_it_is_looked_up_again() -> None:
    t = with_route(mtu=1000)
    route(t, mtu=600)
    t.write(b"x" * 960)
    t.sends(at=0, size=960)  # the old one was at hand when the segment was cut
    t.write(b"y" * 1000)
    t.sends(at=0, size=560)


def test_a_device_that_gets_a_smaller_mtu() -> None:
    t = established()
    t.host.device.mtu = 1000
    t.write(b"x" * 1000)
    t.sends(at=0, size=960)


# ICMP, RFC 1191.


def test_what_a_router_says_is_kept_for_the_host() -> None:
    t = established()
    t.write(b"x" * 1460)
    t.forget()
    too_big(t, 1200)
    assert options.getsockopt(t.sock, IPPROTO_IP, IP_MTU) == 1200
    other = t.tcp.create(2)
    other.bind(OWN, 4001)
    other.connect(PEER, 80)
    assert other.advmss == 1160


def test_it_is_forgotten_after_ten_minutes() -> None:
    t = established()
    t.write(b"x" * 100)
    t.forget()
    too_big(t, 1200)
    t.gets(at=ms(100), ack=LOCAL + 101)
    assert t.sock.info().snd_mss == 1160
    t.run(s(601))
    t.write(b"y" * 2000)
    t.sends(at=s(601), size=1460)


def test_less_than_min_pmtu_is_not_believed() -> None:
    t = established()
    t.write(b"x" * 1460)
    t.forget()
    too_big(t, 68)
    t.sends(at=0, size=512)
    assert t.sock.soft_error == errno.EMSGSIZE  # it may not get through
    t.host.ip.route_min_pmtu = 300
    too_big(t, 68)
    assert t.sock.info().snd_mss == 260


def test_a_router_of_before_rfc_1191_says_no_size() -> None:
    t = established()
    t.write(b"x" * 1460)
    t.forget()
    too_big(t, 0)
    t.sends(at=0, size=512)


def test_a_larger_size_is_not_taken() -> None:
    t = established()
    t.write(b"x" * 1460)
    t.forget()
    too_big(t, 9000)
    assert t.sock.info().snd_mss == 1460
    t.sends_nothing(until=ms(100))


def test_what_did_not_pass_is_sent_again_without_less_cwnd() -> None:
    t = established()
    t.write(b"x" * 1460)
    t.forget()
    too_big(t, 1040)
    assert t.sock.info().cwnd == 10
    t.sends(at=0, size=1000)
    t.sends(at=0, size=460)


def test_a_locked_route_does_not_listen() -> None:
    t = with_route(mtu=1000, mtu_locked=1)
    t.write(b"x" * 960)
    assert not t.sends(at=0, size=960).dont_fragment  # where ICMP changes nothing, routers must be free to
    too_big(t, 600)
    t.sends_nothing(until=ms(100))
    assert t.sock.info().snd_mss == 960


def test_icmp_about_nothing_that_is_in_flight_is_ignored() -> None:
    t = established()
    t.write(b"x" * 100)
    t.forget()
    too_big(t, 600, seq=LOCAL + 500)
    assert t.sock.info().snd_mss == 1460


# IP_MTU_DISCOVER.


def test_a_program_that_wants_no_discovery() -> None:
    t = established()
    assert options.getsockopt(t.sock, IPPROTO_IP, IP_MTU_DISCOVER) == 1
    assert options.set_bytes(t.sock, IPPROTO_IP, IP_MTU_DISCOVER, b"\0") == 0
    t.write(b"x" * 100)
    assert not t.sends(at=0).dont_fragment
    too_big(t, 600)
    assert t.sock.info().snd_mss == 1460


def test_values_of_mtu_discover() -> None:
    t = established()
    assert options.setsockopt(t.sock, IPPROTO_IP, IP_MTU_DISCOVER, 6) == -errno.EINVAL
    assert options.setsockopt(t.sock, IPPROTO_IP, IP_MTU_DISCOVER, 2) == 0
    assert options.getsockopt(t.sock, IPPROTO_IP, IP_MTU) == 1500
    fresh = t.tcp.create(2)
    assert options.getsockopt(fresh, IPPROTO_IP, IP_MTU) == -errno.ENOTCONN
    t.host.ip.no_pmtu_disc = 1
    assert options.getsockopt(t.tcp.create(2), IPPROTO_IP, IP_MTU_DISCOVER) == 0


# RFC 4821.


def probing(mode: int = 2) -> Scenario:
    t = Scenario()
    sysctls = t.tcp.tables.sysctls
    sysctls.tcp_mtu_probing = mode
    sysctls.tcp_base_mss = 512
    sysctls.tcp_timestamps = 0
    t.connect()
    t.start = ms(100)
    t.forget()
    t.gets(at=0, seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK, mss=1460)
    t.forget()
    t.sock.cwnd = 12
    return t


def test_a_probe_halves_the_interval() -> None:
    t = probing()
    # Packets of 552 bytes pass, of 1500 the peer takes: the probe has 1026, and two segments' worth of cwnd.
    t.write(b"x" * 4000)
    t.sends(at=0, seq=LOCAL + 1, size=986, flags=ACK)
    t.sends(at=0, seq=LOCAL + 987, size=512)
    assert t.sock.cwnd == 11
    t.forget()
    t.gets(at=ms(100), ack=LOCAL + 4001)
    assert t.sock.info().snd_mss == 986
    # cwnd counts as many bytes as before: (11 + 7) * 552 / 1026.
    assert t.sock.cwnd < 18
    t.sock.cwnd = 12
    t.write(b"y" * 6000)
    t.sends(at=ms(100), size=1223)  # half way between 1026 and 1500


def test_a_lost_probe_is_no_congestion() -> None:
    t = probing()
    t.sock.sack_ok = False
    t.write(b"x" * 4000)
    t.sends(at=0, size=986)
    t.forget()
    for at in (99, 100, 101, 102):  # the first is newer than the SYN-ACK, and no duplicate
        t.gets(at=ms(at), ack=LOCAL + 1)
    info = t.sock.info()
    assert (info.snd_mss, info.cwnd) == (512, 12)
    t.sends(at=ms(102), seq=LOCAL + 1, size=512)
    t.sends(at=ms(102), seq=LOCAL + 513, size=474)
    assert t.sock.mtu_search is not None and t.sock.mtu_search.high == 1025


def test_a_probe_that_was_sent_again_tells_nothing() -> None:
    t = probing()
    t.write(b"x" * 4000)
    t.forget()
    t.run(ms(300))  # the timeout: its data go in segments that pass
    t.gets(at=ms(400), ack=LOCAL + 4001)
    assert t.sock.info().snd_mss == 512
    assert t.sock.mtu_search is not None and (t.sock.mtu_search.low, t.sock.mtu_search.high) == (552, 1500)


def test_too_little_to_send_is_no_probe() -> None:
    t = probing()
    t.write(b"x" * 986)
    t.sends(at=0, size=512)


def test_a_black_hole_makes_segments_smaller() -> None:
    t = probing(mode=1)
    t.write(b"x" * 1460)
    assert t.sends(at=0, size=1460).flags == ACK | PSH
    t.sends(at=ms(300), size=1460)
    t.sends(at=ms(900), size=1460)
    t.sends(at=ms(2100), size=1460)
    t.sends(at=ms(4500), size=512)  # more than 3 s of timeouts, the time of tcp_retries1
    t.sends(at=ms(9300), size=256)


def test_without_the_parameter_segments_stay() -> None:
    t = probing(mode=0)
    t.write(b"x" * 1460)
    t.forget()
    t.run(ms(9300))
    assert all(len(segment.payload) == 1460 for _, segment in t.medium.sent)
