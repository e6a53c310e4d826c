"""Descriptors: the lowest free one, above any of the machine's, and how many there are."""

from __future__ import annotations

import errno
import resource

from hypothesis import given
from hypothesis import strategies as st

from lunar.net.sock import Sock
from lunar.sockets.fdtable import FD_BASE, FD_LIMIT, FdTable, is_virtual


def sock() -> Sock:
    return Sock(2, 2, 17)


def full(count: int) -> FdTable:
    table, one = FdTable(), sock()
    for number in range(count):
        assert table.install(one) == FD_BASE + number
    return table


def test_descriptors_count_up_from_the_base() -> None:
    table = FdTable()
    assert [table.install(sock()) - FD_BASE for _ in range(3)] == [0, 1, 2]


def test_the_lowest_free_one_is_given_again() -> None:
    table = full(5)
    table.remove(FD_BASE + 3)
    table.remove(FD_BASE + 1)
    assert [table.install(sock()) - FD_BASE for _ in range(3)] == [1, 3, 5]


def test_a_descriptor_is_its_socket_until_it_is_removed() -> None:
    table, one = FdTable(), sock()
    fd = table.install(one)
    assert table.get(fd) is one
    assert table.remove(fd) is one
    assert table.get(fd) is None


def test_removing_twice_finds_nothing() -> None:
    table = full(2)
    table.remove(FD_BASE)
    assert table.remove(FD_BASE) is None
    assert table.install(sock()) == FD_BASE
    assert table.install(sock()) == FD_BASE + 2


def test_what_was_never_open_is_not_there() -> None:
    table = full(1)
    assert [table.get(fd) for fd in (-1, 0, FD_BASE + 1)] == [None] * 3
    assert [table.remove(fd) for fd in (-1, 0, FD_BASE + 1)] == [None] * 3
    assert table.install(sock()) == FD_BASE + 1


def test_the_limit_is_emfile() -> None:
    table = full(FD_LIMIT)
    assert table.install(sock()) == -errno.EMFILE
    assert len(table.all()) == FD_LIMIT


def test_a_full_table_takes_one_for_each_that_goes() -> None:
    table = full(FD_LIMIT)
    table.install(sock())
    table.remove(FD_BASE + 1234)
    assert [table.install(sock()) for _ in range(2)] == [FD_BASE + 1234, -errno.EMFILE]


def test_all_lists_the_open_sockets() -> None:
    table, socks = FdTable(), [sock(), sock(), sock()]
    fds = [table.install(one) for one in socks]
    table.remove(fds[1])
    assert table.all() == [socks[0], socks[2]]


def test_the_machine_cannot_give_such_a_number() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard < FD_BASE  # RLIM_INFINITY is -1
    assert FD_BASE + FD_LIMIT < 2**31  # a C int


def test_a_number_tells_whose_it_is() -> None:
    assert [is_virtual(fd) for fd in (-1, 0, FD_BASE - 1, FD_BASE, FD_BASE + 5)] == [False, False, False, True, True]


@given(st.lists(st.integers(0, 12)))
def test_always_the_lowest(steps: list[int]) -> None:
    table, used = FdTable(), set[int]()
    for step in steps:
        if step in used:
            table.remove(FD_BASE + step)
            used.remove(step)
        else:
            lowest = min(set(range(len(used) + 1)) - used)
            assert table.install(sock()) == FD_BASE + lowest
            used.add(lowest)
