"""Many hosts: seconds to load and run, and resident memory; and what idle hosts cost the others.

    python benchmarks/hosts.py [HOSTS]        10,000 by default

Each host has a stack of its own and one UDP string, which sends a datagram to its neighbour and waits for one. The
second part runs the same traffic between two hosts without and with that many idle ones, in turn.
"""

from __future__ import annotations

import asyncio
import pathlib
import socket
import sys
import tempfile
import time

import turns

TAPESTRY = """
[tapestry]
name = "many"

[hosts.node]
count = {count}
eth0 = "10.{{i // 60000}}.{{i % 60000 + 2}}/8"
strings = [{{ call = "{module}:neighbour", args = ["{next}"] }}]

[[links]]
ends = ["node"]
rate = "1gbit"
delay = "1ms"
"""

# The address of the next host, round the ring; a template of the tapestry's.
NEXT = "10.{{(i + 1) % {count} // 60000}}.{{(i + 1) % {count} % 60000 + 2}}"

DATAGRAMS = 20_000


class Once(asyncio.DatagramProtocol):
    """Completes `got` with the first datagram."""

    def __init__(self) -> None:
        self.got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.got.done():
            self.got.set_result(data)


async def neighbour(address: str) -> None:
    """The string of each host."""
    # "10.1.513", as in the tapestry, is 10.1.2.1 (inet_aton(3)).
    dotted = socket.inet_ntoa(socket.inet_aton(address))
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Once, ("0.0.0.0", 9))
    await asyncio.sleep(0.01)  # until all are there
    transport.sendto(b"hello", (dotted, 9))
    assert await protocol.got == b"hello"
    transport.close()


def resident_mib() -> float:
    """The resident memory of this process."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS in /proc/self/status")


def many(count: int) -> None:
    import weaves

    print(f"{count:,} hosts with one UDP string each", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "many.toml"
        here = pathlib.Path(__file__)
        (pathlib.Path(folder) / here.name).symlink_to(here)
        path.write_text(TAPESTRY.format(count=count, module=here.stem, next=NEXT.format(count=count)))
        before, started = resident_mib(), time.perf_counter()
        tapestry = weaves.load(path)
        loaded = time.perf_counter()
        memory_loaded = resident_mib()
        tapestry.run_blocking()
        from weaves.realtime import perf_counter

        ended, memory_run = perf_counter(), resident_mib()
        assert tapestry.ok
        ended_well = sum(string.state == "ended" for string in tapestry.supervisor.strings)
        tapestry.close()
    assert ended_well == count, f"{ended_well} of {count} strings ended well"
    kib = (memory_run - before) * 1024 / count
    print(f"  loaded in {loaded - started:.2f} s, run in {ended - loaded:.2f} s")
    print(f"  resident {before:.0f} MiB before, {memory_loaded:.0f} MiB loaded, {memory_run:.0f} MiB after the run")
    print(f"  {kib:.1f} KiB and {(ended - started) / count * 1e6:.0f} microseconds a host\n", flush=True)


class Bounce(asyncio.DatagramProtocol):
    """Sends each datagram back, `count` times."""

    def __init__(self, count: int = 1 << 60) -> None:
        self.left = count
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.left -= 1
        if self.left:
            self.transport.sendto(data, addr)
        else:
            self.done.set_result(None)


async def bounce_server() -> None:
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Bounce, ("0.0.0.0", 7))
    await protocol.done


async def bounce_client(count: int) -> None:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Bounce(count), ("0.0.0.0", 7)
    )
    transport.sendto(b"x", ("10.255.0.1", 7))
    await protocol.done
    transport.close()


def beside_idle(count: int) -> float:
    """Datagrams a second between two hosts while `count` others are idle."""
    import lunar
    from weaves.realtime import perf_counter

    with lunar.Network(seed=1) as net:
        server, client = net.host("server", "10.255.0.1/24"), net.host("client", "10.255.0.2/24")
        net.link(server, client, delay="50us")
        idle = [net.host(f"idle-{n}", f"10.{n // 60000}.{n // 250 % 240}.{n % 250 + 1}/8") for n in range(count)]
        if idle:
            net.link(*idle, delay="1ms")
        net.start(server, bounce_server, background=True)
        net.run(bounce_client, DATAGRAMS // 10, on=client)
        started = perf_counter()
        net.run(bounce_client, DATAGRAMS, on=client)
        return DATAGRAMS / (perf_counter() - started)


def main() -> None:
    if sys.argv[1:] and sys.argv[1].startswith("--idle="):
        print(beside_idle(int(sys.argv[1].partition("=")[2])))
        return
    count = int(sys.argv[1]) if sys.argv[1:] else 10_000
    many(count)
    me = [sys.executable, __file__]
    turns.compare(
        "UDP round trips between two hosts",
        "datagrams/s",
        {f"beside {count:,} idle hosts": [*me, f"--idle={count}"], "alone": [*me, "--idle=0"]},
        rounds=3,
        goal=None,
    )


if __name__ == "__main__":
    main()
