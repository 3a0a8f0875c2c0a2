"""The studies: a question each, with its settings as data, its analysis and a README."""

from __future__ import annotations

from importlib import import_module

from .common.study import Study

NAMES = (
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
    "power",
    "equivalence",
)


def find(name: str) -> Study:
    """The study of one of ``NAMES``."""
    study: Study = import_module(f".{name}.run", __name__).STUDY
    return study
