"""Memory of what has ended: restarts of a program, crashes and boots of a host. Resident memory and live objects.

    python benchmarks/lives.py [TIMES]        10,000 by default

The program that is started again fails in a task, with a server, a connection and a blocking flow open. The host that
crashes runs the same, and a client on another host has a connection to it.
"""

from __future__ import annotations

import gc
import pathlib
import sys
import tempfile
import time
from typing import Any

import weaves
from weaves.tapestry import parse

TAPESTRY = """
[tapestry]
on_error = "continue"
until = "{until}s"

[hosts.server]
eth0 = "10.0.0.2/24"
strings = [{{ run = "server.py {life}", background = true, restart = "on-failure" }}]

[hosts.client]
eth0 = "10.0.0.3/24"
strings = [{{ run = "client.py", background = true }}]

[[links]]
ends = ["server", "client"]
delay = "1ms"
"""

SERVER = """
import asyncio, sys, time
seen = []

async def answer(reader, writer):
    seen.append(writer)
    try:
        while data := await reader.read(1000):
            writer.write(data)
    except asyncio.CancelledError:
        pass  # asyncio's streams complain of a handler that ends by it
    finally:
        seen.clear()

async def numbers():
    try:
        while True:
            yield time.monotonic()
            await asyncio.sleep(0.1)
    finally:
        seen.append("numbers")

async def main(life):
    server = await asyncio.start_server(answer, "", 80)
    task = asyncio.create_task(asyncio.to_thread(time.sleep, 1000))
    begin = time.monotonic()
    async for now in numbers():
        if now - begin > life:
            raise LookupError(server, task)

asyncio.run(main(float(sys.argv[1])))
"""

CLIENT = """
import asyncio

async def main():
    while True:
        try:
            reader, writer = await asyncio.open_connection("server", 80)
            while True:
                writer.write(b"x")
                async with asyncio.timeout(0.2):
                    await reader.readexactly(1)
                await asyncio.sleep(0.1)
        except (OSError, EOFError, TimeoutError):
            await asyncio.sleep(0.05)

asyncio.run(main())
"""


def resident_kib() -> int:
    fields = pathlib.Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0])


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def report(what: str, times: int, live: weaves.LiveTapestry, period_s: float) -> None:
    """Run `live` in tenths of its length, and print what it holds after each."""
    network: Any = live.network
    print(f"{what}\n{'times':>8} {'resident':>12} {'objects':>10} {'wall':>8}")
    begin = time.perf_counter()
    for tenth in range(1, 11):
        network.run(until=tenth * times * period_s / 10)
        wall_s = time.perf_counter() - begin
        print(f"{tenth * times // 10:>8,} {resident_kib():>8,} KiB {objects():>10,} {wall_s:>6.1f} s", flush=True)
    live.close()


def main() -> None:
    times = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 10_000
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "server.py").write_text(SERVER)
    (folder / "client.py").write_text(CLIENT)
    # It fails 0.4 s after its start or somewhat later, and is dead for a second.
    live = weaves.load(parse(TAPESTRY.format(until=times * 1.5, life="0.35"), folder / "restarts.toml"))
    live.supervisor.on_failure = lambda string: None
    report("restarts of a program", times, live, 1.4)

    live = weaves.load(parse(TAPESTRY.format(until=times, life="1000"), folder / "crashes.toml"))
    network: Any = live.network
    server = network.hosts["server"]

    def cycle() -> None:
        server.crash()
        server.boot()
        network.at(network.now + 1, cycle)

    network.at(1, cycle)
    report("crashes and boots of a host", times, live, 1)


if __name__ == "__main__":
    main()
