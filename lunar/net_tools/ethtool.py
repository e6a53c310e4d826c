"""ethtool(8): `-K` turns on and off what a device does for the stack, which here is segmentation, there and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net_tools.errors import CommandError

if TYPE_CHECKING:
    from lunar.host import Host

_SEGMENTATION: Final = ("tso", "gso", "tcp-segmentation-offload", "generic-segmentation-offload")
_GATHERING: Final = ("gro", "generic-receive-offload")
_WITHOUT_EFFECT: Final = ("lro", "tx", "rx", "sg", "large-receive-offload")


def run(host: Host, words: list[str]) -> str:
    """`ethtool -K DEV FEATURE on|off ...`."""
    if len(words) < 4 or words[0] not in ("-K", "--features", "--offload") or len(words) % 2:
        raise CommandError(f'ethtool: "{" ".join(words)}" is not supported; expected -K DEV FEATURE on|off')
    device = host.devices.get(words[1])
    if device is None:
        raise CommandError(f"ethtool: {words[1]}: no such device; {host.name} has {', '.join(host.devices)}")
    for feature, value in zip(words[2::2], words[3::2], strict=True):
        if value not in ("on", "off"):
            raise CommandError(f'ethtool: {feature} {value}: expected on or off')
        if feature in _SEGMENTATION:
            # Linux sends large segments as long as either is on, cut by the device or just before it.
            device.gso = value == "on"
        elif feature in _GATHERING:
            device.gro = value == "on"
        elif feature not in _WITHOUT_EFFECT:
            expected = ", ".join(_SEGMENTATION + _GATHERING)
            raise CommandError(f'ethtool: "{feature}" is not supported; expected {expected}')
    return ""
