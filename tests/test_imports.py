"""What an import loads: heavy packages and those of the command line only where they are used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from source_tree import ROOT

HEAVY = {"torch", "scipy", "numba", "matplotlib", "tyro", "rich", "jinja2", "stable_baselines3", "sklearn", "pygame"}
LIBRARY = ["agents", "adversarial", "envs", "evaluation", "mdp", "nn", "planning", "replay", "statistics", "sb3"]
CODE = "import json, sys; {}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"


def loaded(statement: str) -> set[str]:
    """The packages that a new interpreter has loaded after a statement."""
    command = [sys.executable, "-c", CODE.format(statement)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_importing_rlkit_registers_its_ids_and_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded("import rlkit, gymnasium; assert 'rlkit/GridWorld-v0' in gymnasium.registry")


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        f"import {', '.join(f'rlkit.{name}' for name in LIBRARY)}",
        "from rlkit.agents import DQN; DQN('CartPole-v1', device='cpu').learn(8).evaluate(2)",
    ],
)
def test_the_library_loads_nothing_of_the_command_line_and_no_plotting(use: str) -> None:
    assert not {"matplotlib", "tyro", "rich", "jinja2", "stable_baselines3", "sklearn", "pygame"} & loaded(use)
