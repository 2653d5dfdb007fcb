"""The agents in PyTorch, time-batched: whatever is not a recurrence is one product over all steps.

dreamer   4 updates on 8 x 32 steps, each with a dream of 15 steps from all 256 states
tdmpc     20 updates on 128 windows of 3 steps; the five Q are one batched product per layer
i2a       10 updates of 16 environments x 5 steps: the rollouts of all four actions at every step, then the update; the LSTM
          over a rollout is one call
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def one_hot(classes, n):
    return F.one_hot(classes, n).float()


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.scale, 1e-4)


def rms_mlp(inputs, hidden, outputs):
    layers = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), RmsNorm(width), nn.SiLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class NormGru(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.project = nn.Linear(inputs + hidden, 3 * hidden, bias=False)
        self.norm = nn.LayerNorm(3 * hidden, eps=1e-3)

    def forward(self, x, h):
        reset, candidate, update = self.norm(self.project(torch.cat([x, h], -1))).chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return h + torch.sigmoid(update - 1) * (candidate - h)


class Dreamer(nn.Module):
    OBSERVATION, ACTION, DETER, GROUPS, CLASSES, UNITS, BINS = 3, 1, 128, 8, 8, 96, 255

    def __init__(self):
        super().__init__()
        stoch = self.GROUPS * self.CLASSES
        feature, units = self.DETER + stoch, [self.UNITS]
        self.encoder = rms_mlp(self.OBSERVATION, units, self.UNITS)
        self.input = nn.Sequential(nn.Linear(stoch + self.ACTION, self.UNITS), nn.SiLU())
        self.gru = NormGru(self.UNITS, self.DETER)
        self.prior = rms_mlp(self.DETER, units, stoch)
        self.posterior = rms_mlp(self.DETER + self.UNITS, units, stoch)
        self.decoder = rms_mlp(feature, units, self.OBSERVATION)
        self.reward = rms_mlp(feature, units, self.BINS)
        self.go_on = rms_mlp(feature, units, 1)
        self.actor = rms_mlp(feature, units, 2 * self.ACTION)
        self.critic = rms_mlp(feature, units, self.BINS)
        for head in (self.reward, self.critic):
            nn.init.zeros_(head[-1].weight)
        x = torch.linspace(-20, 20, self.BINS)
        self.register_buffer("bins", x.sign() * x.abs().expm1())

    def probabilities(self, logits):
        """Groups with a hundredth of the uniform distribution."""
        logits = logits.unflatten(-1, (self.GROUPS, self.CLASSES))
        return 0.99 * logits.softmax(-1) + 0.01 / self.CLASSES

    def sample(self, probabilities):
        classes = torch.multinomial(probabilities.flatten(0, -2), 1).view(probabilities.shape[:-1])
        return one_hot(classes, self.CLASSES)

    def two_hot(self, x):
        above = torch.searchsorted(self.bins, x.contiguous()).clamp(1, self.BINS - 1)
        low, high = self.bins[above - 1], self.bins[above]
        share = ((x - low) / (high - low)).clamp(0, 1).unsqueeze(-1)
        target = torch.zeros(*x.shape, self.BINS)
        target.scatter_(-1, (above - 1).unsqueeze(-1), 1 - share)
        return target.scatter_(-1, above.unsqueeze(-1), share)

    def cross(self, logits, x):
        return -(self.two_hot(x) * logits.log_softmax(-1)).sum(-1)

    def expected(self, logits):
        return logits.softmax(-1) @ self.bins

    def model_loss(self, observations, actions, rewards):
        """Time-major. The embedding's half of the posterior's first layer is one product over all steps."""
        steps, batch = rewards.shape
        target = observations.sign() * observations.abs().log1p()
        first, norm, act, last = self.posterior
        from_hidden, from_embedding = first.weight.split([self.DETER, self.UNITS], 1)
        embedded = F.linear(self.encoder(target), from_embedding, first.bias)
        h, z = torch.zeros(batch, self.DETER), torch.zeros(batch, self.GROUPS * self.CLASSES)
        hidden, logits, stoch = [], [], []
        for t in range(steps):
            h = self.gru(self.input(torch.cat([z, actions[t]], -1)), h)
            posterior = last(act(norm(embedded[t] + F.linear(h, from_hidden))))
            p = self.probabilities(posterior)
            z = (self.sample(p.detach()) + p - p.detach()).flatten(1)
            hidden.append(h), logits.append(p), stoch.append(z)
        h, p, z = torch.stack(hidden), torch.stack(logits), torch.stack(stoch)
        feature = torch.cat([h, z], -1)
        q = self.probabilities(self.prior(h))
        loss = ((self.decoder(feature) - target) ** 2).sum(-1).mean()
        loss = loss + self.cross(self.reward(feature), rewards).mean()
        goes_on = torch.full((steps, batch), 1 - 1 / 333)
        loss = loss + F.binary_cross_entropy_with_logits(self.go_on(feature).squeeze(-1), goes_on)

        def divergence(p, q):
            return (p * (p.log() - q.log())).sum((-1, -2)).clamp(min=1.0).mean()

        loss = loss + divergence(p.detach(), q) + 0.1 * divergence(p, q.detach())
        return loss, h.detach().flatten(0, 1), z.detach().flatten(0, 1)

    def policy(self, feature):
        mean, raw = self.actor(feature).chunk(2, -1)
        return torch.tanh(mean), 0.9 * torch.sigmoid(raw + 2) + 0.1

    @torch.no_grad()
    def dream(self, h, z, horizon=15):
        features, actions = [torch.cat([h, z], -1)], []
        for _ in range(horizon):
            mean, std = self.policy(features[-1])
            actions.append(mean + std * torch.randn_like(mean))
            h = self.gru(self.input(torch.cat([z, actions[-1].clamp(-1, 1)], -1)), h)
            z = self.sample(self.probabilities(self.prior(h))).flatten(1)
            features.append(torch.cat([h, z], -1))
        return torch.stack(features), torch.stack(actions)


def lambda_returns(rewards, values, discounts, bootstrap):
    """R_t = r_{t+1} + c_{t+1} ((1 - 0.95) v_{t+1} + 0.95 R_{t+1})."""
    returns = [bootstrap]
    for t in reversed(range(len(rewards) - 1)):
        returns.append(rewards[t + 1] + discounts[t + 1] * (0.05 * values[t + 1] + 0.95 * returns[-1]))
    return torch.stack(returns[:0:-1])


class LaProp:
    """With adaptive clipping per tensor and a warm-up, over lists of tensors."""

    def __init__(self, parameters, rate):
        self.parameters, self.rate, self.t = list(parameters), rate, 0
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self):
        self.t += 1
        gradients = [p.grad for p in self.parameters]
        upper = torch._foreach_clamp_min(torch._foreach_norm(self.parameters), 1e-3)
        torch._foreach_mul_(upper, 0.3)
        ratio = torch._foreach_div(torch._foreach_norm(gradients), upper)
        torch._foreach_div_(gradients, torch._foreach_clamp_min(ratio, 1.0))
        torch._foreach_mul_(self.square, 0.999)
        torch._foreach_addcmul_(self.square, gradients, gradients, value=0.001)
        scale = torch._foreach_div(self.square, 1 - 0.999**self.t)
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, 1e-20)
        torch._foreach_lerp_(self.mean, torch._foreach_div(gradients, scale), 0.1)
        rate = self.rate * min(1.0, self.t / 100) / (1 - 0.9**self.t)
        torch._foreach_add_(self.parameters, self.mean, alpha=-rate)


def dreamer():
    steps, batch = 32, 8
    model = Dreamer()
    slow = [p.detach().clone() for p in model.critic.parameters()]
    names = [name for name, _ in model.critic.named_parameters()]
    optimizer = LaProp(model.parameters(), 4e-4)
    percentiles = torch.zeros(2)

    def uniform(*shape):
        return torch.rand(*shape) * 2 - 1

    data = [(uniform(steps, batch, 3), uniform(steps, batch, 1), uniform(steps, batch)) for _ in range(4)]

    def critic_loss(features, returns, weights):
        logits = model.critic(features)
        with torch.no_grad():
            guide = model.expected(torch.func.functional_call(model.critic, dict(zip(names, slow)), features))
        return (weights * (model.cross(logits, returns) + model.cross(logits, guide))).sum()

    def behaviour_loss(features, actions, rewards):
        states = features[:-1]
        with torch.no_grad():
            values, paid = model.expected(model.critic(features)), model.expected(model.reward(features))
            discounts = torch.sigmoid(model.go_on(features)).squeeze(-1)
            returns = lambda_returns(paid, values, discounts, values[-1])
            weights = discounts.cumprod(0)[:-1] / returns.numel()
            percentiles.lerp_(torch.quantile(returns, torch.tensor([0.05, 0.95])), 0.01)
            scale = (percentiles[1] - percentiles[0]).clamp(min=1.0)
            advantage = weights * (returns - values[:-1]) / scale
        mean, std = model.policy(states)
        normal = torch.distributions.Normal(mean, std, validate_args=False)
        log_prob, entropy = normal.log_prob(actions).sum(-1), normal.entropy().sum(-1)
        actor = -(log_prob * advantage).sum() - 3e-4 * (entropy * weights).sum()
        with torch.no_grad():
            imagined = returns[0].view(steps, batch)
            discounts = torch.full((steps, batch), 1 - 1 / 333)
            replayed = lambda_returns(rewards, imagined, discounts, imagined[-1])
        real = features[0].view(steps, batch, -1)[:-1]
        replay = critic_loss(real, replayed, torch.full_like(replayed, 1 / replayed.numel()))
        return actor + critic_loss(states, returns, weights) + 0.3 * replay

    def work():
        for observations, actions, rewards in data:
            loss, h, z = model.model_loss(observations, actions, rewards)
            features, chosen = model.dream(h, z)
            total = loss + behaviour_loss(features, chosen, rewards)
            for p in model.parameters():
                p.grad = None
            total.backward()
            optimizer.step()
            torch._foreach_lerp_(slow, [p.detach() for p in model.critic.parameters()], 0.02)
            total.item()

    return work, sum(p.numel() for p in model.parameters())


class Batched(nn.Module):
    """Perceptrons of one shape, Mish after layer norm, as one batched product per layer."""

    def __init__(self, members, inputs, hidden, outputs):
        super().__init__()
        widths = [inputs, hidden, hidden, outputs]
        pairs = list(zip(widths, widths[1:]))
        self.weights = nn.ParameterList(torch.randn(members, i, o) / math.sqrt(i) for i, o in pairs)
        self.biases = nn.ParameterList(torch.zeros(members, 1, o) for _, o in pairs)
        self.scales = nn.ParameterList(torch.ones(members, 1, hidden) for _ in range(2))
        self.shifts = nn.ParameterList(torch.zeros(members, 1, hidden) for _ in range(2))
        nn.init.zeros_(self.weights[-1])

    def forward(self, x, chosen=None, frozen=False):
        def pick(p):
            p = p.detach() if frozen else p
            return p if chosen is None else p[chosen]

        x = x.expand(len(pick(self.weights[0])), *x.shape)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x = torch.baddbmm(pick(bias), x, pick(weight))
            if i < 2:
                x = F.mish(F.layer_norm(x, x.shape[-1:]) * pick(self.scales[i]) + pick(self.shifts[i]))
        return x


def norm_mlp(inputs, hidden, outputs):
    layers = []
    for width in (hidden, hidden):
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.Mish()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def simnorm(x):
    return x.unflatten(-1, (-1, 8)).softmax(-1).flatten(-2)


def tdmpc():
    observation, action, latent, hidden, members, bins = 3, 1, 64, 96, 5, 101
    steps, batch, rho = 3, 128, 0.5
    encoder, dynamics = norm_mlp(observation, hidden, latent), norm_mlp(latent + action, hidden, latent)
    reward, policy = norm_mlp(latent + action, hidden, bins), norm_mlp(latent, hidden, 2 * action)
    q = Batched(members, latent + action, hidden, bins)
    slow = Batched(members, latent + action, hidden, bins)
    slow.load_state_dict(q.state_dict())
    nn.init.zeros_(reward[-1].weight)
    support = torch.linspace(-10, 10, bins)
    width = support[1] - support[0]
    rest = [*dynamics.parameters(), *reward.parameters(), *q.parameters()]
    adams = [
        torch.optim.Adam(encoder.parameters(), lr=3e-4, fused=True),
        torch.optim.Adam(rest, lr=1e-3, fused=True),
        torch.optim.Adam(policy.parameters(), lr=1e-3, fused=True),
    ]

    def uniform(*shape):
        return torch.rand(*shape) * 2 - 1

    data = [
        (uniform(steps + 1, batch, observation), uniform(steps, batch, action), uniform(steps, batch))
        for _ in range(20)
    ]

    def expected(logits):
        x = logits.softmax(-1) @ support
        return x.sign() * x.abs().expm1()

    def cross(logits, x):
        x = (x.sign() * x.abs().log1p()).clamp(-10, 10)
        position = (x + 10) / width
        low = position.floor().long().clamp(max=bins - 2)
        share = (position - low).unsqueeze(-1)
        target = torch.zeros(*x.shape, bins).scatter_(-1, low.unsqueeze(-1), 1 - share)
        target.scatter_(-1, low.unsqueeze(-1) + 1, share)
        return -(target * logits.log_softmax(-1)).sum(-1)

    def act(z):
        mean, raw = policy(z).chunk(2, -1)
        log_std = -10 + 6 * (torch.tanh(raw) + 1)
        noise = torch.randn_like(mean)
        u = mean + log_std.exp() * noise
        log_prob = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        log_prob = log_prob - 2 * (math.log(2) - u - F.softplus(-2 * u))
        return torch.tanh(u), log_prob.sum(-1)

    def model_loss(observations, actions, rewards):
        with torch.no_grad():
            encoded = simnorm(encoder(observations))
            after = encoded[1:].flatten(0, 1)
            za = torch.cat([after, act(after)[0]], -1)
            value = expected(slow(za, [0, 3])).min(0).values.view(steps, batch)
            targets = rewards + 0.99 * value
        z, latents, consistency = simnorm(encoder(observations[0])), [], 0.0
        latents.append(z)
        for t in range(steps):
            z = simnorm(dynamics(torch.cat([z, actions[t]], -1)))
            consistency = consistency + rho**t * F.mse_loss(z, encoded[t + 1])
            latents.append(z)
        latents = torch.stack(latents)
        za = torch.cat([latents[:-1], actions], -1).flatten(0, 1)
        weights = (rho ** torch.arange(steps)).repeat_interleave(batch) / (steps * batch)
        total = 20 * consistency / steps + 0.1 * (weights * cross(reward(za), rewards.flatten())).sum()
        total = total + 0.1 * (weights * cross(q(za), targets.flatten().expand(members, -1))).sum() / members
        return total, latents.detach().flatten(0, 1)

    def work():
        for window in data:
            total, latents = model_loss(*window)
            for adam in adams:
                adam.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(encoder.parameters(), 20.0)
            nn.utils.clip_grad_norm_(rest, 20.0)
            adams[0].step()
            adams[1].step()
            action, log_prob = act(latents)
            value = expected(q(torch.cat([latents, action], -1), [1, 4], frozen=True)).mean(0)
            weights = (rho ** torch.arange(steps + 1)).repeat_interleave(batch) / len(latents)
            loss = -(weights * (value - 1e-4 * log_prob)).sum()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 20.0)
            adams[2].step()
            with torch.no_grad():
                torch._foreach_lerp_(list(slow.parameters()), list(q.parameters()), 0.01)
            total.item(), loss.item()

    modules = (encoder, dynamics, reward, q, policy)
    return work, sum(p.numel() for module in modules for p in module.parameters())


def relu_mlp(*widths, last=False):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*(layers if last else layers[:-1]))


def i2a():
    cells, kinds, actions, depth, environments, steps = 16, 5, 4, 3, 16, 5
    width, paid = cells * kinds, torch.tensor([-1.0, -0.05, 1.0])
    model = relu_mlp(width + actions, 256, 256, width + 3 + 1)
    imitator = relu_mlp(width, 64, actions)
    step = relu_mlp(width + 1, 64, last=True)
    lstm = nn.LSTM(64, 64)
    free, head = relu_mlp(width, 128, 64, last=True), relu_mlp(64 + actions * 64, 128, actions + 1)
    agent = nn.ModuleList([imitator, step, lstm, free, head])
    optimizer = torch.optim.RMSprop(agent.parameters(), lr=1e-3, alpha=0.99, eps=1e-5)

    def grids(*shape):
        return one_hot(torch.randint(kinds, (*shape, cells)), kinds).flatten(-2)

    data = [grids(steps, environments) for _ in range(10)]
    taken = torch.arange(steps * environments) % actions
    returns = torch.full((steps * environments,), 0.5)

    @torch.no_grad()
    def roll_out(observations):
        """`[depth, N * A, width + 1]`."""
        grid = observations.repeat_interleave(actions, 0)
        chosen = torch.arange(actions).repeat(len(observations))
        over, imagined = torch.zeros(len(grid), dtype=torch.bool), []
        for t in range(depth):
            if t > 0:
                chosen = torch.multinomial(imitator(grid).softmax(-1), 1).squeeze(-1)
            y = model(torch.cat([grid, one_hot(chosen, actions)], -1))
            following = one_hot(y[:, :width].unflatten(-1, (cells, kinds)).argmax(-1), kinds).flatten(-2)
            reward = paid[y[:, width : width + 3].argmax(-1)].masked_fill(over, 0.0)
            grid = torch.where(over.unsqueeze(-1), grid, following)
            over = over | (y[:, -1] > 0)
            imagined.append(torch.cat([grid, reward.unsqueeze(-1)], -1))
        return torch.stack(imagined)

    def loss(observations, rollouts):
        _, (encoded, _) = lstm(step(rollouts).flip(0))
        encoded = encoded[0].unflatten(0, (-1, actions)).flatten(1)
        y = head(torch.cat([free(observations), encoded], -1))
        log_probs, value = y[:, :actions].log_softmax(-1), y[:, actions]
        advantage = returns - value.detach()
        policy = -(log_probs.gather(1, taken.unsqueeze(-1)).squeeze(-1) * advantage).mean()
        probabilities = log_probs.exp()
        entropy = -(probabilities * log_probs).sum(-1).mean()
        distill = -(probabilities.detach() * imitator(observations).log_softmax(-1)).sum(-1).mean()
        return policy + 0.25 * ((value - returns) ** 2).mean() - 0.01 * entropy + 0.01 * distill

    def work():
        for observations in data:
            rollouts = torch.cat([roll_out(o) for o in observations], 1)
            total = loss(observations.flatten(0, 1), rollouts)
            optimizer.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
            optimizer.step()
            total.item()

    return work, sum(p.numel() for p in [*agent.parameters(), *model.parameters()])
