"""The same TLS programs on the machine's sockets and on a virtual host's: they must see the same.

One program plays both ends by turns, or with a thread for each where it blocks. How much a socket takes before it is
full differs, so it is not written down.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from side_by_side import check_the_same

TLS = Path(__file__).parents[2] / "tapestries" / "apps" / "tls"
PROGRAMS: dict[str, Callable[[list[Any]], Any]] = {}


def program(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    PROGRAMS[function.__name__] = function
    return function


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's."""
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    accepting.load_cert_chain(TLS / "server.pem")
    return accepting, ssl.create_default_context(cafile=TLS / "authority.pem")


def wrapped(
    accepting: ssl.SSLContext | None = None, connecting: ssl.SSLContext | None = None, name: str = "server",
    session: ssl.SSLSession | None = None,
) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:  # fmt: skip
    """A client's and a server's end, without a handshake yet."""
    first, second = socket.socketpair()
    first.setblocking(False)
    second.setblocking(False)
    if accepting is None or connecting is None:
        accepting, connecting = contexts()
    return (
        connecting.wrap_socket(first, server_hostname=name, do_handshake_on_connect=False, session=session),
        accepting.wrap_socket(second, server_side=True, do_handshake_on_connect=False),
    )


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """The result, or the name of the exception."""
    try:
        return function(*args)
    except (OSError, ValueError, TypeError, AttributeError, NotImplementedError) as failed:
        return type(failed).__name__


def shake(client: ssl.SSLSocket, server: ssl.SSLSocket) -> None:
    while "SSLWantReadError" in (attempt(client.do_handshake), attempt(server.do_handshake)):
        pass


def shaken() -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    client, server = wrapped()
    shake(client, server)
    attempt(client.recv, 1)  # the server's tickets
    return client, server


@program
def a_handshake_step_by_step(log: list[Any]) -> None:
    client, server = wrapped()
    log.append([client.version(), attempt(server.do_handshake)])
    for _ in range(3):
        log.append([attempt(client.do_handshake), attempt(server.do_handshake)])
    log.append([client.version(), server.version(), client.cipher() == server.cipher()])
    log.append([attempt(client.recv, 100), client.pending()])
    client.close()
    server.close()


@program
def data_both_ways(log: list[Any]) -> None:
    client, server = shaken()
    log.append(client.send(b"hello"))
    log.append([server.recv(2), server.pending(), server.recv(100), server.pending()])
    log.append(attempt(server.recv, 100))
    log.append(server.write(b"x" * 20_000))
    log.append([len(client.recv(100_000)), client.pending(), len(client.recv(100_000)), attempt(client.recv, 1)])
    buffer = bytearray(10)
    server.send(b"into a buffer")
    log.append([client.recv_into(buffer, 4), bytes(buffer), client.read(100)])
    log.append([attempt(client.recvfrom, 1), attempt(client.sendto, b"x", "nobody"), attempt(client.dup)])
    client.close()
    server.close()


@program
def a_write_that_is_called_again(log: list[Any]) -> None:
    client, server = shaken()
    data = bytes(range(256)) * 8000
    received = b""
    stopped = 0
    while (count := attempt(client.send, data)) == "SSLWantWriteError":
        stopped += 1
        while isinstance(part := attempt(server.recv, 100_000), bytes):
            received += part
    while isinstance(part := attempt(server.recv, 100_000), bytes):
        received += part
    log.append([count, stopped > 0, received == data])
    client.close()
    server.close()


@program
def a_goodbye(log: list[Any]) -> None:
    client, server = shaken()
    log.append(attempt(client.unwrap))
    log.append([server.recv(100), attempt(server.send, b"half open")])
    log.append(type(server.unwrap()).__name__ != "")
    log.append(attempt(client.recv, 100))
    client.close()
    server.close()


@program
def an_end_without_a_goodbye(log: list[Any]) -> None:
    client, server = shaken()
    client.send(b"and away")
    client.close()
    log.append([server.recv(100), server.recv(100)])
    server.suppress_ragged_eofs = False
    log.append(attempt(server.recv, 100))
    server.close()
    log.append([attempt(server.recv, 100), attempt(client.send, b"x")])


@program
def what_is_no_tls(log: list[Any]) -> None:
    first, second = socket.socketpair()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    first.sendall(b"GET / HTTP/1.0\r\n\r\n")
    log.append(attempt(lambda: context.wrap_socket(second, server_side=True)))
    log.append(second.fileno())
    first.close()


@program
def errors_have_their_numbers_and_words(log: list[Any]) -> None:
    client, server = wrapped()
    for function in (client.do_handshake, server.do_handshake, lambda: client.read(1), lambda: server.write(b"x")):
        try:
            function()
        except ssl.SSLError as failed:
            log.append([type(failed).__name__, failed.errno, failed.args[1].partition(" (_ssl.c")[0]])
    for function in (client.unwrap, server.getpeercert, client.getpeercert, client.cipher, client.version):
        try:
            log.append(function())
        except (OSError, ValueError, AttributeError) as failed:
            log.append([type(failed).__name__, getattr(failed, "reason", None)])
    server.close()
    log.append([attempt(server.do_handshake), attempt(server.getpeercert), attempt(server.unwrap), server.version()])
    client.close()


@program
def a_connection_that_has_failed_stays_so(log: list[Any]) -> None:
    client, server = wrapped()
    for function in (client.do_handshake, server.do_handshake):
        attempt(function)
    log.append([attempt(client.read, 1), attempt(server.write, b"x")])
    attempt(client.unwrap)
    server.close()
    log.append([attempt(client.do_handshake), attempt(client.do_handshake), attempt(client.unwrap)])
    log.append([client.fileno() >= 0, client.version()])
    client.close()


@program
def the_peer_goes_in_a_handshake(log: list[Any]) -> None:
    client, server = wrapped()
    attempt(client.do_handshake)
    server.close()
    log.append(attempt(client.do_handshake))
    log.append([attempt(client.recv, 1), attempt(client.send, b"x"), client.version()])
    client.close()


@program
def nothing_is_written_and_read(log: list[Any]) -> None:
    client, server = shaken()
    log.append([client.send(b""), client.recv(0), attempt(server.recv, 10), attempt(client.recv, 0, 1)])
    log.append([client.send(memoryview(bytearray(b"abc"))), server.recv(10), attempt(client.send, b"x", 1)])
    view = memoryview(bytearray(8)).cast("I")
    log.append([attempt(client.send, view), server.recv(100)])
    log.append([attempt(server.recv_into, bytearray(0)), attempt(server.read, -1), attempt(server.recv, -1)])
    client.close()
    server.close()


@program
def a_session_is_taken_up_again(log: list[Any]) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        accepting, connecting = contexts()
        connecting.maximum_version = version
        session = None
        for _ in range(2):
            client, server = wrapped(accepting, connecting, session=session)
            shake(client, server)
            server.send(b"after the tickets")
            log.append([client.recv(100), client.session_reused, server.session_reused])
            session = client.session
            assert session is not None
            log.append([type(session).__name__, session.has_ticket, session.timeout, session == client.session])
            client.close()
            server.close()
        other = connecting if version is ssl.TLSVersion.TLSv1_2 else contexts()[1]
        client, server = wrapped(accepting, other)
        shake(client, server)
        try:
            client.session = session
        except ValueError as failed:
            log.append(str(failed))
        client.close()
        server.close()


@program
def a_server_chooses_by_name(log: list[Any]) -> None:
    accepting, connecting = contexts()
    other, _ = contexts()
    other.set_alpn_protocols(["chosen"])

    def choose(sock: Any, name: str | None, context: ssl.SSLContext) -> int | None:
        log.append([isinstance(sock, ssl.SSLSocket), name, context is accepting])
        if name == "nobody":
            return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        sock.context = other
        return None

    accepting.sni_callback = choose
    connecting.set_alpn_protocols(["other", "chosen"])
    for name in ("server", "nobody"):
        client, server = wrapped(accepting, connecting, name=name)
        shake(client, server)
        log.append([client.server_hostname, client.selected_alpn_protocol(), server.context is other])
        log.append([attempt(client.do_handshake), client.version()])
        client.close()
        server.close()


@program
def a_certificate_is_asked_for_after_the_handshake(log: list[Any]) -> None:
    accepting, connecting = contexts()
    accepting.load_verify_locations(TLS / "authority.pem")
    accepting.post_handshake_auth = connecting.post_handshake_auth = True
    connecting.load_cert_chain(TLS / "server.pem")
    accepting.verify_mode = ssl.CERT_REQUIRED
    client, server = wrapped(accepting, connecting)
    shake(client, server)
    log.append([server.getpeercert(), attempt(client.verify_client_post_handshake)])
    server.verify_client_post_handshake()
    log.append([server.send(b"who are you?"), client.recv(100), client.send(b"me"), server.recv(100)])
    certificate = server.getpeercert()
    assert certificate is not None
    log.append([certificate["subjectAltName"], len(server.getpeercert(True) or b"") > 100])
    client.close()
    server.close()


@program
def what_is_agreed_on(log: list[Any]) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        accepting, connecting = contexts()
        accepting.maximum_version = version
        client, server = wrapped(accepting, connecting)
        shake(client, server)
        log.append([client.version(), server.version(), client.cipher(), len(server.shared_ciphers() or ()) > 0])
        log.append([client.get_channel_binding() == server.get_channel_binding(), client.compression()])
        log.append([client.server_side, server.server_side, client.getpeercert()["issuer"]])  # type: ignore[index]
        log.append([client.shared_ciphers(), client.get_channel_binding("tls-unique") is None, client.session_reused])
        client.close()
        server.close()


@program
def a_certificate_is_for_somebody_else(log: list[Any]) -> None:
    accepting, connecting = contexts()
    client, server = wrapped(accepting, connecting, name="elsewhere")
    attempt(client.do_handshake)
    attempt(server.do_handshake)
    try:
        client.do_handshake()
    except ssl.SSLCertVerificationError as failed:
        log.append([failed.verify_code, failed.verify_message, failed.reason, failed.library])
    try:
        server.do_handshake()
    except ssl.SSLError as failed:
        log.append([type(failed).__name__, failed.reason])
    client.close()
    server.close()


@program
def it_goes_on_in_the_clear(log: list[Any]) -> None:
    client, server = shaken()
    log.append([attempt(client.unwrap), attempt(server.unwrap) is server])
    server.send(b"plain")
    log.append([attempt(client.unwrap) is client, client.recv(100), client.version(), client.cipher()])
    log.append([attempt(client.getpeercert), attempt(client.unwrap), attempt(client.write, b"x")])
    client.sendall(b"too")
    log.append([server.recv(100), server.recv_into(bytearray(1)) if attempt(client.send, b"!") == 1 else None])
    client.shutdown(socket.SHUT_RDWR)
    log.append([server.recv(1)])
    client.close()
    server.close()


@program
def shut_down_below_it(log: list[Any]) -> None:
    client, server = shaken()
    server.shutdown(socket.SHUT_WR)
    log.append([server.version(), client.recv(100)])
    client.suppress_ragged_eofs = False
    log.append([attempt(client.recv, 100), attempt(client.unwrap)])
    client.close()
    server.close()


@program
def the_peer_is_gone_when_it_is_unwrapped(log: list[Any]) -> None:
    for first in (False, True):
        client, server = shaken()
        if first:
            attempt(client.unwrap)
        server.close()
        log.append([attempt(client.unwrap), attempt(client.unwrap)])
        client.close()


@program
def contexts_refuse_what_is_no_stream(log: list[Any]) -> None:
    _, connecting = contexts()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        log.append(attempt(lambda: connecting.wrap_socket(datagrams, server_hostname="server")))
    first, second = socket.socketpair()
    with first, second:
        log.append(attempt(lambda: connecting.wrap_socket(first)))
        log.append(attempt(lambda: connecting.wrap_socket(first, server_side=True, server_hostname="server")))
        log.append(attempt(lambda: connecting.wrap_socket(first, server_hostname="")))
        log.append(attempt(lambda: connecting.wrap_socket(first, do_handshake_on_connect=True, server_hostname="a\0")))
        log.append(first.fileno() >= 0)
    with socket.socket() as unconnected:
        wrapped = connecting.wrap_socket(unconnected, server_hostname="server")
        log.append([unconnected.fileno(), attempt(wrapped.do_handshake), attempt(wrapped.send, b"x")])
        log.append([attempt(wrapped.getpeercert), attempt(wrapped.recv, 1), wrapped.version(), wrapped.pending()])
        log.append(attempt(wrapped.connect, ("127.0.0.1", 1)))
        wrapped.close()


@program
async def readers_and_writers(log: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    client, server = shaken()
    got = bytearray()
    done = asyncio.Event()

    def read() -> None:
        try:
            got.extend(server.recv(1000))
        except ssl.SSLWantReadError:
            return
        if len(got) == 500_000:
            done.set()

    loop.add_reader(server, read)
    writing = bytes(500_000)

    def write() -> None:
        try:
            client.send(writing)
        except ssl.SSLWantWriteError:
            return
        loop.remove_writer(client)

    loop.add_writer(client, write)
    # One callback reads less than a record, so for some of it nothing more comes from the socket: it is pending.
    while not done.is_set():
        await asyncio.sleep(0)
        while server.pending():
            read()
    log.append(len(got))
    loop.remove_reader(server)
    client.close()
    server.close()


def both(log: list[Any], serve: Callable[[ssl.SSLSocket], Any], ask: Callable[[ssl.SSLSocket], Any]) -> None:
    """Run the two ends of a connection over the loopback, each in a thread of its own, and note what they return."""
    accepting, connecting = contexts()
    results: dict[str, Any] = {}
    listener = socket.create_server(("127.0.0.1", 0))

    def server() -> None:
        plain, _ = listener.accept()
        listener.close()
        with accepting.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as sock:
            results["server"] = attempt(serve, sock)

    thread = threading.Thread(target=server)
    thread.start()
    plain = socket.create_connection(listener.getsockname(), timeout=30)
    plain.settimeout(None)
    with connecting.wrap_socket(plain, server_hostname="server", do_handshake_on_connect=False) as sock:
        results["client"] = attempt(ask, sock)
    thread.join()
    log.append([results["server"], results["client"]])


@program
def blocking_ends(log: list[Any]) -> None:
    def serve(sock: ssl.SSLSocket) -> Any:
        sock.do_handshake()
        with sock.makefile("rwb") as file:
            for line in file:
                file.write(line.upper())
                file.flush()
        return sock.version(), sock.unwrap().recv(100)

    def ask(sock: ssl.SSLSocket) -> Any:
        sock.do_handshake()
        answers = []
        with sock.makefile("rw", encoding="utf-8", newline="\n") as file:
            for word in ("hello", "gr\u00fc\u00dfe", "x" * 40_000):
                file.write(word + "\n")
                file.flush()
                answers.append(file.readline())
        plain = sock.unwrap()
        plain.sendall(b"in the clear")
        return answers, plain.version(), plain.fileno() >= 0

    both(log, serve, ask)


@program
def many_records_and_a_timeout(log: list[Any]) -> None:
    data = bytes(range(256)) * 4000
    waited = threading.Event()

    def serve(sock: ssl.SSLSocket) -> Any:
        sock.settimeout(30)
        sock.do_handshake()
        got = bytearray(len(data))
        view = memoryview(got)
        while view:
            view = view[sock.recv_into(view) :]
        waited.wait()
        sock.sendall(got[::-1])
        return got == data, sock.unwrap() is sock

    def ask(sock: ssl.SSLSocket) -> Any:
        sock.settimeout(30)
        sock.do_handshake()
        sock.sendall(data)
        sock.settimeout(0.01)
        try:
            sock.recv(1)
        except TimeoutError as late:
            told = str(late)
        waited.set()
        sock.settimeout(30)
        got = bytearray()
        while part := sock.recv(100_000):
            got += part
        return told, got == data[::-1], sock.unwrap() is sock

    both(log, serve, ask)


@program
def a_reader_and_a_writer_at_once(log: list[Any]) -> None:
    data = bytes(range(256)) * 8000

    def exchange(sock: ssl.SSLSocket) -> Any:
        sock.do_handshake()
        writer = threading.Thread(target=sock.sendall, args=(data,))
        writer.start()
        got = bytearray()
        while len(got) < len(data):
            got += sock.recv(50_000)
        writer.join()
        return got == data, sock.unwrap() is sock

    both(log, exchange, exchange)


@program
def a_file_is_sent(log: list[Any]) -> None:
    def serve(sock: ssl.SSLSocket) -> Any:
        sock.do_handshake()
        with open(__file__, "rb") as file:
            return sock.sendfile(file, 10, 5000), file.tell(), sock.unwrap() is sock

    def ask(sock: ssl.SSLSocket) -> Any:
        sock.do_handshake()
        with sock.makefile("rb", buffering=0) as file:
            got = b"".join(iter(lambda: file.read(1000), b""))
        return got == Path(__file__).read_bytes()[10:5010], sock.unwrap() is sock

    both(log, serve, ask)


@program
def nobody_trusts_the_server(log: list[Any]) -> None:
    def serve(sock: ssl.SSLSocket) -> Any:
        try:
            sock.do_handshake()
        except ssl.SSLError as failed:
            return failed.reason, sock.version(), attempt(sock.recv, 1)

    def ask(sock: ssl.SSLSocket) -> Any:
        sock.context = ssl.create_default_context()
        try:
            sock.do_handshake()
        except ssl.SSLCertVerificationError as failed:
            return failed.reason, failed.verify_code in (19, 20)

    both(log, serve, ask)


@program
def a_listener_is_wrapped(log: list[Any]) -> None:
    accepting, connecting = contexts()
    listener = accepting.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    seen: list[Any] = []

    def serve() -> None:
        for _ in range(3):
            sock, address = listener.accept()
            with sock:
                seen.append([address[0], sock.server_side, sock.recv(100)])

    thread = threading.Thread(target=serve)
    thread.start()
    log.append(attempt(listener.recv, 1))
    address = listener.getsockname()
    log.append(ssl.get_server_certificate(address)[:27])
    with connecting.wrap_socket(socket.socket(), server_hostname="server") as sock:
        log.append([sock.version(), attempt(sock.getpeername), sock.connect_ex(address), sock.version()])
        log.append([attempt(sock.connect, address), sock.send(b"connected later")])
    with connecting.wrap_socket(socket.create_connection(address), server_hostname="server") as sock:
        log.append([sock.sendall(b"wrapped later"), attempt(sock.sendall, b"x", 1)])
    thread.join()
    listener.close()
    log.append(seen)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_virtual_host_is_as_the_machine(name: str) -> None:
    check_the_same(PROGRAMS[name])
