"""``rlkit compare``."""

from __future__ import annotations

from dataclasses import asdict

from .options import DONE, ContinuedOutput, SharedAlgorithm, TrainingOptions, at_least_one, seeds_from


def compare(
    training: TrainingOptions,
    output: ContinuedOutput,
    algo: SharedAlgorithm = "dqn",
    sb3_seeds: int = 2,
    episodes: int = 100,
) -> int:
    """Train rlkit and stable-baselines3 with equal hyper-parameters, and evaluate both on the same episodes.

    Both train at the same time, each in its own process on one thread of the CPU. CPU seconds are those of training.
    With --device rlkit computes on a GPU; stable-baselines3 stays on the CPU. The settings of both are printed before
    training starts. The default of --out is runs/compare-ENV.

    A comparison that was stopped or killed continues with --resume: rlkit from its newest checkpoint, stable-baselines3
    with the unfinished seeds. The command then opens the models of finished seeds, which can run code: continue only
    your own comparisons.

    Example: rlkit compare --env CartPole-v1 --seeds 8 --sb3-seeds 2 --steps 50000 --out runs/compare

    Args:
        algo: Algorithm.
        sb3_seeds: Number of seeds of stable-baselines3, from the same first seed.
        episodes: Evaluation episodes per seed.
    """
    from ..report import ledger, terminal
    from ..workflows.compare import compare as run_comparison
    from ..workflows.compare import require_sb3
    from ..workflows.train import KeptTraining

    require_sb3()
    at_least_one("episodes", episodes)
    seeds = seeds_from(training.first_seed, sb3_seeds)
    job = training.training(algo)
    fresh = job.make_agent()  # refuses bad input before a folder is made
    training.tell_preset(job, output)
    announce = (lambda table: None) if output.silent else terminal.show_table
    settings = {"command": "compare", **asdict(job), "sb3_seeds": seeds, "episodes": episodes}
    with output.folder("compare", training.env, settings) as folder:
        kept = KeptTraining(fresh, folder, resume=output.resume)
        if not output.silent:
            output.tell(kept.told_engine())
        for text in kept.told(job):
            output.tell(text)
        run = run_comparison(job, seeds, kept, folder, episodes, terminal.watch(output.silent), announce)
        ledger.write(run, folder)
    output.show(run, shown=("hyperparameters",))
    output.end(run, folder)
    return DONE
