"""Kernel to kernel: two namespaces, a pair of TAP devices for each connection, our links between them in real time.

A process of its own runs the programs, a thread for each end of each connection; this one carries the frames.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Final

import transfer
from cells import SYSCTLS, Run
from forwarder import Forwarder

from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.links.impairments import RandomLoss

# A connection takes its time to be accepted, and a process to start.
_GRACE_S: Final = 30


class KernelSide:
    """Measures batches of runs on the machine's kernel. Raises `KernelUnavailable` where that is not possible."""

    def __init__(self) -> None:
        self.late_us: Counter[int] = Counter()
        self.refused = 0

    def measure(self, batch: list[Run]) -> list[float]:
        """The goodput of each run in bits a second; all go on at once."""
        with _ends() as (sending, receiving):
            forwarder = Forwarder()
            devices: list[TunDevice] = []
            try:
                for number, run in enumerate(batch):
                    pair = _tap(sending, number, 1), _tap(receiving, number, 2)
                    devices += pair
                    cell = run.cell
                    losses = tuple(RandomLoss(cell.loss, each) for each in run.generators()) if cell.loss else ()
                    forwarder.join(*pair, cell.rate_bps, cell.delay_ns, cell.queue_packets, losses)
                return self._run(forwarder, batch, sending, receiving)
            finally:
                forwarder.close()
                for device in devices:
                    device.close()

    def punctuality(self) -> str:
        """How late the frames left their links, which is what the machine adds to the measurement."""
        frames = self.late_us.total()
        if not frames:
            return "no frames"
        median, most, all_ = (self._late(share) for share in (0.5, 0.999, 1.0))
        return (
            f"{frames:,} frames left late by {median:,} microseconds in the median, {most:,} in 999 of 1,000, "
            f"{all_:,} at most; {self.refused} were refused by a device"
        )

    def _late(self, share: float) -> int:
        """By how many microseconds this share of the frames was late at most."""
        left = share * self.late_us.total()
        for late_us in sorted(self.late_us):
            left -= self.late_us[late_us]
            if left <= 0:
                return late_us
        return max(self.late_us)

    def _run(self, forwarder: Forwarder, batch: list[Run], sending: Namespace, receiving: Namespace) -> list[float]:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=_programs, args=(theirs, batch, sending, receiving), daemon=True
        )
        process.start()
        theirs.close()
        try:
            with _on_time():
                forwarder.run(ours.fileno())
            result = ours.recv()
        except EOFError:
            result = "the programs' process ended without a result"
        finally:
            process.kill()
            process.join()
        if isinstance(result, str):
            raise KernelUnavailable(result)
        self.late_us += forwarder.late_us
        self.refused += forwarder.refused
        return list(result)


@contextmanager
def _ends() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces, for those who send and those who receive."""
    sending, receiving = Namespace(), Namespace()
    try:
        for namespace in (sending, receiving):
            # What one connection has learnt of the path is nothing that the next may know.
            settings = {**SYSCTLS, "net.ipv4.tcp_no_metrics_save": "1", "net.ipv6.conf.default.disable_ipv6": "1"}
            for name, value in settings.items():
                # A kernel without IPv6 has nothing to switch off.
                with suppress(FileNotFoundError):
                    namespace.sysctl(name, value)
        yield sending, receiving
    finally:
        sending.close()
        receiving.close()


def _address(number: int, host: int) -> str:
    return f"10.{1 + number // 250}.{number % 250}.{host}"


def _mac(number: int, host: int) -> str:
    return f"02:00:00:{number >> 8:02x}:{number & 255:02x}:{host:02x}"


def _tap(namespace: Namespace, number: int, host: int) -> TunDevice:
    """A TAP device that is up, has its address, and knows its neighbour: no frame is there but TCP's."""
    device = TunDevice(namespace, f"tap{number}", IFF_TAP)
    other = 3 - host
    namespace.command(
        "ip", "-batch", "-",
        input=f"link set {device.name} address {_mac(number, host)} mtu 1500 txqueuelen 10000\n"
        f"address add {_address(number, host)}/24 dev {device.name}\n"
        f"link set {device.name} up\n"
        f"neighbour replace {_address(number, other)} lladdr {_mac(number, other)} dev {device.name} nud permanent\n",
    )
    return device


@contextmanager
def _on_time() -> Iterator[None]:
    """A context in which this process goes before all others of the machine: its frames leave on time."""
    own = os.sched_getscheduler(0), os.sched_getparam(0)
    # Without the right to it, the report says how late frames were.
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *own)


def _programs(answer: Connection, batch: list[Run], sending: Namespace, receiving: Namespace) -> None:
    """The programs' process: the goodputs, or what went wrong as text."""
    with suppress(PermissionError):
        os.nice(-15)
    try:
        answer.send(_goodputs(batch, sending, receiving))
    except OSError as error:
        answer.send(str(error))


def _goodputs(batch: list[Run], sending: Namespace, receiving: Namespace) -> list[float]:
    goodputs: dict[int, float] = {}
    threads: list[threading.Thread] = []

    def receive(number: int, listener: object, seconds: float) -> None:
        goodputs[number] = transfer.receive(listener, seconds)  # type: ignore[arg-type]

    for number, run in enumerate(batch):
        address = _address(number, 2)
        with receiving:
            listener = transfer.listen(address)
        with sending:
            try:
                sender = transfer.sender(run.congestion)
            except (FileNotFoundError, PermissionError) as error:
                raise OSError(
                    f"the kernel does not allow congestion control {run.congestion} in a namespace ({error.strerror}); "
                    f"allow it with: modprobe tcp_{run.congestion}; sysctl -w net.ipv4.tcp_allowed_congestion_control="
                    f'"$(sysctl -n net.ipv4.tcp_allowed_congestion_control) {run.congestion}"'
                ) from error
        threads += [
            threading.Thread(target=receive, args=(number, listener, run.cell.seconds), daemon=True),
            threading.Thread(target=transfer.send, args=(sender, address), daemon=True),
        ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(batch[0].cell.seconds + _GRACE_S)
    if len(goodputs) != len(batch):
        raise OSError(f"{len(batch) - len(goodputs)} of {len(batch)} connections did not come to their end")
    return [goodputs[number] for number in range(len(batch))]
