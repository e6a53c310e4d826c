"""Kernel to kernel: two namespaces, a pair of devices for each connection, links between them in real time.

A process of its own runs the programs, a thread for each end of each connection; this one carries the frames.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

import transfer
from cells import SYSCTLS, Run

import lunar
from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.links.impairments import RandomLoss
from lunar.outside.kernel import Kernel
from lunar.wire.ethernet import mac_text
from weaves.lateness import lateness_of
from weaves.live_run import CannotOpen
from weaves.pace import Meter
from weaves.scheduler import Call

# A connection takes its time to be accepted, and a process to start.
_GRACE_S: Final = 30


class KernelSide:
    """Measures batches of runs on the machine's kernel. Raises `KernelUnavailable` where that is not possible."""

    def __init__(self) -> None:
        self._meters: list[Meter] = []
        self.refused = 0  # frames that a device did not take

    def measure(self, batch: list[Run]) -> list[float]:
        """The goodput of each run in bits a second; all go on at once."""
        with _ends() as (sending, receiving), lunar.Network(clock="real") as net:
            numbers = range(len(batch))
            left = net.kernel("sending", *(f"{_address(number, 1)}/24" for number in numbers), netns=sending)
            right = net.kernel("receiving", *(f"{_address(number, 2)}/24" for number in numbers), netns=receiving)
            for run in batch:
                cell, generators = run.cell, iter(run.generators())
                net.link(
                    left, right, rate=cell.rate_bps, delay=cell.delay_ns, queue=cell.queue_packets,
                    impairment=(lambda at=cell.loss, of=generators: RandomLoss(at, next(of))) if cell.loss else None,
                )
            programs = _Programs(net, batch, left, right)
            try:
                with _on_time():
                    net.run()
            except CannotOpen as error:
                raise KernelUnavailable(str(error.strerror)) from None
            finally:
                programs.end()
            assert net.supervisor.pace is not None, "the clock is real"
            self._meters.append(net.supervisor.pace.meter)
            self.refused += sum(end.refused for kernel in (left, right) for end in kernel.devices.values())
            return programs.goodputs()

    def punctuality(self) -> str:
        """How late the frames left their links, which is what the machine adds to the measurement."""
        whole = Meter()
        for meter in self._meters:
            whole.add(meter)
        late = lateness_of(whole)
        return (
            f"{late.events:,} events were late by {late.median_s * 1e6:,.0f} microseconds in the median, "
            f"{late.p99_s * 1e6:,.0f} in 99 of 100, {late.max_s * 1e6:,.0f} at most; {self.refused} frames were "
            "refused by a device"
        )


class _Programs:
    """The process with the programs of a batch: it begins with the run, and the run ends with it."""

    def __init__(self, net: lunar.Network, batch: list[Run], left: Kernel, right: Kernel) -> None:
        self._batch = batch
        self._ends = left, right
        self._supervisor = net.supervisor
        self._ours, self._theirs = multiprocessing.Pipe()
        self._process: BaseProcess | None = None
        self._result: list[float] | str = "the programs' process ended without a result"
        self._gate = net.supervisor.gates.gate("programs", lambda _: Call(self._over, None))
        net.supervisor.await_one_more()
        net.supervisor.gates.on_open(self._begin)

    def _begin(self) -> None:
        left, right = self._ends
        for kernel, other in ((left, right), (right, left)):
            # Each knows its neighbour: no frame is there but TCP's.
            pairs = zip(kernel.devices, kernel.devices.values(), other.devices.values(), strict=True)
            kernel.command(
                "ip", "-batch", "-",
                input="".join(
                    f"neighbour replace {theirs.settings.addresses[0].partition('/')[0]} lladdr {mac_text(theirs.mac)} "
                    f"dev {name} nud permanent\n"
                    for name, _own, theirs in pairs
                ),
            )
        assert left.namespace is not None and right.namespace is not None, "they are open"
        self._process = multiprocessing.get_context("fork").Process(
            target=_programs, args=(self._theirs, self._batch, left.namespace, right.namespace), daemon=True
        )
        self._process.start()
        self._theirs.close()
        self._supervisor.gates.watch(self._ours.fileno(), self._hear)

    def _hear(self) -> None:
        self._supervisor.gates.unwatch(self._ours.fileno())
        with suppress(EOFError):  # what the result says already
            self._result = self._ours.recv()
        self._gate.admit(b"")

    def _over(self, _nothing: None) -> None:
        self._supervisor.await_one_less()

    def end(self) -> None:
        """Let the process go."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._ours.close()

    def goodputs(self) -> list[float]:
        """In bits a second, of each run. Raises `KernelUnavailable`."""
        if isinstance(self._result, str):
            raise KernelUnavailable(self._result)
        return self._result


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


@contextmanager
def _on_time() -> Iterator[None]:
    """A context in which this process goes before all others, those that it starts too: its frames leave on time."""
    own = os.sched_getscheduler(0), os.sched_getparam(0)
    # Without the right to it, the report says how late frames were.
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))
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
