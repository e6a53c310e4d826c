"""aioquic: HTTP/3 over QUIC, several requests at once in a connection, and a plain QUIC stream that echoes.

    use_aioquic.py server
    use_aioquic.py client SERVER
"""

import asyncio
import hashlib
import pathlib
import random
import sys
from collections import defaultdict

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
PAGES = {f"/page/{number}": random.Random(number).randbytes(60_000 + 20_000 * number) for number in range(4)}


class Http3(QuicConnectionProtocol):
    """What server and client have in common: HTTP/3's events from those of QUIC."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.headers = {}
        self.bodies = defaultdict(bytearray)

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        for happened in self.http.handle_event(event) if self.http is not None else ():
            if isinstance(happened, HeadersReceived):
                self.headers[happened.stream_id] = dict(happened.headers)
            elif isinstance(happened, DataReceived):
                self.bodies[happened.stream_id] += happened.data
            else:
                continue
            if happened.stream_ended:
                self.complete(happened.stream_id, self.headers.pop(happened.stream_id), self.bodies[happened.stream_id])


class Site(Http3):
    def complete(self, stream, headers, body):
        path = headers[b":path"].decode()
        if headers[b":method"] == b"POST":
            status, answer = b"200", hashlib.sha256(body).hexdigest().encode()
        elif path in PAGES:
            status, answer = b"200", PAGES[path]
        else:
            status, answer = b"404", b"not here"
        self.http.send_headers(stream, [(b":status", status), (b"content-length", b"%d" % len(answer))])
        self.http.send_data(stream, answer, end_stream=True)
        self.transmit()


class Visitor(Http3):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.waiting = {}

    def complete(self, stream, headers, body):
        self.waiting.pop(stream).set_result((int(headers[b":status"]), bytes(body)))

    async def request(self, method, authority, path, body=b""):
        stream = self._quic.get_next_available_stream_id()
        self.waiting[stream] = asyncio.get_running_loop().create_future()
        headers = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
        self.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in headers], not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        answered = self.waiting[stream]
        self.transmit()
        return await answered


async def echo(reader, writer):
    while data := await reader.read(10_000):
        writer.write(data)
    writer.write_eof()


async def run_server():
    site = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=False)
    site.load_cert_chain(TLS / "server.pem", TLS / "server.pem")
    await serve("0.0.0.0", 443, configuration=site, create_protocol=Site)

    plain = QuicConfiguration(alpn_protocols=["echo"], is_client=False)
    plain.load_cert_chain(TLS / "server.pem", TLS / "server.pem")

    def on_stream(reader, writer):
        tasks.append(asyncio.ensure_future(echo(reader, writer)))

    tasks = []
    # On both families, with a Retry packet for each new client.
    await serve("::", 4433, configuration=plain, stream_handler=on_stream, retry=True)
    await asyncio.get_running_loop().create_future()


async def echoed(server):
    configuration = QuicConfiguration(alpn_protocols=["echo"], cafile=str(TLS / "authority.pem"))
    async with connect(server, 4433, configuration=configuration) as client:
        reader, writer = await client.create_stream()
        data = random.randbytes(200_000)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        await client.ping()


async def run_client(server):
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, cafile=str(TLS / "authority.pem"))
    async with connect(server, 443, configuration=configuration, create_protocol=Visitor) as visitor:
        got = await asyncio.gather(*(visitor.request("GET", server, path) for path in PAGES))
        assert got == [(200, page) for page in PAGES.values()], "a page differs"
        body = random.randbytes(150_000)
        status, answer = await visitor.request("POST", server, "/upload", body)
        assert (status, answer.decode()) == (200, hashlib.sha256(body).hexdigest())
        assert (await visitor.request("GET", server, "/nowhere"))[0] == 404
    await asyncio.gather(echoed(server), echoed(server))

    wrong = QuicConfiguration(alpn_protocols=H3_ALPN)  # trusts nobody whom this machine does not trust
    try:
        async with connect(server, 443, configuration=wrong, create_protocol=Visitor):
            raise AssertionError("an unknown authority was trusted")
    except ConnectionError:
        pass
    size = sum(len(page) for _, page in got)
    print(f"HTTP/3: {len(got)} pages, {size} bytes, an upload of {len(body)}; 2 echoes over QUIC")


if __name__ == "__main__":
    asyncio.run(run_server() if sys.argv[1] == "server" else run_client(sys.argv[2]))
