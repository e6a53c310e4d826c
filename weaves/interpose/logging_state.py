"""`logging` inside a weave: records carry host, weave and string; a program has a configuration of its own.

Loggers are objects of the process: modules keep them, and a shared module's logger serves all weaves. What a program
configures in one is kept in its `Process` instead, by descriptors of the class Logger, which come before what the
instance has. It begins with what the modules set when they were imported: the levels of loggers, `propagate`, and the
handlers that do nothing; the root is as `logging` makes it. A function shares the test runner's configuration, so that
its records are seen there. Names of levels, the class of loggers and the factory of records are shared.
"""

from __future__ import annotations

import logging
import logging.config
import warnings
import weakref
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

from weaves.here import here
from weaves.interpose.replace import Replacements
from weaves.process import Process

_NOWHERE: Final = "-"


def install(replacements: Replacements) -> None:
    """Interpose `logging`."""
    _install_records()
    for name in _LoggerState.__slots__:
        setattr(logging.Logger, name, _OwnOfLogger(name))
    for name, first in (("_disable", 0), ("emittedNoHandlerWarning", False)):
        setattr(logging.Manager, name, _OwnOfManager(name, first))
    _install_cache()
    _install_handlers(replacements)
    _install_warnings(replacements)


def _process() -> Process | None:
    """Of the program that runs; None outside and in functions."""
    weave = here.weave
    return weave.process if weave is not None and weave.is_program else None


# Records


def _install_records() -> None:
    real = logging.Logger.makeRecord

    def make_record(self: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = real(self, *args, **kwargs)
        # Only now, and only where they are free: `extra` of a program may have the same names.
        fields = record.__dict__
        weave = here.weave
        if weave is None:
            fields.setdefault("host", _NOWHERE)
            fields.setdefault("weave", _NOWHERE)
            fields.setdefault("string", _NOWHERE)
            return record
        string = weave.current_string()
        fields.setdefault("host", weave.host.name)
        fields.setdefault("weave", weave.name)
        fields.setdefault("string", _NOWHERE if string is None else string.name)
        record.relativeCreated = int(weave.scheduler.now_ns) / 1_000_000
        # An address of this run of the interpreter; in Linux a main thread has the number of its process.
        record.thread = weave.pid
        return record

    make_record.__name__ = make_record.__qualname__ = "makeRecord"
    logging.Logger.makeRecord = make_record  # type: ignore[method-assign]
    # For records that nobody's logger made.
    for name in ("host", "weave", "string"):
        setattr(logging.LogRecord, name, _NOWHERE)


# Loggers


class _LoggerState:
    """What a logger is in one program."""

    __slots__ = ("_cache", "disabled", "filters", "handlers", "level", "propagate")

    def __init__(self, logger: logging.Logger) -> None:
        machine = logger.__dict__
        root = isinstance(logger, logging.RootLogger)
        self.level = logging.WARNING if root else machine["level"]
        self.propagate = machine["propagate"]
        self.disabled = False
        self.filters: list[Any] = []
        self.handlers = [] if root else [one for one in machine["handlers"] if isinstance(one, logging.NullHandler)]
        self._cache: dict[int, bool] = {}


class _OwnOfLogger:
    """The attribute `name` of each logger, by context."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, logger: logging.Logger | None, _owner: type | None = None) -> Any:
        if logger is None:
            return self
        weave = here.weave
        if weave is None or not weave.is_program:
            try:
                return logger.__dict__[self._name]
            except KeyError:
                raise AttributeError(self._name) from None
        states = weave.process.loggers
        state = states.get(logger)
        if state is None:
            state = states[logger] = _LoggerState(logger)
        return getattr(state, self._name)

    def __set__(self, logger: logging.Logger, value: Any) -> None:
        fields = logger.__dict__
        process = _process()
        # A logger that a program makes begins as the logger of everybody.
        if process is None or self._name not in fields:
            fields[self._name] = value
            return
        states = process.loggers
        if logger not in states:
            states[logger] = _LoggerState(logger)
        setattr(states[logger], self._name, value)


class _OwnOfManager:
    """The attribute `name` of the manager of all loggers, by context; a program finds `first`."""

    def __init__(self, name: str, first: Any) -> None:
        self._name = name
        self._first = first

    def __get__(self, manager: logging.Manager | None, _owner: type | None = None) -> Any:
        if manager is None:
            return self
        process = _process()
        return manager.__dict__[self._name] if process is None else process.log_manager.get(self._name, self._first)

    def __set__(self, manager: logging.Manager, value: Any) -> None:
        process = _process()
        if process is None or self._name not in manager.__dict__:
            manager.__dict__[self._name] = value
        else:
            process.log_manager[self._name] = value


def _install_cache() -> None:
    real_enabled = logging.Logger.isEnabledFor

    def is_enabled_for(self: logging.Logger, level: int) -> bool:
        # The attributes by context would be two calls more for each message that is not logged.
        weave = here.weave
        if weave is None or not weave.is_program:
            fields = self.__dict__
            if fields["disabled"]:
                return False
            enabled = fields["_cache"].get(level)
        else:
            state = weave.process.loggers.get(self)
            if state is None:
                return real_enabled(self, level)
            if state.disabled:
                return False
            enabled = state._cache.get(level)
        return real_enabled(self, level) if enabled is None else enabled

    is_enabled_for.__name__ = is_enabled_for.__qualname__ = "isEnabledFor"
    is_enabled_for.__doc__ = real_enabled.__doc__
    logging.Logger.isEnabledFor = is_enabled_for  # type: ignore[method-assign]
    real: Any = logging.Manager._clear_cache  # type: ignore[attr-defined]

    def clear_cache(self: logging.Manager) -> None:
        process = _process()
        if process is None:
            real(self)
            return
        # Not of all loggers there are: that would give this program a state of each.
        for state in process.loggers.values():
            state._cache.clear()

    setattr(logging.Manager, "_clear_cache", clear_cache)  # noqa: B010 - typeshed does not know it


# Handlers


class _HandlersByName(MutableMapping[str, logging.Handler]):
    """Stands in for the dictionary of the handlers that have names."""

    def __init__(self, machine: MutableMapping[str, logging.Handler]) -> None:
        self._machine = machine

    def _here(self) -> MutableMapping[str, logging.Handler]:
        process = _process()
        return self._machine if process is None else process.log_handlers_by_name

    def __getitem__(self, name: str) -> logging.Handler:
        return self._here()[name]

    def __setitem__(self, name: str, handler: logging.Handler) -> None:
        self._here()[name] = handler

    def __delitem__(self, name: str) -> None:
        del self._here()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._here())

    def __len__(self) -> int:
        return len(self._here())

    def copy(self) -> Any:
        """As of the dictionary."""
        here: Any = self._here()
        return here.copy()


def _install_handlers(replacements: Replacements) -> None:
    module: Any = logging
    module._handlers = _HandlersByName(module._handlers)
    real_add, real_shutdown = module._addHandlerRef, logging.shutdown
    machines_list = module._handlerList

    def add_handler_ref(handler: logging.Handler) -> None:
        process = _process()
        if process is None:
            real_add(handler)
            return
        # Those that are gone are forgotten now and then.
        if len(process.log_handlers) % 64 == 63:
            process.log_handlers = [one for one in process.log_handlers if one() is not None]
        process.log_handlers.append(weakref.ref(handler))

    def shutdown(handlerList: Any = machines_list) -> None:
        process = _process()
        if process is not None and handlerList is machines_list:
            handlerList = process.log_handlers
        real_shutdown(handlerList)

    shutdown.__doc__ = real_shutdown.__doc__
    replacements.put(module, "_addHandlerRef", add_handler_ref)
    replacements.put(logging, "shutdown", shutdown)
    config: Any = logging.config
    real_clear = config._clearExistingHandlers

    def clear_existing_handlers() -> None:
        process = _process()
        if process is None:
            real_clear()
            return
        process.log_handlers_by_name.clear()
        real_shutdown(process.log_handlers)
        process.log_handlers.clear()

    replacements.put(config, "_clearExistingHandlers", clear_existing_handlers)


# Warnings


def _install_warnings(replacements: Replacements) -> None:
    real_capture = logging.captureWarnings
    module: Any = warnings
    real_show = module._showwarnmsg

    def capture_warnings(capture: bool) -> None:
        process = _process()
        if process is None:
            real_capture(capture)
        else:
            process.warnings_logged = capture

    def show(msg: Any) -> None:
        process = _process()
        if process is not None and process.warnings_logged and msg.file is None:
            log: Any = logging
            log._showwarning(msg.message, msg.category, msg.filename, msg.lineno, msg.file, msg.line)
        else:
            real_show(msg)

    capture_warnings.__doc__ = real_capture.__doc__
    replacements.put(logging, "captureWarnings", capture_warnings)
    # What the interpreter calls, and what asks `warnings.showwarning`.
    replacements.put(module, "_showwarnmsg", show)
