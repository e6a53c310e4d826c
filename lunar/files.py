"""The calls on descriptors of a virtual host: read(2), write(2), close(2), pipe(2), dup(2), fcntl(2), fstat(2), fdopen.

They are what `os` and `fcntl` mean to code inside a weave (weaves/interpose/descriptors.py) where the descriptor is the
host's: a socket, or the end of a pipe. Files stay the machine's. A blocking call parks the string, as that of a socket
does (lunar/host_socket.py).
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from lunar import syscalls as descriptor_calls
from lunar.errors import error
from lunar.net.sock import Sock
from lunar.sockets import syscalls
from lunar.sockets.eventfd import EventFd
from lunar.sockets.fdtable import is_virtual
from lunar.sockets.host_file import HostFile
from lunar.sockets.pipe import PipeEnd
from lunar.sockets.timerfd import TimerFd
from weaves.here import here

if TYPE_CHECKING:
    from lunar.host import Host

# What fstat(2) says besides the kind: read and write for the owner of a pipe, everything for sockets, as on Linux.
_PIPE_MODE: Final = stat.S_IFIFO | 0o600
_SOCKET_MODE: Final = stat.S_IFSOCK | 0o777
# And of what is neither, but only a descriptor: epoll, eventfd.
_OTHER_MODE: Final = 0o600
# Of timerfd_create(2) and timerfd_settime(2); `os` has them from Python 3.13 on.
_TFD_CLOEXEC: Final = os.O_CLOEXEC
_TFD_NONBLOCK: Final = os.O_NONBLOCK
_TFD_TIMER_ABSTIME: Final = 1
_TFD_TIMER_CANCEL_ON_SET: Final = 2  # the wall clock of a host is not set
_TIMER_CLOCKS: Final = (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME)
_NS: Final = 1_000_000_000


class Files:
    """The descriptors of `host`, for programs that hold numbers. Methods are as in `os` and raise what those raise."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def has(self, fd: int) -> bool:
        """Whether `fd` is a number of a virtual host's and not of the machine's, open or not."""
        return is_virtual(fd)

    def _sock(self, fd: int) -> Sock:
        sock = self._host.descriptors.get(fd)
        if sock is None:
            raise error(errno.EBADF)
        return sock

    def install(self, sock: Sock) -> int:
        """The new descriptor of `sock`, which the program that runs has open. EMFILE."""
        fd = int(self._host.descriptors.install(sock))
        if fd < 0:
            raise error(fd)
        if here.weave is not None:
            here.weave.descriptors.add(fd)
        return fd

    # Making and ending

    def pipe(self) -> tuple[int, int]:
        """The descriptors of a new pipe: for reading, for writing. They are not inheritable, as Python has it."""
        return descriptor_calls.pipe2(os.O_CLOEXEC)

    def pipe2(self, flags: int) -> tuple[int, int]:
        """As `pipe`, with O_NONBLOCK or O_CLOEXEC."""
        return descriptor_calls.pipe2(flags)

    def eventfd(self, initval: int, flags: int = os.EFD_CLOEXEC) -> int:
        """As os.eventfd: the descriptor of a counter."""
        if initval < 0:
            raise ValueError("value must be positive")
        if initval >= 2**32:
            raise OverflowError("Python int too large for C unsigned int")
        if flags & ~(os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE):
            raise error(errno.EINVAL)
        counter = EventFd(initval, bool(flags & os.EFD_SEMAPHORE))
        counter.nonblocking = bool(flags & os.EFD_NONBLOCK)
        fd = self.install(counter)
        self._host.descriptors.set_inheritable(fd, not flags & os.EFD_CLOEXEC)
        return fd

    def eventfd_read(self, fd: int) -> int:
        """As os.eventfd_read: takes what was counted, or 1 from a semaphore."""
        return int.from_bytes(self.read(fd, 8), "little")

    def eventfd_write(self, fd: int, value: int) -> None:
        """As os.eventfd_write: adds to the counter."""
        self.write(fd, value.to_bytes(8, "little"))

    def timerfd_create(self, clockid: int, /, *, flags: int = _TFD_CLOEXEC) -> int:
        """As os.timerfd_create, of Python 3.13: the descriptor of a timer."""
        if flags & ~(_TFD_CLOEXEC | _TFD_NONBLOCK) or clockid not in _TIMER_CLOCKS:
            raise error(errno.EINVAL)
        timer = TimerFd(self._host.scheduler, self._host.lane, clockid == time.CLOCK_REALTIME)
        timer.nonblocking = bool(flags & _TFD_NONBLOCK)
        fd = self.install(timer)
        self._host.descriptors.set_inheritable(fd, not flags & _TFD_CLOEXEC)
        return fd

    def _timer(self, fd: int) -> TimerFd:
        timer = self._sock(fd)
        if not isinstance(timer, TimerFd):
            raise error(errno.EINVAL)
        return timer

    def timerfd_settime_ns(self, fd: int, /, *, flags: int = 0, initial: int = 0, interval: int = 0) -> tuple[int, int]:
        """As os.timerfd_settime_ns: arms it, or disarms it with an `initial` of 0; what remained, and the interval."""
        timer = self._timer(fd)
        if flags & ~(_TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET) or initial < 0 or interval < 0:
            raise error(errno.EINVAL)
        before = self.timerfd_gettime_ns(fd)
        if not flags & _TFD_TIMER_ABSTIME:
            at_ns = initial and self._host.scheduler.now_ns + initial
        else:
            # A time that has gone by, be it before the run began, is now.
            at_ns = initial and max(initial - (self._host.network.epoch_ns if timer.wall else 0), 1)
        timer.set(at_ns, interval)
        return before

    def timerfd_settime(
        self, fd: int, /, *, flags: int = 0, initial: float = 0.0, interval: float = 0.0
    ) -> tuple[float, float]:
        """As os.timerfd_settime: the same in seconds."""
        # A time that is not 0 arms it, however short.
        first_ns = max(round(initial * _NS), 1) if initial > 0 else round(initial * _NS)
        before = self.timerfd_settime_ns(fd, flags=flags, initial=first_ns, interval=round(interval * _NS))
        return before[0] / _NS, before[1] / _NS

    def timerfd_gettime_ns(self, fd: int, /) -> tuple[int, int]:
        """As os.timerfd_gettime_ns: the time until it expires, and its interval."""
        timer = self._timer(fd)
        return int(timer.remaining_ns()), int(timer.interval_ns)

    def timerfd_gettime(self, fd: int, /) -> tuple[float, float]:
        """As os.timerfd_gettime: the same in seconds."""
        remaining_ns, interval_ns = self.timerfd_gettime_ns(fd)
        return remaining_ns / _NS, interval_ns / _NS

    def dup(self, fd: int) -> int:
        """Another descriptor of what `fd` names."""
        return self.install(self._sock(fd))

    def close(self, fd: int) -> None:
        descriptor_calls.close(fd)

    # Data

    def read(self, fd: int, length: int) -> bytes:
        if length < 0:
            raise error(errno.EINVAL)  # CPython does not ask the kernel
        return descriptor_calls.read(fd, length)

    def readv(self, fd: int, buffers: Sequence[Any]) -> int:
        return descriptor_calls.readv(fd, buffers)

    def write(self, fd: int, data: Any) -> int:
        """The count of bytes written: all, unless the descriptor is not to block."""
        return descriptor_calls.write(fd, data)

    def write_now(self, fd: int, data: bytes) -> int:
        """Write to a descriptor, the host's or the machine's, that is not to block: 0, or the errno of what failed."""
        if not is_virtual(fd):
            try:
                os.write(fd, data)
            except OSError as failed:
                return failed.errno or errno.EIO
            return 0
        sock = self._host.descriptors.get(fd)
        return errno.EBADF if sock is None else -min(syscalls.write(sock, data), 0)

    def writev(self, fd: int, buffers: Sequence[Any]) -> int:
        return descriptor_calls.writev(fd, buffers)

    def fdopen(
        self, fd: int, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
        newline: str | None = None, closefd: bool = True, opener: Any = None,
    ) -> Any:
        """A file object on `fd`, as `open` makes one: raw, buffered or text."""
        kind = mode.replace("b", "").replace("t", "")
        if kind not in ("r", "w", "a", "r+", "w+", "a+") or ("b" in mode and "t" in mode):
            raise ValueError(f"invalid mode: {mode!r}")
        raw = DescriptorFile(self, fd, kind, closefd)
        if buffering == 0:
            if "b" not in mode:
                raise ValueError("can't have unbuffered text I/O")
            return raw
        size = io.DEFAULT_BUFFER_SIZE if buffering in (-1, 1) else buffering
        buffered: Any
        if "+" in kind:
            buffered = io.BufferedRWPair(raw, raw, size)
        else:
            buffered = io.BufferedReader(raw, size) if kind == "r" else io.BufferedWriter(raw, size)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)

    # What it is

    def fstat(self, fd: int) -> os.stat_result:
        sock = self._sock(fd)
        if isinstance(sock, HostFile):
            return self._host.paths.status(sock.content, sock.path)
        mode = _SOCKET_MODE if syscalls.is_socket(sock) else _PIPE_MODE if isinstance(sock, PipeEnd) else _OTHER_MODE
        return os.stat_result((mode, fd, 0, 1, 0, 0, 0, 0, 0, 0))

    def lseek(self, fd: int, position: int, whence: int, /) -> int:
        """As os.lseek; ESPIPE of what has no position."""
        sock = self._sock(fd)
        if not isinstance(sock, HostFile):
            raise error(errno.ESPIPE)
        at = int(sock.seek(position, whence))
        if at < 0:
            raise error(at)
        return at

    def ftruncate(self, fd: int, length: int, /) -> None:
        """As os.ftruncate; EINVAL of what is no file, or not open for writing."""
        sock = self._sock(fd)
        if not isinstance(sock, HostFile) or sock.flags & (os.O_WRONLY | os.O_RDWR) == 0:
            raise error(errno.EINVAL)
        number = int(sock.content.truncate(length))
        if number < 0:
            raise error(number)

    def fsync(self, fd: int) -> None:
        """As os.fsync: there is no disk that could lag behind; EINVAL of what is no file."""
        if not isinstance(self._sock(fd), HostFile):
            raise error(errno.EINVAL)

    def isatty(self, fd: int) -> bool:
        return False

    def get_blocking(self, fd: int) -> bool:
        return not self._sock(fd).nonblocking

    def set_blocking(self, fd: int, blocking: bool) -> None:
        self._sock(fd).nonblocking = not blocking

    def get_inheritable(self, fd: int) -> bool:
        self._sock(fd)
        return bool(self._host.descriptors.is_inheritable(fd))

    def set_inheritable(self, fd: int, inheritable: bool) -> None:
        self._sock(fd)
        self._host.descriptors.set_inheritable(fd, bool(inheritable))

    def fcntl(self, fd: int, cmd: int, arg: Any = 0) -> Any:
        return descriptor_calls.fcntl(fd, cmd, arg)

    def ioctl(self, fd: int, request: int, arg: Any = 0, mutate_flag: bool = True) -> Any:
        return descriptor_calls.ioctl(fd, request, arg, mutate_flag)

    def dup2(self, fd: int, fd2: int, inheritable: bool = True) -> int:
        """As os.dup2. The other number must be of this host, too: a socket cannot become the machine's file."""
        made = descriptor_calls.dup2(fd, fd2)
        self._host.descriptors.set_inheritable(made, inheritable)
        return made

    def sendfile(self, out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
        return descriptor_calls.sendfile(out_fd, in_fd, offset, count)

    def splice(
        self, src: int, dst: int, count: int, offset_src: int | None = None, offset_dst: int | None = None,
        flags: int = 0,
    ) -> int:  # fmt: skip
        if count < 0:
            raise ValueError("count cannot be negative")
        return descriptor_calls.splice(src, offset_src, dst, offset_dst, count, flags)


class DescriptorFile(io.RawIOBase):
    """A raw file object on a descriptor: io.FileIO, for which the number must be the machine's."""

    def __init__(self, files: Files, fd: int, mode: str, closefd: bool) -> None:
        files.fstat(fd)  # EBADF
        self._files = files
        self._fd = fd
        self._mode = mode
        self._closefd = closefd

    @property
    def mode(self) -> str:
        return f"{self._mode[0]}b{self._mode[1:]}"

    @property
    def name(self) -> int:
        return self._fd

    def fileno(self) -> int:
        self._check()
        return self._fd

    def readable(self) -> bool:
        self._check()
        return self._mode[0] == "r" or "+" in self._mode

    def writable(self) -> bool:
        self._check()
        return self._mode[0] != "r" or "+" in self._mode

    def readinto(self, buffer: Any) -> int | None:
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        try:
            return self._files.readv(self._fd, [buffer])
        except BlockingIOError:
            return None

    def write(self, data: Any) -> int | None:
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        try:
            return self._files.write(self._fd, data)
        except BlockingIOError:
            return None

    def close(self) -> None:
        if self.closed:
            return
        try:
            super().close()  # which flushes
        finally:
            if self._closefd:
                self._files.close(self._fd)

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
