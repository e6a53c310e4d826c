"""Connections that are being made: the SYN's ways, and who is let in."""
