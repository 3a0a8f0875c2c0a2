"""Worst-case-aware robust DQN (WocaR-DQN).

Source: Liang et al. 2022, "Efficient adversarial training without attacking: worst-case-aware robust reinforcement
learning".

Beside Q a second network Qworst learns what the greedy policy of Q earns in the worst case, if an attacker may show
any observation within a ball. DQN's update becomes:

    A(s') = {a: upper_a >= max_b lower_b}                 (bounds of Q(., a; theta-) over the ball around s')
    y_worst = r + gamma min_(a in A(s')) Qworst(s', a; phi-)
    a* = argmax_a (1 - kappa) Q(s', a; theta-) + kappa Qworst(s', a; phi-)
    y = r + gamma Q(s', a*; theta-)                       (both are r if s' is terminal)
    descend the loss of y - Q(s, a; theta) and of y_worst - Qworst(s, a; phi)

No attack is computed: which actions can be provoked follows from interval bounds. The policy is greedy in Q. With
``double`` the networks theta and phi choose a*, and A is of theta. The paper also penalizes actions that change within
the ball: pass ``terms=[SADQNHinge(...)]``, without its weights of states.

The published code differs: it takes A at s instead of s', with a strict comparison and a radius of 0.001, and has no
phi-. Its updated version penalizes with RADIAL's loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.arrays import Given
from rlkit.exploration import linear_schedule, mask_logits
from rlkit.losses import double_q_target, provocable, worst_case_aware_values, worst_case_target
from rlkit.nn import MLP, Adam, Dueling
from rlkit.replay import Minibatch
from rlkit.types import Transition

from .configs import WocaRDQNConfig
from .dqn import DQN, DQNUpdate


class WocaRDQN(DQN):
    """WocaR-DQN on the seed axis; see ``Agent`` for the arguments and ``WocaRDQNConfig`` for the hyper-parameters.

    Raises:
        ValueError: as of ``Agent``, a network with convolutions or a radial basis, or a scale that does not fit.
    """

    config_class = WocaRDQNConfig
    checkpointed = (*DQN.checkpointed, "worst_target_network.flat", "worst_optimizer")
    config: WocaRDQNConfig

    def _build(self) -> dict[str, MLP | Dueling]:
        from rlkit.adversarial import Budget  # here, because attacks and solvers take long to import

        networks, scale = super()._build(), self.config.attack_scale
        part = self.network.advantage if isinstance(self.network, Dueling) else self.network  # both are of one kind
        if not part.layers_alone:
            raise ValueError("WocaRDQN bounds fully connected layers alone: pass network='mlp', or use DQN")
        if len(scale) not in (0, part.sizes[0]):
            raise ValueError(
                f"attack_scale has {len(scale)} numbers for {part.sizes[0]} features: pass one for each, or none "
                "for raw units"
            )
        self.worst_network = self.make_network(network_index=2)
        self.worst_target_network = self.worst_network.copy()
        self.worst_optimizer = Adam(self.worst_network.flat)
        unit = torch.tensor(scale or (1.0,), dtype=self.dtype, device=self.device)
        self.budget = Budget(self.per_row.attack_epsilon[:, None], scale=unit)
        return {**networks, "worst_case_q": self.worst_network}

    def learn_from(self, sampled: Minibatch) -> list[DQNUpdate]:
        """See ``DQN``; descend the loss of Qworst too, and log it."""
        worst = self.regression(sampled, self.worst_target(sampled.transition, sampled.discount))
        updates = super().learn_from(sampled)
        found = self.descend(self.worst_network, self.worst_optimizer, worst)
        error = torch.stack([update.error for update in found], dim=1)  # [S, n, M]
        self.training_state.means.extend(worst_case_loss=self.losses(error))
        self.training_state.means.add(worst_case_weight=self.weight())
        return updates

    def choosing(self) -> tuple[MLP | Dueling, MLP | Dueling]:
        """Return the networks of Q and Qworst that choose the actions of targets."""
        if self.config.double:
            return self.network, self.worst_network
        return self.target_network, self.worst_target_network

    def target(self, batch: Transition, discount: Tensor) -> Tensor:
        """Compute y, ``[S, M]``; arguments as of ``DQN.target``."""
        with torch.no_grad():
            features, mask = self.features(batch.next_obs), batch.next_action_mask
            q, worst_q = (network(features) for network in self.choosing())
            aware = mask_logits(worst_case_aware_values(q, worst_q, self.weight()[:, None, None]), mask)
            return double_q_target(batch.reward, batch.terminated, aware, self.target_network(features), discount)

    def worst_target(self, batch: Transition, discount: Tensor) -> Tensor:
        """Compute y_worst, ``[S, M]``; arguments as of ``DQN.target``."""
        from rlkit.adversarial import interval_bounds

        with torch.no_grad():
            features, mask = self.features(batch.next_obs), batch.next_action_mask
            bounds = interval_bounds(self.choosing()[0], features, self.budget)
            provoked = provocable(*(mask_logits(bound, mask) for bound in bounds))
            worst_q = self.worst_target_network(features)
            return worst_case_target(batch.reward, batch.terminated, worst_q, provoked, discount)

    def weight(self) -> Tensor:
        """Return kappa at this point of training, ``[S]``."""
        kappa = self.per_row.worst_case_weight
        return linear_schedule(
            self.training_state.done_now, self.per_row.worst_case_fraction, torch.zeros_like(kappa), kappa
        )

    def worst_q_values(self, obs: Given) -> Tensor:
        """Compute Qworst(s, .) of every row, ``[S, B, *observation] -> [S, B, A]``, without gradients."""
        with torch.no_grad():
            return self.worst_network(self.features(obs))

    def followed(self) -> tuple[tuple[MLP | Dueling, MLP | Dueling], ...]:
        """See ``DQN``; phi- follows phi as theta- follows theta."""
        return (*super().followed(), (self.worst_target_network, self.worst_network))
