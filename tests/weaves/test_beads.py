"""Beads: one code, a namespace of its own for each program that runs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weaves.beads import Main
from weaves.here import here
from weaves.scheduler import Scheduler


class Named(str):
    """A text that does for a weave, with a clock for whatever may ask for the time inside."""

    scheduler = Scheduler()
    epoch_ns = 0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that modules are found in, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_each_run_has_globals_of_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "p.py"
    path.write_text("count = globals().get('count', 0) + 1\nprint(count, __name__)\n")
    main = Main.of_file(path)
    main.run()
    main.run()
    assert capsys.readouterr().out == "1 __main__\n1 __main__\n"


def test_globals_outlive_the_run_in_what_was_made_there(folder: Path) -> None:
    path = folder / "p.py"
    path.write_text("import seen\nvalue = 7\ndef get():\n    return value\nseen.get = get\n")
    (folder / "seen.py").write_text("")
    Main.of_file(path).run()
    assert sys.modules["seen"].get() == 7


def test_the_code_is_shared_and_is_what_was_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "p.py"
    path.write_text("print('first')\n")
    main = Main.of_file(path)
    path.write_text("print('second')\n")
    main.run()
    Main.of_file(path).run()
    assert capsys.readouterr().out == "first\nsecond\n"


def test_what_a_file_is_told_of_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "p.py"
    path.write_text("'''Words.'''\nprint(__file__, __name__, __package__, __spec__, __cached__, __doc__)\n")
    Main.of_file(path).run()
    assert capsys.readouterr().out == f"{path} __main__ None None None Words.\n"


def test_a_folder_is_its_main(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tool").mkdir()
    (folder / "tool" / "__main__.py").write_text("print(__file__)\n")
    Main.of_file(folder / "tool").run()
    assert capsys.readouterr().out == f"{folder}/tool/__main__.py\n"


def test_a_module_and_a_package_are_what_python_m_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = folder / "bead_package"
    package.mkdir()
    (package / "__init__.py").write_text("print('imported', __name__)\n")
    (package / "__main__.py").write_text("from . import part\nprint(__name__, __package__, __spec__.name)\n")
    (package / "part.py").write_text("print('part', __name__)\n")
    Main.of_module("bead_package").run()
    assert capsys.readouterr().out == (
        "imported bead_package\npart bead_package.part\n__main__ bead_package bead_package.__main__\n"
    )
    main = Main.of_module("bead_package.part")
    main.run()
    assert capsys.readouterr().out == "part __main__\n"
    assert main.file == str(package / "part.py")


@pytest.mark.parametrize("name", ["no_such_bead", "_thread", "bead_namespace"])
def test_what_has_no_code_to_run(folder: Path, name: str) -> None:
    (folder / "bead_namespace").mkdir()
    with pytest.raises(ImportError, match=f"no Python code to run in {name}"):
        Main.of_module(name)


def test_imports_happen_outside_of_the_weave(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A module is shared by all hosts: what it does at import must not depend on who came first.
    (folder / "bead_inner.py").write_text("import weaves.here\nseen = weaves.here.here.weave\n")
    (folder / "bead_outer.py").write_text("import bead_inner\n")
    path = folder / "p.py"
    path.write_text(
        "import weaves.here, bead_outer\n"
        "from bead_inner import seen\n"
        "print(seen, weaves.here.here.weave)\n"
        "try:\n    import no_such_bead\nexcept ImportError:\n    print(weaves.here.here.weave)\n"
    )
    main = Main.of_file(path)
    here.weave = Named("a weave")  # type: ignore[assignment]
    try:
        main.run()
    finally:
        here.weave = None
    assert capsys.readouterr().out == "None a weave\na weave\n"


def test_what_a_program_raises_comes_out(folder: Path) -> None:
    path = folder / "p.py"
    path.write_text("raise SystemExit(3)\n")
    with pytest.raises(SystemExit, match="3"):
        Main.of_file(path).run()


def test_future_imports_of_ours_are_not_the_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "p.py"
    path.write_text("def f(x: 1 + 1): ...\nprint(f.__annotations__)\n")
    Main.of_file(path).run()
    assert capsys.readouterr().out == "{'x': 2}\n"
