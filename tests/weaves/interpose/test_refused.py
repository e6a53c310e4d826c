"""What a virtual host does not have, and that outside it is there at the same moment."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from subprocess import Popen
from typing import Any

import pytest
from lonely_hosts import World

COMMAND = [sys.executable, "-c", "pass"]

# Called by their names: what a dictionary captured before the first run would be the machine's.
# ruff: noqa: PLW0108
STARTS: dict[str, Callable[[], object]] = {
    "os.fork": lambda: os.fork(),
    "os.forkpty": lambda: os.forkpty(),
    "pty.fork": lambda: pty.fork(),
    "os.system": lambda: os.system("true"),
    "os.popen": lambda: os.popen("true"),
    "os.posix_spawn": lambda: os.posix_spawn(sys.executable, COMMAND, {}),
    "os.spawnv": lambda: os.spawnv(os.P_WAIT, sys.executable, COMMAND),
    "os.execv": lambda: os.execv(sys.executable, COMMAND),
    "os.execvp": lambda: os.execvp(COMMAND[0], COMMAND),
    "subprocess.Popen": lambda: Popen(COMMAND),
    "subprocess.run": lambda: subprocess.run(COMMAND, capture_output=True, check=True),
    "subprocess, in a shell": lambda: subprocess.check_output("true", shell=True),
    "multiprocessing, fork": lambda: multiprocessing.get_context("fork").Process(target=int).start(),
    "multiprocessing, spawn": lambda: multiprocessing.get_context("spawn").Process(target=int).start(),
}


@pytest.mark.parametrize("name", STARTS)
def test_no_program_is_started(world: World, name: str) -> None:
    with pytest.raises(OSError, match="not on a virtual host") as raised:
        world.run(STARTS[name])
    assert raised.value.errno == errno.ENOSYS


@pytest.mark.parametrize("create", ["exec", "shell"])
def test_asyncio_starts_none_either(world: World, create: str) -> None:
    async def main() -> None:
        if create == "exec":
            await asyncio.create_subprocess_exec(*COMMAND)
        else:
            await asyncio.create_subprocess_shell("true")

    with pytest.raises(OSError, match="not on a virtual host"):
        world.run(main)


WAITS: dict[str, Callable[[], object]] = {
    "wait": lambda: os.wait(),
    "wait3": lambda: os.wait3(0),
    "wait4": lambda: os.wait4(-1, 0),
    "waitpid": lambda: os.waitpid(-1, os.WNOHANG),
    "waitid": lambda: os.waitid(os.P_ALL, 0, os.WEXITED),
}


@pytest.mark.parametrize("name", WAITS)
def test_there_is_no_child_to_wait_for(world: World, name: str) -> None:
    with pytest.raises(ChildProcessError) as raised:
        world.run(WAITS[name])
    assert raised.value.errno == errno.ECHILD


def test_outside_processes_start_at_the_same_moment(world: World, outside: Any) -> None:
    def look() -> tuple[bool, int]:
        try:
            Popen(COMMAND)
            refused = False
        except OSError:
            refused = True
        return refused, outside(lambda: subprocess.run(COMMAND, check=False).returncode)

    assert world.run(look) == (True, 0)


def test_outside_threads_start_at_the_same_moment(world: World, outside: Any) -> None:
    def start() -> list[int]:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(1))
        thread.start()
        thread.join()
        return found

    assert world.run(outside, start) == [1]


def test_what_needs_a_thread_by_asyncio_has_one_of_its_own_kind(world: World) -> None:
    async def main() -> tuple[int, int]:
        return await asyncio.to_thread(int, "7"), await asyncio.get_running_loop().run_in_executor(None, int, "8")

    assert world.run(main) == (7, 8)


def test_what_a_system_can_do_is_still_told() -> None:
    assert os.chdir in os.supports_fd
    assert os.execve in os.supports_fd
