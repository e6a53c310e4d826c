"""A round of the fuzzer: a fresh bench, so many frames, and the end; whether memory comes back is seen over several."""

from __future__ import annotations

import gc
import random
import resource
import traceback
from typing import NamedTuple

from network_bench import NetworkBench
from states import Bench, Broken


class Round(NamedTuple):
    """What came of it. `objects` are those that the garbage collector knows after it, `peak_kb` the process' memory."""

    seed: int
    number: int
    frames: int
    problem: str
    objects: int
    peak_kb: int


def play(seed: int, number: int, frames: int) -> Round:
    """Round `number` of a seed, the even ones for TCP's states, the odd ones for the network layer.

    What goes wrong is told with the frame at which it did.
    """
    rng = random.Random(f"{seed}/{number}")
    bench: Bench | NetworkBench = NetworkBench(rng) if number % 2 else Bench(rng)
    at = 0
    problem = ""
    try:
        for at in range(frames):  # noqa: B007 - told when it fails
            bench.step()
        bench.finish()
    except Broken as error:
        problem = f"{error} (frame {at})"
    except Exception as error:  # noqa: BLE001 - whatever the stack raises is the finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{error!r} in {last.filename}:{last.lineno} (frame {at})"
    bench.close()
    del bench
    gc.collect()
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Round(seed, number, frames, problem, len(gc.get_objects()), peak_kb)
