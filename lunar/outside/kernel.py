"""The machine's kernel as an end of links: one of its network namespaces, with a device for each link.

Two of them that a link joins are a real Linux on both sides of exactly the rate, delay, loss and queue that virtual
hosts are measured through. The namespace is one that is there, or is made for the run and removed at its end. It has a
name in both cases, so that others can use it meanwhile: ip netns exec NAME ...

Its commands configure it before the run begins. Its programs run in it meanwhile; the run waits for those that are not
in the background. What they print and that they end is told as they do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from lunar.kernel.namespace import NAMED, KernelUnavailable, Namespace
from lunar.outside.kernel_device import KernelDevice, KernelDevices, KernelSettings
from weaves.here import here
from weaves.live_run import CannotOpen
from weaves.outside import Gate
from weaves.scheduler import Call, Event
from weaves.supervisor import Supervisor

# How long a program has to end at the end of the run, in seconds, as docker stop gives them.
_GRACE_S: Final = 10
_LONGEST_LINE: Final = 65_536


class Kernel:
    """Made by `Network.kernel`. `devices` are its devices by their names, as of a host."""

    def __init__(
        self, supervisor: Supervisor, devices: KernelDevices, name: str, netns: str | Namespace | None,
        addresses: Sequence[tuple[str, Sequence[str]]], net: Sequence[str],
    ) -> None:
        self.name = name
        self.devices = {
            device: KernelDevice(
                devices, f"{name}.{device}", KernelSettings(device=device, addresses=tuple(texts)), self._found
            )
            for device, texts in addresses
        }
        self.programs: list[KernelProgram] = []
        self.namespace: Namespace | None = None  # as long as the run is live
        self._supervisor = supervisor
        self._netns = netns
        self._net = tuple(net)
        supervisor.gates.on_open(self._open)
        supervisor.gates.on_close(self._close)

    def __repr__(self) -> str:
        return f"<Kernel {self.name!r}>"

    def start(self, command: str, *, background: bool = False) -> KernelProgram:
        """Run `command` in the namespace when the run begins, which waits for its end, if not in the `background`."""
        made = KernelProgram(self, self._supervisor, command, background)
        self.programs.append(made)
        return made

    def command(self, *words: str, input: str | None = None) -> str:
        """Run a program in the namespace, while the run is live, and return what it prints. Raises `KernelUnavailable`
        if there is none or it fails. The run waits meanwhile. Not for programs of the run: RuntimeError.
        """
        if here.weave is not None:
            raise RuntimeError("a program of the run has no kernel: what it says comes in by no gate, and in no replay")
        return self._found().command(*words, input=input)

    def _found(self) -> Namespace:
        assert self.namespace is not None, "there is a namespace as long as the run is live"
        return self.namespace

    def _open(self) -> None:
        try:
            self.namespace = self._namespace()
            for device in self.devices.values():
                if device.medium is not None:
                    device.open()
            for line in self._net:
                self.namespace.command(*shlex.split(line))
        except KernelUnavailable as error:
            raise OSError(errno.ENODEV, f"{self.name}: {error}") from None

    def _namespace(self) -> Namespace:
        if isinstance(self._netns, Namespace):
            return self._netns
        if self._netns is not None:
            return Namespace.named(self._netns)
        if (NAMED / self.name).exists():
            raise KernelUnavailable(
                f'there is a network namespace "{self.name}" already; say netns = "{self.name}" to use it, '
                f"or remove it with: ip netns delete {self.name}"
            )
        current = Namespace.current()
        current.command("ip", "netns", "add", self.name)
        try:
            found = Namespace.named(self.name)
            found.command("ip", "link", "set", "lo", "up")
        except BaseException:
            current.command("ip", "netns", "delete", self.name)
            raise
        return found

    def _close(self) -> None:
        with contextlib.ExitStack() as stack:  # what is there ends, whatever cannot be ended before it
            stack.callback(self._leave)
            for device in reversed(self.devices.values()):
                stack.callback(device.close)
            for program in reversed(self.programs):
                stack.callback(program.close)

    def _leave(self) -> None:
        namespace, self.namespace = self.namespace, None
        if namespace is not None:
            if not isinstance(self._netns, Namespace):
                namespace.close()
            if self._netns is None:
                Namespace.current().command("ip", "netns", "delete", self.name)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # most of the real-time signals have no name


class KernelProgram:
    """A program of the machine that runs in a kernel's namespace. `exit_code` is None until it has ended."""

    def __init__(self, kernel: Kernel, supervisor: Supervisor, command: str, background: bool) -> None:
        self.command = command
        self.background = background
        self.exit_code: int | None = None
        self._kernel = kernel
        self._supervisor = supervisor
        self._process: subprocess.Popen[bytes] | None = None
        self._ends = -1  # a descriptor that can be read when it has ended
        self._printed = b""
        self._gate: Gate = supervisor.gates.gate(f"{kernel.name}: {command}", self._end)
        if not background:
            supervisor.await_one_more()
            supervisor.has_others = True
        supervisor.at(int(supervisor.scheduler.now_ns), self._begin)

    def _begin(self) -> None:
        gates = self._supervisor.gates
        namespace = self._kernel.namespace
        if not gates.live or namespace is None:
            return  # a replay has its end without it
        with namespace:
            try:
                self._process = subprocess.Popen(
                    shlex.split(self.command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise CannotOpen(error.errno, f"{self._kernel.name}: {self.command}: {error.strerror}") from None
        assert self._process.stdout is not None, "it was asked for"
        os.set_blocking(self._process.stdout.fileno(), False)
        self._ends = os.pidfd_open(self._process.pid)
        gates.watch(self._process.stdout.fileno(), self._read)
        gates.watch(self._ends, self._ended)

    def _read(self) -> None:
        """Tell each line that it has printed."""
        assert self._process is not None and self._process.stdout is not None, "nobody watches it otherwise"
        try:
            data = os.read(self._process.stdout.fileno(), _LONGEST_LINE)
        except BlockingIOError:
            return
        if not data:
            self._hear_no_more()
            return
        *lines, self._printed = (self._printed + data).split(b"\n")
        for line in lines:
            self._tell(line)
        if len(self._printed) >= _LONGEST_LINE:
            self._tell(self._printed)
            self._printed = b""

    def _tell(self, line: bytes) -> None:
        now_ns = int(self._supervisor.scheduler.now_ns)
        self._supervisor.trace.change(now_ns, self._kernel.name, line.decode(errors="replace"))

    def _hear_no_more(self) -> None:
        assert self._process is not None and self._process.stdout is not None, "it was heard"
        if not self._process.stdout.closed:
            self._supervisor.gates.unwatch(self._process.stdout.fileno())
            self._process.stdout.close()
            if self._printed:
                self._tell(self._printed)
                self._printed = b""

    def _ended(self) -> None:
        assert self._process is not None, "nobody watches it otherwise"
        code = self._process.poll()
        if code is None:
            return
        self._let_go()
        self._gate.admit(code.to_bytes(4, "big", signed=True))

    def _let_go(self) -> None:
        """Hear what it said last, and forget its descriptors."""
        assert self._process is not None and self._process.stdout is not None, "it was begun"
        if self._ends >= 0:
            self._supervisor.gates.unwatch(self._ends)
            os.close(self._ends)
            self._ends = -1
        if not self._process.stdout.closed:
            self._read()
        if not self._process.stdout.closed:
            self._hear_no_more()

    def _end(self, data: bytes) -> Event:
        return Call(self._over, int.from_bytes(data, "big", signed=True))

    def _over(self, code: int) -> None:
        self.exit_code = code
        now_ns = int(self._supervisor.scheduler.now_ns)
        how = f"with exit code {code}" if code >= 0 else f"by {_signal_name(-code)}"
        self._supervisor.trace.change(now_ns, self._kernel.name, f"{self.command}: ended {how}")
        if not self.background:
            self._supervisor.others_failed += code != 0
            self._supervisor.await_one_less()

    def close(self) -> None:
        """The run is over: so is the program, and what it has started."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            for signum in (signal.SIGTERM, signal.SIGKILL):
                os.killpg(process.pid, signum)
                try:
                    process.wait(_GRACE_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
        self._let_go()
        self._process = None

    def figures(self) -> dict[str, Any]:
        """What `weave run --json` tells of it."""
        return {"kernel": self._kernel.name, "command": self.command, "exit_code": self.exit_code}
