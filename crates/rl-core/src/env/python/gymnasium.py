def describe(space, gymnasium, numpy):
    """A space as JSON, and its bounds as raw f32."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return {"discrete": int(space.n)}, b""
    if isinstance(space, gymnasium.spaces.Box):
        with numpy.errstate(over="ignore"):
            bounds = [numpy.asarray(b, numpy.float32).ravel() for b in (space.low, space.high)]
        return {"box": bounds[0].size}, bounds[0].tobytes() + bounds[1].tobytes()
    return None, b""


class Copies:
    def __init__(self, envs, gymnasium, numpy):
        self.envs, self.numpy = envs, numpy
        self.observed, self.acted = self.envs[0].observation_space, self.envs[0].action_space
        self.discrete_observation = isinstance(self.observed, gymnasium.spaces.Discrete)
        self.discrete_action = isinstance(self.acted, gymnasium.spaces.Discrete)
        width = self.observed.n if self.discrete_observation else int(numpy.prod(self.observed.shape))
        self.observations = numpy.zeros((len(self.envs), width), numpy.float32)
        self.finals = numpy.zeros_like(self.observations)

    def write(self, rows, i, observation):
        if self.discrete_observation:
            rows[i] = 0
            rows[i, int(observation) - int(self.observed.start)] = 1
        else:
            rows[i] = self.numpy.asarray(observation, self.numpy.float32).ravel()

    def reset(self, i, seed=None):
        observation, _ = self.envs[i].reset(seed=seed)
        self.write(self.observations, i, observation)

    def action(self, row):
        if self.discrete_action:
            return int(row[0]) + int(self.acted.start)
        return row.reshape(self.acted.shape).astype(self.acted.dtype)

    def answer_reset(self, header, body):
        for i, chosen in enumerate(body):
            if chosen:
                self.reset(i, None if header["seed"] is None else header["seed"] + i)
        return self.observations.tobytes()

    def answer_step(self, header, body):
        numpy, n = self.numpy, len(self.envs)
        resets = body[:n]
        kind = "<i8" if self.discrete_action else "<f4"
        actions = numpy.frombuffer(body, kind, offset=n).reshape(n, -1)
        rewards = numpy.zeros(n)
        terminated, truncated = bytearray(n), bytearray(n)
        for i, env in enumerate(self.envs):
            if resets[i]:
                self.reset(i)
                continue
            observation, rewards[i], ended, cut, _ = env.step(self.action(actions[i]))
            terminated[i], truncated[i] = bool(ended), bool(cut)
            self.write(self.observations, i, observation)
            if ended or cut:
                self.finals[i] = self.observations[i]
                if header["same_step"]:
                    self.reset(i)
        parts = (self.observations.tobytes(), self.finals.tobytes(), rewards.tobytes())
        return b"".join(parts) + bytes(terminated) + bytes(truncated)


def main():
    channel = Channel()
    options = json.loads(sys.argv[1])
    try:
        import gymnasium
        import numpy
    except ImportError as error:
        channel.fail(f"{sys.executable} cannot import gymnasium ({error}): run `{sys.executable} -m pip install gymnasium`")
    try:
        envs = [
            gymnasium.make(options["id"], disable_env_checker=True, **options["kwargs"])
            for _ in range(options["copies"])
        ]
    except gymnasium.error.UnregisteredEnv as error:
        channel.fail(f"unknown environment: {error}")
    except Exception as error:
        channel.fail(f"cannot be made: {type(error).__name__}: {error}")
    spaces, bounds = [], b""
    for name, space in (("observation", envs[0].observation_space), ("action", envs[0].action_space)):
        described, raw = describe(space, gymnasium, numpy)
        if described is None:
            channel.fail(f"its {name} space is {space}; this bridge knows Discrete and Box")
        spaces.append(described)
        bounds += raw
    copies = Copies(envs, gymnasium, numpy)
    spec = copies.envs[0].spec
    hello = {"protocol": PROTOCOL, "observation": spaces[0], "action": spaces[1], "gymnasium": gymnasium.__version__}
    hello["max_episode_steps"] = getattr(spec, "max_episode_steps", None)
    hello["reward_threshold"] = getattr(spec, "reward_threshold", None)
    channel.send(hello, bounds)
    answers = {"reset": copies.answer_reset, "step": copies.answer_step}
    try:
        while True:
            header, body = channel.receive()
            try:
                answer = answers[header["do"]](header, body)
            except Exception as error:
                channel.fail(f"{type(error).__name__} in {header['do']}: {error}")
            channel.send({}, answer)
    finally:
        for env in envs:
            env.close()


main()
