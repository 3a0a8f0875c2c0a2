"""A whole run as named tensors: what stands under some attributes of an agent, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor


def state_of(owner: object, names: Iterable[str]) -> dict[str, Tensor]:
    """Everything under ``names`` (dotted: of a part of a part), with ``name/part`` for what has a ``state_dict``.

    Tensors, integers and objects with ``state_dict`` are kept; what is None or not there has nothing to keep.
    """
    state: dict[str, Tensor] = {}
    for name in names:
        kept = _under(owner, name)
        if isinstance(kept, int):
            state[name] = torch.tensor(kept)
        elif isinstance(kept, Tensor):
            state[name] = kept
        elif kept is not None:
            state |= {f"{name}/{part}": tensor for part, tensor in kept.state_dict().items()}
    return state


def restore(owner: object, names: Iterable[str], state: dict[str, Tensor]) -> None:
    """Put back what ``state_of`` took, into an owner made alike."""
    for name in names:
        kept = _under(owner, name)
        if isinstance(kept, int):
            setattr(owner, name, int(state[name]))
        elif isinstance(kept, Tensor):
            kept.copy_(state[name])
        elif kept is not None:
            start = f"{name}/"
            kept.load_state({key.removeprefix(start): state[key] for key in state if key.startswith(start)})


def _under(owner: object, name: str) -> Any:
    return reduce(lambda part, attribute: getattr(part, attribute, None), name.split("."), owner)
