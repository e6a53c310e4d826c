"""Lunar: a Linux-like TCP/IP stack for each of thousands of virtual hosts in one process.

Start with `Network` (network.py). To follow a packet: asyncio/socket_transports.py, sockets/, tcp/, net/ip_output.py,
links/link.py, net/ip_input.py, tcp/input.py.
"""

from __future__ import annotations

from lunar.host import Host
from lunar.network import Network, StringFailed
from lunar.tcp.congestion import registry as _registry
from lunar.tcp.congestion.control import CongestionControl
from weaves.lateness import Lateness
from weaves.pace import TooLate
from weaves.realtime import Stalled
from weaves.replay import ReplayDiffers
from weaves.restart import RestartPolicy
from weaves.session import SessionError
from weaves.strings import String, schedule

congestion_control = _registry.find
register_congestion_control = _registry.register

__all__ = [
    "CongestionControl", "Host", "Lateness", "Network", "ReplayDiffers", "RestartPolicy", "SessionError", "Stalled",
    "String", "StringFailed", "TooLate", "congestion_control", "register_congestion_control", "schedule",
]  # fmt: skip
