"""Value-aware attacks: the cheapest action among those that the victim can be made to choose."""

import pytest
import torch
from victims import Linear, mlp, normal

from rlkit.adversarial import FGSM, PGD, Budget, LabelVictim, ValueAware, execute, perturb


def provokable(victim, obs, budget, num_actions):
    """Actions of FGSM towards every action and of the truth, ``[S, B, A]``."""
    shown = [obs, *(perturb(FGSM(), victim, obs, budget, target=action) for action in range(num_actions))]
    return torch.stack([victim.act(each) for each in shown], dim=-1)  # [S, B, 1 + A]


def test_the_action_of_the_lowest_value_is_provoked_among_those_that_can_be():
    victim, obs, budget = Linear(normal(2, 3, 4)), normal(2, 50, 3, seed=1), Budget(0.5)
    values = normal(2, 50, 4, seed=2)
    shown = perturb(ValueAware(lambda _: values, FGSM()), victim, obs, budget)
    found = values.gather(-1, victim.act(shown)[..., None])[..., 0]
    possible = values.gather(-1, provokable(victim, obs, budget, 4))
    assert torch.equal(found, possible.amin(dim=-1))
    own = values.gather(-1, victim.act(obs)[..., None])[..., 0]
    assert (found <= own).all()
    assert 0.1 < (found < own).float().mean(dim=(0, 1)) < 1.0
    unchanged = found == own
    assert torch.equal(shown[unchanged], obs[unchanged])  # no attack where none harms


def test_without_values_it_is_the_victims_own_least_action():
    victim, obs = mlp(3), normal(2, 30, 4, seed=1)
    victim.scores_are_values = True
    shown = perturb(ValueAware(None, PGD(10, every_action=False)), victim, obs, Budget(100.0))
    with torch.no_grad():
        found = victim.scores(obs).gather(-1, victim.act(shown)[..., None])[..., 0]
        own = victim.scores(obs).amax(dim=-1)
    assert (found <= own).all()
    assert (found < own).any()


def test_what_it_cannot_use_is_refused():
    victim, obs = Linear(normal(1, 3, 2)), normal(1, 4, 3)
    with pytest.raises(ValueError, match="scores are no action values"):
        perturb(ValueAware(), victim, obs, Budget(0.1))
    with pytest.raises(ValueError, match=r"values must be \[S, B, A\]"):
        perturb(ValueAware(lambda obs: obs[..., 0]), victim, obs, Budget(0.1))
    with pytest.raises(ValueError, match="chooses its own targets"):
        perturb(ValueAware(lambda obs: obs), victim, obs, Budget(0.1), target=0)
    with pytest.raises(ValueError, match=r"needs the victim's scores"):
        execute(ValueAware(), LabelVictim(lambda obs: obs[:, 0] > 0), obs, Budget(0.1))
