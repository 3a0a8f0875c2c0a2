"""Opening a policy file, of ours or of stable-baselines3, together with the environment to play it in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

import rlkit.agents
import rlkit.envs
import rlkit.sb3
from rlkit.adversarial import Victim
from rlkit.agents import Agent
from rlkit.envs import BatchedEnv
from rlkit.types import Env

OURS, PEER = "rlkit", "stable-baselines3"  # makers


class Scored(Victim, Protocol):
    """S policies that rate every action."""

    @property
    def num_seeds(self) -> int:
        """S."""
        ...

    @property
    def device(self) -> torch.device:
        """Where observations belong."""
        ...

    @property
    def scores_are_values(self) -> bool:
        """Whether scores are action values, else logits."""
        ...


class Subject(NamedTuple):
    """A trained policy, S seeds, with the environment that it is judged in."""

    policy: Scored
    maker: str  # "rlkit" or "stable-baselines3"
    algorithm: str
    seeds: tuple[int, ...]
    env: str
    env_kwargs: Mapping[str, Any]
    make_env: Callable[[int, int], Env]  # (E, first seed) -> S x E copies; copy e plays the episode of seed + e

    @property
    def name(self) -> str:
        """For example ``rlkit DQN``."""
        return f"{self.maker} {self.algorithm}"


def open_policy(
    path: Path,
    env: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    backend: str = "auto",
    algo: rlkit.sb3.AlgorithmName | None = None,
    trust: bool = False,
    vec_normalize: Path | None = None,
) -> Subject:
    """The policy in a file: ``.zip`` is stable-baselines3's, everything else ours.

    Args:
        path: the file.
        env: environment id; None for the one that an agent of ours was trained in.
        env_kwargs: of the environment, for a stable-baselines3 model.
        backend: of the environment, for a stable-baselines3 model; see ``rlkit.envs.make``.
        algo: of a stable-baselines3 model, whose file does not say.
        trust: stable-baselines3's files hold pickled objects, which can run any code; True opens them.
        vec_normalize: what ``VecNormalize.save`` wrote, of a stable-baselines3 model that was trained behind one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is not a policy, a ``.zip`` without algo, env or trust, an environment of other spaces.
    """
    if path.suffix != ".zip":
        if env_kwargs:
            raise ValueError("--env-kwargs are read from the agent's own file: leave them out")
        if vec_normalize is not None:
            raise ValueError("--vec-normalize is of stable-baselines3's models; an agent's file holds its own moments")
        agent = rlkit.agents.load(path, env, device="cpu")
        return of_agent(agent, str(agent.source.env), agent.source.env_kwargs)
    if algo is None or env is None:
        raise ValueError(f"{path} is a {PEER} model, whose file does not say what it is: pass --algo and --env")
    policy = rlkit.sb3.load(path, algo, trust, vec_normalize=vec_normalize)
    return of_models(policy, algo, env, env_kwargs or {}, backend)


def of_agent(agent: Agent, env: str, env_kwargs: Mapping[str, Any]) -> Subject:
    """An agent of ours in its own environment."""
    return Subject(agent, OURS, type(agent).__name__, agent.seeds, env, env_kwargs, agent.evaluation_env)


def of_models(
    policy: rlkit.sb3.SB3Policy, algo: str, env: str, env_kwargs: Mapping[str, Any], backend: str = "auto"
) -> Subject:
    """stable-baselines3's models in an environment.

    Raises:
        ValueError: an environment whose spaces are not the models'.
    """

    def make_env(episodes: int, seed: int) -> Env:
        with made_with(env, env_kwargs):
            made = rlkit.envs.make(
                env,
                seeds=[seed] * policy.num_seeds,
                num_envs=episodes,
                backend=backend,
                restart=False,
                noise="gymnasium",
                double=True,
                env_kwargs=dict(env_kwargs),
            )
        if made.action_space != policy.action_space or made.observation_space.shape != policy.observation_space.shape:
            raise ValueError(
                f"the model was trained on {policy.observation_space} and {policy.action_space}, {env} has "
                f"{made.observation_space} and {made.action_space}: pass the environment it was trained in"
            )
        return made

    return Subject(policy, PEER, algo, policy.seeds, env, env_kwargs, make_env)


@contextmanager
def made_with(name: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """What is made here is made from arguments that a person typed: a wrong one is misuse, not a defect.

    Raises:
        ValueError: an argument that does not exist, a name that is not known, or a text where a number belongs.
    """
    try:
        yield
    except (TypeError, KeyError) as error:
        said = f"unknown {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{name} cannot be made with {dict(arguments)}: {said}") from error


def backend_of(env: Env) -> str:
    """Which implementation steps an environment, as results record it."""
    return f"rlkit on {env.device}" if isinstance(env, BatchedEnv) else "gymnasium"
