"""The studies: a question each, with its settings as data, its analysis and a README."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from .common.study import Study

StudyName = Literal[
    "matched",
    "tuned",
    "grids",
    "replay",
    "robustness",
    "worst_case",
    "transfer",
    "defenses",
    "baselines",
    "ablations",
    "efficiency",
    "agreement",
    "overestimation",
    "ensembles",
    "networks",
    "power",
    "equivalence",
]
NAMES: tuple[StudyName, ...] = get_args(StudyName)


def find(name: str) -> Study:
    """The study of one of ``NAMES``."""
    study: Study = import_module(f".{name}.run", __name__).STUDY
    return study
