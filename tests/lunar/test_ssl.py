"""TLS on sockets between two virtual hosts: blocking, with a timeout, and not to block under add_reader.

What a program that does not block sees is compared with the machine's in tests/parity/test_tls_parity.py.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lunar.host import Host
from lunar.network import Network

TLS = Path(__file__).parents[2] / "tapestries" / "apps" / "tls"


class Pair:
    """A server and a client, 5 ms apart."""

    def __init__(self) -> None:
        self.net = Network(seed=1)
        self.server = self.net.host("server", "10.0.0.1/24")
        self.client = self.net.host("client", "10.0.0.2/24")
        self.net.link(self.server, self.client, rate="100mbit", delay="5ms")

    def run(self, serve: Callable[[], Any], ask: Callable[[], Any]) -> tuple[Any, Any]:
        """Both as blocking strings: what they return."""
        string = self.net.start(self.server, serve)
        asked = self.net.run(ask, on=self.client)
        self.net.run()
        assert string.error is None, string.describe_failure()
        return string.result, asked


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.net.close()


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    return context


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=TLS / "authority.pem")


def accept(context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    with socket.create_server(("0.0.0.0", 443)) as listener:
        plain, _ = listener.accept()
        return (context or server_context()).wrap_socket(plain, server_side=True)


def connect(context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    time.sleep(0.1)
    plain = socket.create_connection(("server", 443))
    return (context or client_context()).wrap_socket(plain, server_hostname="server")


def no_descriptors(*hosts: Host) -> bool:
    return all(host.descriptors.all() == [] for host in hosts)


def test_a_program_that_blocks_talks_over_tls(pair: Pair) -> None:
    def serve() -> Any:
        with accept() as sock:
            seen = [sock.version(), sock.recv(5), sock.recv(100)]
            sock.sendall(bytes(range(256)) * 1000)
            assert sock.recv(1) == b""  # close_notify
            sock.unwrap().close()
            return seen

    def ask() -> Any:
        with connect() as sock:
            assert isinstance(sock, ssl.SSLSocket)
            sock.sendall(b"hello, world")
            with sock.makefile("rb") as file:
                data = file.read(256_000)
            certificate = sock.getpeercert()
            sock.unwrap().close()
            return data == bytes(range(256)) * 1000, certificate["subjectAltName"], sock.gettimeout()

    assert pair.run(serve, ask) == (["TLSv1.3", b"hello", b", world"], (True, (("DNS", "server"),), None))
    assert no_descriptors(pair.server, pair.client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_and_protocols_are_agreed_on(pair: Pair, version: ssl.TLSVersion) -> None:
    def serve() -> Any:
        context = server_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with accept(context) as sock:
            sock.sendall(sock.recv(100).upper())
            return sock.version(), sock.selected_alpn_protocol()

    def ask() -> Any:
        context = client_context()
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["http/1.1"])
        with connect(context) as sock:
            sock.sendall(b"shout")
            return sock.recv(100), sock.selected_alpn_protocol(), sock.session_reused

    name = version.name.replace("_", ".")
    assert pair.run(serve, ask) == ((name, "http/1.1"), (b"SHOUT", "http/1.1", False))


def test_a_certificate_that_is_not_trusted_ends_the_handshake_of_both(pair: Pair) -> None:
    def serve() -> Any:
        with pytest.raises(ssl.SSLError) as caught:
            accept()
        return caught.value.reason

    def ask() -> Any:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            connect(ssl.create_default_context())
        return caught.value.verify_code

    reason, code = pair.run(serve, ask)
    assert reason == "TLSV1_ALERT_UNKNOWN_CA"
    assert code in (19, 20)  # the authority is unknown, as self-signed in the chain or not in the chain
    assert no_descriptors(pair.server, pair.client)


def test_a_timeout_is_exact_for_reading_and_shaking_hands(pair: Pair) -> None:
    def serve() -> None:
        with accept() as sock:
            time.sleep(10)
            sock.sendall(b"late")
        with socket.create_server(("0.0.0.0", 444)) as silent:
            kept, _ = silent.accept()
            assert kept.recv(1)
            time.sleep(10)
            kept.close()

    def ask() -> Any:
        sock = connect()
        sock.settimeout(2.5)
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="The read operation timed out"):
            sock.recv(1)
        waited = [time.monotonic() - start]
        sock.settimeout(None)
        assert sock.recv(100) == b"late"
        sock.close()
        time.sleep(1)
        plain = socket.create_connection(("server", 444))
        plain.settimeout(1.5)
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="The handshake operation timed out"):
            client_context().wrap_socket(plain, server_hostname="server")
        return [round(seconds, 9) for seconds in [*waited, time.monotonic() - start]]

    assert pair.run(serve, ask)[1] == [2.5, 1.5]


def test_the_end_of_the_stream_without_a_goodbye(pair: Pair) -> None:
    def serve() -> Any:
        with accept() as sock:
            first = sock.recv(100)
            second = sock.recv(100)  # suppress_ragged_eofs
            return first, second

    def ask() -> None:
        sock = connect()
        sock.sendall(b"no goodbye")
        sock.close()

    assert pair.run(serve, ask)[0] == (b"no goodbye", b"")


def test_a_wrapped_socket_is_not_read_beyond_its_record(pair: Pair) -> None:
    # What comes behind close_notify is for the plain socket, which gets it whole.
    def serve() -> Any:
        with accept() as sock:
            plain = sock.unwrap()
            plain.sendall(b"in the clear")
            return plain.recv(100)

    def ask() -> Any:
        with connect() as sock:
            plain = sock.unwrap()
            got = plain.recv(100)
            plain.sendall(b"me too")
            return got

    assert pair.run(serve, ask) == (b"me too", b"in the clear")


def test_two_strings_use_one_connection_at_once(pair: Pair) -> None:
    # Both ends send more than buffers hold and read meanwhile, each in a string of its own.
    data = bytes(range(256)) * 8000

    def exchange(connection: Callable[[], ssl.SSLSocket], log: list[Any]) -> Callable[[], Any]:
        socks: list[ssl.SSLSocket] = []

        def write() -> None:
            socks.append(connection())
            socks[0].sendall(data)
            log.append("sent")

        def read() -> None:
            while not socks or socks[0].version() is None:
                time.sleep(0.01)
            got = bytearray()
            while len(got) < len(data):
                got += socks[0].recv(10_000)
            assert got == data
            log.append("got")

        return lambda: (write, read)

    logs: tuple[list[Any], list[Any]] = ([], [])
    strings = [
        pair.net.start(host, function)
        for host, connection, log in zip((pair.server, pair.client), (accept, connect), logs, strict=True)
        for function in exchange(connection, log)()
    ]
    pair.net.run()
    assert [string.error for string in strings] == [None] * 4
    assert [sorted(log) for log in logs] == [["got", "sent"], ["got", "sent"]]


def test_two_writers_do_not_mix_their_data(pair: Pair) -> None:
    sizes = [300_000, 200_000, 100_000]
    socks: list[ssl.SSLSocket] = []

    def serve() -> Any:
        with accept() as sock:
            time.sleep(5)
            got = bytearray()
            while len(got) < sum(sizes):
                got += sock.recv(65_536)
            sock.sendall(b"all")
            return got

    def opens() -> None:
        socks.append(connect())

    def write(number: int) -> None:
        time.sleep(1)
        assert socks[0].send(bytes([number]) * sizes[number]) == sizes[number]
        done.append(number)
        if len(done) == 3:
            assert socks[0].recv(100) == b"all"
            socks[0].close()

    def gives_up() -> None:
        # Behind the others, and not for long; it takes no turn from them.
        time.sleep(1.5)
        socks[0].settimeout(1)
        with pytest.raises(TimeoutError, match="The write operation timed out"):
            socks[0].send(b"late")
        socks[0].settimeout(0)
        with pytest.raises(ssl.SSLWantWriteError):
            socks[0].send(b"late")
        socks[0].settimeout(None)
        ended.append(time.monotonic())

    done: list[int] = []
    ended: list[float] = []
    server = pair.net.start(pair.server, serve)
    strings = [pair.net.start(pair.client, function) for function in (opens, gives_up)]
    strings += [pair.net.start(pair.client, write, number) for number in range(3)]
    pair.net.run()
    assert [string.error for string in strings] == [None] * 5
    assert server.result == b"".join(bytes([number]) * sizes[number] for number in range(3))
    assert done == [0, 1, 2]
    assert ended == [2.5]


def test_a_wrapped_listener_accepts_and_its_certificate_can_be_fetched(pair: Pair) -> None:
    def serve() -> Any:
        peers = []
        with server_context().wrap_socket(socket.create_server(("0.0.0.0", 443)), server_side=True) as listener:
            for _ in range(2):
                sock, address = listener.accept()
                assert isinstance(sock, ssl.SSLSocket)
                peers.append((address[0], sock.recv(100)))
                sock.close()
        return peers

    def ask() -> Any:
        time.sleep(0.1)
        fetched = ssl.get_server_certificate(("server", 443), ca_certs=str(TLS / "authority.pem"))
        unconnected = client_context().wrap_socket(socket.socket(), server_hostname="server")
        unconnected.connect(("server", 443))
        unconnected.send(b"wrapped before it was connected")
        presented = unconnected.getpeercert(True)
        unconnected.close()
        assert presented
        return ssl.PEM_cert_to_DER_cert(fetched) == presented

    peers, same = pair.run(serve, ask)
    assert peers == [("10.0.0.2", b""), ("10.0.0.2", b"wrapped before it was connected")]
    assert same
    assert no_descriptors(pair.server, pair.client)


def test_files_are_sent_and_lines_are_read(pair: Pair, tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_bytes(bytes(range(256)) * 400)

    def serve() -> Any:
        with accept() as sock, sock.makefile("rw", encoding="utf-8", newline="\n") as file:
            name = file.readline()
            file.write("here it comes\n")
            file.flush()
            with page.open("rb") as source:
                return name, sock.sendfile(source, 100, 50_000)

    def ask() -> Any:
        with connect() as sock:
            sock.sendall("gr\u00fc\u00dfe\n".encode())
            with sock.makefile("rb") as file:
                return file.readline(), file.read() == page.read_bytes()[100:50_100]

    assert pair.run(serve, ask) == (("gr\u00fc\u00dfe\n", 50_000), (b"here it comes\n", True))


def test_a_handshake_that_is_put_off_blocks_when_it_comes(pair: Pair) -> None:
    def serve() -> None:
        with accept() as sock:
            assert sock.recv(1) == b"x"

    def ask() -> Any:
        time.sleep(0.1)
        plain = socket.create_connection(("server", 443), timeout=3)
        sock = client_context().wrap_socket(plain, server_hostname="server", do_handshake_on_connect=False)
        assert (sock.version(), sock.gettimeout(), plain.fileno()) == (None, 3.0, -1)
        with pytest.raises(ValueError, match="handshake not done yet"):
            sock.getpeercert()
        start = time.monotonic()
        sock.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            sock.do_handshake()
        sock.do_handshake(block=True)
        waited = time.monotonic() - start
        assert sock.gettimeout() == 0.0
        sock.send(b"x")
        sock.close()
        return waited > 0.01  # a round trip

    assert pair.run(serve, ask)[1]


def test_timeouts_of_writing_and_unwrapping(pair: Pair) -> None:
    def serve() -> Any:
        with accept() as sock:
            time.sleep(10)
            got = 0
            while part := sock.recv(65_536):
                got += len(part)
            time.sleep(1)
            sock.unwrap().close()
            return got

    def ask() -> Any:
        sock = connect()
        waited = []
        sock.settimeout(1.5)
        start = time.monotonic()
        data = bytes(3_000_000)
        with pytest.raises(TimeoutError, match="The write operation timed out"):
            sock.send(data)
        waited.append(time.monotonic() - start)
        sock.settimeout(None)
        sent = sock.send(data)  # goes on where it stopped
        sock.settimeout(0.25)
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="The read operation timed out"):
            sock.unwrap()
        waited.append(time.monotonic() - start)
        sock.settimeout(None)
        sock.unwrap().close()
        return sent, [round(seconds, 6) for seconds in waited]

    got, (sent, waited) = pair.run(serve, ask)
    assert got == sent == 3_000_000
    assert waited == [1.5, 0.25]
