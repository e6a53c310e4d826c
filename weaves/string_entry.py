"""An entry of `strings`: read once for a group, described for each host of it."""

from __future__ import annotations

from pathlib import Path

from weaves.fields import Field, text_field, value_field
from weaves.programs import Programs, program_of
from weaves.tables import StringTable
from weaves.tapestry import OnError, StringDescription
from weaves.tapestry_errors import Where
from weaves.templates import Template
from weaves.toml_source import TomlPath, TomlSource
from weaves.units import parse_wait


class StringEntry:
    """One entry of `strings`, ready to be described for each host of its group."""

    def __init__(
        self, source: TomlSource, path: TomlPath, table: StringTable, on_error: OnError, programs: Programs
    ) -> None:
        def place(*key: str | int) -> Where:
            return source.where(*path, *key)

        self.where = place()
        if (table.run is None) == (table.call is None):
            message = "both run and call" if table.run is not None else "neither run nor call"
            raise self.where.error(f'{message}; expected run = "program.py ..." or call = "package.module:function"')
        if table.call is None and (table.args or table.kwargs):
            key = "args" if table.args else "kwargs"
            raise place(key).error("there is no call to pass these to; expected arguments in the program line of run")
        self._background = table.background
        self._on_error = table.on_error or on_error
        self._run: Field[tuple[str, ...]] | None = None
        self._call: Field[str] | None = None
        if table.run is not None:
            self._run = _run_field(place("run"), table.run, programs)
        if table.call is not None:
            self._call = text_field(place("call"), table.call, programs.checked_call)
        self._args = [value_field(source, (*path, "args", at), value) for at, value in enumerate(table.args)]
        self._kwargs = {key: value_field(source, (*path, "kwargs", key), item) for key, item in table.kwargs.items()}
        self._env = {key: text_field(place("env", key), text, str) for key, text in table.env.items()}
        self._start = None if table.start is None else text_field(place("start"), table.start, parse_wait)
        self._stop = None if table.stop is None else text_field(place("stop"), table.stop, parse_wait)
        self._cwd = None if table.cwd is None else text_field(place("cwd"), table.cwd, _folder)
        self._name = None if table.name is None else text_field(place("name"), table.name, str)

    def description(self, index: int, host: str) -> StringDescription:
        """The string of the host with this index and name. Raises `TapestryError`."""
        run = self._run.of(index, host) if self._run else None
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
            env={key: text.of(index, host) for key, text in self._env.items()},
            cwd=self._cwd.of(index, host) if self._cwd else None,
            where=self.where,
        )


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
    try:
        words = Template(text).words()
    except ValueError as error:
        raise where.error(f"{error}; expected a program line") from None
    constant = all(word.constant for word in words)

    def make(index: int, host: str) -> tuple[str, ...]:
        return programs.checked_run(tuple([word.render(index, host) for word in words]))

    return Field(where, constant, make)
