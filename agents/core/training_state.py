"""The state of a training: its progress, its log, and which rows still learn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rlkit.checkpoint import part
from rlkit.env_checker import FaultyEnvironmentError
from rlkit.schedules import Schedule, factor
from rlkit.tracking import EpisodeReturns, Means

CLOCK = ("timesteps", "end", "every", "due")


class HasParameters(Protocol):
    """S networks or tables whose parameters are one matrix, or what else a policy is made of."""

    flat: Tensor  # [S, P]

    @property
    def columns(self) -> Tensor | slice:
        """The columns of ``flat`` that are parameters, without those that pad the layout."""
        ...


class Divergence(NamedTuple):
    """A row that stopped learning."""

    seed: int
    step: int  # environment steps done when it was noticed
    what: str  # that was not finite

    def __str__(self) -> str:
        return (
            f"seed {self.seed} diverged at step {self.step}: {self.what} was not finite, and the seed was not updated "
            "after that. A lower learning_rate may keep it."
        )


class EnvironmentFault(Divergence):
    """A row that stopped learning because its environment is faulty; ``what`` is the error."""

    def __str__(self) -> str:
        return (
            f"seed {self.seed} was frozen at step {self.step} because of its environment, and the other seeds "
            f"continued: {self.what}"
        )


class CutEpisode(NamedTuple):
    """An episode that a resumed run could not restore, so that the copy began its next one."""

    seed: int
    copy: int
    step: int  # environment steps of the seed done when the run was resumed


class TrainingState:
    """The bookkeeping of a training of S rows.

    Args:
        seeds: one per row.
        num_envs: copies of the environment per seed.
        device: where the flags and the running returns are.
    """

    def __init__(self, seeds: Sequence[int], num_envs: int, device: torch.device) -> None:
        self.seeds, self.num_envs = tuple(seeds), num_envs
        # on a device the clock is there too, because a number of the host would stay as it was in a CUDA graph
        self._clock = None if device.type == "cpu" else torch.zeros((), dtype=torch.float64, device=device)
        self.timesteps = 0
        self.end = 0  # those that were asked for so far, where schedules end
        self.every = 1  # environment steps between two rows of the log
        self.due = 0  # when the next row is written
        self.active = torch.ones(len(self.seeds), dtype=torch.bool, device=device)  # [S], which rows still learn
        self.diverged_at = torch.full((len(self.seeds),), -1, dtype=torch.int64, device=device)
        self.faults: dict[int, FaultyEnvironmentError] = {}  # of the environments of frozen rows
        self.cut: tuple[CutEpisode, ...] = ()
        self.means = Means()  # of what an algorithm logs
        self.returns = EpisodeReturns(len(self.seeds), num_envs, device)
        self._rows: list[dict[str, np.ndarray]] = []  # of the log

    @property
    def timesteps(self) -> int:
        """Environment steps per seed, over all its copies."""
        return self._timesteps

    @timesteps.setter
    def timesteps(self, timesteps: int) -> None:
        self._timesteps = timesteps
        if self._clock is not None:
            self._clock.fill_(timesteps)

    def advance(self, timesteps: int) -> None:
        """Count environment steps per seed."""
        self._timesteps += timesteps
        if self._clock is not None:
            self._clock += timesteps

    @property
    def now(self) -> int | Tensor:
        """The timesteps: a number, or on a device a tensor there."""
        return self._timesteps if self._clock is None else self._clock

    @property
    def remaining(self) -> float:
        """1 at the first step of training, 0 at its end: what schedules are functions of."""
        return self.remaining_at(self.timesteps)

    def remaining_at(self, timesteps: int) -> float:
        """Return ``remaining`` after this number of timesteps."""
        return 1.0 - timesteps / self.end if self.end else 1.0

    @property
    def done_now(self) -> float | Tensor:
        """The fraction of training that is done, 1 - ``remaining``: a number, or on a device a tensor there."""
        return 1.0 - self.remaining if self._clock is None or not self.end else self._clock / self.end

    def scheduled(self, initial: Tensor, schedule: Schedule) -> Tensor:
        """A learning rate or clip range at this point of training, ``[S]``."""
        return initial if schedule == "constant" else initial * factor(schedule, self.done_now)

    def fold(self) -> None:
        """Sum up what was seen since the last row of the log, so that it does not grow."""
        self.means.fold()
        self.returns.fold()

    def deactivate_nonfinite(self, number: Tensor) -> None:
        """Stop for good every row whose number ``[S]``, a norm or a sum of squares, is not finite."""
        self.active &= number < math.inf  # NaN compares false

    def deactivate_nonfinite_loss(self, loss: Tensor) -> None:
        """Stop for good every row whose loss ``[S]`` is not finite, and log that it was the loss.

        A loss may be infinite while its gradient, being clipped, is not. It is not negative.
        """
        finite = loss < math.inf  # NaN compares false
        self.returns.unsound["loss"] |= self.active > finite
        self.active &= finite

    def freeze(self, faults: Mapping[int, FaultyEnvironmentError]) -> None:
        """Stop the rows whose environment is faulty.

        Args:
            faults: row -> the error of its environment.

        Raises:
            FaultyEnvironmentError: no row is left that learns.
        """
        new = faults.keys() - self.faults.keys()
        if not new:
            return
        self.faults.update(faults)
        self.active[list(new)] = False
        if not self.active.any():
            raise faults[max(new)]

    def record_divergences(self) -> None:
        """Remember the step of the rows that have stopped since this was last called."""
        # modulo one step more, -1 becomes this step, and a step that was recorded before stays
        stopped_at = self.diverged_at.remainder(self.timesteps + 1)
        torch.where(self.active, self.diverged_at, stopped_at, out=self.diverged_at)

    def divergences(self, networks: Mapping[str, HasParameters]) -> tuple[Divergence, ...]:
        """The rows that stopped learning, with the step and what was not finite."""
        steps = self.diverged_at.tolist()
        stopped = [(row, seed) for row, seed in enumerate(self.seeds) if steps[row] >= 0]
        return tuple(
            EnvironmentFault(seed, steps[row], str(self.faults[row]))
            if row in self.faults
            else Divergence(seed, steps[row], self._unsound(row, networks))
            for row, seed in stopped
        )

    def _unsound(self, row: int, networks: Mapping[str, HasParameters]) -> str:
        """The reason why a row stopped; one that came from outside is named first."""
        seen = self.returns.unsound
        for kind in ("reward", "observation"):
            if seen[kind][row]:
                return f"a {kind}" if kind == "reward" else f"an {kind}"
        for name, network in networks.items():
            for block, tensor in getattr(network, "blocks", {"values": network.flat}).items():
                if not tensor[row].isfinite().all():
                    return f"{block} of the {name} network"
        return "the loss" if seen["loss"][row] else "the gradient"

    def write_row(self) -> None:
        """Add a row to the log: what was recorded since the last one."""
        timesteps = np.full(len(self.seeds), self.timesteps)
        self._rows.append({"timesteps": timesteps, **self.returns.read(), **self.means.read()})

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The log: each name as ``[rows, S]``, NaN where a row did not have it."""
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        nothing = np.full(len(self.seeds), np.nan)
        return {name: np.stack([row.get(name, nothing) for row in self._rows]) for name in names}

    def state_dict(self) -> dict[str, Tensor]:
        """The clock, the flags, the returns and the log, for a checkpoint."""
        clock = {name: torch.tensor(getattr(self, name)) for name in CLOCK}
        flags = {"active": self.active, "diverged_at": self.diverged_at}
        returns = {f"returns/{name}": tensor for name, tensor in self.returns.state_dict().items()}
        log = {f"log/{name}": torch.from_numpy(values) for name, values in self.history.items()}
        means = {f"means/{name}": tensor for name, tensor in self.means.state_dict().items()}
        return {**clock, **flags, **returns, **means, **log}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved run."""
        clock = {name: int(state[name]) for name in CLOCK if name in state}  # version 0.1.0 knew no phase of the log
        if any(not 0 <= number < 2**62 for number in clock.values()):
            raise ValueError(f"the clock of the run is {clock}")
        for name, number in clock.items():
            setattr(self, name, number)
        self.active.copy_(state["active"])
        self.diverged_at.copy_(state["diverged_at"])
        self.returns.load_state(part(state, "returns/"))
        self.means.load_state(part(state, "means/"))
        log = {name: values.cpu().numpy() for name, values in part(state, "log/").items()}
        rows = len(log.get("timesteps", ()))
        self._rows = [{name: values[row] for name, values in log.items()} for row in range(rows)]
