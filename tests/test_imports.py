"""What an import loads: heavy packages and those of the command line only where they are used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest
from source_tree import ROOT

HEAVY = {"torch", "scipy", "numba", "matplotlib", "tyro", "rich", "jinja2", "stable_baselines3", "sklearn", "pygame"}
LIBRARY = ["agents", "adversarial", "envs", "evaluation", "mdp", "nn", "planning", "replay", "statistics", "sb3"]
COMMAND_LINE = {"matplotlib", "tyro", "rich", "jinja2", "stable_baselines3", "sklearn", "pygame"}
CODE = "import json, sys; {}; print(json.dumps(sorted(sys.modules)))"


def loaded(statement: str) -> set[str]:
    """The modules that a new interpreter has loaded after a statement."""
    command = [sys.executable, "-c", CODE.format(statement)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_importing_rlkit_registers_its_ids_and_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded("import rlkit, gymnasium; assert 'rlkit/GridWorld-v0' in gymnasium.registry")


@pytest.mark.slow
def test_the_library_loads_nothing_of_the_command_line_and_no_plotting() -> None:
    everything = f"import {', '.join(f'rlkit.{name}' for name in LIBRARY)}"
    trained = "from rlkit.agents import DQN; DQN('CartPole-v1', device='cpu').learn(8).evaluate(2)"
    assert not COMMAND_LINE & loaded(f"{everything}; {trained}")


@pytest.mark.slow
def test_agents_load_little_beside_torch_and_gymnasium() -> None:
    """Attacks, planning and scipy, with sparse matrices alone, take longer to import than all of agents."""
    own = loaded("import torch, gymnasium, rlkit.agents") - loaded("import torch, gymnasium")
    assert not {"rlkit.adversarial", "rlkit.planning", "scipy"} & own
    assert not COMMAND_LINE & own
    by_package = Counter(name.split(".")[0] for name in own)
    assert by_package["rlkit"] < 120  # 90 on 2026-11-29
    compiler = sum(by_package[name] for name in ("numba", "llvmlite", "yaml"))  # comes with compiled loops
    assert by_package.total() - by_package["rlkit"] - compiler < 50  # 6
