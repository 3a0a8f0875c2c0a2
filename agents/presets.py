"""Named hyper-parameters as data: preset -> environment id ("*" for any) -> values.

"sb3" is the constructors' defaults. "rl-zoo" are those of the RL Baselines3 Zoo for gymnasium's classic control with
discrete actions. "tuned" are rlkit's own. An agent refuses a preset for an environment that is not listed under it.
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

# One-step targets let the values crawl towards 100, or run past it where target updates are frequent. Ten steps and a
# learning rate that falls to zero end that, and a wider network keeps the small gaps between actions. All of the tuning
# seeds 1000 to 1029 ended above 498 after 100,000 steps, and 1000 to 1011 above 495 after 50,000. It is the second that
# was frozen: with five steps and a rate of 2e-3, 29 of the tuning seeds ended above 475 after 100,000 steps, and 27
# after 50,000; with five and 1e-3, all after 100,000 and 8 of 10 after 50,000; with ten and 1e-3, 10 of 12 after those.
# For 50,000 steps five and 2e-3 are better: 56 of the seeds 1000 to 1059 end at exactly 500, 42 with this preset.
TUNED_DQN_CARTPOLE: dict[str, Any] = {
    **RL_ZOO_DQN_CARTPOLE,
    "learning_rate": 1.5e-3,
    "learning_rate_schedule": "linear",
    "batch_size": 128,
    "n_steps": 10,
    "net_arch": (128, 128),
}

# For eight copies and 200,000 steps per seed of the slippery 8x8 map: the goal is far and random walking rarely gets
# there, so exploration is long and never small. Gamma is near 1 because the safe way is long: the optimal policy of
# 0.99 earns 0.863 of the 0.913 possible in 200 steps, that of 0.995 earns 0.894. Chosen on seeds 1000 to 1007.
TUNED_DQN_GRIDWORLD: dict[str, Any] = {
    "num_envs": 8,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    "gamma": 0.995,
    "batch_size": 128,
    "learning_starts": 5000,
    "train_freq": 1,
    "target_update_interval": 800,
    "exploration_fraction": 0.8,
    "exploration_final_eps": 0.3,
}

RL_ZOO_DQN_ACROBOT: dict[str, Any] = {
    "learning_rate": 6.3e-4,
    "batch_size": 128,
    "buffer_size": 50_000,
    "learning_starts": 0,
    "gamma": 0.99,
    "target_update_interval": 250,
    "train_freq": 4,
    "gradient_steps": -1,
    "exploration_fraction": 0.12,
    "exploration_final_eps": 0.1,
    "net_arch": (256, 256),
}

# The zoo's settings with a falling learning rate. The tuning seeds 1000 to 1008 ended at a median of -78.0, eight of
# nine above -80; with gamma 0.98 at -79.5. It is the third that was frozen. The first two had a network of 64 and 64,
# four times as fast and not wide enough: with one step at the zoo's rate, not tuned, -84 on seeds 1000 to 1004; with
# four steps and 1.5e-3, -81.6 on seeds 1000 to 1005 (-79.9 with gamma 0.98, -82.2 with double Q-learning).
TUNED_DQN_ACROBOT: dict[str, Any] = {**RL_ZOO_DQN_ACROBOT, "learning_rate_schedule": "linear"}

RL_ZOO_DQN_MOUNTAIN_CAR: dict[str, Any] = {
    "learning_rate": 4e-3,
    "batch_size": 128,
    "buffer_size": 10_000,
    "learning_starts": 1000,
    "gamma": 0.98,
    "target_update_interval": 600,
    "train_freq": 16,
    "gradient_steps": 8,
    "exploration_fraction": 0.2,
    "exploration_final_eps": 0.07,
    "net_arch": (256, 256),
}

DQN_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "sb3": {"*": {}},
    "rl-zoo": {
        "CartPole-v1": RL_ZOO_DQN_CARTPOLE,
        "Acrobot-v1": RL_ZOO_DQN_ACROBOT,
        "MountainCar-v0": RL_ZOO_DQN_MOUNTAIN_CAR,
    },
    "tuned": {
        "Acrobot-v1": TUNED_DQN_ACROBOT,
        "CartPole-v1": TUNED_DQN_CARTPOLE,
        "rlkit/GridWorld-v0": TUNED_DQN_GRIDWORLD,
    },
}

# Presets also set num_envs where results depend on it. An explicit num_envs overrides it.

RL_ZOO_A2C_CARTPOLE: dict[str, Any] = {"num_envs": 8}

# For 500,000 steps per seed of Acrobot-v1 and a million of MountainCar-v0.
RL_ZOO_A2C_NORMALIZED: dict[str, Any] = {"num_envs": 16, "normalize_observations": True, "normalize_rewards": True}

# A learning rate that falls to zero keeps the last policy good, and more seeds learn the shorter horizon of 0.98.
# Chosen on seeds 1000 to 1029, all of which ended at 500 after 300,000 steps (28 of 30 above 475 with 0.99).
TUNED_A2C_CARTPOLE: dict[str, Any] = {**RL_ZOO_A2C_CARTPOLE, "learning_rate_schedule": "linear", "gamma": 0.98}

RL_ZOO_PPO_CARTPOLE: dict[str, Any] = {
    "num_envs": 8,
    "n_steps": 32,
    "batch_size": 256,
    "gae_lambda": 0.8,
    "gamma": 0.98,
    "n_epochs": 20,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    "clip_range": 0.2,
    "clip_range_schedule": "linear",
}

# For a million steps per seed.
RL_ZOO_PPO_ACROBOT: dict[str, Any] = {
    "num_envs": 16,
    "n_steps": 256,
    "gae_lambda": 0.94,
    "gamma": 0.99,
    "n_epochs": 4,
    "normalize_observations": True,
    "normalize_rewards": True,
}

# For a million steps per seed.
RL_ZOO_PPO_MOUNTAIN_CAR: dict[str, Any] = {**RL_ZOO_PPO_ACROBOT, "n_steps": 16, "gae_lambda": 0.98}

# A batch is given up when the policy has moved far enough. Chosen on seeds 1000 to 1029, all of which ended at 500
# after 100,000 steps (29 of 30 above 475 with the zoo's falling clip range). On a second CPU, with the compiled engine,
# 58 of the seeds 1000 to 1059 end at 475 or more; the other two lose a task that they had solved. Four changes were
# tried there on seeds 1000 to 1019, all of which this preset solves: the clip range falls to zero, 20; advantages are
# not normalized, 20; 16 copies with minibatches of 512, 18; a target KL of 0.01, 17. With the falling clip range 118 of
# 1000 to 1119 end at 475 or more, which is no clear difference (p = 0.6), so the preset stays.
TUNED_PPO_CARTPOLE: dict[str, Any] = {**RL_ZOO_PPO_CARTPOLE, "clip_range_schedule": "constant", "target_kl": 0.02}

# Chosen on seeds 1000 to 1029, all of which ended above 499 after 300,000 steps.
TUNED_REINFORCE_CARTPOLE: dict[str, Any] = {"num_envs": 8, "n_steps": 128, "learning_rate_schedule": "linear"}

# For the named maps, in 200,000 steps per seed (400,000 on the slippery 8x8 map). What pays comes late and by chance:
# entropy is worth much, and advantages are brought to one scale, whether a step costs 1 or a goal pays 1. With a
# bonus of 0.01 and no such scale no tuning seed crossed the cliff's map. Chosen on seeds 1000 to 1004.
TUNED_A2C_GRIDWORLD: dict[str, Any] = {
    "num_envs": 8,
    "n_steps": 16,
    "gamma": 0.995,
    "gae_lambda": 0.95,
    "ent_coef": 0.1,
    "normalize_advantage": True,
    "learning_rate": 3e-3,
    "learning_rate_schedule": "linear",
}

TUNED_PPO_GRIDWORLD: dict[str, Any] = {
    "num_envs": 8,
    "n_steps": 64,
    "batch_size": 256,
    "n_epochs": 5,
    "gamma": 0.995,
    "gae_lambda": 0.95,
    "ent_coef": 0.1,
    "learning_rate": 3e-3,
    "learning_rate_schedule": "linear",
}

TUNED_REINFORCE_GRIDWORLD: dict[str, Any] = {
    "num_envs": 8,
    "n_steps": 32,
    "gamma": 0.99,
    "ent_coef": 0.1,
    "learning_rate": 3e-3,
    "learning_rate_schedule": "linear",
    "value_learning_rate": 3e-3,
}

# A rate of 1 / sqrt(n) averages over the slips, and exploration stays wide, as for DQN on these maps.
TUNED_TABULAR_GRIDWORLD: dict[str, Any] = {
    "num_envs": 8,
    "gamma": 0.995,
    "learning_rate": 1.0,
    "power": 0.5,
    "exploration_fraction": 0.8,
    "exploration_final_eps": 0.3,
}

A2C_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "sb3": {"*": {}},
    "rl-zoo": {
        "CartPole-v1": RL_ZOO_A2C_CARTPOLE,
        "Acrobot-v1": RL_ZOO_A2C_NORMALIZED,
        "MountainCar-v0": RL_ZOO_A2C_NORMALIZED,
    },
    "tuned": {"CartPole-v1": TUNED_A2C_CARTPOLE, "rlkit/GridWorld-v0": TUNED_A2C_GRIDWORLD},
}

PPO_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "sb3": {"*": {}},
    "rl-zoo": {
        "CartPole-v1": RL_ZOO_PPO_CARTPOLE,
        "Acrobot-v1": RL_ZOO_PPO_ACROBOT,
        "MountainCar-v0": RL_ZOO_PPO_MOUNTAIN_CAR,
    },
    "tuned": {"CartPole-v1": TUNED_PPO_CARTPOLE, "rlkit/GridWorld-v0": TUNED_PPO_GRIDWORLD},
}

# stable-baselines3 and its zoo have neither of these: "sb3" is the constructors' defaults here too
REINFORCE_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "sb3": {"*": {}},
    "tuned": {"CartPole-v1": TUNED_REINFORCE_CARTPOLE, "rlkit/GridWorld-v0": TUNED_REINFORCE_GRIDWORLD},
}

TABULAR_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "sb3": {"*": {}},
    "tuned": {"rlkit/GridWorld-v0": TUNED_TABULAR_GRIDWORLD},
}
