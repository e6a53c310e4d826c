"""What strings print: whole lines, each with its weave; and outside the streams are what they were."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import weaves
from weaves.here import here
from weaves.output import Streams, WeaveInput, WeaveStream
from weaves.scheduler import Scheduler
from weaves.tapestry import parse


class Named(str):
    """A text that does for a weave. It has a clock, because whatever runs inside may ask for the time: a callback of
    the garbage collector's, for example, which hypothesis sets.
    """

    scheduler = Scheduler()
    epoch_ns = 0
    modules = None
    sys_names: dict[str, object] = {}  # noqa: RUF012 - nothing is put there


@contextlib.contextmanager
def inside(weave: Any) -> Iterator[None]:
    """As in a turn of `weave`."""
    before, here.weave = here.weave, Named(weave)  # type: ignore[assignment]
    try:
        yield
    finally:
        here.weave = before


class Screen:
    """An outer stream, a WeaveStream before it, and what weaves have written to that."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, str]] = []
        self.outer = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        self.stream = WeaveStream(self.outer, lambda weave, line: self.lines.append((weave, line)))

    def write(self, weave: str, *texts: str) -> None:
        with inside(weave):
            for text in texts:
                self.stream.write(text)

    @property
    def outer_text(self) -> str:
        buffer = self.outer.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


@pytest.fixture
def screen() -> Screen:
    return Screen()


# Lines


def test_a_line_is_emitted_with_its_weave_and_without_its_end(screen: Screen) -> None:
    screen.write("a", "hello\n")
    assert screen.lines == [("a", "hello")]


def test_print_writes_one_line(screen: Screen) -> None:
    with inside("a"):
        print("one", 2, "three", file=screen.stream)
    assert screen.lines == [("a", "one 2 three")]


def test_each_line_of_a_text_is_emitted(screen: Screen) -> None:
    screen.write("a", "one\ntwo\n\nfour\n")
    assert [line for _, line in screen.lines] == ["one", "two", "", "four"]


def test_a_part_of_a_line_waits_for_the_rest(screen: Screen) -> None:
    screen.write("a", "he", "ll")
    assert screen.lines == []
    screen.write("a", "o\nwor")
    assert screen.lines == [("a", "hello")]


def test_parts_of_two_weaves_do_not_mix(screen: Screen) -> None:
    screen.write("a", "from ")
    screen.write("b", "also from ")
    screen.write("a", "a\n")
    screen.write("b", "b\n")
    assert screen.lines == [("a", "from a"), ("b", "also from b")]


def test_flush_does_not_end_a_line(screen: Screen) -> None:
    with inside("a"):
        print("part", end="", flush=True, file=screen.stream)
    assert screen.lines == []


def test_writelines(screen: Screen) -> None:
    with inside("a"):
        screen.stream.writelines(["one\n", "two\n"])
    assert [line for _, line in screen.lines] == ["one", "two"]


def test_write_returns_the_count_of_characters(screen: Screen) -> None:
    with inside("a"):
        assert screen.stream.write("h\u00e9llo\n") == 6


def test_what_is_no_text_is_refused(screen: Screen) -> None:
    with inside("a"), pytest.raises(TypeError, match="must be str, not bytes"):
        screen.stream.write(b"bytes")  # type: ignore[arg-type]


def test_a_carriage_return_covers_what_stood_before(screen: Screen) -> None:
    screen.write("a", "10%\r", "20%\r", "done\n")
    assert screen.lines == [("a", "done")]


def test_a_line_may_end_as_on_windows(screen: Screen) -> None:
    screen.write("a", "hello\r\n")
    assert screen.lines == [("a", "hello")]


def test_finish_emits_what_has_no_end(screen: Screen) -> None:
    screen.write("a", "last words")
    screen.write("b", "not yet")
    screen.stream.finish("a")  # type: ignore[arg-type]
    assert screen.lines == [("a", "last words")]


def test_finish_emits_it_once(screen: Screen) -> None:
    screen.write("a", "last words")
    screen.stream.finish("a")  # type: ignore[arg-type]
    screen.stream.finish("a")  # type: ignore[arg-type]
    assert screen.lines == [("a", "last words")]


def test_finish_of_a_weave_that_wrote_whole_lines_emits_nothing(screen: Screen) -> None:
    screen.write("a", "hello\n")
    screen.stream.finish("a")  # type: ignore[arg-type]
    assert screen.lines == [("a", "hello")]


def test_finish_all_emits_in_the_order_of_the_first_parts(screen: Screen) -> None:
    screen.write("b", "first")
    screen.write("a", "second")
    screen.stream.finish_all()
    assert screen.lines == [("b", "first"), ("a", "second")]


# Bytes


def test_bytes_are_decoded(screen: Screen) -> None:
    with inside("a"):
        assert screen.stream.buffer.write("h\u00e9llo\n".encode()) == 7
    assert screen.lines == [("a", "h\u00e9llo")]


def test_a_character_may_be_cut_between_two_writes(screen: Screen) -> None:
    first, second = "\u00e9\n".encode()[:1], "\u00e9\n".encode()[1:]
    with inside("a"):
        screen.stream.buffer.write(first)
        screen.stream.buffer.write(second)
    assert screen.lines == [("a", "\u00e9")]


def test_a_character_cut_by_one_weave_does_not_harm_another(screen: Screen) -> None:
    with inside("a"):
        screen.stream.buffer.write("\u00e9".encode()[:1])
    with inside("b"):
        screen.stream.buffer.write(b"whole\n")
    assert screen.lines == [("b", "whole")]


def test_what_is_not_utf_8_is_marked(screen: Screen) -> None:
    with inside("a"):
        screen.stream.buffer.write(b"\xff\n")
    assert screen.lines == [("a", "\ufffd")]


# Outside


def test_outside_a_text_goes_to_the_outer_stream(screen: Screen) -> None:
    screen.stream.write("part, and ")
    screen.stream.write("no line")
    assert (screen.outer_text, screen.lines) == ("part, and no line", [])


def test_a_weaves_text_does_not_go_to_the_outer_stream(screen: Screen) -> None:
    screen.write("a", "hello\n")
    assert screen.outer_text == ""


def test_outside_the_buffer_is_the_outer_one(screen: Screen) -> None:
    assert screen.stream.buffer is screen.outer.buffer


def test_encoding_and_errors_are_the_outer_ones(screen: Screen) -> None:
    assert (screen.stream.encoding, screen.stream.errors) == ("utf-8", "strict")


def test_inside_it_is_no_terminal_and_has_its_number() -> None:
    with open("/dev/null", "w", encoding="utf-8") as outer:
        stream = WeaveStream(outer, lambda weave, line: None, 2)
        assert stream.fileno() == outer.fileno()
        with inside("a"):
            assert (stream.isatty(), stream.fileno(), os.isatty(2)) == (False, 2, False)
            with pytest.raises(OSError, match="Inappropriate ioctl for device"):
                os.get_terminal_size(2)


def test_it_has_what_programs_ask_a_file_for(screen: Screen) -> None:
    assert (screen.stream.mode, screen.stream.line_buffering, screen.stream.write_through) == ("w", False, False)
    assert WeaveInput(io.StringIO()).mode == "r"


def test_a_program_cannot_close_it(screen: Screen) -> None:
    with inside("a"):
        screen.stream.close()
    screen.write("b", "hello\n")
    assert (screen.lines, screen.stream.closed, screen.outer.closed) == ([("b", "hello")], False, False)


# Input


def test_inside_the_input_is_at_its_end() -> None:
    stream = WeaveInput(io.StringIO("typed\n"))
    with inside("a"):
        assert (stream.read(), stream.readline(), list(stream), stream.buffer.read()) == ("", "", [], b"")


def test_outside_the_input_is_the_machines() -> None:
    stream = WeaveInput(io.StringIO("one\ntwo\n"))
    assert (stream.readline(), stream.read()) == ("one\n", "two\n")


# Both streams


def test_streams_are_put_in_place_and_back() -> None:
    before = (sys.stdin, sys.stdout, sys.stderr)
    with Streams(lambda weave, line: None, lambda weave, line: None):
        assert isinstance(sys.stdin, WeaveInput)
        assert isinstance(sys.stdout, WeaveStream)
        assert isinstance(sys.stderr, WeaveStream)
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_streams_are_put_back_after_an_exception() -> None:
    before = (sys.stdin, sys.stdout, sys.stderr)
    with pytest.raises(KeyError), Streams(lambda weave, line: None, lambda weave, line: None):
        raise KeyError
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_output_and_errors_go_their_own_ways() -> None:
    out: list[tuple[Any, str]] = []
    err: list[tuple[Any, str]] = []
    with Streams(lambda *line: out.append(line), lambda *line: err.append(line)), inside("a"):
        print("out")
        print("err", file=sys.stderr)
    assert (out, err) == ([("a", "out")], [("a", "err")])


def test_finish_is_for_both() -> None:
    lines: list[tuple[Any, str]] = []
    with Streams(lambda *line: lines.append(line), lambda *line: lines.append(line)) as both:
        with inside("a"):
            sys.stdout.write("out")
            sys.stderr.write("err")
        both.finish("a")  # type: ignore[arg-type]
        assert lines == [("a", "out"), ("a", "err")]


def test_the_end_of_the_context_emits_what_has_no_end() -> None:
    lines: list[tuple[Any, str]] = []
    with Streams(lambda weave, line: lines.append((weave, line)), lambda weave, line: None), inside("a"):
        sys.stdout.write("last words")
    assert lines == [("a", "last words")]


def test_outside_print_is_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with Streams(lambda weave, line: None, lambda weave, line: None):
        print("out")
        print("err", file=sys.stderr)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("out\n", "err\n")


def test_output_of_a_run_is_kept_by_host_weave_and_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.py").write_text("import sys\nprint(sys.argv[1])\nprint('no end', file=sys.stderr, end='')\n")
    strings = '[{ run = "p.py one", name = "first" }, { run = "p.py two", name = "second" }]'
    live = weaves.load(parse(f"[hosts.a]\nstrings = {strings}\n[hosts.b]\n", tmp_path / "site.toml"))
    with weaves.Output() as output:
        print("outside")
        live.run_blocking()
    live.close()
    assert capsys.readouterr() == ("outside\n", "")
    assert output.text("a") == "one\ntwo\n"
    assert output.text("a", "second") == "two\n"
    assert output.text("a", "second", "err") == "no end\n"
    assert output.text("b") == output.text("a", "third") == ""
