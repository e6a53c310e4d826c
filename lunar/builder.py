"""From a tapestry's description to a Network: hosts, devices, links, and the `net` lines."""

from __future__ import annotations

from lunar.links.red import RedLimits
from lunar.net_tools import CommandError
from lunar.network import Network
from weaves.tapestry import Tapestry


def build(description: Tapestry, *, seed: int, through_bytes: bool = False) -> Network:
    """The network that `description` says. Raises `TapestryError` for a `net` line that cannot be obeyed."""
    network = Network(
        seed, on_error=description.on_error, epoch_ns=description.epoch_ns, through_bytes=through_bytes
    )
    for host_description in description.hosts:
        host = network.host(host_description.name)
        for device in host_description.devices:
            host.add_device(list(device.addresses), device.name)
        if host_description.names and not any(device.addresses for device in host_description.devices):
            raise host_description.where.error("names without an address to stand for; expected an ethN with one")
        for name in host_description.names:
            host.add_name(name)
    for link in description.links:
        red = link.red
        network.add_link(
            link.name,
            [network.hosts[host_name].devices[device_name] for host_name, device_name in link.ends],
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
        )
    # After the links, because a gateway may be named by its host.
    for host_description in description.hosts:
        host = network.hosts[host_description.name]
        for line in host_description.net:
            try:
                host.sh(line.text, each_boot=True)
            except CommandError as error:
                raise line.where.error(str(error)) from None
    return network
