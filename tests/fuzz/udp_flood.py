"""A flood of datagrams at UDP links, while transfers go over them: `python -m tests.fuzz.udp_flood --count 1000000`.

Two networks in real time are joined through somebody in the middle, who carries their datagrams, and besides sends
each side what he likes: from the address of its peer, and from others. Without a key these are bytes by chance, many
behind a right Ethernet header, because who may write into such a link may write frames. With one (--key) they are
besides what was seen on the way: again, changed, cut short, and sent back.

Nothing is raised, each datagram is counted, no descriptor or memory is left over, and each transfer arrives as it was
sent (SHA-256); exit status 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import hashlib
import os
import random
import resource
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import attrs

import lunar
from lunar.outside.udp_link import UdpLink

_KEY: Final = "a text of many letters"
_TRANSFER_BYTES: Final = 100_000
_BURST: Final = 32
_RECORDED: Final = 500
_STRANGERS: Final = 16
# So much more memory than when two tenths were done is no leak. In kB.
MEMORY_SLACK_KB: Final = 16_000
_ETHERTYPES: Final = (b"\x08\x00", b"\x08\x06", b"\x86\xdd")
# The beginnings of an IPv4 and of an IPv6 header, and of an ARP message.
_STARTS: Final = (b"\x45\x00", b"\x60\x00", b"\x00\x01\x08\x00\x06\x04\x00", b"")


@attrs.frozen
class Flooded:
    """What came of it. `problems` are told in words."""

    sent: int
    transfers: int
    figures: tuple[dict[str, Any], ...]
    memory_kb: tuple[int, int]
    seconds: float
    problems: tuple[str, ...]


class Middle:
    """Stands between two links: the ports that they take for their peers' are his."""

    def __init__(self, rng: random.Random, keyed: bool) -> None:
        self._rng = rng
        self._keyed = keyed
        self.sockets = [_bound() for _ in range(2)]  # towards each side
        self.strangers = [_bound() for _ in range(_STRANGERS)]
        self.sides: list[tuple[str, int]] = []
        self.macs: list[bytes] = []
        self.carried = [0, 0]  # to each side
        self.forged = [0, 0]
        self.foreign = [0, 0]
        self._recorded: list[list[bytes]] = [[], []]

    def carry(self, to: int) -> None:
        """Carry what the other side has sent."""
        for _ in range(64):
            try:
                data = self.sockets[1 - to].recv(65_536)
            except (BlockingIOError, ConnectionRefusedError):
                return
            recorded = self._recorded[to]
            if self._keyed and len(recorded) < _RECORDED:
                recorded.append(data)
            elif self._keyed:
                recorded[self._rng.randrange(_RECORDED)] = data
            if self._sent(self.sockets[to], data, to):
                self.carried[to] += 1

    def flood(self, to: int) -> int:
        """Send a burst of what nobody should; how many."""
        rng = self._rng
        for _ in range(_BURST):
            data = self._nonsense(to)
            if rng.random() < 0.5:
                self.foreign[to] += self._sent(rng.choice(self.strangers), data, to)
            else:
                self.forged[to] += self._sent(self.sockets[to], data, to)
        return _BURST

    def _sent(self, sock: socket.socket, data: bytes, to: int) -> bool:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            sock.sendto(data, self.sides[to])
            return True
        return False

    def _nonsense(self, to: int) -> bytes:
        rng = self._rng
        if self._keyed and rng.random() < 0.5 and self._recorded[to]:
            return self._seen(to)
        size = rng.choice((0, 1, 13, 14, rng.randrange(80), rng.randrange(1600), rng.randrange(1600)))
        if rng.random() < 0.01:
            size = rng.randrange(65_508)
        data = rng.randbytes(size)
        if rng.random() < 0.7:
            target = rng.choice((self.macs[to], self.macs[to], b"\xff" * 6, b"\x01\x00\x5e\x00\x00\x01"))
            data = target + rng.randbytes(6) + rng.choice(_ETHERTYPES) + rng.choice(_STARTS) + data[:1400]
        return data

    def _seen(self, to: int) -> bytes:
        """A datagram that was carried: again, changed, cut short, longer, or to who has sent it."""
        rng = self._rng
        data = rng.choice(self._recorded[to])
        what = rng.randrange(5)
        if what == 1:
            changed = bytearray(data)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            return bytes(changed)
        if what == 2:
            return data[: rng.randrange(len(data))]
        if what == 3:
            return (data + rng.randbytes(rng.randrange(1, 100)))[:65_507]
        if what == 4 and self._recorded[1 - to]:
            return rng.choice(self._recorded[1 - to])
        return data

    def close(self) -> None:
        for sock in (*self.sockets, *self.strangers):
            sock.close()


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setblocking(False)
    return sock


def memory_kb() -> int:
    """What the process has in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def descriptors() -> int:
    """How many descriptors the process has open."""
    return len(os.listdir("/proc/self/fd"))


async def _serve() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest = hashlib.sha256()
        while data := await reader.read(65536):
            digest.update(data)
        writer.write(digest.digest())
        writer.close()

    async with await asyncio.start_server(answer, "0.0.0.0", 80) as server:
        await server.serve_forever()


async def _transfer(enough: Callable[[], bool], results: list[bool], seed: int) -> None:
    """Send and compare until it is enough, and once at least: whether each transfer was intact goes to `results`.

    The run goes on until it is cancelled, so that whatever still comes is let in.
    """
    rng = random.Random(seed)
    while not results or not enough():
        data = rng.randbytes(_TRANSFER_BYTES)
        try:
            reader, writer = await asyncio.open_connection("10.0.0.1", 80)
        except OSError:
            continue  # the other side is not there yet, or a request for its address was lost
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        results.append(answer == hashlib.sha256(data).digest())
    await asyncio.Event().wait()


async def _flood(count: int, seed: int, keyed: bool, tell: Callable[[str], None]) -> Flooded:
    loop = asyncio.get_running_loop()
    problems: list[str] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(f"in the loop: {context}"))
    middle = Middle(random.Random(seed), keyed)
    ports = [_port() for _ in range(2)]
    nets = [lunar.Network(seed, clock="real") for _ in range(2)]
    links: list[UdpLink] = []
    for number, (net, name) in enumerate(zip(nets, ("server", "client"), strict=True)):
        host = net.host(name, f"10.0.0.{number + 1}/24")
        remote = middle.sockets[number].getsockname()
        links.append(
            net.udp_link(host, local=ports[number], remote=f"127.0.0.1:{remote[1]}", key=_KEY if keyed else None)
        )
        middle.sides.append(("127.0.0.1", ports[number]))
        middle.macs.append(int(host.devices["eth0"].mac).to_bytes(6, "big"))
        loop.add_reader(middle.sockets[1 - number].fileno(), middle.carry, number)
    began = time.monotonic()
    sent = 0
    memory: list[tuple[int, int]] = []
    over = False
    results: list[bool] = []
    server, client = nets[0].hosts["server"], nets[1].hosts["client"]
    serving = asyncio.ensure_future(nets[0].run_async(_serve, on=server))
    sending = asyncio.ensure_future(nets[1].run_async(_transfer, lambda: over, results, seed, on=client))
    try:
        while not all(link.socket.opened for link in links):
            await asyncio.sleep(0)
        while sent < count and not serving.done() and not sending.done():
            sent += middle.flood(0) + middle.flood(1)
            if sent >= (1 + len(memory)) * count // 10:
                gc.collect()
                memory.append((memory_kb(), descriptors()))
                tell(f"{sent} datagrams, {memory[-1][0]} kB, {memory[-1][1]} descriptors")
            await asyncio.sleep(0)
        over = True
        done = len(results)
        while len(results) == done and not serving.done() and not sending.done():
            await asyncio.sleep(0)
        # What is left in the sockets is let in, so that everything is counted.
        for number in range(2):
            loop.remove_reader(middle.sockets[number].fileno())
        while any(link.socket.waiting for link in links) and not serving.done() and not sending.done():
            await asyncio.sleep(0)
        if not all(results):
            problems.append(f"{results.count(False)} of {len(results)} transfers were not intact")
    finally:
        sending.cancel()
        serving.cancel()
        for one in (sending, serving):
            with contextlib.suppress(asyncio.CancelledError):
                await one
        for net in nets:
            net.close()
        middle.close()
    figures = tuple(link.figures() for link in links)
    problems += [problem for to in range(2) for problem in _uncounted(middle, to, figures[to])]
    (early_kb, early_open), (late_kb, late_open) = memory[1], memory[-1]
    if late_kb > early_kb + MEMORY_SLACK_KB:
        problems.append(f"memory grew from {early_kb} kB to {late_kb} kB")
    if late_open != early_open:
        problems.append(f"there were {early_open} descriptors, then {late_open}")
    seconds = time.monotonic() - began
    return Flooded(sent, len(results), figures, (early_kb, late_kb), seconds, tuple(problems))


def _uncounted(middle: Middle, to: int, figures: dict[str, Any]) -> list[str]:
    """What is wrong with the figures of a side: each datagram has come to one end."""
    problems = []
    from_peer = figures["datagrams_in"] + figures["no_room_in"] + figures["early"]
    if from_peer != middle.carried[to] + middle.forged[to]:
        problems.append(f"{figures['name']}: {middle.carried[to]} + {middle.forged[to]} sent, {from_peer} counted")
    if figures["foreign"] != middle.foreign[to]:
        problems.append(f"{figures['name']}: {middle.foreign[to]} of strangers, {figures['foreign']} counted")
    ends = ("frames_in", "short", "long", "bad_tag", "replayed", "greetings")
    if sum(figures[end] for end in ends) != figures["datagrams_in"]:
        problems.append(f"{figures['name']}: not every datagram has come to an end: {figures}")
    return problems


def _port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def flood(count: int, seed: int = 1, keyed: bool = False, tell: Callable[[str], None] = lambda _text: None) -> Flooded:
    """Send `count` datagrams, at the links of both sides together."""
    return asyncio.run(_flood(count, seed, keyed, tell))


def main() -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="how many datagrams")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--key", action="store_true", help="at links that have a key")
    arguments = parser.parse_args()
    found = flood(arguments.count, arguments.seed, arguments.key, lambda text: print(text, flush=True))
    for figures in found.figures:
        print({name: figure for name, figure in figures.items() if figure})
    print(f"{found.sent} datagrams, {found.transfers} transfers intact, {found.seconds:.0f} s")
    for problem in found.problems:
        print(problem)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
