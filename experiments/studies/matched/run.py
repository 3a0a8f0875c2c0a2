"""Training what has no row yet, and the difference between the two sides."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from rlkit.plotting import SMALL_DPI, png, strips
from rlkit.statistics import difference_interval, mean_interval

from ...report import terminal
from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.compare import Peer, SB3Job, hyperparameter_table, order_for, peer_subject, require_peer
from ...workflows.policies import OURS, PEER
from ...workflows.train import Training
from ..common import rows
from ..common.scores import Score, missing, of_case, scores, train_missing
from ..common.study import MAKERS, Study, StudyOptions
from .settings import CASES, MatchedCase

LABELS = {OURS: OURS, PEER: "stable-\nbaselines3"}
PANELS = 4  # side by side


def run(cases: Sequence[MatchedCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Train what has no row yet, draw the figure, and table the differences."""
    file = options.data / "matched.csv"
    if PEER in options.makers:
        require_peer()
    for case in cases:
        run_case(case, file, options.makers)
    known = rows.read(file, Score)
    write_bytes(options.data / "matched.png", png(picture(known), SMALL_DPI))
    return (difference_table(known),)


def run_case(case: MatchedCase, file: Path, makers: Sequence[str] = MAKERS) -> None:
    """Train both sides of a case as far as rows are missing in the file, and add them one by one."""
    config = replace(case.training, seeds=case.training.seeds[:1]).make_agent().config
    order = order_for(case.training, config, case.peer_seeds)
    terminal.show_table(hyperparameter_table(config, order))
    if OURS in makers:
        train_missing(case.name, case.training, file)
    known = rows.read(file, Score)
    for seed in missing(case.peer_seeds, known, case.name, PEER) if PEER in makers else ():
        score = peer_score(case.name, case.training, replace(order, seeds=(seed,)))
        rows.append(file, [score])
        terminal.say(f"{case.name}: seed {seed} of {PEER}, {score.greedy:g}")


def peer_score(name: str, training: Training, order: SB3Job) -> Score:
    """Train the only seed of an order in a process of its own, and play its final policy.

    Raises:
        PeerFailed: that process failed.
    """
    with tempfile.TemporaryDirectory() as folder, Peer(order, Path(folder)) as peer:
        (result,) = peer.results()
        subject = peer_subject(training, order.algorithm, [result])
    stochastic = order.algorithm != "DQN"
    (score,) = scores(name, subject, result.timesteps, [result.cpu_seconds], stochastic)
    return score


def difference_table(known: Sequence[Score]) -> ReportTable:
    """Both sides' means with their intervals and the difference, ours minus theirs; one line per case and policy."""
    lines: list[tuple[Cell, ...]] = []
    for case in dict.fromkeys(row.case for row in known):
        for kind in ("greedy", "sampled"):
            ours, theirs = (earned(known, case, maker, kind) for maker in (OURS, PEER))
            if ours and theirs:
                difference = difference_interval(ours, theirs)
                seeds = f"{len(ours)}, {len(theirs)}"
                lines.append((case, kind, seeds, mean_interval(ours), mean_interval(theirs), difference))
    columns = ("case", "actions", "seeds", OURS, PEER, "difference")
    return ReportTable("matched", "Mean final return over seeds, with 95 % intervals", columns, tuple(lines))


def earned(known: Sequence[Score], case: str, maker: str, kind: str) -> list[float]:
    """The final returns of one side of a case, greedy or sampled; none where the policy has none."""
    values = [getattr(row, kind) for row in of_case(known, case, maker)]
    return [value for value in values if value is not None]


def picture(known: Sequence[Score]) -> Figure:
    """Every seed of both sides, a panel per case."""
    cases = list(dict.fromkeys(row.case for row in known))
    lines, columns = -(-len(cases) // PANELS), min(len(cases), PANELS)
    figure = Figure(figsize=(3.4 * columns, 3.2 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for empty in panels[len(cases) :]:
        empty.set_axis_off()
    for panel, case in zip(panels, cases, strict=False):
        groups = {
            f"{LABELS[maker]}\n{kind}": values
            for kind in ("greedy", "sampled")
            for maker in (OURS, PEER)
            if (values := earned(known, case, maker, kind))
        }
        strips(panel, groups, "final return" if panel in panels[::columns] else "", case)
    return figure


STUDY = Study(CASES, run, takes=("makers",))
