"""What every agent computes, as hashes: trained, evaluated, attacked, saved and resumed.

Run as a program with the name of a dtype, it makes that torch's default and prints the hashes as JSON.
"""

import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch


def fingerprints() -> dict[str, str]:
    """A hash of every tensor, log, return and attack of each case."""
    from rlkit.agents import A2C, DQN, PPO, REINFORCE, TabularQ  # after the default dtype is set

    small = {"net_arch": (16,), "device": "cpu"}
    lake = "rlkit/GridWorld-v0"
    learned = {"learning_starts": 32, "batch_size": 16, "buffer_size": 150}
    normalized = {"normalize_observations": True, "normalize_rewards": True}
    alone = {"n_steps": 24, "num_envs": 2, "unfinished": "end"}
    cases = [
        (DQN, "CartPole-v1", {**small, **learned, "num_envs": 2, "n_steps": 2}),
        (DQN, "CartPole-v1", {**small, **learned, "priority_exponent": 0.6, "dueling": True, "double": True}),
        (DQN, "CartPole-v1", {**small, **learned, "replay": False, "network": "rbf", "normalize_rewards": True}),
        (DQN, lake, {**small, **learned, "num_envs": 2}),
        (A2C, "CartPole-v1", {**small, **normalized, "num_envs": 2}),
        (A2C, lake, {**small, "use_rms_prop": False, "ent_coef": 0.01}),
        (PPO, "CartPole-v1", {**small, "n_steps": 24, "batch_size": 8, "n_epochs": 2, "clip_range_vf": 0.2}),
        (REINFORCE, "CartPole-v1", {**small, "n_steps": 24, "num_envs": 2, "ent_coef": 0.01}),
        *((REINFORCE, "CartPole-v1", {**small, **alone, "baseline": name}) for name in ("average", "time", "optimal")),
        (TabularQ, lake, {"device": "cpu", "num_envs": 3, "power": 0.5, "env_kwargs": {"observation": "index"}}),
    ]
    return {f"{number} {case[0].__name__}": fingerprint(*case) for number, case in enumerate(cases)}


def fingerprint(algorithm, env, settings) -> str:
    """Train, write down and take up again; evaluate, attack, save and load."""
    from rlkit.agents import PPO, load, resume

    kept = hashlib.sha256()

    def keep(values):
        values = np.ascontiguousarray(values)
        kept.update(f"{values.dtype} {values.shape}".encode() + values.tobytes())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.safetensors"
        agent = algorithm(env, seeds=[3, 8], **settings).learn(120)
        agent.checkpoint(path)
        agent = resume(path, device="cpu").learn(120)
        agent.save(path)
        loaded = load(path, device="cpu")
    for name, network in agent.networks.items():
        keep(network.flat.numpy())
        keep(loaded.networks[name].flat.numpy())
    for values in agent.history.values():
        keep(values)
    keep(agent.evaluate(2))
    keep(agent.evaluate(2, deterministic=False))
    keep(agent.ensemble().evaluate(1))
    keep(agent.action_probabilities(agent.env.obs).numpy())
    if algorithm is PPO or settings.get("replay") is False:  # a policy, and action values
        for shown in attacked(agent):
            keep(shown.numpy())
    return kept.hexdigest()


def attacked(agent):
    """What attacks show of observations in float32 and in double precision."""
    from rlkit.adversarial import FGSM, PGD, Budget, Noise, RandomSearch, adversarial_distance, execute
    from rlkit.streams import Stream

    for obs in (agent.env.obs, agent.env.obs.double()):
        for attack, norm in ((PGD(2, restarts=2), "2"), (Noise("sign"), "1"), (RandomSearch(5), "inf")):
            width = attack.noise_width(math.prod(obs.shape[2:]))
            u = Stream(agent.seeds, "attack", width, copies=obs.shape[1]).next()
            result = execute(attack, agent, obs, Budget(0.3, norm), u)
            yield from (result.obs, result.margin, result.distance)
        yield adversarial_distance(FGSM(), agent, obs, Budget(0.3), halvings=3).distance


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(getattr(torch, sys.argv[1]))
    print(json.dumps(fingerprints()))
