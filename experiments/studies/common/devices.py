"""Trainings of studies on a device; the trained agents are measured on the CPU."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlkit.agents import Agent, resume

from ...workflows.train import Training, TrainingResult, train


def on_device(case: Any, device: str) -> Any:
    """Return a case whose training computes on a device; a case without a training is returned as it is."""
    training = getattr(case, "training", None)
    if not isinstance(training, Training) or training.device == device:
        return case
    return case._replace(training=replace(training, device=device))


def on_cpu(agent: Agent) -> Agent:
    """Return an agent with its whole training on the CPU; one that is there is returned as it is."""
    if agent.device.type == "cpu":
        return agent
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.safetensors")
        agent.checkpoint(path)
        return resume(path, device="cpu", terms=agent.terms.terms)


def trained_at_once(training: Training) -> TrainingResult:
    """Train on the training's device without checkpoints, and return the agent on the CPU."""
    result = train(training, training.make_agent())
    return result._replace(agent=on_cpu(result.agent))
