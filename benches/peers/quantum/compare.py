"""Alternates between this project and its peers and prints ratios, one JSON object per case. See README.md."""

import argparse
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
parser = argparse.ArgumentParser()
parser.add_argument("program", help="our side: the built example `peer_work` of crates/quantum-sim")
parser.add_argument("--peers", default="jax,prism_q,qulacs,lightning,pennylane")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--small", action="store_true", help="few qubits, short blocks: checks that everything runs")
arguments = parser.parse_args()
small = ["small"] if arguments.small else []
threads = str(arguments.threads)
environment = dict(os.environ, OMP_NUM_THREADS=threads, RAYON_NUM_THREADS=threads)
if arguments.threads == 1:
    environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def run(command):
    """The JSON lines a program prints; what it says on stderr passes through."""
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def ours():
    return run([arguments.program, threads, *small])


best, seen = {}, {}
for _ in range(arguments.rounds):
    for peer in arguments.peers.split(","):
        for row in ours():
            best[row["work"]] = min(row["ms"], best.get(row["work"], float("inf")))
        for row in run([sys.executable, str(HERE / "peer.py"), peer, threads, *small]):
            key = (peer, row["work"])
            if key not in seen or row["ms"] < seen[key]["ms"]:
                seen[key] = row
for (peer, work), row in sorted(seen.items(), key=lambda item: item[0][1]):
    if work in best:
        more = {k: row[k] for k in ("note", "compile_seconds") if k in row}
        print(json.dumps(dict(area="quantum", work=work, threads=arguments.threads, ours_ms=best[work], peer=peer,
                              peer_version=row["peer_version"], peer_ms=row["ms"], ratio=row["ms"] / best[work], **more)))
