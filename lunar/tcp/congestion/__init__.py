"""Congestion control: how much may be in flight.

control.py is the interface, for users too; registry.py finds algorithms by name; reno.py, cubic.py, bbr.py, dctcp.py
and vegas.py are the algorithms; cwnd.py has what they share (slow start, validation of cwnd, the initial window),
windowed.py a filter for the least or greatest of a time. recovery.py detects loss, rate.py measures rates.
"""

from __future__ import annotations

from lunar.tcp.congestion.control import CongestionControl

__all__ = ["CongestionControl"]
