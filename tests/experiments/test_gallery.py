"""The gallery: frames show what was computed, files are small, and the page names code and commands that exist."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_tree import ROOT

from rlkit.adversarial import Noise
from rlkit.adversarial.env_wrappers import CAPTION_HEIGHT, GAP
from rlkit.agents import DQN
from rlkit.envs import GridWorld
from rlkit.experiments.cli import COMMANDS
from rlkit.experiments.gallery import animations
from rlkit.experiments.gallery.animations import (
    attacked_frames,
    learning_frames,
    value_iteration_frames,
    write_small_gif,
)
from rlkit.experiments.gallery.exhibits import LAKE, worst_adversary
from rlkit.experiments.report.grid_panel import GridPanel, Slider
from rlkit.experiments.workflows.policies import of_agent
from rlkit.experiments.workflows.watch import Tampering
from rlkit.planning import solve

PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
GRID = {"map": "russell-norvig-4x3", "observation": "coordinates"}


def test_the_page_names_files_code_and_commands_that_exist() -> None:
    images = re.findall(r"\]\((gallery/[^)]+)\)", PAGE)
    assert len(images) == len(set(images)) >= 15
    assert sum((ROOT / "docs" / image).stat().st_size for image in images) < 1_000_000
    assert {f"gallery/{file.name}" for file in (ROOT / "docs" / "gallery").iterdir()} == set(images)
    for name in re.findall(r"`~?(rlkit(?:\.\w+)+)`", PAGE):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(name), name
    commands = re.findall(r"`rlkit (\w+) ", PAGE)
    assert {"train", "solve", "attack", "report", "hijack"} <= set(commands) <= set(COMMANDS)


def test_frames_of_value_iteration_show_the_values_after_that_many_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[np.ndarray, str]] = []
    monkeypatch.setattr(
        animations, "_map_frame", lambda grid, value, policy, limits, title, blank: drawn.append((value, title))
    )
    grid, gamma = GridWorld(LAKE), 0.9
    sweeps = [0, 1, 10, 200]
    value_iteration_frames(grid, gamma, sweeps)
    assert [title for _, title in drawn] == ["after 0 sweeps", "after 1 sweep", "after 10 sweeps", "after 200 sweeps"]
    best = solve(grid.mdp, gamma).value
    for k, (value, _) in zip(sweeps, drawn, strict=True):
        assert np.abs(value - best).max(axis=0) <= gamma**k * np.abs(best).max(axis=0) + 1e-8  # a contraction
    assert np.count_nonzero(drawn[1][0]) == 1  # one tile is a step from the goal


@pytest.mark.slow
def test_a_frame_is_drawn_for_every_position_of_a_panel(tmp_path: Path) -> None:
    grid = GridWorld("S.G")
    n, actions = grid.mdp.num_states, grid.mdp.num_actions
    value, policy = np.array([[0.1] * n, [0.9] * n]), np.full((2, n, actions), 0.25)
    panel = GridPanel(
        "t", ("S.G",), grid.tile_of * 1.0, (Slider("steps", (1.0, 2.0)),), value, policy, "a", "b", value[0], policy[0]
    )
    frames = learning_frames(grid, panel)
    assert len(frames) == 2
    assert (frames[0] != frames[1]).any()
    write_small_gif(tmp_path / "a.gif", frames, width=100, fps=4.0)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.size[0]) == (2, 100)
        assert image.info["duration"] == 250
        image.seek(1)
        assert image.info["duration"] == 2000
    for wrong in ([], [frames[0], frames[0][:-1]]):
        with pytest.raises(ValueError, match="images of one size"):
            write_small_gif(tmp_path / "b.gif", wrong)


@pytest.mark.slow
def test_attacked_episodes_show_the_truth_beside_what_is_seen() -> None:
    agent = DQN("rlkit/GridWorld-v0", seeds=2, device="cpu", env_kwargs=GRID, net_arch=(8,))
    subject = of_agent(agent, "rlkit/GridWorld-v0", GRID)
    worst = worst_adversary(subject)
    seen = {
        epsilon: attacked_frames(subject, Tampering(Noise(), replace(worst.budget, epsilon=epsilon)), 9)
        for epsilon in (0.0, 0.3)
    }
    shown = {**seen, "worst": attacked_frames(subject, worst, 9)}
    assert 1 <= len(seen[0.3]) <= 10  # the start, and at most nine steps
    differing = {}
    for name, frames in shown.items():
        images = [frame[CAPTION_HEIGHT:] for frame in frames]
        half = (images[0].shape[1] - GAP) // 2
        differing[name] = any((image[:, :half] != image[:, -half:]).any() for image in images)
    assert differing == {0.0: False, 0.3: True, "worst": True}
