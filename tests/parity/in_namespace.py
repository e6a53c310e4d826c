"""One program in a network namespace of the machine's kernel and on a virtual host: what it logs has to be the same.

Both have lo and an eth0 (10.0.0.1/24, 02:00:00:00:00:01) with nobody else's traffic; at the other end of the link is a
device that takes what comes for 10.0.0.2 and says nothing that a program would see.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import Any

import pytest

from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.network import Network

# How often the kernel is asked for what is bound to come: only a failing test asks so often.
_PATIENCE = 10_000

Program = Callable[[list[Any]], None]

_COMMANDS = (
    # The peer is made first: eth0 is the second device, as on a virtual host.
    "ip link add eth1 address 02:00:00:00:00:02 type veth peer name eth0 address 02:00:00:00:00:01",
    "ip addr add 10.0.0.1/24 dev eth0",
    "ip link set eth0 up",
    "ip link set eth1 up",
    "ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0",
)


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """What a call returns, or the name of its errno."""
    try:
        return function(*args)
    except OSError as failed:
        return errno.errorcode[failed.errno or 0]


def on_the_machine(program: Program, six: str = "") -> list[Any]:
    """What it logs in a new namespace, in which eth0 has the IPv6 address `six`, if one is given."""
    try:
        namespace = Namespace()
        namespace.command(*_COMMANDS[0].split())
        for name in ("eth1", *([] if six else ["all", "eth0"])):
            with contextlib.suppress(OSError):  # where the kernel has no IPv6
                namespace.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", "1")
        for command in _COMMANDS[1:]:
            namespace.command(*command.split())
        if six:
            namespace.command(*f"ip addr add {six} dev eth0 nodad".split())
            # The kernel's own routes of a device come a moment after its carrier: asked for until they are there.
            for _ in range(_PATIENCE):
                routes = namespace.command("ip", "-6", "route", "show", "table", "local", "dev", "eth0")
                if "ff00::/8" in routes and f"local {six.partition('/')[0]}" in routes:
                    break
    except KernelUnavailable as missing:
        pytest.skip(str(missing))
    log: list[Any] = []
    with namespace:
        program(log)
    namespace.close()
    return log


def on_a_host(program: Program, six: str = "") -> list[Any]:
    """What it logs on a virtual host."""
    network = Network(seed=1)
    host = network.host("host", "10.0.0.1/24")
    if six:
        host.sh(f"ip addr add {six} dev eth0 nodad")
    network.link(host, network.host("other", "10.0.0.2/24"))
    log: list[Any] = []
    network.start(host, lambda: program(log))
    network.run()
    return log


def check_the_same(program: Program, six: str = "") -> None:
    machine = on_the_machine(program, six)
    assert machine
    assert on_a_host(program, six) == machine
