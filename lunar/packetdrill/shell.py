"""The command lines of scripts, obeyed by our own tools on a virtual host: as much of a shell as scripts use.

A script's text is one program for sh(1): its lines, joined by `;`, `&&`, `||` and `|`, with redirections, quotes,
`${PPID}` and `$((arithmetic))`. As of a shell, what counts is how the last command of the text ended. A command that is
not known here is an error at once, wherever it stands, because the rest would mean something else without it. A
parameter that this stack does not obey makes its `sysctl` fail, as on a kernel that does not know it; what was said of
it is in `complaints`.

The tools are those of lunar/net_tools. Files are the machine's, but for /proc/sys and /proc/net, which are the host's.
"""

from __future__ import annotations

import ast
import functools
import operator
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lunar import net_tools
from lunar.net.source import as_six
from lunar.net_tools.errors import CommandError, parsed
from lunar.packet import AF_INET, AF_INET6
from lunar.packetdrill.backend import ShellError
from lunar.tcp.tcb import LISTEN

if TYPE_CHECKING:
    from lunar.host import Host

_ARITHMETIC: Final = re.compile(r"\$\(\(([^()]*)\)\)")
_PARAMETER: Final = re.compile(r"\$\{?(\w+)\}?")
_WORD: Final = re.compile(
    r"""[ \t]*(?:\#[^\n]*|(?P<redirection>(?:\d|&)?>>?(?:&1)?)|(?P<separator>;|&&|\|\||\||\n)
    |(?P<word>(?:"[^"]*"|'[^']*'|\\.|[^\s;&|>"'\\])+)|(?=\s*\Z)\s*)""",
    re.VERBOSE,
)
_QUOTED: Final = re.compile(r"""\"([^"]*)\"|'([^']*)'|\\(.)""")
_REDIRECTS: Final = "\r"


def _quotient(a: int, b: int) -> int:
    """As C, which rounds towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_OPERATORS: Final[dict[type, Callable[[int, int], int]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: _quotient,
    ast.Mod: lambda a, b: a - b * _quotient(a, b), ast.LShift: lambda a, b: a << (b & 63),
    ast.RShift: lambda a, b: a >> (b & 63), ast.BitOr: operator.or_, ast.BitAnd: operator.and_,
}  # fmt: skip
# What stands between two commands.
_SEPARATORS: Final = (";", "&&", "||", "|", "\n")
_NETWORK_TOOLS: Final = ("ethtool", "ifconfig", "ip", "nstat", "route", "sysctl", "tc")
_SYSCTL_FOLDER: Final = "/proc/sys/"
_DD_UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# Scripts make files of some megabytes; what goes beyond this is a slip.
_DD_MOST: Final = 1 << 30
# The path by which scripts call set_sysctls.py's counterpart, which undoes what that did.
_RESTORE: Final = re.compile(r"/tmp/sysctl_restore_\d+\.sh")
_PPID: Final = "1"
_MODULE_PARAMETER: Final = re.compile(r"/sys/module/tcp_cubic/parameters/(\w+)")


class Shell:
    """One shell on `host`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        # What set_sysctls.py has found, for the script that restores it.
        self._saved: list[tuple[str, str]] = []
        self.complaints: list[str] = []

    def run(self, text: str, folder: Path) -> str:
        """Run a script's text; what was complained of. `ShellError` if its last command fails, or one is unknown."""
        self.complaints.clear()
        status, printed = self._program(text, folder)
        if printed:
            print(printed, end="")
        if status:
            said = f" ({self.complaints[-1]})" if self.complaints else ""
            raise ShellError(f"error executing `{text}` command: non-zero status {status}{said}")
        return "".join(f"{complaint}\n" for complaint in self.complaints)

    def _program(self, text: str, folder: Path) -> tuple[int, str]:
        """Status and output of a whole text."""
        words = _words(text)
        status, printed, piped = 0, "", ""
        before = ";"
        at = 0
        while at < len(words):
            end = at
            while end < len(words) and words[end] not in _SEPARATORS:
                end += 1
            separator = words[end] if end < len(words) else ";"
            skipped = (before == "&&" and status != 0) or (before == "||" and status == 0)
            if end > at and not skipped:
                status, output = self._command(words[at:end], piped if before == "|" else "", folder)
                if separator == "|":
                    piped = output
                else:
                    printed += output
            if end > at:
                before = separator
            at = end + 1
        return status, printed

    def _command(self, words: tuple[str, ...], given: str, folder: Path) -> tuple[int, str]:
        kept, target = _without_redirections(words)
        if not kept:
            return 0, ""
        try:
            printed = self._run(kept, given, folder)
            if printed is None:
                return 1, ""
            if target is None:
                return 0, printed
            self._write(target, printed)
            return 0, ""
        except CommandError as error:
            self.complaints.append(str(error))
            return 1, ""
        except OSError as error:
            self.complaints.append(f"{kept[0]}: {error.filename}: {error.strerror}")
            return 1, ""

    def _run(self, words: list[str], given: str, folder: Path) -> str | None:
        """What the command prints; None if it fails without a word."""
        name = os.path.basename(words[0])
        if name in _NETWORK_TOOLS:
            return net_tools.obey(self._host, [name, *words[1:]])
        if name == "set_sysctls.py":
            return self._set_sysctls(words[1:])
        if _RESTORE.fullmatch(words[0]):
            for path, value in reversed(self._saved):
                self._write(path, value)
            return ""
        if name == "echo":
            return " ".join(words[1:]) + "\n"
        if name in ("true", "false", ":"):
            return None if name == "false" else ""
        if name == "grep":
            return self._grep(words[1:], given, folder)
        if name == "cat":
            return "".join(self._read(path, folder) for path in words[1:]) if words[1:] else given
        if name == "rm":
            return _remove(words[1:])
        if name == "dd":
            return _dd(words[1:])
        script = folder / words[0]
        if "/" in words[0] and script.suffix == ".sh" and script.is_file():
            try:
                status, printed = self._program(script.read_text(errors="replace"), script.parent)
            except RecursionError:
                raise ShellError(f"{script}: it calls itself without an end") from None
            return None if status else printed
        raise ShellError(f'there is no command "{words[0]}" here; docs/packetdrill.md lists those that are')

    # Files

    def _set_sysctls(self, words: list[str]) -> str:
        for word in words:
            path, _, value = word.partition("=")
            try:
                before = self._read(path, Path())
            except CommandError as error:
                # As where the machine's kernel does not know it: the script goes on.
                self.complaints.append(str(error))
                continue
            self._saved.append((path, before.strip()))
            self._write(path, value)
        return ""

    def _read(self, path: str, folder: Path) -> str:
        if path.startswith(_SYSCTL_FOLDER):
            return net_tools.obey(self._host, ["sysctl", "-n", _parameter(path)])
        if path == "/proc/net/tcp":
            return _listeners(self._host, AF_INET)
        if path == "/proc/net/tcp6":
            return _listeners(self._host, AF_INET6)
        try:
            return (folder / path).read_text(errors="replace")
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from None

    def _write(self, path: str, text: str) -> None:
        if path == "/dev/null":
            return
        if path.startswith(_SYSCTL_FOLDER):
            net_tools.obey(self._host, ["sysctl", "-q", f"{_parameter(path)}={text.strip()}"])
            return
        if path.startswith("/sys/module/"):
            self._set_module(path, text.strip())
            return
        _machine_file(path).write_text(text)

    def _set_module(self, path: str, text: str) -> None:
        """A parameter of one of Linux' modules, of which there are few here: those of CUBIC."""
        found = _MODULE_PARAMETER.fullmatch(path)
        name = f"cubic_{found[1]}" if found else ""
        sysctls = self._host.tcp.tables.sysctls
        if not hasattr(sysctls, name):
            raise CommandError(f"{path}: this stack has no such parameter")
        setattr(sysctls, name, parsed(int, text, "an integer"))

    def _grep(self, words: list[str], given: str, folder: Path) -> str | None:
        quiet = inverted = False
        while words and words[0].startswith("-"):
            quiet, inverted = quiet or "q" in words[0], inverted or "v" in words[0]
            words = words[1:]
        if not words:
            raise CommandError("grep: a pattern is missing")
        text = "".join(self._read(path, folder) for path in words[1:]) if words[1:] else given
        try:
            pattern = re.compile(words[0])
        except re.error as wrong:
            raise CommandError(f"grep: {words[0]}: {wrong}") from None
        found = [line for line in text.splitlines() if bool(pattern.search(line)) != inverted]
        if not found:
            return None
        return "" if quiet else "".join(f"{line}\n" for line in found)


@functools.lru_cache(maxsize=256)
def _words(text: str) -> tuple[str, ...]:
    """Words and what separates commands, newlines as well. A redirection begins with `_REDIRECTS`: a quoted ">" is
    none.
    """
    text = text.replace("\\\n", " ")
    text = _ARITHMETIC.sub(lambda found: str(_calculated(found[1])), text)
    # Of other variables a virtual host has none.
    text = _PARAMETER.sub(lambda found: _PPID if found[1] == "PPID" else "", text)
    words: list[str] = []
    at = 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            raise ShellError(f"{text[at:].strip()!r}: this is not understood")
        at = found.end()
        if found["redirection"]:
            words.append(_REDIRECTS + found["redirection"])
        elif found["separator"]:
            words.append(found["separator"])
        elif found["word"]:
            words.append(_QUOTED.sub(lambda part: part[1] or part[2] or part[3] or "", found["word"]))
    return tuple(words)


def _without_redirections(words: tuple[str, ...]) -> tuple[list[str], str | None]:
    """The command, and the file that its output goes to. What it says of errors is in `complaints` anyway."""
    kept: list[str] = []
    target: str | None = None
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word[:1] != _REDIRECTS:
            kept.append(word)
        elif "&1" not in word:
            if at < len(words) and not word.startswith(_REDIRECTS + "2"):
                target = words[at]
            at += 1
    return kept, target


def _calculated(text: str) -> int:
    def value(node: ast.AST) -> int:
        if isinstance(node, ast.Expression):
            return value(node.body)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            result = _OPERATORS[type(node.op)](value(node.left), value(node.right))
            return (result + (1 << 63)) % (1 << 64) - (1 << 63)  # a shell's numbers have 64 bits
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        raise ShellError(f"$(({text})): expected arithmetic on whole numbers")

    try:
        return value(ast.parse(text.strip(), mode="eval"))
    except (SyntaxError, ArithmeticError, MemoryError):
        raise ShellError(f"$(({text})): expected arithmetic on whole numbers") from None


def _parameter(path: str) -> str:
    return path[len(_SYSCTL_FOLDER) :].replace("/", ".")


def _listeners(host: Host, domain: int) -> str:
    """/proc/net/tcp or tcp6, of the listening sockets: proc_net_tcp in the kernel's documentation. Numbers are
    hexadecimal, of each word of an address the last byte comes first.
    """
    lines = ["  sl  local_address rem_address   st\n"]
    for index, sock in enumerate(host.descriptors.all()):
        if getattr(sock, "state", None) == LISTEN and sock.protocol == 6 and sock.domain == domain:
            address = int(sock.local_addr)
            if domain == AF_INET6:
                address = as_six(int(sock.family), address)
            data = address.to_bytes(4 if domain == AF_INET else 16, "big")
            text = "".join(data[at : at + 4][::-1].hex().upper() for at in range(0, len(data), 4))
            nobody = "0" * len(text)
            lines.append(f"{index:4}: {text}:{int(sock.local_port):04X} {nobody}:0000 0A 00000000:00000000\n")
    return "".join(lines)


def _machine_file(path: str) -> Path:
    """A file that a script may write or remove: those for passing use."""
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        raise CommandError(f"{path}: a script writes only below {tempfile.gettempdir()}")
    return resolved


def _remove(words: list[str]) -> str:
    for word in words:
        if not word.startswith("-"):
            _machine_file(word).unlink(missing_ok=True)
    return ""


def _dd(words: list[str]) -> str:
    """dd(1): `if=/dev/zero of=FILE bs=N count=N`."""
    given = dict(word.partition("=")[::2] for word in words)
    unknown = set(given) - {"if", "of", "bs", "count", "status"}
    if unknown or given.get("if") != "/dev/zero" or "of" not in given:
        raise CommandError(f"dd {' '.join(words)}: expected if=/dev/zero of=FILE bs=N count=N")
    size = parsed(_bytes, given.get("bs", "512"), "a size") * parsed(_bytes, given.get("count", "1"), "a count")
    if size > _DD_MOST:
        raise CommandError(f"dd {' '.join(words)}: expected {_DD_MOST} bytes at most")
    _machine_file(given["of"]).write_bytes(bytes(size))
    return ""


def _bytes(text: str) -> int:
    """A number as dd(1) takes it: with k, M or G for powers of 1024."""
    unit = _DD_UNITS.get(text[-1:].upper(), 1)
    number = int(text[:-1] if unit > 1 else text)
    if number < 0:
        raise ValueError(text)
    return number * unit
