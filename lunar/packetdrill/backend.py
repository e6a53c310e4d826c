"""A stack under test, as the interpreter sees it: what it can be given and asked. lunar_host.py implements it.

A packet is the bytes of an IP packet, so that what is compared is what is on the wire, options and padding in their
order. A system call is a function of the shape of lunar/syscalls, on a real kernel, too, with the same `OSError`s.

Time is what the backend says it is, in nanoseconds from any begin: virtual on Lunar, the machine's on its kernel. Only
`sent`, `sleep_until` and `wait` let time go by.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

# ICMPv6 of neighbour discovery and multicast listeners (RFC 4861, RFC 2710, RFC 3810), which no script speaks of.
HOUSEKEEPING: Final = (130, 131, 132, 133, 134, 135, 136, 137, 143)


@attrs.frozen
class SentPacket:
    """A packet that the stack has sent, at `at_ns`."""

    at_ns: int
    data: bytes


class ShellError(Exception):
    """A command line failed. `str` of it says which and why, in one line."""


@attrs.define
class Settings:
    """What the options of the command line and of a script set, by the names that they have there. Addresses are texts,
    `define` the values of `--define` by their names. `ip_version` says what `...` is in `socket`, `bind` and `connect`:
    "ipv4", "ipv6", or "ipv4-mapped-ipv6", sockets of AF_INET6 that speak IPv4.
    """

    ip_version: str = "ipv4"
    local_ip: str = "192.168.0.1"
    remote_ip: str = "192.0.2.1"
    gateway_ip: str = "192.168.0.1"
    netmask_ip: str = "255.255.0.0"
    bind_port: int = 8080
    connect_port: int = 8080
    mtu: int = 1500
    mss: int = 0  # of what comes in: into how many segments a larger one is to be taken apart; 0: none
    speed: int = 0  # of the device, Mbit/s, as it tells it; 0: not set
    tolerance_usecs: int = 4000
    tolerance_percent: float = 12.5
    tcp_ts_tick_usecs: int = 0
    tcp_ts_ecr_scaled: bool = False
    strict_segments: bool = False
    send_omit_free: bool = False
    non_fatal: tuple[str, ...] = ()
    define: dict[str, str] = attrs.field(factory=dict)


class Task(Protocol):
    """A function that was started and may block."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""

    @property
    def ended_ns(self) -> int:
        """When it has ended."""

    def result(self) -> Any:
        """What it returned; raises what it raised. Only when it is done."""


class Backend(Protocol):
    """One host with one device, `tun0`, behind which the interpreter is."""

    # The functions of lunar.syscalls: `socket(family, type, protocol) -> int`, `recvmsg(fd, size, ancillary_size,
    # flags)`, `getsockopt(fd, level, name, size)` and so on, and `open(path, flags, mode)`. Called inside of a task.
    syscalls: Any

    def now_ns(self) -> int:
        """The time."""

    def wall_ns(self) -> int:
        """The same moment on the clock of the wall, by which the stack stamps: Unix time in nanoseconds."""

    def start(self, function: Callable[[], Any]) -> Task:
        """Let `function` run as a thread of the program under test would. It has run until it blocks or ends."""

    def wait(self, task: Task, until_ns: int) -> bool:
        """Let time go by until the task has ended, to `until_ns` at most. Whether it has."""

    def sleep_until(self, at_ns: int) -> None:
        """Let time go by until `at_ns`. What the stack does by itself at this very moment comes later."""

    def inject(self, data: bytes, mss: int = 0) -> None:
        """Let a packet arrive at the device. With an `mss` it stands for several that GRO has put together."""

    def sent(self, until_ns: int) -> SentPacket | None:
        """The next packet that the stack has sent or sends until `until_ns`; None if there is none."""

    def shell(self, text: str, folder: Path) -> str:
        """Obey the lines of a script's command, in the script's folder, and return what was complained of in vain: by
        commands that are not the last. Raises `ShellError`.
        """

    def close(self) -> None:
        """It is over."""
