"""The same discovery work here and in the peers, alternating in one run, one thread each; then ours with two threads
against one. Prints a JSON row per comparison (ratio = the other's median / our median), every sample on stderr.

usage: compare.py time_discovery [ROUNDS] [WORK ...]     WORK: names out of the tables below; all by default
`run` beside this file builds the program and starts this. A quiet machine, please."""
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ALARM = os.path.join(HERE, "../../../crates/causal/tests/golden/alarm2000.csv")
# name: (our task, variables, [(peer, its task, repeats inside a process: andrey compiles on its first call)])
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
# The growth of our cost, and what a second thread gives. name: (our task, variables, repeats)
GROWTH = {
    f"{task}-{p}-threads": (task, p, 3 if p < 1000 else 1) for task in ("pc", "ges-ebic") for p in (100, 300, 1000)
} | {"alarm-gsq-threads": ("pc-gsq", None, 11)}
MODULES = {"causal-learn": "causallearn", "andrey": "andrey", "pgmpy": "pgmpy", "ges": "ges"}


def line(command, threads=1):
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit("%s failed:\n%s" % (" ".join(map(str, command)), done.stderr[-2000:]))
    return json.loads(done.stdout.strip().splitlines()[-1])


def median(values):
    return sorted(values)[len(values) // 2]


def row(work, threads, ours, peer, version, theirs):
    print(work, peer, "ours", ours, "peer", theirs, file=sys.stderr, flush=True)
    fields = dict(area="causal", work=work, threads=threads, ours_ms=median(ours), peer=peer, peer_version=version)
    print(json.dumps(dict(fields, peer_ms=median(theirs), ratio=median(theirs) / median(ours))), flush=True)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    binary, rounds = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    names = sys.argv[3:] or list(WORK) + list(GROWTH)
    for name in names:
        if name not in WORK and name not in GROWTH:
            sys.exit("no work called %s; there is: %s" % (name, ", ".join(list(WORK) + list(GROWTH))))
    missing = {p for n in names if n in WORK for p, _, _ in WORK[n][2] if not importlib.util.find_spec(MODULES[p])}
    if missing:
        sys.exit("%s lacks %s: see requirements.txt" % (sys.executable, ", ".join(sorted(missing))))
    with tempfile.TemporaryDirectory() as folder:
        sizes = sorted({(WORK | GROWTH)[n][1] for n in names} - {None})
        if sizes:
            subprocess.run([sys.executable, os.path.join(HERE, "data.py"), folder] + [str(p) for p in sizes], check=True)
        path = lambda p: os.path.join(folder, "spd%d.csv" % p) if p else ALARM
        for name in [n for n in names if n in WORK]:
            task, size, peers = WORK[name]
            for peer, peer_task, repeats in peers:
                ours, theirs = [], []
                for _ in range(rounds):
                    ours.append(line([binary, task, path(size), 11])["median_ms"])
                    command = [sys.executable, os.path.join(HERE, "peer.py"), peer, peer_task, path(size), repeats]
                    theirs.append(line(command))
                row(name, 1, ours, theirs[0]["peer"], theirs[0]["peer_version"], [t["median_ms"] for t in theirs])
        for name in [n for n in names if n in GROWTH]:
            task, size, repeats = GROWTH[name]
            one, two = [], []
            for _ in range(rounds):
                one.append(line([binary, task, path(size), repeats], threads=1)["median_ms"])
                two.append(line([binary, task, path(size), repeats], threads=2)["median_ms"])
            row(name, 2, two, "ourselves on 1 thread", "", one)


main()
