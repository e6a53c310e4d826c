"""Modules of a weave: imports, `sys.modules` and `sys.path` inside a weave, and that nobody outside notices.

Each program asserts for itself; a string that ended well is one whose assertions held.
"""

from __future__ import annotations

import bdb
import gc
import importlib
import importlib.util
import pickle
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

import weaves
from weaves.loader import load
from weaves.strings import ENDED
from weaves.tapestry import parse

HOSTS = '[hosts.h]\ncount = {count}\neth0 = "10.0.{{i//200}}.{{i%200+1}}/16"\nstrings = [{{ {string} }}]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the package `app` of the programs here."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    write(
        tmp_path,
        **{
            "app/__init__": "counter = 0\nfrom .models import Model\n",
            "app/models": (
                "import dataclasses, functools, typing\n"
                "from . import circle\n"
                "@dataclasses.dataclass\n"
                "class Model:\n"
                "    x: 'int'\n"
                "    other: 'typing.Optional[Model]' = None\n"
                "    seen: typing.ClassVar[list] = []\n"
                "@functools.lru_cache\n"
                "def cached(x):\n"
                "    return object()\n"
            ),
            "app/circle": (
                "import app.models as models\n"
                "def late():\n"
                "    from .models import Model\n"
                "    import app.models\n"
                "    return {Model, app.models.Model, models.Model}\n"
            ),
            "app/bad": "import app\napp.tried = True\nraise LookupError('not today')\n",
        },
    )
    return tmp_path


def write(folder: Path, **files: str) -> None:
    """Write each text to the Python file of its name."""
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def run(folder: Path, string: str, count: int = 2, **module: Any) -> list[Any]:
    """Run `string` on `count` hosts, and return what each returned; `module` has fields of its ModuleDescription."""
    description = parse(HOSTS.format(count=count, string=string), folder / "site.toml")
    if module:
        changed = attrs.evolve(description.weaves[0].beads[0].module, **module)
        description = attrs.evolve(
            description,
            weaves=tuple(
                attrs.evolve(weave, beads=(attrs.evolve(weave.beads[0], module=changed),))
                for weave in description.weaves
            ),
        )
    live = load(description)
    try:
        live.run_blocking()
        failed = [string.describe_failure() for string in live.supervisor.strings if string.error is not None]
        assert not failed, failed[0]
        assert [string.state for string in live.supervisor.strings] == count * [ENDED]
        return [string.result for string in live.supervisor.strings]
    finally:
        live.close()


def program(folder: Path, text: str, count: int = 2) -> None:
    """Run a program on `count` hosts; each must end well."""
    write(folder, p=text)
    run(folder, 'run = "p.py"', count)


def test_a_submodule_that_is_being_imported_is_itself_and_not_what_stands_for_it(folder: Path) -> None:
    write(
        folder,
        **{
            "pack/__init__": "",
            "pack/one": "from . import two\n",
            "pack/two": "from . import one\nfrom pack import one as again\n",
        },
    )
    program(
        folder,
        "import sys, types\nimport pack.one\n"
        "two = pack.one.two\n"
        "assert two.one is two.again is pack.one is sys.modules['pack.one']\n"
        "assert type(two.one) is types.ModuleType\n",
    )


def test_a_traceback_shows_the_lines_of_the_program_and_no_others(folder: Path) -> None:
    write(folder, broken="def f():\n    1 / 0\nf()\n")
    program(
        folder,
        "import os, sys, traceback\n"
        "def lines(error):\n"
        "    return [(os.path.basename(f.filename), f.lineno) for f in traceback.extract_tb(error.__traceback__)]\n"
        "try:\n"
        "    import broken\n"
        "except ZeroDivisionError as error:\n"
        "    assert lines(error) == [('p.py', 5), ('broken.py', 3), ('broken.py', 2)], lines(error)\n"
        "else:\n    raise AssertionError\n",
    )


def test_an_excepthook_sees_the_lines_of_the_program_and_no_others(folder: Path) -> None:
    write(
        folder,
        hooked="import sys, traceback\n"
        "sys.excepthook = lambda kind, error, trace: print([f.lineno for f in traceback.extract_tb(trace)])\n"
        "{}['no such key']\n",
    )
    live = load(parse(HOSTS.format(count=1, string='run = "hooked.py", on_error = "continue"'), folder / "site.toml"))
    live.supervisor.on_failure = lambda _string: None
    with weaves.Output() as output:
        live.run_blocking()
    live.close()
    assert output.text("h-0") == "[3]\n"


def test_each_weave_has_data_of_its_own(folder: Path) -> None:
    program(
        folder,
        "import app\n"
        "from app.models import Model, cached\n"
        "app.counter += 1\n"
        "Model.seen.append(1)\n"
        "cached(1)\n"
        "assert (app.counter, len(Model.seen), cached.cache_info().currsize) == (1, 1, 1)\n",
        count=5,
    )


def test_every_way_of_importing_finds_the_weaves_own(folder: Path) -> None:
    program(
        folder,
        "import importlib, sys\n"
        "import app, app.models, app.models as models\n"
        "from app import models as again\n"
        "from app.circle import late\n"
        "import __main__\n"
        "assert app.models is models is again is sys.modules['app.models']\n"
        "assert importlib.import_module('app.models') is importlib.import_module('.models', 'app') is models\n"
        "assert __import__('app.models') is app and __import__('app.models', fromlist=['Model']) is models\n"
        "assert late() == {models.Model}\n"
        "assert __main__ is sys.modules['__main__'] and __main__.late is late\n"
        "assert importlib.util.find_spec('app.models').origin == models.__file__\n"
        "app.counter = 5\n"
        "assert importlib.reload(app) is app and app.counter == 0\n"
        "namespace = {}\n"
        "exec('import app', namespace)\n"
        "assert namespace['app'] is app\n",
    )


def test_what_finds_a_module_by_name_finds_the_weaves_own(folder: Path) -> None:
    program(
        folder,
        "import dataclasses, inspect, pickle, sys, typing\n"
        "from app.models import Model\n"
        "class Local: pass\n"
        "def function():\n"
        "    return 'a line to be found'\n"
        "for dump in (pickle.dumps, pickle._dumps):\n"
        "    for load in (pickle.loads, pickle._loads):\n"
        "        assert type(load(dump(Model(1)))) is Model and type(load(dump(Local()))) is Local\n"
        "        assert load(dump(function)) is function\n"
        "assert typing.get_type_hints(Model)['other'] == typing.Optional[Model]\n"
        "assert [field.name for field in dataclasses.fields(Model)] == ['x', 'other']\n"
        "assert 'x: ' in inspect.getsource(Model)\n"
        "assert 'a line to be found' in inspect.getsource(function)\n"
        "assert inspect.getmodule(Model) is sys.modules['app.models']\n"
        "assert Model.__module__ == 'app.models' and Local.__module__ == '__main__'\n",
    )


def test_a_failed_import_leaves_nothing_but_what_it_did(folder: Path) -> None:
    program(
        folder,
        "import sys, traceback, app\n"
        "for _ in range(2):\n"
        "    app.tried = False\n"
        "    try:\n"
        "        import app.bad\n"
        "    except LookupError as error:\n"
        "        assert app.tried and 'app.bad' not in sys.modules\n"
        "        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]\n"
        "        assert not any('importlib' in frame.filename for frame in traceback.extract_tb(error.__traceback__))\n"
        "        assert traceback.extract_tb(error.__traceback__)[-1].line.startswith('raise LookupError')\n"
        "    else:\n"
        "        raise AssertionError\n"
        "try:\n"
        "    import app.nothing\n"
        "except ModuleNotFoundError as error:\n"
        "    assert error.name == 'app.nothing'\n"
        "try:\n"
        "    from app import nothing\n"
        "except ImportError as error:\n"
        "    assert error.name == 'app'\n",
    )


def test_sys_modules_and_sys_path_are_the_weaves(folder: Path) -> None:
    (folder / "more").mkdir()
    write(folder, **{"more/extra": "value = 1\n"})
    program(
        folder,
        "import sys, types, json, app\n"
        "assert 'app' in sys.modules and 'app' in list(sys.modules) and sys.modules.get('app') is app\n"
        "assert sys.modules.copy()['json'] is json is sys.modules['json']\n"
        "assert len(sys.modules) == len(list(sys.modules))\n"
        "fake = sys.modules['fake_one'] = types.ModuleType('fake_one')\n"
        "import fake_one\n"
        "assert fake_one is fake\n"
        "del sys.modules['fake_one']\n"
        "try:\n    import fake_one\nexcept ImportError: pass\nelse: raise AssertionError\n"
        "del sys.modules['json']\n"
        "assert 'json' not in sys.modules\n"
        "import json as again\n"
        "assert again is json is sys.modules['json']\n"
        "app.counter = 7\n"
        "del sys.modules['app']\n"
        "import app as anew\n"
        "assert anew is not app and anew.counter == 0\n"
        "assert 'extra' not in sys.modules\n"
        "sys.path.insert(0, str(sys.path[0]) + '/more')\n"
        "import extra\n"
        "assert extra.value == 1\n",
    )
    assert not {"app", "fake_one", "extra"} & set(sys.modules)
    assert "json" in sys.modules
    assert str(folder / "more") not in sys.path


def test_a_module_has_names_of_its_own_that_sys_has_too(folder: Path) -> None:
    # importlib makes modules by `type(sys)`, which is a class of ours.
    write(folder, **{"named/__init__": "argv = 1\npath = 2\nstdout = 3\n", "named/modules": "excepthook = 4\n"})
    program(
        folder,
        "import sys, types\n"
        "import named.modules\n"
        "assert (named.argv, named.path, named.stdout, named.modules.excepthook) == (1, 2, 3, 4)\n"
        "assert named.modules is sys.modules['named.modules']\n"
        "assert type(named) is type(named.modules) is types.ModuleType\n"
        "assert type(sys)('made').__name__ == 'made'\n",
    )
    spec = importlib.util.spec_from_file_location("outside", folder / "named" / "__init__.py")
    assert spec is not None and spec.loader is not None
    outside = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(outside)
    assert (outside.argv, outside.path, outside.stdout) == (1, 2, 3)


def test_a_module_that_replaces_itself_is_replaced(folder: Path) -> None:
    write(folder, lazy="import sys\nclass Lazy:\n    answer = 42\nsys.modules[__name__] = Lazy()\n")
    program(folder, "import lazy\nassert lazy.answer == 42 and type(lazy).__name__ == 'Lazy'\n")


def test_builtins_are_the_weaves(folder: Path) -> None:
    write(folder, reads="def read():\n    return greeting\n")
    program(
        folder,
        "import builtins, sys, reads, socket\n"
        "assert not hasattr(builtins, 'greeting')\n"
        "builtins.greeting = socket.gethostname()\n"
        "assert reads.read() == socket.gethostname()\n",
    )


def test_modules_in_c_and_namespace_packages_and_resources(folder: Path) -> None:
    (folder / "space").mkdir()
    write(folder, **{"space/part": "value = []\n"})
    (folder / "app" / "data.txt").write_text("words")
    program(
        folder,
        "import importlib.resources, pkgutil, _struct, space.part\n"
        "space.part.value.append(1)\n"
        "assert space.part.value == [1]\n"
        "import app\n"
        "assert pkgutil.get_data('app', 'data.txt') == b'words'\n"
        "assert importlib.resources.files('app').joinpath('data.txt').read_text() == 'words'\n"
        "assert {module.name for module in pkgutil.iter_modules(app.__path__)} == {'bad', 'circle', 'models'}\n",
    )


def test_a_zip_file_is_a_place_for_modules_too(folder: Path) -> None:
    import zipfile

    with zipfile.ZipFile(folder / "bundle.zip", "w") as bundle:
        bundle.writestr("zipped.py", "value = []\n")
    program(
        folder,
        "import sys\n"
        "sys.path.insert(0, sys.path[0] + '/bundle.zip')\n"
        "import zipped\n"
        "zipped.value.append(1)\n"
        "assert zipped.value == [1]\n",
    )


def test_a_module_in_c_of_the_application_is_one_for_all(folder: Path) -> None:
    # There is no compiler in this test: a module in C of the standard library stands in for the application's.
    import _bisect

    if not getattr(_bisect, "__file__", None):
        pytest.skip("this Python has _bisect built in, not as a file")
    (folder / "app" / Path(_bisect.__file__).name).write_bytes(Path(_bisect.__file__).read_bytes())
    program(
        folder,
        "import app._bisect as ours, app, sys\n"
        "assert ours.bisect_right([1, 2, 3], 2) == 2 and app._bisect is ours is sys.modules['app._bisect']\n"
        "app.counter += 1\n"
        "assert app.counter == 1\n",
    )


def test_a_folder_without_code_does_not_hide_an_installed_package(folder: Path) -> None:
    (folder / "aiohttp").mkdir()
    program(folder, "import sys, aiohttp\nassert aiohttp.__file__ and 'aiohttp' in sys.modules\n")
    aiohttp = importlib.import_module("aiohttp")
    assert type(aiohttp.__spec__.loader).__module__ != "weaves.library"


def test_a_module_that_a_program_writes_is_found_and_read_anew(folder: Path) -> None:
    program(
        folder,
        "import importlib, pathlib, sys\n"
        "name = f'made_{len(list(pathlib.Path(sys.path[0]).glob(\"made_*\")))}'\n"
        "try:\n    importlib.import_module(name)\nexcept ImportError: pass\nelse: raise AssertionError\n"
        "file = pathlib.Path(sys.path[0], f'{name}.py')\n"
        "file.write_text('x = 1\\n')\n"
        "importlib.invalidate_caches()\n"
        "made = importlib.import_module(name)\n"
        "assert made.x == 1\n"
        "file.write_text('x = 1000\\n')\n"
        "assert importlib.reload(made).x == 1000\n",
    )


def test_none_in_sys_modules_halts_an_import(folder: Path) -> None:
    program(
        folder,
        "import sys, app\n"
        "for name in ('app', 'json'):\n"
        "    sys.modules[name] = None\n"
        "    try:\n        __import__(name)\n    except ModuleNotFoundError as error:\n"
        "        assert 'None in sys.modules' in str(error)\n"
        "    else:\n        raise AssertionError\n",
    )
    assert sys.modules["json"] is not None


def test_what_is_named_is_isolated_and_nothing_else(folder: Path) -> None:
    write(
        folder,
        own="import colorsys, weaves.here\ndef main():\n    import app\n    return id(colorsys), id(app), id(main)\n",
    )
    sys.path.insert(0, str(folder))
    found = run(folder, 'call = "own:main"', count=3, isolate=("own", "colorsys"))
    standard, app, main = (set(column) for column in zip(*found, strict=True))
    assert (len(standard), len(app), len(main)) == (3, 1, 3)
    assert importlib.import_module("colorsys").__spec__.loader.__class__.__module__ != "weaves.library"


def test_shared_names_are_one_object_in_all_beads(folder: Path) -> None:
    write(
        folder,
        store="CACHE = {}\nOWN = {}\nput = CACHE.__setitem__\n"
        "def main(name):\n    put(name, 1)\n    OWN[name] = 1\n    return len(CACHE), len(OWN)\n",
    )
    found = run(folder, 'call = "store:main", args = ["{host}"]', count=3, share=("CACHE",))
    assert found == [(1, 1), (2, 1), (3, 1)]
    # A run more begins with nothing: what was shared was shared in its run.
    assert run(folder, 'call = "store:main", args = ["{host}"]', count=1, share=("CACHE",)) == [(1, 1)]


def test_weaves_that_name_one_bead_share_its_data_and_nothing_else(folder: Path) -> None:
    write(folder, cache="entries = {}\n", own="""
import cache
import sys
assert list(sys.modules).count("own") == 1 and len(sys.modules) == len(set(sys.modules))
count = 0
def put(name):
    global count
    count += 1
    cache.entries[name] = count
def get():
    return sorted(cache.entries), count
""")
    text = """
[modules.cache]
module = "cache"
[modules.own]
module = "own"
[[beads]]
name = "stack"
module = "lunar"
[[beads]]
name = "cache-1"
module = "cache"
[[beads]]
name = "own"
module = "own"
count = 3
[[weaves]]
name = "left"
beads = ["own-0", "cache-1", "stack"]
strings = [{ call = "own:put", args = ["left"] }, { call = "own:get", start = "1s" }]
[[weaves]]
name = "right"
beads = ["own-1", "cache-1", "stack"]
strings = [{ call = "own:put", args = ["right"] }, { call = "own:get", start = "1s" }]
[[weaves]]
name = "alone"
beads = ["own-2", "stack"]
strings = [{ call = "own:get", start = "1s" }]
"""
    live = load(parse(text, folder / "site.toml"))
    live.run_blocking()
    results = {string.weave.name: string.result for string in live.supervisor.strings if string.result is not None}
    live.close()
    # Two strings of one weave are in one bead: `count` is 1 in both. `alone` names no cache, so it has one of its own.
    assert results == {"left": (["left", "right"], 1), "right": (["left", "right"], 1), "alone": ([], 0)}


def test_a_shared_name_that_is_never_made_is_told(folder: Path) -> None:
    write(folder, own="CACHE = {}\ndef main(): ...\n")
    expected = r"AttributeError: module 'own' has no 'CASH', which its beads are to share"
    with pytest.raises(weaves.TapestryError, match=expected):
        run(folder, 'call = "own:main"', share=("CASH",))


def test_the_modules_of_a_program_that_has_ended_are_given_back(folder: Path) -> None:
    write(folder, own="class Big: ...\ndef main():\n    return weakref.ref(Big)\nimport weakref\n")
    text = '[hosts.a]\nstrings = [{ call = "own:main" }, { run = "wait.py" }]\n'
    write(folder, wait="import time\ntime.sleep(10)\n")
    live = load(parse(text, folder / "site.toml"))
    live.network.run(until="1s")  # type: ignore[attr-defined]
    gc.collect()
    assert live.supervisor.strings[0].result() is None
    live.run_blocking()
    live.close()


def test_two_programs_have_folders_of_their_own(folder: Path) -> None:
    for side in ("left", "right"):
        (folder / side).mkdir()
        write(folder, **{f"{side}/util": f"side = {side!r}\n", f"{side}/p": "import util, sys\nprint(util.side)\n"})
    text = '[hosts.a]\nstrings = [{ run = "left/p.py" }, { run = "right/p.py" }]\n'
    live = load(parse(text, folder / "site.toml"))
    with weaves.Output() as output:
        live.run_blocking()
    live.close()
    assert output.text("a") == "left\nright\n"


def test_outside_has_its_own_at_the_same_moment(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    outside = importlib.import_module("app")
    outside.counter = 100
    source = "import time, app\ndef main():\n    app.counter += 1\n    time.sleep(1)\n    return app.counter\n"
    write(folder, waits=source)
    live = load(parse(HOSTS.format(count=2, string='call = "waits:main"'), folder / "site.toml"))
    live.network.run(until="500ms")  # type: ignore[attr-defined]
    assert sys.modules["app"].counter == 100
    assert importlib.import_module("app") is outside
    model = outside.Model(1)
    assert type(pickle.loads(pickle.dumps(model))) is type(model)
    first_seen_here = importlib.import_module("waits")
    assert callable(first_seen_here.main)
    live.run_blocking()
    assert [string.result for string in live.supervisor.strings] == [1, 1]
    live.close()
    assert sys.modules["app"] is outside
    assert sys.modules["waits"] is first_seen_here
    for name in [name for name in sys.modules if name.partition(".")[0] in ("app", "waits")]:
        del sys.modules[name]


def test_an_import_that_waits_lets_others_go_on(folder: Path) -> None:
    # The import takes a second of virtual time on each host; the locks of importlib, by name, must not matter.
    write(folder, slow="import time\ntime.sleep(1)\nready = time.monotonic()\n")
    write(folder, uses="def main():\n    import slow\n    return slow.ready\n")
    assert run(folder, 'call = "uses:main", start = "{i*100}ms"', count=3) == [1.0, 1.1, 1.2]


def test_streams_and_hooks_are_the_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder,
        p="import contextlib, io, sys, socket, colorsys\n"
        "own = io.StringIO()\n"
        "with contextlib.redirect_stdout(own):\n"
        "    print('kept', socket.gethostname())\n"
        "    sys.stdout.write('too')\n"
        "assert own.getvalue() == f'kept {socket.gethostname()}\\ntoo', own.getvalue()\n"
        "print('seen')\n"
        "sys.excepthook = lambda kind, value, trace: print('hook', kind.__name__)\n"
        "raise KeyError(1)\n",
    )
    live = load(parse('[hosts.a]\nstrings = [{ run = "p.py" }]\n', folder / "site.toml"))
    live.supervisor.on_failure = lambda string: None
    live.run_blocking()
    live.close()
    assert capsys.readouterr().out == "seen\nhook KeyError\n"
    assert sys.excepthook is sys.__excepthook__ or "weaves" not in sys.excepthook.__module__


def test_the_first_streams_are_the_programs_too(folder: Path) -> None:
    write(folder, first="import io, sys\nsys.stdout = io.StringIO()\nprint('lost')\nsys.__stdout__.write('kept\\n')\n")
    live = load(parse(HOSTS.format(count=1, string='run = "first.py"'), folder / "site.toml"))
    outside = sys.__stdout__
    with weaves.Output() as output:
        live.run_blocking()
    live.close()
    assert (output.text("h-0"), sys.__stdout__) == ("kept\n", outside)


def test_a_thousand_weaves_of_one_module_see_nothing_of_each_other(folder: Path) -> None:
    """A counter, a dictionary, a class attribute and a cached function at module level."""
    write(
        folder,
        state="import functools\n"
        "counter = 0\nnames = {}\n"
        "class Thing:\n    made = 0\n"
        "@functools.cache\ndef cached(x):\n    return []\n"
        "def use(name):\n"
        "    global counter\n"
        "    counter += 1\n"
        "    names[name] = counter\n"
        "    Thing.made += 1\n"
        "    cached(0).append(name)\n"
        "    return counter, names, Thing.made, cached(0)\n",
        many="import time, state\n"
        "def main(name):\n"
        "    state.use(name)\n"
        "    time.sleep(1)\n"  # all others have used theirs meanwhile
        "    return state.use(name)\n",
    )
    found = run(folder, 'call = "many:main", args = ["{host}"]', count=1000)
    assert found == [(2, {f"h-{i}": 2}, 2, [f"h-{i}", f"h-{i}"]) for i in range(1000)]


def test_an_unknown_module_is_a_mistake_of_the_tapestry(folder: Path) -> None:
    with pytest.raises(weaves.TapestryError, match="no module"):
        load(parse('[hosts.a]\nstrings = [{ call = "nowhere:main" }]\n', folder / "site.toml"))


class Stops(bdb.Bdb):
    """A debugger that notes where it stops, and whose data it sees there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any]] = []

    def user_line(self, frame: Any) -> None:
        if self.break_here(frame):
            self.seen.append((frame.f_globals["__name__"], frame.f_globals["count"]))
        self.set_continue()


def test_a_debugger_stops_in_every_instance(folder: Path) -> None:
    write(
        folder,
        traced="count = 0\ndef step():\n    global count\n    count += 1\n    return count\n",
        q="import time, traced\ntraced.step()\ntime.sleep(1)\ntraced.step()\n",
    )
    live = load(parse(HOSTS.format(count=2, string='run = "q.py"'), folder / "site.toml"))
    debugger = Stops()
    debugger.set_break(str(folder / "traced.py"), 5)
    debugger.runcall(live.run_blocking)
    live.close()
    assert live.ok
    assert debugger.seen == [("traced", 1), ("traced", 1), ("traced", 2), ("traced", 2)]


def test_a_host_that_boots_again_starts_from_the_first_values(folder: Path) -> None:
    write(
        folder,
        state="import functools\n"
        "counter = 0\nnames = {}\nSHARED = []\n"
        "class Thing:\n    made = 0\n"
        "@functools.cache\ndef cached(x):\n    return []\n",
        life="import time, socket\nimport state\n"
        "def main():\n"
        "    while True:\n"
        "        state.counter += 1\n"
        "        state.names[state.counter] = 1\n"
        "        state.Thing.made += 1\n"
        "        state.cached(0).append(1)\n"
        "        state.SHARED.append(socket.gethostname())\n"
        "        print(state.counter, len(state.names), state.Thing.made, len(state.cached(0)), len(state.SHARED))\n"
        "        time.sleep(1)\n",
    )
    text = """
[tapestry]
until = "5500ms"
[modules.life]
module = "life"
share = ["state:SHARED"]
[hosts.stays]
strings = [{ call = "life:main", background = true }]
[hosts.crashes]
strings = [{ call = "life:main", background = true, start = "500ms" }]
[[events]]
at = "2s"
host = "crashes"
do = "crash"
[[events]]
at = "3s"
host = "crashes"
do = "boot"
"""
    live = load(parse(text, folder / "site.toml"))
    with weaves.Output() as output:
        live.run_blocking()
    live.close()
    # Ticks of `stays` are at whole seconds, of `crashes` at 0.5 and 1.5, and after its boot at 3.5, 4.5 and 5.5.
    assert output.text("stays") == "1 1 1 1 1\n2 2 2 2 3\n3 3 3 3 5\n4 4 4 4 6\n5 5 5 5 8\n6 6 6 6 10\n"
    assert output.text("crashes") == "1 1 1 1 2\n2 2 2 2 4\n1 1 1 1 7\n2 2 2 2 9\n3 3 3 3 11\n"
