"""What travels beside the bytes of Unix sockets: open descriptors, and who sent (unix(7), "Ancillary messages").

Here it is only kept, with the piece of data that it came with. What a program writes and reads as `SCM_RIGHTS` and
`SCM_CREDENTIALS` is in lunar/ancillary.py.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

# What Linux tells of a sender that is not known: no process, and /proc/sys/kernel/overflowuid.
NOBODY: Final = 65534


@mypyc_attr(allow_interpreted_subclasses=True)
class InFlight:
    """An open file on its way from one program to another. It stays open though nobody has a descriptor of it."""

    def release(self) -> None:
        """It has arrived, or never will."""
        raise NotImplementedError


@final
class Attachment:
    """What one send gave beside its bytes: files, and the process, user and group that sent, if that was asked for."""

    def __init__(self, files: list[InFlight], pid: i64 = 0, uid: i64 = NOBODY, gid: i64 = NOBODY) -> None:
        self.files: list[InFlight] = files
        self.pid: i64 = pid
        self.uid: i64 = uid
        self.gid: i64 = gid

    def sign(self, pid: i64, uid: i64, gid: i64) -> None:
        """Say who sends, if it does not say that already."""
        if self.pid == 0:
            self.pid = pid
            self.uid = uid
            self.gid = gid

    def take(self) -> Attachment:
        """What a reader gets: the files go to the first that reads of the bytes, the sender's name to all."""
        taken = Attachment(self.files, self.pid, self.uid, self.gid)
        self.files = []
        return taken

    def peek(self) -> Attachment:
        return Attachment(self.files.copy(), self.pid, self.uid, self.gid)

    def release(self) -> None:
        """Let go of the files."""
        files = self.files
        self.files = []
        for file in files:
            file.release()


def is_same_sender(one: Attachment | None, other: Attachment | None) -> bool:
    if one is None:
        return other is None or other.pid == 0
    if other is None:
        return one.pid == 0
    return one.pid == other.pid and one.uid == other.uid and one.gid == other.gid
