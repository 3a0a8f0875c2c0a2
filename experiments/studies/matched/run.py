"""Training what has no row yet, and the difference between the two sides."""

from __future__ import annotations

import argparse
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
from ...workflows.train import Training, train
from ..common import rows
from ..common.case_selection import parsed
from ..common.scores import Score, missing, of_case, our_scores, scores
from .settings import CASES, MatchedCase

LABELS = {OURS: OURS, PEER: "stable-\nbaselines3"}
PANELS = 4  # side by side


def run_case(case: MatchedCase, path: Path) -> None:
    """Train both sides of a case as far as rows are missing in the file, and add them one by one."""
    known = rows.read(path, Score)
    config = replace(case.training, seeds=case.training.seeds[:1]).make_agent().config
    order = order_for(case.training, config, case.peer_seeds)
    terminal.show_table(hyperparameter_table(config, order))
    ours = missing(case.training.seeds, known, case.name, OURS)
    if ours:
        training = replace(case.training, seeds=ours)
        rows.append(path, our_scores(case.name, training, train(training, training.make_agent())))
        terminal.say(f"{case.name}: {len(ours)} seeds of ours")
    for seed in missing(case.peer_seeds, known, case.name, PEER):
        score = peer_score(case.name, case.training, replace(order, seeds=(seed,)))
        rows.append(path, [score])
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


def main(args: Sequence[str] | None = None) -> int:
    """Run what is named and has no row yet, show the differences and draw the figure; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.studies.matched", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(case.name for case in CASES))
    parser.add_argument("--rows", type=Path, default=Path("results/matched/matched.csv"), help="read and continued")
    parser.add_argument("--figure", type=Path, default=Path("results/matched/matched.png"), help="written")
    options, cases = parsed(parser, args, CASES)
    require_peer()
    for case in cases:
        run_case(case, options.rows)
    known = rows.read(options.rows, Score)
    terminal.show_table(difference_table(known))
    write_bytes(options.figure, png(picture(known), SMALL_DPI))
    return 0
