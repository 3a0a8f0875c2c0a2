"""A training job for stable-baselines3: the settings of rlkit under its names, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rlkit.agents.configs import A2CConfig, DQNConfig, PPOConfig

from ..train import Training

Config = DQNConfig | A2CConfig | PPOConfig


class HyperparameterMap(NamedTuple):
    """How the hyper-parameters of one algorithm translate to stable-baselines3."""

    same: tuple[str, ...]  # same name and meaning
    scheduled: Mapping[str, str]  # may decrease during training: name -> name of the schedule
    policy: tuple[str, ...]  # part of stable-baselines3's policy_kwargs
    normalization: Mapping[str, str]  # argument of VecNormalize: name -> its name there
    fixed: Mapping[str, Any]  # varies in rlkit only -> the value that stable-baselines3 has
    unmatched: Mapping[str, str]  # without a counterpart; may differ


NETWORK = ("net_arch", "activation")
NORMALIZED = {"normalize_observations": "norm_obs", "normalize_rewards": "norm_reward"}
MLP_ONLY = {"network": "auto", "network_kwargs": {}}  # stable-baselines3 is given its MlpPolicy

HYPERPARAMETER_MAPS: dict[str, HyperparameterMap] = {
    "DQN": HyperparameterMap(
        same=(
            "buffer_size",
            "learning_starts",
            "batch_size",
            "tau",
            "gamma",
            "train_freq",
            "n_steps",
            "gradient_steps",
            "target_update_interval",
            "exploration_fraction",
            "exploration_initial_eps",
            "exploration_final_eps",
            "max_grad_norm",
        ),
        scheduled={"learning_rate": "learning_rate_schedule"},
        policy=NETWORK,
        normalization={},  # moments that change make a replay buffer another algorithm, in either library
        fixed={
            "loss": "huber",
            "double": False,
            "dueling": False,
            "replay": True,
            "priority_exponent": 0.0,
            "target_clock": "steps",
            **dict.fromkeys(NORMALIZED, False),
            **MLP_ONLY,
        },
        unmatched={
            "priority_beta": "no priorities",
            "single_coin": "True",  # no effect with one copy, and little with more
        },
    ),
    "A2C": HyperparameterMap(
        same=(
            "n_steps",
            "gamma",
            "gae_lambda",
            "ent_coef",
            "vf_coef",
            "max_grad_norm",
            "rms_prop_eps",
            "use_rms_prop",
            "normalize_advantage",
        ),
        scheduled={"learning_rate": "learning_rate_schedule"},
        policy=(*NETWORK, "ortho_init"),
        normalization=NORMALIZED,
        fixed=MLP_ONLY,
        unmatched={},
    ),
    "PPO": HyperparameterMap(
        same=(
            "n_steps",
            "batch_size",
            "n_epochs",
            "gamma",
            "gae_lambda",
            "normalize_advantage",
            "ent_coef",
            "vf_coef",
            "max_grad_norm",
            "target_kl",
        ),
        scheduled={
            "learning_rate": "learning_rate_schedule",
            "clip_range": "clip_range_schedule",
            "clip_range_vf": "clip_range_schedule",
        },
        policy=(*NETWORK, "ortho_init"),
        normalization=NORMALIZED,
        fixed=MLP_ONLY,
        unmatched={},
    ),
}


@dataclass(frozen=True)
class SB3Job:
    """One training job of stable-baselines3; everything in it is JSON."""

    algorithm: str  # "DQN", "A2C" or "PPO"
    env: str
    env_kwargs: dict[str, Any]
    num_envs: int
    seeds: tuple[int, ...]
    steps: int  # per seed
    arguments: dict[str, Any]  # of the constructor
    linear: tuple[str, ...]  # the arguments that decrease linearly to zero
    policy: dict[str, Any]  # net_arch, activation and other properties of the network
    normalization: dict[str, Any]  # arguments of the VecNormalize around the environments; empty for none

    def hyperparameters(self) -> dict[str, Any]:
        """Every hyper-parameter as stable-baselines3 would print it."""
        words = {name: f"progress -> {self.arguments[name]:g} max(progress, 0)" for name in self.linear}
        activation = {"relu": "ReLU", "tanh": "Tanh"}[self.policy["activation"]]
        policy = {name: value for name, value in self.policy.items() if name != "activation"}
        policy |= {"net_arch": list(self.policy["net_arch"]), "activation_fn": f"torch.nn.{activation}"}
        return {**self.arguments, **words, "policy_kwargs": policy}


def sb3_job_for(training: Training, config: Config, seeds: tuple[int, ...]) -> SB3Job:
    """The training of an rlkit agent as a job for stable-baselines3.

    Args:
        training: the training.
        config: every hyper-parameter of its agent.
        seeds: seeds of stable-baselines3.

    Raises:
        ValueError: an algorithm or a variant that stable-baselines3 does not have, a hyper-parameter with a value per
            seed, or a number of copies that is left to a preset.
    """
    if training.num_envs is None:
        raise ValueError(
            "num_envs is left to the preset, which stable-baselines3 does not have: give the number of copies"
        )
    algorithm = algorithm_of(config)
    matching, settings = HYPERPARAMETER_MAPS[algorithm], asdict(config)
    for name in (*matching.same, *matching.scheduled):
        if isinstance(settings[name], tuple):
            raise ValueError(f"{name} has one value per seed, {settings[name]}: a comparison needs one for all seeds")
    for name, value in matching.fixed.items():
        if settings[name] != value:
            raise ValueError(f"{name} is always {value} in stable-baselines3, got {settings[name]}: set {name}={value}")
    for schedule in matching.scheduled.values():
        if settings[schedule] not in ("constant", "linear"):
            raise ValueError(f"{schedule} must be constant or linear for stable-baselines3, got {settings[schedule]!r}")
    normalization = {sb3_name: settings[name] for name, sb3_name in matching.normalization.items()}
    return SB3Job(
        algorithm=algorithm,
        env=training.env,
        env_kwargs=dict(training.env_kwargs),
        num_envs=training.num_envs,
        seeds=seeds,
        steps=training.steps,
        arguments={name: settings[name] for name in (*matching.scheduled, *matching.same)},
        linear=tuple(
            name
            for name, schedule in matching.scheduled.items()
            if settings[schedule] == "linear" and settings[name] is not None
        ),
        policy={name: settings[name] for name in matching.policy},
        normalization={**normalization, "gamma": settings["gamma"]} if any(normalization.values()) else {},
    )


def algorithm_of(config: Config) -> str:
    """The name of the algorithm, the same in both libraries.

    Raises:
        ValueError: stable-baselines3 has no such algorithm.
    """
    name = type(config).__name__.removesuffix("Config")
    if name not in HYPERPARAMETER_MAPS:
        raise ValueError(f"stable-baselines3 has no {name}: compare one of {', '.join(HYPERPARAMETER_MAPS)}")
    return name
