"""From a tapestry's description to a Network: hosts, devices, links, and the `net` lines."""

from __future__ import annotations

import importlib
import sys

from lunar import personalities
from lunar.link_plan import LinkPlan
from lunar.links.red import RedLimits
from lunar.net.device import Device
from lunar.net_tools import CommandError
from lunar.network import Network
from lunar.outside.udp_link import read_key
from lunar.personalities import Personality
from lunar.stack import Stack
from weaves import units
from weaves.tapestry import HostDescription, Tapestry, UdpDescription


def _stacks(description: Tapestry) -> dict[str, Personality]:
    """The kinds of hosts that the tapestry adds. Each is tried on a host by itself, so that a mistake has its place."""
    made: dict[str, Personality] = {}
    for one in description.stacks:
        if one.name in personalities.PERSONALITIES:
            raise one.where.error(f'stack "{one.name}" is there already; expected a name of its own, and based_on')
        try:
            base = personalities.find(one.based_on or personalities.DEFAULT, made)
            made[one.name] = base.based_on_this(one.name, one.sysctl, one.rules)
            made[one.name].apply(Network().host("trial"))
        except ValueError as wrong:
            raise one.where.error(str(wrong)) from None
    return made


def _stack(
    description: Tapestry, host: HostDescription, stacks: dict[str, Personality]
) -> Personality | type[Stack] | None:
    """What a host's `stack` names: a personality, or "package.module:NAME", a class beside the tapestry's programs."""
    name = host.stack
    if name is None:
        return None
    assert host.stack_where is not None, "where it stands comes with it"
    module, colon, attribute = name.partition(":")
    if not colon:
        try:
            return personalities.find(name, stacks)
        except ValueError as wrong:
            raise host.stack_where.error(str(wrong)) from None
    folder = str(description.folder)
    sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as failed:
        raise host.stack_where.error(f'stack "{name}": {failed}') from None
    finally:
        sys.path.remove(folder)
    if not isinstance(found, type) or not issubclass(found, Stack):
        raise host.stack_where.error(f'stack "{name}" is {found!r}; expected a class derived from lunar.stack.Stack')
    return found


def _key(udp: UdpDescription) -> str | None:
    """The shared key of a UDP link, None where there is none."""
    if udp.key_file is None:
        return udp.key
    try:
        return read_key(udp.key_file)
    except ValueError as wrong:
        raise udp.where.error(str(wrong)) from None


def _address_text(pair: tuple[int, int]) -> str:
    return f"{units.format_address(pair[0])}/{pair[1]}"


def build(description: Tapestry, *, seed: int, through_bytes: bool = False) -> Network:
    """The network that `description` says. Raises `TapestryError` for a `net` line that cannot be obeyed."""
    network = Network(
        seed, on_error=description.on_error, epoch_ns=description.epoch_ns, through_bytes=through_bytes,
        arp=description.arp,
    )  # fmt: skip
    stacks = _stacks(description)
    for host_description in description.hosts:
        host = network.host(host_description.name, stack=_stack(description, host_description, stacks))
        for device in host_description.devices:
            host.add_device(list(device.addresses), device.name)
            if device.auto:
                host.sh(f"sysctl -w net.ipv6.conf.{device.name}.disable_ipv6=0", each_boot=True)
        for file in host_description.files:
            host.paths.put(file.path, file.text)
        if host_description.names and not any(device.addresses for device in host_description.devices):
            raise host_description.where.error("names without an address to stand for; expected an ethN with one")
        for name in host_description.names:
            host.add_name(name)
    for kernel in description.kernels:
        made = network.add_kernel(
            kernel.name,
            [(device.name, [_address_text(pair) for pair in device.addresses]) for device in kernel.devices],
            kernel.netns,
            [line.text for line in kernel.net],
        )
        for line in kernel.background:
            made.start(line.text, background=True)
        for line in kernel.run:
            made.start(line.text)
    for link in description.links:
        red = link.red
        plan = LinkPlan(
            rate_bps=link.rate_bps,
            delay_ns=link.delay_ns,
            loss=link.loss,
            loss_burst=link.loss_burst,
            reorder=link.reorder,
            reorder_by_ns=link.reorder_by_ns,
            duplicate=link.duplicate,
            corrupt=link.corrupt,
            limit_packets=link.queue_limit_packets,
            limit_bytes=link.queue_limit_bytes,
            red=None
            if red is None
            else RedLimits(red.least, red.most, red.in_bytes, red.probability, red.weight, red.ecn),
            mtu=link.mtu,
            # Nobody here knows the hardware addresses that are behind a UDP link.
            arp=True if link.arp is None and link.udp is not None else link.arp,
        )
        ends = [
            (network.hosts if host_name in network.hosts else network.kernels)[host_name].devices[device_name]
            for host_name, device_name in link.ends
        ]
        devices = [end for end in ends if isinstance(end, Device)]
        if link.udp is not None:
            if len(devices) < len(ends):
                raise link.where.error("a kernel cannot be on a link to another process; expected a host between them")
            network.add_udp_link(link.name, devices, plan, link.udp.local, link.udp.remote, _key(link.udp))
            continue
        try:
            network.add_link(link.name, ends, plan)
        except ValueError as wrong:
            raise link.where.error(str(wrong)) from None
    for host_description in description.hosts:
        for tap in host_description.taps:
            network.tap(
                network.hosts[host_description.name],
                *map(_address_text, tap.addresses),
                name=tap.name,
                kernel=[_address_text(pair) for pair in tap.kernel],
                device=tap.device,
                netns=tap.netns,
                up=tap.up,
                mtu=tap.mtu,
            )
    gateway = description.gateway
    if gateway.proxy is not None:
        network.gateway(network.hosts[gateway.host]).proxy(*gateway.proxy)
    for forward in gateway.forwards:
        network.gateway(network.hosts[gateway.host]).forward(*forward)
    # After the links, because a gateway may be named by its host.
    for host_description in description.hosts:
        host = network.hosts[host_description.name]
        for line in host_description.net:
            try:
                host.sh(line.text, each_boot=True)
            except CommandError as error:
                # One line is one mistake: what a tool says of its help behind that is of no use here.
                raise line.where.error(str(error).partition("\n")[0]) from None
    return network
