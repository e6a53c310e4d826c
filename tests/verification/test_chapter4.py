"""A sample of the checks of chapter4.py, and that they can fail. `make verify` does all of them."""

from __future__ import annotations

from pathlib import Path

import chapter4
import pytest
from processes import Tapestries, WentWrong

# Each takes a second or two, the star three. Of the others many are like one of these, and some have to wait until a
# peer that is gone counts as such.
SAMPLE = (
    "writev/readv on the machine",
    "sendto/recvfrom on the machine",
    "everyone to everyone on the machine",
    "send/recv, 5% loss",
    "writev/readv",
    "select",
    "sendto/recvfrom",
    "star",
)


@pytest.mark.parametrize("name", SAMPLE)
def test_what_is_sent_comes(name: str) -> None:
    outcome = chapter4.run(name)
    assert outcome.bytes >= 2 * chapter4.SIZE


@pytest.mark.parametrize(
    ("program", "right", "wrong"),
    [
        ("send_recv.py", "sent = connection.send(rest)", "sent = connection.send(rest[::-1])"),
        ("write_read.py", "parts.append(part)", "parts.append(part[:-1])"),
        ("select_loop.py", "receiving = part", "receiving = b''"),
    ],
)
def test_another_byte_than_was_sent_is_found(tmp_path: Path, program: str, right: str, wrong: str) -> None:
    tapestries = Tapestries(tmp_path)
    path = tmp_path / program
    text = path.read_text("utf-8")
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(WentWrong, match="does not say"):
        chapter4.on_the_machine(program)(tapestries)


def test_the_command_names_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert chapter4.main(["--list"]) == 0
    assert set(SAMPLE) < set(capsys.readouterr().out.splitlines())
    assert chapter4.main(["no such check"]) == 1
    assert chapter4.main(["select on"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 1"
