"""Twisted on its asyncio reactor: a server of lines, a web site with TLS, datagrams; asked by endpoints and an Agent.

    use_twisted.py server
    use_twisted.py client SERVER

Twisted looks names up in a thread, so the client asks for the server's address before the reactor runs.
"""

import hashlib
import pathlib
import random
import socket
import sys

from twisted.internet import asyncioreactor

asyncioreactor.install()

# ruff: noqa: E402 - the reactor must be installed before anything imports it
from twisted.internet import defer, endpoints, protocol, reactor, ssl, task
from twisted.internet.error import ConnectError
from twisted.protocols import basic
from twisted.web import client as web_client
from twisted.web import resource
from twisted.web import server as web_server
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
CALLERS = 5


class Shout(basic.LineReceiver):
    def connectionMade(self):
        self.sendLine(b"welcome")

    def lineReceived(self, line):
        if line == b"bye":
            self.transport.loseConnection()
        else:
            self.sendLine(line.upper())


class Reverse(protocol.DatagramProtocol):
    def datagramReceived(self, datagram, address):
        self.transport.write(datagram[::-1], address)


class Digest(resource.Resource):
    isLeaf = True

    def render_POST(self, request):
        return hashlib.sha256(request.content.read()).hexdigest().encode()


class Later(resource.Resource):
    """Answers in pieces, after a while."""

    isLeaf = True

    def render_GET(self, request):
        def piece(number):
            request.write(b"%d\n" % number)
            if number == 99:
                request.finish()

        for number in range(100):
            reactor.callLater(0.01 * number, piece, number)
        return web_server.NOT_DONE_YET


def serve():
    root = resource.Resource()
    root.putChild(b"digest", Digest())
    root.putChild(b"later", Later())
    site = web_server.Site(root)
    certificate = ssl.PrivateCertificate.loadPEM((TLS / "server.pem").read_bytes())
    endpoints.TCP4ServerEndpoint(reactor, 8007).listen(protocol.Factory.forProtocol(Shout))
    endpoints.TCP4ServerEndpoint(reactor, 80).listen(site)
    endpoints.SSL4ServerEndpoint(reactor, 443, certificate.options()).listen(site)
    reactor.listenUDP(8007, Reverse())
    reactor.run()


class Caller(basic.LineReceiver):
    """Say some lines, one after the other, and hear them in capitals."""

    def __init__(self, lines):
        self.lines = lines
        self.heard = []
        self.ended = defer.Deferred()

    def lineReceived(self, line):
        self.heard.append(line)
        said = len(self.heard) - 1
        self.sendLine(self.lines[said] if said < len(self.lines) else b"bye")

    def connectionLost(self, reason):
        self.ended.callback(self.heard)


async def call(address, number):
    lines = [f"line {count} of {number} {'x' * 1000 * count}".encode() for count in range(10)]
    endpoint = endpoints.TCP4ClientEndpoint(reactor, address, 8007)
    caller = await endpoints.connectProtocol(endpoint, Caller(lines))
    assert await caller.ended == [b"welcome", *(line.upper() for line in lines)]
    return len(lines)


class Asker(protocol.DatagramProtocol):
    """Ask until there is an answer: the network loses some."""

    def __init__(self, address, datagram):
        self.address = address
        self.datagram = datagram
        self.answer = defer.Deferred()
        self.asking = task.LoopingCall(self.ask)

    def startProtocol(self):
        self.transport.connect(self.address, 8007)
        self.asking.start(0.5)

    def ask(self):
        self.transport.write(self.datagram)

    def datagramReceived(self, datagram, address):
        self.asking.stop()
        self.transport.stopListening()
        self.answer.callback(datagram)


@implementer(IBodyProducer)
class Body:
    """A request's body in pieces."""

    def __init__(self, data):
        self.data = data
        self.length = len(data)

    def startProducing(self, consumer):
        def pieces():
            for at in range(0, self.length, 16_000):
                consumer.write(self.data[at : at + 16_000])
                yield

        self.writing = task.cooperate(pieces())
        return self.writing.whenDone()

    def pauseProducing(self):
        self.writing.pause()

    def resumeProducing(self):
        self.writing.resume()

    def stopProducing(self):
        self.writing.stop()


@implementer(IAgentEndpointFactory)
class Known:
    """Endpoints of the one server, whatever the name; `authority` is whose certificates are believed."""

    def __init__(self, address, authority):
        self.plain = endpoints.TCP4ClientEndpoint(reactor, address, 80)
        options = ssl.optionsForClientTLS("server", trustRoot=authority)
        self.secure = endpoints.SSL4ClientEndpoint(reactor, address, 443, options)

    def endpointForURI(self, uri):
        return self.secure if uri.scheme == b"https" else self.plain


async def post(agent, uri, size):
    data = random.randbytes(size)
    response = await agent.request(b"POST", uri, bodyProducer=Body(data))
    assert response.code == 200, response.code
    assert await web_client.readBody(response) == hashlib.sha256(data).hexdigest().encode()
    return size


async def ask(_reactor, address):
    lines = sum(await defer.gatherResults([defer.ensureDeferred(call(address, number)) for number in range(CALLERS)]))
    authority = ssl.Certificate.loadPEM((TLS / "authority.pem").read_bytes())
    pool = web_client.HTTPConnectionPool(reactor)
    agent = web_client.Agent.usingEndpointFactory(reactor, Known(address, authority), pool)
    posts = [defer.ensureDeferred(post(agent, b"http://server/digest", size)) for size in (10, 100_000)]
    posts.append(defer.ensureDeferred(post(agent, b"https://server/digest", 150_000)))
    posted = sum(await defer.gatherResults(posts))
    response = await agent.request(b"GET", b"http://server/later")
    counted = (await web_client.readBody(response)).split()
    assert counted == [b"%d" % number for number in range(100)]
    await pool.closeCachedConnections()
    datagram = Asker(address, random.randbytes(500))
    reactor.listenUDP(0, datagram)
    assert await datagram.answer == datagram.datagram[::-1]
    try:
        await endpoints.TCP4ClientEndpoint(reactor, address, 1).connect(protocol.Factory.forProtocol(Shout))
        raise SystemExit("nobody is there")
    except ConnectError as error:
        refused = type(error).__name__
    print(f"{lines} lines, {posted} bytes posted, counted {len(counted)}, a datagram, {refused}")


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve()
    else:
        task.react(ask, [socket.gethostbyname(sys.argv[2])])
