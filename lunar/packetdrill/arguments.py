"""Arguments of system calls: from the expressions of a script to what is passed.

A `TypeError` says that an expression is not of the kind that a call needs.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

from lunar.packetdrill.script import ELLIPSIS, Array, Expression, Function, Struct, Text, Word
from lunar.packetdrill.symbols import UnknownSymbol, number
from lunar.sockaddr import Sockaddr


def errno_of(name: str) -> int:
    """The number of an errno. Raises `UnknownSymbol`."""
    found = getattr(errno, name, None)
    if not isinstance(found, int):
        raise UnknownSymbol(f"unknown symbol: '{name}'")
    return found


def is_null(expression: Expression) -> bool:
    """Whether it is a null pointer."""
    return isinstance(expression, Word) and expression.name == "NULL"


def struct_of(expression: Expression) -> Struct:
    """The expression, which is a structure."""
    if not isinstance(expression, Struct):
        raise TypeError("expected a structure in braces")
    return expression


def items_of(expression: Expression | None) -> tuple[Expression, ...]:
    """What an array has; nothing where there is none."""
    if expression is None:
        return ()
    if not isinstance(expression, Array):
        raise TypeError("expected an array in brackets")
    return expression.items


def needed(struct_: Struct, name: str) -> Expression:
    """A field that must be there."""
    value = struct_.get(name)
    if value is None:
        raise TypeError(f"{name} is missing")
    return value


def option_value(expression: Expression, size: int) -> Any:
    """What setsockopt is given: the bytes behind its pointer, `size` of them as far as the script tells."""
    if isinstance(expression, Array):
        numbers = [number(item) for item in expression.items]
        return b"".join((value & 0xFFFF_FFFF).to_bytes(4, "little") for value in numbers)[:size]
    if isinstance(expression, Text):
        return expression.value.encode("latin-1").ljust(size, b"\0")[:size]
    if isinstance(expression, Struct):
        if expression.names == ("onoff", "linger"):
            return struct.pack("ii", *(number(field.value) for field in expression.fields))[:size]
        return b"".join((number(field.value) & 0xFFFF_FFFF).to_bytes(4, "little") for field in expression.fields)[:size]
    if is_null(expression):
        return None
    if expression is ELLIPSIS:
        return bytes(size)
    # A number in place of a pointer to one: the tool passes its address, too.
    return (number(expression) & 0xFFFF_FFFF).to_bytes(4, "little")[:size]


def buffer(pointer: Expression, size: Expression) -> bytes | None:
    """What a program sends: zeros, a text, or nothing at all behind NULL."""
    length = number(size)
    if isinstance(pointer, Text):
        return pointer.value.encode("latin-1").ljust(length, b"\0")[:length]
    if isinstance(pointer, Word) and pointer.name == "NULL":
        return None
    return bytes(length)


def vector(expression: Expression) -> list[bytes | None]:
    """The buffers of an array of `{..., size}`."""
    parts = []
    for item in items_of(expression):
        pointer, size = (field.value for field in struct_of(item).fields)
        parts.append(buffer(pointer, size))
    return parts


def address(expression: Expression, ip: str, port: int) -> Any:
    """`...`: the script's address and port; a family alone, or a whole structure."""
    if expression is ELLIPSIS:
        return ip, port
    if isinstance(expression, Word):
        if expression.name == "NULL":
            return None
        return Sockaddr(number(expression).to_bytes(2, "little") + bytes(14))
    if isinstance(expression, Struct):
        family = number(needed(expression, "sa_family"))
        port = 0
        host = b"\0" * 4
        if (field := expression.get("sin_port")) is not None:
            port = number(field.arguments[0] if isinstance(field, Function) else field)
        if (field := expression.get("sin_addr")) is not None:
            text = field.arguments[0] if isinstance(field, Function) else field
            if not isinstance(text, Text):
                raise TypeError("expected inet_addr(\"...\")")
            host = bytes(map(int, text.value.split(".")))
        return Sockaddr(family.to_bytes(2, "little") + port.to_bytes(2, "big") + host + bytes(8))
    raise TypeError("expected an address")
