"""`python -m lunar.radvd DEVICE PREFIX ...`: a router that advertises itself, as a program of a host."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from typing import NoReturn

from lunar.radvd.advertiser import PREFERENCES, Advertiser, Prefix, Said
from lunar.wire.address import network_mask, parse_ipv6
from lunar.wire.nd_option import AUTONOMOUS, FOREVER_S, ON_LINK


def _network(text: str) -> tuple[int, int]:
    address, slash, length = text.partition("/")
    number = parse_ipv6(address)
    bits = int(length) if slash else 64
    if number & ~network_mask(bits, 128) & ((1 << 128) - 1):
        raise ValueError(f"{text} has bits beyond its length")
    return number, bits


def _seconds(text: str) -> int:
    value = FOREVER_S if text == "infinity" else int(text)
    if not 0 <= value <= FOREVER_S:
        raise ValueError(f"{text}: a lifetime is 0 to {FOREVER_S} seconds, or infinity")
    return value


def _interval(text: str) -> tuple[float, float]:
    least, comma, most = text.partition(",")
    if not comma:
        return float(least) / 3, float(least)  # radvd's: a third of the largest
    if not 0 < float(least) <= float(most):
        raise ValueError(f"{text}: expected LEAST,MOST")
    return float(least), float(most)


def main() -> None:
    parser = argparse.ArgumentParser(prog="lunar.radvd", description="Advertises a router and its prefixes.")
    parser.add_argument("device")
    parser.add_argument("prefix", nargs="*", type=_network, help="as 2001:db8:1::/64")
    parser.add_argument("--interval", type=_interval, default=(200.0, 600.0), metavar="[LEAST,]MOST", help="seconds")
    parser.add_argument("--lifetime", type=int, default=1800, help="of the default router, 0 if it is none")
    parser.add_argument("--valid", type=_seconds, default=86_400, metavar="S", help="of the prefixes")
    parser.add_argument("--preferred", type=_seconds, default=14_400, metavar="S")
    parser.add_argument("--not-on-link", action="store_true", help="the prefixes are not on the link")
    parser.add_argument("--not-autonomous", action="store_true", help="hosts make no addresses of the prefixes")
    parser.add_argument("--mtu", type=int, default=0)
    parser.add_argument("--hop-limit", type=int, default=64)
    parser.add_argument("--reachable", type=int, default=0, metavar="MS")
    parser.add_argument("--retrans", type=int, default=0, metavar="MS")
    parser.add_argument("--preference", choices=sorted(PREFERENCES), default="medium")
    parser.add_argument("--managed", action="store_true", help="there is DHCP for addresses")
    parser.add_argument("--other", action="store_true", help="there is DHCP for other things")
    parser.add_argument("--rdnss", action="append", type=parse_ipv6, default=[], metavar="ADDRESS", help="name servers")
    parser.add_argument("--route", action="append", type=_network, default=[], metavar="NETWORK", help="reached by it")
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

    def end(_signum: int, _frame: object) -> NoReturn:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    with contextlib.suppress(KeyboardInterrupt):
        advertiser.run()


if __name__ == "__main__":
    main()
