"""Tree search through deterministic simulators: brute force over sequences, and execution in the simulator."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from simulators import FALLS, POLE, SCALE, STARTS, VICTIM, Walk, homing

from rlkit.adversarial import FGSM, AttackedPolicy, Budget, Noise, TreeSearch, fall_bounds, robustness_curve
from rlkit.agents import PPO

BUDGET = Budget(1.0, scale=SCALE)


def search(**given) -> TreeSearch:
    return TreeSearch(POLE, lambda states: -FALLS.danger(states), FGSM(), **given)


def executed(victim, attacker, starts, steps):
    """Steps until each copy of every row falls, played with the attacker in between."""
    state = np.repeat(starts[None].astype(np.float64), victim.num_seeds, axis=0)
    alive, lengths = np.ones(state.shape[:2], bool), np.zeros(state.shape[:2], int)
    for _ in range(steps):
        obs = torch.from_numpy(state.astype(np.float32))
        action = victim.act(attacker.perturb(obs)).numpy()
        state, _, fallen = POLE.transition(state, action, np.zeros((*alive.shape, 0)))
        lengths += alive
        alive &= ~fallen
    return lengths


@pytest.mark.slow
def test_the_plan_is_what_happens_and_no_shorter_fall_was_excluded() -> None:
    attacker = AttackedPolicy(VICTIM, search(beam=8), BUDGET)
    lengths = executed(VICTIM, attacker, STARTS, POLE.max_steps)
    plan = search(beam=8).plan(VICTIM, torch.from_numpy(STARTS)[None].repeat(2, 1, 1), BUDGET, POLE.max_steps)
    assert (plan.value.numpy() == lengths).all()
    assert (plan.length.numpy() == lengths).all()
    bounds = fall_bounds(POLE, VICTIM, STARTS, BUDGET, danger=FALLS.danger, floor=FALLS.floor, max_nodes=300)
    assert (bounds.lower <= lengths).all()
    assert (lengths <= bounds.natural).all()
    assert (lengths < bounds.natural).any()


@pytest.mark.parametrize("epsilon", [0.5, 1.5, 2.5])
def test_a_wide_beam_finds_the_best_sequence_of_a_walk(epsilon: float) -> None:
    """All sequences by brute force: an action can be provoked where the sign of what is shown may be turned."""
    victim, walk = homing(), Walk()
    shortest = walk.max_steps
    for actions in itertools.product([0, 1], repeat=walk.max_steps):
        place = 0.0
        for step, action in enumerate(actions, start=1):
            can_go_left = place + epsilon >= 0  # action 0 where what is shown is at least 0
            can_go_right = place - epsilon < 0
            if not (can_go_left if action == 0 else can_go_right):
                break
            place += 2.0 * action - 1.0
            if abs(place) > 3:
                shortest = min(shortest, step)
                break
    tree = TreeSearch(walk, lambda states: np.zeros(states.shape[:-1]), FGSM(), beam=256)
    found = tree.plan(victim, torch.zeros(1, 1, 1), Budget(epsilon), walk.max_steps)
    assert found.value.item() == shortest


def test_it_plans_again_where_the_episode_differs() -> None:
    tree, victim = search(beam=4), VICTIM
    attacker = AttackedPolicy(victim, tree, BUDGET)
    first = torch.from_numpy(STARTS)[None].repeat(2, 1, 1)
    attacker.perturb(first)
    planned = tree._plan.seen[:, :, 1].clone()
    elsewhere = planned.clone()
    elsewhere[0, 1] += 0.05
    shown = attacker.perturb(elsewhere)
    assert torch.equal(tree._plan.seen[1, :, 1], planned[1])
    fresh = search(beam=4).plan(victim, elsewhere, BUDGET, POLE.max_steps - 1)
    assert torch.allclose(shown[0, 1], fresh.shown[0, 1, 0], atol=1e-6)
    assert (BUDGET.distance(elsewhere, shown) <= 1 + 1e-5).all()


class Counting(TreeSearch):
    """Counts plans, and the states of each."""

    def plan(self, victim, obs, budget, steps):
        self.plans = [*getattr(self, "plans", []), (obs.shape[1], np.asarray(steps).reshape(-1).tolist())]
        return super().plan(victim, obs, budget, steps)


def walked(tree, epsilon, steps=8, nudge=0.0):
    """Places of the walk under the search, from 0; the simulator that it plays in is off by ``nudge`` a step."""
    victim, places = homing(), [0.0]
    attacker = AttackedPolicy(victim, tree, Budget(epsilon))
    for _ in range(steps):
        action = attacker.act(torch.tensor([[[places[-1]]]])).item()
        places.append(places[-1] + 2.0 * action - 1.0 + nudge)
    return places


def far(states):
    """Nearer to the end of the walk is worse for the victim."""
    return -np.abs(states[..., 0]) / 10


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_a_plan_that_is_cut_is_followed_and_continued(depth) -> None:
    tree = Counting(Walk(), far, FGSM(), depth=depth)
    places = walked(tree, 3.5, 4)
    assert [abs(place) for place in places] == [0, 1, 2, 3, 4]
    assert len(tree.plans) == -(-4 // depth)
    assert [left for _, left in tree.plans] == [[8 - depth * plan] for plan in range(len(tree.plans))]


def test_where_nothing_can_end_the_search_asks_once_a_step() -> None:
    tree = Counting(Walk(), far, FGSM(), depth=4)
    assert max(map(abs, walked(tree, 0.5))) == 1.0
    assert len(tree.plans) == 2


def test_a_sequence_that_may_still_end_lower_is_preferred_to_an_end() -> None:
    class Costly(Walk):
        def transition(self, state, action, u):
            after, reward, over = super().transition(state, action, u)
            return after, -reward, over

    tree = TreeSearch(Costly(), lambda states: np.zeros(states.shape[:-1]), FGSM(), beam=256, depth=5, least_reward=-1)
    plan = tree.plan(homing(), torch.zeros(1, 1, 1), Budget(9.0), 8)
    assert (plan.length.item(), plan.value.item()) == (5, -5.0)  # an end after four steps costs less
    tree = replace(tree, worth=lambda states: np.full(states.shape[:-1], 2.0))  # less is expected than that end
    plan = tree.plan(homing(), torch.zeros(1, 1, 1), Budget(9.0), 8)
    assert (plan.length.item(), plan.value.item()) == (5, -3.0)


def test_after_a_small_drift_the_planned_action_is_provoked_afresh() -> None:
    tree = Counting(Walk(), far, FGSM(), depth=8)
    victim, epsilon = homing(), 3.1
    small = walked(tree, epsilon, 4, nudge=-0.02)
    assert len(tree.plans) == 1
    assert [round(abs(place)) for place in small] == [0, 1, 2, 3, 4]
    planned = tree._plan.shown[0, 0, 2].item()
    assert abs(planned - small[2]) > epsilon - 1e-3  # what was planned could not have been shown
    assert victim.act(torch.tensor([[[planned]]])).item() == tree._plan.action[0, 0, 2].item()
    large = Counting(Walk(), far, FGSM(), depth=8)
    walked(large, epsilon, 4, nudge=0.5)
    assert len(large.plans) > 1


def test_episodes_that_are_over_are_not_planned() -> None:
    tree = Counting(Walk(), far, FGSM(), depth=3)
    attacker = AttackedPolicy(homing(), tree, Budget(1.5), once=True)
    obs = torch.zeros(1, 2, 1)
    attacker.perturb(obs)
    attacker.restart(torch.tensor([[True, False]]))
    shown = attacker.perturb(obs + 0.5)
    assert [count for count, _ in tree.plans] == [2, 1]
    assert shown[0, 0] == 0.5


@pytest.mark.slow
def test_it_stands_beside_others_in_a_curve() -> None:
    agent = PPO("CartPole-v1", seeds=2, device="cpu", net_arch=(8,))
    tree = TreeSearch(POLE, lambda states: -FALLS.danger(states), beam=4, horizon=500)
    curve = robustness_curve(agent, agent.evaluation_env, [Noise(), tree], [1.0], Budget(0.0, scale=SCALE), 3)
    assert curve.attacks[1] == "tree search"
    assert (curve.returns[1].mean(axis=-1) <= curve.returns[0].mean(axis=-1)).all()
    assert (curve.returns[1] <= curve.natural).all()


def test_bad_input_is_named() -> None:
    class Noisy(Walk):
        transition_noise = 1

    with pytest.raises(ValueError, match="Noisy draws random numbers in a step"):
        TreeSearch(Noisy(), np.sum)
    with pytest.raises(
        ValueError, match="a beam and a depth of at least 1 and an attack without random numbers, got 8, 0, 100 and"
    ):
        TreeSearch(Walk(), np.sum, beam=0)
    with pytest.raises(ValueError, match="got 8, 16, 100 and sign noise"):
        TreeSearch(Walk(), np.sum, Noise("sign"))
