"""hostname(1): the host's name, its addresses (-I), and its name for itself (-s, -f); `hostname NAME` sets it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lunar.net_tools.errors import CommandError
from lunar.net_tools.options import Options
from lunar.wire.address import address_text

if TYPE_CHECKING:
    from lunar.host import Host


# What hostname(1) takes, unlike sethostname(2): labels of letters, digits and hyphens, none of them at its ends.
_LABEL: Final = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_VALID: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def run(host: Host, words: list[str]) -> str:
    """`hostname`, `hostname -s|-f|-I`, `hostname NAME`."""
    options = Options("hostname", words, "sfI", {"short": "s", "fqdn": "f", "long": "f", "all-ip-addresses": "I"})
    if options.operands:
        if len(options.operands) > 1 or options.given or not 0 < len(options.operands[0]) <= 64:
            raise CommandError("hostname: expected one name of 64 characters at most")
        if not _VALID.fullmatch(options.operands[0]):
            raise CommandError("hostname: the specified hostname is invalid")
        host.node_name = options.operands[0]
        return ""
    if options.has("I"):
        shown = [
            address_text(int(own.family), own.address)
            for device in host.devices.values() if device.name != "lo" and device.up
            for own in device.addresses
        ]  # fmt: skip
        return "".join(f"{one} " for one in shown) + "\n"
    return f"{host.node_name.partition('.')[0] if options.has('s') else host.node_name}\n"
