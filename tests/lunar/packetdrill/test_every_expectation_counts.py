"""No expectation of a script is passed over: with any one of them made wrong the script fails, in that line.

The scripts are our own; each expected packet, result and assertion is changed in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from lunar.packet import URG
from lunar.packetdrill import options
from lunar.packetdrill.lunar_host import LunarHost
from lunar.packetdrill.parser import parse
from lunar.packetdrill.runner import Runner
from lunar.packetdrill.script import ABSOLUTE, RELATIVE, Code, Event, Script, ScriptError, SystemCall, TcpPacket

FOLDER = Path(__file__).parents[2] / "scenarios" / "packetdrill"
SCRIPTS = sorted((FOLDER / "lang").glob("*.pkt"))
LATE_NS = 400_000_000


def wrong_ones(event: Event) -> Iterator[Event]:
    """The event, each time with another thing in it that does not hold."""
    action = event.action
    if isinstance(action, TcpPacket) and action.outbound:
        yield attrs.evolve(event, action=attrs.evolve(action, flags=action.flags ^ URG))
        yield attrs.evolve(event, action=attrs.evolve(action, payload=action.payload + 3))
        if action.ack is not None:
            yield attrs.evolve(event, action=attrs.evolve(action, ack=action.ack + 1))
        if action.options is not None:
            yield attrs.evolve(event, action=attrs.evolve(action, options=(*action.options, *action.options, *NOPS)))
        if event.time in (ABSOLUTE, RELATIVE):
            until_ns = None if event.until_ns is None else event.until_ns + 4 * LATE_NS
            yield attrs.evolve(event, at_ns=event.at_ns + 4 * LATE_NS, until_ns=until_ns)
    elif isinstance(action, SystemCall) and isinstance(action.result, int):
        if action.result == -1:
            yield attrs.evolve(event, action=attrs.evolve(action, errno="EXDEV"))
        elif action.name not in ("socket", "accept", "epoll_create"):  # of which any descriptor is right
            yield attrs.evolve(event, action=attrs.evolve(action, result=action.result + 1))
        yield attrs.evolve(event, action=attrs.evolve(action, result=-2))
    elif isinstance(action, Code):
        yield attrs.evolve(event, action=Code(f"{action.text.strip()}\nassert False"))


NOPS = parse("0 > . 1:1(0) <nop,nop,nop,nop>", "x").events[0].action.options  # type: ignore[union-attr]


def run(script: Script) -> None:
    settings = options.apply(options.default_settings(), script.options)
    backend = LunarHost(settings)
    try:
        Runner(script, settings, backend).run()
    finally:
        backend.close()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_with_one_thing_wrong_a_script_fails_there(path: Path) -> None:
    script = parse(path.read_text(), str(path), options.default_settings().define)
    run(script)
    tried = 0
    for index, event in enumerate(script.events):
        for wrong in wrong_ones(event):
            tried += 1
            events = (*script.events[:index], wrong, *script.events[index + 1 :])
            with pytest.raises(ScriptError) as raised:
                run(attrs.evolve(script, events=events))
            assert raised.value.line == event.line, f"{wrong}: {raised.value}"
    assert tried > 5
