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
AGENTS, OBSERVATION, ACTION, BATCH, WIDTH = 3, 6, 2, 64, 64


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
        self.state, self.t = self.rng.uniform(-2, 2, (AGENTS, OBSERVATION)), 0
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


class Maddpg:
    """Attention critics per agent, networks of 256-256, batch 64, Adam 1e-3, clipped at 1: see README.md."""

    def __init__(self):
        import torch
        from torch import nn

        self.torch, self.nn = torch, nn

        def mlp(*widths, last=None):
            layers = []
            for a, b in zip(widths, widths[1:]):
                layers += [nn.Linear(a, b), nn.ReLU()]
            return nn.Sequential(*layers[:-1], *([last] if last else []))

        class Critic(nn.Module):
            def __init__(self):
                super().__init__()
                entity = OBSERVATION + ACTION
                self.query, self.key, self.value = (nn.Linear(entity, WIDTH) for _ in range(3))
                self.head = mlp(WIDTH + entity, 256, 256, 1)

            def forward(self, everyone, agent):
                own = everyone[:, agent]
                scores = torch.bmm(self.key(everyone), self.query(own).unsqueeze(-1)).squeeze(-1) / WIDTH**0.5
                attended = torch.bmm(torch.softmax(scores, -1).unsqueeze(1), self.value(everyone)).squeeze(1)
                return self.head(torch.cat([attended, own], -1)).squeeze(-1)

        make_actor = lambda: mlp(OBSERVATION, 256, 256, ACTION, last=nn.Tanh())  # noqa: E731
        self.actors, self.critics = [make_actor() for _ in range(AGENTS)], [Critic() for _ in range(AGENTS)]
        self.target_actors, self.target_critics = [make_actor() for _ in range(AGENTS)], [Critic() for _ in range(AGENTS)]
        for online, target in zip(self.actors + self.critics, self.target_actors + self.target_critics):
            target.load_state_dict(online.state_dict())
        actor, critic = (sum(p.numel() for p in m.parameters()) for m in (self.actors[0], self.critics[0]))
        assert (actor, critic) == (68_098, 86_465), (actor, critic)
        adam = lambda m: torch.optim.Adam(m.parameters(), lr=1e-3)  # noqa: E731
        self.actor_steps, self.critic_steps = [adam(m) for m in self.actors], [adam(m) for m in self.critics]
        self.rng, self.size, self.at = np.random.default_rng(1), 0, 0
        shape = (100_000, AGENTS)
        self.o, self.n = np.zeros((*shape, OBSERVATION), np.float32), np.zeros((*shape, OBSERVATION), np.float32)
        self.a, self.r, self.d = np.zeros((*shape, ACTION), np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def act(self, observation):
        with self.torch.no_grad():
            rows = self.torch.from_numpy(observation)
            actions = np.stack([actor(rows[i]).numpy() for i, actor in enumerate(self.actors)])
        return np.clip(actions + self.rng.normal(0, 0.1, actions.shape), -1, 1).astype(np.float32)

    def store(self, o, a, r, n, d):
        i = self.at % len(self.o)
        self.o[i], self.a[i], self.r[i], self.n[i], self.d[i] = o, a, r, n, d
        self.at, self.size = self.at + 1, min(self.at + 1, len(self.o))

    def update(self):
        torch, nn = self.torch, self.nn
        rows = self.rng.integers(self.size, size=BATCH)
        o, a, r, n, d = (torch.from_numpy(x[rows]) for x in (self.o, self.a, self.r, self.n, self.d))
        with torch.no_grad():
            next_actions = torch.stack([actor(n[:, i]) for i, actor in enumerate(self.target_actors)], 1)
            after = torch.cat([n, next_actions], -1)
        now = torch.cat([o, a], -1)
        for i in range(AGENTS):
            with torch.no_grad():
                y = r[:, i] + 0.99 * (1 - d[:, i]) * self.target_critics[i](after, i)
            loss = nn.functional.mse_loss(self.critics[i](now, i), y)
            self.critic_steps[i].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.critics[i].parameters(), 1.0)
            self.critic_steps[i].step()
            loss.item()
        for i in range(AGENTS):
            own = torch.cat([o[:, i], self.actors[i](o[:, i])], -1)
            everyone = torch.cat([now[:, :i], own.unsqueeze(1), now[:, i + 1 :]], 1)
            loss = -self.critics[i](everyone, i).mean()
            self.actor_steps[i].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.actors[i].parameters(), 1.0)
            self.actor_steps[i].step()
            loss.item()
        with torch.no_grad():
            for online, target in zip(self.actors + self.critics, self.target_actors + self.target_critics):
                for p, q in zip(online.parameters(), target.parameters()):
                    q.lerp_(p, 0.01)


def maddpg(steps, update_every):
    learner, arena = Maddpg(), Arena()
    observation, count = arena.reset(), 0

    def step():
        nonlocal observation, count
        actions = learner.act(observation)
        after, rewards, over = arena.step(actions)
        learner.store(observation, actions, rewards, after, False)
        observation = arena.reset() if over else after
        count += 1
        if count > BATCH and count % update_every == 0:
            learner.update()

    if update_every == 1:
        for _ in range(500):
            step()

    def work():
        for _ in range(steps):
            step()

    return work


def mappo(copies):
    """Ten passes over copies x 25 x 3 rows: spread's sizes, actor 21-64-64-5, critic 57-64-64-1, layer normalisation."""
    import torch
    from torch import nn

    rows = copies * 25 * 3

    def network(inputs, outputs):
        hidden = lambda a, b: [nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU()]  # noqa: E731
        return nn.Sequential(*hidden(inputs, 64), *hidden(64, 64), nn.Linear(64, outputs))

    actor, critic = network(18 + 3, 5), network(54 + 3, 1)
    adams = [torch.optim.Adam(m.parameters(), lr=7e-4, eps=1e-5) for m in (actor, critic)]
    seen, joint = torch.randn(rows, 21), torch.randn(rows, 57)
    after, rewards = torch.randn(rows, 57), torch.randn(25, rows // 25)
    with torch.no_grad():
        policy = torch.distributions.Categorical(logits=actor(seen))
        actions = policy.sample()
        old = policy.log_prob(actions)

    def work():
        with torch.no_grad():
            values, following = critic(joint).view(25, -1), critic(after).view(25, -1)
            advantages, last = torch.zeros_like(rewards), torch.zeros(rewards.shape[1])
            for t in reversed(range(25)):
                last = rewards[t] + 0.99 * following[t] - values[t] + (0.99 * 0.95 * last if t < 24 else 0.0)
                advantages[t] = last
            returns = (advantages + values).flatten()
            returns = (returns - returns.mean()) / returns.std()
            advantages = advantages.flatten()
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-5)
            before = values.flatten()
        for _ in range(10):
            policy = torch.distributions.Categorical(logits=actor(seen))
            ratio = (policy.log_prob(actions) - old).exp()
            gain = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
            loss = -gain.mean() - 0.01 * policy.entropy().mean()
            adams[0].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(actor.parameters(), 10.0)
            adams[0].step()
            v = critic(joint).squeeze(-1)
            near = before + (v - before).clamp(-0.2, 0.2)
            huber = lambda x: nn.functional.huber_loss(x, returns, reduction="none", delta=10.0)  # noqa: E731
            loss = torch.max(huber(v), huber(near)).mean()
            adams[1].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(critic.parameters(), 10.0)
            adams[1].step()
            loss.item()

    return work


def main():
    work, threads, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    scale = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    few = 25_000 // scale
    learning = work in ("maddpg", "training", "mappo")
    if learning:
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.manual_seed(0)
    run = {
        "spread": lambda: particle("simple_spread", few),
        "tag": lambda: particle("simple_tag", few),
        "foraging": lambda: foraging(few),
        "maddpg": lambda: maddpg(max(20 // scale, 1), 1),
        "training": lambda: maddpg(max(200 // scale, 4), 4),
        "mappo": lambda: mappo(max(128 // scale, 1)),
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
