"""The whole matrix: Lunar and the machine's kernel as peers, row by row.

    python tests/peer/matrix.py [--only TEXT] [--exchanges] [--transfers] [--kernels] [--counters] [--seed N]
                                [--keep DIRECTORY]

Needs root and /dev/net/tun. The exchanges (cases.toml) go first, then the transfers (matrix.toml). The last line is how
many of all flows came out as they should; the exit code is 0 if all did, 2 where the kernel is not to be had for any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import exchanges
import transfers
from transfers import Result

from lunar.kernel.namespace import KernelUnavailable

_REPEATED = "TcpRetransSegs"


def main() -> int:
    """Play what is asked for."""
    asked = _arguments()
    good = total = 0
    jobs = []
    if asked.exchanges or not asked.transfers:
        jobs += [(row.name, exchanges.play, row) for row in exchanges.rows()]
    if asked.transfers or not asked.exchanges:
        jobs += [(row.name, transfers.play, row) for row in transfers.rows()]
    print(f"{'row':58}{'flows':>8}{'repeated: ours':>16}{'kernel':>8}{'seconds':>9}")
    for name, play, row in jobs:
        if asked.only not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="peer") as directory:
            kept = asked.keep / name.replace(" ", "-") if asked.keep else Path(directory)
            began = time.monotonic()
            try:
                result: Result = play(row, kept, asked.seed, asked.kernels)
            except KernelUnavailable as error:
                print(f"{name:58}not played: {error}")
                continue
        fine = result.flows - len(result.wrong)
        print(
            f"{name:58}{f'{fine}/{result.flows}':>8}{result.ours.get(_REPEATED, 0):16}"
            f"{result.kernel.get(_REPEATED, 0):8}{time.monotonic() - began:9.1f}",
            flush=True,
        )
        for flow, what in result.wrong.items():
            print(f"    {flow}: {'; '.join(what)}")
        if asked.counters:
            for counter in sorted(result.ours | result.kernel):
                print(f"    {counter:40}{result.ours.get(counter, 0):8}{result.kernel.get(counter, 0):8}")
        good += max(fine, 0)
        total += result.flows
    print(f"{good} of {total}")
    return 2 if not total else 0 if good == total else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="matrix", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows with this text in their name")
    parser.add_argument("--exchanges", action="store_true", help="opening, data and the end, word by word")
    parser.add_argument("--transfers", action="store_true", help="transfers over all links with all settings")
    parser.add_argument("--kernels", action="store_true", help="another kernel in our place, for comparison")
    parser.add_argument("--counters", action="store_true", help="print what nstat(8) says on either side")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the links and of what is sent")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave the captures there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
