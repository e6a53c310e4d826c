"""A UDP link: its frames travel in datagrams of the machine's, to a link like it in another process.

A datagram is one Ethernet frame without its frame check sequence, as in the thesis' section 4.1; so are those of the
UDP tunnels of QEMU and GNS3. On a link with a key a sequence number and a tag come besides (seal.py).

What is no frame of the peer's is counted and dropped here. What a frame holds is for the device to see. The socket is
in peer_socket.py; what it joins with the run is a device (lunar/links/outside_link.py), or a switch
(lunar/links/switch.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lunar.links.frame_socket import FrameSocket
from lunar.links.outside_link import OutsideLink
from lunar.links.switch import SwitchDoor
from lunar.outside.peer_socket import MOST_IN_A_ROW, PeerSocket
from lunar.outside.seal import BAD_TAG, NO_FRAME, REPLAYED, SHORT, Seal, shared_key
from lunar.packet import ETHERNET_HEADER_BYTES
from weaves.endpoints import Endpoint, check_key, format_endpoint
from weaves.outside import Gates

# A tag of IEEE 802.1Q that a frame may have besides.
_VLAN_BYTES: Final = 4


class UdpLink:
    """Takes the frames of `end` from the address `local` to `remote`, and lets those of `remote` in. The MTU is `mtu`.

    `key` is the text of the shared key, None where there is none. `notice` is called with what is to be told of the
    peer.
    """

    def __init__(
        self, gates: Gates, end: OutsideLink | SwitchDoor, mtu: int, local: Endpoint, remote: Endpoint,
        key: str | None, notice: Callable[[str], None],
    ) -> None:
        self.end: Final = end
        self.local: Final = local
        self.remote: Final = remote
        self.socket: Final = PeerSocket(local, remote, self._heard)
        self.seal: Seal | None = None
        self.frames_out = 0
        self.frames_in = 0
        self.short = 0
        self.long = 0
        self.bad_tag = 0
        self.replayed = 0
        self.greetings = 0  # by which the sides agree on keys
        self._key: Final = key
        self._wrong_tag_told = False
        self._notice: Final = notice
        self._longest: Final = mtu + ETHERNET_HEADER_BYTES + _VLAN_BYTES
        self._gates: Final = gates
        self._gate: Final = gates.gate(end.name, end.arrival)
        # A device takes in frames that have come together at once; a switch takes one by one. Frames that have no seal
        # go the short way.
        self._together: Final = gates.gate(f"{end.name}, together", end.train) if isinstance(end, OutsideLink) else None
        self._way: Final = FrameSocket(self._gate, self._together or self._gate, end.doorway.frames, self._longest)
        self._is_short: Final = key is None and isinstance(end, OutsideLink)
        self._descriptor = -1
        gates.on_open(self._open)
        gates.on_close(self._close)
        gates.on_flush(self._way.flush if self._is_short else self._flush)

    @property
    def name(self) -> str:
        """The link's name."""
        return self.end.name

    def _open(self) -> None:
        if self._key is not None:
            self.seal = Seal(shared_key(self._key), os.urandom)
        try:
            self._descriptor = self.socket.open()
        except OSError as error:
            where = f"{format_endpoint(self.local)} to {format_endpoint(self.remote)}"
            raise OSError(error.errno, f"UDP link {self.name}, {where}: {error.strerror or error}") from None
        if self._is_short:
            self.socket.lend(self._way)
            self._gates.watch(self._descriptor, self._way.readable)
        else:
            self._gates.watch(self._descriptor, self._readable)
        if self.seal is not None:
            self.seal.ask()
            self._reply(self.seal)

    def _close(self) -> None:
        if self._descriptor >= 0:
            if self._is_short:
                self._way.flush()
                self._way.close()
            else:
                self._flush()
            self._gates.unwatch(self._descriptor)
            self._descriptor = -1
            self.socket.close()

    def _readable(self) -> None:
        seal, longest = self.seal, self._longest
        frames: list[bytes] = []
        for datagram in self.socket.receive():
            frame: bytes | None = datagram
            if seal is not None and (frame := seal.open(datagram)) is None:
                self.greetings += seal.reason == NO_FRAME
                self.short += seal.reason == SHORT
                self.bad_tag += seal.reason == BAD_TAG
                self.replayed += seal.reason == REPLAYED
                if seal.reason == BAD_TAG and seal.agreement is None and not self._wrong_tag_told:
                    self._wrong_tag_told = True
                    self._notice(f"what comes from {format_endpoint(self.remote)} has a wrong tag: another key?")
                continue
            assert frame is not None, "without a seal each datagram is a frame"
            if len(frame) < ETHERNET_HEADER_BYTES:
                self.short += 1
            elif len(frame) > longest:
                self.long += 1
            else:
                frames.append(frame)
        self._admit(frames)
        if seal is not None and seal.replies:
            self._reply(seal)

    def _admit(self, frames: list[bytes]) -> None:
        """Let them in, those of one length in a row together; the last of a row may be shorter."""
        self.frames_in += len(frames)
        at, count = 0, len(frames)
        while at < count:
            size = len(frames[at])
            end = at + 1
            if self._together is not None:
                most = min(count, at + MOST_IN_A_ROW)
                while end < most and len(frames[end]) == size:
                    end += 1
                if at + 1 < end < most and len(frames[end]) < size:
                    end += 1
            if self._together is None or end == at + 1:
                self._gate.admit(frames[at])
            else:
                self._together.admit(size.to_bytes(2, "big") + b"".join(frames[at:end]))
            at = end

    def _flush(self) -> None:
        frames = self.end.doorway.frames
        if not frames:
            return
        if self._descriptor >= 0:
            self.frames_out += len(frames)
            seal = self.seal
            if seal is None:
                self.socket.send(frames)
            else:
                self.socket.send(seal.seal(frames))
                if seal.replies:
                    self._reply(seal)
        frames.clear()

    def _reply(self, seal: Seal) -> None:
        self.socket.send(seal.take_replies())

    def _heard(self, here: bool) -> None:
        self._way.heard = here
        peer = format_endpoint(self.remote)
        self._notice(f"{peer} answers" if here else f"nobody listens at {peer}")

    def figures(self) -> dict[str, Any]:
        """What it did so far: the fields of `udp_links[]` in the JSON figures of `weave run`."""
        sock, way, seal = self.socket, self._way, self.seal
        return {
            "name": self.name,
            "local": format_endpoint(self.local),
            "remote": format_endpoint(self.remote),
            "keyed": self._key is not None,
            "frames_out": self.frames_out + int(way.frames_out),
            "frames_in": self.frames_in + int(way.frames_in),
            "datagrams_out": sock.sent + int(way.sent),
            "datagrams_in": sock.received + int(way.received),
            "bytes_out": sock.sent_bytes + int(way.sent_bytes),
            "bytes_in": sock.received_bytes + int(way.received_bytes),
            "calls_out": sock.calls_out + int(way.sent),
            "calls_in": sock.calls_in + int(way.calls_in),
            "refused": sock.refused,
            "no_room_out": sock.no_room_out,
            "failed_out": sock.failed_out,
            "no_room_in": sock.no_room_in,
            "foreign": sock.foreign,
            "early": sock.early,
            "short": self.short + int(way.short),
            "long": self.long + int(way.long),
            "bad_tag": self.bad_tag,
            "replayed": self.replayed,
            "greetings": self.greetings,
            "missing": 0 if seal is None else seal.missing,
            "unsent": 0 if seal is None else int(seal.unsent),
            "agreements": 0 if seal is None else int(seal.agreements),
        }


def read_key(path: Path) -> str:
    """The key in a file, without white space around it. Raises `ValueError`, saying what is wrong with the file."""
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{path} is no file; expected one with a key")
            if status.st_mode & 0o077:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise ValueError(f"{path} has mode {mode}; expected one that its owner alone may read (0600)")
            if status.st_uid not in (0, os.geteuid()):
                raise ValueError(f"{path} is another user's; expected one of your own")
            text = file.read(65_536).strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; expected a key in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; expected a file with a key") from None
    try:
        return check_key(text)
    except ValueError as wrong:
        raise ValueError(f"{path}: {wrong}") from None
