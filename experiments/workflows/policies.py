"""Open a policy of rlkit or of stable-baselines3, together with the environment to play it in."""

from __future__ import annotations

import json
import warnings
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
from rlkit.devices import usable_device
from rlkit.envs import BatchedEnv
from rlkit.types import Env

from ..report.continued import SETTINGS
from ..report.ledger import RECORD

AGENT_FILE = "agent.safetensors"  # of a run folder
RLKIT, SB3 = "rlkit", "stable-baselines3"  # makers


class Scored(Victim, Protocol):
    """S policies that give a score to every action."""

    @property
    def num_seeds(self) -> int:
        """S."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of observations."""
        ...

    @property
    def scores_are_values(self) -> bool:
        """Whether scores are action values; otherwise they are logits."""
        ...


class Subject(NamedTuple):
    """A trained policy of S seeds, with the environment that it is evaluated in."""

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
    algo: str | None = None,
    trust: bool = False,
    vec_normalize: Path | None = None,
    device: str = "cpu",
) -> Subject:
    """Open a policy file or the policy in a run folder; a ``.zip`` file is a stable-baselines3 model.

    Args:
        path: the file or folder.
        env: environment id; None for the one that an rlkit agent was trained in.
        env_kwargs: arguments of the environment, for a stable-baselines3 model.
        backend: backend of the environment, for a stable-baselines3 model; see ``rlkit.envs.make``.
        algo: algorithm of a stable-baselines3 model, which its file does not name; "DQN", "A2C" or "PPO" in any case.
        trust: stable-baselines3 files hold pickled objects, which can run any code; True opens them.
        vec_normalize: the file of ``VecNormalize.save``, for a stable-baselines3 model trained with one.
        device: where the policy and its environment compute: a torch device, or "auto".

    Raises:
        FileNotFoundError: no such file, or a folder without a policy.
        ValueError: a file that is not a policy, a ``.zip`` without algo, env or trust, an environment of other spaces,
            or a device that this machine does not have.

    Warns:
        RuntimeWarning: see ``warn_if_stopped``.
    """
    where = usable_device(device)
    path = policy_file(path)
    if path.suffix != ".zip":
        if env_kwargs:
            raise ValueError("--env-kwargs are read from the agent's own file: leave them out")
        if vec_normalize is not None:
            raise ValueError("--vec-normalize is for stable-baselines3 models; an rlkit agent holds its own moments")
        agent = rlkit.agents.load(path, env, where)
        warn_if_stopped(path, agent)
        return of_agent(agent, str(agent.source.env), agent.source.env_kwargs)
    missing = [option for option, value in {"--algo": algo, "--env": env}.items() if value is None]
    if algo is None or env is None:
        raise ValueError(f"{path} is a {SB3} model, whose file does not hold everything: pass {' and '.join(missing)}")
    policy = rlkit.sb3.load(path, algo.upper(), trust, str(where), vec_normalize)
    return of_models(policy, algo.upper(), env, env_kwargs or {}, backend)


def policy_file(path: Path) -> Path:
    """The policy at a path: the file itself, or in a folder ``agent.safetensors`` or the only policy.

    Raises:
        FileNotFoundError: nothing there, or a folder without a policy or with several.
    """
    if not path.is_dir():
        return path
    if (path / AGENT_FILE).is_file():
        return path / AGENT_FILE
    files = sorted([*path.glob("*.safetensors"), *path.glob("*.zip")])
    if len(files) == 1:
        return files[0]
    if files:
        raise FileNotFoundError(f"{path} holds several policies, name one: {', '.join(file.name for file in files)}")
    below = sorted(file.parent.name for file in path.glob(f"*/{AGENT_FILE}"))
    hint = f"did you mean {path / below[0]}?" if below else "give a folder that rlkit train wrote, or a policy file"
    raise FileNotFoundError(f"{path} holds no {AGENT_FILE}: {hint}")


def warn_if_stopped(path: Path, agent: Agent) -> None:
    """Warn of the policy in a run folder whose training was stopped before its last step.

    Args:
        path: the policy's file.
        agent: read from it.

    Warns:
        RuntimeWarning: the folder has the settings of a run of more steps, and no record of its end.
    """
    folder = path.parent
    if path.name != AGENT_FILE or (folder / RECORD).exists() or not (folder / SETTINGS).is_file():
        return
    try:
        steps = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # of another command
        return
    if isinstance(steps, int) and agent.num_timesteps < steps:
        warnings.warn(
            f"{folder} was stopped at {agent.num_timesteps:,} of {steps:,} steps: its policy is not the trained one; "
            "the command that trained it continues with --resume",
            RuntimeWarning,
            stacklevel=3,
        )


def of_agent(agent: Agent, env: str, env_kwargs: Mapping[str, Any]) -> Subject:
    """An rlkit agent in its own environment."""
    return Subject(agent, RLKIT, type(agent).__name__, agent.seeds, env, env_kwargs, agent.evaluation_env)


def of_models(
    policy: rlkit.sb3.SB3Policy, algo: str, env: str, env_kwargs: Mapping[str, Any], backend: str = "auto"
) -> Subject:
    """Models of stable-baselines3 in an environment.

    Raises:
        ValueError: the environment has other spaces than the models.
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
                device=policy.device,
                env_kwargs=dict(env_kwargs),
            )
        if made.action_space != policy.action_space or made.observation_space.shape != policy.observation_space.shape:
            raise ValueError(
                f"the model was trained on {policy.observation_space} and {policy.action_space}, {env} has "
                f"{made.observation_space} and {made.action_space}: pass the environment it was trained in"
            )
        return made

    return Subject(policy, SB3, algo, policy.seeds, env, env_kwargs, make_env)


@contextmanager
def made_with(name: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Report errors about arguments that a user typed as ``ValueError``.

    Raises:
        ValueError: an unknown argument or name, or a text instead of a number.
    """
    try:
        yield
    except (TypeError, KeyError) as error:
        said = f"unknown {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{name} cannot be made with {dict(arguments)}: {said}") from error


def backend_of(env: Env) -> str:
    """The implementation of an environment, as results record it."""
    return f"rlkit on {env.device}" if isinstance(env, BatchedEnv) else "gymnasium"
