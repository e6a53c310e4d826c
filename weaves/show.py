"""`weave show`: a tapestry as text: its picture, then its hosts with their weaves, beads and strings, and the links."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator

from weaves.clock import format_duration
from weaves.clock_plan import HARD_LIMIT, REAL
from weaves.endpoints import format_endpoint
from weaves.figure import figure
from weaves.picture import Bead, Column, HostEntry, picture, span
from weaves.programs import program_of
from weaves.restart import AFTER_FAILURES
from weaves.tapestry import (
    DeviceDescription,
    EventDescription,
    GatewayDescription,
    KernelDescription,
    LinkDescription,
    ModuleDescription,
    StringDescription,
    TapDescription,
    Tapestry,
    UdpDescription,
)
from weaves.units import format_address


def as_text(tapestry: Tapestry, width: int) -> str:
    """What `tapestry` makes, with a picture of `width` characters. A group is one entry: its first and its last."""
    said = [f"seed {tapestry.seed}", f"until {_until(tapestry)}", f"on error {tapestry.on_error}", *_clock(tapestry)]
    lines = [f"tapestry {tapestry.name}: {', '.join(said)}", ""]
    hosts = picture(tapestry)
    if hosts:
        lines += [*figure(tapestry, hosts, width), ""]
    for host in hosts:
        lines += _host(host, tapestry)
    for kernel in tapestry.kernels:
        lines += _kernel(kernel)
    if tapestry.gateway.is_open:
        lines += ["", *_gateway(tapestry.gateway)]
    if tapestry.links:
        lines.append("")
    for link in tapestry.links:
        lines.append(_link(link))
    if tapestry.events:
        lines.append("")
    entries: dict[int, list[EventDescription]] = {}
    for event in tapestry.events:
        entries.setdefault(event.entry, []).append(event)
    for events in entries.values():
        lines.append(_event(events[0], events[-1]))
    return "\n".join(lines)


def _until(tapestry: Tapestry) -> str:
    if tapestry.until_ns is not None:
        return format_duration(tapestry.until_ns)
    ends = any(not string.background for weave in tapestry.weaves for string in weave.strings)
    ends = ends or any(kernel.run for kernel in tapestry.kernels)
    serves = tapestry.clock.kind == REAL and (tapestry.gateway.is_open or not ends)
    return "Ctrl-C" if serves else "every string has ended"


def _clock(tapestry: Tapestry) -> Iterator[str]:
    clock = tapestry.clock
    if clock.kind == REAL:
        yield "clock real" if clock.speed == 1 else f"clock real at speed {clock.speed:g}"
    if clock.late == HARD_LIMIT:
        yield f"at most {format_duration(clock.late_limit_ns)} late"


def _gateway(gateway: GatewayDescription) -> Iterator[str]:
    yield f"gateway {gateway.host}"
    if gateway.proxy is not None:
        yield f"  proxy   {format_endpoint(gateway.proxy)}"
    for address, port, name, target in gateway.forwards:
        yield f"  forward {format_endpoint((address, port))} -> {format_endpoint((name, target))}"


def _host(host: HostEntry, tapestry: Tapestry) -> Iterator[str]:
    first, last, count = host.hosts.first, host.hosts.last, host.hosts.count
    yield f"host {first.name}" if count == 1 else f"hosts {host.name} ({count:,})"
    if first.names:
        yield f"  names  {span(', '.join(first.names), ', '.join(last.names))}"
    for device, other in zip(first.devices, last.devices, strict=True):
        yield f"  {device.name:<6} {span(_addresses(device), _addresses(other))}"
    for tap, other_tap in zip(first.taps, last.taps, strict=True):
        yield f"  {tap.name:<6} {span(_tap(tap), _tap(other_tap))}"
    for line, other_line in zip(first.net, last.net, strict=True):
        yield f"  net    {span(line.text, other_line.text)}"
    for column in host.columns:
        several = f" ({column.weaves.count:,})" if column.weaves.count != count else ""
        yield f"  weave {column.name}{several}"
        for bead in column.beads:
            yield f"    bead   {_bead(bead)}"
        yield f"    bead   {tapestry.network} of {_stack(column, host)}"
        for string, other_string in column.strings:
            yield f"    string {string_text(string, other_string)}{_policy(string, tapestry)}"


def _policy(string: StringDescription, tapestry: Tapestry) -> str:
    text = "" if string.on_error == tapestry.on_error else f", on error {string.on_error}"
    restart = string.restart
    if restart is not None and restart != AFTER_FAILURES:
        text += f", restarts {restart.when} after {format_duration(restart.delay_ns)}"
        if restart.limit is not None:
            text += f", {restart.limit:,} times at most"
    return text


def _stack(column: Column, host: HostEntry) -> str:
    first, last = column.weaves.first.host, column.weaves.last.host
    everywhere = (first, last) == (host.hosts.first.name, host.hosts.last.name)
    return "each host" if everywhere and first != last else span(first, last)


def _addresses(device: DeviceDescription) -> str:
    found = _address_list(device.addresses)
    return (f"{found}, auto" if found else "auto") if device.auto else found


def _address_list(addresses: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(f"{format_address(address)}/{prefix}" for address, prefix in addresses)


def _tap(tap: TapDescription) -> str:
    own, kernel = (_address_list(addresses) for addresses in (tap.addresses, tap.kernel))
    where = "" if tap.netns is None else f" in namespace {tap.netns}"
    return f"{own} to {tap.device} of the machine{where}{f', {kernel}' if kernel else ''}"


def _kernel(kernel: KernelDescription) -> Iterator[str]:
    where = "made for the run" if kernel.netns is None else kernel.netns
    yield f"kernel {kernel.name}, namespace {where}"
    for device in kernel.devices:
        yield f"  {device.name:<6} {_addresses(device)}"
    for what, lines in (("net", kernel.net), ("run", kernel.run), ("beside", kernel.background)):
        for line in lines:
            yield f"  {what:<6} {line.text}"


def _bead(bead: Bead) -> str:
    module = bead.beads.first.module
    text = _module(module)
    if bead.explicit:
        count = f" ({bead.beads.count:,})" if bead.beads.count > 1 else ""
        text = f"{span(bead.beads.first.name, bead.beads.last.name)}{count}: {text}"
    if module.isolate is not None:
        text += f", isolates {' '.join(module.isolate) or 'nothing'}"
    if module.share:
        text += f", shares {' '.join(module.share)}"
    return text


def _module(module: ModuleDescription) -> str:
    if module.run is None:
        return str(module.module)
    program = program_of(module.run)
    return f"__main__ of {program.module if program.path is None else program.path}"


def string_text(string: StringDescription, last: StringDescription) -> str:
    """What a string does and when; where it is one of a group, with the values of the group's last."""
    words = [
        span(_what(string), _what(last)),
        f"starts at {span(format_duration(string.start_ns), format_duration(last.start_ns))}",
    ]
    if string.stop_ns is not None and last.stop_ns is not None:
        words.append(f"is stopped at {span(format_duration(string.stop_ns), format_duration(last.stop_ns))}")
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


def _event(first: EventDescription, last: EventDescription) -> str:
    at = span(format_duration(first.at_ns), format_duration(last.at_ns))
    what = first.do if first.signum is None else signal.Signals(first.signum).name
    if first.weave is not None:
        what += f" to weave {first.weave}"
    if first.link:
        return f"event at {at}: {what}: {first.link}"
    return f"event at {at}: {what}: {'host' if first is last else 'hosts'} {span(first.host, last.host)}"


def _link(link: LinkDescription) -> str:
    ends = [f"{host}.{device}" for host, device in link.ends]
    shown = ", ".join(ends) if len(ends) <= 4 else f"{', '.join(ends[:2])} ... {ends[-1]} ({len(ends):,} devices)"
    rate = "unlimited" if link.rate_bps is None else rate_text(link.rate_bps)
    if link.queue_limit_packets is not None:
        limit = f"{link.queue_limit_packets:,} packets"
    else:
        limit = f"{link.queue_limit_bytes:,} bytes"
    kind = "switch" if link.is_switch else "link"
    if link.udp is not None:
        shown += f" and {udp_text(link.udp)}"
    return (
        f"{kind} {link.name}: {shown}; rate {rate}, delay {format_duration(link.delay_ns)}, "
        f"{', '.join(impairment_texts(link) or ['loss 0%'])}, queue {link.queue_kind} of {limit}, mtu {link.mtu}"
    )


def udp_text(udp: UdpDescription) -> str:
    """Where a link leads that leaves the process."""
    keyed = "" if udp.key is None and udp.key_file is None else " with a key"
    return f"udp {format_endpoint(udp.local)} to {format_endpoint(udp.remote)}{keyed}"


def impairment_texts(link: LinkDescription) -> list[str]:
    """What a link does to frames besides delaying them: "loss 1%", "corrupt 0.1%" ..., in the order of the wire."""
    what: list[str] = []
    if link.loss:
        rows = f" in rows of {link.loss_burst:g}" if link.loss_burst > 1 else ""
        what.append(f"loss {100 * link.loss:g}%{rows}")
    for name, share in (("duplicate", link.duplicate), ("corrupt", link.corrupt)):
        if share:
            what.append(f"{name} {100 * share:g}%")
    if link.reorder:
        what.append(f"reorder {100 * link.reorder:g}% by {format_duration(link.reorder_by_ns)}")
    return what


def rate_text(bps: int) -> str:
    """A rate in its largest unit."""
    for unit, factor in (("tbit", 10**12), ("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3)):
        if bps >= factor:
            return f"{bps / factor:g}{unit}"
    return f"{bps}bit"
