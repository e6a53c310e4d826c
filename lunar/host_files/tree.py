"""The calls that take a path, of the files that a host has of its own: open, stat, listdir ...

They are what `open`, `os` and through them `pathlib` mean to code inside a weave (weaves/interpose/paths.py) for these
paths; all others are the machine's. What Linux refuses below /proc is refused here with the same errno. A file of
/etc that is the host's cannot be moved or removed, as one that is mounted into a container (EBUSY).
"""

from __future__ import annotations

import errno
import io
import os
import stat
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from lunar import hosts_file
from lunar.files import DescriptorFile
from lunar.host_files import proc
from lunar.host_files.stored import Stored
from lunar.parameters.parameter import READ_ONLY, READ_WRITE
from lunar.sockets.host_file import Content, HostFile

if TYPE_CHECKING:
    from lunar.host import Host

HOSTS: Final = "/etc/hosts"
RESOLV_CONF: Final = "/etc/resolv.conf"

_FOLDERS: Final = (f"{proc.SYS}/net", proc.NET)
_NS: Final = 1_000_000_000
_O_ACCMODE: Final = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_FLAGS: Final = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


class HostFiles:
    """The files of `host`. Methods are as in `os`, and raise what those raise."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.hosts = Stored(at_first=lambda: hosts_file.at_first(host))
        self.resolv_conf = Stored("")
        self._stored: dict[str, Stored] = {HOSTS: self.hosts, RESOLV_CONF: self.resolv_conf}

    def put(self, path: str, text: str) -> None:
        """Let the host have the file `path`, an absolute one, with this text. Raises `ValueError`."""
        refused = ("//", "/proc/", "/sys/")
        if not path.startswith("/") or os.path.normpath(path) != path or path == "/" or path.startswith(refused):
            raise ValueError(f'"{path}" is not the path of a file that a host can have; expected one like "/etc/hosts"')
        known = self._stored.setdefault(path, Stored())
        known.truncate(0)
        known.write(text.encode(), 0)

    def text(self, path: str) -> str | None:
        """What is in the file of the host's at `path`, None if it is not the host's."""
        content = self._find(path)
        return None if content is None else content.read().decode("utf-8", "replace")

    # Whose a path is

    def has(self, path: Any) -> bool:
        """Whether `path` is one of the host's own, be there a file or not."""
        return self._own(path) is not None

    def _own(self, path: Any) -> str | None:
        """`path` in its shortest form, None if it is the machine's."""
        if isinstance(path, int):
            return None
        try:
            text = os.fsdecode(path)
        except TypeError:
            return None  # the machine's call says what is wrong
        if not text.startswith("/"):
            return None
        if text in self._stored:
            return text
        if not text.startswith(("/proc/", "/etc/", "//")) and ("/." not in text and "//" not in text):
            return None
        text = "/" + os.path.normpath(text).lstrip("/")
        for alias in proc.NET_ALIASES:
            if text == alias or text.startswith(f"{alias}/"):
                text = proc.NET + text[len(alias) :]
        if text in self._stored or any(text == folder or text.startswith(f"{folder}/") for folder in _FOLDERS):
            return text
        return None

    def _find(self, path: Any) -> Content | None:
        own = self._own(path)
        if own is None:
            return None
        return self._stored.get(own) or proc.find(self._host, own)

    def _names(self, path: Any) -> list[str] | None:
        own = self._own(path)
        return None if own is None or own in self._stored else proc.names(self._host, own)

    # Opening

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """As os.open: a descriptor of the host's."""
        return self._host.files.install(self._opened(path, flags))

    def _opened(self, path: Any, flags: int) -> HostFile:
        content = self._find(path)
        writes = flags & _O_ACCMODE != os.O_RDONLY
        if content is None:
            if self._names(path) is None:
                raise _failed(errno.ENOENT, path)
            if writes or flags & os.O_CREAT:
                raise _failed(errno.EISDIR, path)
            return HostFile(os.fsdecode(path), _Folder(), flags)
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise _failed(errno.EEXIST, path)
        if flags & os.O_DIRECTORY:
            raise _failed(errno.ENOTDIR, path)
        allowed = _allowed(content)
        if (writes and not allowed & 0o200) or (flags & _O_ACCMODE != os.O_WRONLY and not allowed & 0o400):
            raise _failed(errno.EACCES, path)
        if writes and flags & os.O_TRUNC:
            content.truncate(0)
        return HostFile(os.fsdecode(path), content, flags)

    def file(
        self, path: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
        newline: str | None = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        """As the built-in `open`."""
        kind = mode.replace("b", "").replace("t", "").replace("x", "w")
        if kind not in ("r", "w", "a", "r+", "w+", "a+") or ("b" in mode and "t" in mode):
            raise ValueError(f"invalid mode: {mode!r}")
        if not closefd:
            raise ValueError("Cannot use closefd=False with file name")
        flags = _FLAGS[kind[0]]
        if "+" in kind:
            flags = flags & ~os.O_WRONLY | os.O_RDWR
        if "x" in mode:
            flags |= os.O_EXCL
        if opener is not None:
            return open(opener(path, flags), mode, buffering, encoding, errors, newline)
        opened = self._opened(path, flags)
        if isinstance(opened.content, _Folder):
            raise _failed(errno.EISDIR, path)
        raw = PathFile(self._host.files, self._host.files.install(opened), kind, path)
        if buffering == 0:
            if "b" not in mode:
                raw.close()
                raise ValueError("can't have unbuffered text I/O")
            return raw
        size = io.DEFAULT_BUFFER_SIZE if buffering in (-1, 1) else buffering
        buffered: Any
        if "+" in kind:
            buffered = io.BufferedRandom(raw, size)
        else:
            buffered = io.BufferedReader(raw, size) if kind == "r" else io.BufferedWriter(raw, size)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)

    # What is there

    def stat(self, path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        content = self._find(path)
        if content is not None:
            return self.status(content, str(self._own(path)))
        names = self._names(path)
        if names is None:
            raise _failed(errno.ENOENT, path)
        return self._result(stat.S_IFDIR | 0o555, str(self._own(path)), 1 + len(names), 0)

    def lstat(self, path: Any, *, dir_fd: int | None = None) -> os.stat_result:
        return self.stat(path)

    def status(self, content: Content, path: str) -> os.stat_result:
        """What fstat(2) tells of an open one."""
        size = 0 if content.made else len(content.read())
        times_ns = content.times_ns if isinstance(content, Stored) else None
        return self._result(stat.S_IFREG | _mode(content), path, 1, size, times_ns)

    def _result(
        self, mode: int, path: str, links: int, size: int, times_ns: tuple[int, int] | None = None
    ) -> os.stat_result:
        epoch_ns = self._host.network.epoch_ns
        used, changed = times_ns or (epoch_ns, epoch_ns)
        times = (used // _NS, changed // _NS, epoch_ns // _NS)
        exact = {"st_atime_ns": used, "st_mtime_ns": changed, "st_ctime_ns": epoch_ns,
                 "st_atime": used / _NS, "st_mtime": changed / _NS, "st_ctime": epoch_ns / _NS}
        return os.stat_result((mode, zlib.crc32(path.encode()), 0, links, 0, 0, size, *times), exact)

    def access(
        self, path: Any, mode: int, *, dir_fd: int | None = None, effective_ids: bool = False,
        follow_symlinks: bool = True,
    ) -> bool:  # fmt: skip
        content = self._find(path)
        if content is None:
            return self._names(path) is not None and not mode & os.W_OK
        allowed = _allowed(content) >> 6
        return not mode & ~allowed

    def listdir(self, path: Any = ".") -> list[Any]:
        names = self._names(path)
        if names is None:
            raise _failed(errno.ENOENT if self._find(path) is None else errno.ENOTDIR, path)
        return [os.fsencode(name) for name in names] if isinstance(path, bytes) else names

    def scandir(self, path: Any = ".") -> _Entries:
        folder = os.fspath(path)
        return _Entries([_Entry(self, folder, name) for name in self.listdir(path)])

    def readlink(self, path: Any, *, dir_fd: int | None = None) -> str:
        self.stat(path)
        raise _failed(errno.EINVAL, path)

    # What cannot be done

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        raise self._fixed(path)

    def remove(self, path: Any, *, dir_fd: int | None = None) -> None:
        raise self._fixed(path)

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        raise self._fixed(path)

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if self._find(path) is None and self._names(path) is None:
            raise _failed(errno.ENOENT, path)
        raise _failed(errno.EEXIST, path)

    def moved(self, source: Any, target: Any) -> OSError:
        """What rename(2) fails with when one of both is the host's."""
        return self._fixed(source if self.has(source) else target)

    def truncate(self, path: Any, length: int) -> None:
        opened = self._opened(path, os.O_WRONLY)
        opened.content.truncate(length)

    def chmod(self, path: Any, mode: int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
        content = self._changeable(path)
        content.mode = mode & 0o7777

    def utime(
        self, path: Any, times: tuple[float, float] | None = None, *, ns: tuple[int, int] | None = None,
        dir_fd: int | None = None, follow_symlinks: bool = True,
    ) -> None:  # fmt: skip
        content = self._changeable(path)
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        if times is not None:
            ns = (round(times[0] * _NS), round(times[1] * _NS))
        now_ns = self._host.network.epoch_ns + self._host.scheduler.now_ns
        content.times_ns = ns or (now_ns, now_ns)

    def chown(
        self, path: Any, uid: int, gid: int, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> None:
        self._changeable(path)
        if uid not in (-1, 0) or gid not in (-1, 0):
            raise _failed(errno.EPERM, path)  # a host has one user

    def lchown(self, path: Any, uid: int, gid: int) -> None:
        self.chown(path, uid, gid)

    def listxattr(self, path: Any = None, *, follow_symlinks: bool = True) -> list[str]:
        self.stat(path)
        return []

    def getxattr(self, path: Any, attribute: Any, *, follow_symlinks: bool = True) -> bytes:
        self.stat(path)
        raise _failed(errno.ENODATA, path)

    def setxattr(
        self, path: Any, attribute: Any, value: Any, flags: int = 0, *, follow_symlinks: bool = True
    ) -> None:
        self.stat(path)
        raise _failed(errno.ENOTSUP, path)

    def removexattr(self, path: Any, attribute: Any, *, follow_symlinks: bool = True) -> None:
        self.stat(path)
        raise _failed(errno.ENODATA, path)

    def _changeable(self, path: Any) -> Stored:
        self.stat(path)  # ENOENT
        content = self._find(path)
        if not isinstance(content, Stored):
            raise _failed(errno.EPERM, path)
        return content

    def _fixed(self, path: Any) -> OSError:
        self.stat(path)  # ENOENT
        return _failed(errno.EBUSY if self._own(path) in self._stored else errno.EACCES, path)


class PathFile(DescriptorFile):
    """As io.FileIO of a path: its name is the path, and it has a position."""

    def __init__(self, files: Any, fd: int, mode: str, path: Any) -> None:
        super().__init__(files, fd, mode, True)
        self._path = path

    @property
    def name(self) -> Any:
        return self._path

    def seekable(self) -> bool:
        self._check()
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check()
        return int(self._files.lseek(self._fd, offset, whence))

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def truncate(self, size: int | None = None) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        at = self.tell() if size is None else size
        self._files.ftruncate(self._fd, at)
        return at

    def readall(self) -> bytes:
        pieces = []
        while piece := self._files.read(self._fd, 65536):
            pieces.append(piece)
        return b"".join(pieces)


class _Folder(Content):
    """What is read of a folder that is open."""

    def __init__(self) -> None:
        super().__init__(made=True)

    def read(self) -> bytes:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))

    def write(self, data: bytes, at: int) -> int:
        return -errno.EBADF

    def truncate(self, size: int) -> int:
        return -errno.EINVAL


class _Entry:
    """As os.DirEntry."""

    def __init__(self, files: HostFiles, folder: Any, name: Any) -> None:
        self.name = name
        self.path = os.path.join(folder, name)
        self._files = files

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def inode(self) -> int:
        return self.stat().st_ino

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISDIR(self.stat().st_mode)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISREG(self.stat().st_mode)

    def is_symlink(self) -> bool:
        return False

    def is_junction(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return self._files.stat(self.path)


class _Entries:
    """As what os.scandir returns."""

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[_Entry]:
        return self

    def __next__(self) -> _Entry:
        return next(self._entries)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def _mode(content: Content) -> int:
    if isinstance(content, proc.ParameterFile):
        return content.parameter.mode
    if isinstance(content, Stored):
        return content.mode
    return READ_ONLY if isinstance(content, proc.NetFile) else READ_WRITE


def _allowed(content: Content) -> int:
    """The bits of a mode that count for a host's programs, which are root's: what is stored they may always read."""
    mode = _mode(content)
    return mode | 0o600 | (mode & 0o111 and 0o100) if isinstance(content, Stored) else mode


def _failed(number: int, path: Any) -> OSError:
    return OSError(number, os.strerror(number), path)
