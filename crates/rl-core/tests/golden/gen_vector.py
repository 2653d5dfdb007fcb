"""Batches of gymnasium's SyncVectorEnv in its three autoreset modes. usage: gen_vector.py OUTDIR SEED

Per mode: 3 copies of CartPole-v1, reset(seed=SEED), then fixed random actions; in DISABLED mode the copies that are over are
reset by reset_mask before each step. Floats are float32 widened to f64; final_obs is null where no episode ended."""
import json, os, sys
import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

OUT, SEED, N, STEPS = sys.argv[1], int(sys.argv[2]), 3, 120
modes = {}
for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
    env = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * N, autoreset_mode=mode)
    rng = np.random.default_rng(SEED)
    obs, _ = env.reset(seed=SEED)
    first, steps, done = obs.astype(float).tolist(), [], np.zeros(N, bool)
    for _ in range(STEPS):
        if mode == AutoresetMode.DISABLED and done.any():
            env.reset(options={"reset_mask": done})
        actions = rng.integers(0, 2, N)
        obs, rewards, terminated, truncated, info = env.step(actions)
        done = terminated | truncated
        final = [None] * N
        if "final_obs" in info:
            final = [None if o is None else np.asarray(o, float).tolist() for o in info["final_obs"]]
        steps.append(dict(actions=actions.tolist(), obs=obs.astype(float).tolist(), rewards=rewards.tolist(),
                          terminated=terminated.tolist(), truncated=truncated.tolist(), final_obs=final))
    modes[mode.name] = dict(first=first, steps=steps)
json.dump(dict(env="CartPole-v1", seed=SEED, copies=N, gymnasium=gym.__version__, modes=modes),
          open(os.path.join(OUT, "vector_CartPole-v1.json"), "w"))
