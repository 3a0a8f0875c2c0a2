"""The sandwich of a map: its order, its rows, and the command that trains and prints it."""

import numpy as np
import pytest

from rlkit.adversarial import FGSM, Noise
from rlkit.agents import DQN, PPO
from rlkit.envs import GridWorld
from rlkit.experiments.workflows.bracket import main, sandwich

WORLD = GridWorld("russell-norvig-4x3", observation="coordinates")


@pytest.mark.slow
@pytest.mark.parametrize("maker", [DQN, PPO], ids=["relu", "tanh"])
@pytest.mark.parametrize("attacks", [None, 3])
def test_the_order_of_untrained_agents(maker, attacks):
    agent = maker(WORLD, seeds=range(2))
    found = sandwich(WORLD, agent, 0.3, horizon=12, attacks=(FGSM(), Noise()), attacks_per_episode=attacks)
    assert (found.certified <= found.exact).all()
    assert (found.exact <= found.best_attack + 1e-9).all()
    assert (found.best_attack <= found.natural).all()
    assert np.abs(found.exact - found.certified).max() < 0.01 * np.abs(found.natural).max()
    assert len(found.attacked) == (2 if attacks is None else 8)
    assert all((distance >= -1e-9).all() for distance in found.distances().values())
    assert len(found.lines()) == 1 + 2 + len(found.attacked)


@pytest.mark.slow
def test_the_command_prints_the_sandwich(capsys):
    main(["--steps", "200", "--seeds", "2", "--epsilons", "0.1"])
    printed = capsys.readouterr().out
    assert "epsilon 0.1: bracketed in" in printed
    assert "seed  certified      exact  best attack" in printed
    assert printed.count("above the worst case") == 4
