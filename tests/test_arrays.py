"""Every public method that takes observations takes them in every form, with the same answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from victims import Linear, normal, uniform

from rlkit.adversarial import (
    FGSM,
    BestOf,
    Budget,
    DecisionTrees,
    EncodedVictim,
    LabelVictim,
    ModuleVictim,
    Rescaled,
    Stacked,
    TablePolicy,
    adversarial_distance,
    aliasing_epsilon,
    along_ray,
    cross_section,
    distance_curve,
    examine,
    execute,
    first_order_flip,
    margin_radius,
    padded,
    perturb,
    saliency,
    steepness,
    sweep,
    warnings_of,
)
from rlkit.agents import A2C, DQN, TabularQ
from rlkit.arrays import as_action_mask, as_actions, as_tensor, as_whole_number

B, D = 3, 4
LINEAR, BUDGET = Linear(normal(1, D, 3)), Budget(0.3)
AGENT = DQN("CartPole-v1", net_arch=(16,), device="cpu")
CRITIC = A2C("CartPole-v1", net_arch=(16,), device="cpu")
NETWORK = nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, 3))
TREE = DecisionTrees(torch.tensor([[0]]), torch.tensor([[0.0]], dtype=torch.float64), torch.tensor([[0, 1]]))
METHODS: dict[str, Callable[[Any], Tensor]] = {
    **{f"DQN.{name}": getattr(AGENT, name) for name in ("q_values", "values", "act", "action_probabilities", "scores")},
    **{
        f"A2C.{name}": getattr(CRITIC, name) for name in ("values", "act", "action_probabilities", "scores", "features")
    },
    "Ensemble.scores": AGENT.ensemble().scores,
    "ModuleVictim.scores": ModuleVictim(NETWORK).scores,
    "Stacked.scores": Stacked([NETWORK]).scores,
    "LabelVictim.act": LabelVictim(lambda obs: (obs[:, 0] > 0).astype(int)).act,
    "DecisionTrees.act": TREE.act,
    "TablePolicy.act": TablePolicy(np.eye(D), np.arange(D)).act,
    "EncodedVictim.encode": EncodedVictim(LINEAR, padded(D, 6)).encode,
    "Rescaled.act": Rescaled(LINEAR, torch.ones(D)).act,
    "perturb": lambda obs: perturb(FGSM(), LINEAR, obs, 0.3),
    "execute": lambda obs: execute(FGSM(), LINEAR, obs, BUDGET).margin,
    "sweep": lambda obs: sweep(FGSM(), LINEAR, obs, 0.0, 0.3).margin[0],
    "saliency": lambda obs: saliency(LINEAR, obs, 1, 0.1),
    "distance_curve": lambda obs: distance_curve(FGSM(), LINEAR, obs, 0.0, 5.0).distance,
    "adversarial_distance": lambda obs: adversarial_distance(FGSM(), LINEAR, obs, 5.0).distance,
    "first_order_flip": lambda obs: first_order_flip(LINEAR, obs, 0.1),
    "steepness": lambda obs: steepness(LINEAR, obs, 0.1),
    "along_ray": lambda obs: along_ray(LINEAR, obs, [1.0] * D, 0.1, 0.5)[0],
    "cross_section": lambda obs: cross_section(LINEAR, obs, 0.1, 0.5, [0.1, 0.9, 0.4, 0.6]).margin[0, 0],
    "Budget.project": lambda obs: BUDGET.project(obs, obs),
    "margin_radius": lambda obs: margin_radius(obs, [1.0] * D),
}
WHOLE = normal(1, B, D, seed=5)
FORMS: dict[str, tuple[Any, Tensor]] = {  # what is given, and the tensor that it stands for
    "array [S, B, D]": (WHOLE.numpy(), WHOLE),
    "double array": (WHOLE.double().numpy(), WHOLE),
    "list [S, B, D]": (WHOLE.tolist(), WHOLE),
    "tensor [B, D]": (WHOLE[0], WHOLE),
    "array [B, D]": (WHOLE[0].numpy(), WHOLE),
    "list [B, D]": (WHOLE[0].tolist(), WHOLE),
    "one tensor": (WHOLE[0, 0], WHOLE[:, :1]),
    "one array": (WHOLE[0, 0].numpy(), WHOLE[:, :1]),
    "one list": (WHOLE[0, 0].tolist(), WHOLE[:, :1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
def test_every_form_gives_the_answer_of_the_tensor(method: str, form: str) -> None:
    given, tensor = FORMS[form]
    if method == "Budget.project":
        BUDGET.check(given)
    torch.testing.assert_close(METHODS[method](given), METHODS[method](tensor), equal_nan=True)


@pytest.mark.parametrize("given", [None, "abc", {"a": 1}, [[0.0], [0.0, 1.0]], object()])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_array_is_refused_in_one_sentence(method: str, given: Any) -> None:
    with pytest.raises(ValueError, match="must be numbers in a tensor, numpy array or nested list"):
        METHODS[method](given)


def test_observations_go_to_every_row_of_an_agent() -> None:
    agent = DQN("CartPole-v1", seeds=[0, 1], net_arch=(16,), device="cpu")
    whole = WHOLE.expand(2, B, D).contiguous()
    assert torch.equal(agent.q_values(WHOLE[0].numpy()), agent.q_values(whole))
    with pytest.raises(ValueError, match="one row per seed, 2, got 1 in shape"):
        agent.q_values(WHOLE)
    with pytest.raises(ValueError, match=r"obs has shape \[5\] .* does not fit Box"):
        agent.q_values(np.zeros(5))
    with pytest.raises(TypeError, match="an agent is indexed by one row"):
        agent[0:2]  # type: ignore[index]


def test_masks_and_actions() -> None:
    for mask in ([False, True], [[False, True]], np.array([[[False, True]] * B])):
        if np.ndim(mask) == 2:
            mask = mask * B
        assert AGENT.act(WHOLE, True, mask).tolist() == [[1] * B]
    with pytest.raises(ValueError, match="allows no action in row 0, copy 0"):
        AGENT.act(WHOLE, True, [False, False])
    with pytest.raises(ValueError, match=r"action_mask has shape \[3\], expected \[1, 3, 2\]"):
        AGENT.action_probabilities(WHOLE, [True] * 3)
    assert as_action_mask(None, WHOLE) is None
    assert as_actions([0, 1, 2], WHOLE).tolist() == [[0, 1, 2]]
    assert as_actions(1, WHOLE).tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="integers"):
        as_actions([0.0, 1.0, 2.0], WHOLE)
    assert as_tensor([1.5], "x", double=True).dtype == torch.float64


def test_a_table_reads_integers() -> None:
    table = TabularQ("FrozenLake-v1", seeds=[0, 1], device="cpu")
    assert table.act([3]).shape == (2, 1)
    assert table.act(3).shape == (2, 1)
    assert torch.equal(table.act(np.eye(16)[3:4]), table.act(3))
    for wrong in ([[3.7]], np.eye(15)[:1]):
        with pytest.raises(ValueError, match=r"which does not fit Discrete\(16\)"):
            table.act(wrong)


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_refused_or_counted() -> None:
    bad = WHOLE.clone()
    bad[0, 1, 2] = torch.nan
    for method in ("execute", "sweep", "saliency", "distance_curve", "first_order_flip", "along_ray"):
        with pytest.raises(ValueError, match=r"obs must be finite, got nan at index \[0, 1, 2\]"):
            METHODS[method](bad)
    with pytest.raises(ValueError, match="observation must be finite"):
        AGENT.predict(np.array([0.0, np.nan, 0.0, 0.0], dtype=np.float32))
    with pytest.raises(ValueError, match="observations must be finite"):
        aliasing_epsilon([[0.0], [np.nan]], 0.1)
    with pytest.raises(ValueError, match="lipschitz must be finite"):
        margin_radius([1.0, 2.0], [np.nan, 1.0])
    broken = Linear(LINEAR.weight * torch.nan)
    with pytest.warns(RuntimeWarning, match="scores of Linear are NaN or infinite at 3 of 3"):
        execute(FGSM(), broken, WHOLE, BUDGET)
    examined = examine(broken, WHOLE, BUDGET, [0.1])
    assert examined.nonfinite == 1.0
    assert warnings_of(examined)[0].check == "scores not finite"


def test_no_observations_and_no_epsilon_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one observation"):
        execute(FGSM(), LINEAR, WHOLE[:, :0], BUDGET)
    with pytest.raises(ValueError, match="epsilon must hold at least one number, got none"):
        Budget(epsilon=torch.tensor([]))
    assert BestOf(FGSM()).attacks == (FGSM(),)  # type: ignore[arg-type]


def moved(obs: Any) -> Any:
    obs -= 5
    return obs


class InPlace:
    """A victim, a timing and an attack that change what they are given."""

    name, access, num_seeds = "in place", "nothing", 1

    def scores(self, obs: Tensor) -> Tensor:
        return moved(obs) @ LINEAR.weight

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.scores(obs).argmax(dim=-1)

    def noise_width(self, num_features: int) -> int:
        return num_features

    def propose(self, victim: Any, obs: Tensor, budget: Budget, u: Tensor, target: Any = None) -> Tensor:
        return moved(obs) + moved(u)


@pytest.mark.parametrize(
    "victim",
    [LabelVictim(lambda obs: (moved(obs)[:, 0] > -5).astype(int)), ModuleVictim(nn.Sequential(NETWORK)), InPlace()],
    ids=["labels", "module", "own"],
)
def test_nobody_changes_the_callers_observations(victim: Any) -> None:
    obs, u = WHOLE.clone(), uniform(1, B, D)
    kept, numbers = obs.clone(), u.clone()
    result = execute(InPlace(), victim, obs, BUDGET, u)  # type: ignore[arg-type]
    assert torch.equal(obs, kept)
    assert torch.equal(u, numbers)
    assert (result.distance <= 0.3 + 1e-6).all()


@pytest.mark.parametrize("given", [1000, 1e3, np.int64(1000), np.float32(1000), np.array(1e3), torch.tensor(1000)])
def test_a_whole_number_of_any_kind_is_an_int(given: Any) -> None:
    number = as_whole_number(given, "steps")
    assert type(number) is int
    assert number == 1000


@pytest.mark.parametrize("given", ["1000", 300.5, float("nan"), float("inf"), None, True, [1000], 1j, np.array([3])])
def test_other_counts_are_refused_by_name_and_value(given: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"steps must be a whole number, got {given!r}")):
        as_whole_number(given, "steps")


def test_a_count_has_limits() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        as_whole_number(0, "steps")
    with pytest.raises(ValueError, match=r"steps must be below 2\*\*62, got 1e\+30"):
        as_whole_number(1e30, "steps")
    assert as_whole_number(0, "steps", 0) == 0
