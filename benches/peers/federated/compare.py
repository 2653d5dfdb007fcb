"""Does each piece of work here and in the peer, in turns, and prints a row of JSON with the medians."""
import json
import os
import statistics
import subprocess
import sys

from exchange import exchange

OURS, NODE, PYTHON = sys.argv[1:4]
SCALE = os.environ.get("PEER_SCALE", "1")
FLOWER, GOOGLE = ("flwr", "1.41.0"), ("dp-accounting", "0.6.0")
WORK = [
    ("mean", "weighted mean, 100 x 1M", FLOWER, 5),
    ("trimmed", "trimmed mean, 20 x 1M", FLOWER, 5),
    ("krum", "Krum, 20 x 1M", FLOWER, 5),
    ("mask 10 1", "mask 100k numbers, 10 neighbours", FLOWER, 5),
    ("mask 50 1", "mask 100k numbers, 50 neighbours", FLOWER, 5),
    ("mask 10 10", "mask 1M numbers, 10 neighbours", FLOWER, 5),
    ("mask 50 10", "mask 1M numbers, 50 neighbours", FLOWER, 5),
    ("split 6 10", "Shamir split, 6 of 10, two secrets", FLOWER, 9),
    ("split 30 50", "Shamir split, 30 of 50, two secrets", FLOWER, 9),
    ("combine 6 10", "Shamir combine, 6 of 10", FLOWER, 9),
    ("combine 30 50", "Shamir combine, 30 of 50", FLOWER, 9),
    ("epsilon rdp", "epsilon by RDP, q = .01, z = 1, T = 1000", GOOGLE, 5),
    ("epsilon pld", "epsilon by PLD, q = .01, z = 1, T = 1000", GOOGLE, 5),
]


def worker(command):
    environment = dict(os.environ, RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(process, name):
    process.stdin.write(name + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args[0]} ended at `{name}`; its message stands above")
    return float(line)


def row(work, peer, ours, theirs):
    print(f"{work}: ours {ours}, {peer[0]} {theirs} [ms]", file=sys.stderr)
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(json.dumps({"area": "federated", "work": work, "threads": 1, "ours_ms": mine, "peer": peer[0],
                      "peer_version": peer[1], "peer_ms": other, "ratio": other / mine}), flush=True)


ours, theirs = worker([OURS, SCALE]), worker([PYTHON, os.path.join(os.path.dirname(__file__), "peer.py"), SCALE])
for name, work, peer, repeats in WORK:
    ask(ours, name), ask(theirs, name)  # warm-up
    times = [(ask(ours, name), ask(theirs, name)) for _ in range(repeats if SCALE == "1" else 1)]
    row(work if SCALE == "1" else f"{work} (sizes / {SCALE})", peer, [a for a, _ in times], [b for _, b in times])
if os.environ.get("PEER_EXCHANGE", "1") == "1":
    rust = exchange(PYTHON, NODE, "rust", 10 if SCALE == "1" else 2)
    python = exchange(PYTHON, NODE, "python", 3 if SCALE == "1" else 1)
    row("Flower exchange with two nodes, 1000 numbers", FLOWER, [rust], [python])
