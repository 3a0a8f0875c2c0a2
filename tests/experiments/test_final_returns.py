"""Final returns of both engines: rows, their difference and the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlkit.experiments.benchmarks.final_returns import CASES, difference, main
from rlkit.experiments.report.ledger import write_csv


def test_the_difference_is_compiled_minus_torch_by_seed_without_seeds_that_ended_no_episode() -> None:
    found = difference(np.array([[3.0, 1.0], [10.0, 6.0], [np.nan, 5.0]]))
    assert (found.value, found.n) == (3.0, 2)


def test_rows_that_are_there_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(0, 100.0, 90.0), (1, 200.0, 230.0)]
    write_csv(tmp_path / "dqn.csv", ("seed", "compiled", "torch"), rows)
    assert main(["--folder", str(tmp_path)]) == 0
    assert "dqn: compiled 150.0, torch 160.0, difference -10.0" in capsys.readouterr().out
    assert b"DQN" in (tmp_path / "final_returns.svg").read_bytes()
    assert set(CASES) == {"ppo", "a2c", "reinforce", "dqn"}
    with pytest.raises(SystemExit):
        main(["sarsa", "--folder", str(tmp_path)])
