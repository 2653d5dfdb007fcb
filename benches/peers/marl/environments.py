"""Steps per second of the Python environments: one process, random discrete actions, observations of every step built.

usage: environments.py [SECONDS]; prints one JSON object per line. The same work natively:
`cargo run --release -p marl --no-default-features --example environment_speed -- [SECONDS]`.
"""

import importlib
import json
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np

warnings.filterwarnings("ignore")
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0


def report(work, package, steps, seconds):
    print(json.dumps({"work": work, "peer": package, "peer_version": version(package), "steps_per_second": steps / seconds}), flush=True)


def particle(name):
    env = importlib.import_module(f"mpe2.{name}_v3").parallel_env()
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    spaces = {agent: int(env.action_space(agent).n) for agent in env.possible_agents}
    steps, begin = 0, time.process_time()
    while time.process_time() - begin < SECONDS:
        if not env.agents:
            env.reset()
        env.step({agent: int(rng.integers(spaces[agent])) for agent in env.agents})
        steps += 1
    report(name, "mpe2", steps, time.process_time() - begin)


def foraging(name):
    import gymnasium
    import lbforaging  # noqa: F401  (registers the environments)

    env = gymnasium.make(name, disable_env_checker=True).unwrapped
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    steps, begin = 0, time.process_time()
    while time.process_time() - begin < SECONDS:
        _, _, done, truncated, _ = env.step([int(a) for a in rng.integers(6, size=len(env.players))])
        if done or truncated:
            env.reset()
        steps += 1
    report(name, "lbforaging", steps, time.process_time() - begin)


for world in ("simple_spread", "simple_tag"):
    particle(world)
foraging("Foraging-8x8-2p-2f-coop-v3")
