"""The price of isolation: memory and time a weave, for modules of its own, at 1, 100 and 1,000 weaves.

For a small application package (180 lines: classes, dataclasses, a cached function, tables) and for aiohttp, each way
of giving programs their modules is measured in a process of its own, side by side in every round:

    shared      one instance for all weaves: what `isolate = []` gives
    isolated    an instance a weave, the code compiled once: what a tapestry does
    compiled    an instance a weave, the code compiled for each: what isolation would cost without the sharing of code
    process     a Python process for each program: the alternative outside (of at most 10 processes, PSS)

Printed are medians over the rounds of KiB and ms a weave, and their ratios to `isolated`. What is the same for all of
them (the libraries that aiohttp itself imports, the hosts) is loaded before and not counted. Memory is what the process
grows by; of one weave, which may fit in what the process has, it is what Python allocates (tracemalloc).

    python benchmarks/beads.py [--rounds N] [--most N]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import tracemalloc
from pathlib import Path

COUNTS = (1, 100, 1000)
WAYS = ("shared", "isolated", "compiled", "process")
# Whoever measures 1,000 isolated instances of aiohttp needs 4 GB; compiling each takes minutes.
MOST = {("aiohttp", "compiled"): 100}
PROCESSES = 10

PROGRAMS = {
    "small": "import shop\n",
    "aiohttp": "import aiohttp, aiohttp.web\n",
}
ISOLATE = {"small": ("main", "shop"), "aiohttp": ("main", "aiohttp")}


def write_small_package(folder: Path) -> None:
    """A package as a small application has it: three modules of about 70 lines."""
    package = folder / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("from . import models, stock, web\n")
    fields = "\n".join(f"        field_{n}: int = {n}" for n in range(6))
    classes = "\n".join(
        f"    @dataclasses.dataclass\n    class Model{n}:\n{fields}\n        def total(self):\n"
        f"            return self.field_1 + self.field_2\n"
        for n in range(6)
    )
    (package / "models.py").write_text("import dataclasses\n" + textwrap.dedent(classes))
    functions = "\n".join(
        f"def count_{n}(name):\n    global counter\n    counter += {n}\n    STOCK[name] = STOCK.get(name, 0) + 1\n"
        f"    return STOCK[name]\n"
        for n in range(12)
    )
    (package / "stock.py").write_text(f"counter = 0\nSTOCK = {{f'item-{{n}}': n for n in range(50)}}\n{functions}")
    handlers = "\n".join(f"async def handle_{n}(request):\n    return render(request, {n})\n" for n in range(12))
    (package / "web.py").write_text(
        "import functools\nfrom .models import Model1\n@functools.lru_cache\n"
        f"def render(request, n):\n    return Model1(n).total()\n{handlers}"
    )


def measure(package: str, way: str, count: int, traced: bool = False) -> tuple[float, float]:
    """KiB and ms a weave, in this process; `traced`: KiB exactly, and slowly."""
    if way == "process":
        return measure_processes(package, min(count, PROCESSES))
    from weaves import library
    from weaves.loader import load
    from weaves.tapestry import parse

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_small_package(folder)
        # It goes on, because the modules of a program that has ended are given back.
        waits = "import asyncio\nasync def main():\n    await asyncio.sleep(1000)\n"
        (folder / "main.py").write_text(PROGRAMS[package] + waits)
        sys.path.insert(0, name)
        if package == "aiohttp" or way == "shared":
            exec(PROGRAMS[package])  # what the package itself imports is there before
        isolate = json.dumps([] if way == "shared" else ISOLATE[package])
        # The first host is not counted: it finds and compiles.
        text = f"""
        [tapestry]
        isolate = {isolate}
        [hosts.first]
        strings = [{{ call = "main:main" }}]
        [hosts.h]
        count = {count}
        strings = [{{ call = "main:main", start = "1s" }}]
        """
        if way == "compiled":
            library.Library.code = compile_each  # type: ignore[method-assign]
        live = load(parse(textwrap.dedent(text), folder / "x.toml"))
        live.network.run(until="500ms")  # type: ignore[attr-defined]
        gc.collect()
        before, start = resident_kib(), time.perf_counter()
        if traced:
            tracemalloc.start()
        live.network.run(until="2s")  # type: ignore[attr-defined]
        spent = time.perf_counter() - start
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] / 1024 if traced else resident_kib() - before
        assert not live.supervisor.failures, live.supervisor.failures[0].describe_failure()
        live.close()
    return grown / count, spent * 1000 / count


def compile_each(self: object, spec: object) -> object:
    """In place of Library.code: without the sharing."""
    found = getattr(spec, "loader", None)
    path = getattr(spec, "origin", "")
    return compile(found.get_data(path), path, "exec", dont_inherit=True) if hasattr(found, "get_data") else None


def measure_processes(package: str, count: int) -> tuple[float, float]:
    """The same with a process for each program."""
    with tempfile.TemporaryDirectory() as name:
        write_small_package(Path(name))
        program = f"{PROGRAMS[package]}import sys\nprint(flush=True)\nsys.stdin.read()\n"
        start = time.perf_counter()
        running = []
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-c", program], cwd=name, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            process.stdout.readline()
            running.append(process)
        spent = time.perf_counter() - start
        size = sum(proportional_kib(process.pid) for process in running)
        for process in running:
            process.communicate()
    return size / count, spent * 1000 / count


def resident_kib() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def proportional_kib(pid: int) -> int:
    """What a process has to itself, and its part of what it shares with others (proc(5), smaps_rollup)."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))


def main() -> None:
    """Measure all, print the table."""
    parser = argparse.ArgumentParser(description="The price of isolation: memory and time a weave.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=1000, help="leave out larger numbers of weaves")
    parser.add_argument("--one", nargs=3, metavar=("PACKAGE", "WAY", "COUNT"), help="measure one in this process")
    options = parser.parse_args()
    if options.one:
        package, way, count = options.one
        kib, ms = measure(package, way, int(count))
        if count == "1" and way != "process":
            kib, _ = measure(package, way, 1, traced=True)
        print(kib, ms)
        return
    print(f"{'package':8} {'weaves':>6}  {'way':9} {'KiB each':>9} {'ms each':>9}   of isolated: memory, time")
    for package in PROGRAMS:
        for count in COUNTS:
            if count <= options.most:
                compare(package, count, options.rounds)


def compare(package: str, count: int, rounds: int) -> None:
    """Measure every way in turn, `rounds` times, and print a row for each."""
    ways = [way for way in WAYS if count <= MOST.get((package, way), count)]
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            if sys.stderr.isatty():
                print(f"\r{package} {count} {way}, round {number + 1} of {rounds} ...", end="\x1b[K", file=sys.stderr)
            command = [sys.executable, __file__, "--one", package, way, str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"\n{done.stderr}")
            kib, ms = map(float, done.stdout.split())
            taken[way].append((kib, ms))
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    medians = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in taken.items()}
    base_kib, base_ms = medians["isolated"]
    for way, (kib, ms) in medians.items():
        ratios = f"{kib / base_kib:8.3f}x {ms / base_ms:8.3f}x"
        print(f"{package:8} {count:6,}  {way:9} {kib:9,.1f} {ms:9.3f}   {ratios}", flush=True)


if __name__ == "__main__":
    main()
