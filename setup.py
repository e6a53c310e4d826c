"""The compiled build: the modules of the hot path, by mypyc, in one unit.

With LUNAR_PURE=1 nothing is compiled. Without a working C compiler the extensions are left out, because each is marked
optional, and the same files run interpreted; `weave --version` says which it is.
"""

from __future__ import annotations

import os
import pathlib

from setuptools import setup

HERE = pathlib.Path(__file__).parent

# The one list of what is compiled. A folder stands for its files.
COMPILED = [
    "weaves/scheduler.py",
    "weaves/outside.py",
    "weaves/pace.py",
    "weaves/live.py",
    "lunar/packet.py",
    "lunar/udp.py",
    "lunar/wire",
    "lunar/net",
    "lunar/netfilter",
    "lunar/tcp",
    "lunar/tcp/sender",
    "lunar/tcp/receiver",
    "lunar/tcp/loss",
    "lunar/tcp/opening",
    "lunar/tcp/congestion",
    "lunar/sockets",
    "lunar/links",
]


def compiled_files() -> list[str]:
    """Every file of COMPILED, relative to this one; a package's `__init__` has nothing to compile."""
    files: list[str] = []
    for entry in COMPILED:
        path = HERE / entry
        found = [path] if path.is_file() else sorted(path.glob("*.py"))
        files += [str(file.relative_to(HERE)) for file in found if file.name != "__init__.py"]
    return files


def extensions() -> list[object]:
    """The extension modules, none with LUNAR_PURE=1."""
    if os.environ.get("LUNAR_PURE") == "1":
        return []
    from mypyc.build import mypycify

    # What the compiled modules' packages import besides (attrs, rich ...) is not there in an isolated build and does
    # not matter to them: `make types` checks all of it.
    options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
    made = mypycify(
        [*options, *compiled_files()],
        opt_level=os.environ.get("LUNAR_OPT", "3"),
        debug_level="0",
        group_name="lunar_weaves",
        multi_file=False,
    )
    for extension in made:
        extension.optional = True
        # mypyc treats warnings as errors, for its own developers; a compiler newer than it must not lose us the build.
        extension.extra_compile_args = [flag for flag in extension.extra_compile_args if flag != "-Werror"]
    return list(made)


setup(ext_modules=extensions())
