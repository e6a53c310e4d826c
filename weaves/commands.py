"""What a command line of a host says when it is refused. The commands are the network's; this package knows none."""

from __future__ import annotations


class CommandError(Exception):
    """A command line that cannot be obeyed; the message names the word."""
