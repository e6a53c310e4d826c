"""MSG_ZEROCOPY: sends without a copy, and the word that their buffers are free (the kernel's msg_zerocopy.rst).

Every such send of a socket has a number, from 0 on. When nothing needs its bytes any more the error queue gets a range
of numbers (`Sock.free_buffers`). Here bytes are objects that never change and are shared anyway, so nothing is gained
or lost; and because all hosts are on one machine the word is, as over Linux' loopback, tun and veth, that what was sent
has been copied.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

COPIED: Final = 1  # SO_EE_CODE_ZEROCOPY_COPIED


@final
class ZeroCopy:
    """What a socket has once SO_ZEROCOPY was set."""

    def __init__(self) -> None:
        self.on: bool = True
        self.next_id: i64 = 0
