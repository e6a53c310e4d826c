"""sysctl(8): read and set the parameters that this stack obeys. One that it does not obey is an error.

The parameters themselves are in lunar/parameters. Lines are those of procps' tool, and so is what it prints.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lunar.net_tools.errors import CommandError
from lunar.parameters import table
from lunar.parameters.parameter import WRITE_ONLY, Parameter

if TYPE_CHECKING:
    from lunar.host import Host

# Of options that change nothing here: -e is what --system says of files; -b prints no end of line.
_FLAGS: Final = {
    "-a": "all", "-A": "all", "-X": "all", "--all": "all", "-n": "values", "--values": "values", "-N": "names",
    "--names": "names", "-q": "quiet", "--quiet": "quiet", "-e": "ignore", "--ignore": "ignore", "-w": "write",
    "--write": "write", "-b": "binary", "--binary": "binary",
}  # fmt: skip
_DEFAULT_FILE: Final = "/etc/sysctl.conf"


def run(host: Host, words: list[str]) -> str:
    """`sysctl -a`, `sysctl [-n] NAME`, `sysctl [-w] [-n] [-q] [-e] NAME=VALUE`, `sysctl -p FILE`; several at once."""
    options: set[str] = set()
    pattern: re.Pattern[str] | None = None
    load = False
    rest = words.copy()
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in ("-r", "--pattern"):
            pattern = _pattern(value if equals else rest.pop(0) if rest else "")
        elif name in ("-p", "-f", "--load") or (word[:2] == "-p" and not word.startswith("--")):
            load = True
            rest = [*([value] if equals else [word[2:]] if name[:2] == "-p" and name != "-p" else []), *rest]
        elif name in _FLAGS and not equals:
            options.add(_FLAGS[name])
        elif re.fullmatch("-[aAXnNqewb]{2,}", word):
            options |= {_FLAGS[f"-{letter}"] for letter in word[1:]}
        else:
            raise CommandError(f'sysctl: unknown option "{word}"; expected -a, -n, -N, -q, -e, -w, -b, -r or -p')
    if load:
        return _load(host, rest or [_DEFAULT_FILE], options, pattern)
    if "all" in options:
        if rest:
            raise CommandError(f'sysctl: -a with "{rest[0]}"; expected no parameter, or no -a')
        found = [path for path in table.paths(host) if pattern is None or pattern.search(table.name_of(path))]
        return "".join(_line(host, path, options) for path in found if _known(host, path).mode != WRITE_ONLY)
    if not rest:
        raise CommandError("sysctl: a parameter is missing; expected NAME or NAME=VALUE")
    if len(rest) == 3 and rest[1] == "=":
        rest = ["".join(rest)]
    return _obey(host, rest, options, pattern)


def _obey(host: Host, words: list[str], options: set[str], pattern: re.Pattern[str] | None = None) -> str:
    """Read or set each parameter. What cannot be set is found before anything is."""
    parameters: list[tuple[str, list[Any] | None]] = []
    for word in words:
        name, equals, value = word.partition("=")
        path = table.path_of(name.strip())
        found = table.find(host, path)
        if pattern is not None and not pattern.search(table.name_of(path)):
            continue
        if found is None:
            under = [known for known in table.paths(host) if known.startswith(f"{path}/")]
            if under and not equals and "write" not in options:
                parameters += [(known, None) for known in under if _known(host, known).mode != WRITE_ONLY]
                continue
            if "ignore" in options:
                continue  # asked for: what is not known is passed over
            raise CommandError(
                f'sysctl: this stack does not obey "{name.strip()}"; "sysctl -a" lists what it obeys'
            )
        if "write" in options and not equals:
            raise CommandError(f"sysctl: -w {word}: expected NAME=VALUE")
        if not equals and found.mode == WRITE_ONLY:
            raise CommandError(f"sysctl: {name.strip()} can only be set")
        try:
            parameters.append((path, found.parse(name.strip(), value) if equals else None))
        except ValueError as wrong:
            raise CommandError(f"sysctl: {wrong}") from None
    # All words are good: only now does anything change.
    printed = ""
    for path, values in parameters:
        if values is not None:
            _known(host, path).write(host, values)
            if "quiet" in options:
                continue
        printed += _line(host, path, options, values)
    return printed


def _known(host: Host, path: str) -> Parameter:
    found = table.find(host, path)
    assert found is not None, "the path is one of the table's"
    return found


def _line(host: Host, path: str, options: set[str], values: list[Any] | None = None) -> str:
    """What is printed of a parameter; of one that can only be set, what it was set to."""
    name = table.name_of(path)
    if "names" in options:
        return f"{name}\n"
    parameter = _known(host, path)
    shown = parameter.shown(tuple(values or ()) if parameter.mode == WRITE_ONLY else parameter.read(host))
    if "binary" in options:
        return shown
    return f"{shown}\n" if "values" in options else f"{name} = {shown}\n"


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as wrong:
        raise CommandError(f"sysctl: --pattern {text}: {wrong}") from None


def _load(host: Host, files: list[str], options: set[str], pattern: re.Pattern[str] | None) -> str:
    """`-p`: the lines NAME=VALUE of files, as sysctl.conf(5) says. Nothing changes if one of them is wrong."""
    words: list[str] = []
    for file in files:
        for number, row in enumerate(_text_of(host, file).splitlines(), 1):
            line = row.strip()
            if not line or line[0] in "#;":
                continue
            optional = line[0] == "-"
            name, equals, value = line.lstrip("-").partition("=")
            if not equals:
                raise CommandError(f"sysctl: {file}, line {number}: expected NAME = VALUE")
            path = table.path_of(name.strip())
            if table.find(host, path) is None and (optional or "ignore" in options):
                continue
            if pattern is None or pattern.search(table.name_of(path)):
                words.append(f"{name.strip()}={value.strip()}")
    return _obey(host, words, options)


def _text_of(host: Host, file: str) -> str:
    text = host.paths.text(file)
    if text is not None:
        return text
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as wrong:
        raise CommandError(f'sysctl: cannot open "{file}": {wrong.strerror}') from None


def read(host: Host, name: str) -> tuple[Any, ...]:
    """The value of a parameter, of a few parameters several. Raises `LookupError` for one that is not obeyed here."""
    parameter = table.find(host, table.path_of(name))
    if parameter is None or parameter.mode == WRITE_ONLY:
        raise LookupError(name)
    return parameter.read(host)


def write(host: Host, name: str, values: tuple[Any, ...]) -> None:
    """Set a parameter. Raises `LookupError`, and `ValueError` for a value that it cannot have."""
    parameter = table.find(host, table.path_of(name))
    if parameter is None:
        raise LookupError(name)
    parameter.write(host, parameter.parse(name, parameter.shown(values)))


