"""Links with a device of the machine's kernel at an end, or at several.

With one device of the run at the other end it is an `OutsideLink`: what comes in is read once, when it comes in. Two
kernels are joined by a `KernelPair`, whose wires carry bytes; so does a switch with kernels at some of its ports, as
far as to a device of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from lunar.link_plan import LinkPlan
from lunar.links.link import Wire
from lunar.links.outside_link import Doorway, Intake, OutsideLink, WayIn
from lunar.links.switch import Switch, SwitchPort
from lunar.net.device import Device
from lunar.outside.kernel_device import KernelDevice

# A device of a link without hardware addresses needs one all the same, to send to.
_ANYBODY: Final = 0


class KernelPair:
    """Two devices of kernels, and a wire in each direction."""

    def __init__(self, name: str, a: KernelDevice, b: KernelDevice, a_to_b: Wire, b_to_a: Wire) -> None:
        self.name = name
        self.a = a
        self.b = b
        self.a_to_b = a_to_b
        self.b_to_a = b_to_a


def with_arp(ends: Sequence[Device | KernelDevice], plan: LinkPlan) -> LinkPlan:
    """The plan of such a link, whose devices ask for hardware addresses and tell theirs. Raises `ValueError`."""
    ethernet = not any(isinstance(end, KernelDevice) and end.settings.packets for end in ends)
    if ethernet and plan.arp is False:
        raise ValueError("arp is off, but a kernel asks for the hardware addresses of its neighbours")
    return attrs.evolve(plan, arp=ethernet)


def join(
    name: str, ends: Sequence[Device | KernelDevice], plan: LinkPlan, wire: Callable[..., Wire]
) -> OutsideLink | KernelPair | Switch:
    """Join `ends`, of which one at least is a kernel's, by wires that `wire` makes: from an end, to a port, with a
    delay, and whether it loses anything. Raises `ValueError` for what cannot be joined so.
    """
    if len(ends) > 2:
        return _switch(name, ends, plan, wire)
    a, b = ends
    if isinstance(a, KernelDevice) and isinstance(b, KernelDevice):
        _check_kinds(a, b)
        pair = KernelPair(name, a, b, wire(a, b.doorway, plan.delay_ns), wire(b, a.doorway, plan.delay_ns))
        for end, out in ((a, pair.a_to_b), (b, pair.b_to_a)):
            end.plug(pair, plan.mtu, WayIn(out, end.doorway).arrival, _ANYBODY)
        return pair
    device, kernel = (a, b) if isinstance(a, Device) else (b, a)
    assert isinstance(device, Device) and isinstance(kernel, KernelDevice), "one end is a kernel's"
    # In the order of the ends, so that each draws what it would draw with a device of the run at the other end.
    ways = {id(source): wire(source, kernel.doorway if source is device else device, plan.delay_ns) for source in ends}
    link = OutsideLink(name, device, kernel.doorway, ways[id(device)], ways[id(kernel)])
    if kernel.settings.packets:
        link.neighbor = _ANYBODY
    kernel.plug(link, plan.mtu, link.arrival, int(device.mac))
    return link


def _switch(
    name: str, ends: Sequence[Device | KernelDevice], plan: LinkPlan, wire: Callable[..., Wire]
) -> Switch:
    switch = Switch(name)
    for end in ends:
        port: Device | Doorway = end if isinstance(end, Device) else end.doorway
        up = wire(end, SwitchPort(switch, port), plan.delay_ns)
        if isinstance(end, Device):
            switch.plug(end, up, wire(end, Intake(end), 0, False))
        else:
            if end.settings.packets:
                raise ValueError(f"{end.name} carries no Ethernet; expected it on a link of two ends")
            switch.plug_outside(end.doorway, wire(end, end.doorway, 0, False))
            end.plug(switch, plan.mtu, WayIn(up, end.doorway).arrival, _ANYBODY)
    return switch


def _check_kinds(a: KernelDevice, b: KernelDevice) -> None:
    if a.settings.packets or b.settings.packets:
        raise ValueError(f"{a.name} and {b.name}: expected a virtual host at the other end of a TUN device")
