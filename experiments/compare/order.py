"""What stable-baselines3 is asked to train: our settings under its names, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rlkit.agents.dqn import DQNConfig

from ..train import Training

SAME_NAME = (
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
)

# what only ours can vary, and how stable-baselines3 does it
FIXED: dict[str, Any] = {
    "loss": "huber",
    "double": False,
    "dueling": False,
    "replay": True,
    "priority_exponent": 0.0,
    "target_clock": "steps",
}
UNMATCHED = {  # shown beside ours, and free to differ
    "priority_beta": "no priorities",
    "single_coin": "True",  # of little effect, and of none with one copy
}


@dataclass(frozen=True)
class Order:
    """One training job of stable-baselines3's DQN; everything in it is JSON."""

    env: str
    env_kwargs: dict[str, Any]
    num_envs: int
    seeds: tuple[int, ...]
    steps: int  # per seed
    learning_rate: float
    learning_rate_schedule: str  # "constant", or "linear" to zero
    net_arch: tuple[int, ...]
    activation: str
    arguments: dict[str, Any]  # of stable_baselines3.DQN, under the names that both share

    def hyperparameters(self) -> dict[str, Any]:
        """Every hyper-parameter in the words of stable-baselines3."""
        rate: Any = self.learning_rate
        if self.learning_rate_schedule == "linear":
            rate = f"progress -> {self.learning_rate:g} max(progress, 0)"
        activation = {"relu": "ReLU", "tanh": "Tanh"}[self.activation]
        policy = {"net_arch": list(self.net_arch), "activation_fn": f"torch.nn.{activation}"}
        return {"learning_rate": rate, **self.arguments, "policy_kwargs": policy}


def order_for(training: Training, config: DQNConfig, seeds: tuple[int, ...]) -> Order:
    """The same job for stable-baselines3.

    Raises:
        ValueError: a hyper-parameter that has another value in every row, which one model cannot have, or a variant
            of the algorithm that the peer does not have.
    """
    settings = asdict(config)
    for name in (*SAME_NAME, "learning_rate"):
        if isinstance(settings[name], tuple):
            raise ValueError(f"{name} has one value per seed, {settings[name]}: a comparison needs one for all seeds")
    for name, value in FIXED.items():
        if settings[name] != value:
            raise ValueError(f"{name} is {value} in stable-baselines3, got {settings[name]}: there is no such peer")
    if config.learning_rate_schedule not in ("constant", "linear"):
        raise ValueError(f"learning_rate_schedule {config.learning_rate_schedule!r}: a peer's is constant or linear")
    return Order(
        env=training.env,
        env_kwargs=dict(training.env_kwargs),
        num_envs=training.num_envs or 1,
        seeds=seeds,
        steps=training.steps,
        learning_rate=settings["learning_rate"],
        learning_rate_schedule=config.learning_rate_schedule,
        net_arch=config.net_arch,
        activation=config.activation,
        arguments={name: settings[name] for name in SAME_NAME},
    )
