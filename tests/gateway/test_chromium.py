"""Debian's Chromium, headless, at tapestries/web.toml: pages with style, pictures and scripts of several virtual hosts.

By SOCKS5 and by HTTP. Names without a dot must go to the proxy as well. The picture that the browser makes of the page
is looked at: the colours that only the style sheet and the PNG of other virtual hosts can have given are where they
belong.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import weaves

ROOT = Path(__file__).parents[2]
# Only a hanging process meets it.
TIMEOUT_S = 240

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

# Of tapestries/apps/web: the page's background, its heading, the box, and the picture's bands.
BACKGROUND, HEADING, BOX = (244, 247, 245), (31, 111, 84), (255, 233, 184)
BANDS = [(31, 111, 84), (224, 160, 48), (32, 48, 60), (178, 58, 72), (64, 121, 178)]


class Site:
    """`weave run` of the example, with a proxy at a port of the machine's choice."""

    def __init__(self) -> None:
        python = [sys.executable, *(["-P"] if sys.flags.safe_path else [])]
        self.process = subprocess.Popen(
            [*python, "-m", "weaves.cli", "run", "--proxy", "0", str(ROOT / "tapestries" / "web.toml")],
            env={**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent)},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.lines: list[str] = []
        while not (found := re.search(r"proxy .* at (127\.0\.0\.1:\d+);", self.lines[-1] if self.lines else "")):
            self.lines.append(self.process.stderr.readline())
            assert self.lines[-1], f"weave run has ended: {self.lines}"
        self.proxy = found[1]

    def end(self) -> list[str]:
        self.process.send_signal(signal.SIGINT)
        self.lines += self.process.communicate(timeout=TIMEOUT_S)[1].splitlines()
        return self.lines


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


def browse(profile: Path, proxy: str, *words: str) -> str:
    """What Chromium prints, with a profile of its own."""
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--hide-scrollbars", f"--user-data-dir={profile}", f"--proxy-server={proxy}",
            "--virtual-time-budget=20000", *words,
        ],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("scheme", ["socks5", "http"])
@pytest.mark.parametrize("host", ["www", "www.example.test", "10.1.0.10"])
def test_a_page_with_parts_of_four_hosts(site: Site, tmp_path: Path, scheme: str, host: str) -> None:
    page = browse(tmp_path, f"{scheme}://{site.proxy}", "--dump-dom", f"http://{host}/")
    assert "<h1>A virtual site</h1>" in page
    # The script of one host has asked another.
    assert re.search(r"Host api has counted \d+ of your visits, from 10\.0\.0\.2, at 2000-01-01 00:", page)


def test_the_picture_of_the_page(site: Site, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    browse(
        tmp_path / "profile", f"socks5://{site.proxy}", "--window-size=800,600", f"--screenshot={picture}",
        "http://www/",
    )  # fmt: skip
    width, height, pixel = read_png(picture.read_bytes())
    assert (width, height) == (800, 600)
    seen = {pixel(x, y) for x in range(0, width, 4) for y in range(0, height, 4)}
    assert pixel(4, 4) == BACKGROUND  # the style sheet of host static
    assert {HEADING, BOX} <= seen
    # The bands of host images' picture, of 80 pixels each, from left to right in one row of it.
    row = next(y for y in range(height) if {pixel(x, y) for x in range(width)} >= set(BANDS))
    left = next(x for x in range(width) if pixel(x, row) == BANDS[0])
    assert [pixel(left + 80 * number + 40, row) for number in range(len(BANDS))] == BANDS


def test_a_host_that_there_is_not(site: Site, tmp_path: Path) -> None:
    page = browse(tmp_path, f"http://{site.proxy}", "--dump-dom", "http://nosuch/")
    assert "Host visitor cannot connect to nosuch:80: no host has the name nosuch." in page


def test_each_connection_was_told(site: Site) -> None:
    # The last one: it ends the run.
    lines = site.end()
    for host in ("www:80", "static:80", "images:80", "api:80", "www.example.test:80"):
        assert any(f" to {host} (10.1.0." in line for line in lines)


def read_png(data: bytes) -> tuple[int, int, Callable[[int, int], tuple[int, int, int]]]:
    """Width, height, and a function from (x, y) to (red, green, blue), of a PNG with 8 bits a channel (RFC 2083)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, header = 8, b"", b""
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        header = body if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, interlaced) == (8, 0) and colour in (2, 6)
    channels = 3 if colour == 2 else 4
    raw, stride = zlib.decompress(packed), width * channels
    rows = [bytearray(stride)]  # one above the first, of zeros
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        above = rows[-1]
        for x in range(stride):
            left = line[x - channels] if x >= channels else 0
            corner = above[x - channels] if x >= channels else 0
            line[x] = (line[x] + _predicted(kind, left, above[x], corner)) & 0xFF
        rows.append(line)

    def pixel(x: int, y: int) -> tuple[int, int, int]:
        red, green, blue = rows[y + 1][x * channels : x * channels + 3]
        return red, green, blue

    return width, height, pixel


def _predicted(kind: int, left: int, above: int, corner: int) -> int:
    """What a filter of a row expects (RFC 2083 section 6): none, sub, up, average, Paeth."""
    if kind < 4:
        return (0, left, above, (left + above) // 2)[kind]
    estimate = left + above - corner
    return min((left, above, corner), key=lambda value: abs(estimate - value))
