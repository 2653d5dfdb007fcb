"""The peer's side: a recurrent state-space model of 601,830 parameters in PyTorch on CPU, trained and planned with.

    pytorch_side.py train-per-step|train-time-batched|plan|ensemble|dreamer|tdmpc|i2a THREADS ROUNDS

Prints one JSON object {work, threads, parameters, torch, ms}: milliseconds of every round but a first one that warms
up. A training round is 54 batches of 16 sequences x 15 steps of random data (Adam 1e-3, global norm clipped to 1, loss
read back after every batch); a planning round is one plan of 500 candidates x 8 steps x 5 iterations; an
ensemble round is 200 updates of five members of 2 x 64 on 64 random transitions each. The agents' rounds are described in
pytorch_agents.py.

per-step       as tutorials write it: encoder, GRU, posterior, prior and all heads inside the time loop, 16 rows each;
               the continue head is computed and gets no loss.
time-batched   encoder, the embedding half of the posterior, prior, decoder and reward head once at 240 rows; only
               the GRU, the hidden half of the posterior and the sample in the loop; no continue head.
"""

import json
import sys
import time

import pytorch_agents as agents
import torch
from torch import nn
from torch.nn import functional as F

OBSERVATION, ACTION, STOCH, DETER, EMBEDDING = 4, 2, 20, 100, 256
BATCHES, BATCH, STEPS = 54, 16, 15
CANDIDATES, HORIZON, ITERATIONS, ELITES, DISCOUNT = 500, 8, 5, 50, 0.99


def mlp(*widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Rssm(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = mlp(OBSERVATION, 256, 512, EMBEDDING)
        self.gru = nn.GRUCell(STOCH + ACTION, DETER)
        self.prior = nn.Linear(DETER, 2 * STOCH)
        self.posterior = nn.Linear(DETER + EMBEDDING, 2 * STOCH)
        self.decoder = mlp(STOCH + DETER, 512, 256, OBSERVATION)
        self.reward = mlp(STOCH + DETER, 256, 128, 1)
        self.go_on = mlp(STOCH + DETER, 128, 64, 1)
        parameters = sum(p.numel() for p in self.parameters())
        assert parameters == 601_830, parameters


def sample(statistics):
    mean, log_std = statistics.chunk(2, -1)
    return mean + log_std.exp() * torch.randn_like(mean)


def divergence(posterior, prior):
    """KL(posterior || prior), summed over the dimensions."""
    q_mean, q_log = posterior.chunk(2, -1)
    p_mean, p_log = prior.chunk(2, -1)
    ratio = ((2 * q_log).exp() + (q_mean - p_mean) ** 2) / (2 * p_log).exp()
    return (p_log - q_log + 0.5 * (ratio - 1)).sum(-1)


def previous(actions):
    """a_{t-1}: zero at the first step; time-major."""
    return torch.cat([torch.zeros_like(actions[:1]), actions[:-1]])


def loss_per_step(model, observations, actions, rewards):
    h, s = torch.zeros(BATCH, DETER), torch.zeros(BATCH, STOCH)
    total = 0.0
    before = previous(actions)
    for t in range(STEPS):
        embedded = model.encoder(observations[t])
        h = model.gru(torch.cat([s, before[t]], -1), h)
        posterior = model.posterior(torch.cat([h, embedded], -1))
        s = sample(posterior)
        prior = model.prior(h)
        feature = torch.cat([s, h], -1)
        decoded, reward = model.decoder(feature), model.reward(feature)
        torch.sigmoid(model.go_on(feature))
        total = total + F.mse_loss(decoded, observations[t + 1])
        total = total + 0.1 * divergence(posterior, prior).mean()
        total = total + F.mse_loss(reward.squeeze(-1), rewards[t])
    return total / STEPS


def loss_time_batched(model, observations, actions, rewards):
    from_hidden, from_embedding = model.posterior.weight.split([DETER, EMBEDDING], 1)
    embedded = model.encoder(observations[:-1].flatten(0, 1))
    embedded = F.linear(embedded, from_embedding, model.posterior.bias).view(STEPS, BATCH, -1)
    h, s = torch.zeros(BATCH, DETER), torch.zeros(BATCH, STOCH)
    before = previous(actions)
    posteriors, states, hidden = [], [], []
    for t in range(STEPS):
        h = model.gru(torch.cat([s, before[t]], -1), h)
        posterior = embedded[t] + F.linear(h, from_hidden)
        s = sample(posterior)
        posteriors.append(posterior), states.append(s), hidden.append(h)
    h, s, posterior = torch.cat(hidden), torch.cat(states), torch.cat(posteriors)
    feature = torch.cat([s, h], -1)
    total = F.mse_loss(model.decoder(feature), observations[1:].flatten(0, 1))
    total = total + 0.1 * divergence(posterior, model.prior(h)).mean()
    return total + F.mse_loss(model.reward(feature).squeeze(-1), rewards.flatten())


def trainer(loss):
    model = Rssm()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = [
        (
            torch.rand(STEPS + 1, BATCH, OBSERVATION) * 2 - 1,
            torch.rand(STEPS, BATCH, ACTION) * 2 - 1,
            torch.rand(STEPS, BATCH) * 2 - 1,
        )
        for _ in range(BATCHES)
    ]

    def work():
        for batch in data:
            value = loss(model, *batch)
            adam.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            value.item()

    return work, sum(p.numel() for p in model.parameters())


def planner():
    model = Rssm()
    start_h, start_s = torch.randn(1, DETER) * 0.1, torch.randn(1, STOCH) * 0.1

    @torch.no_grad()
    def work():
        mean, std = torch.zeros(HORIZON, ACTION), torch.ones(HORIZON, ACTION)
        for _ in range(ITERATIONS):
            actions = (mean + std * torch.randn(CANDIDATES, HORIZON, ACTION)).clamp(-1, 1)
            h, s = start_h.expand(CANDIDATES, -1), start_s.expand(CANDIDATES, -1)
            total, alive = torch.zeros(CANDIDATES), torch.ones(CANDIDATES)
            for t in range(HORIZON):
                h = model.gru(torch.cat([s, actions[:, t]], -1), h)
                s = sample(model.prior(h))
                feature = torch.cat([s, h], -1)
                alive = alive * torch.sigmoid(model.go_on(feature)).squeeze(-1)
                total = total + DISCOUNT**t * alive * model.reward(feature).squeeze(-1)
            elites = actions[total.topk(ELITES).indices]
            mean, std = elites.mean(0), elites.std(0) + 1e-6
        return mean[0]

    return work, sum(p.numel() for p in model.parameters())


def ensemble():
    """PETS' ensemble: all members as one batched product per layer."""
    members, rows, inputs, predicted, hidden = 5, 64, 4, 4, 64
    widths = [inputs, hidden, hidden, 2 * predicted + 1]
    weights = [nn.Parameter(torch.randn(members, i, o) / (2 * i**0.5)) for i, o in zip(widths, widths[1:])]
    biases = [nn.Parameter(torch.zeros(members, 1, o)) for o in widths[1:]]
    low, high = nn.Parameter(torch.full((predicted,), -10.0)), nn.Parameter(torch.full((predicted,), 0.5))
    parameters = [*weights, *biases, low, high]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    batches = [
        (torch.rand(members, rows, inputs) * 2 - 1, torch.rand(members, rows, predicted) * 2 - 1) for _ in range(200)
    ]
    over = torch.zeros(members, rows)

    def loss(x, target):
        for i, (weight, bias) in enumerate(zip(weights, biases)):
            x = torch.baddbmm(bias, x, weight)
            x = F.silu(x) if i < 2 else x
        mean, raw, logit = x.split([predicted, predicted, 1], -1)
        log_var = high - F.softplus(high - raw)
        log_var = low + F.softplus(log_var - low)
        likelihood = ((mean - target) ** 2 * (-log_var).exp() + log_var).mean((1, 2)).sum()
        ending = F.binary_cross_entropy_with_logits(logit.squeeze(-1), over) * members
        decay = 0.5e-5 * sum((weight**2).sum() for weight in weights)
        return likelihood + ending + 0.01 * (high - low).sum() + decay

    def work():
        for x, target in batches:
            optimizer.zero_grad()
            value = loss(x, target)
            value.backward()
            optimizer.step()
            value.item()

    return work, sum(p.numel() for p in parameters)


WORKS = {
    "ensemble": ensemble,
    "train-per-step": lambda: trainer(loss_per_step),
    "train-time-batched": lambda: trainer(loss_time_batched),
    "plan": planner,
    "dreamer": agents.dreamer,
    "tdmpc": agents.tdmpc,
    "i2a": agents.i2a,
}


def main():
    work, threads, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(1)
    run, parameters = WORKS[work]()
    run()
    milliseconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    outcome = {"work": work, "threads": threads, "parameters": parameters, "torch": torch.__version__}
    print(json.dumps(outcome | {"ms": milliseconds}))


if __name__ == "__main__":
    main()
