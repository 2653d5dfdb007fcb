"""Interquartile mean, performance profiles, probability of improvement and stratified bootstrap intervals by the
package of Agarwal et al. (2021).

    pip install rliable==1.2.0 "pandas<3" && python gen_statistics.py > statistics.json
"""

import json

import numpy as np
from rliable import library, metrics

rng = np.random.default_rng(7)


def scores(runs, tasks):
    """[runs, tasks], with ties."""
    return np.round(rng.normal(loc=np.arange(tasks), scale=1.5, size=(runs, tasks)), 1)


cases = []
for runs, tasks in [(5, 1), (3, 4), (10, 3), (8, 7)]:
    x, y = scores(runs, tasks), scores(runs, tasks) + 0.3
    thresholds = np.linspace(-3, 9, 13)
    profile, _ = library.create_performance_profile({"x": x}, thresholds, reps=2)
    iqm = lambda s: np.array([metrics.aggregate_iqm(s)])
    _, interval = library.get_interval_estimates({"x": x}, iqm, reps=50_000)
    cases.append({
        "x": x.T.tolist(),
        "y": y.T.tolist(),
        "iqm": float(metrics.aggregate_iqm(x)),
        "mean": float(metrics.aggregate_mean(x)),
        "thresholds": thresholds.tolist(),
        "profile": np.asarray(profile["x"]).tolist(),
        "probability_of_improvement": float(metrics.probability_of_improvement(x, y)),
        "iqm_interval_95": interval["x"][:, 0].tolist(),
    })
print(json.dumps({"package": "rliable 1.2.0", "cases": cases}))
