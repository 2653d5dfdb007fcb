"""The peers' side: reads the name of a piece of work per line, does it once in Flower or dp-accounting, answers with the
milliseconds it took. The first of a kind also prepares its data, outside of the clock. `peer.py [SCALE]` divides sizes."""
import os
import sys
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever the packages print goes to stderr

import numpy as np
import dp_accounting as dpa
from dp_accounting import pld, rdp
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition, parameters_mod
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.server.strategy import aggregate as flower
from flwr.supercore.primitives.asymmetric import generate_key_pairs, private_key_to_bytes

MILLION = max(1_000_000 // int(sys.argv[1] if len(sys.argv) > 1 else 1), 100)
updates = []


def clients(count):
    if len(updates) < count:
        rng = np.random.default_rng(0)
        updates[:] = [([rng.standard_normal(MILLION, dtype=np.float32)], 10) for _ in range(count)]
    return updates[:count]


def mask(neighbours, tenths):
    dimension = MILLION * tenths // 10
    update = [np.random.default_rng(0).standard_normal(dimension)]

    def work():
        vector = [a.astype(np.int64) for a in quantize(update, 8.0, 1 << 22)]
        for index in range(neighbours + 1):
            vector = parameters_addition(vector, pseudo_rand_gen(bytes([index] * 32), 1 << 32, [(dimension,)]))
        return parameters_mod(vector, 1 << 32)

    return work


def combine(threshold, count):
    shares = create_shares(private_key_to_bytes(generate_key_pairs()[0]), threshold, count)[:threshold]
    return lambda: combine_shares(shares)


def split(threshold, count):
    key = private_key_to_bytes(generate_key_pairs()[0])
    return lambda: (create_shares(os.urandom(32), threshold, count), create_shares(key, threshold, count))


def epsilon(accountant):
    event = dpa.SelfComposedDpEvent(dpa.PoissonSampledDpEvent(0.01, dpa.GaussianDpEvent(1.0)), 1000)
    if accountant == "rdp":
        return lambda: rdp.RdpAccountant().compose(event).get_epsilon(1e-6)
    return lambda: pld.PLDAccountant(value_discretization_interval=1e-4).compose(event).get_epsilon(1e-6)


def prepared(words):
    match words:
        case ["mean"]:
            all_of_them = clients(100)
            return lambda: flower.aggregate(all_of_them)
        case ["trimmed"]:
            some = clients(20)
            return lambda: flower.aggregate_trimmed_avg(some, 0.1)
        case ["krum"]:
            some = clients(20)
            return lambda: flower.aggregate_krum(some, 2, 0)
        case ["mask", neighbours, tenths]:
            return mask(int(neighbours), int(tenths))
        case ["split", threshold, count]:
            return split(int(threshold), int(count))
        case ["combine", threshold, count]:
            return combine(int(threshold), int(count))
        case ["epsilon", accountant]:
            return epsilon(accountant)
    raise SystemExit(f"unknown work: {words}")


for line in sys.stdin:
    work = prepared(line.split())
    start = time.perf_counter()
    work()
    print((time.perf_counter() - start) * 1e3, file=ANSWERS, flush=True)
