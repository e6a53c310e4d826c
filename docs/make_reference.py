"""Makes docs/reference.md of the docstrings: what a user of the Python face and of lunar.asyncio can call.

    python docs/make_reference.py            write it
    python docs/make_reference.py --check    exit with 1 if it is not up to date

It reads the sources and imports nothing, so the build and the Python version do not matter. `PAGES` says what is in it.
A method without a docstring, or in `INTERNAL`, is public to other modules of ours only and left out.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
REFERENCE: Final = ROOT / "docs" / "reference.md"

# (heading, prefix of the names, file, names in their order).
PAGES: Final = (
    ("lunar", "lunar.", "lunar/network.py", ("Network", "StringFailed")),
    ("", "lunar.", "lunar/host.py", ("Host",)),
    ("", "lunar.", "weaves/strings.py", ("String", "schedule")),
    ("", "lunar.", "weaves/restart.py", ("RestartPolicy",)),
    ("", "lunar.", "weaves/realtime.py", ("Stalled",)),
    ("", "lunar.", "weaves/pace.py", ("TooLate",)),
    ("", "lunar.", "weaves/lateness.py", ("Lateness",)),
    ("", "lunar.", "weaves/replay.py", ("ReplayDiffers",)),
    ("", "lunar.", "weaves/session.py", ("SessionError",)),
    (
        "lunar.asyncio", "asyncio.", "lunar/asyncio/sockets.py",
        ("socket", "create_connection", "create_server", "getaddrinfo", "getnameinfo", "gethostname"),
    ),
    ("lunar.embedded", "lunar.embedded.", "lunar/embedded.py", ("Embedded", "Surroundings")),
    ("weaves", "weaves.", "weaves/loader.py", ("load", "LiveTapestry")),
    ("", "weaves.", "weaves/output.py", ("Output",)),
    (
        "lunar.syscalls", "syscalls.", "lunar/syscalls/connections.py",
        (
            "socket", "socketpair", "bind", "listen", "accept", "accept4", "connect", "getsockname", "getpeername",
            "shutdown", "setsockopt", "getsockopt",
        ),
    ),
    (
        "", "syscalls.", "lunar/syscalls/transfer.py",
        ("send", "sendto", "sendmsg"),
    ),
    ("", "syscalls.", "lunar/syscalls/receiving.py", ("recv", "recvfrom", "recv_into", "recvmsg")),
    ("", "syscalls.", "lunar/syscalls/transfer.py", ("read", "readv", "write", "writev", "sendfile")),
    ("", "syscalls.", "lunar/syscalls/splice.py", ("splice",)),
    (
        "", "syscalls.", "lunar/syscalls/readiness.py",
        ("select", "poll", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait"),
    ),
    (
        "", "syscalls.", "lunar/syscalls/control.py",
        ("pipe", "pipe2", "close", "dup", "dup2", "dup3", "eventfd", "fcntl", "ioctl", "sysctl"),
    ),
    ("", "syscalls.", "lunar/sockaddr.py", ("Sockaddr",)),
    ("Parts to replace", "lunar.links.impairments.", "lunar/links/impairments.py", ("Impairment",)),
    ("", "lunar.tcp.congestion.", "lunar/tcp/congestion/control.py", ("CongestionControl",)),
)  # fmt: skip

INTERNAL: Final = {
    "Network": {"next_device_number", "add_link", "outside_link", "lanes"},
    "Host": {
        "add_address", "set_up", "new_weave", "new_loop", "new_socket", "close_descriptors",
        "getaddrinfo", "getnameinfo", "close", "close_descriptor", "lookups", "weave", "files", "take_weaves",
        "drop_stack",
    },
    "String": {
        "begin", "finish", "fail", "prepare_restart", "can_restart", "wait", "describe_failure", "vanish", "move",
        "is_alone",
    },
    "RestartPolicy": {"after_failure", "after_end", "after_signal"},
}  # fmt: skip

# The other classes are made by methods, or subclassed.
MADE_BY_HAND: Final = {"Network", "socket", "Embedded"}
WIDTH: Final = 100

Function = ast.FunctionDef | ast.AsyncFunctionDef


def reference() -> str:
    """The page."""
    parts = [
        "# Reference\n",
        "Made of the docstrings by `docs/make_reference.py`; a change here is lost. How to use it all: "
        "[tutorial.md](tutorial.md),\n[python.md](python.md), [asyncio.md](asyncio.md).\n",
    ]
    for heading, prefix, path, names in PAGES:
        if heading:
            parts.append(f"## {heading}\n")
            if heading == "lunar.asyncio":
                parts.append(
                    "Besides what is here: all of the standard library's asyncio, the constants of `socket` "
                    "(`AF_INET`, `SO_REUSEADDR` ...),\nand `gaierror`.\n"
                )
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        spell_out_defaults(tree)
        found = {
            node.name: node
            for node in tree.body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        }
        for name in names:
            node = found[name]
            parts += of_class(node, prefix) if isinstance(node, ast.ClassDef) else of_function(node, prefix, "###")
    return "\n".join(parts)


def spell_out_defaults(tree: ast.Module) -> None:
    """Put the values of imported constants in place of their names: "stop" for STOP."""
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(("lunar.", "weaves.")):
            continue
        path = ROOT / (str(node.module).replace(".", "/") + ".py")
        source = ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []
        for item in source:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
                if item.target.id in {name.name for name in node.names}:
                    values[item.target.id] = item.value
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for defaults in (function.args.defaults, function.args.kw_defaults):
                for place, default in enumerate(defaults):
                    if isinstance(default, ast.Name) and isinstance(values.get(default.id), ast.Constant):
                        defaults[place] = values[default.id]


def of_class(node: ast.ClassDef, prefix: str) -> list[str]:
    """A class: how it is made, its docstring, its public members."""
    made = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    parts = [f"### {prefix}{node.name}\n"]
    if made is not None and node.name in MADE_BY_HAND:
        parts.append(block([call(f"{prefix}{node.name}", made, True)]))
    parts.append(text_of(node))
    overloads: list[Function] = []
    for item in node.body:
        if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if item.name.startswith("_") or item.name in INTERNAL.get(node.name, ()):
            continue
        if is_decorated(item, "overload"):
            overloads.append(item)
            continue
        if ast.get_docstring(item) is None:
            continue
        parts += of_function(item, f"{node.name}.", "####", overloads, True)
        overloads = []
    return parts


def of_function(
    node: Function, prefix: str, level: str, overloads: list[Function] | None = None, method: bool = False
) -> list[str]:
    """A function, method or property: its signatures, and its docstring."""
    lines = []
    for item in overloads or [node]:
        returns = f" -> {ast.unparse(item.returns)}" if item.returns is not None else ""
        if is_decorated(item, "property"):
            lines.append(f"{node.name}: {returns.removeprefix(' -> ')}")
        else:
            word = "await " if isinstance(item, ast.AsyncFunctionDef) else ""
            lines.append(call(f"{word}{node.name}", item, method) + returns)
    return [f"{level} {prefix}{node.name}\n", block(lines), text_of(node)]


def block(lines: list[str]) -> str:
    return "```python\n" + "\n".join(lines) + "\n```"


def call(name: str, node: Function, method: bool) -> str:
    """`name(argument: type = default, ...)`, in several lines if it is long."""
    parts = parameters(node.args)[1 if method else 0 :]
    if method and parts and parts[0] == "/":
        del parts[0]
    line = f"{name}({', '.join(parts)})"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def parameters(arguments: ast.arguments) -> list[str]:
    """The parameters as they stand in a definition, `/` and `*` included."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    parts = []
    for number, (argument, default) in enumerate(zip(positional, defaults, strict=True), 1):
        parts.append(parameter(argument, default))
        if number == len(arguments.posonlyargs):
            parts.append("/")
    if arguments.vararg is not None:
        parts.append("*" + parameter(arguments.vararg, None))
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [parameter(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg is not None:
        parts.append("**" + parameter(arguments.kwarg, None))
    return parts


def parameter(argument: ast.arg, default: ast.expr | None) -> str:
    hint = f": {ast.unparse(argument.annotation)}" if argument.annotation is not None else ""
    return f"{argument.arg}{hint}" + (f" = {ast.unparse(default)}" if default is not None else "")


def is_decorated(node: Function, name: str) -> bool:
    return any(isinstance(item, ast.Name) and item.id == name for item in node.decorator_list)


def text_of(node: ast.ClassDef | Function) -> str:
    return (ast.get_docstring(node) or "") + "\n"


def main() -> int:
    """Write the page, or check it."""
    made = reference()
    if "--check" in sys.argv[1:]:
        return 0 if REFERENCE.is_file() and REFERENCE.read_text(encoding="utf-8") == made else 1
    REFERENCE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
