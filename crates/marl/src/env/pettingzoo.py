class Game:
    """A parallel environment, seen as flat arrays in the order of possible_agents."""

    def __init__(self, env, gymnasium, numpy):
        self.env, self.spaces, self.numpy = env, gymnasium.spaces, numpy
        self.agents = list(env.possible_agents)
        self.actions = [env.action_space(agent) for agent in self.agents]
        self.observed = [self.seen_space(env.observation_space(agent)) for agent in self.agents]

    def seen_space(self, space):
        if isinstance(space, self.spaces.Dict) and "observation" in space.spaces:
            return space["observation"]
        return space

    def describe(self):
        agents = []
        for agent, observed, action in zip(self.agents, self.observed, self.actions):
            if isinstance(action, self.spaces.Discrete):
                does = {"discrete": int(action.n)}
            elif isinstance(action, self.spaces.Box):
                low, high = float(action.low.min()), float(action.high.max())
                if (action.low != low).any() or (action.high != high).any() or not self.numpy.isfinite([low, high]).all():
                    raise ValueError(f"the action bounds of {agent} are infinite or differ between entries: {action}")
                does = {"box": int(self.numpy.prod(action.shape)), "low": low, "high": high}
            else:
                raise ValueError(f"the action space of {agent} is {action}; this bridge knows Discrete and Box")
            if isinstance(observed, self.spaces.Discrete):
                width = int(observed.n)
            elif isinstance(observed, self.spaces.Box):
                width = int(self.numpy.prod(observed.shape))
            else:
                raise ValueError(f"the observation space of {agent} is {observed}; this bridge knows Discrete and Box")
            agents.append({"name": agent, "observation": width, "action": does})
        return agents

    def answer(self, observations, rewards, ended, cut, infos):
        numpy, sights, masks = self.numpy, [], []
        for agent, observed, action in zip(self.agents, self.observed, self.actions):
            seen, info = observations.get(agent), infos.get(agent, {})
            mask = info.get("action_mask") if isinstance(info, dict) else None
            if isinstance(seen, dict):
                seen, mask = seen["observation"], seen.get("action_mask", mask)
            if isinstance(observed, self.spaces.Discrete):
                row = numpy.zeros(observed.n, numpy.float32)
                if seen is not None:
                    row[int(seen) - int(observed.start)] = 1
            elif seen is None:
                row = numpy.zeros(int(numpy.prod(observed.shape)), numpy.float32)
            else:
                row = numpy.asarray(seen, numpy.float32).ravel()
            sights.append(row.tobytes())
            if isinstance(action, self.spaces.Discrete):
                masks.append(bytes(action.n * [1]) if mask is None else numpy.asarray(mask, numpy.uint8).tobytes())
        flags = [bytes(bool(table.get(agent, False)) for agent in self.agents) for table in (ended, cut)]
        live = bytes(agent in self.env.agents for agent in self.agents)
        gains = numpy.array([float(rewards.get(agent, 0.0)) for agent in self.agents])
        return b"".join(sights) + b"".join(masks) + gains.tobytes() + flags[0] + flags[1] + live

    def reset(self, header, body):
        observations, infos = self.env.reset(seed=header["seed"])
        return self.answer(observations, {}, {}, {}, infos or {})

    def step(self, header, body):
        numpy, at, joint = self.numpy, len(self.agents), {}
        for acts, agent, space in zip(body, self.agents, self.actions):
            if isinstance(space, self.spaces.Discrete):
                value, at = int(numpy.frombuffer(body, "<i8", 1, at)[0]) + int(space.start), at + 8
            else:
                size = int(numpy.prod(space.shape))
                value = numpy.frombuffer(body, "<f4", size, at).reshape(space.shape).astype(space.dtype)
                at += 4 * size
            if acts:
                joint[agent] = value
        return self.answer(*self.env.step(joint))


def main():
    channel = Channel()
    options = json.loads(sys.argv[1])
    try:
        import importlib

        import gymnasium
        import numpy

        module = importlib.import_module(options["module"])
    except ImportError as error:
        channel.fail(f"{sys.executable} cannot import {options['module']} ({error}): install it there with pip")
    try:
        env = module.parallel_env(**options["kwargs"])
        game = Game(env, gymnasium, numpy)
        agents = game.describe()
    except Exception as error:
        channel.fail(f"cannot be made: {type(error).__name__}: {error}")
    channel.send({"protocol": PROTOCOL, "agents": agents})
    answers = {"reset": game.reset, "step": game.step}
    try:
        while True:
            header, body = channel.receive()
            try:
                answer = answers[header["do"]](header, body)
            except Exception as error:
                channel.fail(f"{type(error).__name__} in {header['do']}: {error}")
            channel.send({}, answer)
    finally:
        env.close()


main()
