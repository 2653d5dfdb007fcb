"""Writes the data of the comparison: spdP.csv, 1000 rows of sparse linear Gaussian models with P variables, expected
degree 3, fixed seeds. usage: data.py FOLDER [P ...]   (default 20 30 50 100; 300 and 1000 for the growth curve)"""
import os
import sys

import numpy as np


def table(p, n=1000, degree=3.0, seed=4242):
    rng = np.random.default_rng(seed + p)
    order = rng.permutation(p)
    edges = np.zeros((p, p), int)
    for a in range(p):
        for b in range(a + 1, p):
            if rng.random() < degree / (p - 1):
                edges[order[a], order[b]] = 1
    weights = np.where(edges, rng.uniform(0.3, 0.9, (p, p)) * rng.choice([-1, 1], (p, p)), 0)
    x = np.zeros((n, p))
    for v in order:
        x[:, v] = x @ weights[:, v] + rng.normal(size=n) * rng.uniform(0.7, 1.3)
    return x.astype(np.float32)


if __name__ == "__main__":
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    for p in [int(a) for a in sys.argv[2:]] or [20, 30, 50, 100]:
        header = ",".join("X%d" % i for i in range(p))
        np.savetxt(os.path.join(folder, "spd%d.csv" % p), table(p), delimiter=",", fmt="%.6g", header=header, comments="")
