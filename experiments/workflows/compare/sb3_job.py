"""What stable-baselines3 is asked to train: our settings under its names, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rlkit.agents.configs import A2CConfig, DQNConfig, PPOConfig

from ..train import Training

Config = DQNConfig | A2CConfig | PPOConfig


class HyperparameterMap(NamedTuple):
    """How the hyper-parameters of one algorithm are said to stable-baselines3."""

    same: tuple[str, ...]  # means the same under the same name
    scheduled: Mapping[str, str]  # may fall during training: its name -> the name of its schedule
    policy: tuple[str, ...]  # belongs to the peer's policy_kwargs
    around: Mapping[str, str]  # belongs to the VecNormalize around the peer's environments, under its name there
    fixed: Mapping[str, Any]  # what only ours can vary, and how stable-baselines3 does it
    unmatched: Mapping[str, str]  # shown beside ours, and free to differ


NETWORK = ("net_arch", "activation")
NORMALIZED = {"normalize_observations": "norm_obs", "normalize_rewards": "norm_reward"}
OURS = {"network": "auto", "network_kwargs": {}}  # the peer is given vectors, and a perceptron to read them

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
        around={},  # a replay buffer and moving moments are another algorithm on either side
        fixed={
            "loss": "huber",
            "double": False,
            "dueling": False,
            "replay": True,
            "priority_exponent": 0.0,
            "target_clock": "steps",
            **dict.fromkeys(NORMALIZED, False),
            **OURS,
        },
        unmatched={
            "priority_beta": "no priorities",
            "single_coin": "True",  # of little effect, and of none with one copy
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
        around=NORMALIZED,
        fixed=OURS,
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
        around=NORMALIZED,
        fixed=OURS,
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
    arguments: dict[str, Any]  # of the constructor, under the names that both share
    linear: tuple[str, ...]  # those of the arguments that fall to zero on a line
    policy: dict[str, Any]  # net_arch, activation and what else the network is made of
    around: dict[str, Any]  # arguments of the VecNormalize around the environments; empty: there is none

    def hyperparameters(self) -> dict[str, Any]:
        """Every hyper-parameter in the words of stable-baselines3."""
        words = {name: f"progress -> {self.arguments[name]:g} max(progress, 0)" for name in self.linear}
        activation = {"relu": "ReLU", "tanh": "Tanh"}[self.policy["activation"]]
        policy = {name: value for name, value in self.policy.items() if name != "activation"}
        policy |= {"net_arch": list(self.policy["net_arch"]), "activation_fn": f"torch.nn.{activation}"}
        return {**self.arguments, **words, "policy_kwargs": policy}


def order_for(training: Training, config: Config, seeds: tuple[int, ...]) -> SB3Job:
    """The same job for stable-baselines3.

    Args:
        training: ours.
        config: ours, complete.
        seeds: of the peer.

    Raises:
        ValueError: an algorithm that the peer does not have, a hyper-parameter that has another value in every row,
            which one model cannot have, a variant of the algorithm that the peer does not have, or a number of copies
            that is left to a preset.
    """
    if training.num_envs is None:
        raise ValueError("num_envs is left to the preset, which the peer does not know: say how many copies")
    algorithm = algorithm_of(config)
    matching, settings = HYPERPARAMETER_MAPS[algorithm], asdict(config)
    for name in (*matching.same, *matching.scheduled):
        if isinstance(settings[name], tuple):
            raise ValueError(f"{name} has one value per seed, {settings[name]}: a comparison needs one for all seeds")
    for name, value in matching.fixed.items():
        if settings[name] != value:
            raise ValueError(f"{name} is {value} in stable-baselines3, got {settings[name]}: there is no such peer")
    for schedule in matching.scheduled.values():
        if settings[schedule] not in ("constant", "linear"):
            raise ValueError(f"{schedule} {settings[schedule]!r}: a peer's is constant or linear")
    around = {name: settings[ours] for ours, name in matching.around.items()}
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
        around={**around, "gamma": settings["gamma"]} if any(around.values()) else {},
    )


def algorithm_of(config: Config) -> str:
    """The name that both sides give the algorithm.

    Raises:
        ValueError: stable-baselines3 has no such algorithm.
    """
    name = type(config).__name__.removesuffix("Config")
    if name not in HYPERPARAMETER_MAPS:
        raise ValueError(f"stable-baselines3 has no {name}: compare one of {', '.join(HYPERPARAMETER_MAPS)}")
    return name
