"""`python -m lunar.dns`: a name server as a program of a host."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

from lunar.dns.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="lunar.dns", description="A name server: its zones, and a cache of others.")
    parser.add_argument("--zone", action="append", default=[], metavar="NAME=FILE", help="a zone, and its file")
    parser.add_argument("--forward", action="append", default=[], metavar="ADDRESS", help="a server for the rest")
    parser.add_argument("--host", help="the address to answer at (default: all)")
    parser.add_argument("--port", type=int, default=53)
    options = parser.parse_args()
    files = {}
    for zone in options.zone:
        name, equals, path = zone.partition("=")
        if not equals:
            parser.error(f"--zone {zone}: expected NAME=FILE")
        files[name] = path
    if not files and not options.forward:
        parser.error("it would know nothing; expected --zone or --forward")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(serve({}, options.forward, files=files, host=options.host, port=options.port))
        except (OSError, ValueError) as wrong:
            sys.exit(f"lunar.dns: {wrong}")


if __name__ == "__main__":
    main()
