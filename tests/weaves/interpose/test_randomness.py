"""Where chance comes from besides `random` and `os.urandom`, which ../test_interpose.py has."""

from __future__ import annotations

import os
import random
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lonely_hosts import Programs, World


def name_of_a_file() -> str:
    with tempfile.NamedTemporaryFile() as file:
        return file.name


SOURCES: dict[str, Callable[[], object]] = {
    "os.getrandom": lambda: os.getrandom(16),
    "ssl.RAND_bytes": lambda: ssl.RAND_bytes(16),
    "random.SystemRandom": lambda: random.SystemRandom().random(),
    "tempfile": name_of_a_file,
}


@pytest.mark.parametrize("name", SOURCES)
def test_it_repeats_inside_and_not_outside(outside: Any, name: str) -> None:
    source = SOURCES[name]

    def draw(seed: int) -> Any:
        world = World(seed)
        found = world.run(lambda: (source(), outside(source)))
        on_another = world.net.run(source, on=world.other)
        world.net.close()
        return found[0], on_another, found[1]

    inside, on_another, machine = draw(1)
    assert (inside, on_another) == draw(1)[:2]
    assert inside != draw(2)[0]
    assert inside != on_another
    assert machine != draw(1)[2]


def test_openssl_is_always_ready(world: World) -> None:
    assert world.run(lambda: (ssl.RAND_status(), ssl.RAND_add(b"x", 1.0))) == (True, None)


def test_names_of_temporary_files_do_not_depend_on_the_other_hosts() -> None:
    def draw(others: int) -> str:
        world = World()
        for _ in range(others):
            world.net.run(name_of_a_file, on=world.other)
        found: str = world.run(name_of_a_file)
        world.net.close()
        return found

    assert draw(0) == draw(3)


def test_the_folder_for_temporary_files_is_the_machines(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # as before its first use
    assert programs("import tempfile\nprint(tempfile.gettempdir())\n") == [str(tmp_path)]
    assert tempfile.gettempdir() == str(tmp_path)
