"""curl through the gateway of `weave run`: sites by name and address, uploads and downloads, and a session repeated.

A real process each: `weave run` with its proxy, and the machine's curl.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

import weaves

# Only a hanging process meets it.
TIMEOUT_S = 120

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")

WEAVE = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "weaves.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent)}

SITE = '''
import hashlib, http.server, sys

class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        size = int(self.path.rpartition("/")[2] or 6)
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write((b"0123456789abcdef" * (size // 16 + 1))[:size])

    def do_POST(self):
        if self.headers["Transfer-Encoding"] == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        told = hashlib.sha256(body).hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_PUT = do_POST

http.server.ThreadingHTTPServer.address_family = int(sys.argv[1])
http.server.ThreadingHTTPServer(("", 80), Site).serve_forever()
'''

TAPESTRY = """
[hosts.client]
eth0 = ["10.0.0.2/24", "2001:db8::2/64"]

[hosts.server]
eth0 = ["10.0.0.1/24", "2001:db8::1/64"]
names = ["www.example.test"]
strings = [{ run = "site.py 10", background = true }]   # AF_INET6, which takes IPv4 as well

[[links]]
ends = ["client", "server"]
delay = "1ms"
"""


class Run:
    """A `weave run` whose gateway listens."""

    def __init__(self, folder: Path, *options: str, expected: int = 1) -> None:
        (folder / "site.py").write_text(SITE)
        (folder / "site.toml").write_text(TAPESTRY)
        self.folder = folder
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*WEAVE, "run", "site.toml", *options], cwd=folder, env=ENVIRONMENT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.ports: list[int] = []
        stderr: IO[str] = self._stream(self.process.stderr)
        while len(self.ports) < expected:
            line = stderr.readline()
            assert line, f"weave run has ended: {self.lines}"
            self.lines.append(line)
            found = re.search(r"(?:proxy \(SOCKS5, HTTP\) at|forwards) \S+:(\d+)", line)
            if found is not None:
                self.ports.append(int(found[1]))

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream is not None
        return stream

    def curl(self, *words: str, check: bool = True) -> bytes:
        """What curl prints; {proxy} in a word is the port."""
        named = [word.replace("{proxy}", f"127.0.0.1:{self.ports[0]}") for word in words]
        done = subprocess.run(
            [str(CURL), "-sS", "--max-time", str(TIMEOUT_S), *named],
            cwd=self.folder, capture_output=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done.stdout + done.stderr

    def end(self) -> tuple[int, str]:
        """Exit code and output, after SIGINT."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        self.lines += err.splitlines(keepends=True)
        return self.process.returncode, out

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    started: list[Run] = []

    def begin(*options: str, **settings: Any) -> Run:
        started.append(Run(tmp_path, *options, **settings))
        return started[-1]

    yield begin
    for run in started:
        run.kill()


def content(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


WAYS = {
    "HTTP": ["-x", "http://{proxy}"],
    "CONNECT": ["--proxytunnel", "-x", "http://{proxy}"],
    "SOCKS5 by name": ["--socks5-hostname", "{proxy}"],
}


def test_downloads_and_uploads_by_all_ways(start: Callable[..., Run]) -> None:
    run = start("--proxy", "0")
    size = 3_000_000
    (run.folder / "upload").write_bytes(content(size))
    sha256 = hashlib.sha256(content(size)).hexdigest()
    for way in WAYS.values():
        for host in ("server", "www.example.test", "10.0.0.1", "[2001:db8::1]"):
            assert run.curl("-g", *way, f"http://{host}/12") == content(12)
        assert hashlib.sha256(run.curl(*way, f"http://server/{size}")).hexdigest() == sha256
        assert run.curl(*way, "--data-binary", "@upload", "http://server/").decode() == sha256
        # In chunks, as from a pipe.
        chunked = run.curl(*way, "-H", "Transfer-Encoding: chunked", "-T", "upload", "http://server/")
        assert chunked.decode() == sha256
    assert run.curl("--socks5", "{proxy}", "http://10.0.0.1/5") == b"01234"
    code, out = run.end()
    assert code == 130
    assert re.search(r"^gateway  22 connections by client, 0 failed, ", out, re.MULTILINE)


def test_a_connection_is_kept_for_the_next_request(start: Callable[..., Run]) -> None:
    run = start("--proxy", "0")
    for way in WAYS.values():
        # Of three bodies, each with the number of connections that curl had to make for it.
        told = run.curl(*way, "-w", "%{num_connects} ", "http://server/1", "http://server/2", "http://server/3")
        assert told == b"01 010 0120 "


def test_what_cannot_be_reached(start: Callable[..., Run]) -> None:
    run = start("--proxy", "0")
    page = run.curl("-x", "http://{proxy}", "http://nosuch/")
    assert b"<p>Host client cannot connect to nosuch:80: no host has the name nosuch.</p>" in page
    told = run.curl("--proxytunnel", "-x", "http://{proxy}", "http://server:81/", check=False)
    assert b"502" in told
    assert b"(5)" in run.curl("--socks5-hostname", "{proxy}", "http://server:81/", check=False)  # refused
    assert b"(4)" in run.curl("--socks5-hostname", "{proxy}", "http://nosuch/", check=False)
    run.end()
    lines = [line for line in run.lines if "127.0.0.1:" in line and "proxy (" not in line]
    assert [line.rpartition(" to ")[2].strip() for line in lines] == [
        "nosuch:80: no host has the name nosuch",
        "server:81: the connection was refused",
        "server:81: the connection was refused",
        "nosuch:80: no host has the name nosuch",
    ]


def test_forwarded_ports(start: Callable[..., Run]) -> None:
    run = start("--forward", "0 -> server:80", "--forward", "[::1]:0 -> 10.0.0.1:80", expected=2)
    assert run.curl(f"http://127.0.0.1:{run.ports[0]}/9") == content(9)
    assert run.curl("-g", f"http://[::1]:{run.ports[1]}/9") == content(9)
    run.end()


def test_a_session_with_curl_repeats_to_the_same_digest(start: Callable[..., Run]) -> None:
    run = start("--proxy", "0", "--record", "session", "--json", "live.json")
    (run.folder / "upload").write_bytes(content(500_000))
    assert run.curl("-x", "http://{proxy}", "http://server/100000") == content(100_000)
    run.curl("--socks5-hostname", "{proxy}", "--data-binary", "@upload", "http://server/")
    run.curl("--socks5-hostname", "{proxy}", "http://server:81/", check=False)
    assert run.end()[0] == 130
    done = subprocess.run(
        [*WEAVE, "replay", "session", "--json", "replayed.json"],
        cwd=run.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    live, replayed = (json.loads((run.folder / f"{name}.json").read_text()) for name in ("live", "replayed"))
    assert live["digest"] == replayed["digest"]
    assert live["gateway"] == replayed["gateway"]
    assert live["gateway"][0]["connections"] == 2 and live["gateway"][0]["failed"] == 1
    assert live["links"] == replayed["links"] and live["tcp"] == replayed["tcp"]
    # The same lines, of the same moments, without any client.
    told = [line for line in run.lines if "127.0.0.1:" in line and "proxy (" not in line]
    assert [line for line in done.stderr.splitlines(keepends=True) if "127.0.0.1:" in line] == told


def test_quiet_tells_nothing_of_connections(start: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "site.py").write_text(SITE)
    (tmp_path / "site.toml").write_text(TAPESTRY)
    done = subprocess.run(
        [*WEAVE, "run", "site.toml", "--proxy", "0", "--quiet", "--until", "10ms"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "gateway  0 connections by client" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--proxy", "nowhere"], '"nowhere" is no place to listen'),
        (["--proxy", "70000"], '"70000" is no place to listen'),
        (["--forward", "8080"], '"8080" forwards nothing'),
        (["--forward", "8080 -> server"], '" server" is no port of a host'),
        (["--proxy", "0", "--gateway", "cleint"], 'there is no host "cleint"; did you mean "client"?'),
        (["--proxy", "0", "--clock", "virtual"], "the clock is virtual"),
    ],
)
def test_wrong_input_is_told_in_a_line(tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "site.py").write_text(SITE)
    (tmp_path / "site.toml").write_text(TAPESTRY)
    done = subprocess.run(
        [*WEAVE, "run", "site.toml", *options],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_port_in_use_is_told_in_a_line(start: Callable[..., Run]) -> None:
    run = start("--proxy", "0")
    done = subprocess.run(
        [*WEAVE, "run", "site.toml", "--proxy", str(run.ports[0])],
        cwd=run.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    where = f"127.0.0.1:{run.ports[0]}"
    assert done.stderr.endswith(f"weave run: the proxy cannot listen at {where}: Address already in use\n")


def test_the_end_of_a_run_closes_all_connections(start: Callable[..., Run]) -> None:
    run = start("--forward", "0 -> server:80", expected=1)
    curl = subprocess.Popen(
        [str(CURL), "-sS", "-N", "-H", "Expect:", "-T", "-", f"http://127.0.0.1:{run.ports[0]}/"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    stderr = run._stream(run.process.stderr)
    while " to server:80" not in stderr.readline():
        pass
    assert run.end()[0] == 130
    assert curl.stdin is not None
    curl.communicate(timeout=TIMEOUT_S)
    assert curl.returncode != 0
