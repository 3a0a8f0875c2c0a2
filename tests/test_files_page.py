"""The page on files: its program reads a policy with safetensors and JSON alone."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from source_tree import ROOT

from rlkit.agents import DQN

PAGE = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_its_program_computes_the_action_values_without_rlkit(tmp_path):
    agent = DQN("CartPole-v1", seeds=[3, 8], device="cpu", net_arch=(16, 12))
    agent.save(tmp_path / "agent.safetensors")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "import rlkit" not in program
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    obs = torch.tensor([0.0, 0.1, 0.02, -0.1]).expand(2, 1, 4)
    expected = agent.q_values(obs)[:, 0].numpy()
    for line, seed, values in zip(done.stdout.splitlines(), (3, 8), expected, strict=True):
        found = re.fullmatch(rf"{seed} \[(.*)\]", line)
        assert found is not None
        np.testing.assert_allclose(np.array(found[1].split(), float), values, rtol=1e-5, atol=1e-6)


def test_it_names_every_entry_of_a_manifest(tmp_path):

    agent = DQN("CartPole-v1", seeds=2, device="cpu", learning_starts=8, net_arch=(8,), buffer_size=64)
    agent.learn(40)
    agent.checkpoint(tmp_path / "run.safetensors")
    with safe_open(tmp_path / "run.safetensors", framework="np") as file:
        manifest = json.loads(file.metadata()["rlkit.manifest"])
        names = list(file.keys())
    for entry in (*manifest, *manifest["contents"]):
        assert f"`{entry}`" in PAGE
    prefixes = re.findall(r"`(\w+/?)`", PAGE.split("## Runs")[1])
    assert all(name.startswith((*prefixes, "_")) for name in names)
    replay = {name.removeprefix("memory/replay/") for name in names if name.startswith("memory/replay/")}
    assert replay - {"latest_kept"} <= set(re.findall(r"`([\w/]+)`", PAGE.split("## Runs")[1]))
