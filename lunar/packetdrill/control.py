"""Control messages, what sendmsg(2) and recvmsg(2) carry beside the data: made, and compared with a script's."""

from __future__ import annotations

import struct
from typing import Final

from lunar.packetdrill.arguments import needed
from lunar.packetdrill.script import Expression, Struct
from lunar.packetdrill.symbols import number

# struct sock_extended_err without the address behind it, linux/errqueue.h.
_EXTENDED_ERROR: Final = struct.Struct("IBBBBII")
_EXTENDED_FIELDS: Final = ("ee_errno", "ee_origin", "ee_type", "ee_code", "", "ee_info", "ee_data")
# struct scm_timestamping: three times of seconds and nanoseconds.
_TIMESTAMPING: Final = struct.Struct("qqqqqq")


class Differs(Exception):
    """A control message is not what the script says; `str` of it says in what."""


def made_of(item: Struct) -> tuple[int, int, bytes]:
    """A message to be sent."""
    data = needed(item, "cmsg_data")
    return (
        number(needed(item, "cmsg_level")),
        number(needed(item, "cmsg_type")),
        number(data).to_bytes(4, "little"),
    )


def compare(
    expected: list[Struct], actual: list[tuple[int, int, bytes]], wall_start_ns: int, tolerance_ns: int
) -> None:
    """Raise `Differs` if they are not what is expected. Times count from `wall_start_ns`, of the wall clock."""
    if len(expected) != len(actual):
        kinds = ", ".join(f"level {level} type {kind}" for level, kind, _ in actual) or "none"
        raise Differs(f"Expected {len(expected)} control messages but got {len(actual)} ({kinds})")
    for want, (level, kind, data) in zip(expected, actual, strict=True):
        _same("cmsg_level", number(needed(want, "cmsg_level")), level)
        _same("cmsg_type", number(needed(want, "cmsg_type")), kind)
        _compare_data(needed(want, "cmsg_data"), data, wall_start_ns, tolerance_ns)


def _compare_data(want: Expression, data: bytes, wall_start_ns: int, tolerance_ns: int) -> None:
    if not isinstance(want, Struct):
        _same("cmsg_data", number(want), int.from_bytes(data[:4], "little", signed=True))
    elif "ee_errno" in want.names:
        values = _EXTENDED_ERROR.unpack_from(data)
        for name, value in zip(_EXTENDED_FIELDS, values, strict=True):
            expected = want.get(name) if name else None
            if expected is not None:
                _same(name, number(expected), value)
    elif "scm_sec" in want.names:
        wall_ns = _TIMESTAMPING.unpack_from(data)[0] * 1_000_000_000 + _TIMESTAMPING.unpack_from(data)[1]
        expected_ns = number(needed(want, "scm_sec")) * 1_000_000_000 + number(needed(want, "scm_nsec"))
        passed_ns = wall_ns - wall_start_ns
        # As of packets: the kernel's clock goes on between the script's moment and its own.
        if abs(passed_ns - expected_ns) > tolerance_ns:
            raise Differs(
                f"Expected timestamp {expected_ns / 1e9:.6f} sec but got {passed_ns / 1e9:.6f} sec"
            )
    else:
        raise TypeError(f"control data of {', '.join(want.names)} is not known")


def _same(name: str, expected: int, actual: int) -> None:
    if expected != actual:
        raise Differs(f"Bad {name}: expected: {expected} actual: {actual}")
