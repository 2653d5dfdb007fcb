"""The same work in Flower and dp-accounting: one thread, best of N, one JSON line per piece of work.

python3 -m venv v && v/bin/pip install -r requirements.txt && OMP_NUM_THREADS=1 v/bin/python bench_peers.py

Prints {"work", "peer", "peer_version", "peer_ms"}; the names are those of the Rust side's benches.
"""
import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import numpy as np
import dp_accounting as dpa
from dp_accounting import pld, rdp
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition, parameters_mod
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.server.strategy import aggregate as flower
from flwr.supercore.primitives.asymmetric import generate_key_pairs, private_key_to_bytes

FLOWER, GOOGLE = ("flwr", "1.41.0"), ("dp-accounting", "0.6.0")
only = sys.argv[1] if len(sys.argv) > 1 else ""


def report(work, peer, function, repeats):
    if only not in work:
        return
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    print(json.dumps({"work": work, "peer": peer[0], "peer_version": peer[1], "peer_ms": best * 1e3}), flush=True)


def aggregation():
    rng = np.random.default_rng(0)
    clients = [([rng.standard_normal(1_000_000, dtype=np.float32)], 10) for _ in range(100)]
    report("weighted mean 100 x 1M", FLOWER, lambda: flower.aggregate(clients), 3)
    report("trimmed mean 20 x 1M", FLOWER, lambda: flower.aggregate_trimmed_avg(clients[:20], 0.1), 3)
    report("krum 20 x 1M", FLOWER, lambda: flower.aggregate_krum(clients[:20], 2, 0), 3)


def masks():
    for dimension in (100_000, 1_000_000):
        update = [np.random.default_rng(0).standard_normal(dimension)]
        for neighbours in (10, 50):

            def mask():
                vector = [a.astype(np.int64) for a in quantize(update, 8.0, 1 << 22)]
                for index in range(neighbours + 1):
                    vector = parameters_addition(vector, pseudo_rand_gen(bytes([index] * 32), 1 << 32, [(dimension,)]))
                return parameters_mod(vector, 1 << 32)

            report(f"mask {dimension} for {neighbours} neighbours", FLOWER, mask, 3)


def shamir():
    key = private_key_to_bytes(generate_key_pairs()[0])
    for count, threshold in ((10, 6), (50, 30)):
        split = lambda: (create_shares(os.urandom(32), threshold, count), create_shares(key, threshold, count))
        report(f"shamir split {threshold} of {count}, two secrets", FLOWER, split, 3)
        shares = create_shares(key, threshold, count)[:threshold]
        report(f"shamir combine {threshold} of {count}", FLOWER, lambda: combine_shares(shares), 3)


def accountants():
    event = dpa.SelfComposedDpEvent(dpa.PoissonSampledDpEvent(0.01, dpa.GaussianDpEvent(1.0)), 1000)
    report("epsilon by Rdp", GOOGLE, lambda: rdp.RdpAccountant().compose(event).get_epsilon(1e-6), 3)
    make = lambda: pld.PLDAccountant(value_discretization_interval=1e-4)
    report("epsilon by Pld", GOOGLE, lambda: make().compose(event).get_epsilon(1e-6), 3)


for part in (aggregation, masks, shamir, accountants):
    part()
