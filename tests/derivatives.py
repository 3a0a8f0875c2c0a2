"""The derivatives of every loss in closed form, and the gradients of REINFORCE made of them: the oracle of autograd."""

import torch
from torch import nn

from rlkit.baselines import optimal_constant
from rlkit.losses import entropy
from rlkit.types import by_copy


def huber_grad(error):
    return error.clamp(-1.0, 1.0)


ERROR_GRADS = {"huber": huber_grad, "squared": lambda error: error}


def dqn_grad(q, batch, name):
    """Derivative by q ``[S, M, A]`` of the mean over M of the weighted loss of Q(s, a) - y."""
    chosen = nn.functional.one_hot(batch.action, q.shape[-1]).to(q.dtype)
    grad = ERROR_GRADS[name](q - batch.target[..., None]) * chosen / q.shape[1]
    return grad if batch.importance is None else batch.importance[..., None] * grad


def score_grad(log_p, action, weight):
    """Derivative of -weight log pi(a) by the logits, weight (pi - 1_a)."""
    return weight[..., None] * (log_p.exp() - nn.functional.one_hot(action, log_p.shape[-1]).to(log_p.dtype))


def entropy_grad(log_p):
    """Derivative of the entropy H by the logits, -pi (log pi + H)."""
    p = log_p.exp()
    return -p * (torch.where(p > 0, log_p, 0.0) + entropy(log_p)[..., None])


def _logits_grad(log_p, policy_grad, ent_coef):
    bonus = 0.0 if ent_coef is None else ent_coef[:, None, None] * entropy_grad(log_p)
    return (policy_grad - bonus) / log_p.shape[1]


def a2c_grads(logits, value, action, advantage, target, ent_coef, vf_coef):
    """Derivatives by logits, which may be -inf, and by values."""
    log_p = logits.log_softmax(dim=-1)
    logits_grad = _logits_grad(log_p, score_grad(log_p, action, advantage), ent_coef)
    return logits_grad, 2.0 / action.shape[1] * vf_coef[:, None] * (value - target)


def ppo_grads(logits, value, batch, clip_range, clip_range_vf, ent_coef, vf_coef):
    """Derivatives by logits, which may be -inf, and by values."""
    log_p = logits.log_softmax(dim=-1)
    ratio = (log_p.gather(-1, batch.action[..., None])[..., 0] - batch.old_log_p).exp()
    clip = clip_range[:, None]
    gain, bound = ratio * batch.advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * batch.advantage
    # by log pi, since dr = r d log pi; 0 where the clipped objective is constant
    surrogate_grad = torch.where(gain > bound, 0.0, -gain)
    logits_grad = _logits_grad(log_p, score_grad(log_p, batch.action, -surrogate_grad), ent_coef)
    change = value - batch.old_value
    limited = change if clip_range_vf is None else change.clamp(-clip_range_vf[:, None], clip_range_vf[:, None])
    value_grad = 2.0 * (batch.old_value + limited - batch.target)
    if clip_range_vf is not None:
        value_grad = torch.where(change.abs() > clip_range_vf[:, None], 0.0, value_grad)
    return logits_grad, vf_coef[:, None] * value_grad / ratio.shape[1]


def reinforce_gradients(agent, batch, returns):
    """The gradient of REINFORCE's loss by copy, ``[S, B, P]``, as ``REINFORCE.gradients`` gives it."""
    seeds, steps, copies = batch.reward.shape
    weight, counted, step = agent.weights(batch, returns)
    weight = torch.where(counted, weight - agent.baseline(batch, weight, counted, step), 0.0)
    logits, pullback = agent.policy.repeated(copies).vjp(by_copy(agent.features(batch.obs)))
    log_p, action = logits.log_softmax(dim=-1), by_copy(batch.action)

    def gradient_by_copy(grad):
        return pullback(grad).view(seeds, copies, -1)

    gradient = gradient_by_copy(score_grad(log_p, action, by_copy(weight)))
    if agent.config.baseline == "optimal":
        score = gradient_by_copy(score_grad(log_p, action, by_copy(counted.to(weight.dtype))))
        gradient = gradient - optimal_constant(gradient, score)[..., None] * score
    if agent.config.ent_coef != 0.0:
        gradient = gradient - agent.per_row.ent_coef[:, None, None] * gradient_by_copy(entropy_grad(log_p))
    return gradient / steps
