"""Unmodified aiohttp, server and clients, on virtual hosts: HTTP, TLS, uploads, streams, websockets, and what fails.

The link has no rate and 5 ms each way, so that times are sums of round trips of 10 ms: one to connect, one for TLS 1.3,
one for a request and its answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from lunar.network import Network

SERVER = "10.0.0.2"
ROUND_TRIP = 0.010
CLIENTS = 5
AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("site", SERVER)
MEGABYTE = random.Random("aiohttp").randbytes(1_000_000)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 9)


# The site


async def hello(request: web.Request) -> web.Response:
    assert request.transport is not None
    address, port = request.transport.get_extra_info("peername")
    assert address == request.remote
    return web.json_response({"from": address, "port": port, "scheme": request.scheme})


async def upload(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response({"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})


async def download(_request: web.Request) -> web.Response:
    return web.Response(body=MEGABYTE)


async def ticks(request: web.Request) -> web.StreamResponse:
    """A number each second, as a chunk of its own."""
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(int(request.query.get("count", 3))):
        await response.write(b"%d" % number)
        await asyncio.sleep(1)
    await response.write_eof()
    return response


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query["seconds"]))
    return web.Response(text="at last")


async def broken(_request: web.Request) -> web.Response:
    raise LookupError("in the handler")


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def hang_up_in_the_middle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    assert request.transport is not None
    request.transport.close()
    return response


async def echo_websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            if message.data == "close":
                await socket.close(code=4001, message=b"as asked")
            else:
                await socket.send_str(message.data.upper())
        elif message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data[::-1])
    return socket


async def silent_websocket(request: web.Request) -> web.WebSocketResponse:
    """Reads nothing, so that not even a ping is answered."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await asyncio.sleep(3600)
    return socket


def application() -> web.Application:
    app = web.Application(client_max_size=2_000_000)
    app.add_routes(
        [
            web.get("/", hello), web.post("/upload", upload), web.get("/download", download), web.get("/ticks", ticks),
            web.get("/slow", slow), web.get("/broken", broken), web.get("/hang-up", hang_up),
            web.get("/hang-up-in-the-middle", hang_up_in_the_middle), web.get("/websocket", echo_websocket),
            web.get("/silent-websocket", silent_websocket),
        ]
    )  # fmt: skip
    return app


class Site:
    """The site on ports 80 and 443 of one host, and clients on others, all on one link."""

    def __init__(self, delay: str = "5ms", loss: float = 0.0) -> None:
        self.net = Network(seed=1)
        self.server = self.net.host("site", f"{SERVER}/24")
        self.clients = [self.net.host(f"client-{number}", f"10.0.0.{10 + number}/24") for number in range(CLIENTS)]
        self.net.link(self.server, *self.clients, delay=delay, loss=loss)
        self.net.run(self.serve, on=self.server)

    async def serve(self) -> None:
        self.runner = web.AppRunner(application(), access_log=None, shutdown_timeout=60)
        await self.runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        CERTIFICATE.configure_cert(context)
        await web.TCPSite(self.runner, port=80).start()
        await web.TCPSite(self.runner, port=443, ssl_context=context).start()

    def run(self, main: Any) -> Any:
        """Run `main(session)` on the first client."""
        return self.net.run(with_session, main, on=self.clients[0])


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.net.close()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def with_session(main: Any) -> Any:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting())) as session:
        return await main(session)


# Requests


@pytest.mark.parametrize(("scheme", "round_trips"), [("http", 2), ("https", 3)])
def test_a_first_request_takes_its_round_trips(site: Site, scheme: str, round_trips: int) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        async with session.get(f"{scheme}://site/") as response:
            return response.status, response.headers["Content-Type"], await response.json(), now()

    status, kind, body, at = site.run(main)
    assert (status, kind) == (200, "application/json; charset=utf-8")
    assert (body["from"], body["scheme"]) == ("10.0.0.10", scheme)
    assert at == round_trips * ROUND_TRIP


def test_several_clients_at_once_by_both_schemes(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        async def get(scheme: str) -> Any:
            async with session.get(f"{scheme}://site/") as response:
                return (await response.json())["from"], now()

        return await asyncio.gather(get("http"), get("https"), get("http"))

    strings = [site.net.start(client, with_session, main) for client in site.clients]
    site.net.run()
    for number, string in enumerate(strings):
        address = f"10.0.0.{10 + number}"
        assert string.result == [(address, 0.020), (address, 0.030), (address, 0.020)]


def test_a_connection_is_kept_alive_and_used_again(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        ports, times = [], []
        for _ in range(3):
            async with session.get("http://site/") as response:
                ports.append((await response.json())["port"])
            times.append(now())
            await asyncio.sleep(10)
        return len(set(ports)), times

    # No second handshake: each request after the first takes one round trip.
    assert site.run(main) == (1, [0.020, 10.030, 20.040])


def test_the_server_closes_an_idle_connection_and_the_client_makes_a_new_one(site: Site) -> None:
    async def main() -> Any:
        ports = []
        # The client would keep it for 15 s by default; the server's own limit is 75 s and some more (aiohttp: 3630 s).
        connector = aiohttp.TCPConnector(keepalive_timeout=100_000)
        async with aiohttp.ClientSession(connector=connector) as session:
            for pause in (3600, 3700, 0):
                async with session.get("http://site/") as response:
                    ports.append((await response.json())["port"])
                await asyncio.sleep(pause)
        return ports[0] == ports[1], ports[1] == ports[2]

    assert site.net.run(main, on=site.clients[0]) == (True, False)


def test_an_upload_of_a_megabyte(site: Site) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(MEGABYTE), 50_000):
            yield MEGABYTE[start : start + 50_000]

    async def main(session: aiohttp.ClientSession) -> Any:
        answers = []
        for url, data in (("http://site/upload", MEGABYTE), ("https://site/upload", pieces())):
            async with session.post(url, data=data) as response:
                answers.append(await response.json())
        async with session.post("http://site/upload", data=MEGABYTE * 3) as response:
            return answers, response.status

    expected = {"size": 1_000_000, "sha256": hashlib.sha256(MEGABYTE).hexdigest()}
    assert site.run(main) == ([expected, expected], 413)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_download_over_loss(scheme: str) -> None:
    site = Site(loss=0.05)

    async def main(session: aiohttp.ClientSession) -> bytes:
        async with session.get(f"{scheme}://site/download") as response:
            return await response.read()

    assert site.run(main) == MEGABYTE
    assert site.net.tcp_figures()["retransmissions"] > 0
    site.net.close()


def test_a_streaming_response_arrives_as_it_is_written(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        async with session.get("http://site/ticks?count=4") as response:
            return [(bytes(chunk), now()) async for chunk in response.content.iter_any()], now()

    chunks, end = site.run(main)
    assert chunks == [(b"0", 0.020), (b"1", 1.020), (b"2", 2.020), (b"3", 3.020)]
    assert end == 4.020


def test_an_error_in_a_handler_is_a_500_and_an_unknown_path_a_404(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(session: aiohttp.ClientSession) -> list[int]:
        statuses = []
        for path in ("/broken", "/nowhere", "/"):
            async with session.get(f"http://site{path}") as response:
                statuses.append(response.status)
        return statuses

    assert site.run(main) == [500, 404, 200]
    assert "in the handler" in caplog.text


# Websockets


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_websocket_there_and_back(site: Site, scheme: str) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        async with session.ws_connect(f"{scheme}://site/websocket") as socket:
            start = now()
            await socket.send_str("text")
            first = await socket.receive_str()
            took = round(now() - start, 9)
            await socket.send_bytes(bytes(range(256)) * 1000)
            second = await socket.receive_bytes()
            await socket.send_str("close")
            last = await socket.receive()
            return first, took, second == (bytes(range(256)) * 1000)[::-1], last.type, last.data, socket.close_code

    assert site.run(main) == ("TEXT", ROUND_TRIP, True, aiohttp.WSMsgType.CLOSE, 4001, 4001)


def test_a_websocket_whose_server_is_silent_ends_by_its_heartbeat(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        async with session.ws_connect("http://site/silent-websocket", heartbeat=4, autoclose=False) as socket:
            message = await socket.receive()
            return message.type, type(message.data), now()

    kind, error, at = site.run(main)
    assert kind is aiohttp.WSMsgType.ERROR and error is aiohttp.ServerTimeoutError
    # Connected at 20 ms; a ping 4 s later, and half of that for the pong.
    assert at == 0.020 + 4 + 2


# Timeouts


def test_the_total_timeout_is_exact(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> float:
        with pytest.raises(TimeoutError):
            await session.get("http://site/slow?seconds=60", timeout=aiohttp.ClientTimeout(total=2.5))
        return now()

    assert site.run(main) == 2.5


def test_a_timeout_beyond_five_seconds_ends_on_a_full_second(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> float:
        await asyncio.sleep(0.3)
        with pytest.raises(TimeoutError):
            await session.get("http://site/slow?seconds=600", timeout=aiohttp.ClientTimeout(total=299.9))
        return now()

    # aiohttp rounds the moment up (ceil_threshold = 5): 300.2 s becomes 301 s.
    assert site.run(main) == 301.0


def test_the_timeout_for_reading_starts_anew_with_each_piece(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        async with session.get("http://site/ticks?count=5", timeout=aiohttp.ClientTimeout(sock_read=1.5)) as response:
            body = await response.read()
        start = now()
        with pytest.raises(aiohttp.SocketTimeoutError):
            await session.get("http://site/slow?seconds=60", timeout=aiohttp.ClientTimeout(sock_read=1.5))
        return body, round(now() - start, 9)

    assert site.run(main) == (b"01234", 1.5)


def test_the_timeout_for_connecting_is_exact() -> None:
    site = Site(loss=1.0)

    async def main(session: aiohttp.ClientSession) -> float:
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await session.get("http://site/", timeout=aiohttp.ClientTimeout(sock_connect=3.25))
        return now()

    assert site.run(main) == 3.25
    site.net.close()


def test_a_request_that_was_given_up_can_be_made_again(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.get("http://site/slow?seconds=60"), 1)
        async with session.get("http://site/slow?seconds=0.5") as response:
            return await response.text(), now()

    # A new connection: two round trips besides the half second.
    assert site.run(main) == ("at last", 1.520)


# What fails


def test_a_server_that_hangs_up(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get("http://site/hang-up")
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get("http://site/hang-up-in-the-middle") as response:
                await response.read()
        return now()

    # Three times two round trips, because aiohttp tries a GET once more when the server hangs up without an answer.
    assert site.run(main) == 6 * ROUND_TRIP


def test_a_refused_connection(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get("http://site:81/")
        return type(caught.value.os_error), caught.value.host, caught.value.port, now()

    assert site.run(main) == (ConnectionRefusedError, "site", 81, ROUND_TRIP)


def test_an_unknown_name(site: Site) -> None:
    async def main(session: aiohttp.ClientSession) -> Any:
        with pytest.raises(aiohttp.ClientConnectorDNSError) as caught:
            await session.get("http://nobody.example/")
        return caught.value.host, now()

    assert site.run(main) == ("nobody.example", 0.0)


def test_a_certificate_that_is_not_trusted(site: Site) -> None:
    async def main() -> Any:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get("https://site/")
            async with session.get("https://site/", ssl=False) as response:
                return response.status

    assert site.net.run(main, on=site.clients[0]) == 200


# The server's end


def test_a_graceful_shutdown_waits_for_the_request_that_runs(site: Site) -> None:
    async def stop() -> float:
        await asyncio.sleep(1)
        await site.runner.cleanup()
        return now()

    stopping = site.net.start(site.server, stop)

    async def main(session: aiohttp.ClientSession) -> Any:
        async with session.get("http://site/slow?seconds=5") as response:
            answer = await response.text(), now()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://site/")
        return answer

    # Connected at 10 ms, the request is there at 15 ms, the answer 5 ms after 5.015 s.
    assert site.run(main) == ("at last", 5.020)
    site.net.run()
    assert stopping.result == 5.015


def test_run_app_in_a_blocking_string_ends_on_sigterm() -> None:
    printed: list[str] = []
    ended: list[str] = []

    async def on_cleanup(_app: web.Application) -> None:
        ended.append(f"cleaned up at {now()}")

    def program() -> str:
        app = application()
        app.on_cleanup.append(on_cleanup)
        web.run_app(app, port=80, print=printed.append, access_log=None)
        return "run_app returned"

    with Network(seed=1) as net:
        server, client = net.host("site", f"{SERVER}/24"), net.host("client", "10.0.0.3/24")
        net.link(server, client, delay="5ms")
        string = net.start(server, program)
        net.supervisor.stop_at(string, 30_000_000_000)

        async def visit(session: aiohttp.ClientSession) -> Any:
            async with session.get("http://site/") as response:
                first = response.status, now()
            await asyncio.sleep(60)
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://site/")
            return first

        assert net.run(with_session, visit, on=client) == (200, 0.020)
        assert string.result == "run_app returned"
        assert ended == ["cleaned up at 30.0"]
        assert "Running on http://0.0.0.0 " in printed[0]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the machine's own signals are not touched"
