"""What the documentation shows is true: its blocks run, its errors are raised, its files exist.

The first line of a block says what is done with it:

    ```python echo.py  a file, which the blocks below it on the page find in their folder; so `toml site.toml` and
                       `packetdrill script.pkt`
    ```python run      run as a program; if the next block is "text output", that is what it prints; if "text
                       about", numbers of more than one digit may be others, since they change with the stack
    ```python test     run by pytest
    ```console run     a command, `weave` or `python`, and about what it prints, where "..." stands for any lines
    ```console together  commands that run at the same time, and about what the last of them prints; the others are
                       interrupted then. Ports from 8192 on are others that are free
    ```toml check      loaded as a tapestry that stands in tapestries/
    ```toml error      loaded so too; the next block, "text output", is the error
    ```console hello   a command beside the README's hello.toml, and what it prints

Other blocks are for reading only. Each program runs in a process of its own, in a folder with the page's files above it
and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import weaves
from weaves import report, tapestry
from weaves.loader import load

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])

# Where `weaves` and `lunar` come from here; a process in another folder must find the same.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent)}
PYTHON = [sys.executable, *(["-P"] if sys.flags.safe_path else [])]


class Block(NamedTuple):
    page: str
    line: int
    kind: str
    text: str
    output: str | None  # the text of the next block, if that is "text output"
    files: dict[str, str]  # the page's files so far
    about: bool  # the output is "text about"


def blocks(kind: str) -> list[Block]:
    """The blocks of all pages that are marked `kind`."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        files: dict[str, str] = {}
        fences = list(re.finditer(r"^```([^\n]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        for fence, after in zip(fences, [*fences[1:], None], strict=False):
            if file := re.fullmatch(r"\w+ ([\w/-]+\.(?:py|toml|pkt))", fence[1]):
                files[file[1]] = fence[2]
            if fence[1] == kind:
                output = after[2] if after is not None and after[1] in ("text output", "text about") else None
                about = after is not None and after[1] == "text about"
                line = text.count("\n", 0, fence.start()) + 1
                found.append(Block(page.name, line, kind, fence[2], output, dict(files), about))
    assert found, f"no page has a block that is marked {kind}"
    return found


def lay_out(block: Block, folder: Path) -> None:
    """Write the files that the page has shown before the block."""
    for name, text in block.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def finding(folder: Path) -> dict[str, str]:
    """The environment of a program in `folder`, whose modules it finds there also with -P.

    The folder is first: pdb puts the script's folder in the place of the first entry of sys.path.
    """
    return {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(folder), ENVIRONMENT["PYTHONPATH"]])}


def place(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", blocks("python run"), ids=place)
def test_a_program_runs_and_prints_what_is_shown(block: Block, tmp_path: Path) -> None:
    lay_out(block, tmp_path)
    program = tmp_path / "example.py"
    program.write_text(block.text, encoding="utf-8")
    done = subprocess.run(
        [*PYTHON, str(program)],
        cwd=tmp_path, env=finding(tmp_path), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if block.about:
        shown = (block.output or "").splitlines()
        assert [shape(line) for line in done.stdout.splitlines()] == [shape(line) for line in shown]
    else:
        assert done.stdout == (block.output or "")


@pytest.mark.parametrize("block", blocks("python test"), ids=place)
def test_a_test_passes(block: Block, tmp_path: Path) -> None:
    lay_out(block, tmp_path)
    (tmp_path / "test_example.py").write_text(block.text, encoding="utf-8")
    done = subprocess.run(
        [*PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_example.py"],
        cwd=tmp_path, env=finding(tmp_path), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"^[1-9]\d* passed in", done.stdout, re.MULTILINE), done.stdout  # and nothing else than passed


@pytest.mark.parametrize("block", blocks("toml check"), ids=place)
def test_a_tapestry_has_no_mistake(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    load(tapestry.parse(block.text, ROOT / "tapestries" / "site.toml")).close()


@pytest.mark.parametrize("block", blocks("toml error"), ids=place)
def test_a_mistake_is_told_as_shown(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(ROOT / "tapestries")
    with pytest.raises(weaves.TapestryError) as caught:
        load(tapestry.parse(block.text, "site.toml"))
    assert f"{caught.value}\n" == block.output


@pytest.mark.parametrize("block", blocks("console hello"), ids=place)
def test_a_command_prints_what_is_shown(block: Block, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"^```\w+ (hello\.\w+)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    command, _, output = block.text.partition("\n")
    done = subprocess.run(
        [*PYTHON, "-m", "weaves.cli", *command.removeprefix("$ weave ").split()],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == output, done.stderr


@pytest.mark.parametrize("block", blocks("console run"), ids=place)
def test_a_command_prints_about_what_is_shown(block: Block, tmp_path: Path) -> None:
    lay_out(block, tmp_path)
    command, _, output = block.text.partition("\n")
    words = shlex.split(command.removeprefix("$ "))
    module = {"weave": ["-m", "weaves.cli"], "python": []}[words[0]]
    done = subprocess.run(
        [*PYTHON, *module, *words[1:]],
        cwd=tmp_path, env=finding(tmp_path), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    printed = "".join(shape(line) + "\n" for line in done.stdout.splitlines())
    assert re.fullmatch(pattern_of(output), printed), done.stdout + done.stderr


@pytest.mark.parametrize("block", blocks("console together"), ids=place)
def test_commands_that_run_together_print_about_what_is_shown(block: Block, tmp_path: Path) -> None:
    named = sorted(set(re.findall(r"\b819\d\b", "".join(block.files.values()))))
    free = dict(zip(named, free_ports(len(named)), strict=True))
    texts = {name: re.sub(r"\b819\d\b", lambda port: free[port[0]], text) for name, text in block.files.items()}
    lay_out(block._replace(files=texts), tmp_path)
    commands = re.findall(r"^\$ weave (.*)\n", block.text, re.MULTILINE)
    output = block.text.rpartition(f"$ weave {commands[-1]}\n")[2]
    with contextlib.ExitStack() as stack:
        *others, last = [
            stack.enter_context(
                subprocess.Popen(
                    [*PYTHON, "-m", "weaves.cli", *shlex.split(command)],
                    cwd=tmp_path, env=finding(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )
            )
            for command in commands
        ]  # fmt: skip
        for process in (*others, last):
            stack.callback(process.kill)
        printed, errors = last.communicate(timeout=120)
        assert re.fullmatch(pattern_of(output), "".join(shape(line) + "\n" for line in printed.splitlines())), (
            printed + errors
        )
        for process in others:
            process.send_signal(signal.SIGINT)
        for process in others:
            printed, errors = process.communicate(timeout=120)
            assert process.returncode == 128 + signal.SIGINT, printed + errors


def free_ports(count: int) -> list[str]:
    """UDP ports of 127.0.0.1 that nobody has now."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for sock in made:
            sock.bind(("127.0.0.1", 0))
        return [str(sock.getsockname()[1]) for sock in made]


def pattern_of(output: str) -> str:
    """The regular expression of output by its shape, where "..." stands for any lines."""
    return "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(shape(line)) + r"\n" for line in output.splitlines()
    )


def shape(line: str) -> str:
    """A line without what differs from machine to machine, and without its padding."""
    return re.sub(r"\b[0-9a-f]{32}\b|\d[\d,.]+", "#", " ".join(line.replace("]", " ]").split()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name} leads to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} leads to {target}"


def anchors(page: Path) -> set[str]:
    """GitHub's names of the headings: lower case, without punctuation, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"`((?:weaves|lunar|tests|tapestries|benchmarks|docs)/[\w/.-]*)`", page.read_text("utf-8")):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_functions_that_design_names_are_in_their_files() -> None:
    """`lunar/tcp/sender/output.py: push` in the text means that the file defines push."""
    named = re.findall(r"`((?:weaves|lunar)/[\w/]+\.py): ([\w., ]+)`", (ROOT / "docs" / "design.md").read_text("utf-8"))
    assert named
    for path, names in named:
        source = (ROOT / path).read_text("utf-8")
        for name in names.split(", "):
            for part in name.split("."):
                assert re.search(rf"^\s*(?:async )?(?:def|class) {part}\b", source, re.MULTILINE), f"{path}: {name}"


def test_the_reference_is_made_of_the_docstrings() -> None:
    done = subprocess.run(
        [*PYTHON, str(ROOT / "docs" / "make_reference.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr}a docstring has changed: run `python docs/make_reference.py`"


def test_every_figure_is_documented() -> None:
    """The table of JSON fields in cli.md has what `weave run --json` writes, and nothing else."""
    hosts = '[hosts.a]\neth0 = "10.0.0.1/24"\n[hosts.b]\neth0 = "10.0.0.2/24"\n'
    fields = {"replay"}  # which weave replay adds
    for clock in ("virtual", "real"):
        text = f'[tapestry]\nclock = "{clock}"\n{hosts}[[links]]\nends = ["a", "b"]'
        live = load(tapestry.parse(text, "pair.toml"))
        written = report.figures(live, 0.0, False)
        live.close()
        for key, value in written.items():
            if isinstance(value, dict):
                fields |= {f"{key}.{inner}" for inner in value}
            elif isinstance(value, list) and not value:
                fields.add(f"{key}[]")  # of what few runs have, on a page of its own
            elif isinstance(value, list):
                fields |= {f"{key}[].{inner}" for inner in value[0]}
            else:
                fields.add(key)
    section = (ROOT / "docs" / "cli.md").read_text("utf-8").partition("### Figures as JSON")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    assert {name for cell in cells for name in re.findall("`([^`]+)`", cell)} == fields
