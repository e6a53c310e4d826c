"""The public sources of a package, in the cache folder: archives as they were fetched, and what of them is run.

They are looked for in this order, until one has the files that are wanted: an archive that lies in the cache folder
already (put there by hand where there is no network), the package index, the package's repository, Debian's source
packages. Not every package puts all of its tests on the index. Nothing fetched is kept in the repository. CPython's
tests are not fetched: they are modules of the interpreter that runs this. Run as a program, with the names of packages
or none for all, this prints what the tests need.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
# How long one command may take to fetch, in seconds.
FETCH_S = 600


class Selection(NamedTuple):
    """Some tests of `file`, counted apart: those that a pattern of `having` names, less those that one of `less` does.

    Patterns are of "Class.test", where `*` stands for anything. `what` says what the tests have in common.
    """

    file: str
    what: str
    having: list[str]
    less: list[str]

    def has(self, test: str) -> bool:
        """Whether it counts the test of this name."""
        file, _, name = test.partition("::")
        if file != self.file:
            return False
        in_having, in_less = (any(fnmatchcase(name, one) for one in names) for names in (self.having, self.less))
        return in_having and not in_less


class Package(NamedTuple):
    """A table of packages.toml; what its keys mean is said there."""

    name: str
    version: str
    code: list[str]
    files: list[str]
    options: list[str]
    requires: list[str]
    leave_out: dict[str, str]
    git: str = ""
    debian: dict[str, str] | None = None
    sha256: str = ""
    interpreter: str = ""
    isolate: list[str] | None = None
    select: tuple[Selection, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"


class NotFetched(Exception):
    """Nobody had the files; the text says what was tried."""


def packages() -> list[Package]:
    """What packages.toml says."""
    tables = tomllib.loads((HERE / "packages.toml").read_text())
    return [_package(name, table) for name, table in tables.items()]


def _package(name: str, table: dict[str, Any]) -> Package:
    select = tuple(Selection(**entry) for entry in table.pop("select", []))
    until = {file: tuple(map(int, version.split("."))) for file, version in table.pop("until", {}).items()}
    package = Package(name=name, select=select, **{"version": "{}.{}.{}".format(*sys.version_info), **table})
    gone = [file for file, version in until.items() if sys.version_info[:2] >= version]
    return package._replace(files=[file for file in package.files if file not in gone])


def fetched(package: Package, cache: Path) -> Path:
    """The folder in `cache` with the sources of `package`; fetches them if they are not there. Raises `NotFetched`."""
    folder = cache / f"{package.name}-{package.version}"
    if package.interpreter:
        _look_in_interpreter(package)
        folder.mkdir(parents=True, exist_ok=True)  # where the tests leave their files
        return folder
    if _complete(package, folder):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    tried = []
    for fetch in (_kept, _from_index, _from_repository, _from_debian):
        try:
            for found in fetch(package, cache):
                if found.is_file():
                    _check(package, found)
                    _unpack(package, found, folder)
                else:
                    _move(package, found, folder)
                if _complete(package, folder):
                    return folder
                missing = next(name for name in package.files if not (folder / name).exists())
                tried.append(f"{found.name} has no {missing}")
        except (OSError, ValueError, subprocess.SubprocessError, tarfile.TarError) as error:
            tried.append(f"{fetch.__name__.removeprefix('_').replace('_', ' ')}: {_text(error)}")
    raise NotFetched(f"{package.name} {package.version}: {'; '.join(tried)}")


def _look_in_interpreter(package: Package) -> None:
    """Raises `NotFetched` where this Python came without the tests, as those of most distributions do."""
    wanted = [f"{package.interpreter}.{file}" for file in package.files]
    try:
        missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    except ModuleNotFoundError:  # a package above is missing
        missing = wanted
    if missing:
        text = f"{sys.executable} (Python {package.version}) has no {missing[0]}: it came without CPython's own tests"
        debian = "libpython{}.{}-testsuite".format(*sys.version_info)
        raise NotFetched(f"{text}. pyenv's and python.org's have them, Debian's with {debian}")


def _check(package: Package, archive: Path) -> None:
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if package.sha256 and found != package.sha256:
        raise ValueError(f"{archive.name} has the SHA-256 {found}; expected {package.sha256}")


def _complete(package: Package, folder: Path) -> bool:
    return all((folder / name).exists() for name in package.files)


# Where to look. Each gives archives or folders


def _kept(package: Package, cache: Path) -> Iterator[Path]:
    for spelling in (package.name, (package.debian or {}).get("name", package.name)):
        yield from sorted(cache.glob(f"{spelling}[-_]{package.version}*.tar.*"))


def _from_index(package: Package, cache: Path) -> Iterator[Path]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", package.name]
    _run([*command, "--dest", str(cache), f"{package.name}=={package.version}"])
    yield from cache.glob(f"{package.name}-{package.version}.tar.gz")


def _from_repository(package: Package, cache: Path) -> Iterator[Path]:
    if package.git:
        clone = cache / f"{package.name}.clone"
        shutil.rmtree(clone, ignore_errors=True)
        quiet = ["-c", "advice.detachedHead=false", "-c", "core.askPass=true"]
        _run(["git", *quiet, "clone", "--quiet", "--depth=1", f"--branch={package.version}", package.git, str(clone)])
        yield clone


def _from_debian(package: Package, cache: Path) -> Iterator[Path]:
    """The upstream archive of Debian's source package. The apt has lists of its own; the machine's stay as they are."""
    if package.debian is None or shutil.which("apt-get") is None:
        return
    mirrors = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"])
    mirror = mirrors.split()[0] if mirrors.split() else ""
    if not mirror:
        return
    apt = (cache / "apt").absolute()
    for part in ("lists/partial", "archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "sources.list").write_text(f"deb-src {mirror} {package.debian['suite']} main\n")
    places = {
        "Dir::Etc::SourceList": apt / "sources.list", "Dir::Etc::SourceParts": "-", "Dir::State::Lists": apt / "lists",
        "Dir::Cache": apt,
    }
    options = [word for key, value in places.items() for word in ("-o", f"{key}={value}")]
    _run(["apt-get", *options, "--quiet", "update"])
    # Debian's own part of the source may be gone from the mirror; whether the archive came is seen below.
    with contextlib.suppress(subprocess.CalledProcessError):
        _run(["apt-get", *options, "source", "--download-only", package.debian["name"]], cache)
    yield from cache.glob(f"{package.debian['name']}_{package.version}*.orig.tar.*")


def _run(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=FETCH_S, stdin=subprocess.DEVNULL
    )
    return done.stdout


def _text(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"{error.cmd[0]} exited with {error.returncode}"
    return str(error)


# What is kept of it: all but the package itself


def _unpack(package: Package, archive: Path, folder: Path) -> None:
    beside = folder.with_name(folder.name + ".unpacked")
    shutil.rmtree(beside, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(beside, filter="data")
    top = list(beside.iterdir())
    _move(package, top[0] if len(top) == 1 else beside, folder)
    shutil.rmtree(beside, ignore_errors=True)


def _move(package: Package, source: Path, folder: Path) -> None:
    for code in package.code:
        shutil.rmtree(source / code, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    source.rename(folder)


if __name__ == "__main__":
    # What has to be installed, for pip. No more is imported here than an environment has that is still empty.
    for wanted in packages():
        if not wanted.interpreter and (len(sys.argv) == 1 or wanted.name in sys.argv[1:]):
            print(f"{wanted.name}=={wanted.version}", "pytest", *wanted.requires, sep="\n")
