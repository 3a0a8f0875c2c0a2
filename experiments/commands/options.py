"""Options that several commands share, and what each group of them means."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from ..report.ledger import RunRecord
    from ..workflows.policies import Subject
    from ..workflows.train import Training

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130  # exit codes

# The parser imports no torch, so these repeat rlkit.agents.ALGORITHMS and rlkit.sb3.ALGORITHMS.
Algorithm = Literal["dqn", "a2c", "ppo", "reinforce", "tabularq"]
SharedAlgorithm = Literal["dqn", "a2c", "ppo"]  # those of rlkit and of stable-baselines3
SB3ModelAlgorithm = Literal["DQN", "A2C", "PPO"]

Json = Annotated[bool, arg(name="json", help="Print one JSON object on the standard output and nothing else there.")]
Pairs = Annotated[tuple[str, ...], arg(metavar="NAME=VALUE ...")]


@dataclass(frozen=True)
class Output:
    """Where results go.

    Args:
        out: Folder to write run.json, tables and figures to.
        overwrite: Replace the run that --out holds already.
    """

    out: Path | None = None
    overwrite: bool = False
    json: Json = False

    def folder(self, what: str, env: str) -> Path:
        """A new folder for a run: the one that was asked for, else one of the command's and the environment's name."""
        from ..report import ledger

        return ledger.new_folder(self.out or Path("runs", f"{what}-{env.replace('/', '-')}"), self.overwrite)

    def finish(self, run: RunRecord) -> int:
        """Write a run where that is wanted, and show it."""
        from ..report import ledger, terminal

        if self.out is not None:
            ledger.write(run, ledger.new_folder(self.out, self.overwrite))
        terminal.show(run, self.json)
        if self.out is not None:
            self.tell(f"written to {self.out}")
        return DONE

    def tell(self, text: str) -> None:
        """A word for people: beside JSON it goes to the standard error."""
        print(text, file=sys.stderr if self.json else sys.stdout)


@dataclass(frozen=True)
class PolicyOptions:
    """Who plays.

    Args:
        policy: A file: .safetensors of ours, or .zip of stable-baselines3 (with --algo, --env and --trust).
        env: Environment; that of training by default.
        env_kwargs: Arguments of the environment of a stable-baselines3 model.
        algo: Algorithm of a stable-baselines3 model.
        trust: Open a stable-baselines3 file, which can run any code while it is read.
        vec_normalize: The .pkl of the VecNormalize that such a model was trained behind; it needs --trust too.
    """

    policy: Positional[Path]
    env: str | None = None
    env_kwargs: Pairs = ()
    algo: SB3ModelAlgorithm | None = None
    trust: bool = False
    vec_normalize: Path | None = None

    def open(self) -> Subject:
        """The policy and where it plays, on one torch thread."""
        import torch

        from ..workflows.policies import open_policy

        torch.set_num_threads(1)
        foreign: dict[str, Any] = {"algo": self.algo, "trust": self.trust, "vec_normalize": self.vec_normalize}
        return open_policy(self.policy, self.env, pairs(self.env_kwargs), **foreign)


@dataclass(frozen=True)
class EvaluationOptions:
    """How it is judging.

    Args:
        episodes: Episodes per training seed (and attack and epsilon).
        first_seed: Where evaluation seeds start.
    """

    episodes: int = 100
    first_seed: int = 10_000


@dataclass(frozen=True)
class TrainingOptions:
    """What is trained.

    Args:
        env: Environment: an id of gymnasium or rlkit, for example rlkit/GridWorld-v0.
        seeds: How many training seeds.
        first_seed: The first of them; the others follow by one.
        steps: Environment steps per seed.
        preset: Hyper-parameters to start from: tuned, rl-zoo, or sb3 (stable-baselines3's defaults); by default tuned
            where it knows the environment, else sb3.
        set: Hyper-parameters to change; a list such as 1e-3,2e-3 gives every seed its own.
        env_kwargs: Arguments of the environment, for example map=frozenlake-8x8 slip=0.2.
        num_envs: Copies of the environment per seed; the preset's by default.
    """

    env: str = "CartPole-v1"
    seeds: int = 8
    first_seed: int = 0
    steps: int = 50_000
    preset: str | None = None
    set: Pairs = ()
    env_kwargs: Pairs = ()
    num_envs: int | None = None

    def training(self, algo: str, backend: str = "auto", device: str = "cpu") -> Training:
        """The job, on one torch thread: parallelism comes from seeds and processes."""
        import torch

        from ..workflows.train import Training, usual_preset

        torch.set_num_threads(1)
        return Training(
            env=self.env,
            algo=algo,
            seeds=seeds_from(self.first_seed, self.seeds),
            steps=self.steps,
            preset=self.preset or usual_preset(algo, self.env),
            hyperparameters=pairs(self.set),
            env_kwargs=pairs(self.env_kwargs),
            num_envs=self.num_envs,
            backend=backend,
            device=device,
        )

    def tell_preset(self, training: Training, output: Output) -> None:
        """A word where no preset was asked for and none is tuned for the environment."""
        if self.preset is None and training.preset != "tuned":
            output.tell(f"There is no tuned preset of {training.algo} for {training.env}: its defaults are taken.")


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """``count`` seeds that follow each other."""
    at_least_one("seeds", count)
    return tuple(range(first, first + count))


def at_least_one(name: str, number: int) -> None:
    """Refuse less.

    Raises:
        ValueError: a number below one.
    """
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")


def pairs(given: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words as a dictionary; values are Python literals where they are some, else text.

    Raises:
        ValueError: a word without ``=``, or a name given twice.
    """
    values: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        if name in values:
            raise ValueError(f"{name} is given twice")
        values[name] = _value(text)
    return values


def _value(text: str) -> Any:
    """1e-3 -> 0.001, 64,64 -> (64, 64), true -> True, none -> None, frozenlake-4x4 -> 'frozenlake-4x4'."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
