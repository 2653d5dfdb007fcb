"""The same discovery work here and in the peers, alternating in one run, one thread each; prints a JSON list of ratios
(peer's median / our median) and every sample on stderr.

  python3 -m venv venv && venv/bin/pip install -r benches/peers/causal/requirements.txt
  cargo build --release -p causal --no-default-features --example time_discovery
  venv/bin/python benches/peers/causal/run.py target/release/examples/time_discovery [ROUNDS] [WORK ...]

WORK is a name out of the table below; all by default. A quiet machine, please."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ALARM = os.path.join(HERE, "../../../crates/causal/tests/golden/alarm2000.csv")
# name: (our task, data, [(peer, its task, repeats inside a process: andrey compiles on its first call)])
WORK = {
    "pc-30": ("pc", 30, [("causal-learn", "pc", 1), ("andrey", "pc", 3)]),
    "pc-50": ("pc", 50, [("causal-learn", "pc", 1), ("andrey", "pc", 3)]),
    "pc-100": ("pc", 100, [("causal-learn", "pc", 1), ("andrey", "pc", 3)]),
    "ges-20": ("ges", 20, [("causal-learn", "ges", 1), ("andrey", "ges", 3), ("ges", "ges", 1)]),
    "ges-30": ("ges", 30, [("causal-learn", "ges", 1), ("andrey", "ges", 3)]),
    "ges-50": ("ges", 50, [("causal-learn", "ges", 1), ("andrey", "ges", 3)]),
    "ges-100": ("ges", 100, [("causal-learn", "ges", 1), ("andrey", "ges", 3)]),
    "alarm-gsq": ("pc-gsq", None, [("causal-learn", "pc-gsq", 1), ("andrey", "pc-gsq", 3)]),
    "alarm-chi2": ("pc-chi2", None, [("pgmpy", "pc-chi2", 1)]),
}


def line(command):
    environment = dict(os.environ, RAYON_NUM_THREADS="1")
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return json.loads(out.strip().splitlines()[-1])


def median(values):
    return sorted(values)[len(values) // 2]


binary = sys.argv[1] if len(sys.argv) > 1 else sys.exit(__doc__)
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
names = sys.argv[3:] or list(WORK)
rows = []
with tempfile.TemporaryDirectory() as folder:
    sizes = sorted({WORK[n][1] for n in names if WORK[n][1]})
    subprocess.run([sys.executable, os.path.join(HERE, "data.py"), folder] + [str(p) for p in sizes], check=True)
    for name in names:
        task, size, peers = WORK[name]
        path = os.path.join(folder, "spd%d.csv" % size) if size else ALARM
        for peer, peer_task, repeats in peers:
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(line([binary, task, path, "11"])["median_ms"])
                theirs.append(line([sys.executable, os.path.join(HERE, "peer.py"), peer, peer_task, path, str(repeats)]))
            samples = [t["median_ms"] for t in theirs]
            print(name, peer, "ours", ours, "peer", samples, file=sys.stderr)
            rows.append(dict(area="causal", work=name, threads=1, ours_ms=median(ours), peer=theirs[0]["peer"],
                             peer_version=theirs[0]["peer_version"], peer_ms=median(samples), ratio=median(samples) / median(ours)))
print(json.dumps(rows, indent=1))
