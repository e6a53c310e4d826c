"""The entries of [[events]]: what happens to hosts, weaves and links at given times of the run.

An entry that names a group is an event for each of its hosts; its time may then hold `{i}`, as in a rolling restart.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Final

from weaves.fields import text_field
from weaves.host_groups import Group
from weaves.tables import EventTable
from weaves.tapestry import EventDescription, HostDescription, LinkDescription, WeaveDescription
from weaves.tapestry_errors import Where, suggestion
from weaves.toml_source import TomlSource
from weaves.units import parse_wait

_OF_LINKS: Final = ("link-down", "link-up")
# They stop a process, which is not here: what stands still is a host.
_STOPPING: Final = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


class Events:
    """What entries of [[events]] can name."""

    def __init__(
        self,
        source: TomlSource,
        groups: dict[str, Group],
        links: Sequence[LinkDescription],
        weaves: Sequence[WeaveDescription],
    ) -> None:
        self._source = source
        self._groups = groups
        self._hosts = {host.name: [host] for group in groups.values() for host in group.hosts}
        self._links = [link.name for link in links]
        self._weaves: dict[str, list[str]] = {}
        for weave in weaves:
            self._weaves.setdefault(weave.host, []).append(weave.name)

    def descriptions(self, number: int, table: EventTable) -> Iterator[EventDescription]:
        """The events of the entry that stands at `number`, from 0, in the file. Raises `TapestryError`."""

        def place(key: str) -> Where:
            return self._source.where("events", number, key)

        where = self._source.where("events", number)
        if table.at is None:
            raise where.error('no time; expected at = "5s"')
        if table.do is None:
            raise where.error('nothing to do; expected do = "crash", or another of what can happen to a host')
        at = text_field(place("at"), table.at, parse_wait)
        for key, value, wanted in (
            ("link", table.link, table.do in _OF_LINKS),
            ("host", table.host, table.do not in _OF_LINKS),
            ("signal", table.signal, table.do == "signal"),
        ):
            if wanted and value is None:
                raise where.error(f'no {key} for "{table.do}"; expected {key} = "NAME"')
            if value is not None and not wanted:
                raise place(key).error(f'"{table.do}" has no {key}; expected it with another `do`')
        if table.weave is not None and table.do != "signal":
            raise place("weave").error(f'"{table.do}" is for all of a host; expected no weave, or do = "signal"')
        signum = None if table.signal is None else _signum(place("signal"), table.signal)
        if table.link is not None:
            if table.link not in self._links:
                message = f'there is no link "{table.link}"; {suggestion(table.link, self._links)}'
                raise place("link").error(message)
            yield EventDescription(at.of(0, ""), table.do, "", table.link, None, None, number, where)
            return
        assert table.host is not None, "it was looked for above"
        for host in self._resolved(place("host"), table.host):
            if table.weave is not None and table.weave not in (known := self._weaves.get(host.name, [])):
                message = f'{host.name} has no weave "{table.weave}"; {suggestion(table.weave, known)}'
                raise place("weave").error(message if known else f"there is no weave on {host.name}; expected no weave")
            at_ns = at.of(host.index, host.name)
            yield EventDescription(at_ns, table.do, host.name, "", table.weave, signum, number, where)

    def _resolved(self, where: Where, name: str) -> Sequence[HostDescription]:
        if name in self._groups:
            return self._groups[name].hosts
        if name not in self._hosts:
            raise where.error(f'there is no host "{name}"; {suggestion(name, list(self._groups))}')
        return self._hosts[name]


def _signum(where: Where, name: str) -> int:
    try:
        signum = signal.Signals[name]
    except KeyError:
        known = [known.name for known in signal.Signals]
        raise where.error(f'"{name}" is not a signal; {suggestion(name, known)}') from None
    if signum in _STOPPING:
        raise where.error(f'no process can be stopped by {name} yet; expected do = "pause", which stops the host')
    return int(signum)
