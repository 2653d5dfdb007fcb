"""Runs both sides in turn, one process each, and prints a row per comparison.

    compare.py RUST_BINARY PYTHON [ALTERNATIONS [WORK...]]

Every process warms up by one round and reports all others; the figure of a side is the median of all its rounds.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

# By our work: both sides must have as many.
PARAMETERS = {
    "train": 601_830,
    "plan": 601_830,
    "ensemble": 25_333,
    "dreamer": 292_676,
    "tdmpc": 209_632,
    "i2a": 213_469,
}
SCRIPT = Path(__file__).with_name("pytorch_side.py")
VARIABLES = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
# Threads, our work, the peer's works with a title each, rounds per process.
COMPARISONS = [
    (
        1,
        "train",
        [("train-per-step", "per-step PyTorch"), ("train-time-batched", "time-batched PyTorch")],
        "54 updates on 16 x 15 steps",
        3,
    ),
    (1, "plan", [("plan", "PyTorch")], "plan, 500 candidates x 8 steps x 5 iterations", 15),
    (1, "ensemble", [("ensemble", "batched PyTorch")], "200 updates of an ensemble, 5 members x 64 rows", 5),
    (1, "dreamer", [("dreamer", "time-batched PyTorch")], "4 updates of Dreamer on 8 x 32 steps, dreams of 15", 3),
    (1, "tdmpc", [("tdmpc", "batched PyTorch")], "20 updates of TD-MPC2 on 128 windows of 3 steps", 5),
    (1, "i2a", [("i2a", "time-batched PyTorch")], "10 updates of I2A, 16 x 5 steps, rollouts of 3", 5),
    (2, "plan", [("plan", "PyTorch")], "plan, 500 candidates x 8 steps x 5 iterations", 15),
]


def measure(command, threads, parameters):
    environment = os.environ | {name: str(threads) for name in VARIABLES}
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    result = json.loads(output)
    assert result["parameters"] == parameters, f"{command}: {result['parameters']} parameters, want {parameters}"
    return result


def main():
    rust, python = sys.argv[1:3]
    alternations = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    wanted = sys.argv[4:]
    for threads, ours, theirs, title, rounds in COMPARISONS:
        if wanted and ours not in wanted:
            continue
        sides = {"ours": [rust, ours, str(threads), str(rounds)]}
        for work, name in theirs:
            sides[name] = [python, str(SCRIPT), work, str(threads), str(rounds)]
        samples, version = {side: [] for side in sides}, ""
        for _ in range(alternations):
            for side, command in sides.items():
                result = measure(command, threads, PARAMETERS[ours])
                samples[side] += result["ms"]
                version = result.get("torch", version)
        median = {side: statistics.median(values) for side, values in samples.items()}
        for side, values in samples.items():
            every = " ".join(f"{value:.1f}" for value in values)
            print(f"{title}, {threads} thread(s), {side}: median {median[side]:.1f} ms of {every}", file=sys.stderr)
        for _, name in theirs:
            row = {
                "area": "world-models",
                "work": title,
                "threads": threads,
                "ours_ms": median["ours"],
                "peer": name,
                "peer_version": version,
                "peer_ms": median[name],
                "ratio": median[name] / median["ours"],
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
