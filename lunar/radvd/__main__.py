"""`python -m lunar.radvd DEVICE PREFIX ...`: a router that advertises itself, as a program of a host."""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from lunar.radvd.advertiser import PREFERENCES, Advertiser, Prefix, Said
from lunar.wire.address import network_mask, parse_ipv6
from lunar.wire.nd_option import AUTONOMOUS, FOREVER_S, ON_LINK

T = TypeVar("T")


def _network(text: str) -> tuple[int, int]:
    address, slash, length = text.partition("/")
    number = parse_ipv6(address)
    bits = int(length) if slash else 64
    if not 0 <= bits <= 128:
        raise ValueError(f"{text}: a prefix has 0 to 128 bits")
    if number & ~network_mask(bits, 128) & ((1 << 128) - 1):
        raise ValueError(f"{text} has bits beyond its length")
    return number, bits


def _seconds(text: str) -> int:
    value = FOREVER_S if text == "infinity" else int(text)
    if not 0 <= value <= FOREVER_S:
        raise ValueError(f"{text}: a lifetime is 0 to {FOREVER_S} seconds, or infinity")
    return value


def _interval(text: str) -> tuple[float, float]:
    first, comma, second = text.partition(",")
    most = float(second if comma else first)
    least = float(first) if comma else most / 3  # radvd's: a third of the largest
    if not 0 < least <= most < math.inf:
        raise ValueError(f"{text}: expected LEAST,MOST")
    return least, most


def _within(least: int, most: int) -> Callable[[str], int]:
    """A reader of integers from `least` to `most`."""

    def integer(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError(f"{text} is out of range")
        return value

    return _told(integer, f"{least} to {most}")


def _told(read: Callable[[str], T], expected: str) -> Callable[[str], T]:
    """`read`, of which argparse tells what was expected: of a ValueError it tells the name of the function."""

    def reader(text: str) -> T:
        try:
            return read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text}: expected {expected}") from None

    return reader


def main() -> None:
    parser = argparse.ArgumentParser(prog="lunar.radvd", description="Advertises a router and its prefixes.")
    network = _told(_network, "a network of IPv6, such as 2001:db8:1::/64")
    seconds = _told(_seconds, f"0 to {FOREVER_S} seconds, or infinity")
    interval = _told(_interval, "[LEAST,]MOST seconds, more than 0")
    server = _told(parse_ipv6, "an IPv6 address")
    parser.add_argument("device")
    parser.add_argument("prefix", nargs="*", type=network, help="as 2001:db8:1::/64")
    parser.add_argument("--interval", type=interval, default=(200.0, 600.0), metavar="[LEAST,]MOST", help="seconds")
    lifetime = _within(0, 65_535)
    parser.add_argument("--lifetime", type=lifetime, default=1800, help="of the default router, 0 if it is none")
    parser.add_argument("--valid", type=seconds, default=86_400, metavar="S", help="of the prefixes")
    parser.add_argument("--preferred", type=seconds, default=14_400, metavar="S")
    parser.add_argument("--not-on-link", action="store_true", help="the prefixes are not on the link")
    parser.add_argument("--not-autonomous", action="store_true", help="hosts make no addresses of the prefixes")
    parser.add_argument("--mtu", type=_within(1280, 65_535), default=0)
    parser.add_argument("--hop-limit", type=_within(0, 255), default=64)
    parser.add_argument("--reachable", type=_within(0, 3_600_000), default=0, metavar="MS")
    parser.add_argument("--retrans", type=_within(0, 2**32 - 1), default=0, metavar="MS")
    parser.add_argument("--preference", choices=sorted(PREFERENCES), default="medium")
    parser.add_argument("--managed", action="store_true", help="there is DHCP for addresses")
    parser.add_argument("--other", action="store_true", help="there is DHCP for other things")
    parser.add_argument("--rdnss", action="append", type=server, default=[], metavar="ADDRESS", help="name servers")
    parser.add_argument("--route", action="append", type=network, default=[], metavar="NETWORK", help="reached by it")
    options = parser.parse_args()
    flags = (0 if options.not_on_link else ON_LINK) | (0 if options.not_autonomous else AUTONOMOUS)
    said = Said(
        tuple(
            Prefix(network, length, options.valid, min(options.preferred, options.valid), flags)
            for network, length in options.prefix
        ),
        lifetime_s=options.lifetime, hop_limit=options.hop_limit, mtu=options.mtu, reachable_ms=options.reachable,
        retrans_ms=options.retrans, preference=options.preference, managed=options.managed, other=options.other,
        servers=tuple(options.rdnss), routes=tuple(options.route),
    )  # fmt: skip
    try:
        advertiser = Advertiser(options.device, said, *options.interval)
    except OSError as wrong:
        sys.exit(f"lunar.radvd: {options.device}: {wrong.strerror}")
    if Path(f"/proc/sys/net/ipv6/conf/{options.device}/forwarding").read_text(encoding="ascii").strip() == "0":
        print("lunar.radvd: IPv6 forwarding is off here: hosts that ask are not heard", file=sys.stderr)

    def end(_signum: int, _frame: object) -> NoReturn:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    with contextlib.suppress(KeyboardInterrupt):
        advertiser.run()


if __name__ == "__main__":
    main()
