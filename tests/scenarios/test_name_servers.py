"""A site behind names: an authoritative server, a caching one that clients ask, and programs that open connections.

All of it is ordinary programs of a tapestry; the servers are `python -m lunar.dns` and `lunar.dns.server:serve`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import weaves
from weaves.loader import LiveTapestry, load

ZONE = """
$TTL 30
@ SOA ns hostmaster 1 3600 600 86400 10
@ NS ns
ns A 10.0.0.53
www A 10.0.0.80
www AAAA 2001:db8::80
four A 10.0.0.80
six AAAA 2001:db8::80
mirror CNAME www
"""

# What no zone knows does not exist: without a root, nobody could say so.
ROOT = """
$TTL 30
@ SOA ns hostmaster 1 3600 600 86400 10
@ NS ns
ns A 10.0.0.53
"""

SITE = """
import asyncio

async def handle(reader, writer):
    await reader.readline()
    writer.write(writer.get_extra_info("peername")[0].encode())
    writer.close()

async def main():
    server = await asyncio.start_server(handle, port=80)
    await server.serve_forever()

asyncio.run(main())
"""

VISIT = """
import asyncio, sys

async def main():
    for name in sys.argv[1:]:
        try:
            reader, writer = await asyncio.open_connection(name, 80)
        except OSError as error:
            print(name, type(error).__name__, error)
            continue
        writer.write(b"hello\\n")
        peer = writer.get_extra_info("peername")[0]
        print(name, peer, (await reader.read()).decode())
        writer.close()

asyncio.run(main())
"""

BLOCKING = """
import socket, sys

for name in sys.argv[1:]:
    with socket.create_connection((name, 80)) as sock:
        sock.sendall(b"hello\\n")
        print(name, sock.getpeername()[0], sock.recv(100).decode())
"""

NETWORK = """
[tapestry]
until = "5m"

[hosts.site]
eth0 = ["10.0.0.80/24", "2001:db8::80/64"]
strings = [{ run = "site.py", background = true }]

[hosts.ns]
eth0 = "10.0.0.53/24"
strings = [{ run = "python -m lunar.dns --zone example.org=example.org.zone --zone .=root.zone", background = true }]

[hosts.cache]
eth0 = ["10.0.0.54/24", "2001:db8::54/64"]

[[hosts.cache.strings]]
call = "lunar.dns.server:serve"
kwargs = { zones = { "lan" = { printer = "10.0.0.80" } }, forwarders = ["10.0.0.53"] }
background = true

[hosts.client]
CLIENT

[[links]]
ends = ["site", "ns", "cache", "client"]
delay = "1ms"
"""

BOTH = """
eth0 = ["10.0.0.2/24", "2001:db8::2/64"]
files = { "/etc/resolv.conf" = "nameserver 2001:db8::54\\nsearch example.org lan\\n" }
"""
FOUR = """
eth0 = "10.0.0.2/24"
files = { "/etc/resolv.conf" = "nameserver 10.0.0.54\\nsearch example.org lan\\n" }
"""


def visited(folder: Path, client: str, *strings: str) -> tuple[list[str], LiveTapestry]:
    """What the client's programs print."""
    files = {"site.py": SITE, "visit.py": VISIT, "blocking.py": BLOCKING, "example.org.zone": ZONE, "root.zone": ROOT}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    runs = "\n".join(f'[[hosts.client.strings]]\nrun = "{run}"\nstart = "{at + 1}s"' for at, run in enumerate(strings))
    file = folder / "names.toml"
    file.write_text(NETWORK.replace("CLIENT", client + runs), encoding="utf-8")
    with weaves.Output() as output:
        tapestry = load(file)
        tapestry.run_blocking()
        tapestry.close()
    assert output.text("ns", stream="err") == output.text("cache", stream="err") == ""
    return output.text("client").splitlines(), tapestry


@pytest.mark.parametrize(
    ("client", "name", "line"),
    [
        (BOTH, "www.example.org", "2001:db8::80 2001:db8::2"),
        (BOTH, "www", "2001:db8::80 2001:db8::2"),
        (BOTH, "mirror", "2001:db8::80 2001:db8::2"),
        (BOTH, "four", "10.0.0.80 10.0.0.2"),
        (BOTH, "printer", "10.0.0.80 10.0.0.2"),
        (FOUR, "www", "10.0.0.80 10.0.0.2"),
        (FOUR, "nobody", "gaierror [Errno -2] Name or service not known"),
        (FOUR, "site", "gaierror [Errno -2] Name or service not known"),
    ],
)
def test_a_client_finds_the_site_by_name(tmp_path: Path, client: str, name: str, line: str) -> None:
    assert visited(tmp_path, client, f"visit.py {name}")[0] == [f"{name} {line}"]


def test_blocking_programs_do_as_well(tmp_path: Path) -> None:
    lines, _ = visited(tmp_path, BOTH, "blocking.py www four six")
    assert lines == ["www 2001:db8::80 2001:db8::2", "four 10.0.0.80 10.0.0.2", "six 2001:db8::80 2001:db8::2"]


def test_runs_repeat(tmp_path: Path) -> None:
    digests = {visited(tmp_path, BOTH, "visit.py www four", "blocking.py mirror")[1].network.digest() for _ in "ab"}
    assert len(digests) == 1
