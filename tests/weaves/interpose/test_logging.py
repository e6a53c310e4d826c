"""`logging`: records say where they come from, a program configures its own, a function shares the test runner's."""

from __future__ import annotations

import logging
import logging.config
import sys
import textwrap
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from lonely_hosts import Programs, World

from weaves.strings import String

log = logging.getLogger("tests.shared")


@pytest.fixture(autouse=True)
def shared_module() -> Iterator[None]:
    """A module that all programs share, as an installed package: its logger is one object."""
    module = types.ModuleType("shared_by_programs")
    module.log = log  # type: ignore[attr-defined]
    sys.modules["shared_by_programs"] = module
    yield
    del sys.modules["shared_by_programs"]


# Records


def test_a_record_says_host_weave_and_string(world: World, caplog: pytest.LogCaptureFixture, outside: Any) -> None:
    world.net.run(until=2.5)

    def main() -> None:
        log.warning("inside")
        outside(lambda: log.warning("outside"))

    world.net.start(world.host, main, name="talks")
    world.net.run()
    inside, machine = caplog.records
    assert (inside.host, inside.weave, inside.string) == ("alpha", "alpha", "talks")
    assert (machine.host, machine.weave, machine.string) == ("-", "-", "-")
    assert (inside.created, inside.relativeCreated, inside.process, inside.thread) == (946684802.5, 2500.0, 2, 2)
    assert machine.created > inside.created
    assert machine.process != 2
    assert logging.Formatter("%(host)s/%(string)s: %(message)s").format(inside) == "alpha/talks: inside"
    assert logging.Formatter("{host}: {message}", style="{").format(machine) == "-: outside"


def test_extra_of_a_program_may_have_the_same_names(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run(lambda: log.warning("GET", extra={"host": "example.org"}))
    assert (caplog.records[0].host, caplog.records[0].weave) == ("example.org", "alpha")


def test_a_record_that_no_logger_made_has_the_fields() -> None:
    assert logging.makeLogRecord({}).host == "-"  # type: ignore[attr-defined]


# A program's own configuration

CONFIGURES = """
import logging, sys, time
from shared_by_programs import log
logging.basicConfig(level={level!r}, stream=sys.stdout, format="{name} %(levelname)s %(name)s %(message)s")
time.sleep(1)                          # the other one has configured its own by now
log.debug("fine")
log.info("coarse")
print("{name}", len(logging.root.handlers), log.isEnabledFor(logging.INFO), log.getEffectiveLevel())
"""


def test_each_program_has_its_own_handlers_and_levels(programs: Programs) -> None:
    before = (logging.root.level, list(logging.root.handlers), dict(log.__dict__["_cache"]))
    lines = programs(CONFIGURES.format(name="A", level="DEBUG"), CONFIGURES.format(name="B", level="WARNING"))
    assert lines == [
        "A DEBUG tests.shared fine",
        "A INFO tests.shared coarse",
        "A 1 True 10",
        "B 1 False 30",
    ]
    assert (logging.root.level, list(logging.root.handlers), log.__dict__["_cache"]) == before


def test_a_program_does_not_see_what_the_test_runner_has_configured(
    programs: Programs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = """
        import logging
        from shared_by_programs import log
        print(logging.root.handlers, logging.root.level, log.isEnabledFor(logging.DEBUG))
        log.warning("for standard error")
        """
    assert programs(textwrap.dedent(source)) == ["[] 30 False"]
    assert caplog.records == []


def test_what_modules_set_at_import_is_what_a_program_starts_from(programs: Programs) -> None:
    quiet = logging.getLogger("tests.quiet")
    quiet.setLevel(logging.ERROR)
    quiet.addHandler(logging.NullHandler())
    stream = logging.StreamHandler()
    quiet.addHandler(stream)
    try:
        source = """
            import logging
            quiet = logging.getLogger("tests.quiet")
            print(quiet.level, [type(one).__name__ for one in quiet.handlers])
            quiet.setLevel("INFO")
            quiet.handlers.clear()
            quiet.propagate = False
            """
        assert programs(textwrap.dedent(source)) == ["40 ['NullHandler']"]
        assert (quiet.level, len(quiet.handlers), quiet.propagate) == (logging.ERROR, 2, True)
    finally:
        quiet.handlers.clear()
        quiet.setLevel(logging.NOTSET)


def test_disable_and_disabled_are_a_programs_own(programs: Programs) -> None:
    source = """
        import logging, sys
        from shared_by_programs import log
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        logging.disable(logging.ERROR)
        log.error("not this")
        logging.disable(logging.NOTSET)
        log.error("this")
        log.disabled = True
        log.error("nor this")
        log.addFilter(lambda record: False)
        """
    assert programs(textwrap.dedent(source)) == ["this"]
    assert (logging.root.manager.disable, log.disabled, log.filters) == (0, False, [])


DICT_CONFIG = """
import logging, logging.config, time
from shared_by_programs import log
logging.config.dictConfig({{
    "version": 1,
    "formatters": {{"plain": {{"format": "{name} %(message)s"}}}},
    "handlers": {{"out": {{"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"}}}},
    "loggers": {{"tests.shared": {{"level": "INFO", "handlers": ["out"], "propagate": False}}}},
}})
time.sleep(1)
log.info("hello")
"""


def test_configuring_by_a_dictionary_leaves_the_others_alone(programs: Programs) -> None:
    closed = []

    class Handler(logging.Handler):
        def close(self) -> None:
            closed.append(self)
            super().close()

    handler = Handler()
    handler.name = "out"
    assert programs(DICT_CONFIG.format(name="A"), DICT_CONFIG.format(name="B")) == ["A hello", "B hello"]
    assert closed == []
    module: Any = logging
    assert module._handlers["out"] is handler
    assert module._handlers.copy()["out"] is handler
    assert log.level == logging.NOTSET


def test_a_program_flushes_its_handlers_at_its_end(programs: Programs) -> None:
    source = """
        import logging, logging.handlers, sys
        target = logging.StreamHandler(sys.stdout)
        logging.root.addHandler(logging.handlers.MemoryHandler(100, target=target))
        logging.warning("kept until the end")
        print("the last line of the program")
        """
    assert programs(textwrap.dedent(source)) == ["the last line of the program", "kept until the end"]


def test_shutdown_inside_is_the_programs(programs: Programs) -> None:
    closed = []

    class Handler(logging.Handler):
        def close(self) -> None:
            closed.append(self)
            super().close()

    handler = Handler()
    programs("import logging\nlogging.basicConfig()\nlogging.shutdown()\n")
    assert (closed, handler.name) == ([], None)


def test_captured_warnings_are_the_programs(programs: Programs) -> None:
    source = """
        import logging, sys, warnings
        logging.basicConfig(stream=sys.stdout, format="%(name)s")
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("beware")
        """
    show = warnings.showwarning
    with warnings.catch_warnings():
        assert programs(textwrap.dedent(source)) == ["py.warnings"]
    assert warnings.showwarning is show


def test_a_program_that_is_restarted_configures_again(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from weaves.loader import load

    (tmp_path / "again.py").write_text(
        "import logging, sys, time\nprint(len(logging.root.handlers))\n"
        "logging.basicConfig(stream=sys.stdout)\nassert time.monotonic() > 0\n"
    )
    (tmp_path / "site.toml").write_text('[tapestry]\non_error = "restart"\n[hosts.a]\nstrings = [{ run = "again.py" }]')
    tapestry = load(tmp_path / "site.toml")
    tapestry.run_blocking()
    tapestry.close()
    assert capsys.readouterr().out.splitlines() == ["0", "0"]


def test_a_logger_that_a_program_makes_is_fresh_in_the_others(programs: Programs) -> None:
    source = """
        import logging, time
        log = logging.getLogger("tests.made.inside")
        print(log.level)
        log.setLevel("ERROR")
        """
    assert programs(textwrap.dedent(source), textwrap.dedent(source)) == ["0", "0"]
    assert logging.getLogger("tests.made.inside").level == logging.NOTSET


def test_a_function_shares_the_test_runners_configuration(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "tests.shared"):
        world.run(lambda: log.debug("seen"))
    assert [record.message for record in caplog.records] == ["seen"]


def test_inside_and_outside_at_the_same_moment(world: World, outside: Any) -> None:
    weave = world.host.new_weave("program", ["program"], {}, "/")
    found: list[Any] = []

    def main() -> None:
        logging.basicConfig(level="DEBUG")
        log.setLevel("ERROR")
        found.append((logging.root.level, log.level, outside(lambda: (logging.root.level, log.level))))

    before = (logging.root.level, log.level)
    world.net.supervisor.start(String(weave, "main", main), 0)
    world.net.run()
    assert found == [(logging.DEBUG, logging.ERROR, before)]
