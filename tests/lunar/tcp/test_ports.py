"""Names: bind, ephemeral ports, who may share."""

from __future__ import annotations

import errno

from tcp_scenario import OWN, PEER, Scenario


def test_bind_refuses_foreign_addresses() -> None:
    t = Scenario()
    assert t.tcp.create(2).bind(PEER, 80) == -errno.EADDRNOTAVAIL
    assert t.tcp.create(2).bind(0x7F00_0055, 80) == 0  # all of 127/8 is lo's


def test_bind_twice() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    assert sock.bind(OWN, 80) == 0
    assert sock.bind(OWN, 81) == -errno.EINVAL


def test_two_sockets_cannot_have_one_port() -> None:
    t = Scenario()
    assert t.tcp.create(2).bind(OWN, 80) == 0
    assert t.tcp.create(2).bind(0, 80) == -errno.EADDRINUSE
    assert t.tcp.create(2).bind(0x7F00_0001, 80) == 0  # another address


def test_reuse_address_allows_binding_but_one_listener() -> None:
    t = Scenario()
    first, second = t.tcp.create(2), t.tcp.create(2)
    first.reuse_addr = second.reuse_addr = True
    assert first.bind(0, 80) == 0 and second.bind(0, 80) == 0
    assert first.listen(1) == 0
    assert second.listen(1) == -errno.EADDRINUSE


def test_reuse_port_allows_two_listeners() -> None:
    t = Scenario()
    first, second = t.tcp.create(2), t.tcp.create(2)
    first.reuse_port = second.reuse_port = True
    assert first.bind(0, 80) == 0 and second.bind(0, 80) == 0
    assert first.listen(1) == 0 and second.listen(1) == 0


def test_port_zero_is_drawn_from_the_ephemeral_range() -> None:
    t = Scenario()
    ports = set()
    for _ in range(50):
        sock = t.tcp.create(2)
        assert sock.bind(0, 0) == 0
        ports.add(int(sock.local_port))
    assert len(ports) == 50
    assert min(ports) >= 32768 and max(ports) <= 60999


def test_connect_runs_out_of_ports() -> None:
    t = Scenario()
    socks = []
    for _ in range(28232):
        sock = t.tcp.create(2)
        assert sock.connect(PEER, 80) == -errno.EINPROGRESS
        socks.append(sock)
    assert t.tcp.create(2).connect(PEER, 80) == -errno.EADDRNOTAVAIL
    assert t.tcp.create(2).connect(PEER, 81) == -errno.EINPROGRESS  # another peer may share a port
    socks[5].close()
    assert t.tcp.create(2).connect(PEER, 80) == -errno.EINPROGRESS


def test_closed_socket_gives_its_port_back() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    assert sock.bind(0, 80) == 0
    sock.close()
    assert t.host.is_empty()
    assert t.tcp.create(2).bind(0, 80) == 0


def test_exact_address_listens_before_any() -> None:
    t = Scenario()
    wild, exact = t.tcp.create(2), t.tcp.create(2)
    wild.reuse_addr = exact.reuse_addr = True
    assert wild.bind(0, 80) == 0 and exact.bind(OWN, 80) == 0
    assert wild.listen(1) == 0
    assert exact.listen(1) == -errno.EADDRINUSE  # the other listens at all addresses


def test_listen_without_bind_takes_a_port() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    assert sock.listen(1) == 0
    assert 32768 <= sock.local_port <= 60999
    assert sock.listen(5) == 0  # changes the backlog


def test_unconnected_socket() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    assert sock.send(b"x", False) == -errno.EPIPE
    assert sock.recv(10, False) is None and sock.recv_errno == errno.ENOTCONN
    assert sock.shutdown(2) == -errno.ENOTCONN
    assert sock.accept_one() is None and sock.recv_errno == errno.EINVAL
