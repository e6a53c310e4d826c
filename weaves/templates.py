"""Texts with `{expressions}` in a tapestry: parsed once for a group of hosts, rendered for each of them."""

from __future__ import annotations

import ast
import operator
import re
import shlex
from collections.abc import Callable
from typing import Final

_OPERATORS: Final[dict[type[ast.operator], Callable[[int, int], int]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_EXPRESSION_EXPECTED: Final = "expected arithmetic over i (+ - * // %), or {host}; a plain brace is doubled"

# The format specs of integers, with a width of at most three digits: a longer one is a mistake that could fill the
# memory.
_FORMAT_SPEC: Final = re.compile(r"(?:.?[<>=^])?[-+ ]?#?0?[0-9]{0,3}[,_]?[bdoxX]?")
_BRACE: Final = re.compile(r"\{\{|\}\}|\{|\}")
_MARK: Final = re.compile("\0([0-9]+)\0")


class Template:
    """A text with `{expressions}`, parsed once, rendered for each host. Raises `ValueError` for what cannot be parsed.

    An expression is integer arithmetic over `i`, the host's number in its group, with an optional format spec, or
    `host`, the host's name. `{{` and `}}` are plain braces. Expressions are walked as syntax trees and never given to
    `eval`.
    """

    __slots__ = ("_parts", "constant")

    def __init__(self, text: str) -> None:
        self._parts: list[str | Callable[[int, str], str]] = []
        self.constant = True
        if "{" not in text and "}" not in text:
            self._parts.append(text)
            return
        position = 0
        while position < len(text):
            brace = _BRACE.search(text, position)
            literal = text[position : brace.start() if brace else len(text)]
            if literal:
                self._parts.append(literal)
            if brace is None:
                break
            position = brace.end()
            if brace.group() in ("{{", "}}"):
                self._parts.append(brace.group()[0])
                continue
            end = text.find("}", position)
            if brace.group() == "}" or end < 0:
                raise ValueError(f'"{text}" has a single "{brace.group()}"; {_EXPRESSION_EXPECTED}')
            self._parts.append(_expression(text[position:end]))
            position = end + 1
        self.constant = all(isinstance(part, str) for part in self._parts)

    def render(self, index: int, host: str) -> str:
        """The text for the host with this index and name. Raises `ValueError` where the arithmetic fails."""
        return "".join([part if isinstance(part, str) else part(index, host) for part in self._parts])

    def words(self) -> list[Template]:
        """The templates of the words that a shell would see in this text. An expression is never cut, quoted or not."""
        # The shell's rules apply to the text with each expression as one odd character; then the expressions come back.
        marked = ""
        for number, part in enumerate(self._parts):
            if isinstance(part, str) and "\0" in part:
                raise ValueError("there is a null character")
            marked += part if isinstance(part, str) else f"\0{number}\0"
        words = []
        for word in shlex.split(marked):
            template = Template("")
            template._parts = [
                self._parts[int(piece)] if at % 2 else piece for at, piece in enumerate(_MARK.split(word))
            ]
            template.constant = len(template._parts) == 1
            words.append(template)
        return words


def _expression(text: str) -> Callable[[int, str], str]:
    if text.strip() == "host":
        return lambda index, host: host
    arithmetic, _, spec = text.partition(":")
    try:
        evaluate = _evaluator(ast.parse(arithmetic.strip(), mode="eval").body)
    # ast.parse says MemoryError for what is nested too deeply, and ValueError for a null character.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f'"{{{text}}}" cannot be computed; {_EXPRESSION_EXPECTED}') from None
    if not _FORMAT_SPEC.fullmatch(spec):
        raise ValueError(f'"{{{text}}}" has a bad format; expected the format of an integer, such as "{{i:03}}"')

    def render(index: int, host: str) -> str:
        try:
            return format(evaluate(index), spec)
        except (ZeroDivisionError, ValueError, RecursionError) as error:
            raise ValueError(f'"{{{text}}}" fails for i = {index}: {error}; {_EXPRESSION_EXPECTED}') from None

    return render


def _evaluator(node: ast.expr) -> Callable[[int], int]:
    match node:
        case ast.Name(id="i"):
            return lambda index: index
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return lambda index: value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _evaluator(operand)
            return lambda index: -inner(index)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
            apply, first, second = _OPERATORS[type(op)], _evaluator(left), _evaluator(right)
            return lambda index: apply(first(index), second(index))
    raise ValueError
