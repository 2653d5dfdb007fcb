"""Runs both sides in turn, one process each, one thread, and prints a row per comparison.

    compare.py RUST_BINARY PYTHON [ALTERNATIONS [SCALE]]

Every process warms up by one round and reports all others; the figure of a side is the median of all its rounds.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("peer.py")
VARIABLES = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
STEPS, BATCHED = 25_000, 1_024_000
# The peer's work, ours with a title each, how much of the peer's work one of ours is, rounds per process.
COMPARISONS = [
    ("spread", [("spread", "25,000 steps of simple_spread", 1), ("spread-batch", "25,000 steps of simple_spread in 1,024 copies", BATCHED / STEPS)], 3),
    ("tag", [("tag", "25,000 steps of simple_tag", 1), ("tag-batch", "25,000 steps of simple_tag in 1,024 copies", BATCHED / STEPS)], 3),
    ("foraging", [("foraging", "25,000 steps of foraging 8x8-2p-2f-coop", 1), ("foraging-batch", "25,000 steps of foraging in 1,024 copies", BATCHED / STEPS)], 3),
    ("maddpg", [("maddpg", "60 agent-updates of MADDPG with attention critics", 1)], 10),
    ("maddpg-training", [("maddpg-training", "1,000 environment steps of training MADDPG in spread", 1)], 5),
    ("arena-training", [("arena-training", "1,000 environment steps of training MADDPG in PointArena", 1)], 5),
    ("mappo", [("mappo", "one update of MAPPO, ten passes over 9,600 rows", 1)], 5),
    ("mappo-training", [("mappo-training", "250 environment steps of training MAPPO in ten copies of spread", 1)], 10),
]


def measure(command):
    environment = os.environ | {name: "1" for name in VARIABLES}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout)


def main():
    rust, python = sys.argv[1:3]
    alternations = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    scale = sys.argv[4] if len(sys.argv) > 4 else "1"
    for theirs, ours, rounds in COMPARISONS:
        samples = {"peer": []} | {work: [] for work, _, _ in ours}
        for _ in range(alternations):
            for work, _, _ in ours:
                samples[work] += measure([rust, work, str(rounds), scale])["ms"]
            peer = measure([python, str(SCRIPT), theirs, "1", str(rounds), scale])
            samples["peer"] += peer["ms"]
        median = {side: statistics.median(values) for side, values in samples.items()}
        for side, values in samples.items():
            every = " ".join(f"{value:.2f}" for value in values)
            print(f"{theirs}, {side}: median {median[side]:.2f} ms of {every}", file=sys.stderr)
        for work, title, amount in ours:
            ours_ms = median[work] / amount
            row = {"area": "marl", "work": title, "threads": 1, "ours_ms": ours_ms, "peer": peer["package"]}
            row |= {"peer_version": peer["version"], "peer_ms": median["peer"], "ratio": median["peer"] / ours_ms}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
