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
