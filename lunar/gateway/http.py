"""The HTTP proxy (RFC 9110, RFC 9112): CONNECT, and requests whose target is a whole URL.

For a request with a URL the proxy is a server to its client and a client of the virtual host, each by an
`h11.Connection` that knows the framing of its side: bodies are passed on as they come, in chunks, by length or up to
the end of the connection. Headers that belong to one connection are left out (RFC 9110 section 7.6.1), `Via` is added,
trailers are dropped. Both connections are kept, if their sides wish it, for the next request. A connection that is
upgraded (WebSocket) becomes a tunnel, and so does what CONNECT has opened.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

import h11

from lunar.gateway.channel import Channel, ChannelUser
from lunar.gateway.client import Client, Session
from lunar.gateway.messages import HOST_DOWN, TIMED_OUT, Failure, target_text
from lunar.gateway.page import page
from lunar.gateway.tunnel import Tunnel

_Headers: TypeAlias = list[tuple[bytes, bytes]]

# RFC 9112 section 6: what says where a body ends. No connection may take these for its own.
_LENGTH: Final = b"content-length"
_CODING: Final = b"transfer-encoding"

_HTTP_PORT: Final = 80

# What the head of a request or an answer may have, in bytes; a larger one is answered by 431, or is no answer.
_LARGEST_HEAD: Final = 65_536

_VIA: Final = (b"Via", b"1.1 lunar")

# RFC 9110 section 7.6.1, and what older clients send.
_OF_ONE_CONNECTION: Final = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
        b"trailer", b"upgrade",
    )
)  # fmt: skip


class HttpSession(Session, ChannelUser):
    """The requests of one client, one after the other. `_down` is the connection to it, `_up` to the virtual host.

    `how_to` is what to tell a client that takes the proxy for a site.
    """

    def __init__(self, client: Client, how_to: str) -> None:
        self._client = client
        self._how_to = how_to
        self._down = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)
        self._up: h11.Connection | None = None
        self._channel: Channel | None = None
        self._target = ("", 0)  # where the channel leads
        self._used = False  # it has brought an answer before
        self._client_has_ended = False

    # From the client

    def client_sent(self, data: bytes) -> None:
        self._down.receive_data(data)
        self._go_on()

    def client_ended(self) -> None:
        self._client_has_ended = True
        self._down.receive_data(b"")
        self._go_on()

    def client_lost(self) -> None:
        self._leave_channel()

    def room(self) -> None:
        self._slow_down()

    def _go_on(self) -> None:
        """Take up what the client has sent, as far as it goes."""
        going = True
        while going and self._client.session is self:
            going = self._read() or self._next_cycle()
        if self._client.session is self:
            self._slow_down()

    def _slow_down(self) -> None:
        """Read no further while the channel is full, or while a next request waits for the present one's answer."""
        full = self._channel is not None and self._channel.full
        wanted = self._down.their_state in (h11.IDLE, h11.SEND_BODY)
        self._client.read(not full and (wanted or len(self._down.trailing_data[0]) < _LARGEST_HEAD))

    def _read(self) -> bool:
        """Take up the next thing that the client has sent. False if it is not there yet."""
        try:
            event: Any = self._down.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, f"The request is not HTTP/1.1: {error}.")
            return False
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return False
        if isinstance(event, h11.Request):
            self._request(event)
        elif isinstance(event, h11.ConnectionClosed):
            if self._down.our_state not in (h11.SEND_RESPONSE, h11.SEND_BODY):
                self._leave_channel()
                self._client.close()
            return False
        # What an answer has come to early, or a host that is not there, is read all the same.
        elif self._up is not None and self._up.our_state is h11.SEND_BODY:
            self._send_up(h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event)
        return True

    def _next_cycle(self) -> bool:
        """If request and answer are complete, let the next come, on the same connections where that may be."""
        down, up = self._down, self._up
        if down.our_state not in (h11.DONE, h11.MUST_CLOSE) or down.their_state is h11.SEND_BODY:
            return False
        if up is not None:
            if up.our_state is h11.DONE and up.their_state is h11.DONE:
                up.start_next_cycle()
                self._used = True
            else:
                self._leave_channel()
        if down.our_state is h11.DONE and down.their_state is h11.DONE:
            down.start_next_cycle()
            return True
        self._leave_channel()
        self._client.farewell()
        return False

    # A request

    def _request(self, request: h11.Request) -> None:
        target = request.target.decode("latin-1")
        if request.method == b"CONNECT":
            name, port = _authority(target)
            if name and port is not None:
                self._open(name, port)
            else:
                self._refuse(400, f'CONNECT wants a host and a port, such as "server:443", not "{target}".')
            return
        if target.startswith("/") or target == "*":
            self._refuse(400, self._how_to)
            return
        try:
            url = urlsplit(target)
            name, port = url.hostname or "", url.port
        except ValueError:
            url, name, port = SplitResult("", "", "", "", ""), "", None
        if url.scheme == "https":
            self._refuse(501, "A client asks for https:// by CONNECT, and does TLS itself.")
        elif url.scheme != "http" or not name:
            self._refuse(400, f'"{target}" is no URL of the form http://HOST:PORT/PATH.')
        else:
            self._ask(request, url, name, _HTTP_PORT if port is None else port)

    def _ask(self, request: h11.Request, url: SplitResult, name: str, port: int) -> None:
        """Send the request on to a virtual host."""
        if self._up is None or self._channel is None or self._channel.over or self._target != (name, port):
            self._open(name, port)
            self._up = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
        headers, upgrade = _passed_on(request.headers)
        # RFC 9112 section 3.2.2: the target's host in place of what the client says.
        authority = url.netloc.rpartition("@")[2].encode("latin-1")
        headers = [(b"Host", authority), *(header for header in headers if header[0].lower() != b"host")]
        if upgrade:
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade)]
        path = url.path or ("*" if request.method == b"OPTIONS" and not url.query else "/")
        asked = f"{path}?{url.query}" if url.query else path
        try:
            self._send_up(h11.Request(method=request.method, target=asked.encode("latin-1"), headers=headers))
        except h11.LocalProtocolError as error:
            self._refuse(400, f"The request cannot be passed on: {error}.")

    def _open(self, name: str, port: int) -> None:
        self._leave_channel()
        self._channel = self._client.channels.new(self)
        self._target = (name, port)
        self._used = False
        self._channel.connect(name, port, self._client.name)

    def _leave_channel(self) -> None:
        """The channel, if there is one, is of no more use."""
        channel, up, self._channel, self._up = self._channel, self._up, None, None
        if channel is None:
            return
        if up is not None and up.their_state in (h11.IDLE, h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            # Nothing is owed either way: a FIN, as any client that goes.
            channel.user = ChannelUser()
            channel.end()
        else:
            channel.reset()

    def _send_up(self, event: Any) -> None:
        assert self._up is not None and self._channel is not None, "there is a request to send it with"
        data = self._up.send(event)
        if data:
            self._channel.write(data)

    # Answers

    def opened(self, address: str, port: int) -> None:
        if self._up is None:
            self._become_tunnel(h11.Response(status_code=200, reason=b"Connection established", headers=[]), b"")

    def _become_tunnel(self, answer: h11.Response | h11.InformationalResponse, rest: bytes) -> None:
        """After `answer` nothing is HTTP any more. `rest` is what the peer has sent behind it."""
        channel = self._channel
        assert channel is not None, "somebody has answered"
        self._send_down(answer)
        early = self._down.trailing_data[0]
        tunnel = Tunnel(self._client, channel)
        self._client.write(rest)
        channel.write(early)
        self._client.read(not channel.full)
        if self._client_has_ended:
            tunnel.client_ended()

    def failed(self, failure: Failure) -> None:
        self._channel, self._up = None, None
        code = {HOST_DOWN: 503, TIMED_OUT: 504}.get(failure.kind, 502)
        host = self._client.service.gateway.host.name
        self._refuse(code, f"Host {host} cannot connect to {target_text(*self._target)}: {failure.text}.")
        self._go_on()

    def peer_sent(self, data: bytes) -> None:
        channel, up = self._channel, self._up
        if channel is not None and up is not None:
            up.receive_data(data)
            self._answer(up)
            self._client.passing_on(channel, len(data))
            self._go_on()

    def peer_ended(self) -> None:
        channel, up = self._channel, self._up
        if channel is None or up is None:
            return
        if up.their_state is not h11.SEND_RESPONSE:
            up.receive_data(b"")
            self._answer(up)
        if self._channel is channel:
            channel.end()
            self._channel, self._up = None, None
            self._broken("closed the connection")
        self._go_on()

    def peer_lost(self) -> None:
        self._channel, self._up = None, None
        self._broken("reset the connection")
        self._go_on()

    def _answer(self, up: h11.Connection) -> None:
        """Pass on what the virtual host has answered, as far as it goes."""
        while self._up is up:
            try:
                event: Any = up.next_event()
            except h11.RemoteProtocolError as error:
                self._leave_channel()
                self._broken(f"gives an answer that is not HTTP/1.1 ({error})")
                return
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.InformationalResponse):
                self._inform(up, event)
            elif isinstance(event, h11.Response):
                # How its body is framed is between the proxy and its client.
                headers = [pair for pair in _passed_on(event.headers)[0] if pair[0].lower() != _CODING]
                self._send_down(h11.Response(status_code=event.status_code, headers=headers, reason=event.reason))
            else:
                self._send_down(h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event)

    def _inform(self, up: h11.Connection, event: h11.InformationalResponse) -> None:
        headers, upgrade = _passed_on(event.headers)
        switches = event.status_code == 101
        if switches:
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade)]
        answer = h11.InformationalResponse(status_code=event.status_code, headers=headers, reason=event.reason)
        if switches:
            self._become_tunnel(answer, up.trailing_data[0])
            self._up = None
        else:
            self._send_down(answer)

    def _send_down(self, event: Any) -> None:
        data = self._down.send(event)
        if data:
            self._client.write(data)

    # What goes wrong

    def _broken(self, what: str) -> None:
        """The virtual host has done `what`, perhaps in the middle of an answer."""
        if self._down.our_state is h11.SEND_BODY:
            self._client.reset()  # so that the client cannot take what it has for the whole
        elif self._down.our_state is h11.SEND_RESPONSE:
            if self._used:
                # The host had closed a connection that was kept, and the request met that on its way. The client knows
                # whether it may ask again (RFC 9112 section 9.3.1), and does so if it sees the same.
                self._client.close()
            else:
                self._refuse(502, f"The server at {target_text(*self._target)} {what}, and has not answered.")

    def _refuse(self, code: int, sentence: str) -> None:
        """Answer by a page of the proxy's own, if there is an answer to give yet."""
        self._leave_channel()
        if self._down.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            if self._down.our_state is h11.SEND_BODY:
                self._client.reset()
            else:
                self._client.close()
            return
        answer, body = page(code, sentence)
        self._send_down(answer)
        self._send_down(h11.Data(data=body))
        self._send_down(h11.EndOfMessage())
        if self._down.their_state is h11.ERROR:
            self._client.farewell()


def _passed_on(headers: Any) -> tuple[_Headers, bytes]:
    """The headers that go on to the next one on the way, with `Via`; and what the connection is to be upgraded to."""
    named = set(_OF_ONE_CONNECTION)
    upgrade = b""
    coded = False
    for name, value in headers:  # here names are in small letters
        if name == b"connection":
            named.update(word.strip().lower() for word in value.split(b","))
        elif name == _CODING:
            coded = True
        elif name == b"upgrade" and not value.lower().startswith(b"h2c"):
            upgrade = value
    if not any(name == b"connection" and b"upgrade" in value.lower() for name, value in headers):
        upgrade = b""
    named -= {_LENGTH, _CODING}
    if coded:
        named.add(_LENGTH)  # RFC 9112 section 6.3: the coding counts, and who passes it on drops a length beside it
    return [(name, value) for name, value in headers.raw_items() if name.lower() not in named] + [_VIA], upgrade


def _authority(text: str) -> tuple[str, int | None]:
    """The host and the port of "server:443" or "[2001:db8::1]:443"; ("", None) if it is neither."""
    try:
        url = urlsplit(f"//{text}")
        if url.netloc == text and "@" not in text:
            return url.hostname or "", url.port
    except ValueError:
        pass
    return "", None
