"""One discovery task by one peer in this process, on one thread. Prints a JSON line with the milliseconds from the table
in memory to the graph; imports are not counted.
usage: peer.py PEER TASK FILE.csv [REPEATS]
  causal-learn  pc, ges, pc-gsq      pgmpy  pc-chi2      andrey  pc, ges, pc-gsq      ges  ges"""
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
import importlib.metadata
import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import pandas as pd

peer, task, path = sys.argv[1:4]
repeats = int(sys.argv[4]) if len(sys.argv) > 4 else 1
frame = pd.read_csv(path)
values = frame.to_numpy()
package = {"andrey": "andrey-core"}.get(peer, peer)

if peer == "causal-learn" and task.startswith("pc"):
    from causallearn.search.ConstraintBased.PC import pc

    test = "gsq" if task == "pc-gsq" else "fisherz"
    run = lambda: pc(values, 0.05, test, True, 0, 2, show_progress=False)
elif peer == "causal-learn":
    from causallearn.search.ScoreBased.GES import ges

    run = lambda: ges(values, "local_score_BIC")
elif peer == "pgmpy":
    from pgmpy.causal_discovery import PC

    settings = dict(variant="stable", ci_test="chi_square", significance_level=0.05, show_progress=False, n_jobs=1)
    run = lambda: PC(**settings).fit(frame)
elif peer == "andrey":
    import andrey

    data = frame.astype("category") if task == "pc-gsq" else values
    run = (lambda: andrey.ges(data)) if task == "ges" else (lambda: andrey.pc(data, alpha=0.05))
elif peer == "ges":
    import ges

    run = lambda: ges.fit_bic(values)
else:
    sys.exit(__doc__)

times = []
for _ in range(repeats):
    start = time.perf_counter()
    run()
    times.append((time.perf_counter() - start) * 1e3)
median = sorted(times)[len(times) // 2]
print(json.dumps({"peer": package, "peer_version": importlib.metadata.version(package), "task": task, "first_ms": times[0], "median_ms": median}))
