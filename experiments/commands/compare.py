"""``rlkit compare``."""

from __future__ import annotations

from .options import DONE, Output, SharedAlgorithm, TrainingOptions, at_least_one, seeds_from


def compare(
    training_options: TrainingOptions,
    output: Output,
    algo: SharedAlgorithm = "dqn",
    peer_seeds: int = 2,
    episodes: int = 100,
) -> int:
    """Train an agent of ours and stable-baselines3's with equal hyper-parameters, and judge both on the same episodes.

    stable-baselines3 trains in its own process, at the same time, one thread each; CPU seconds are of training alone.
    Both sides' settings are printed before anything is trained. Without --out the folder is runs/compare-ENV.

    Example: rlkit compare --env CartPole-v1 --seeds 8 --peer-seeds 2 --steps 50000 --out runs/compare

    Args:
        algo: Algorithm.
        peer_seeds: How many seeds of stable-baselines3, from the same first one.
        episodes: Evaluation episodes per seed.
    """
    from rlkit.agents import progress

    from ..report import ledger, terminal
    from ..workflows.compare import compare as run_comparison
    from ..workflows.compare import require_peer

    require_peer()
    at_least_one("episodes", episodes)
    theirs = seeds_from(training_options.first_seed, peer_seeds)
    training = training_options.training(algo)
    training.make_agent()  # refuses bad input before a folder is made
    training_options.tell_preset(training, output)
    folder = output.folder("compare", training_options.env)
    announce = (lambda table: None) if output.json else terminal.show_table
    run = run_comparison(training, theirs, folder, episodes, None if output.json else progress, announce)
    ledger.write(run, folder)
    terminal.show(run, output.json, shown=("hyperparameters",))
    output.tell(f"written to {folder}")
    return DONE
