"""`weave show`: a tapestry as text: hosts with their devices, the weaves, beads and strings on them, and the links."""

from __future__ import annotations

import shlex

from weaves.clock import format_duration
from weaves.programs import program_of
from weaves.strings import free_weave_name
from weaves.tapestry import DeviceDescription, HostDescription, LinkDescription, StringDescription, Tapestry
from weaves.units import format_address


def as_text(tapestry: Tapestry) -> str:
    """What `tapestry` makes. A group of hosts is one entry: its first member, and its last where that differs."""
    until = "every string has ended" if tapestry.until_ns is None else format_duration(tapestry.until_ns)
    lines = [f"tapestry {tapestry.name}: seed {tapestry.seed}, until {until}, on error {tapestry.on_error}", ""]
    groups: dict[str, list[HostDescription]] = {}
    for host in tapestry.hosts:
        groups.setdefault(host.group, []).append(host)
    for members in groups.values():
        lines += _hosts(members, tapestry.on_error)
    if tapestry.links:
        lines.append("")
    for link in tapestry.links:
        lines.append(_link(link))
    return "\n".join(lines)


def weave_names(host: HostDescription) -> list[str]:
    """The names that the weaves of the strings of `host` get."""
    names: list[str] = []
    for string in host.strings:
        names.append(free_weave_name(string.name, names))
    return names


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} ... {last}"


def _hosts(members: list[HostDescription], on_error: str) -> list[str]:
    first, last = members[0], members[-1]
    if len(members) == 1:
        lines = [f"host {first.name}"]
    else:
        lines = [f"hosts {first.name} ... {last.name} ({len(members):,})"]
    if first.names:
        lines.append(f"  names  {_span(', '.join(first.names), ', '.join(last.names))}")
    for device, other in zip(first.devices, last.devices, strict=True):
        lines.append(f"  {device.name:<6} {_span(_addresses(device), _addresses(other))}")
    for line, other_line in zip(first.net, last.net, strict=True):
        lines.append(f"  net    {_span(line.text, other_line.text)}")
    weaves = zip(weave_names(first), first.strings, last.strings, strict=True)
    for name, string, other_string in weaves:
        lines.append(f"  weave {name}")
        lines.append(f"    bead   {_bead(string)}")
        lines.append(f"    bead   lunar of {first.name if len(members) == 1 else 'each host'}")
        policy = "" if string.on_error == on_error else f", on error {string.on_error}"
        lines.append(f"    string {_string(string, other_string)}{policy}")
    return lines


def _addresses(device: DeviceDescription) -> str:
    return ", ".join(f"{format_address(address)}/{prefix}" for address, prefix in device.addresses)


def _bead(string: StringDescription) -> str:
    """The module that the weave has an instance of."""
    if string.call is not None:
        return string.call.partition(":")[0]
    assert string.run is not None, "a string has one of run and call"
    program = program_of(string.run)
    return f"__main__ of {program.module if program.path is None else program.path}"


def _string(string: StringDescription, last: StringDescription) -> str:
    words = [
        _span(_what(string), _what(last)),
        f"starts at {_span(format_duration(string.start_ns), format_duration(last.start_ns))}",
    ]
    if string.stop_ns is not None and last.stop_ns is not None:
        words.append(f"is stopped at {_span(format_duration(string.stop_ns), format_duration(last.stop_ns))}")
    if string.background:
        words.append("in the background")
    return ", ".join(words)


def _what(string: StringDescription) -> str:
    if string.call is not None:
        arguments = [repr(argument) for argument in string.args]
        arguments += [f"{name}={value!r}" for name, value in string.kwargs.items()]
        return f"calls {string.call.partition(':')[2]}({', '.join(arguments)})"
    assert string.run is not None, "a string has one of run and call"
    return f"runs {shlex.join(string.run)}"


def _link(link: LinkDescription) -> str:
    ends = [f"{host}.{device}" for host, device in link.ends]
    shown = ", ".join(ends) if len(ends) <= 4 else f"{', '.join(ends[:2])} ... {ends[-1]} ({len(ends):,} devices)"
    rate = "unlimited" if link.rate_bps is None else _rate(link.rate_bps)
    if link.queue_limit_packets is not None:
        limit = f"{link.queue_limit_packets:,} packets"
    else:
        limit = f"{link.queue_limit_bytes:,} bytes"
    kind = "switch" if len(ends) > 2 else "link"
    return (
        f"{kind} {link.name}: {shown}; rate {rate}, delay {format_duration(link.delay_ns)}, "
        f"loss {100 * link.loss:g}%, queue {link.queue_kind} of {limit}, mtu {link.mtu}"
    )


def _rate(bps: int) -> str:
    for unit, factor in (("tbit", 10**12), ("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3)):
        if bps >= factor:
            return f"{bps / factor:g}{unit}"
    return f"{bps}bit"
