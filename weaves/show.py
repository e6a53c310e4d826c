"""`weave show`: a tapestry as text: hosts with their devices, the strings on them, and the links."""

from __future__ import annotations

from weaves.clock import format_duration
from weaves.tapestry import HostDescription, LinkDescription, StringDescription, Tapestry
from weaves.units import format_address


def as_text(tapestry: Tapestry) -> str:
    """What `tapestry` makes. A group of hosts is one entry, shown by its first member."""
    until = "until every string has ended" if tapestry.until_ns is None else f"until {format_duration(tapestry.until_ns)}"
    lines = [f"tapestry {tapestry.name}: seed {tapestry.seed}, {until}, on error {tapestry.on_error}", ""]
    groups: dict[str, list[HostDescription]] = {}
    for host in tapestry.hosts:
        groups.setdefault(host.group, []).append(host)
    for members in groups.values():
        lines += _host(members)
    if tapestry.links:
        lines.append("")
    for link in tapestry.links:
        lines.append(_link(link))
    return "\n".join(lines)


def _host(members: list[HostDescription]) -> list[str]:
    first = members[0]
    title = f"host {first.name}" if len(members) == 1 else f"hosts {first.name} ... {members[-1].name} ({len(members)})"
    lines = [title]
    for device in first.devices:
        addresses = ", ".join(f"{format_address(address)}/{prefix}" for address, prefix in device.addresses)
        last = members[-1].devices[[one.name for one in first.devices].index(device.name)]
        if len(members) > 1:
            addresses += " ... " + ", ".join(f"{format_address(address)}/{prefix}" for address, prefix in last.addresses)
        lines.append(f"  {device.name:<6} {addresses}")
    for string in first.strings:
        lines.append(f"  weave {string.name}")
        lines.append(f"    bead {_bead(string)}")
        lines.append(f"    string {string.name}: {_string(string)}")
    return lines


def _bead(string: StringDescription) -> str:
    if string.call is not None:
        return string.call.partition(":")[0]
    assert string.run is not None
    return "__main__ of " + " ".join(string.run)


def _string(string: StringDescription) -> str:
    words = [f"starts at {format_duration(string.start_ns)}"]
    if string.call is not None:
        arguments = [repr(argument) for argument in string.args]
        arguments += [f"{name}={value!r}" for name, value in string.kwargs.items()]
        words.append(f"calls {string.call.partition(':')[2]}({', '.join(arguments)})")
    else:
        words.append("runs the program")
    if string.stop_ns is not None:
        words.append(f"stops at {format_duration(string.stop_ns)}")
    if string.background:
        words.append("in the background")
    return ", ".join(words)


def _link(link: LinkDescription) -> str:
    ends = [f"{host}.{device}" for host, device in link.ends]
    shown = ", ".join(ends) if len(ends) <= 4 else f"{', '.join(ends[:2])} ... {ends[-1]} ({len(ends)} devices)"
    rate = "unlimited" if link.rate_bps is None else _rate(link.rate_bps)
    limit = (
        f"{link.queue_limit_packets} packets" if link.queue_limit_packets is not None
        else f"{link.queue_limit_bytes} bytes"
    )  # fmt: skip
    kind = "switch" if len(ends) > 2 else "link"
    return (
        f"{kind} {link.name}: {shown}; rate {rate}, delay {format_duration(link.delay_ns)}, loss {link.loss:.3%}, "
        f"queue {limit}, mtu {link.mtu}"
    )


def _rate(bps: int) -> str:
    for unit, factor in (("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3)):
        if bps >= factor:
            return f"{bps / factor:g}{unit}"
    return f"{bps}bit"
