"""Hints for users of stable-baselines3: rlkit's counterpart of each of its arguments, for error messages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

ARGUMENTS: Mapping[str, str] = {  # of a constructor
    "policy": "network names the kind of network ('mlp', 'cnn', ...), and net_arch gives its hidden widths",
    "policy_kwargs": "net_arch, activation, network and network_kwargs are separate hyper-parameters",
    "seed": "pass seeds=[seed], or seeds=8 for the seeds 0 to 7",
    "n_envs": "pass num_envs",
    "verbose": "learn(..., progress_bar=True) shows progress, and history is the log",
    "tensorboard_log": "history is the log, and `rlkit train --tensorboard` writes it for TensorBoard",
    "stats_window_size": "history holds the mean return of the episodes since its last row",
    "optimize_memory_usage": "leave it out, and lower buffer_size if memory is short",
    "replay_buffer_class": "priority_exponent=0.6 samples by priority, and replay=False uses no buffer",
    "replay_buffer_kwargs": "buffer_size, priority_exponent and priority_beta are separate hyper-parameters",
    "rollout_buffer_class": "leave it out: a batch is the newest segment",
    "rollout_buffer_kwargs": "leave it out: n_steps and gae_lambda are separate hyper-parameters",
    "use_sde": "leave it out: it explores continuous actions, and actions here are Discrete",
    "sde_sample_freq": "leave it out: it explores continuous actions, and actions here are Discrete",
}
OF_LEARN: Mapping[str, str] = {
    "callback": "write its code in a loop: for timesteps in agent.training(total_timesteps, every=1000): ...",
    "log_interval": "agent.training(total_timesteps, every=1000) logs, and yields, every 1000 steps",
    "tb_log_name": ARGUMENTS["tensorboard_log"],
    "reset_num_timesteps": "a second learn continues the training; make a new agent to start again",
}
ORDER = "the environment is the only positional argument, all others need a name: DQN('CartPole-v1', seeds=8)"


def of_value(name: str, value: object, others: Mapping[str, object]) -> str:
    """Return the counterpart of a value in stable-baselines3's form, as the end of a sentence; "" for other values.

    Args:
        name, value: the hyper-parameter as given.
        others: the known hyper-parameters.
    """
    if callable(value) and f"{name}_schedule" in others:
        return f": pass the number at the start, and {name}_schedule='linear' or another schedule"
    if isinstance(value, tuple) and value[1:] in (("step",), ("episode",)):
        return ": pass the number alone; it counts steps, not episodes"
    return ""


def answering(words: Mapping[str, str], positional: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a method so that a call with stable-baselines3's arguments raises an error that names the remedy.

    Args:
        words: names of arguments -> the remedy.
        positional: the remedy for too many positional arguments.

    Raises:
        TypeError: at such a call.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)

        @wraps(method)
        def answered(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                unnamed = [positional] if {"positional", "multiple"} & set(str(error).split()) else []
                named = [f"{name}: {words[name]}" for name in kwargs if name in words]
                raise TypeError("; ".join([f"{method.__name__}: {error}", *unnamed, *named])) from None
            return method(*args, **kwargs)

        return answered

    return decorate
