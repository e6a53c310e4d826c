"""[hosts] is short hand: what it says and what its expansion says is the same run, with the same digest."""

from __future__ import annotations

from pathlib import Path

import weaves
from weaves.loader import load

PROGRAMS = {
    "server.py": """
import asyncio, random, sys
async def answer(reader, writer):
    while line := await reader.readline():
        writer.write(line.strip().upper() * random.randint(1, 50) + b"\\n")
    writer.close()
async def main():
    async with await asyncio.start_server(answer, port=int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
""",
    "client.py": """
import asyncio, random
asked = []
async def ask(name, times):
    reader, writer = await asyncio.open_connection("www", 80)
    for number in range(times):
        asked.append(number)
        writer.write(f"{name} {number}\\n".encode())
        line = await reader.readline()
        await asyncio.sleep(random.random())
    writer.write_eof()
    assert await reader.read() == b""  # the server has ended this, too
    writer.close()
    print(name, len(asked), len(line), line[:10].decode())
""",
}

LINK = """
[[links]]
ends = ["server", "client"]
rate = "1mbit"
delay = "10ms"
loss = "5%"
"""

SHORT = f"""
[hosts.server]
eth0 = "10.0.0.1/24"
names = ["www"]
net = "sysctl -w net.ipv4.ip_default_ttl=33"
strings = [{{ run = "server.py 80", background = true }}]

[hosts.client]
eth0 = "10.0.0.2/24"
strings = [
  {{ call = "client:ask", args = ["first", 20], start = "10ms" }},
  {{ call = "client:ask", kwargs = {{ name = "second", times = 30 }}, name = "other", on_error = "continue" }},
]
{LINK}"""

EXPLICIT = f"""
[modules.server]
run = "server.py"
[modules.client]
module = "client"

[[beads]]
name = "server"
module = "lunar"
eth0 = "10.0.0.1/24"
names = ["www"]
net = "sysctl -w net.ipv4.ip_default_ttl=33"
[[beads]]
name = "client"
module = "lunar"
eth0 = "10.0.0.2/24"
[[beads]]
name = "server-bead"
module = "server"
[[beads]]
name = "client-bead"
module = "client"
count = 2

[[weaves]]
name = "server"
beads = ["server-bead", "server"]
strings = [{{ args = "80", background = true }}]
[[weaves]]
name = "ask"
beads = ["client-bead-0", "client"]
strings = [{{ call = "client:ask", args = ["first", 20], start = "10ms" }}]
[[weaves]]
name = "other"
beads = ["client-bead-1", "client"]
on_error = "continue"
strings = [{{ call = "client:ask", kwargs = {{ name = "second", times = 30 }} }}]
{LINK}"""


def run(folder: Path, text: str) -> tuple[str, str]:
    """What the programs print, and the digest."""
    for name, program in PROGRAMS.items():
        (folder / name).write_text(program)
    (folder / "site.toml").write_text(text)
    live = load(folder / "site.toml")
    with weaves.Output() as output:
        live.run_blocking()
    assert live.ok
    digest = live.network.digest()
    live.close()
    return output.text("client"), digest


def test_both_notations_are_one_run(tmp_path: Path) -> None:
    printed, digest = run(tmp_path, SHORT)
    assert [line.split()[:2] for line in printed.splitlines()] == [["first", "20"], ["second", "30"]]
    assert "FIRST 19" in printed
    assert "SECOND 29" in printed
    assert run(tmp_path, EXPLICIT) == (printed, digest)


def test_the_digest_tells_a_difference(tmp_path: Path) -> None:
    assert run(tmp_path, EXPLICIT) != run(tmp_path, EXPLICIT.replace('name = "other"', 'name = "another"'))


def test_weaves_that_share_a_bead_differ_from_those_that_do_not(tmp_path: Path) -> None:
    shared = EXPLICIT.replace('"client-bead-1", ', '"client-bead-0", ')
    printed, _ = run(tmp_path, shared)
    # `asked` of the module is one list for both.
    assert printed.splitlines()[-1].startswith("second 50 ")
