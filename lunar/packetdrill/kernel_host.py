"""The machine's kernel as the stack under test, in a network namespace of its own: `weave packetdrill --kernel`.

The host has one device, `tun0`. What is injected is written to it; what the kernel sends there is seen by a packet
socket (packet(7)), with the time at which it was sent, and as it is before it is cut into segments: the device says
that it cuts them itself, as a network card with TSO does. System calls are the kernel's (lunar/kernel/calls.py), the
command lines of scripts a shell's.

Time is the machine's. For a process of a busy machine to be on time it goes before all others, where it may.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from lunar.kernel import calls
from lunar.kernel.namespace import Namespace
from lunar.kernel.tun import IFF_TUN, TunDevice
from lunar.packetdrill.backend import HOUSEKEEPING, SentPacket, Settings, ShellError, Task
from lunar.packetdrill.kernel_task import KernelTask, Workers

DEVICE: Final = "tun0"

_ETH_P_ALL: Final = 0x0003  # linux/if_ether.h
_SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; its control message has the same number
_SO_RCVBUFFORCE: Final = 33
_PR_SET_TIMERSLACK: Final = 29  # linux/prctl.h
_LONGEST_PACKET: Final = 65_535 + 40
_BUFFER_BYTES: Final = 1 << 24

_ICMPV6: Final = 58


class KernelHost:
    """`lunar.packetdrill.backend.Backend` on the machine's kernel. `close` it in the thread that made it.

    Raises `KernelUnavailable` where the machine gives this user no namespace or no TUN device.
    """

    def __init__(self, settings: Settings) -> None:
        self.syscalls: Any = calls
        self._namespace = Namespace()
        self._workers = Workers()
        self._namespace.__enter__()
        self._priority = os.sched_getscheduler(0), os.sched_getparam(0)
        try:
            self._device = TunDevice(self._namespace, DEVICE, IFF_TUN, cuts_segments=True)
            _configure(self._namespace, settings)
            self._socket = _packet_socket()
        except BaseException:
            self._namespace.__exit__()
            raise
        # A timer fires up to 50 microseconds late, if nobody asks for better (prctl(2)).
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

    # Time

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def sleep_until(self, at_ns: int) -> None:
        while (left := at_ns - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)

    # Tasks

    def start(self, function: Callable[[], Any]) -> Task:
        return self._workers.start(function)

    def wait(self, task: Task, until_ns: int) -> bool:
        assert isinstance(task, KernelTask), "a task of another backend"
        return task.wait((until_ns - time.monotonic_ns()) / 1e9)

    # Packets

    def inject(self, data: bytes, mss: int = 0) -> None:
        self._device.drain()
        self._device.write(data, mss)

    def sent(self, until_ns: int) -> SentPacket | None:
        while True:
            wait_s = max(until_ns - time.monotonic_ns(), 0) / 1e9
            if not select.select([self._socket], [], [], wait_s)[0]:
                return None
            data, control, _, address = self._socket.recvmsg(_LONGEST_PACKET, 64)
            self._device.drain()
            if address[2] == socket.PACKET_OUTGOING and not _is_housekeeping(data):
                return SentPacket(_sent_ns(control), data)

    # Commands

    def shell(self, text: str, folder: Path) -> str:
        environment = {**os.environ, "PACKETDRILL_PID": str(os.getpid())}  # its helpers name files by it
        done = subprocess.run(
            ["/bin/sh", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        sys.stdout.write(done.stdout)
        if done.returncode != 0:
            raise ShellError(f"'{text}' ended with status {done.returncode}: {done.stderr.strip()}")
        return done.stderr

    def close(self) -> None:
        """The namespace ends with its last socket; a call that still blocks keeps it until the process ends."""
        with suppress(PermissionError):
            os.sched_setscheduler(0, *self._priority)
        self._workers.end()
        self._socket.close()
        self._device.close()
        self._namespace.__exit__()
        self._namespace.close()


def _packet_socket() -> socket.socket:
    """A socket that sees what goes out at the device."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    with suppress(PermissionError):
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    made.bind((DEVICE, _ETH_P_ALL))
    return made


def _configure(namespace: Namespace, settings: Settings) -> None:
    """Give the device its addresses, and a way to the remote side."""
    if settings.ip_version == "ipv6":
        # What has just got its address may send at once: nobody else can have it.
        namespace.sysctl(f"net.ipv6.conf.{DEVICE}.accept_dad", "0")
        local, remote = f"{settings.local_ip}/48", f"{settings.remote_ip}/128"  # the gateway is in the same /48
        gateway = [] if settings.gateway_ip == settings.local_ip else ["via", settings.gateway_ip]
    else:
        prefix = ip_network(f"0.0.0.0/{settings.netmask_ip}").prefixlen
        local, remote = f"{settings.local_ip}/{prefix}", f"{settings.remote_ip}/32"
        gateway = ["via", settings.gateway_ip]
    namespace.command("ip", "address", "add", local, "dev", DEVICE)
    namespace.command("ip", "link", "set", DEVICE, "mtu", str(settings.mtu), "up")
    namespace.command("ip", "route", "add", remote, *gateway, "dev", DEVICE)


def _is_housekeeping(data: bytes) -> bool:
    return data[0] >> 4 == 6 and data[6] in (0, _ICMPV6) and (data[6] == 0 or data[40] in HOUSEKEEPING)


def _sent_ns(control: list[tuple[int, int, bytes]]) -> int:
    """When a packet was sent, by the monotonic clock: the kernel tells it by the wall clock."""
    for level, type, data in control:
        if level == socket.SOL_SOCKET and type == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack_from("qq", data)
            return int(seconds * 1_000_000_000 + nanoseconds) - (time.time_ns() - time.monotonic_ns())
    return time.monotonic_ns()
