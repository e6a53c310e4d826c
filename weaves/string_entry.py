"""An entry of `strings`: read once for a group, described for each host of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from weaves import readers, restart
from weaves.fields import Field, template_of, text_field, value_field
from weaves.programs import Programs, program_of
from weaves.restart import RestartPolicy
from weaves.tables import StringTable
from weaves.tapestry import OnError, StringDescription
from weaves.tapestry_errors import Where
from weaves.templates import Template
from weaves.toml_source import TomlPath, TomlSource
from weaves.units import parse_wait

# The place of a key of the entry.
_Place: TypeAlias = Callable[..., Where]


class StringEntry:
    """One entry of `strings`, ready to be described for each host or weave of its group.

    Under [hosts] it names its code, by `run` or `call`. In a weave, a program is one of the beads: an entry without
    `call` runs it, and `args` are the words after it.
    """

    def __init__(
        self,
        source: TomlSource,
        path: TomlPath,
        table: StringTable,
        on_error: OnError,
        programs: Programs,
        in_weave: bool = False,
    ) -> None:
        def place(*key: str | int) -> Where:
            return source.where(*path, *key)

        self.where = place()
        self.path = path
        self._background = table.background
        self._on_error = table.on_error or on_error
        self._restart = _restart(table, self._on_error, place)
        self._run: Field[tuple[str, ...]] | None = None  # under [hosts]: the program and its arguments
        self._words: Field[tuple[str, ...]] | None = None  # in a weave: the arguments of its program
        self._call: Field[str] | None = None
        if in_weave:
            self._check_in_weave(table, place)
        else:
            self._check_on_host(table, place)
        if table.run is not None:
            self._run = _run_field(place("run"), table.run, programs)
        if table.call is not None:
            self._call = text_field(place("call"), table.call, programs.checked_call)
        elif in_weave:
            self._words = _arguments_field(place, table.args)
        args = table.args if self._call is not None and not isinstance(table.args, str) else []
        self._args = [value_field(source, (*path, "args", at), value) for at, value in enumerate(args)]
        self._kwargs = {key: value_field(source, (*path, "kwargs", key), item) for key, item in table.kwargs.items()}
        self._env = {key: text_field(place("env", key), text, str) for key, text in table.env.items()}
        self._start = None if table.start is None else text_field(place("start"), table.start, parse_wait)
        self._stop = None if table.stop is None else text_field(place("stop"), table.stop, parse_wait)
        self._cwd = None if table.cwd is None else text_field(place("cwd"), table.cwd, _folder)
        self._name = None if table.name is None else text_field(place("name"), table.name, str)

    def _check_on_host(self, table: StringTable, place: _Place) -> None:
        if (table.run is None) == (table.call is None):
            message = "both run and call" if table.run is not None else "neither run nor call"
            raise self.where.error(f'{message}; expected run = "program.py ..." or call = "package.module:function"')
        if table.call is None and (table.args or table.kwargs):
            key = "args" if table.args else "kwargs"
            raise place(key).error("there is no call to pass these to; expected arguments in the program line of run")
        self._check_args(table, place)

    def _check_in_weave(self, table: StringTable, place: _Place) -> None:
        if table.run is not None:
            message = "a weave runs the program among its beads; expected run in [modules.NAME], and args here"
            raise place("run").error(message)
        if table.call is None and table.kwargs:
            message = "there is no call to pass these to; expected args, the words after the program"
            raise place("kwargs").error(message)
        if table.call is not None:
            self._check_args(table, place)

    def _check_args(self, table: StringTable, place: _Place) -> None:
        if isinstance(table.args, str):
            raise place("args").error(f'"{table.args}" is a string; expected an array')

    @property
    def runs_program(self) -> bool:
        """Whether this is a string of a weave that runs the weave's program."""
        return self._words is not None

    def description(self, index: int, host: str, program: tuple[str, ...] = ()) -> StringDescription:
        """The string of the host or weave with this index, where `host` is the host's name.

        `program` has the words that name the program of a weave. Raises `TapestryError`.
        """
        run = self._run.of(index, host) if self._run else None
        if self._words:
            run = (*program, *self._words.of(index, host))
        call = self._call.of(index, host) if self._call else None
        start_ns = self._start.of(index, host) if self._start else 0
        stop_ns = self._stop.of(index, host) if self._stop else None
        if self._stop and stop_ns is not None and stop_ns < start_ns:
            raise self._stop.where.error("stops before it starts; expected a time in the run that is not before start")
        return StringDescription(
            name=self._name.of(index, host) if self._name else _default_name(run, call),
            run=run,
            call=call,
            args=tuple([value.of(index, host) for value in self._args]),
            kwargs={key: value.of(index, host) for key, value in self._kwargs.items()},
            start_ns=start_ns,
            stop_ns=stop_ns,
            background=self._background,
            on_error=self._on_error,
            restart=self._restart,
            env={key: text.of(index, host) for key, text in self._env.items()},
            cwd=self._cwd.of(index, host) if self._cwd else None,
            where=self.where,
            path=self.path,
        )


def _restart(table: StringTable, on_error: OnError, place: _Place) -> RestartPolicy | None:
    if table.restart is None and on_error != "restart":
        for key, value in (("restart_delay", table.restart_delay), ("restart_limit", table.restart_limit)):
            if value is not None:
                raise place(key).error('it is never started again; expected restart = "on-failure" or "always"')
        return None
    delay_ns = restart.DELAY_NS if table.restart_delay is None else table.restart_delay
    return RestartPolicy(table.restart or restart.ON_FAILURE, delay_ns, table.restart_limit)


def _default_name(run: tuple[str, ...] | None, call: str | None) -> str:
    if run is None:
        assert call is not None, "a string has one of run and call"
        return call.rpartition(":")[2].rpartition(".")[2]
    program = program_of(run)
    return program.module.rpartition(".")[2] if program.module is not None else Path(program.path or "").stem


def _folder(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("there is no such folder; expected the path of a folder, from the tapestry's folder")
    return text


def _run_field(where: Where, text: str, programs: Programs) -> Field[tuple[str, ...]]:
    return _words_field(where, _words(where, text, "a program line"), programs.checked_run)


def _arguments_field(place: _Place, args: str | list[Any]) -> Field[tuple[str, ...]]:
    if isinstance(args, str):
        return _words_field(place("args"), _words(place("args"), args, "the arguments of a program"), tuple)
    words: list[Template] = []
    for at, item in enumerate(args):
        where = place("args", at)
        try:
            words.append(template_of(where, readers.string(item)))
        except ValueError as error:
            raise where.error(str(error)) from None
    return _words_field(place("args"), words, tuple)


def _words(where: Where, text: str, what: str) -> list[Template]:
    try:
        return Template(text).words()
    except ValueError as error:
        raise where.error(f"{error}; expected {what}") from None


def _words_field(
    where: Where, words: list[Template], read: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> Field[tuple[str, ...]]:
    constant = all(word.constant for word in words)
    return Field(where, constant, lambda index, host: read(tuple([word.render(index, host) for word in words])))
