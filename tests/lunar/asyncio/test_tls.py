"""TLS over Lunar's transports: the standard library's SSLProtocol, unmodified, with real certificates.

OpenSSL itself is the machine's: its random numbers, and the clock by which it judges the dates of certificates. The
lengths of handshake messages may differ by a few bytes from run to run; on a link without a rate the times do not.
"""

from __future__ import annotations

import asyncio
import datetime
import errno
import socket
import ssl
from typing import Any

import pytest
import trustme
from two_hosts import DELAY, ROUND_TRIP, SERVER, Recorder, TwoHosts, now, times

AUTHORITY = trustme.CA()
OTHER_AUTHORITY = trustme.CA()
SERVER_CERTIFICATE = AUTHORITY.issue_cert("server", SERVER)
CLIENT_CERTIFICATE = AUTHORITY.issue_cert("client@example.org")


def server_context(certificate: trustme.LeafCert = SERVER_CERTIFICATE, ask_client: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)
    return context


def client_context(authority: trustme.CA | None = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority is not None:
        authority.configure_trust(context)
    return context


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class Site:
    """A TLS server on port 443 of the server host; notes what its loop reports."""

    def __init__(self, hosts: TwoHosts, handle: Any = echo, context: ssl.SSLContext | None = None) -> None:
        self.reported: list[BaseException | None] = []

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _loop, what: self.reported.append(what.get("exception")))
            await asyncio.start_server(handle, port=443, ssl=context or server_context())

        hosts.net.run(serve, on=hosts.server)


def test_a_tls_1_3_handshake_takes_two_round_trips(hosts: TwoHosts) -> None:
    Site(hosts)

    async def main() -> Any:
        (reader, writer), connecting = await times(asyncio.open_connection("server", 443, ssl=client_context()))
        writer.write(b"secret")
        data, answering = await times(reader.readexactly(6))
        return writer.get_extra_info("ssl_object").version(), connecting, data, answering

    # One for TCP, one for TLS 1.3.
    assert hosts.run(main) == ("TLSv1.3", 2 * ROUND_TRIP, b"secret", ROUND_TRIP)


def test_a_tls_1_2_handshake_takes_one_round_trip_more(hosts: TwoHosts) -> None:
    Site(hosts)

    async def main() -> Any:
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        (_reader, writer), connecting = await times(asyncio.open_connection("server", 443, ssl=context))
        return writer.get_extra_info("ssl_object").version(), connecting

    assert hosts.run(main) == ("TLSv1.2", 3 * ROUND_TRIP)


def test_what_goes_over_the_link_is_not_the_text(hosts: TwoHosts, tmp_path: Any) -> None:
    Site(hosts)
    text = b"nobody may read this " * 10

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 443, ssl=client_context())
        writer.write(text)
        return await reader.readexactly(len(text))

    capture = hosts.net.capture(tmp_path)
    assert hosts.run(main) == text
    capture.flush()
    captured = (tmp_path / "client-eth0.pcap").read_bytes()
    assert len(captured) > 2 * len(text) and b"nobody" not in captured


def test_extra_info_has_certificate_cipher_and_ssl_object(hosts: TwoHosts) -> None:
    Site(hosts)

    async def main() -> None:
        _reader, writer = await asyncio.open_connection("server", 443, ssl=client_context())
        names = writer.get_extra_info("peercert")["subjectAltName"]
        assert ("DNS", "server") in names and ("IP Address", SERVER) in names
        assert writer.get_extra_info("cipher")[1] == "TLSv1.3"
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        assert isinstance(writer.get_extra_info("sslcontext"), ssl.SSLContext)
        assert writer.get_extra_info("peername") == (SERVER, 443)
        assert writer.can_write_eof() is False

    hosts.run(main)


def test_a_megabyte_each_way(hosts: TwoHosts) -> None:
    Site(hosts)
    blob = bytes(range(256)) * 4096

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 443, ssl=client_context())
        writer.write(blob)
        return await reader.readexactly(len(blob))

    assert hosts.run(main) == blob


# Certificates that fail


@pytest.mark.parametrize(
    ("certificate", "authority", "hostname", "reason"),
    [
        (SERVER_CERTIFICATE, OTHER_AUTHORITY, "server", "unable to get local issuer certificate"),
        (SERVER_CERTIFICATE, None, "server", "unable to get local issuer certificate"),
        (SERVER_CERTIFICATE, AUTHORITY, "other.example", "Hostname mismatch"),
        (
            AUTHORITY.issue_cert("server", not_after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)), AUTHORITY,
            "server", "certificate has expired",
        ),
    ],
    ids=["unknown authority", "no authority", "wrong name", "expired"],
)  # fmt: skip
def test_a_certificate_that_fails_the_check(
    hosts: TwoHosts, certificate: trustme.LeafCert, authority: trustme.CA | None, hostname: str, reason: str
) -> None:
    site = Site(hosts, context=server_context(certificate))

    async def main() -> Any:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await asyncio.open_connection(SERVER, 443, ssl=client_context(authority), server_hostname=hostname)
        return caught.value.verify_message, now()

    message, at = hosts.run(main)
    hosts.settle()
    assert reason in message
    assert at == 2 * ROUND_TRIP  # the client has the certificate when the server's first flight is there
    # The server hears of it by an alert, and goes on.
    assert site.reported == []
    assert hosts.client.descriptors.all() == []
    assert len(hosts.server.descriptors.all()) == 1  # the listening one


def test_a_certificate_is_not_checked_when_the_context_says_so(hosts: TwoHosts) -> None:
    Site(hosts)

    async def main() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(SERVER, 443, ssl=context)
        writer.write(b"whoever you are")
        return await reader.readexactly(15)

    assert hosts.run(main) == b"whoever you are"


def test_a_server_that_asks_for_a_client_certificate(hosts: TwoHosts) -> None:
    seen: list[Any] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert")["subjectAltName"])
        await echo(reader, writer)

    site = Site(hosts, handle, server_context(ask_client=True))

    async def main() -> Any:
        with_one, without = client_context(), client_context()
        CLIENT_CERTIFICATE.configure_cert(with_one)
        reader, writer = await asyncio.open_connection("server", 443, ssl=with_one)
        writer.write(b"it is me")
        data = await reader.readexactly(8)
        writer.close()
        reader, writer = await asyncio.open_connection("server", 443, ssl=without)
        # In TLS 1.3 the client is done before the server has seen that there is no certificate; then it is cut off.
        return data, await reader.read(1)

    assert hosts.run(main) == (b"it is me", b"")
    assert seen == [(("email", "client@example.org"),)]
    assert site.reported == []  # a failed handshake is the loop's to log in debug mode only


# STARTTLS


def test_streams_start_tls_in_the_middle(hosts: TwoHosts) -> None:
    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"GO AHEAD\n")
            await writer.drain()
            await writer.start_tls(server_context())
            writer.write(b"in secret: " + await reader.readline())
            await writer.drain()
            writer.close()

        await asyncio.start_server(handle, port=25)

    hosts.net.run(serve, on=hosts.server)

    async def main() -> Any:
        reader, writer = await asyncio.open_connection("server", 25)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"GO AHEAD\n"
        _, took = await times(writer.start_tls(client_context(), server_hostname="server"))
        assert writer.get_extra_info("cipher") is not None
        writer.write(b"hello\n")
        return took, await reader.readline()

    assert hosts.run(main) == (ROUND_TRIP, b"in secret: hello\n")


def test_loop_start_tls_gives_a_new_transport(hosts: TwoHosts) -> None:
    Site(hosts)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        plain, protocol = await loop.create_connection(Recorder, SERVER, 443)
        secret = await loop.start_tls(plain, protocol, client_context(), server_hostname="server")
        assert secret is not plain and secret.get_protocol() is protocol
        secret.write(b"over tls")
        await asyncio.sleep(1)
        secret.close()
        await protocol.over
        return protocol.calls

    # The peer's close_notify, in answer to ours, is the "eof".
    assert hosts.run(main) == ["made", b"over tls", "eof", ("lost", None)]


def test_a_failed_start_tls_raises_and_closes(hosts: TwoHosts) -> None:
    Site(hosts)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        plain, protocol = await loop.create_connection(Recorder, SERVER, 443)
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.start_tls(plain, protocol, client_context(OTHER_AUTHORITY), server_hostname="server")
        await asyncio.sleep(1)
        return plain.is_closing()

    assert hosts.run(main) is True
    assert hosts.client.descriptors.all() == []


# Peers that do not speak TLS, or stop


def test_a_silent_server_runs_into_the_handshakes_timeout_exactly(hosts: TwoHosts) -> None:
    async def serve() -> None:
        await asyncio.get_running_loop().create_server(asyncio.Protocol, port=443)

    hosts.net.run(serve, on=hosts.server)

    async def main() -> Any:
        with pytest.raises(ConnectionAbortedError) as caught:
            await asyncio.open_connection("server", 443, ssl=client_context(), ssl_handshake_timeout=7)
        return str(caught.value), now()

    message, at = hosts.run(main)
    assert "longer than 7 seconds" in message
    assert at == ROUND_TRIP + 7


def test_a_server_without_tls_is_a_protocol_error(hosts: TwoHosts) -> None:
    async def serve() -> None:
        class Plain(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                transport.write(b"220 no TLS here\r\n")

        await asyncio.get_running_loop().create_server(Plain, port=443)

    hosts.net.run(serve, on=hosts.server)

    async def main() -> str | None:
        with pytest.raises(ssl.SSLError) as caught:
            await asyncio.open_connection("server", 443, ssl=client_context())
        return caught.value.reason

    assert "WRONG_VERSION_NUMBER" in str(hosts.run(main))


def test_a_client_without_tls_is_closed_by_the_server(hosts: TwoHosts) -> None:
    site = Site(hosts)

    async def main() -> Any:
        reader, writer = await asyncio.open_connection("server", 443)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        return await reader.read(), now()

    assert hosts.run(main) == (b"", 2 * ROUND_TRIP)
    assert site.reported == []


def test_a_refused_connect_is_refused_with_tls_too(hosts: TwoHosts) -> None:
    async def main() -> Any:
        with pytest.raises(ConnectionRefusedError) as caught:
            await asyncio.open_connection("server", 444, ssl=client_context())
        return caught.value.errno, now()

    assert hosts.run(main) == (errno.ECONNREFUSED, ROUND_TRIP)


# Ends


def test_close_tells_the_peer_and_both_end_without_an_error(hosts: TwoHosts) -> None:
    ends: list[Any] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append((await reader.read(), now()))
        writer.close()
        await writer.wait_closed()

    site = Site(hosts, handle)

    async def main() -> float:
        _reader, writer = await asyncio.open_connection("server", 443, ssl=client_context())
        writer.write(b"bye")
        writer.close()
        await writer.wait_closed()
        return now()

    closed = hosts.run(main)
    hosts.settle()
    assert ends == [(b"bye", 2 * ROUND_TRIP + DELAY)]
    # The peer answers close_notify with its own.
    assert closed == 3 * ROUND_TRIP
    assert site.reported == []


def test_a_connection_cut_without_close_notify_ends_the_stream(hosts: TwoHosts) -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"part")
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    Site(hosts, handle)

    async def main() -> Any:
        reader, _writer = await asyncio.open_connection("server", 443, ssl=client_context())
        data = await reader.readexactly(4)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        return data

    assert hosts.run(main) == b"part"


def test_a_slow_reader_holds_the_writer_under_tls_too(hosts: TwoHosts) -> None:
    total = 20_000_000
    drained: list[float] = []

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(total // 1_000_000):
            writer.write(bytes(1_000_000))
            await writer.drain()
        drained.append(now())
        writer.close()

    Site(hosts, handle)

    async def main() -> int:
        reader, _writer = await asyncio.open_connection("server", 443, ssl=client_context())
        await asyncio.sleep(100)
        assert drained == []
        count = 0
        while data := await reader.read(1 << 20):
            count += len(data)
        return count

    assert hosts.run(main) == total
    assert len(drained) == 1 and drained[0] > 100


# Negotiation


def test_alpn_and_server_name(hosts: TwoHosts) -> None:
    names: list[Any] = []
    chosen: list[Any] = []

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        writer.close()

    context = server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda _ssl, name, _context: names.append(name)
    Site(hosts, handle, context)

    async def main() -> Any:
        mine = client_context()
        mine.set_alpn_protocols(["spdy/1", "http/1.1"])
        reader, writer = await asyncio.open_connection("server", 443, ssl=mine)
        await reader.read()
        return writer.get_extra_info("ssl_object").selected_alpn_protocol()

    assert hosts.run(main) == "http/1.1"
    assert chosen == ["http/1.1"] and names == ["server"]


def test_cancelling_a_handshake_closes_the_connection(hosts: TwoHosts) -> None:
    Site(hosts)

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.015):  # after TCP's round trip, in the middle of TLS's
                await asyncio.open_connection("server", 443, ssl=client_context())
        return now()

    assert hosts.run(main) == 0.015
    hosts.settle(60)
    assert hosts.client.descriptors.all() == []
    assert len(hosts.server.descriptors.all()) == 1
