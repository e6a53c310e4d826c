"""A value of a table that may differ from host to host, as its text holds `{i}` or not.

A group's texts differ in nothing else, so each is parsed once (`Template`) and, where it has no braces, its value is
made once and shared. That is what lets ten thousand hosts load in a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from weaves.tapestry_errors import Where
from weaves.templates import Template
from weaves.toml_source import TomlPath, TomlSource

T = TypeVar("T")


class Field(Generic[T]):
    """A value that may differ from host to host: how to make it, and the place to blame when that fails."""

    __slots__ = ("_make", "_shared", "constant", "where")

    def __init__(self, where: Where, constant: bool, make: Callable[[int, str], T]) -> None:
        self.where = where
        self.constant = constant
        self._make = make
        self._shared: T | None = None
        if constant:
            self._shared = self._try(0, "")

    def of(self, index: int, host: str) -> T:
        """The value for the host with this index and name. Raises `TapestryError`."""
        # The T of a constant field may itself be None, then so is what is shared.
        return self._shared if self.constant else self._try(index, host)  # type: ignore[return-value]

    def _try(self, index: int, host: str) -> T:
        try:
            return self._make(index, host)
        except ValueError as error:
            raise self.where.error(str(error)) from None


def text_field(where: Where, text: str, read: Callable[[str], T]) -> Field[T]:
    """A text with `{i}` or without, and how to read it, once rendered."""
    template = template_of(where, text)
    return Field(where, template.constant, lambda index, host: read(template.render(index, host)))


def template_of(where: Where, text: str) -> Template:
    """The template in `text`. Raises `TapestryError`."""
    try:
        return Template(text)
    except ValueError as error:
        raise where.error(str(error)) from None


def value_field(source: TomlSource, path: TomlPath, value: Any) -> Field[Any]:
    """Any TOML value, with all texts in it."""
    # An array or a table is made anew for each host: a program that changes its arguments must not change another's.
    where = source.where(*path)
    if isinstance(value, str):
        return text_field(where, value, str)
    if isinstance(value, list):
        items = [value_field(source, (*path, number), item) for number, item in enumerate(value)]
        return Field(where, False, lambda index, host: [item.of(index, host) for item in items])
    if isinstance(value, dict):
        members = {key: value_field(source, (*path, key), item) for key, item in value.items()}
        return Field(where, False, lambda index, host: {key: item.of(index, host) for key, item in members.items()})
    return Field(where, True, lambda index, host: value)
