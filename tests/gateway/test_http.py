"""The HTTP proxy, byte by byte: what goes on to the virtual host, what comes back, and the pages of the proxy's own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

VIA = b"Via: 1.1 lunar\r\n"


class Browser:
    """One connection to a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> tuple[int, dict[str, list[str]]]:
        """Status and headers of the next answer."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            headers.setdefault(name.lower(), []).append(value)
        return int(lines[0].split(" ")[1]), headers

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer, which says how long it is."""
        status, headers = await self.head()
        if headers.get("transfer-encoding") == ["chunked"]:
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
            return status, body
        return status, await self.reader.readexactly(int(headers["content-length"][0]))

    async def ask(self, text: bytes) -> tuple[int, bytes]:
        """The answer to a request."""
        self.writer.write(text)
        return await self.answer()


@contextlib.asynccontextmanager
async def browsing(live: Any) -> AsyncIterator[Browser]:
    """A connection to the proxy of a network that runs."""
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        browser = Browser(*await asyncio.open_connection("127.0.0.1", proxy.port))
        yield browser
        browser.writer.close()


def get(url: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {url} HTTP/{version}", "Host: whatever", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


async def test_requests_follow_each_other_on_one_connection(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        for path in ("/a", "/b?c=d", "/"):
            assert await browser.ask(get(f"http://server{path}")) == (200, f"GET {path}\n".encode())
        assert await browser.ask(get("http://server")) == (200, b"GET /\n")
        # The connection to the server was kept as well.
        assert live.net.outside_figures()["gateway"][0]["connections"] == 1
        # Another place has another connection.
        assert await browser.ask(get("http://10.0.0.1:80/")) == (200, b"GET /\n")
        assert live.net.outside_figures()["gateway"][0]["connections"] == 2


async def test_requests_may_be_sent_ahead(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        browser.writer.write(b"".join(get(f"http://server/{number}") for number in range(20)))
        browser.writer.write_eof()
        for number in range(20):
            assert await browser.answer() == (200, b"GET /%d\n" % number)
        assert await browser.reader.read() == b""


async def test_headers_of_one_connection_stay_on_it(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        status, head = await browser.ask(
            get(
                "http://server:80/headers",
                "Connection: keep-alive, X-Private",
                "X-Private: 1",
                "Proxy-Connection: keep-alive",
                "Proxy-Authorization: Basic abc",
                "TE: trailers",
                "X-Kept: Yes",
            )
        )
        assert status == 200
        assert head == b"GET /headers HTTP/1.1\r\nHost: server:80\r\nX-Kept: Yes\r\n" + VIA + b"\r\n"


async def test_where_a_body_ends_is_for_the_next_one_to_know_too(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        # Whatever a client takes for its connection's own, a body has an end.
        by_length = get("http://server/echo", "Connection: Content-Length", "Content-Length: 5", method="POST")
        assert await browser.ask(by_length + b"hello") == (200, b"hello")
        # RFC 9112 section 6.3: of two the coding counts, and the length is not passed on.
        both = get("http://server/headers", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST")
        status, head = await browser.ask(both + b"5\r\nhello\r\n0\r\n\r\n")
        assert status == 200
        assert b"Content-Length" not in head and b"Transfer-Encoding: chunked" in head
        assert await browser.ask(get("http://server/both")) == (200, b"whole")
        assert await browser.ask(get("http://server/ok")) == (200, b"GET /ok\n")


async def test_headers_of_answers_come_back(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        browser.writer.write(get("http://server/", method="HEAD"))
        status, headers = await browser.head()
        assert status == 200
        assert headers["content-length"] == ["7"]
        assert headers["set-cookie"] == ["a=1", "b=2"]
        assert headers["via"] == ["1.1 lunar"]
        # There is no body behind it: the next answer follows.
        assert await browser.ask(get("http://server/x")) == (200, b"GET /x\n")


async def test_bodies_of_requests_by_length_and_in_chunks(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        by_length = get("http://server/echo", "Content-Length: 5", method="POST") + b"hello"
        assert await browser.ask(by_length) == (200, b"hello")
        in_chunks = get("http://server/echo", "Transfer-Encoding: chunked", method="PUT")
        in_chunks += b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"
        assert await browser.ask(in_chunks) == (200, b"abcdefg")


async def test_who_expects_100_continue_gets_it_from_the_server(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        browser.writer.write(get("http://server/echo", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert (await browser.head())[0] == 100
        assert await browser.ask(b"ab") == (200, b"ab")


async def test_a_body_that_ends_with_the_connection_comes_in_chunks(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        assert await browser.ask(get("http://server/until-close")) == (200, b"to the end")
        assert await browser.ask(get("http://server/")) == (200, b"GET /\n")


async def test_a_client_of_http_1_0_gets_its_body_up_to_the_end(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        browser.writer.write(get("http://server/until-close", version="1.0"))
        status, headers = await browser.head()
        assert status == 200 and "transfer-encoding" not in headers
        assert await browser.reader.read() == b"to the end"


async def test_connect_is_a_tunnel(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        browser.writer.write(b"CONNECT server:80 HTTP/1.1\r\nHost: server:80\r\n\r\nGET /early HTTP/1.1\r\n\r\n")
        assert (await browser.head())[0] == 200
        assert await browser.answer() == (200, b"GET /early\n")
        assert await browser.ask(b"GET /more HTTP/1.1\r\n\r\n") == (200, b"GET /more\n")
        browser.writer.write_eof()
        assert await browser.reader.read() == b""


async def test_an_upgraded_connection_is_a_tunnel(live: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Connection: Upgrade\r\n" in head and b"Upgrade: websocket\r\n" in head and b"Sec-WebSocket-Key" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst")
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    live.serve(serve)
    async with browsing(live) as browser:
        browser.writer.write(
            get("http://server/", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")
        )
        status, headers = await browser.head()
        assert (status, headers["upgrade"], headers["connection"]) == (101, ["websocket"], ["Upgrade"])
        assert await browser.reader.readexactly(5) == b"first"
        browser.writer.write(b"ping")
        assert await browser.reader.readexactly(4) == b"PING"
        browser.writer.write_eof()
        assert await browser.reader.read() == b""


async def test_an_answer_before_the_request_has_ended(live: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
        writer.close()

    live.serve(serve)
    live.serve_http(81)
    async with browsing(live) as browser:
        assert await browser.ask(get("http://server/", "Content-Length: 4", method="POST")) == (413, b"no\n")
        # The rest of the body is of no use to anybody, and the connection is in step afterwards.
        assert await browser.ask(b"body" + get("http://server:81/next")) == (200, b"GET /next\n")


PAGE = re.compile(rb"<!doctype html>\n<title>(.*)</title>\n<h1>\1</h1>\n<p>(.*)</p>\n")


@pytest.mark.parametrize(
    ("text", "title", "sentence"),
    [
        (
            get("http://nosuch/"),
            b"502 Bad Gateway",
            b"Host client cannot connect to nosuch:80: no host has the name nosuch.",
        ),
        (
            get("http://server:81/"),
            b"502 Bad Gateway",
            b"Host client cannot connect to server:81: the connection was refused.",
        ),
        (
            get("server:81", method="CONNECT"),
            b"502 Bad Gateway",
            b"Host client cannot connect to server:81: the connection was refused.",
        ),
        (
            get("http://10.7.0.1/"),
            b"502 Bad Gateway",
            b"Host client cannot connect to 10.7.0.1:80: there is no route to its network.",
        ),
        (
            get("http://server/silent"),
            b"502 Bad Gateway",
            b"The server at server:80 closed the connection, and has not answered.",
        ),
        (
            get("https://server/"),
            b"501 Not Implemented",
            b"A client asks for https:// by CONNECT, and does TLS itself.",
        ),
        (
            get("ftp://server/"),
            b"400 Bad Request",
            b"&quot;ftp://server/&quot; is no URL of the form http://HOST:PORT/PATH.",
        ),
        (
            get("http://server:99999/"),
            b"400 Bad Request",
            b"&quot;http://server:99999/&quot; is no URL of the form http://HOST:PORT/PATH.",
        ),
        (
            get("server", method="CONNECT"),
            b"400 Bad Request",
            b"CONNECT wants a host and a port, such as &quot;server:443&quot;, not &quot;server&quot;.",
        ),
    ],
)
async def test_errors_are_pages_of_one_sentence(live: Any, text: bytes, title: bytes, sentence: bytes) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        status, body = await browser.ask(text)
        found = PAGE.fullmatch(body)
        assert found is not None
        assert (b"%d" % status, found[1], found[2]) == (title[:3], title, sentence)
        # Nothing is broken: the next request is answered.
        assert await browser.ask(get("http://server/ok")) == (200, b"GET /ok\n")


async def test_an_answer_that_is_not_http(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        status, body = await browser.ask(get("http://server/not-http"))
        assert status == 502
        assert b"The server at server:80 gives an answer that is not HTTP/1.1" in body


async def test_an_answer_that_breaks_off_is_seen_to(live: Any) -> None:
    live.serve_http()
    async with browsing(live) as browser:
        browser.writer.write(get("http://server/truncated"))
        assert (await browser.head())[0] == 200
        with pytest.raises(ConnectionResetError):
            await browser.reader.read()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"GET http://server/ HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET http://server/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET http://server/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000, 431),
        (b"POST http://server/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
async def test_what_is_not_http_is_answered_and_closed(live: Any, text: bytes, status: int) -> None:
    async with browsing(live) as browser:
        assert (await browser.ask(text))[0] == status
        assert await browser.reader.read() == b""


async def test_who_takes_the_proxy_for_a_site_is_told_what_it_is(live: Any) -> None:
    async with browsing(live) as browser:
        status, body = await browser.ask(get("/"))
        assert status == 400
        assert b"This is the proxy of a virtual network" in body and b"connects as client, to client, server." in body


async def test_a_large_body_arrives_whole_both_ways(live: Any) -> None:
    live.serve_http()
    size = 5_000_000
    async with browsing(live) as browser:
        status, body = await browser.ask(get(f"http://server/bytes/{size}"))
        assert status == 200 and body == live.pattern(0, size)
        status, echoed = await browser.ask(get("http://server/echo", f"Content-Length: {size}", method="POST") + body)
        assert status == 200 and echoed == body
