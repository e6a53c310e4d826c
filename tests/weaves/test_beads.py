"""Beads: one code, a namespace of its own for each program that runs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weaves.beads import Main
from weaves.here import here
from weaves.interpose import install
from weaves.library import Library
from weaves.machine_modules import release
from weaves.modules import Modules
from weaves.scheduler import Lane, Scheduler
from weaves.threads import Threads
from weaves.weave import NoFiles


class StandIn:
    """Does for a weave, with a clock for whatever may ask for the time inside."""

    def __init__(self, folder: Path) -> None:
        self.scheduler = Scheduler()
        self.epoch_ns = 0
        self.argv = ["p"]
        self.sys_names: dict[str, Any] = {}
        self.lane = Lane(1)
        self.pid = 2
        self.host = SimpleNamespace(files=NoFiles(), paths=NoFiles())
        self.strings: list[Any] = []
        self.threads = Threads(self)  # type: ignore[arg-type]
        self.library = Library()
        self.modules: Any = Modules(self, self.library, self.library.policy((str(folder),)))  # type: ignore[arg-type]

    def run(self, main: Main) -> None:
        """Run a program of this weave."""
        here.weave = self  # type: ignore[assignment]
        try:
            main.run()
        finally:
            here.weave = None


@pytest.fixture
def weave(folder: Path) -> Iterator[StandIn]:
    """A weave whose application is in the folder."""
    install()
    made = StandIn(folder)
    yield made
    release(made.library)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that modules are found in, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_each_run_has_globals_of_its_own(weave: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "p.py"
    path.write_text("count = globals().get('count', 0) + 1\nprint(count, __name__)\n")
    main = Main.of_file(path)
    weave.run(main)
    weave.run(main)
    assert capsys.readouterr().out == "1 __main__\n1 __main__\n"


def test_globals_outlive_the_run_in_what_was_made_there(weave: StandIn, folder: Path) -> None:
    path = folder / "p.py"
    path.write_text("import seen\nvalue = 7\ndef get():\n    return value\nseen.get = get\n")
    (folder / "seen.py").write_text("")
    weave.run(Main.of_file(path))
    assert weave.modules.view["seen"].get() == 7
    release(weave.library)
    assert "seen" not in sys.modules


def test_the_code_is_shared_and_is_what_was_read(
    weave: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "p.py"
    path.write_text("print('first')\n")
    main = Main.of_file(path)
    path.write_text("print('second')\n")
    weave.run(main)
    weave.run(Main.of_file(path))
    assert capsys.readouterr().out == "first\nsecond\n"


def test_what_a_file_is_told_of_itself(weave: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "p.py"
    path.write_text("'''Words.'''\nprint(__file__, __name__, __package__, __spec__, __cached__, __doc__)\n")
    weave.run(Main.of_file(path))
    assert capsys.readouterr().out == f"{path} __main__ None None None Words.\n"


def test_a_folder_is_its_main(weave: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tool").mkdir()
    (folder / "tool" / "__main__.py").write_text("print(__file__)\n")
    weave.run(Main.of_file(folder / "tool"))
    assert capsys.readouterr().out == f"{folder}/tool/__main__.py\n"


def test_a_module_and_a_package_are_what_python_m_runs(
    weave: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = folder / "bead_package"
    package.mkdir()
    (package / "__init__.py").write_text("print('imported', __name__)\n")
    (package / "__main__.py").write_text("from . import part\nprint(__name__, __package__, __spec__.name)\n")
    (package / "part.py").write_text("print('part', __name__)\n")
    weave.run(Main.of_module("bead_package", weave.library, weave.modules.path))
    assert capsys.readouterr().out == (
        "imported bead_package\npart bead_package.part\n__main__ bead_package bead_package.__main__\n"
    )
    main = Main.of_module("bead_package.part", weave.library, weave.modules.path)
    weave.run(main)
    assert capsys.readouterr().out == "part __main__\n"
    assert main.file == str(package / "part.py")


@pytest.mark.parametrize("name", ["no_such_bead", "_thread", "bead_namespace"])
def test_what_has_no_code_to_run(weave: StandIn, folder: Path, name: str) -> None:
    (folder / "bead_namespace").mkdir()
    with pytest.raises(ImportError, match=f"no Python code to run in {name}"):
        Main.of_module(name, weave.library, weave.modules.path)


def test_a_shared_module_is_imported_outside_of_the_weave(weave: StandIn, folder: Path) -> None:
    # It is shared by all hosts: what it does at import must not depend on who came first.
    installed = folder / "installed"
    installed.mkdir()
    (installed / "bead_inner.py").write_text("import weaves.here\nseen = weaves.here.here.weave\n")
    (installed / "bead_outer.py").write_text("import bead_inner\n")
    sys.path.append(str(installed))
    (folder / "seen_inside.py").write_text("import weaves.here\nseen = weaves.here.here.weave\n")
    path = folder / "p.py"
    path.write_text(
        "import weaves.here, bead_outer, seen_inside\n"
        "from bead_inner import seen\n"
        "assert seen is None\n"
        "assert weaves.here.here.weave is not None is not seen_inside.seen\n"
        "try:\n    import no_such_bead\nexcept ImportError:\n    assert weaves.here.here.weave is not None\n"
    )
    weave.run(Main.of_file(path))


def test_what_a_program_raises_comes_out(weave: StandIn, folder: Path) -> None:
    path = folder / "p.py"
    path.write_text("raise SystemExit(3)\n")
    with pytest.raises(SystemExit, match="3"):
        weave.run(Main.of_file(path))


def test_future_imports_of_ours_are_not_the_programs(
    weave: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "p.py"
    path.write_text("def f(x: 1 + 1): ...\nprint(f.__annotations__)\n")
    weave.run(Main.of_file(path))
    assert capsys.readouterr().out == "{'x': 2}\n"
