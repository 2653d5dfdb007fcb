"""The peers' side: mpe2 and lbforaging with random actions, and the same learning in PyTorch and numpy on CPU.

    peer.py WORK THREADS ROUNDS [SCALE]

Prints {work, package, version, ms}: milliseconds of every round but a first one that warms up. Works as in
crates/marl/examples/peers.rs; SCALE divides the amount of work.
"""

import importlib
import json
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np

warnings.filterwarnings("ignore")
AGENTS, WIDTH = 3, 64
ARENA = {"observation": 6, "action": 2, "hidden": 256, "batch": 64, "rate": 1e-3, "clip": 1.0, "gamma": 0.99, "squash": "tanh", "parameters": (68_098, 86_465)}
COOPERATIVE = ARENA | {"hidden": 64, "batch": 256, "clip": 0.5, "gamma": 0.95, "parameters": (4_738, 10_625)}
SPREAD = {"observation": 18, "action": 5, "hidden": 64, "batch": 1024, "rate": 1e-2, "clip": 0.5, "gamma": 0.95, "squash": "sigmoid", "parameters": (5_701, 14_465)}


def particle(name, steps):
    env = importlib.import_module(f"mpe2.{name}_v3").parallel_env()
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    spaces = {agent: int(env.action_space(agent).n) for agent in env.possible_agents}

    def work():
        for _ in range(steps):
            if not env.agents:
                env.reset()
            env.step({agent: int(rng.integers(spaces[agent])) for agent in env.agents})

    return work


def foraging(steps):
    import gymnasium
    import lbforaging  # noqa: F401  (registers the environments)

    env = gymnasium.make("Foraging-8x8-2p-2f-coop-v3", disable_env_checker=True).unwrapped
    rng = np.random.default_rng(0)
    env.reset(seed=0)

    def work():
        for _ in range(steps):
            _, _, done, truncated, _ = env.step([int(a) for a in rng.integers(6, size=len(env.players))])
            if done or truncated:
                env.reset()

    return work


class Arena:
    """PointArena's cooperative task in numpy."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.reset()

    def reset(self):
        self.state, self.t = self.rng.uniform(-2, 2, (AGENTS, 6)), 0
        return self.observe()

    def observe(self):
        return (self.state + self.rng.normal(0, 0.1, self.state.shape)).astype(np.float32)

    def step(self, actions):
        s = self.state
        s[:, 2:4] = 0.9 * (s[:, 2:4] + 0.1 * np.clip(actions, -1, 1))
        s[:, :2] += 0.1 * s[:, 2:4]
        s += self.rng.normal(0, 0.02, s.shape)
        p = s[:, :2]
        gaps = np.linalg.norm(p[:, None] - p[None], axis=-1).sum(1)
        self.t += 1
        over = self.t >= 200 or bool((np.linalg.norm(p, axis=1) > 5).any())
        return self.observe(), -np.linalg.norm(p, axis=1) - 0.05 * gaps, over


class Spread:
    """mpe2's simple_spread with continuous actions, observations stacked."""

    def __init__(self):
        self.env = importlib.import_module("mpe2.simple_spread_v3").parallel_env(continuous_actions=True)
        self.env.reset(seed=0)
        self.names = self.env.possible_agents

    def reset(self):
        return np.stack([row for row in self.env.reset()[0].values()])

    def step(self, actions):
        after, rewards, _, _, _ = self.env.step(dict(zip(self.names, actions)))
        over = not self.env.agents
        return np.stack([after[name] for name in self.names]), np.array([rewards[name] for name in self.names]), over


class Maddpg:
    """Attention critics per agent: see README.md for the two sets of sizes."""

    def __init__(self, sizes):
        import torch
        from torch import nn

        self.torch, self.nn, self.sizes = torch, nn, sizes
        observation, action, hidden, rate = (sizes[name] for name in ("observation", "action", "hidden", "rate"))

        def mlp(*widths, last=None):
            layers = []
            for a, b in zip(widths, widths[1:]):
                layers += [nn.Linear(a, b), nn.ReLU()]
            return nn.Sequential(*layers[:-1], *([last] if last else []))

        class Critic(nn.Module):
            def __init__(self):
                super().__init__()
                entity = observation + action
                self.query, self.key, self.value = (nn.Linear(entity, WIDTH) for _ in range(3))
                self.head = mlp(WIDTH + entity, hidden, hidden, 1)

            def forward(self, everyone, agent):
                own = everyone[:, agent]
                scores = torch.bmm(self.key(everyone), self.query(own).unsqueeze(-1)).squeeze(-1) / WIDTH**0.5
                attended = torch.bmm(torch.softmax(scores, -1).unsqueeze(1), self.value(everyone)).squeeze(1)
                return self.head(torch.cat([attended, own], -1)).squeeze(-1)

        last = nn.Tanh() if sizes["squash"] == "tanh" else nn.Sigmoid()
        make_actor = lambda: mlp(observation, hidden, hidden, action, last=last)  # noqa: E731
        self.actors, self.critics = [make_actor() for _ in range(AGENTS)], [Critic() for _ in range(AGENTS)]
        self.target_actors, self.target_critics = [make_actor() for _ in range(AGENTS)], [Critic() for _ in range(AGENTS)]
        for online, target in zip(self.actors + self.critics, self.target_actors + self.target_critics):
            target.load_state_dict(online.state_dict())
        actor, critic = (sum(p.numel() for p in m.parameters()) for m in (self.actors[0], self.critics[0]))
        assert (actor, critic) == sizes["parameters"], (actor, critic)
        adam = lambda m: torch.optim.Adam(m.parameters(), lr=rate)  # noqa: E731
        self.actor_steps, self.critic_steps = [adam(m) for m in self.actors], [adam(m) for m in self.critics]
        self.rng, self.size, self.at = np.random.default_rng(1), 0, 0
        shape = (100_000, AGENTS)
        self.o, self.n = np.zeros((*shape, observation), np.float32), np.zeros((*shape, observation), np.float32)
        self.a, self.r, self.d = np.zeros((*shape, action), np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def act(self, observation):
        with self.torch.no_grad():
            rows = self.torch.from_numpy(observation)
            actions = np.stack([actor(rows[i]).numpy() for i, actor in enumerate(self.actors)])
        low, spread = (-1, 0.1) if self.sizes["squash"] == "tanh" else (0, 0.05)
        return np.clip(actions + self.rng.normal(0, spread, actions.shape), low, 1).astype(np.float32)

    def store(self, o, a, r, n, d):
        i = self.at % len(self.o)
        self.o[i], self.a[i], self.r[i], self.n[i], self.d[i] = o, a, r, n, d
        self.at, self.size = self.at + 1, min(self.at + 1, len(self.o))

    def update(self):
        torch, nn = self.torch, self.nn
        gamma, clip = self.sizes["gamma"], self.sizes["clip"]
        rows = self.rng.integers(self.size, size=self.sizes["batch"])
        o, a, r, n, d = (torch.from_numpy(x[rows]) for x in (self.o, self.a, self.r, self.n, self.d))
        with torch.no_grad():
            next_actions = torch.stack([actor(n[:, i]) for i, actor in enumerate(self.target_actors)], 1)
            after = torch.cat([n, next_actions], -1)
        now = torch.cat([o, a], -1)
        for i in range(AGENTS):
            with torch.no_grad():
                y = r[:, i] + gamma * (1 - d[:, i]) * self.target_critics[i](after, i)
            loss = nn.functional.mse_loss(self.critics[i](now, i), y)
            self.critic_steps[i].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.critics[i].parameters(), clip)
            self.critic_steps[i].step()
            loss.item()
        for i in range(AGENTS):
            own = torch.cat([o[:, i], self.actors[i](o[:, i])], -1)
            everyone = torch.cat([now[:, :i], own.unsqueeze(1), now[:, i + 1 :]], 1)
            loss = -self.critics[i](everyone, i).mean()
            self.actor_steps[i].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.actors[i].parameters(), clip)
            self.actor_steps[i].step()
            loss.item()
        with torch.no_grad():
            for online, target in zip(self.actors + self.critics, self.target_actors + self.target_critics):
                for p, q in zip(online.parameters(), target.parameters()):
                    q.lerp_(p, 0.01)


def maddpg(sizes, world, steps, update_every, first):
    """`steps` environment steps, with a joint update every so many of them, after `first` to begin with."""
    learner, world = Maddpg(sizes), world()
    observation, count = world.reset(), 0

    def step():
        nonlocal observation, count
        actions = learner.act(observation)
        after, rewards, over = world.step(actions)
        learner.store(observation, actions, rewards, after, False)
        observation = world.reset() if over else after
        count += 1
        if count > sizes["batch"] and count % update_every == 0:
            learner.update()

    for _ in range(first):
        step()

    def work():
        for _ in range(steps):
            step()

    return work


class Mappo:
    """Spread's sizes: actor 21-64-64-5, critic 57-64-64-1, layer normalisation; identities behind the inputs."""

    def __init__(self):
        import torch
        from torch import nn

        def network(inputs, outputs):
            hidden = lambda a, b: [nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU()]  # noqa: E731
            return nn.Sequential(*hidden(inputs, 64), *hidden(64, 64), nn.Linear(64, outputs))

        self.torch, self.nn = torch, nn
        self.actor, self.critic = network(18 + 3, 5), network(54 + 3, 1)
        self.adams = [torch.optim.Adam(m.parameters(), lr=7e-4, eps=1e-5) for m in (self.actor, self.critic)]

    def act(self, rows):
        """Actions and their log-probabilities of rows [R, 21]."""
        with self.torch.no_grad():
            policy = self.torch.distributions.Categorical(logits=self.actor(rows))
            actions = policy.sample()
            return actions, policy.log_prob(actions)

    def update(self, seen, joint, after, rewards, actions, old):
        """Ten passes over T x R rows: seen [T R, 21], joint and after [T R, 57], rewards [T, R]."""
        torch, nn = self.torch, self.nn
        steps = len(rewards)
        with torch.no_grad():
            values, following = self.critic(joint).view(steps, -1), self.critic(after).view(steps, -1)
            advantages, last = torch.zeros_like(rewards), torch.zeros(rewards.shape[1])
            for t in reversed(range(steps)):
                last = rewards[t] + 0.99 * following[t] - values[t] + (0.99 * 0.95 * last if t < steps - 1 else 0.0)
                advantages[t] = last
            returns = (advantages + values).flatten()
            returns = (returns - returns.mean()) / returns.std()
            advantages = advantages.flatten()
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-5)
            before = values.flatten()
        for _ in range(10):
            policy = torch.distributions.Categorical(logits=self.actor(seen))
            ratio = (policy.log_prob(actions) - old).exp()
            gain = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
            loss = -gain.mean() - 0.01 * policy.entropy().mean()
            self.adams[0].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.actor.parameters(), 10.0)
            self.adams[0].step()
            v = self.critic(joint).squeeze(-1)
            near = before + (v - before).clamp(-0.2, 0.2)
            huber = lambda x: nn.functional.huber_loss(x, returns, reduction="none", delta=10.0)  # noqa: E731
            loss = torch.max(huber(v), huber(near)).mean()
            self.adams[1].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.critic.parameters(), 10.0)
            self.adams[1].step()
            loss.item()


def mappo(copies):
    """One update on random rows of `copies` x 25 steps x 3 agents."""
    learner, rows = Mappo(), copies * 25 * 3
    torch = learner.torch
    seen, joint = torch.randn(rows, 21), torch.randn(rows, 57)
    after, rewards = torch.randn(rows, 57), torch.randn(25, rows // 25)
    actions, old = learner.act(seen)
    return lambda: learner.update(seen, joint, after, rewards, actions, old)


def mappo_training(copies):
    """A rollout of 25 steps in `copies` copies of mpe2's simple_spread, one after another, and the update."""
    learner = Mappo()
    torch = learner.torch
    envs = [importlib.import_module("mpe2.simple_spread_v3").parallel_env() for _ in range(copies)]
    names = envs[0].possible_agents
    identity = np.tile(np.eye(3, dtype=np.float32), (copies, 1))

    def look(rows):
        """Rows [copies, 3, 18] as inputs of actor and critic."""
        joint = np.repeat(rows.reshape(copies, 54), 3, axis=0)
        own = rows.reshape(copies * 3, 18)
        return [torch.from_numpy(np.concatenate([part, identity], 1)) for part in (own, joint)]

    def work():
        now = np.stack([[row for row in env.reset()[0].values()] for env in envs])
        seen, joint, after, rewards, actions, old = ([] for _ in range(6))
        for _ in range(25):
            own, all_now = look(now)
            chosen, log_prob = learner.act(own)
            moves = chosen.view(copies, 3).tolist()
            results = [env.step(dict(zip(names, move))) for env, move in zip(envs, moves)]
            now = np.stack([[result[0][name] for name in names] for result in results])
            rewards.append(torch.tensor([result[1][name] for result in results for name in names], dtype=torch.float32))
            seen.append(own), joint.append(all_now), after.append(look(now)[1]), actions.append(chosen), old.append(log_prob)
        cat = torch.cat
        learner.update(cat(seen), cat(joint), cat(after), torch.stack(rewards), cat(actions), cat(old))

    return work


def main():
    work, threads, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    scale = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    few = 25_000 // scale
    learning = work.startswith(("maddpg", "mappo")) or work == "arena-training"
    if learning:
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.manual_seed(0)
    run = {
        "spread": lambda: particle("simple_spread", few),
        "tag": lambda: particle("simple_tag", few),
        "foraging": lambda: foraging(few),
        "maddpg": lambda: maddpg(ARENA, Arena, max(20 // scale, 1), 1, 500),
        "maddpg-training": lambda: maddpg(SPREAD, Spread, max(1_000 // scale, 100), 100, 1_100),
        "arena-training": lambda: maddpg(COOPERATIVE, Arena, max(1_000 // scale, 100), 20, 300),
        "mappo": lambda: mappo(max(128 // scale, 1)),
        "mappo-training": lambda: mappo_training(10),
    }[work]()
    milliseconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    package = "torch" if learning else "lbforaging" if work == "foraging" else "mpe2"
    print(json.dumps({"work": work, "package": package, "version": version(package), "ms": milliseconds[1:]}))


if __name__ == "__main__":
    main()
