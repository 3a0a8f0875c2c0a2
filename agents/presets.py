"""Named hyper-parameters as data: preset -> environment id ("*" for any other) -> values.

"sb3" is the constructors' defaults. "rl-zoo" are those of the RL Baselines3 Zoo. "tuned" are ours.
"""

from __future__ import annotations

from typing import Any

RL_ZOO_DQN_CARTPOLE: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "gamma": 0.99,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "net_arch": (256, 256),
}

DQN_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "sb3": {"*": {}},
    "rl-zoo": {"*": {}, "CartPole-v1": RL_ZOO_DQN_CARTPOLE},
    "tuned": {"*": {}, "CartPole-v1": RL_ZOO_DQN_CARTPOLE},
}
