"""Scripts, one or a folder of them: each is parsed and run over a stack of its own, and what came of it is told.

A `Result` is of one script; `table` says of many, folder by folder, how many passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from lunar.packetdrill import as_linux, options
from lunar.packetdrill.backend import Backend, Settings
from lunar.packetdrill.parser import parse
from lunar.packetdrill.runner import Runner
from lunar.packetdrill.script import Script, ScriptError

MakeBackend = Callable[[Settings], Backend]


@attrs.frozen
class Result:
    """What came of a script: `error` is None if it passed."""

    path: Path
    error: ScriptError | None

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return self.error is None

    @property
    def reason(self) -> str:
        """The first line of what was wrong, with the script's line in front."""
        if self.error is None:
            return ""
        # Of a packet that differs both packets follow, and a command may have several lines.
        first = " ".join(self.error.message.partition("script packet: ")[0].split())
        return f"{self.error.line}: {first}" if self.error.line else first


def find(paths: Iterable[Path], ip_version: str = options.IPV4) -> list[Path]:
    """The scripts of files and folders, in order; those for the other family alone (`*v6.pkt`, `*v4.pkt`) only if
    named themselves.

    Raises `FileNotFoundError`.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            others = "v4.pkt" if ip_version == options.IPV6 else "v6.pkt"
            found += sorted(one for one in path.rglob("*.pkt") if not one.name.endswith(others))
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: there is no such script or folder")
    return found


def load(path: Path, settings: Settings) -> tuple[Script, Settings]:
    """The script and the settings that it runs with. Raises `ScriptError`."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ScriptError(str(path), 0, error.strerror or str(error)) from None
    script = parse(text, str(path), settings.define)
    try:
        return script, options.apply(settings, script.options)
    except ValueError as error:
        raise ScriptError(str(path), 1, str(error)) from None


def run(path: Path, settings: Settings, make_backend: MakeBackend, verbose: bool = False) -> Result:
    """Run the script of this path."""
    try:
        script, own = load(path, settings)
        backend = make_backend(own)
        try:
            Runner(script, own, backend, verbose).run()
        finally:
            backend.close()
    except ScriptError as error:
        return Result(path, error)
    return Result(path, None)


def table(results: Iterable[Result], root: Path) -> str:
    """How many passed and failed in each folder, and of each that failed why."""
    folders: dict[str, list[Result]] = {}
    for result in results:
        folder = result.path.parent
        name = str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)
        folders.setdefault(name, []).append(result)
    width = max([len(name) for name in folders] + [6])
    lines = [f"{'folder':{width}}  passed  failed  total"]
    counts = [(name, sum(one.passed for one in inside), len(inside)) for name, inside in folders.items()]
    counts.append(("all", sum(passed for _, passed, _ in counts), sum(total for _, _, total in counts)))
    lines += [f"{name:{width}}  {passed:6}  {total - passed:6}  {total:5}" for name, passed, total in counts]
    failed = [(one, as_linux.why(one.path, one.reason)) for inside in folders.values() for one in inside if one.error]
    like_linux = sum(1 for _, why in failed if why)
    if like_linux:
        lines.append(f"Of those that failed Linux 6.18 fails {like_linux} in the same words.")
    if failed:
        lines.append("")
    for one, why in failed:
        lines.append(f"{_shown(one.path, root)}:{one.reason}")
        if why:
            lines.append(f"    as on Linux 6.18: {why}")
    return "\n".join(lines)


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
