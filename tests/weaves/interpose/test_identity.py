"""Who a program and its host are: numbers, names, and the UUIDs that are made of them."""

from __future__ import annotations

import errno
import os
import platform
import socket
import uuid
from os import getpid
from typing import Any

import pytest
from lonely_hosts import Programs, World

MACHINE = os.uname()


def test_process_numbers_are_small_and_in_the_order_of_the_weaves(programs: Programs, outside: Any) -> None:
    source = "import os\nprint(os.uname().nodename, os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0))\n"
    assert programs(source, source) == ["a 2 1 2 2", "b 2 1 2 2"]


def test_a_second_weave_of_a_host_has_the_next_number(world: World, outside: Any) -> None:
    assert world.run(lambda: (os.getpid(), getpid(), outside(getpid))) == (2, 2, os.getpid())
    assert world.host.new_weave("second").pid == 3
    assert world.other.new_weave("first").pid == 2


def test_groups_and_sessions_of_others(world: World) -> None:
    def look() -> list[Any]:
        answers: list[Any] = [os.getpgid(0), os.getpgid(1), os.getsid(getpid())]
        for call in (lambda: os.getpgid(77), os.setsid, lambda: os.setpgid(0, 0)):
            try:
                answers.append(call())
            except OSError as error:
                answers.append(error.errno)
        return answers

    assert world.run(look) == [2, 1, 2, errno.ESRCH, errno.EPERM, errno.EPERM]


@pytest.mark.parametrize(
    "name",
    [socket.gethostname, lambda: os.uname().nodename, platform.node, lambda: platform.uname().node],
    ids=["socket", "os", "platform", "platform.uname"],
)
def test_the_name_of_the_host(world: World, outside: Any, name: Any) -> None:
    assert world.run(lambda: (name(), outside(name))) == ("alpha", MACHINE.nodename)
    assert name() == MACHINE.nodename


def test_the_rest_of_uname_is_the_machines(world: World) -> None:
    inside = world.run(os.uname)
    assert inside == (MACHINE[0], "alpha", *MACHINE[2:])
    assert type(inside) is os.uname_result


def test_a_program_renames_its_host_until_the_next_boot(world: World) -> None:
    def main() -> list[str]:
        socket.sethostname("omega")
        names = [socket.gethostname(), os.uname().nodename, platform.node()]
        socket.sethostname(b"psi")
        return [*names, socket.gethostname()]

    assert world.run(main) == ["omega", "omega", "omega", "psi"]
    assert world.run(socket.gethostbyname, "alpha") == "10.0.0.1"  # by which name others find it
    world.host.crash()
    world.host.boot()
    assert world.run(socket.gethostname) == "alpha"


# uuid


def test_the_node_is_the_address_of_the_first_device(world: World, outside: Any) -> None:
    mac = world.host.devices["eth0"].mac
    inside, machine = world.run(lambda: (uuid.getnode(), outside(uuid.getnode)))
    assert (inside, machine) == (mac, uuid.getnode())
    assert inside != machine


def test_the_node_of_a_host_without_a_device_is_random_and_stays(world: World) -> None:
    host = world.net.host("alone")
    first, second = world.net.run(lambda: (uuid.getnode(), uuid.getnode()), on=host)
    assert first == second
    assert first & 1 << 40  # a multicast address, which is no device's


def test_uuid1_tells_virtual_time_and_the_node(world: World) -> None:
    world.net.run(until=1.5)
    first, second = world.run(lambda: (uuid.uuid1(), uuid.uuid1()))
    assert first.node == second.node == world.host.devices["eth0"].mac
    assert first.clock_seq == second.clock_seq
    # RFC 4122: since 1582-10-15, in 100 ns. The second of an instant is one later.
    since_2000 = first.time - 0x01B2_1DD2_1381_4000 - 946_684_800 * 10**7
    assert (since_2000, second.time - first.time) == (15_000_000, 1)
    assert (first.version, first.variant) == (1, uuid.RFC_4122)


def test_uuid1_with_what_is_given(world: World) -> None:
    made = world.run(uuid.uuid1, 0x0102_0304_0506, 0x1234)
    assert (made.node, made.clock_seq) == (0x0102_0304_0506, 0x1234)


@pytest.mark.parametrize("make", [uuid.uuid1, uuid.uuid4])
def test_uuids_repeat_inside_and_not_outside(outside: Any, make: Any) -> None:
    def draw() -> tuple[Any, Any]:
        world = World()
        found = world.run(lambda: (make(), outside(make)))
        world.net.close()
        return found  # type: ignore[no-any-return]

    (first, machine_first), (second, machine_second) = draw(), draw()
    assert first == second
    assert machine_first != machine_second
