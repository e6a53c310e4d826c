"""`weaves.load`: from a file or a description to strings that run. What it refuses is in test_cli.py's table."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

import weaves
from weaves import TapestryError
from weaves.loader import describe, load
from weaves.strings import ENDED, KILLED, RUNNING
from weaves.tapestry import parse

HOST = '[hosts.a]\neth0 = "10.0.0.1/24"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for tapestries, whose modules are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def tapestry(folder: Path, text: str, **files: str) -> weaves.LiveTapestry:
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    (folder / "site.toml").write_text(text)
    return weaves.load(folder / "site.toml")


def results(live: weaves.LiveTapestry) -> list[Any]:
    """Run to the end; the strings' results."""
    try:
        live.run_blocking()
        return [string.result for string in live.supervisor.strings]
    finally:
        live.close()


def test_a_function_gets_its_arguments_and_a_result_is_kept(folder: Path) -> None:
    live = tapestry(
        folder,
        f'{HOST}strings = [{{ call = "p:add", args = [1, "{{host}}"], kwargs = {{ more = [2.5] }} }},'
        '{ call = "p:Deep.add", args = [2] }]\n',
        p="async def add(*args, **kwargs):\n    return args, kwargs\n"
        "class Deep:\n    @staticmethod\n    def add(x):\n        return x + 1\n",
    )
    assert results(live) == [((1, "a"), {"more": [2.5]}), 3]
    assert live.ok


def test_arguments_of_one_host_are_not_anothers(folder: Path) -> None:
    live = tapestry(
        folder,
        '[hosts.h]\ncount = 3\neth0 = "10.0.0.{i+1}/24"\nstrings = [{ call = "p:grow", args = [[]] }]\n',
        p="def grow(items):\n    items.append(1)\n    return len(items)\n",
    )
    assert results(live) == [1, 1, 1]


def test_strings_start_and_stop_at_their_times(folder: Path) -> None:
    live = tapestry(
        folder,
        f'{HOST}strings = [{{ call = "p:now", start = "1.5s" }}, {{ call = "p:sleep", start = "1s", stop = "2s" }}]\n',
        p="import time\ndef now():\n    return time.monotonic()\ndef sleep():\n    time.sleep(100)\n",
    )
    assert results(live) == [1.5, None]
    assert [string.state for string in live.supervisor.strings] == [ENDED, KILLED]
    assert live.now_ns == 2_000_000_000


def test_a_folder_and_a_module_are_programs_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tool").mkdir()
    (folder / "tool" / "__main__.py").write_text("import sys, helper\nprint(sys.argv, helper.NAME)\n")
    (folder / "tool" / "helper.py").write_text("NAME = 'beside'\n")
    (folder / "apps").mkdir()
    (folder / "apps" / "one.py").write_text("import sys, neighbour\nprint(sys.argv, neighbour.NAME)\n")
    (folder / "apps" / "neighbour.py").write_text("NAME = 'next door'\n")
    live = tapestry(
        folder,
        f'{HOST}strings = [{{ run = "tool x" }}, {{ run = "python apps/one.py y" }},'
        '{ run = "python -m module_p z" }]\n',
        module_p="import sys\nprint(sys.argv, __spec__.name)\n",
    )
    results(live)
    assert capsys.readouterr().out == (
        "['tool', 'x'] beside\n['apps/one.py', 'y'] next door\n"
        f"['{folder}/module_p.py', 'z'] module_p\n"
    )


def test_a_module_of_the_application_is_executed_on_each_host(folder: Path) -> None:
    live = tapestry(
        folder,
        '[hosts.h]\ncount = 5\neth0 = "10.0.0.{i+1}/24"\nstrings = [{ call = "p:where", start = "1s" }]\n',
        p="import socket, time\nat_import = (socket.gethostname(), time.monotonic())\n"
        "def where():\n    return at_import\n",
    )
    assert results(live) == [(f"h-{number}", 1.0) for number in range(5)]


def test_the_seed_and_the_end_can_be_replaced(folder: Path) -> None:
    text = f'[tapestry]\nseed = 5\nuntil = "1s"\n{HOST}strings = [{{ call = "p:draw" }}]\n'
    files = {"p": "import random, time\ndef draw():\n    time.sleep(3)\n    return random.random()\n"}
    tapestry(folder, text, **files).close()
    found = {}
    for seed in (None, 5, 6):
        live = load(folder / "site.toml", seed=seed, until_ns=4_000_000_000)
        assert live.network.seed == (seed or 5)
        found[seed] = results(live)
    assert found[None] == found[5] != found[6]
    cut_off = load(folder / "site.toml")
    assert results(cut_off) == [None]
    assert cut_off.now_ns == 1_000_000_000
    assert [string.state for string in cut_off.supervisor.strings] == [KILLED]


def test_a_tapestry_of_servers_runs_until_its_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f'{HOST}strings = [{{ call = "p:tick", background = true }}]\n'
    source = "import time\ndef tick():\n    while True:\n        print('tick')\n        time.sleep(1)\n"
    files = {"p": source}
    with pytest.raises(TapestryError, match="every string is in the background"):
        tapestry(folder, text, **files)
    live = load(folder / "site.toml", until_ns=10_500_000_000)
    results(live)
    assert capsys.readouterr().out == 11 * "tick\n"
    assert live.now_ns == 10_500_000_000


def test_a_background_string_that_ends_does_not_end_the_run(folder: Path) -> None:
    live = tapestry(
        folder,
        f'[tapestry]\nuntil = "5s"\n{HOST}strings = [{{ call = "p:short", background = true }}]\n',
        p="def short(): ...\n",
    )
    results(live)
    assert live.now_ns == 5_000_000_000


def test_a_failure_in_the_background_stops_a_run_of_servers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = tapestry(
        folder,
        f'[tapestry]\nuntil = "5s"\n{HOST}strings = [{{ call = "p:fails", start = "1s", background = true }}]\n',
        p="def fails():\n    raise ValueError('one')\n",
    )
    results(live)
    assert live.now_ns == 1_000_000_000
    assert not live.ok
    assert "ValueError: one" in capsys.readouterr().err


def test_hosts_without_strings_are_over_at_once(folder: Path) -> None:
    live = tapestry(folder, HOST)
    assert results(live) == []
    assert (live.now_ns, live.ok, live.stalled) == (0, True, [])
    live = tapestry(folder, f'[tapestry]\nuntil = "5s"\n{HOST}')
    assert results(live) == []
    assert live.now_ns == 5_000_000_000


def test_a_stalled_run_is_not_ok(folder: Path) -> None:
    live = tapestry(
        folder,
        f'{HOST}strings = [{{ call = "p:waits" }}]\n',
        p="import weaves\nasync def waits():\n    await weaves.schedule()\n",
    )
    live.run_blocking()
    assert [string.name for string in live.stalled] == ["waits"]
    assert [string.state for string in live.stalled] == [RUNNING]
    assert not live.ok
    assert live.stall_report().startswith("stalled at 0s: nothing is left that could wake waits on a: ")
    live.close()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_run_is_awaited_inside_a_loop_which_gets_its_turns(folder: Path, loop_factory: Any) -> None:
    live = tapestry(
        folder,
        f'{HOST}strings = [{{ call = "p:long" }}]\n',
        p="import asyncio\nasync def long():\n    for _ in range(20_000):\n        await asyncio.sleep(1)\n",
    )

    async def outside() -> tuple[int, int]:
        turns = 0
        slices: list[int] = []

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = asyncio.create_task(count())
        await live.run(lambda: slices.append(live.now_ns))
        counter.cancel()
        return turns, len(slices)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        turns, slices = runner.run(outside())
    live.close()
    assert live.now_ns == 20_000 * 10**9
    assert slices >= 1
    assert turns >= slices - 1


def test_weaves_of_one_name_on_a_host_are_numbered(folder: Path) -> None:
    (folder / "p.py").write_text("import random\ndef f():\n    return random.random()\n")
    call = '{ call = "p:f" }'
    text = f'{HOST}strings = [{call}, {call}, {{ call = "p:f", name = "f #2" }}, {call}]\n'
    description = parse(text, folder / "site.toml")
    names = [weave.name for weave in description.weaves]
    assert names == ["f", "f #2", "f #2 #2", "f #3"]
    live = load(description)
    assert [string.weave.name for string in live.supervisor.strings] == names
    assert len(set(results(live))) == 4


def test_a_description_without_its_file_still_has_a_place(folder: Path) -> None:
    description = parse(f'{HOST}strings = [{{ call = "json:no_such" }}]\n', folder / "nowhere.toml")
    with pytest.raises(TapestryError) as caught:
        load(description)
    assert str(caught.value).startswith(
        f'{folder}/nowhere.toml: hosts.a.strings[0].call: module "json" has no "no_such"; expected one of '
    )


def test_two_tapestries_have_modules_of_the_same_name(folder: Path) -> None:
    texts = {}
    for name in ("first", "second"):
        (folder / name).mkdir()
        (folder / name / "shared_name.py").write_text(f"def who():\n    return {name!r}\n")
        texts[name] = f'{HOST}strings = [{{ call = "shared_name:who" }}]\n'
        (folder / name / "site.toml").write_text(texts[name])
    assert results(load(folder / "first" / "site.toml")) == ["first"]
    assert results(load(folder / "first" / "site.toml")) == ["first"]
    assert results(load(folder / "second" / "site.toml")) == ["second"]
    assert "shared_name" not in sys.modules


def test_a_file_that_came_after_the_last_import_is_found(folder: Path) -> None:
    for number in range(5):
        files = {f"late_{number}": "def f():\n    return 1\n"}
        live = tapestry(folder, f'{HOST}strings = [{{ call = "late_{number}:f" }}]\n', **files)
        assert results(live) == [1]


def test_load_that_fails_leaves_nothing_running(folder: Path) -> None:
    (folder / "p.py").write_text("async def f(): ...\n")
    with pytest.raises(TapestryError):
        tapestry(folder, f'{HOST}strings = [{{ call = "p:f" }}, {{ call = "p:g" }}]\n')
    assert results(tapestry(folder, f'{HOST}strings = [{{ call = "p:f" }}]\n')) == [None]


def test_functions_without_a_signature_are_called_as_they_are(folder: Path) -> None:
    live = tapestry(folder, f'{HOST}strings = [{{ call = "math:hypot", args = [3, 4] }}]\n')
    assert results(live) == [5.0]


def test_describe_takes_what_load_takes(folder: Path) -> None:
    (folder / "site.toml").write_text(HOST)
    description = describe(folder / "site.toml")
    assert describe(description) is description
    with pytest.raises(TapestryError, match="there are no hosts"):
        describe(parse("", folder / "site.toml"))


def test_closing_twice_does_nothing(folder: Path) -> None:
    live = tapestry(folder, HOST)
    live.close()
    live.close()


def test_a_trial_shows_nothing_of_what_a_module_prints(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "loud.py").write_text(
        "import sys\nprint('printed')\nsys.stdout.write('written')\nprint('told', file=sys.stderr)\n"
        "sys.__stdout__.write('said')\ndef main():\n    pass\n"
    )
    before = vars(sys)["stdout"]
    load(parse('[hosts.h]\neth0 = "10.0.0.1/24"\nstrings = [{ call = "loud:main" }]\n', folder / "site.toml")).close()
    assert vars(sys)["stdout"] is before
    assert capfd.readouterr() == ("", "")
