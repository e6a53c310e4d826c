"""The sides of the comparison: how the two ends of a batch are started, and the kernel's loopback made fit for them.

Without Lunar the ends are in a network namespace of their own, whose lo has the batch's MTU and rate. `htb` with a
class for each direction sends at the rate, Ethernet headers counted, as our links do; acknowledgements have a rate of
their own, as with ours. tbf alone would be simpler, but lo has one queue for both directions.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Final

from experiments import OFFLOADED, WITH, WITH_OFFLOADS, Batch
from program import PORT

from lunar.kernel.namespace import Namespace

_END: Final = Path(__file__).with_name("end.py")
# What the class of a direction may send at once. Less than the machine's timers are late costs rate, more is a gift.
_BURST_BYTES: Final = {"100mbit": 10_000, "1gbit": 32_000}
_QUEUE_PACKETS: Final = 100_000
_QUANTUM_BYTES: Final = 60_000  # by default tc takes one from the rate, and the kernel's log says that it is big
# The longest that anything may take: what a cell takes at 100 Mbit/s, many times over.
_PATIENCE_S: Final = 60


class Failed(RuntimeError):
    """An end did not do its part. The message has what it said."""


def measure(side: str, batch: Batch) -> Iterator[float]:
    """The seconds of each cell of the batch, in order, as they come. Raises `KernelUnavailable` and `Failed`."""
    if side in (WITH, WITH_OFFLOADS):
        yield from _run(side, batch, nullcontext())
        return
    namespace = loopback(batch, offloads=side == OFFLOADED)
    try:
        yield from _run(side, batch, namespace)
    finally:
        namespace.close()


def loopback(batch: Batch, offloads: bool) -> Namespace:
    """A namespace whose lo has the batch's MTU and rate."""
    made = Namespace()
    made.command("ip", "link", "set", "lo", "mtu", str(batch.mtu))
    if not offloads:
        made.command("ethtool", "-K", "lo", "tso", "off", "gso", "off", "gro", "off")
    if batch.rate:
        burst = str(_BURST_BYTES[batch.rate])
        tc = ("tc", "qdisc", "add", "dev", "lo")
        made.command(*tc, "root", "handle", "1:", "htb", "default", "2")
        for number in ("1:1", "1:2"):
            made.command(
                "tc", "class", "add", "dev", "lo", "parent", "1:", "classid", number, "htb", "rate", batch.rate,
                "burst", burst, "cburst", burst, "quantum", str(_QUANTUM_BYTES),
            )
            made.command(*tc, "parent", number, "pfifo", "limit", str(_QUEUE_PACKETS))
        made.command(
            "tc", "filter", "add", "dev", "lo", "parent", "1:", "protocol", "ip", "u32",
            "match", "ip", "dport", str(PORT), "0xffff", "flowid", "1:1",
        )
    return made


def _run(side: str, batch: Batch, place: AbstractContextManager[object]) -> Iterator[float]:
    ports = _free_ports()
    with ExitStack() as ends:
        with place:
            server = ends.enter_context(_End(side, "server", batch, ports))
        if server.says() != "listening":
            raise Failed(server.last_words())
        with place:
            client = ends.enter_context(_End(side, "client", batch, ports))
        for _ in batch.cells:
            line = client.says()
            if not line:
                raise Failed(client.last_words())
            yield float(line)
        if client.says() or not client.has_ended_well():
            raise Failed(client.last_words())


class _End:
    """The process of an end. It does not survive the context."""

    def __init__(self, side: str, role: str, batch: Batch, ports: tuple[int, int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_END), side, role, ",".join(map(str, ports)), batch.text()],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # Ctrl-C is for the benchmark, which ends them.
            start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> _End:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def says(self) -> str:
        """The next line of it; "" at its end, or when it has said nothing for too long."""
        assert self._process.stdout is not None, "it is a pipe"
        timer = threading.Timer(_PATIENCE_S, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            timer.cancel()

    def has_ended_well(self) -> bool:
        """After it has said its last: whether it has no error to tell."""
        return self._process.wait() == 0

    def last_words(self) -> str:
        """What it said last to stderr, after its end."""
        self._process.kill()
        _, said = self._process.communicate()
        return (said.strip().splitlines() or ["an end stopped without a word"])[-1]


def _free_ports() -> tuple[int, int]:
    """Two UDP ports of the loopback that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as a, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
        for each in (a, b):
            each.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]
