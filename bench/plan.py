"""Planning: from nothing to the samples that the last of 1,024 ranks reads at one step, per second: 1 / time.

The peer is PyTorch's `DistributedSampler`, which every rank of a map-style data set asks: 10^7 samples, since it draws all of them. What
10^9 take (10^5 shards of 10^4) is printed: seconds and peak memory of a fresh process that does nothing else.
"""

from __future__ import annotations

import itertools
import subprocess
import sys

from bench.harness import Measure, Prepared
from inbol.shards.order import Shuffle, epoch_order, positions, samples_at

RANKS, PER_RANK = 1024, 8
CASES = {"plan-1e7": 10**7}
ALONE = """
import re, time
from pathlib import Path
start = time.perf_counter()
from bench.plan import last_rank
last_rank(10**9, step=60_000)
seconds = time.perf_counter() - start
peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])  # getrusage would give the parent's
print(f"10^9 samples on 1,024 ranks: {seconds:.2f} s with the imports, peak {peak / 1024:.0f} MiB")
"""


def last_rank(samples: int, *, step: int) -> list[int]:
    """[PER_RANK] what the last rank reads at `step`, nothing being known before."""
    epoch_order.cache_clear()
    batch = RANKS * PER_RANK
    places = positions(step, 0, RANKS - 1, global_batch=batch, world_size=RANKS, accumulation=1)
    indices, _ = samples_at(places, n=samples, seed=0, global_batch=batch, shuffle=Shuffle(1000, 2**20))
    return [int(index) for index in indices]


def prepare(name: str, clock: str) -> Prepared:
    """Check that both sides plan as many samples; print what 10^9 take. Nothing is chosen by time, so `clock` plays no part.

    Raises:
        AssertionError: a side gives another number of samples, or one that is not there.
    """
    from torch.utils.data import DistributedSampler

    samples = CASES[name]
    step = samples // (RANKS * PER_RANK) // 2

    def theirs() -> list[int]:
        sampler = DistributedSampler(range(samples), num_replicas=RANKS, rank=RANKS - 1, shuffle=True, seed=0)
        return list(itertools.islice(iter(sampler), step * PER_RANK, (step + 1) * PER_RANK))

    for side in (lambda: last_rank(samples, step=step), theirs):
        found = side()
        assert len(set(found)) == PER_RANK and all(0 <= index < samples for index in found), found
    print(subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True).stdout.strip())
    return Prepared(
        sides={"ours": lambda: last_rank(samples, step=step), "peer": theirs, "floor": lambda: epoch_order(samples // 1000, 0, 0)},
        measures=(
            Measure(
                name=name,
                unit="plans/s",
                ours=lambda times: 1 / times["ours"],
                peer=lambda times: 1 / times["peer"],
                floor=lambda times: times["ours"] / times["floor"],
            ),
        ),
        peer="`DistributedSampler`",
        peer_package="torch",
    )
