"""The claims that are resampled, and the numbers of seeds, as data."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

COUNTS = (3, 5, 10)  # seeds per side of a small study
REPLICATIONS = 10_000
RNG_SEED = 20261129


class Claim(NamedTuple):
    """A comparison of two groups of committed rows: file, case, maker and kind of return of each."""

    name: str
    x: Group
    y: Group


class Group(NamedTuple):
    """The returns of one case in a file of ``Score`` rows below ``results/``."""

    file: Path
    case: str
    maker: str = "rlkit"
    kind: str = "greedy"


TUNED, MATCHED = Path("tuned/tuned.csv"), Path("matched/matched.csv")
SB3 = "stable-baselines3"

CLAIMS = (
    Claim("DQN's second preset beats its first", Group(TUNED, "dqn"), Group(TUNED, "dqn-first")),
    Claim("DQN beats PPO with tuned presets", Group(TUNED, "dqn"), Group(TUNED, "ppo")),
    Claim("A2C beats PPO with tuned presets", Group(TUNED, "a2c"), Group(TUNED, "ppo")),
    Claim("Tuned PPO beats the zoo's", Group(TUNED, "ppo"), Group(MATCHED, "cartpole-ppo")),
    Claim("PPO beats A2C, short runs", Group(MATCHED, "cartpole-ppo-short"), Group(MATCHED, "cartpole-a2c-short")),
    Claim(
        "PPO acts better greedily than sampled, short runs",
        Group(MATCHED, "cartpole-ppo-short"),
        Group(MATCHED, "cartpole-ppo-short", kind="sampled"),
    ),
    Claim(
        "A2C acts better greedily than sampled, short runs",
        Group(MATCHED, "cartpole-a2c-short"),
        Group(MATCHED, "cartpole-a2c-short", kind="sampled"),
    ),
    Claim("The zoo's PPO beats its DQN", Group(MATCHED, "cartpole-ppo"), Group(MATCHED, "cartpole-dqn")),
    Claim("The zoo's A2C beats its DQN", Group(MATCHED, "cartpole-a2c"), Group(MATCHED, "cartpole-dqn")),
    Claim(
        "stable-baselines3's PPO beats rlkit's, short runs",
        Group(MATCHED, "cartpole-ppo-short", SB3),
        Group(MATCHED, "cartpole-ppo-short"),
    ),
    Claim(
        "stable-baselines3's A2C beats rlkit's, short runs",
        Group(MATCHED, "cartpole-a2c-short", SB3),
        Group(MATCHED, "cartpole-a2c-short"),
    ),
    Claim("More steps help PPO on Acrobot", Group(MATCHED, "acrobot-ppo"), Group(MATCHED, "acrobot-ppo-short")),
)
