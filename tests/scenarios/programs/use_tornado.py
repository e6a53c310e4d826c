"""tornado: uploads, pages that stream, a WebSocket chat, a TCP server of lines, TLS; asked by tornado's clients.

    use_tornado.py server
    use_tornado.py client SERVER
"""

import asyncio
import hashlib
import json
import pathlib
import random
import ssl
import sys

import tornado.httpclient
import tornado.httpserver
import tornado.iostream
import tornado.tcpclient
import tornado.tcpserver
import tornado.web
import tornado.websocket

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
PORT = 8888
VISITORS = 5


class Upload(tornado.web.RequestHandler):
    def post(self):
        body = self.request.body
        self.write({"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})


@tornado.web.stream_request_body
class Stream(tornado.web.RequestHandler):
    def initialize(self):
        self.digest = hashlib.sha256()

    async def data_received(self, chunk):
        self.digest.update(chunk)

    def put(self):
        self.write(self.digest.hexdigest())


class Numbers(tornado.web.RequestHandler):
    async def get(self, count):
        for number in range(int(count)):
            self.write(f"{number}\n")
            if number % 1000 == 0:
                await self.flush()
                await asyncio.sleep(0.001)


class Chat(tornado.websocket.WebSocketHandler):
    def initialize(self, members):
        self.members = members

    def open(self):
        self.members[self] = None

    def on_message(self, message):
        for member in self.members:
            member.write_message(message)

    def on_close(self):
        del self.members[self]


class Lines(tornado.tcpserver.TCPServer):
    async def handle_stream(self, stream, address):
        try:
            while True:
                line = await stream.read_until(b"\n")
                await stream.write(line[::-1][1:] + b"\n")
        except tornado.iostream.StreamClosedError:
            pass


async def server():
    application = tornado.web.Application(
        [
            (r"/upload", Upload),
            (r"/stream", Stream),
            (r"/numbers/(\d+)", Numbers),
            (r"/chat", Chat, {"members": {}}),
        ]
    )
    application.listen(PORT)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    tornado.httpserver.HTTPServer(application, ssl_options=context).listen(443)
    Lines().listen(PORT + 1)
    await asyncio.Event().wait()


async def visitor(site, number, everybody):
    """Say one thing in the chat once all are there, hear what all say."""
    connection = await tornado.websocket.websocket_connect(f"ws://{site}/chat")
    await everybody.wait()
    await connection.write_message(json.dumps({"from": number, "text": "hello" * 1000 * number}))
    heard = [json.loads(await connection.read_message()) for _ in range(VISITORS)]
    for message in heard:
        assert message["text"] == "hello" * 1000 * message["from"]
    connection.close()
    return [message["from"] for message in heard]


async def lines(host):
    stream = await tornado.tcpclient.TCPClient().connect(host, PORT + 1)
    for text in (b"abc", b"x" * 5000 + b"y"):
        await stream.write(text + b"\n")
        assert await stream.read_until(b"\n") == text[::-1] + b"\n"
    stream.close()
    return 2


async def client(host):
    site = f"{host}:{PORT}"
    http = tornado.httpclient.AsyncHTTPClient()
    body = random.randbytes(200_000)
    digest = hashlib.sha256(body).hexdigest()
    response = await http.fetch(f"http://{site}/upload", method="POST", body=body)
    assert json.loads(response.body) == {"size": len(body), "sha256": digest}

    async def produce(write):
        for at in range(0, len(body), 30_000):
            await write(body[at : at + 30_000])

    response = await http.fetch(f"http://{site}/stream", method="PUT", body_producer=produce)
    assert response.body.decode() == digest
    answers = await asyncio.gather(*(http.fetch(f"http://{site}/numbers/{count}") for count in (1, 100, 5000)))
    counts = [len(answer.body.split()) for answer in answers]
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    response = await http.fetch(f"https://{host}/upload", method="POST", body=body, ssl_options=context)
    assert json.loads(response.body) == {"size": len(body), "sha256": digest}
    missing = await http.fetch(f"http://{site}/nothing", raise_error=False)
    everybody = asyncio.Barrier(VISITORS)
    heard = await asyncio.gather(*(visitor(site, number, everybody) for number in range(1, VISITORS + 1)))
    assert all(sorted(order) == list(range(1, VISITORS + 1)) for order in heard)
    assert len({tuple(order) for order in heard}) == 1, "all hear the same order"
    turned = await lines(host)
    talked = f"chat of {len(heard)}, {turned} lines"
    print(f"uploaded {len(body)} bytes thrice, counted {counts}, missing {missing.code}, {talked}")


if __name__ == "__main__":
    asyncio.run(server() if sys.argv[1] == "server" else client(sys.argv[2]))
