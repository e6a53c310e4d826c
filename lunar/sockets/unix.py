"""Unix sockets, as unix(7) describes them: pairs, names, connections and datagrams. All within one host.

A name is a key in the host's table: of a file its device and inode, which the caller has looked up, of an abstract name
the name itself with the type. So a socket that was renamed is still found, and one whose file was removed is not. What
programs see as the address (`name`) is kept beside it, as bytes. What travels beside the data is in attachment.py.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, Sock
from lunar.sockets.attachment import NOBODY, Attachment
from lunar.sockets.channel import Channel

AF_UNIX: Final = 1
SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_SEQPACKET: Final = 5

# What Linux charges a queued piece beyond its bytes (skb->truesize); it bounds the count of small ones.
OVERHEAD_BYTES: Final = 768
# net.unix.max_dgram_qlen: so many datagrams wait at a socket beyond the first, whoever sent them.
MAX_DATAGRAMS: Final = 10

# States of a socket.
UNCONNECTED: Final = 0
LISTENING: Final = 1
CONNECTED: Final = 2

_EVERYTHING: Final = POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR


@final
class UnixTable:
    """Which sockets of one host have a name."""

    def __init__(self) -> None:
        self.bound: dict[bytes, UnixSock] = {}
        self._next: i64 = 0

    def create(self, type: i64) -> UnixSock:
        """A new socket without a name or a peer."""
        made = UnixSock(type, Channel(OVERHEAD_BYTES), Channel(OVERHEAD_BYTES))
        made.table = self
        return made

    def free_name(self, type: i64) -> bytes:
        """An abstract name that is free: five hexadecimal digits, as Linux gives where none is asked for."""
        while True:
            name = b"\0" + f"{int(self._next):05x}".encode()
            self._next = (self._next + 1) & 0xF_FFFF
            if abstract_key(type, name) not in self.bound:
                return name


@final
class UnixSock(Sock):
    """One socket. What it reads is `inbox`; what it writes is `outbox`, its peer's inbox."""

    def __init__(self, type: i64, inbox: Channel, outbox: Channel) -> None:
        super().__init__(AF_UNIX, type, 0)
        self.inbox: Channel = inbox
        self.outbox: Channel = outbox
        # Why `recv` returned None.
        self.recv_errno: i64 = 0
        self.table: UnixTable | None = None
        self.key: bytes = b""  # in the table; b"" without a name
        self.name: bytes = b""
        self.peer_name: bytes = b""
        self.state: i64 = UNCONNECTED
        self.backlog: i64 = 0
        self.ended: bool = False  # `shutdown` of writing, of a datagram socket: its peer does not learn of it
        # Lists, for an empty deque takes some 700 bytes, and most sockets need neither of these.
        self.waiting: list[UnixSock] = []  # connections that nobody has accepted yet
        # Of a datagram socket: the name of who sent each that waits, and who waits for room.
        self.senders: list[bytes] = []
        self.blocked: list[UnixSock] = []
        self.sender: bytes = b""  # of what `recv` gave last
        self.came: Attachment | None = None  # what `receive` gave beside the data
        self.passes_credentials: bool = False  # SO_PASSCRED
        # Whose it is: the process, user and group that made it; and those of its peer (SO_PEERCRED).
        self.pid: i64 = 0
        self.uid: i64 = NOBODY
        self.gid: i64 = NOBODY
        self.peer_pid: i64 = 0
        self.peer_uid: i64 = -1
        self.peer_gid: i64 = -1
        inbox.reader = self
        outbox.writer = self

    # Names and connections

    def bind(self, key: bytes, name: bytes) -> i64:
        """Take a name. EADDRINUSE, EINVAL if it has one."""
        table = self.table
        if self.key or self.name or table is None:
            return -errno.EINVAL  # who was accepted has the listener's name
        if key in table.bound:
            return -errno.EADDRINUSE
        table.bound[key] = self
        self.key = key
        self.name = name
        return 0

    def listen(self, backlog: i64) -> i64:
        """EOPNOTSUPP of datagrams, EINVAL without a name or when it is connected."""
        if self.type == SOCK_DGRAM:
            return -errno.EOPNOTSUPP
        if not self.key or self.state == CONNECTED:
            return -errno.EINVAL
        self.state = LISTENING
        self.backlog = backlog
        return 0

    def connect(self, key: bytes) -> i64:
        """Connect to the socket that has `key`, at once; of datagrams, name the peer.

        ECONNREFUSED, EPROTOTYPE, EISCONN, EINVAL; EAGAIN while the listener's queue is full.
        """
        other = None if self.table is None else self.table.bound.get(key)
        if other is None:
            return -errno.ECONNREFUSED
        if self.type == SOCK_DGRAM:
            return self._name_peer(other)
        if other.type != self.type:
            return -errno.EPROTOTYPE
        if other.state != LISTENING:
            return -errno.ECONNREFUSED
        if len(other.waiting) > other.backlog:
            return -errno.EAGAIN
        if self.state == CONNECTED:
            return -errno.EISCONN
        if self.state == LISTENING:
            return -errno.EINVAL
        child = UnixSock(self.type, Channel(OVERHEAD_BYTES), self.inbox)
        child.table = self.table
        child.name = self.peer_name = other.name
        child.peer_name = self.name
        child.passes_credentials = other.passes_credentials
        child.pid, child.uid, child.gid = other.pid, other.uid, other.gid
        child.know(self)
        self.know(other)
        self._write_to(child)
        child.state = self.state = CONNECTED
        other.waiting.append(child)
        other.wake(POLLIN)
        self.wake(POLLOUT)
        return 0

    def know(self, peer: UnixSock) -> None:
        """Keep what SO_PEERCRED tells of `peer`."""
        self.peer_pid = peer.pid
        self.peer_uid = peer.uid
        self.peer_gid = peer.gid

    def _name_peer(self, other: UnixSock) -> i64:
        if other.type != SOCK_DGRAM:
            return -errno.EPROTOTYPE
        if not self._may_send_to(other):
            return -errno.EPERM
        self._write_to(other)
        self.peer_name = other.name
        self.state = CONNECTED
        return 0

    def disconnect(self) -> i64:
        """A datagram socket has no peer any more. EINVAL of the other kinds."""
        if self.type != SOCK_DGRAM:
            return -errno.EINVAL
        if self.state == CONNECTED:
            self._write_to_nobody()
            self.state = UNCONNECTED
        return 0

    def _write_to_nobody(self) -> None:
        if self.outbox.writer is self:
            self.outbox.writer = None
        self.outbox = Channel(OVERHEAD_BYTES)
        self.outbox.writer = self
        self.peer_name = b""

    def _write_to(self, other: UnixSock) -> None:
        if self.outbox.writer is self:
            self.outbox.writer = None
        self.outbox = other.inbox
        if self.type != SOCK_DGRAM:
            other.inbox.writer = self

    def _may_send_to(self, other: UnixSock) -> bool:
        # One that has named its peer hears nobody else.
        return other.state != CONNECTED or other.outbox is self.inbox

    def accept_one(self) -> UnixSock | None:
        """The next connection, None if there is none."""
        if not self.waiting:
            return None
        child = self.waiting.pop(0)
        self.wake(POLLOUT)  # for who waits for a place in the queue
        return child

    # Data

    def send(self, data: bytes, _more: bool, attachment: Attachment | None = None) -> i64:
        """Queue `data` for the peer: of a stream what fits, of the other kinds all. The count, or -errno.

        With what is taken goes `attachment`.

        EAGAIN, ECONNREFUSED (a datagram socket whose peer is gone), ECONNRESET, EMSGSIZE, ENOTCONN, EPIPE.
        """
        outbox = self.outbox
        if self.type == SOCK_SEQPACKET and self.error:
            return -self.take_error()
        if self.type != SOCK_DGRAM and self.state == CONNECTED and (outbox.ended or outbox.deaf):
            return -errno.EPIPE  # of a stream also when its peer was closed with unread data: who reads is told that
        if self.error:
            return -self.take_error()
        if self.ended:
            return -errno.EPIPE
        if self.state != CONNECTED:
            return -errno.ENOTCONN
        if self.type == SOCK_DGRAM:
            if outbox.reader is None:
                # Its peer is gone: this is told once, and then it has none. On Linux what waits to be read goes, too.
                self.state = UNCONNECTED
                self.inbox.clear()
                self.senders.clear()
                self._let_send()
                return -errno.ECONNREFUSED
            return self._send_datagram(data, outbox.reader, attachment)
        size: i64 = len(data)
        room: i64 = self.sndbuf - outbox.charged - OVERHEAD_BYTES
        if self.type != SOCK_STREAM:
            if size > self.sndbuf - OVERHEAD_BYTES:
                return -errno.EMSGSIZE
            if size > room:
                return -errno.EAGAIN
        elif size == 0:
            return 0
        else:
            if room <= 0:
                return -errno.EAGAIN
            if size > room:
                data = data[:room]
                size = room
        outbox.put(data, self._signed(attachment, outbox.reader))
        outbox.wake_reader(POLLIN)
        return size

    def _signed(self, attachment: Attachment | None, reader: Sock | None) -> Attachment | None:
        """With the sender's name, if one of both wants it to be passed."""
        if self.passes_credentials or (isinstance(reader, UnixSock) and reader.passes_credentials):
            if attachment is None:
                attachment = Attachment([])
            attachment.sign(self.pid, self.uid, self.gid)
        return attachment

    def send_to(self, data: bytes, key: bytes, attachment: Attachment | None = None) -> i64:
        """Send a datagram to the socket that has `key`. As `send`, and EPERM, EPROTOTYPE; EISCONN of a stream."""
        if self.type != SOCK_DGRAM:
            return -errno.EISCONN if self.state == CONNECTED else -errno.EOPNOTSUPP
        if self.ended:
            return -errno.EPIPE
        other = None if self.table is None else self.table.bound.get(key)
        if other is None:
            return -errno.ECONNREFUSED
        if other.type != SOCK_DGRAM:
            return -errno.EPROTOTYPE
        if not self._may_send_to(other):
            return -errno.EPERM
        return self._send_datagram(data, other, attachment)

    def _send_datagram(self, data: bytes, reader: Sock, attachment: Attachment | None) -> i64:
        assert isinstance(reader, UnixSock), "a Unix socket writes to Unix sockets"
        inbox = reader.inbox
        if len(data) > self.sndbuf - OVERHEAD_BYTES:
            return -errno.EMSGSIZE
        if inbox.deaf:
            return -errno.EPIPE
        if self._is_too_far_ahead(reader) or len(data) > self.sndbuf - inbox.charged - OVERHEAD_BYTES:
            if self not in reader.blocked:
                reader.blocked.append(self)
            return -errno.EAGAIN
        inbox.put(data, self._signed(attachment, reader))
        reader.senders.append(self.name)
        reader.wake(POLLIN)
        return len(data)

    def _is_too_far_ahead(self, reader: UnixSock) -> bool:
        # The count is no bound between two that have named each other.
        return len(reader.senders) > MAX_DATAGRAMS and reader.outbox is not self.inbox

    def recv(self, size: i64, peek: bool) -> bytes | None:
        """As `receive`, for who does not want to have what came beside the data."""
        data = self.receive(size, peek)
        if self.came is not None and not peek:
            self.came.release()
        self.came = None
        return data

    def receive(self, size: i64, peek: bool) -> bytes | None:
        """Up to `size` bytes, or a message; b"" at the end; None with `recv_errno`: EAGAIN, or a pending error.

        What came beside the data is in `came`, for the caller to release. A message that is longer than `size` is given
        whole: the caller cuts it. EINVAL of a stream without a peer.
        """
        inbox = self.inbox
        self.came = None
        # A stream gives its data first; of messages the error comes before.
        if inbox.is_empty() or (self.error != 0 and self.type != SOCK_STREAM):
            if self.error:
                self.recv_errno = self.take_error()
                return None
            if self.type != SOCK_DGRAM and self.state != CONNECTED:
                self.recv_errno = errno.EINVAL if self.type == SOCK_STREAM else errno.ENOTCONN
                return None
            if self._reads_no_more():
                return b""
            self.recv_errno = errno.EAGAIN
            return None
        was_full = not _is_writable(inbox)
        if self.type == SOCK_STREAM:
            data = inbox.take(size, peek, self.passes_credentials)
        else:
            data = inbox.take_message(peek)
        self.came = inbox.came
        inbox.came = None
        if self.senders:
            self.sender = self.senders[0]
            if not peek:
                self.senders.pop(0)
                self._let_send()
        if was_full and _is_writable(inbox):
            inbox.wake_writer(POLLOUT)
        return data

    def _let_send(self) -> None:
        blocked = self.blocked
        self.blocked = []
        for sock in blocked:
            sock.wake(POLLOUT)

    def has_input(self) -> bool:
        """Whether `recv` has something to tell: data, the end, or an error."""
        return not self.inbox.is_empty() or self.error != 0 or self._reads_no_more()

    def is_at_end(self) -> bool:
        """Whether nothing more will come after what waits, or an error is next."""
        return self.error != 0 or self._reads_no_more()

    def _reads_no_more(self) -> bool:
        # A datagram socket does not learn what its peer does, only that its own reading was shut down.
        return self.inbox.deaf or (self.inbox.ended and self.type != SOCK_DGRAM)

    # The end, and what holds now

    def shutdown(self, how: i64) -> i64:
        """Stop reading (0), writing (1), or both (2). EINVAL."""
        if how < 0 or how > 2:
            return -errno.EINVAL
        if how != 1:
            self.inbox.deaf = True
        if how != 0:
            if self.type == SOCK_DGRAM:
                self.ended = True
            else:
                self.outbox.ended = True
        self.wake(POLLIN | POLLOUT | POLLRDHUP | POLLHUP)
        if self.type != SOCK_DGRAM:
            self.outbox.wake_reader(POLLIN | POLLOUT | POLLRDHUP | POLLHUP)
        return 0

    def poll(self) -> int:
        mask: i64 = 0
        if self.state == LISTENING:
            return POLLIN if self.waiting else 0
        reads_no_more = self._reads_no_more()
        if self.error:
            mask |= POLLERR
        if self.state == UNCONNECTED and self.type != SOCK_DGRAM:
            mask |= POLLHUP
        if reads_no_more:
            mask |= POLLIN | POLLRDHUP
            if self.ended or self.outbox.ended or self.outbox.deaf:
                mask |= POLLHUP
        if not self.inbox.is_empty():
            mask |= POLLIN
        if _is_writable(self.outbox) and not self._is_held_up():
            mask |= POLLOUT
        return int(mask)

    def _is_held_up(self) -> bool:
        # A datagram socket that is connected is writable only when its peer has room.
        if self.type != SOCK_DGRAM or self.state != CONNECTED:
            return False
        reader = self.outbox.reader
        if not isinstance(reader, UnixSock) or not self._is_too_far_ahead(reader):
            return False
        if self not in reader.blocked:
            reader.blocked.append(self)
        return True

    def close(self) -> None:
        inbox = self.inbox
        outbox = self.outbox
        if self.table is not None and self.table.bound.get(self.key) is self:
            # The file stays, as on Linux; whoever connects to it is refused.
            del self.table.bound[self.key]
        while self.waiting:
            child = self.waiting.pop(0)
            client = child.outbox.reader
            if client is not None:
                client.error = errno.ECONNRESET
            child.close()
        peer = outbox.reader
        if peer is not None and self.type != SOCK_DGRAM and not inbox.is_empty():
            # What the peer wrote was never read.
            peer.error = errno.ECONNRESET
        inbox.clear()
        self.senders.clear()
        inbox.deaf = True
        inbox.reader = None
        if outbox.writer is self:
            outbox.ended = True
            outbox.writer = None
        self._let_send()
        if peer is not None and self.type != SOCK_DGRAM:
            peer.wake(_EVERYTHING)


def abstract_key(type: i64, name: bytes) -> bytes:
    """The key of an abstract name: sockets of another type may have the same name."""
    return f"\0{int(type)}".encode() + name


def pair(type: i64) -> tuple[UnixSock, UnixSock]:
    """Two connected sockets of `type`: SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET."""
    there = Channel(OVERHEAD_BYTES)
    back = Channel(OVERHEAD_BYTES)
    first = UnixSock(type, back, there)
    second = UnixSock(type, there, back)
    first.state = second.state = CONNECTED
    return first, second


def _is_writable(channel: Channel) -> bool:
    # Linux calls a Unix socket writable while at most a quarter of its buffer is in use (unix_writable).
    writer = channel.writer
    return writer is None or channel.charged * 4 <= writer.sndbuf
