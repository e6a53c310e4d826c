"""Who a program and its host are: numbers of processes and processors, names, and what `uuid` makes of an address."""

from __future__ import annotations

import errno
import os
import platform
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from weaves.here import here
from weaves.interpose.replace import Replacements

if TYPE_CHECKING:
    from weaves.weave import Weave

# RFC 4122 (4.1.4): the time of a version 1 UUID counts 100 ns from 1582-10-15; this is the distance to the Unix epoch.
_UUID_EPOCH: Final = 0x01B2_1DD2_1381_4000
# RFC 4122 (4.5): a random node has the multicast bit, which no hardware address has.
_MULTICAST: Final = 1 << 40


def install(replacements: Replacements) -> None:
    """Interpose numbers of processes and processors, `os.uname`, `platform` and `uuid`."""
    replacements.put_all_c(os, _process_numbers())
    replacements.put_all_c(os, _processors())
    replacements.put_c(os, "uname", _uname())
    replacements.put(platform, "uname", _platform_uname())
    replacements.put(uuid, "uuid1", _uuid1())
    replacements.put(uuid, "getnode", _getnode())


def _process_numbers() -> dict[str, Callable[..., Any]]:
    real_getpid, real_getppid, real_getpgrp = os.getpid, os.getppid, os.getpgrp
    real_getpgid, real_getsid = os.getpgid, os.getsid
    real_setsid, real_setpgid = os.setsid, os.setpgid

    def getpid(_stand: object) -> int:
        weave = here.weave
        return real_getpid() if weave is None else weave.pid

    def getppid(_stand: object) -> int:
        return real_getppid() if here.weave is None else 1

    # Each program is the leader of a session and a group of its own, as one that a service manager started.

    def getpgrp(_stand: object) -> int:
        weave = here.weave
        return real_getpgrp() if weave is None else weave.pid

    def getpgid(_stand: object, pid: int) -> int:
        weave = here.weave
        return real_getpgid(pid) if weave is None else _known(weave, pid)

    def getsid(_stand: object, pid: int, /) -> int:
        weave = here.weave
        return real_getsid(pid) if weave is None else _known(weave, pid)

    def setsid(_stand: object) -> None:
        if here.weave is None:
            real_setsid()
        else:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    def setpgid(_stand: object, pid: int, pgrp: int, /) -> None:
        weave = here.weave
        if weave is None:
            real_setpgid(pid, pgrp)
        else:
            _known(weave, pid)
            raise PermissionError(errno.EPERM, "Operation not permitted")

    return {
        "getpid": getpid,
        "getppid": getppid,
        "getpgrp": getpgrp,
        "getpgid": getpgid,
        "getsid": getsid,
        "setsid": setsid,
        "setpgid": setpgid,
    }


def _processors() -> dict[str, Callable[..., Any]]:
    """Threads take turns, so there is one processor; and what a program makes of their number is no machine's."""
    real_count, real_affinity = os.cpu_count, os.sched_getaffinity

    def cpu_count(_stand: object) -> int | None:
        return real_count() if here.weave is None else 1

    def sched_getaffinity(_stand: object, pid: int, /) -> set[int]:
        weave = here.weave
        if weave is None:
            return real_affinity(pid)
        _known(weave, pid)
        return {0}

    functions: dict[str, Callable[..., Any]] = {"cpu_count": cpu_count, "sched_getaffinity": sched_getaffinity}
    real_process_count = getattr(os, "process_cpu_count", None)
    if real_process_count is not None:  # Python 3.13

        def process_cpu_count(_stand: object) -> int | None:
            found: int | None = real_process_count() if here.weave is None else 1
            return found

        functions["process_cpu_count"] = process_cpu_count
    return functions


def _known(weave: Weave, pid: int) -> int:
    """`pid`, if the host has such a process; 0 is the caller's own."""
    if pid in (0, weave.pid):
        return weave.pid
    if pid != 1 and weave.with_pid(pid) is None:
        raise ProcessLookupError(errno.ESRCH, "No such process")
    return pid


# The host's name


def _uname() -> Callable[..., os.uname_result]:
    real = os.uname

    def uname(_stand: object) -> os.uname_result:
        found = real()
        weave = here.weave
        if weave is None:
            return found
        return os.uname_result((found.sysname, weave.host.node_name, found.release, found.version, found.machine))

    return uname


def _platform_uname() -> Callable[[], Any]:
    real = platform.uname

    def uname() -> Any:
        # It remembers what it has found, for everybody.
        weave, here.weave = here.weave, None
        try:
            found = real()
        finally:
            here.weave = weave
        return found if weave is None else found._replace(node=weave.host.node_name)

    uname.__doc__ = real.__doc__
    return uname


# uuid


def _getnode() -> Callable[[], int]:
    real = uuid.getnode

    def getnode() -> int:
        weave = here.weave
        return real() if weave is None else _node(weave)

    getnode.__doc__ = real.__doc__
    return getnode


def _node(weave: Weave) -> int:
    address = weave.host.hardware_address
    if address is not None:
        return address
    process = weave.process
    if process.uuid_node is None:
        process.uuid_node = weave.entropy.getrandbits(48) | _MULTICAST
    return process.uuid_node


def _uuid1() -> Callable[..., uuid.UUID]:
    real = uuid.uuid1

    def uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
        weave = here.weave
        if weave is None:
            return real(node, clock_seq)
        process = weave.process
        # Two of one instant differ by the time alone, as RFC 4122 (4.2.1.2) has it for a clock that is too coarse.
        ticks = max(time.time_ns() // 100 + _UUID_EPOCH, process.uuid_last + 1)
        process.uuid_last = ticks
        if clock_seq is None:
            if process.uuid_sequence is None:
                process.uuid_sequence = weave.entropy.getrandbits(14)
            clock_seq = process.uuid_sequence
        return uuid.UUID(
            fields=(
                ticks & 0xFFFF_FFFF,
                ticks >> 32 & 0xFFFF,
                ticks >> 48 & 0x0FFF,
                clock_seq >> 8 & 0x3F,
                clock_seq & 0xFF,
                _node(weave) if node is None else node,
            ),
            version=1,
        )

    uuid1.__doc__ = real.__doc__
    return uuid1
