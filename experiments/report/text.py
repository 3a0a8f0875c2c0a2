"""Numbers and tables as people read them: cells, intervals, and tables that fit a width."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from rlkit.statistics import ONE_SEED, Estimate
from rlkit.statistics.estimate import decimals_of, fixed_text, number_text

from .ledger import Cell, ReportTable, plain

LONGEST_TABLE = 40  # rows shown in full on a terminal; a page folds longer ones
WIDEST_TEXT = 40  # characters of a text column; longer texts are wrapped at spaces
GAP = 2  # characters between two columns of a terminal
COMPARABLE = 1000.0  # largest ratio of numbers in a column that are shown with the same decimals

# names of settings and results; every other key is shown with spaces for underscores
WORDS = {
    "env_kwargs": "arguments of the environment",
    "copies_per_seed": "copies of the environment per seed",
    "steps_per_seed": "environment steps per seed",
    "hyperparameters": "hyper-parameters",
    "net_arch": "hidden layers",
    "sb3_seeds": "seeds of stable-baselines3",
    "num_envs": "copies of the environment per seed",
    "aliasing_epsilon": "epsilon from which states can look alike",
    "selection_seed": "first episode seed of the selection",
    "first_seed": "first episode seed",
    "ent_coef": "entropy coefficient",
    "vf_coef": "value coefficient",
    "gae_lambda": "GAE lambda",
    "n_steps": "steps of a rollout",
    "n_epochs": "epochs of a rollout",
    "tau": "share of the target update",
    "train_freq": "steps between two updates",
    "max_grad_norm": "largest norm of the gradient",
    "sb3": "stable-baselines3",
    "cartpole": "cart-pole",
    "acrobot": "Acrobot",
    "dqn": "DQN",
    "a2c": "A2C",
    "ppo": "PPO",
    "reinforce": "REINFORCE",
    "tabularq": "Q-learning",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "radial": "RADIAL",
    "sa_ppo_kl": "SA-PPO",
    "sa_dqn_hinge": "SA-DQN",
    "wocar": "WocaR",
    "car_dqn": "CAR-DQN",
    "lipschitz_hinge": "Lipschitz hinge",
    "two_lip": "2-Lip",
    "gaussian_augmentation": "Gaussian augmentation",
    "vf": "value coefficient",
    "entropy": "entropy coefficient",
    "russell": "Russell &",
    "norvig": "Norvig",
}


def cell_text(cell: Any, digits: int = 4) -> str:
    """A number, an estimate with its interval, or a text as it is shown."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Estimate):
        return cell.text(digits)
    return number_text(cell, digits) if isinstance(cell, int | float) else str(cell)


def column_decimals(cells: Sequence[Any], digits: int) -> int | None:
    """The decimals of a column of plain numbers; None where its cells are shown one by one.

    The largest number has ``digits`` significant digits, and zeros that end all cells are left out.
    """
    numbers = [cell for cell in cells if cell is not None]
    plain_floats = [cell for cell in numbers if isinstance(cell, float) and math.isfinite(cell)]
    sizes = [abs(number) for number in plain_floats if number != 0]
    if len(plain_floats) < len(numbers) or not sizes or max(sizes) > COMPARABLE * min(sizes):
        return None
    decimals = decimals_of(max(sizes), digits)
    while decimals and all(round(number, decimals) == round(number, decimals - 1) for number in plain_floats):
        decimals -= 1
    return decimals


def in_words(key: str) -> str:
    """A key of a record as people say it."""
    return WORDS.get(key, key.replace("_", " "))


def slug_in_words(slug: str) -> str:
    """A name with hyphens as people say it: ``cartpole-ppo`` is "cart-pole PPO"."""
    return " ".join(map(in_words, slug.split("-")))


def setting_text(value: Any) -> str:
    """A setting as one line."""
    return value if isinstance(value, str) else json.dumps(plain(value))


def numeric_columns(table: ReportTable) -> list[bool]:
    """Which columns are aligned as numbers: those that hold nothing else."""

    def is_number(cell: Any) -> bool:
        return isinstance(cell, int | float | Estimate) and not isinstance(cell, bool)

    columns = [[row[i] for row in table.rows if row[i] is not None] for i in range(len(table.columns))]
    return [bool(cells) and all(map(is_number, cells)) for cells in columns]


def as_text(table: ReportTable) -> tuple[str, list[list[str]]]:
    """Title and rows of a table as text.

    Where every estimate is of one seed, the title says so once and the cells show the values alone.
    """
    estimates = [cell for row in table.rows for cell in row if isinstance(cell, Estimate)]
    alone = bool(estimates) and all(each.n == 1 and not each.has_interval for each in estimates)

    def shown(cell: Cell, decimals: int | None) -> str:
        if decimals is not None and isinstance(cell, float):
            return fixed_text(cell, decimals)
        return cell_text(cell, table.digits)

    cells = [[cell.value if alone and isinstance(cell, Estimate) else cell for cell in row] for row in table.rows]
    decimals = [column_decimals([row[i] for row in cells], table.digits) for i in range(len(table.columns))]
    rows = [[shown(cell, places) for cell, places in zip(row, decimals, strict=True)] for row in cells]
    return f"{table.title} ({ONE_SEED})" if alone else table.title, rows


def headers(table: ReportTable) -> list[str]:
    """The names of the columns in words."""
    return [in_words(column) for column in table.columns]


def fitting_columns(widths: Sequence[int], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The columns, by number, that fit into ``width`` characters: those that identify a row, then from the left."""
    keys = identifying_columns(rows)
    room = width - sum(widths[i] + GAP for i in range(keys))
    kept = list(range(min(keys, len(widths))))
    for i in range(keys, len(widths)):
        room -= widths[i] + GAP
        if room < -GAP:  # the last column needs no gap
            break
        kept.append(i)
    return kept


def column_widths(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Characters of every column.

    In a table wider than ``width``, headers are wrapped at spaces, and so are texts longer than ``WIDEST_TEXT``.
    """
    longest = [max((len(row[i]) for row in rows), default=0) for i in range(len(headers))]
    natural = [max(len(header), cell) for header, cell in zip(headers, longest, strict=True)]
    if sum(natural) + GAP * len(natural) <= width:
        return natural
    words = [max(len(word) for word in header.split(" ")) for header in headers]
    return [max(word, min(cell, WIDEST_TEXT)) for word, cell in zip(words, longest, strict=True)]


def identifying_columns(rows: Sequence[Sequence[str]]) -> int:
    """How many of the first columns differ between all rows; one where even half of them do not."""
    for count in range(1, max((len(row) for row in rows), default=0) // 2 + 1):
        if len({tuple(row[:count]) for row in rows}) == len(rows):
            return count
    return 1


def wrapped_header(header: str, width: int) -> str:
    """A header over several lines, as narrow as its column."""
    return "\n".join(textwrap.wrap(header, max(width, 1), break_long_words=False, break_on_hyphens=False))
