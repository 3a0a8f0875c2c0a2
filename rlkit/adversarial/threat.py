"""Threats: what an adversary may do to a policy in one task, as data.

A threat is a TOML file or an object. Attacks, certificates and exact worst cases read the same one, and every result
records its digest, so two tables are comparable if their digests are equal. A task has one numeric scale, in raw units
and committed in ``threats/``, for every policy. Deviations of a policy's own rollouts are another scale for each
policy, and results in them are not comparable.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from rlkit.arrays import as_numbers
from rlkit.evaluation import EVALUATION_SEED

from .budget import Budget, Norm
from .victims.base import Access

Knowledge = Literal["state", "step", "weights", "draw"]
Played = Literal["greedy", "sampled"]
Period = Literal["step", "episode"]
SELECTION_SEED = 20_000  # first seed of the episodes on which attacks are selected
DIGEST_LETTERS = 12
RAW = "raw observation units"


@dataclass(frozen=True)
class Threat:
    """Limits of an adversary: the observations it may show, how often, what it knows, and how it is evaluated.

    Args:
        env: id of the environment, whose ``reset`` is the start distribution; None for any.
        env_kwargs: arguments of the environment's constructor.
        epsilons: sizes of the attack, in units of ``scale``, each 0 or more; sorted and each kept once.
        norm: "inf", "2" or "1", see ``Budget``.
        scale: unit of epsilon in raw observation units: one number, or one per feature.
        unit: name of that unit in tables.
        mask: per feature, whether it may be changed; empty for all.
        shape: shape of an observation with several axes, to which scale, mask, low and high are reshaped; empty for
            flat observations.
        low, high: bounds of shown observations, one number or one per feature; empty for none.
        attacks_per_episode: most steps of an episode that may be attacked; None for no limit.
        epsilon_per: "step" if epsilon bounds every shown observation separately. "episode" if it bounds the l2 length
            of all offsets of an episode together, ``sqrt(sum_t |z_t|^2) <= epsilon``; then the norm must be "2". A
            per-step epsilon costs ``epsilon sqrt(T)`` of such a budget in T steps.
        knows: what the adversary knows. "state" is the true state. "step" allows it to depend on the step of the
            episode. "weights" gives it the scores and gradients of the policy; without them it sees actions. "draw" is
            the number that a sampled action is drawn with, an option of exact worst cases alone.
        victim: whether the policy plays its greedy actions or samples them.
        horizon: steps after which an episode ends; None for the environment's own limit.
        first_seed: seed of the first episode that is reported; the others follow by one.
        selection_seed: seed of the first episode on which attacks are selected, which are never reported.

    Raises:
        ValueError: a value that is not one of those above; the message names the field.
    """

    env: str | None = None
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    epsilons: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    norm: Norm = "inf"
    scale: tuple[float, ...] = (1.0,)
    unit: str = RAW
    mask: tuple[bool, ...] = ()
    shape: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    attacks_per_episode: int | None = None
    epsilon_per: Period = "step"
    knows: tuple[Knowledge, ...] = ("state", "step", "weights")
    victim: Played = "greedy"
    horizon: int | None = None
    first_seed: int = EVALUATION_SEED
    selection_seed: int = SELECTION_SEED

    def __post_init__(self) -> None:
        for name in ("epsilons", "scale", "low", "high"):
            given = getattr(self, name)
            empty = name in ("low", "high") and isinstance(given, list | tuple) and not given
            object.__setattr__(self, name, () if empty else as_numbers(given, name))
        object.__setattr__(self, "epsilons", tuple(sorted(set(self.epsilons))))
        object.__setattr__(self, "env_kwargs", dict(self.env_kwargs))
        object.__setattr__(self, "mask", tuple(self.mask))
        object.__setattr__(self, "knows", tuple(self.knows))
        object.__setattr__(self, "shape", tuple(self.shape))
        if not all(isinstance(each, bool) for each in self.mask):
            raise ValueError(f"mask must hold true or false for every feature, got {list(self.mask)}")
        unknown = set(self.knows) - set(get_args(Knowledge))
        if unknown or "state" not in self.knows:
            raise ValueError(
                f"knows must hold 'state' and may hold 'step', 'weights' and 'draw', got {list(self.knows)}"
            )
        if "draw" in self.knows and self.victim == "greedy":
            raise ValueError("a greedy policy draws no numbers: leave 'draw' out of knows, or set victim to 'sampled'")
        if self.victim not in get_args(Played):
            raise ValueError(f"victim must be 'greedy' or 'sampled', got {self.victim!r}")
        if self.epsilon_per not in get_args(Period):
            raise ValueError(f"epsilon_per must be 'step' or 'episode', got {self.epsilon_per!r}")
        if self.epsilon_per == "episode" and self.norm != "2":
            raise ValueError(f"an epsilon per episode is an l2 length: set norm to '2', got {self.norm!r}")
        _refuse_count("attacks_per_episode", self.attacks_per_episode, smallest=0)
        _refuse_count("horizon", self.horizon, smallest=1)
        for name in ("first_seed", "selection_seed"):
            _refuse_count(name, getattr(self, name), smallest=0)
        for epsilon in self.epsilons:
            self.budget(epsilon)  # refuses what a budget refuses

    def budget(self, epsilon: float = 0.0) -> Budget:
        """Return the budget of one observation at an epsilon; an episode's may be spent on a single one.

        Raises:
            ValueError: epsilon is negative or not finite.
        """
        each = {name: self._in_shape(name) for name in ("scale", "mask", "low", "high") if getattr(self, name)}
        return Budget(epsilon, norm=self.norm, unit=self.unit, **each)

    def _in_shape(self, name: str) -> Any:
        """Return one number as a number, which fits observations of every shape, and several in ``shape``."""
        given = getattr(self, name)
        if len(given) == 1:
            return given[0]
        try:
            return np.asarray(given).reshape(self.shape or (len(given),))
        except ValueError:
            raise ValueError(
                f"{name} holds {len(given)} entries, which do not fit the shape {list(self.shape)}"
            ) from None

    @property
    def access(self) -> Access:
        """The most that an attack may ask of the policy."""
        return "gradients" if "weights" in self.knows else "actions"

    @cached_property
    def digest(self) -> str:
        """The first letters of the SHA-256 of all fields but the name of the unit, the same on every machine."""
        content = {name: value for name, value in self.as_dict().items() if name != "unit"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGEST_LETTERS]

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as JSON and TOML know them, without those of value None; ``epsilon_per`` if not "step"."""
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        if self.epsilon_per == "step":
            del listed["epsilon_per"]  # threats that were recorded before the field existed keep their digest
        return {name: value for name, value in listed.items() if value is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str = "the threat") -> Self:
        """Make a threat from what ``as_dict`` returned or a TOML file holds.

        Raises:
            ValueError: an unknown field or a wrong value; the message begins with ``where``.
        """
        known = [each.name for each in fields(cls)]
        for name in content:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise ValueError(f"{where} has an unknown field {name!r}: {hint}")
        try:
            return cls(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from error

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a TOML file.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not TOML, or see ``from_dict``.
        """
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a TOML file: {error}") from error
        return cls.from_dict(content, str(path))


def committed_threats() -> tuple[Threat, ...]:
    """Return the threats of ``threats/``, one per task, in the order of their file names."""
    folder = files(__package__) / "threats"
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".toml")), key=lambda each: each.name)
    return tuple(Threat.from_dict(tomllib.loads(each.read_text(encoding="utf-8")), each.name) for each in found)


def committed_threat(env: str, env_kwargs: Mapping[str, Any] | None = None) -> Threat | None:
    """Return the committed threat of a task; None if there is none for this environment with these arguments."""
    wanted = (env, dict(env_kwargs or {}))
    return next((threat for threat in committed_threats() if (threat.env, threat.env_kwargs) == wanted), None)


def _refuse_count(name: str, number: object, smallest: int) -> None:
    if number is None and name in ("attacks_per_episode", "horizon"):
        return
    if not isinstance(number, int) or isinstance(number, bool) or number < smallest:
        raise ValueError(f"{name} must be a whole number of at least {smallest}, got {number!r}")
