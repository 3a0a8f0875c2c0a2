"""Reachable actions against mixed-integer programs, closed forms, attacks and thousands of samples."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from verified_networks import assert_consistent, largest_lead, linear, network, provoked, samples
from victims import NORMS, normal, uniform

from rlkit.adversarial import PGD, Budget, ModuleVictim, execute, probability_bounds, reachable_actions
from rlkit.adversarial.budget import DUAL, Norm
from rlkit.adversarial.verification import problem

# laws


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_no_excluded_action_is_ever_provoked(norm: Norm, activation: type[nn.Module]) -> None:
    victim = ModuleVictim([network(3, 16, 16, 3, seed=seed, activation=activation) for seed in range(2)])
    obs = normal(2, 20, 3).clamp(-1.5, 1.5)
    budget = Budget(0.3, norm=norm, scale=[1.0, 0.5, 2.0], mask=[True, True, False], low=-1.6, high=1.6)
    found = reachable_actions(victim, obs, budget)
    assert_consistent(found, victim, obs, budget)
    assert not (provoked(victim, samples(obs, budget, 1000), 3) & found.excluded).any()
    attacked = execute(PGD(20), victim, obs, budget).obs
    assert not (provoked(victim, attacked[:, None], 3) & found.excluded).any()
    assert found.open.sum(dim=(0, 1, 2)) <= 1
    assert found.excluded.any(), "nothing was certified"
    assert (found.reachable.sum(dim=-1) > 1).any(), "nothing was attacked"


@settings(max_examples=25, deadline=None)
@given(
    features=st.integers(1, 5),
    hidden=st.lists(st.integers(1, 12), max_size=3),
    actions=st.integers(1, 5),
    activation=st.sampled_from([nn.ReLU, nn.Tanh]),
    norm=st.sampled_from(NORMS),
    epsilon=st.floats(0.0, 1.0),
    masked=st.booleans(),
    bounded=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_verdicts_hold_for_random_networks(
    features: int,
    hidden: list[int],
    actions: int,
    activation: type[nn.Module],
    norm: Norm,
    epsilon: float,
    masked: bool,
    bounded: bool,
    seed: int,
) -> None:
    victim = ModuleVictim(network(features, *hidden, actions, seed=seed, activation=activation))
    mask = [i != 0 for i in range(features)] if masked else None
    low, high = (-0.4, 0.5) if bounded else (-np.inf, np.inf)
    budget = Budget(epsilon, norm=norm, scale=np.linspace(0.5, 1.0, features), mask=mask, low=low, high=high)
    obs = budget.cut(normal(1, 4, features, seed=seed))
    found = reachable_actions(victim, obs, budget, max_boxes=100)
    assert_consistent(found, victim, obs, budget)
    assert not (provoked(victim, samples(obs, budget, 200), actions) & found.excluded).any()


# exact answers


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "seed"), [((2, 8, 8, 3), 0), ((3, 10, 4), 1), ((4, 6, 6, 6, 2), 2)])
def test_verdicts_are_those_of_a_mixed_integer_program(sizes: tuple[int, ...], seed: int) -> None:
    module = network(*sizes, seed=seed)
    obs, budget = normal(1, 12, sizes[0], seed=seed), Budget(0.4)
    found = reachable_actions(ModuleVictim(module), obs, budget)
    seen = {True: 0, False: 0}
    for i, action in itertools.product(range(obs.shape[1]), range(sizes[-1])):
        true = obs[0, i].double().numpy()
        lead = largest_lead(module, true - 0.4, true + 0.4, action)
        if abs(lead) > 1e-4:
            assert bool(found.reachable[0, i, action]) == (lead > 0)
            assert bool(found.excluded[0, i, action]) == (lead < 0)
            seen[lead > 0] += 1
    assert min(seen.values()) >= 8


@pytest.mark.slow
def test_verdicts_are_those_of_every_activation_pattern() -> None:
    # 12 units cut the square into cells, one per pattern, on which the network is linear: its extremes are at corners
    # of cells, where two of the 12 lines and the 4 sides meet
    module = network(2, 12, 2, seed=3)
    weight, bias = (parameter.detach().double().numpy() for parameter in module[0].parameters())
    row = (module[2].weight[1] - module[2].weight[0]).detach().double().numpy()
    offset = (module[2].bias[1] - module[2].bias[0]).detach().item()
    obs, epsilon = normal(1, 100, 2, seed=3), 0.5
    found = reachable_actions(ModuleVictim(module), obs, Budget(epsilon))
    sides = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    for i, x in enumerate(obs[0].double().numpy()):
        normals = np.concatenate([weight, sides])
        constants = np.concatenate([bias, -np.array([x[0] - epsilon, x[0] + epsilon, x[1] - epsilon, x[1] + epsilon])])
        corners = [
            np.linalg.solve(normals[list(pair)], -constants[list(pair)])
            for pair in itertools.combinations(range(16), 2)
            if abs(np.linalg.det(normals[list(pair)])) > 1e-9
        ]
        inside = np.array([corner for corner in corners if (np.abs(corner - x) <= epsilon + 1e-9).all()])
        values = np.maximum(inside @ weight.T + bias, 0.0) @ row + offset
        assert bool(found.reachable[0, i, 1]) == (values.max() > 0)
        assert bool(found.reachable[0, i, 0]) == (values.min() <= 0)
    assert not found.open.any()
    assert 10 < (found.reachable.sum(dim=-1) == 2).sum(dim=(0, 1)) < 90


@pytest.mark.parametrize("norm", NORMS)
def test_linear_victims_flip_at_the_closed_form(norm: Norm) -> None:
    # the margin changes by epsilon |scale w|_q over the features that may move
    weight = normal(2, 4, seed=5).numpy()
    victim = ModuleVictim(nn.Sequential(linear(weight, [0.3, 0.0])))
    obs = normal(1, 200, 4, seed=6)
    scale, mask = torch.tensor([1.0, 0.3, 2.0, 5.0]), torch.tensor([True, True, True, False])
    scores = victim.scores(obs).detach()
    own = scores.argmax(dim=-1)
    gain = torch.linalg.vector_norm(torch.from_numpy(weight[1] - weight[0]) * scale * mask, ord=DUAL[norm])
    radius = (scores[..., 0] - scores[..., 1]).abs() / gain
    for share, flips in ((0.999, False), (1.001, True)):
        budget = Budget(radius * share, norm=norm, scale=scale, mask=mask)
        found = reachable_actions(victim, obs, budget)
        assert_consistent(found, victim, obs, budget)
        other = (1 - own)[..., None]
        assert torch.equal(found.reachable.gather(2, other)[..., 0], torch.full((1, 200), flips))
        assert torch.equal(found.excluded.gather(2, other)[..., 0], torch.full((1, 200), not flips))


def test_bounds_of_observations_exclude_what_lies_outside() -> None:
    # the second action is chosen for x > 1 only
    victim = ModuleVictim(nn.Sequential(linear([[0.0], [1.0]], [1.0, 0.0])))
    obs = torch.tensor([[[0.5]]])
    assert reachable_actions(victim, obs, Budget(2.0)).reachable.all()
    for high, reached in ((0.999, False), (1.001, True)):
        for norm in NORMS:
            found = reachable_actions(victim, obs, Budget(2.0, norm=norm, high=high))
            assert found.reachable[0, 0].tolist() == [True, reached]
            assert found.excluded[0, 0].tolist() == [False, not reached]


def test_a_corner_of_the_box_outside_the_ball_makes_nothing_reachable() -> None:
    # the score difference is x + y - 1.5: in the box of radius 1, not in the balls
    victim = ModuleVictim(nn.Sequential(linear([[0.0, 0.0], [1.0, 1.0]], [1.5, 0.0])))
    obs = torch.zeros(1, 1, 2)
    expected = {"inf": True, "2": False, "1": False}
    for norm in NORMS:
        found = reachable_actions(victim, obs, Budget(1.0, norm=norm))
        assert bool(found.reachable[0, 0, 1]) == expected[norm]
        assert bool(found.excluded[0, 0, 1]) != expected[norm]


# what stays open


def test_ties_follow_the_victim_and_are_never_excluded() -> None:
    # equal scores everywhere: the victim takes the first action, and rounding could choose another
    victim = ModuleVictim(nn.Sequential(linear([[1.0, 2.0]] * 3, [0.5] * 3)))
    found = reachable_actions(victim, normal(1, 5, 2), Budget(0.1))
    assert found.reachable.sum(dim=(0, 1)).tolist() == [5, 0, 0]
    assert found.open.sum(dim=(0, 1)).tolist() == [0, 5, 5]
    assert found.boxes.tolist() == [[1] * 5], "a tie is not split"


def test_a_tie_at_one_point_is_reachable_for_the_first_action_only() -> None:
    # score 1 - score 0 = x - 1 over x <= 1: at most 0, and 0 at the bound, where the first action is chosen
    obs, budget = torch.tensor([[[0.5]]]), Budget(1.0, high=1.0)
    found = reachable_actions(ModuleVictim(nn.Sequential(linear([[0.0], [1.0]], [1.0, 0.0]))), obs, budget)
    assert found.open[0, 0].tolist() == [False, True]
    swapped = reachable_actions(ModuleVictim(nn.Sequential(linear([[1.0], [0.0]], [0.0, 1.0]))), obs, budget)
    assert swapped.reachable[0, 0].tolist() == [True, True]
    assert swapped.witness[0, 0, 0].tolist() == [1.0]


def test_a_limit_of_boxes_leaves_actions_open() -> None:
    victim = ModuleVictim(network(4, 16, 16, 2, seed=1))
    obs, budget = normal(1, 60, 4), Budget(0.4)
    found = reachable_actions(victim, obs, budget)
    assert found.boxes.amax(dim=(0, 1)) > 3
    few = reachable_actions(victim, obs, budget, max_boxes=3)
    assert few.boxes.amax(dim=(0, 1)) <= 3
    assert few.open.any()
    assert not (few.reachable & found.excluded).any()
    assert not (few.excluded & found.reachable).any()


def test_epsilon_zero_leaves_the_own_action() -> None:
    victim = ModuleVictim(network(3, 16, 4, seed=2))
    obs = normal(1, 50, 3)
    for norm in NORMS:
        found = reachable_actions(victim, obs, Budget(0.0, norm=norm))
        assert torch.equal(found.reachable, nn.functional.one_hot(victim.act(obs), 4).bool())
        assert torch.equal(found.excluded, ~found.reachable)


# rows


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_a_row_is_the_row_alone(norm: Norm) -> None:
    modules = [network(3, 32, 32, 3, seed=seed, activation=nn.Tanh) for seed in range(3)]
    obs = normal(3, 30, 3)
    epsilon = torch.rand(3, 30, generator=torch.Generator().manual_seed(0)) / 2
    together = reachable_actions(ModuleVictim(modules), obs, Budget(epsilon, norm=norm))
    for row, module in enumerate(modules):
        alone = reachable_actions(ModuleVictim(module), obs[row : row + 1], Budget(epsilon[row : row + 1], norm=norm))
        for one, part in zip(together, alone, strict=True):
            assert torch.equal(one[row : row + 1], part)


@pytest.mark.parametrize("question", [reachable_actions, probability_bounds])
def test_many_observations_are_decided_in_parts(question: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, obs = ModuleVictim([network(2, 16, 3, seed=seed) for seed in range(2)]), normal(2, 23, 2)
    budget = Budget(uniform(2, 23), norm="2")
    whole = question(victim, obs, budget)
    monkeypatch.setattr(problem, "TOGETHER", 10)
    for one, part in zip(whole, question(victim, obs, budget), strict=True):
        torch.testing.assert_close(part, one, atol=1e-6, rtol=0.0)


def test_observations_of_several_axes_are_verified() -> None:
    module = nn.Sequential(nn.Flatten(), *network(4, 16, 2, seed=4))
    obs = normal(1, 10, 2, 2)
    flat = reachable_actions(ModuleVictim(module[1:]), obs.flatten(2), Budget(0.2))
    found = reachable_actions(ModuleVictim(module), obs, Budget(0.2))
    assert torch.equal(found.reachable, flat.reachable)
    assert torch.equal(found.witness.flatten(3), flat.witness)
    assert found.witness.shape == (1, 10, 2, 2, 2)


# refusals


def test_bad_input_is_refused() -> None:
    victim, obs = ModuleVictim(network(3, 8, 2)), normal(1, 5, 3)
    with pytest.raises(ValueError, match="max_boxes must be at least 1, got 0"):
        reachable_actions(victim, obs, Budget(0.1), max_boxes=0)
    with pytest.raises(ValueError, match="with 3 features"):
        reachable_actions(victim, normal(1, 5, 4), Budget(0.1))
    with pytest.raises(ValueError, match="integers have no gradient"):
        reachable_actions(victim, torch.zeros(1, 5, 3, dtype=torch.int64), Budget(0.1))
    with pytest.raises(ValueError, match="obs must be finite"):
        reachable_actions(victim, obs / 0.0, Budget(0.1))
    broken = network(3, 8, 2)
    broken[0].weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite, and no certificate holds"):
        reachable_actions(ModuleVictim(broken), obs, Budget(0.1))


# networks of a competition

VNNCOMP = os.environ.get("RLKIT_VNNCOMP")


@pytest.mark.skipif(not VNNCOMP, reason="RLKIT_VNNCOMP does not name the folder of vnncomp_rl.npz")
@pytest.mark.parametrize(("name", "falsified"), [("cartpole", 4), ("lunarlander", 47)])
def test_properties_of_the_verification_competition_are_decided(name: str, falsified: int) -> None:
    arrays: dict[str, Any] = dict(np.load(Path(VNNCOMP or "") / "vnncomp_rl.npz"))
    found = [competition_property(arrays, name, number) for number in range(50)]
    assert all(verdict.sum(dim=0) == 1 for verdict in found), "a property is open"
    assert sum(bool(verdict[0]) for verdict in found) == falsified


def competition_property(arrays: dict[str, Any], name: str, number: int) -> Tensor:
    """Whether output i <= output j somewhere in the box, and whether nowhere: ties are the first action's."""
    layers = [linear(arrays[f"{name}_w{i}"], arrays[f"{name}_b{i}"]) for i in (1, 2, 3)]
    i, j = arrays[f"{name}_pair"][number]
    last = linear(arrays[f"{name}_w3"][[j, i]], arrays[f"{name}_b3"][[j, i]])
    victim = ModuleVictim(nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), last))
    low, high = (torch.from_numpy(arrays[f"{name}_{end}"][number]) for end in ("low", "high"))
    obs = ((low + high) / 2).float()[None, None]
    budget = Budget(1.0, scale=(high - low).float(), low=low.float(), high=high.float())
    found = reachable_actions(victim, obs, budget)
    return torch.stack([found.reachable[0, 0, 0], found.excluded[0, 0, 0]])
