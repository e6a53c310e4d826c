"""Setting what device_conf.py holds: for all devices of a host, for those to come, for one.

What Linux does besides, and we with it: some values for all are values for each device from then on; in IPv4, and of
neighbours, a value for those to come is also one for each device of which nothing else was said; and a host that
begins to forward IPv4 packets no longer believes redirects, if nobody says otherwise.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.device import Device
from lunar.net.device_conf import (
    INET,
    INET6,
    INET6_ALL,
    INET6_OWN,
    INET6_RULES,
    INET_ALL,
    INET_OWN,
    INET_RULES,
    DeviceConf,
    changed,
    holding,
)
from lunar.packet import AF_INET, AF_INET6

# Those of which a value for all is one for each device, and for those to come.
_INET_SPREAD: Final = ("forwarding",)
_INET6_SPREAD: Final = ("forwarding", "disable_ipv6")


@final
class DeviceConfs:
    """What a host has set for the family `number`: for `all` devices, and by `default` for those to come."""

    def __init__(self, number: i64) -> None:
        self.number: i64 = number
        self.all: DeviceConf = INET_ALL if number == AF_INET else INET6_ALL
        self.default: DeviceConf = INET_OWN if number == AF_INET else INET6_OWN
        # Of a device, whatever its name: which parameters were set for it. Made with the first.
        self._said: dict[Device, list[str]] | None = None

    def begin(self, device: Device) -> None:
        """A device is new, or as new after a boot."""
        if self._said is not None:
            self._said.pop(device, None)
        self._put(device, self.default)

    def own(self, device: Device) -> DeviceConf:
        """What was set for `device`."""
        return device.inet_own if self.number == AF_INET else device.inet6_own

    def set_own(self, device: Device, name: str, value: int) -> None:
        """As net.ipv4.conf.DEV.name=value."""
        if self._said is None:
            self._said = {}
        said = self._said.setdefault(device, [])
        if name not in said:
            said.append(name)
        self._put(device, changed(self.own(device), name, value))

    def set_default(self, devices: list[Device], name: str, value: int) -> None:
        """As net.ipv4.conf.default.name=value; `devices` are those of the host."""
        self.default = changed(self.default, name, value)
        if self.number == AF_INET or name.startswith("neigh_"):
            for device in devices:
                if self._said is None or name not in self._said.get(device, []):
                    self._put(device, changed(self.own(device), name, value))

    def set_all(self, devices: list[Device], name: str, value: int) -> None:
        """As net.ipv4.conf.all.name=value."""
        self.all = changed(self.all, name, value)
        if name == "forwarding" and self.number == AF_INET:
            self.all = changed(self.all, "accept_redirects", 0 if value else 1)
        spread = name in (_INET_SPREAD if self.number == AF_INET else _INET6_SPREAD)
        if spread:
            self.default = changed(self.default, name, value)
        for device in devices:
            self._put(device, changed(self.own(device), name, value) if spread else self.own(device))

    def _put(self, device: Device, own: DeviceConf) -> None:
        if self.number == AF_INET:
            device.inet_own = own
            unsaid = own is INET_OWN and self.all is INET_ALL
            device.inet = INET if unsaid else holding(INET_RULES, self.all, own)
        else:
            assert self.number == AF_INET6, "there are two families"
            device.inet6_own = own
            unsaid = own is INET6_OWN and self.all is INET6_ALL
            device.inet6 = INET6 if unsaid else holding(INET6_RULES, self.all, own)
