"""Estimates: a number with its interval, its coverage and the method; tests, equivalence, and the seeds they need.

The unit of replication is the training seed: average the evaluation episodes of a seed first, then pass one number per
seed. Intervals of few seeds are wide because little is known. Resampling few seeds hides this: a nominal 95 % bootstrap
interval of 5 seeds covers about 56 %. Therefore most intervals here have a closed form. The bootstrap, for statistics
that have none, takes a numpy Generator.

- mean: ``mean_interval`` (Student), ``share_interval``, ``difference_interval`` (Welch, paired);
  of bounded returns ``bounded_mean_interval``, ``bounded_difference_interval`` (DKW)
- median and middle: ``median_interval``, ``interquartile_mean``
- any statistic: ``bootstrap_interval``
- fraction solved: ``proportion_interval`` (Clopper-Pearson), ``wilson_interval``
- comparison: ``performance_profile``, ``probability_of_improvement``
- tests: ``welch_test``, ``sign_flip_test``, ``equivalence_test``; ``holm`` where several are read
- seeds: ``seeds_needed``, ``achieved_power``
"""

from __future__ import annotations

from .bootstrap import bootstrap_interval
from .bounded import bounded_difference_interval, bounded_mean_interval
from .equivalence import Equivalence, equivalence_test
from .estimate import ONE_SEED, Estimate
from .hypothesis_tests import sign_flip_test, welch_test
from .improvement import probability_of_improvement
from .interquartile import interquartile_mean
from .mean import difference_interval, mean_interval, share_interval
from .median import median_interval
from .multiple_testing import holm
from .performance_profiles import performance_profile
from .power import achieved_power, seeds_needed
from .proportion import proportion_interval, wilson_interval

__all__ = [
    "ONE_SEED",
    "Equivalence",
    "Estimate",
    "achieved_power",
    "bootstrap_interval",
    "bounded_difference_interval",
    "bounded_mean_interval",
    "difference_interval",
    "equivalence_test",
    "holm",
    "interquartile_mean",
    "mean_interval",
    "median_interval",
    "performance_profile",
    "probability_of_improvement",
    "proportion_interval",
    "seeds_needed",
    "share_interval",
    "sign_flip_test",
    "welch_test",
    "wilson_interval",
]
