"""The benchmark of the engines at a tiny size."""

import re

import pytest
from finite_problems import needs_numba

from rlkit.experiments.benchmarks import engine


@needs_numba
@pytest.mark.slow
def test_both_engines_are_measured_in_turn(capsys):
    assert engine.main(["a2c", "--seeds", "2", "--repetitions", "2", "--steps", "40"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    number = r"[\d,]+ steps/s"
    assert re.fullmatch(rf"a2c +2 seeds  compiled +{number}  torch +{number}  ratio [\d.]+ \([\d.]+ to [\d.]+\)", line)


def test_the_ratio_is_of_pairs():
    rates = {"compiled": [30.0, 10.0, 60.0], "torch": [10.0, 10.0, 30.0]}
    assert engine.line("ppo", 1, rates).endswith("ratio 2.0 (1.0 to 3.0)")
