"""Names and addresses: what a tapestry's table says, and what numbers say, which is what glibc says of them."""

from __future__ import annotations

import itertools
import socket
from typing import Any

import pytest

import lunar
from lunar.host import Host
from lunar.wire.address import parse_ipv4

STREAM = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
DGRAM = (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
RAW = (socket.AF_INET, socket.SOCK_RAW, 0)


def asking(own: str = "client") -> Host:
    """A host without a device, which knows a few names."""
    net = lunar.Network(seed=1)
    net.names.add("server", 0x0A00_0002)
    net.names.add("server", 0x0A01_0002)
    net.names.add("www", 0x0A00_0002)
    net.names.add("Client", 0x0A00_0003)
    return net.host(own)


def getaddrinfo(
    host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0, own: str = "client"
) -> list[Any]:
    return asking(own).getaddrinfo(host, port, family, type, proto, flags)


def streams(host: Any, port: Any = 80, flags: int = 0) -> list[Any]:
    """The socket addresses for a stream."""
    return [answer[4] for answer in getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)]


# Names


def test_a_name_has_the_addresses_of_its_devices_in_order() -> None:
    assert streams("server") == [("10.0.0.2", 80), ("10.1.0.2", 80)]


def test_an_alias_has_what_it_was_given() -> None:
    assert streams("www") == [("10.0.0.2", 80)]


@pytest.mark.parametrize("name", ["SERVER", "server.", "Server.", b"server", bytearray(b"server")])
def test_case_a_final_dot_and_bytes_do_not_matter(name: Any) -> None:
    assert streams(name) == [("10.0.0.2", 80), ("10.1.0.2", 80)]


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "localhost.", "ip4-localhost"])
def test_localhost_is_the_loopback(name: str) -> None:
    assert streams(name) == [("127.0.0.1", 80)]


def test_a_host_without_an_address_knows_its_own_name() -> None:
    assert getaddrinfo("lonely", 80, 0, socket.SOCK_STREAM, own="lonely") == [(*STREAM, "", ("127.0.0.1", 80))]


def test_its_own_name_is_its_address_where_it_has_one() -> None:
    assert getaddrinfo("client", 80, 0, socket.SOCK_STREAM, own="client") == [(*STREAM, "", ("10.0.0.3", 80))]


def test_each_address_comes_with_each_kind_of_socket() -> None:
    assert getaddrinfo("server", 80) == [
        (*kind, "", (address, 80)) for address in ("10.0.0.2", "10.1.0.2") for kind in (STREAM, DGRAM, RAW)
    ]


def test_the_kinds_are_the_standard_librarys_enumerations() -> None:
    answer = getaddrinfo("server", 80)[0]
    assert isinstance(answer[0], socket.AddressFamily)
    assert isinstance(answer[1], socket.SocketKind)


def test_the_canonical_name_comes_once() -> None:
    names = [answer[3] for answer in getaddrinfo("server", 80, flags=socket.AI_CANONNAME)]
    assert names == ["server", "", "", "", "", ""]


def refused(*args: Any, **options: Any) -> tuple[int, str]:
    with pytest.raises(socket.gaierror) as raised:
        getaddrinfo(*args, **options)
    return raised.value.args  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["nobody", "server2", "serve", b"server..x", b"\xff", "", " ", "10.0.0.2 server"])
def test_an_unknown_name(name: str | bytes) -> None:
    assert refused(name, 80) == (socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("name", ["server..x", ".", "x" * 64, f"{'x' * 64}.example.org"])
def test_a_part_that_is_empty_or_too_long_is_refused_as_by_cpython(name: str) -> None:
    with pytest.raises(UnicodeError) as ours:
        getaddrinfo(name, 80)
    with pytest.raises(UnicodeError) as theirs:
        socket.getaddrinfo(name, 80)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("name", ["server..x", ".", "x" * 64, b"\xff"])
def test_in_an_address_such_a_name_is_one_that_nobody_has(name: str | bytes) -> None:
    def connect() -> None:
        with socket.socket() as sock:
            sock.connect((name, 80))

    with lunar.Network(seed=1) as net, pytest.raises(socket.gaierror, match="Name or service not known"):
        net.run(connect, on=net.host("client", "10.0.0.1/24"))


def test_an_ipv6_address_is_none_of_ipv4_whatever_its_scope_is() -> None:
    expected = (socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
    assert refused("fe80::1%nobody", 80, family=socket.AF_INET) == expected


def test_a_name_is_not_a_number() -> None:
    assert refused("server", 80, flags=socket.AI_NUMERICHOST) == (socket.EAI_NONAME, "Name or service not known")


def test_a_name_without_an_ipv6_address_has_none() -> None:
    expected = (socket.EAI_NONAME, "Name or service not known")
    assert refused("server", 80, family=socket.AF_INET6) == expected


def test_but_a_mapped_address_for_who_asks() -> None:
    found = getaddrinfo("server", 80, family=socket.AF_INET6, type=socket.SOCK_STREAM, flags=socket.AI_V4MAPPED)
    assert [answer[4] for answer in found] == [("::ffff:10.0.0.2", 80, 0, 0), ("::ffff:10.1.0.2", 80, 0, 0)]


def test_what_a_program_puts_into_socket_is_not_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    # As pysyncobj does, whose inet_ntop is for Windows alone.
    def not_windows(*_args: Any) -> Any:
        raise TypeError("not on this system")

    for name in ("inet_pton", "inet_ntop", "inet_aton", "inet_ntoa"):
        monkeypatch.setattr(socket, name, not_windows)
    assert streams("::1") == [("::1", 80, 0, 0)]
    assert streams("10.2") == [("10.0.0.2", 80)]

    def bound() -> Any:
        with socket.create_server(("::1", 80), family=socket.AF_INET6) as server:
            return server.getsockname()

    with lunar.Network() as net:
        assert net.run(bound, on=net.host("a", "10.0.0.1/24")) == ("::1", 80, 0, 0)


def test_an_unknown_name_has_no_family() -> None:
    assert refused("nobody", 80, family=socket.AF_INET6)[0] == socket.EAI_NONAME


# No name


@pytest.mark.parametrize(("flags", "address"), [(0, "127.0.0.1"), (socket.AI_PASSIVE, "0.0.0.0")])
@pytest.mark.parametrize("host", [None, "*"])
def test_no_host_is_oneself_or_all(host: Any, flags: int, address: str) -> None:
    assert streams(host, flags=flags) == [(address, 80)]


def test_passive_changes_nothing_for_a_name() -> None:
    assert streams("www", flags=socket.AI_PASSIVE) == [("10.0.0.2", 80)]


def test_neither_host_nor_port() -> None:
    assert refused(None, None) == (socket.EAI_NONAME, "Name or service not known")


# Services


@pytest.mark.parametrize(("name", "port"), [("http", 80), ("https", 443), ("domain", 53), ("ssh", 22), (b"http", 80)])
def test_a_service_is_a_port(name: Any, port: int) -> None:
    assert streams("www", name) == [("10.0.0.2", port)]


def test_a_service_by_name_is_not_for_raw_sockets() -> None:
    assert [answer[:3] for answer in getaddrinfo("www", "domain")] == [STREAM, DGRAM]


def test_an_unknown_service() -> None:
    assert refused("www", "nosuch") == (socket.EAI_SERVICE, "Servname not supported for ai_socktype")


def test_a_service_is_not_a_number() -> None:
    expected = (socket.EAI_NONAME, "Name or service not known")
    assert refused("www", "http", flags=socket.AI_NUMERICSERV) == expected


def test_a_service_has_a_port_that_says_its_name() -> None:
    for name, port in (("domain", 53), ("http", 80), ("https", 443), ("imap2", 143), ("mqtt", 1883)):
        assert streams("www", name) == [("10.0.0.2", port)]
        assert asking().getnameinfo(("10.0.0.2", port), 0)[1] == name
    # imap2 is an older name of imap's port, and the table has it first, as /etc/services does.
    assert streams("www", "imap") == [("10.0.0.2", 143)]


def test_a_service_is_of_the_protocols_that_know_it() -> None:
    assert [answer[1] for answer in getaddrinfo("www", "ntp")] == [socket.SOCK_DGRAM]
    assert [answer[1] for answer in getaddrinfo("www", "http")] == [socket.SOCK_STREAM]
    assert [answer[1] for answer in getaddrinfo("www", "domain")] == [socket.SOCK_STREAM, socket.SOCK_DGRAM]
    assert refused("www", "http", socket.AF_INET, socket.SOCK_DGRAM)[0] == socket.EAI_SERVICE
    assert asking().getnameinfo(("10.0.0.2", 514), 0)[1] == "shell"
    assert asking().getnameinfo(("10.0.0.2", 514), socket.NI_DGRAM)[1] == "syslog"


@pytest.mark.parametrize("port", [1.5, True, [80]])
def test_a_port_of_another_type(port: Any) -> None:
    with pytest.raises(OSError, match="Int or String expected"):
        getaddrinfo("www", port)


@pytest.mark.parametrize("host", [5, 1.5, ("www",)])
def test_a_host_of_another_type(host: Any) -> None:
    with pytest.raises(TypeError, match="argument 1 must be string or None"):
        getaddrinfo(host, 80)


# The same as the machine's own resolver, where no file and no server is asked

HOSTS = [
    "127.0.0.1", "10.0.0.1", "0.0.0.0", "255.255.255.255", "127.1", "10.513", "0x7f.1", "010.0.0.1", "4294967295",
    "1.2.3.4.5", "256.1.1.1", "4294967296", "10.0.0.1 ", "1.2.3.", "0x", "08.1", "nobody", b"10.0.0.1",
    "::1", "0:0::1", "::ffff:1.2.3.4", ":x", "1:2:3",
]  # fmt: skip
PORTS = [
    80, 0, None, "80", "", "0", " 80", "+80", "080", "8x", "80 ", -1, "-1", "--1", 70_000, 2**31, 2**31 - 1,
    "99999999999", "no such service", b"80", True, 1.5,
]  # fmt: skip
FLAGS = [0, socket.AI_PASSIVE, socket.AI_V4MAPPED, socket.AI_CANONNAME, socket.AI_NUMERICSERV, 1 << 30]
FAMILIES = [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]
TYPES = [0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 7]
PROTOCOLS = [0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 99]


def outcome(function: Any, *args: Any) -> Any:
    try:
        return function(*args)
    except (OSError, TypeError) as error:
        return type(error), error.args


def differences(hosts: list[Any], ports: list[Any], families: list[int], flag: int = 0) -> list[Any]:
    own = asking()
    found = []
    for host, port, family, type, protocol, flags in itertools.product(hosts, ports, families, TYPES, PROTOCOLS, FLAGS):
        args = (host, port, family, type, protocol, flags | flag)
        ours, theirs = outcome(own.getaddrinfo, *args), outcome(socket.getaddrinfo, *args)
        if ours != theirs:
            found.append((args, ours, theirs))
    return found


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_numeric_hosts_are_as_on_this_machine(host: Any) -> None:
    assert differences([host], PORTS, FAMILIES, socket.AI_NUMERICHOST)[:3] == []


def test_no_host_is_as_on_this_machine() -> None:
    assert differences([None, "*"], PORTS, [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])[:3] == []


# getnameinfo


def name_of(address: str, port: int = 80, flags: int = 0) -> tuple[str, str]:
    return asking().getnameinfo((address, port), flags)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0, ("server", "http")),
        (socket.NI_NUMERICHOST, ("10.0.0.2", "http")),
        (socket.NI_NUMERICSERV, ("server", "80")),
        (socket.NI_NUMERICHOST | socket.NI_NUMERICSERV, ("10.0.0.2", "80")),
        (socket.NI_NAMEREQD, ("server", "http")),
    ],
)
def test_the_flags_choose_names_or_numbers(flags: int, expected: tuple[str, str]) -> None:
    assert name_of("10.0.0.2", flags=flags) == expected


def test_the_first_name_of_an_address_is_its_name() -> None:
    assert name_of("10.0.0.2")[0] == "server"  # not www
    assert name_of("10.1.0.2")[0] == "server"


def test_names_are_given_back_as_they_were_written() -> None:
    assert name_of("10.0.0.3")[0] == "Client"


def test_the_loopback_is_localhost() -> None:
    assert name_of("127.0.0.1")[0] == "localhost"


def test_an_address_without_a_name_is_a_number() -> None:
    assert name_of("10.9.9.9", 81) == ("10.9.9.9", "81")


def test_unless_a_name_is_required() -> None:
    with pytest.raises(socket.gaierror) as raised:
        name_of("10.9.9.9", flags=socket.NI_NAMEREQD)
    assert raised.value.errno == socket.EAI_NONAME


NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


@pytest.mark.parametrize(
    "sockaddr",
    [
        ("10.9.9.9", 80), ("127.1", 80), ("10.9.9.9", 0), ("10.9.9.9", 65_535), ("10.9.9.9", 70_000), ("10.9.9.9", -1),
        ("nobody", 80), ("10.9.9.9",), "10.9.9.9", ("10.9.9.9", "80"), (1, 80),
        ("::ffff:10.9.9.9", 80, 0, 0), ("::", 80, 0, 0), ("fd00::1", 80), ("fd00::x", 80, 0, 0),
    ],
    ids=repr,
)  # fmt: skip
def test_numeric_names_are_as_on_this_machine(sockaddr: Any) -> None:
    ours = outcome(asking().getnameinfo, sockaddr, NUMERIC)
    theirs = outcome(socket.getnameinfo, sockaddr, NUMERIC)
    if isinstance(ours, tuple) and ours[0] is TypeError:
        assert theirs[0] is TypeError
    else:
        assert ours == theirs


# On a host


def test_a_hosts_names_are_those_of_its_network() -> None:
    with lunar.Network(seed=1) as net:
        net.host("server", "10.0.0.2/24", "10.1.0.2/24")
        client = net.host("client", "10.0.0.3/24")

        async def ask() -> list[Any]:
            return [socket.gethostbyname("server"), socket.gethostname(), socket.gethostbyname(socket.gethostname())]

        assert net.run(ask(), on=client) == ["10.0.0.2", "client", "10.0.0.3"]


def test_an_address_that_is_added_is_a_hosts_too() -> None:
    with lunar.Network(seed=1) as net:
        server = net.host("server", "10.0.0.2/24")
        server.add_address(server.devices["eth0"], parse_ipv4("10.0.0.9"), 24)
        assert [answer[4][0] for answer in server.getaddrinfo("server", 80, type=socket.SOCK_STREAM)] == [
            "10.0.0.2",
            "10.0.0.9",
        ]


def test_outside_a_weave_the_machine_answers() -> None:
    with lunar.Network(seed=1) as net:
        net.host("server", "10.0.0.2/24")
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("server", 80, flags=socket.AI_NUMERICHOST)
