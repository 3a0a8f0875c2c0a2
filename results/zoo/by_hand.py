"""A submission to ``rlkit benchmark``: provoke the action that a hand-made linear policy avoids."""

import torch

from rlkit.adversarial import PGD, ValueAware

LINEAR = (0.1, 0.3, 3.0, 0.5)  # pushes right where its product with the observation is positive; it balances


def values(obs: torch.Tensor) -> torch.Tensor:
    """Value both actions at cart-poles, ``[S, B, 4] -> [S, B, 2]``."""
    lean = obs @ torch.tensor(LINEAR, dtype=obs.dtype)
    return torch.stack([-lean, lean], dim=-1)


def attack(victim, threat, epsilon):
    """Return the attack; neither the victim nor epsilon changes it."""
    return ValueAware(values, PGD(3, every_action=False), "by hand")
