"""Every call of `lunar.syscalls` in every situation of a descriptor, on the machine's kernel and on a virtual host.

The table is in call_table.py, the kernel's side of the calls in lunar/kernel/calls.py. A cell is a call in a situation;
what comes of it, a result or an errno, must be the same on both. Numbers of descriptors and of ports that the kernel
chose are not compared.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import call_table
import pytest
from call_table import BLOCKING, CALLS, MAKERS, SITUATIONS, World, let_block

from lunar import syscalls
from lunar.kernel import calls
from lunar.network import Network

if os.geteuid() != 0:
    for name in [name for name in SITUATIONS if name.startswith("raw")]:
        del SITUATIONS[name]  # raw sockets are root's; every program of a virtual host is that

_PING_GROUPS = "net.ipv4.ping_group_range"
UNIX_STREAMS = [name.removeprefix("unix_") for name in SITUATIONS if name.startswith("unix_")]
# (call, variant, situation or "*"): where a virtual host differs, and why.
_POINTER = "the pointer is looked at first; Linux does when it has come to copy, after all that the state forbids"
_URGENT = ("send", "recv", "recvfrom", "recvmsg")
_UNIX_URGENT = "no urgent data on Unix sockets: of what Linux has it is an option of its configuration"
EXPECTED: dict[tuple[str, str, str], str] = {
    ("send", "null", "*"): _POINTER,
    ("sendmsg", "null", "*"): _POINTER,
    ("write", "null", "*"): _POINTER,
    ("recv", "null", "*"): _POINTER,
    **{(call, "urgent", f"unix_{which}"): _UNIX_URGENT for call in _URGENT for which in UNIX_STREAMS},
    ("ioctl", "at_mark", "unix_listening_with_one"): "Linux says 1 of a queue of connections, which has no mark",
}


def shown(value: Any) -> Any:
    """A result without what differs from run to run: the ports and names that were chosen."""
    if isinstance(value, (list, tuple)):
        if len(value) == 2 and value[0] in (call_table.HERE, "0.0.0.0"):
            return value[0], "a port" if value[1] else 0
        return [shown(one) for one in value]
    if isinstance(value, bytes) and value[:2] == b"E\0":
        return value[:4] + value[6:10] + value[12:]  # an IPv4 header without its identification and checksum
    if isinstance(value, (str, bytes)) and value[:1] in ("\0", b"\0") and len(value) > 8:
        return "a name"
    return value


def outcome(function: Any, *args: Any) -> Any:
    try:
        return shown(function(*args))
    except OSError as failed:
        return name_of(failed)


def name_of(failed: OSError) -> str:
    # One number has two names, and the table of the documentation that of sockets.
    return "EOPNOTSUPP" if failed.errno == errno.EOPNOTSUPP else errno.errorcode.get(failed.errno or 0, str(failed))


def settle(calls: Any) -> Any:
    """The kernel's loopback device has delivered when the call that sends returns; here it takes events."""
    return (lambda: time.sleep(0.001)) if calls is syscalls else (lambda: None)


def cell(calls: Any, tag: str, situation: str, variant: Any) -> Any:
    world = World(calls, tag, settle(calls))
    try:
        return outcome(variant, world, SITUATIONS[situation](world))
    finally:
        world.end()


def made(calls: Any, tag: str, maker: Any) -> Any:
    world = World(calls, tag, settle(calls))
    try:
        return outcome(maker, world)
    finally:
        world.end()


def on_a_host(function: Any) -> Any:
    """What `function` gives on a virtual host that is set up as the machine is."""
    with Network(seed=1) as net:
        host = net.host("host")
        groups = Path("/proc/sys", *_PING_GROUPS.split(".")).read_text()
        host.sysctl(_PING_GROUPS, tuple(map(int, groups.split())))
        return net.run(function, on=host)


def is_expected(call: str, variant: str, situation: str) -> bool:
    return (call, variant, situation) in EXPECTED or (call, variant, "*") in EXPECTED


def assert_same(kernel: dict[tuple[str, str], Any], virtual: dict[tuple[str, str], Any], call: str) -> None:
    differs: dict[str, list[str]] = {}
    for (name, situation), linux in kernel.items():
        if linux != virtual[name, situation] and not is_expected(call, name, situation):
            what = f"{call} {name}: Linux {linux!r}, here {virtual[name, situation]!r}"
            differs.setdefault(what, []).append(situation)
    assert not differs, "\n".join(f"{what} ({', '.join(where)})" for what, where in differs.items())


def documented() -> dict[str, set[str]]:
    """The errnos of each call in the table of docs/syscalls.md."""
    page = (Path(__file__).parents[2] / "docs" / "syscalls.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", page, re.MULTILINE)
    return {call: set() if listed == "none" else set(listed.split(", ")) for call, listed in rows}


def errnos_in(outcomes: Iterable[Any]) -> set[str]:
    names = {*errno.errorcode.values(), "EOPNOTSUPP"}
    return {found for found in outcomes if isinstance(found, str) and found in names}


def test_the_table_of_the_documentation_has_every_call() -> None:
    calls = {name for name in syscalls.__all__ if not name.startswith(("EPOLL", "Sockaddr"))}
    assert documented().keys() == calls


@pytest.mark.parametrize("call", CALLS)
def test_a_call_gives_what_linux_gives(call: str) -> None:
    def all_cells(calls: Any, tag: str) -> dict[tuple[str, str], Any]:
        return {
            (name, situation): cell(calls, f"{tag}{index}.{at}.", situation, variant)
            for index, (name, variant) in enumerate(CALLS[call].items())
            for at, situation in enumerate(SITUATIONS)
        }

    kernel = all_cells(calls, f"lunar-errnos-{os.getpid()}-{call}-")
    virtual = on_a_host(lambda: all_cells(syscalls, "v"))
    assert_same(kernel, virtual, call)
    # What the documentation says is what was found, and nothing else.
    assert documented()[call] == errnos_in(kernel.values())


def test_a_blocking_call_gives_what_linux_gives() -> None:
    situations = [name for name in SITUATIONS if not name.startswith(("pipe", "epoll"))]

    def all_cells(calls: Any, tag: str) -> dict[tuple[str, str], Any]:
        def variant(function: Any) -> Any:
            return lambda world, fd: function(world, let_block(world, fd))

        return {
            (name, situation): cell(calls, f"{tag}{index}.{at}.", situation, variant(function))
            for index, (name, function) in enumerate(BLOCKING.items())
            for at, situation in enumerate(situations)
        }

    kernel = all_cells(calls, f"lunar-errnos-{os.getpid()}-")
    virtual = on_a_host(lambda: all_cells(syscalls, "v"))
    assert_same(kernel, virtual, "blocking")


def test_at_the_limit_of_descriptors() -> None:
    def at_the_limit(calls: Any, limit: Callable[[], None]) -> list[Any]:
        world = World(calls, f"lunar-errnos-{os.getpid()}-limit", settle(calls))
        try:
            listener = SITUATIONS["stream_listening_with_one"](world)
            limit()
            fillers = []
            while (made := outcome(world.socket, call_table.INET, call_table.DGRAM)) != "EMFILE":
                fillers.append(made)
            log = [
                outcome(calls.socketpair, call_table.UNIX, call_table.STREAM), outcome(calls.pipe2, 0),
                outcome(calls.dup, listener), outcome(calls.fcntl, listener, 0, 0), outcome(calls.accept, listener),
                outcome(calls.epoll_create1, 0), outcome(calls.eventfd, 0, 0),
                outcome(calls.dup3, listener, fillers[0], 0) == fillers[0],
            ]  # fmt: skip
            calls.close(fillers[1])
            log += [outcome(calls.socketpair, call_table.UNIX, call_table.STREAM), outcome(calls.pipe2, 0)]
            # What failed has left nothing behind, and the connection still waits.
            log.append(outcome(lambda: world.keep(calls.accept(listener)[0]) == fillers[1]))
            return log
        finally:
            world.end()

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    try:
        kernel = at_the_limit(
            calls, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, before[1]))
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    with Network(seed=1) as net:
        host = net.host("host")

        def limit() -> None:
            host.descriptors.limit = 10

        virtual = net.run(at_the_limit, syscalls, limit, on=host)
    assert "EMFILE" in kernel
    assert virtual == kernel


def test_what_makes_descriptors_gives_what_linux_gives() -> None:
    def all_makers(calls: Any) -> dict[str, Any]:
        return {name: made(calls, "m", maker) for name, maker in MAKERS.items()}

    kernel = all_makers(calls)
    virtual = on_a_host(lambda: all_makers(syscalls))
    differs = [
        f"{name}: Linux {kernel[name]!r}, here {virtual[name]!r}" for name in MAKERS if kernel[name] != virtual[name]
    ]
    assert not differs, "\n".join(differs)
    for call in {name.partition("(")[0] for name in MAKERS}:
        found = errnos_in(kernel[name] for name in MAKERS if name.startswith(f"{call}("))
        assert documented()[call] - found <= {"EACCES"}  # of ping sockets; machines differ in who may have one
        assert found <= documented()[call]
