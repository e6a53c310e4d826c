"""A flood of frames at a TAP device, while transfers go over it: `python -m tests.fuzz.tap_flood --count 1000000`.

A virtual server is a neighbour of the machine's kernel, in a namespace that this program makes. A packet socket there
sends what it likes: bytes by chance, short and long, with foreign types and VLAN tags, behind right Ethernet headers
and right IP headers, and what it has seen of the transfers, again, changed and cut. The kernel's own sockets send to
the server meanwhile.

Nothing is raised, each frame that the kernel has sent is counted, no descriptor or memory is left over, and each
transfer arrives as it was sent (SHA-256); exit status 1 if not.
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
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import attrs

import lunar
from lunar.kernel.namespace import KernelUnavailable, Namespace

# How long the server waits for what a client sends next, in seconds.
_IDLE_S: Final = 5
_TRANSFER_BYTES: Final = 100_000
_BURST: Final = 32
_RECORDED: Final = 500
_MTU: Final = 1500
# So much more memory than when half was done is no leak: until then tables fill that have bounds (fragments,
# neighbours, connections in TIME-WAIT). In kB.
MEMORY_SLACK_KB: Final = 16_000
_ETH_P_ALL: Final = 3
_SERVER, _KERNEL = "10.9.0.1", "10.9.0.2"
_SERVER6: Final = "2001:db8::1"
_ETHERTYPES: Final = (b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00", b"\x88\xa8", b"\x00\x2e", b"\x88\xcc")
# The beginnings of an IPv4 and of an IPv6 header, of an ARP message, and of what follows a VLAN tag.
_STARTS: Final = (b"\x45\x00", b"\x60\x00", b"\x00\x01\x08\x00\x06\x04\x00", b"\x00\x05\x08\x00\x45", b"")


@attrs.frozen
class Flooded:
    """What came of it. `problems` are told in words."""

    sent: int
    transfers: int
    figures: dict[str, Any]
    memory_kb: tuple[int, int]
    seconds: float
    problems: tuple[str, ...]


class Flooder:
    """Sends frames by the kernel's device `name` to the hardware address `mac`."""

    def __init__(self, rng: random.Random, namespace: Namespace, name: str, mac: bytes) -> None:
        self._rng = rng
        self._mac = mac
        with namespace:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self.socket.bind((name, _ETH_P_ALL))
        self.socket.setblocking(False)
        self._seen: list[bytes] = []
        self._kinds = (self._noise, self._headed, self._tagged, self._packet, self._packet6, self._changed)

    def watch(self) -> None:
        """Keep some of what goes by. Not ARP: who may forge that ends a transfer by it, on a real network too."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(2 * _BURST):
                data = self.socket.recv(65_536)
                if data[12:14] != b"\x08\x06" and data[6:12] != self._mac:
                    self._seen.append(data)
        del self._seen[:-_RECORDED]

    def flood(self) -> int:
        """Send a burst; how many the kernel took."""
        rng = self._rng
        sent = 0
        for _ in range(_BURST):
            data = rng.choice(self._kinds)()
            try:
                self.socket.send(data)
                sent += 1
            except OSError:  # of a size that the kernel does not send, or no room
                continue
        return sent

    def _target(self) -> bytes:
        group = self._rng.choice((b"\xff" * 6, b"\x01\x00\x5e\x00\x00\x01", b"\x33\x33\x00\x00\x00\x01"))
        return self._rng.choice((self._mac, self._mac, group, self._rng.randbytes(6)))

    def _noise(self) -> bytes:
        rng = self._rng
        return rng.randbytes(rng.choice((14, 15, rng.randrange(14, 80), rng.randrange(14, _MTU + 14), _MTU + 14)))

    def _headed(self) -> bytes:
        rng = self._rng
        body = rng.choice(_STARTS) + rng.randbytes(rng.randrange(1400))
        return self._target() + rng.randbytes(6) + rng.choice(_ETHERTYPES) + body

    def _tagged(self) -> bytes:
        rng = self._rng
        tag = rng.choice((b"\x81\x00", b"\x88\xa8")) + rng.randbytes(2)
        return self._target() + rng.randbytes(6) + tag * rng.randrange(1, 3) + self._packet()[12:]

    def _packet(self) -> bytes:
        """A right IPv4 header, with anything behind it."""
        rng = self._rng
        body = rng.randbytes(rng.randrange(1400))
        protocol = rng.choice((1, 2, 6, 17, 17, 41, 132, rng.randrange(256)))
        if protocol == 17 and len(body) >= 8 and rng.random() < 0.5:
            body = struct.pack(">HHHH", rng.randrange(65536), rng.randrange(65536), len(body), 0) + body[8:]
        fragment = rng.choice((0, 0, 0x4000, rng.randrange(65536)))
        source = rng.choice((socket.inet_aton("10.9.0.77"), rng.randbytes(4)))
        target = rng.choice((socket.inet_aton(_SERVER), socket.inet_aton("10.9.0.255"), rng.randbytes(4)))
        head = struct.pack(
            ">BBHHHBBH4s4s", 0x45, rng.randrange(256), 20 + len(body), rng.randrange(65536), fragment,
            rng.randrange(1, 256), protocol, 0, source, target,
        )
        total = sum(struct.unpack(">10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        checksum = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
        head = head[:10] + checksum.to_bytes(2, "big") + head[12:]
        return self._target() + rng.randbytes(6) + b"\x08\x00" + head + body

    def _packet6(self) -> bytes:
        """The same of IPv6, some with extension headers by chance."""
        rng = self._rng
        body = rng.randbytes(rng.randrange(1400))
        kind = rng.choice((0, 6, 17, 43, 44, 58, 60, rng.randrange(256)))
        source = rng.choice((socket.inet_pton(socket.AF_INET6, "2001:db8::77"), rng.randbytes(16)))
        target = rng.choice((socket.inet_pton(socket.AF_INET6, _SERVER6), b"\xff\x02" + bytes(13) + b"\x01"))
        head = struct.pack(">IHBB", 0x6000_0000 | rng.randrange(1 << 28), len(body), kind, rng.choice((64, 255, 1)))
        return self._target() + rng.randbytes(6) + b"\x86\xdd" + head + source + target + body

    def _changed(self) -> bytes:
        """A frame of a transfer: again, changed, cut short, longer."""
        rng = self._rng
        if not self._seen:
            return self._noise()
        data = rng.choice(self._seen)
        what = rng.randrange(4)
        if what == 0:
            changed = bytearray(data)
            changed[rng.randrange(14, len(changed))] ^= 1 << rng.randrange(8)
            return bytes(changed)
        if what == 1:
            return data[: rng.randrange(14, len(data))]
        if what == 2:
            return (data + rng.randbytes(rng.randrange(1, 100)))[: _MTU + 14]
        return data


def memory_kb() -> int:
    """What the process has in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def descriptors() -> int:
    """How many descriptors the process has open, without those of connections that come and go."""
    return len(os.listdir("/proc/self/fd"))


async def _serve() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest = hashlib.sha256()
        # The flood opens connections, too: by what it has seen of a handshake, which SYN cookies believe. The kernel
        # knows nothing of them: it resets one that is spoken to, and leaves the others to wait.
        try:
            while data := await asyncio.wait_for(reader.read(65536), _IDLE_S):
                digest.update(data)
        except (ConnectionResetError, TimeoutError):
            writer.transport.abort()
            return
        writer.write(digest.digest())
        writer.close()

    async with await asyncio.start_server(answer, "0.0.0.0", 80) as server:
        await server.serve_forever()


async def _transfer(namespace: Namespace, results: list[bool], seed: int) -> None:
    """The kernel's side: send and compare, again and again."""
    rng = random.Random(seed)
    loop = asyncio.get_running_loop()
    while True:
        data = rng.randbytes(_TRANSFER_BYTES)
        with namespace:
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            await loop.sock_connect(made, (_SERVER, 80))
        except OSError:
            made.close()
            await asyncio.sleep(0)
            continue  # the server is not there yet
        reader, writer = await asyncio.open_connection(sock=made)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        results.append(answer == hashlib.sha256(data).digest())


async def _flood(count: int, seed: int, tell: Callable[[str], None]) -> Flooded:
    loop = asyncio.get_running_loop()
    problems: list[str] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(f"in the loop: {context}"))
    namespace = Namespace()
    net = lunar.Network(seed, clock="real")
    server = net.host("server")
    end = net.tap(
        server, f"{_SERVER}/24", f"{_SERVER6}/64", kernel=[f"{_KERNEL}/24", "2001:db8::2/64"], netns=namespace, mtu=_MTU
    )
    # Connections that have ended are kept for a minute or two, longer than most runs: memory would only grow.
    server.sh("sysctl -w net.ipv4.tcp_max_tw_buckets=256 net.ipv4.tcp_orphan_retries=1")
    began = time.monotonic()
    sent = 0
    memory: list[tuple[int, int]] = []
    results: list[bool] = []
    serving = asyncio.ensure_future(net.run_async(_serve, on=server))
    sending: asyncio.Task[None] | None = None
    flooder: Flooder | None = None
    try:
        while not end.is_open and not serving.done():
            await asyncio.sleep(0)
        flooder = Flooder(random.Random(seed), namespace, "tap0", int(server.devices["tap0"].mac).to_bytes(6, "big"))
        sending = asyncio.ensure_future(_transfer(namespace, results, seed))
        while sent < count and not serving.done() and not sending.done():
            flooder.watch()
            sent += flooder.flood()
            if sent >= (1 + len(memory)) * count // 10:
                gc.collect()
                memory.append((memory_kb(), descriptors()))
                tell(f"{sent} frames, {memory[-1][0]} kB, {memory[-1][1]} descriptors")
            await asyncio.sleep(0)
        done = len(results)
        while len(results) == done and not serving.done() and not sending.done():
            await asyncio.sleep(0)
        sending.cancel()
        # What still waits in the device is let in, so that everything is counted.
        while end.received + end.oversized < _sent_by(namespace) and not serving.done():
            await asyncio.sleep(0)
        if end.received + end.oversized < sent:
            problems.append(f"{sent} frames sent, {end.received} + {end.oversized} counted")
        if not all(results):
            problems.append(f"{results.count(False)} of {len(results)} transfers were not intact")
    finally:
        serving.cancel()
        for one in (serving, sending):
            if one is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await one
        net.close()
        if flooder is not None:
            flooder.socket.close()
        namespace.close()
    (early_kb, early_open), (late_kb, late_open) = memory[len(memory) // 2], memory[-1]
    if late_kb > early_kb + MEMORY_SLACK_KB:
        problems.append(f"memory grew from {early_kb} kB to {late_kb} kB")
    if abs(late_open - early_open) > 1:  # a connection may be between two transfers
        problems.append(f"there were {early_open} descriptors, then {late_open}")
    seconds = time.monotonic() - began
    return Flooded(sent, len(results), end.figures(), (early_kb, late_kb), seconds, tuple(problems))


def _sent_by(namespace: Namespace) -> int:
    """How many frames the kernel's device has handed over, by its own count."""
    with namespace, open("/proc/thread-self/net/dev") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name.strip() == "tap0":
                return int(rest.split()[9])
    return 0


def flood(count: int, seed: int = 1, tell: Callable[[str], None] = lambda _text: None) -> Flooded:
    """Send `count` frames. Raises `KernelUnavailable` where the machine has no namespaces or TAP devices for us."""
    return asyncio.run(_flood(count, seed, tell))


def main() -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="how many frames")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    arguments = parser.parse_args()
    try:
        found = flood(arguments.count, arguments.seed, lambda text: print(text, flush=True))
    except KernelUnavailable as error:
        print(f"the flood at a TAP is left out: {error}")
        return 0
    print({name: figure for name, figure in found.figures.items() if figure})
    print(f"{found.sent} frames, {found.transfers} transfers, {found.seconds:.0f} s")
    for problem in found.problems:
        print(problem)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
