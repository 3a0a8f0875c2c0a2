"""Victims: policies under attack, and what an attack may ask of them.

A victim with ``act`` can be attacked by attacks that see actions. One that also has ``scores``, Q-values or logits, can
be attacked by those that see scores or gradients. Agents of rlkit, ensembles and ``rlkit.sb3.SB3Policy`` are victims as
they are. ``ModuleVictim`` wraps torch modules, ``LabelVictim`` anything that predicts actions, and ``OneHot`` a victim
of integer observations. Attacks never change a victim, nor the ``grad``, the training mode or the ``requires_grad`` of
its modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlkit.arrays import Given, as_observations
from rlkit.nn import encode, in_evaluation_mode
from rlkit.sb3 import SB3Policy
from rlkit.types import Policy, Starts

from ..objectives import PosedObjective

Access = Literal["nothing", "actions", "scores", "gradients"]  # what an attack asks of the victim, from least to most


class Victim(Protocol):
    """A policy with scores, which must be differentiable if an attack uses gradients."""

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """Return actions ``[S, B]`` int64 for observations ``[S, B, *observation]``."""
        ...

    def scores(self, obs: Tensor) -> Tensor:
        """Return one number per action ``[S, B, A]``, Q-values or logits, whose argmax is the greedy action."""
        ...


class ModuleVictim:
    """Torch modules ``[B, *observation] -> [B, A]`` as a victim, one per row of the seed axis.

    They compute in evaluation mode (no dropout, fixed batch statistics) and return to their own mode afterwards.

    Args:
        modules: one module, or one per training seed.
        scores_are_values: whether they give action values; logits otherwise.

    Raises:
        ValueError: there is no module.
    """

    def __init__(self, modules: nn.Module | Sequence[nn.Module], scores_are_values: bool = False) -> None:
        self.modules = (modules,) if isinstance(modules, nn.Module) else tuple(modules)
        if not self.modules:
            raise ValueError("modules must hold at least one torch module, got none")
        self.scores_are_values = scores_are_values

    @property
    def num_seeds(self) -> int:
        """S, one row per module."""
        return len(self.modules)

    @property
    def device(self) -> torch.device:
        """The device of observations: that of the first parameter, or the CPU where there is none."""
        parameter = next(self.modules[0].parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def scores(self, obs: Given) -> Tensor:
        """Return the modules' outputs, ``[S, B, *observation] -> [S, B, A]``, differentiable.

        Raises:
            ValueError: the observations have another number of rows than there are modules.
        """
        rows = as_observations(obs, self)
        with in_evaluation_mode(self.modules):
            # copies, because a module may compute in place
            return torch.stack([module(row.clone()) for module, row in zip(self.modules, rows, strict=True)])

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the actions of the highest score, ``[S, B]``.

        Raises:
            ValueError: ``deterministic=False``; a module does not define how to sample.
        """
        _refuse_sampling(deterministic, "a module")
        with torch.no_grad():
            return self.scores(obs).argmax(dim=-1)


class LabelVictim:
    """A model that predicts actions only, as a victim: a decision tree, a rule, a remote service.

    Args:
        model: one function or object with ``predict`` (as in scikit-learn and stable-baselines3), or one per training
            seed: observations ``[n, *observation]`` as a numpy array -> actions ``[n]``.

    Raises:
        ValueError: there is no model, or one is neither callable nor has ``predict``.
    """

    def __init__(self, model: Any) -> None:
        self.models = tuple(model) if isinstance(model, Sequence) else (model,)
        if not self.models:
            raise ValueError("model must hold at least one model, got none")
        self._predict = [_prediction(each) for each in self.models]

    @property
    def num_seeds(self) -> int:
        """S, one row per model."""
        return len(self.models)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the predicted actions, ``[S, B]`` int64.

        Raises:
            ValueError: ``deterministic=False``, the numbers of rows and models differ, or a prediction has another
                shape than ``[B]``.
        """
        _refuse_sampling(deterministic, "a model that predicts")
        obs = as_observations(obs, self)
        # copies, because a model may compute in place
        copies = (row.detach().cpu().clone().numpy() for row in obs)
        rows = [np.asarray(predict(row)) for predict, row in zip(self._predict, copies, strict=True)]
        for row in rows:
            if row.shape != (obs.shape[1],):
                raise ValueError(f"predict must give one action per observation, [{obs.shape[1]}], got {row.shape}")
        return torch.from_numpy(np.stack(rows).astype(np.int64)).to(obs.device)


class OneHot:
    """A victim of integer observations as a victim of their one-hot codes, which can be attacked.

    The attack changes the code ``[S, B, n]``: the victim is shown n real numbers instead of a unit vector.

    Args:
        victim: accepts codes in ``scores`` and ``act``, as agents of rlkit and ``SB3Policy`` do.
        space: space of the observations; None for ``victim.observation_space``.

    Raises:
        ValueError: the space is not Discrete.
    """

    def __init__(self, victim: Victim, space: spaces.Space[Any] | None = None) -> None:
        victim = as_victim(victim)
        found = getattr(victim, "observation_space", None) if space is None else space
        if not isinstance(found, spaces.Discrete):
            raise ValueError(f"one-hot codes are for Discrete observations, got {found}")
        self.victim, self.space = victim, found
        self.observation_space = found
        self.num_seeds: int | None = getattr(victim, "num_seeds", None)
        self.seeds: Sequence[int] | None = getattr(victim, "seeds", None)
        self.scores_are_values = bool(getattr(victim, "scores_are_values", False))
        self.starts: Starts = getattr(victim, "starts", Starts())
        if hasattr(victim, "values"):
            self.values: Callable[[Given], Tensor] = lambda obs: victim.values(self.encode(obs))

    def encode(self, obs: Given) -> Tensor:
        """Encode integers ``[S, B]`` as ``[S, B, n]``; codes are returned as they are."""
        return encode(as_observations(obs, self), self.space)

    def scores(self, obs: Given) -> Tensor:
        """Return the victim's scores ``[S, B, A]`` of integers or codes."""
        return self.victim.scores(self.encode(obs))

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the victim's actions ``[S, B]`` for integers or codes."""
        return self.victim.act(self.encode(obs), deterministic)


class IsolatedVictim:
    """A victim that receives copies of observations, so that in-place changes by it do not reach the caller.

    Args:
        victim: the wrapped policy; its other attributes are passed through.
    """

    def __init__(self, victim: Policy) -> None:
        self.victim = victim

    def act(self, obs: Tensor, deterministic: bool = True, action_mask: Tensor | None = None) -> Tensor:
        """Return the victim's actions, ``[S, B]``; only a victim that heeds masks is given one."""
        masks = () if action_mask is None else (action_mask,)
        return self.victim.act(self._shown(obs), deterministic, *masks)

    @property
    def scores(self) -> Callable[[Tensor], Tensor]:
        """The victim's scores, ``[S, B, *observation] -> [S, B, A]``.

        Raises:
            AttributeError: the victim has none.
        """
        found = self.victim.scores  # type: ignore[attr-defined]
        return lambda obs: found(self._shown(obs))

    @property
    def values(self) -> Callable[[Tensor], Tensor]:
        """The victim's values, ``[S, B, *observation] -> [S, B]``.

        Raises:
            AttributeError: the victim has none.
        """
        found = self.victim.values  # type: ignore[attr-defined]
        return lambda obs: found(self._shown(obs))

    @property
    def scores_and_pullback(self) -> Callable[[Tensor], Any]:
        """The victim's scores with their pullback, see ``linearize``.

        Raises:
            AttributeError: the victim has none.
        """
        found = self.victim.scores_and_pullback  # type: ignore[attr-defined]
        return lambda obs: found(self._shown(obs))

    def _shown(self, obs: Tensor) -> Tensor:
        return obs.clone()

    def __getattr__(self, name: str) -> Any:
        if name == "victim" or name.startswith("__"):
            raise AttributeError(name)  # not made yet, as in copying
        return getattr(self.victim, name)


class QueryCounter(IsolatedVictim):
    """A victim that counts the observations that it was queried at, as ``asked``.

    A call of ``scores_and_pullback`` that returns None does not count.
    """

    def __init__(self, victim: Policy) -> None:
        super().__init__(victim)
        self.asked = 0

    @property
    def scores_and_pullback(self) -> Callable[[Tensor], Any]:
        """The victim's ``scores_and_pullback``, counted.

        Raises:
            AttributeError: the victim has none.
        """
        found = self.victim.scores_and_pullback  # type: ignore[attr-defined]

        def counted(obs: Tensor) -> Any:
            answer = found(obs.clone())
            self.asked += 0 if answer is None else obs.shape[0] * obs.shape[1]
            return answer

        return counted

    def _shown(self, obs: Tensor) -> Tensor:
        self.asked += obs.shape[0] * obs.shape[1]
        return obs.clone()


def as_victim(victim: Any) -> Any:
    """Return a victim or policy as it is, and a model of stable-baselines3 (or a list of them) as ``SB3Policy``.

    Raises:
        ValueError: the object has no ``act``; the message names the wrapper to use.
    """
    if callable(getattr(victim, "act", None)):
        return victim
    models = victim if isinstance(victim, list | tuple) and victim else [victim]
    if all(hasattr(model, "policy") and hasattr(model, "predict") for model in models):
        return SB3Policy(victim)
    raise ValueError(
        f"a victim needs act(obs, deterministic), and {type(victim).__name__} has none: pass a trained agent or a "
        "model of stable-baselines3, or wrap a torch module in ModuleVictim and any other model in LabelVictim"
    )


def isolated(victim: Any) -> IsolatedVictim:
    """Return ``as_victim(victim)`` as an ``IsolatedVictim``."""
    return victim if isinstance(victim, IsolatedVictim) else IsolatedVictim(as_victim(victim))


def name_of(victim: Policy) -> str:
    """Return the name of a victim's class, for messages."""
    return type(victim.victim if isinstance(victim, IsolatedVictim) else victim).__name__


class Linearized(NamedTuple):
    """Scores and their derivatives by the observation."""

    scores: Tensor  # [S, B, A], without gradients
    pullback: Callable[[Tensor], Tensor]  # d value / d scores [S, B, A] -> d value / d obs [S, B, *observation]


def scores_of(victim: Victim, obs: Tensor) -> Tensor:
    """Return the victim's scores ``[S, B, A]`` without gradients.

    Raises:
        ValueError: the scores have another shape.
    """
    with torch.no_grad():
        return _checked(victim.scores(obs), obs)


def linearize(victim: Victim, obs: Tensor) -> Linearized:
    """Return the victim's scores and their pullback; no parameter gets a gradient.

    A victim with gradients in closed form has a method ``scores_and_pullback``. If it returns None, autograd is used.

    Raises:
        ValueError: the scores are not ``[S, B, A]``, or they do not depend differentiably on the observation.
    """
    by_hand = victim.scores_and_pullback(obs) if hasattr(victim, "scores_and_pullback") else None
    if by_hand is not None:
        return Linearized(*by_hand)
    with torch.enable_grad():
        x = obs.detach().clone().requires_grad_()
        scores = _checked(victim.scores(x), obs)
    if not scores.requires_grad:
        raise ValueError("the victim's scores do not depend differentiably on obs: take no_grad out of scores")

    def pullback(grad_output: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(scores, x, grad_output, retain_graph=True)
        return gradient

    return Linearized(scores.detach(), pullback)


def value_and_gradient(victim: Victim, goal: PosedObjective, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Return a goal's value ``[S, B]`` and its gradient ``[S, B, *observation]`` at observations, per example."""
    scores, pullback = linearize(victim, obs)
    value, grad_output = goal.value_and_grad(scores)
    return value, pullback(grad_output)


def _checked(scores: Tensor, obs: Tensor) -> Tensor:
    if scores.dim() != 3 or scores.shape[:2] != obs.shape[:2]:
        raise ValueError(f"scores of {list(obs.shape)} observations must be [S, B, A], got {list(scores.shape)}")
    return scores


def _refuse_sampling(deterministic: bool, what: str) -> None:
    if not deterministic:
        raise ValueError(f"{what} does not define how to sample actions: use deterministic=True")


def _prediction(model: Any) -> Callable[[Any], Any]:
    """Return ``model.predict`` or the model itself, without the state that stable-baselines3 adds to the actions."""
    predict = getattr(model, "predict", model)
    if not callable(predict):
        raise ValueError(f"a model needs predict or to be callable, got {type(model).__name__}")

    def actions(obs: Any) -> Any:
        predicted = predict(obs)
        return predicted[0] if isinstance(predicted, tuple) else predicted

    return actions
