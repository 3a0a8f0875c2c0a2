"""The command line: ``rlkit train | evaluate | solve | attack | hijack | compare | report | watch | demo``.

Exit codes: 0 done; 1 a target was missed or a computation failed; 2 misuse, with one line that says what to change;
130 interrupted. The commands import what they need when they run, so that ``--help`` is quick.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

import rlkit

if TYPE_CHECKING:
    from .policies import Subject
    from .train import Training

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

Json = Annotated[bool, arg(name="json", help="Print one JSON object on the standard output and nothing else there.")]
Pairs = Annotated[tuple[str, ...], arg(metavar="NAME=VALUE ...")]
Overwrite = Annotated[bool, arg(help="Replace the run that --out holds already.")]


def train(
    env: str = "CartPole-v1",
    algo: Literal["dqn", "a2c", "ppo", "reinforce", "tabularq"] = "dqn",
    seeds: int = 8,
    first_seed: int = 0,
    steps: int = 50_000,
    preset: str = "tuned",
    set: Annotated[Pairs, arg(name="set")] = (),
    env_kwargs: Pairs = (),
    num_envs: int | None = None,
    backend: Literal["auto", "gymnasium"] = "auto",
    device: str = "cpu",
    episodes: int = 100,
    out: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Train several seeds of an agent side by side, save them as one policy file, and evaluate them greedily.

    Leaves agent.safetensors, training.csv, run.json and a picture in the folder --out. Ctrl-C stops after the present
    logging interval and keeps what there is; a second one stops at once.

    Example: rlkit train --env CartPole-v1 --seeds 8 --steps 50000 --set learning_rate=1e-3 --out runs/cartpole

    Args:
        env: Environment: an id of gymnasium or rlkit, for example rlkit/GridWorld-v0.
        algo: Algorithm.
        seeds: How many training seeds.
        first_seed: The first of them; the others follow by one.
        steps: Environment steps per seed.
        preset: Hyper-parameters to start from: tuned, rl-zoo, or sb3 (stable-baselines3's defaults).
        set: Hyper-parameters to change; a list such as 1e-3,2e-3 gives every seed its own.
        env_kwargs: Arguments of the environment, for example map=frozenlake-8x8 slip=0.2.
        num_envs: Copies of the environment per seed; the preset's by default.
        backend: auto replaces CartPole-v1 by its native twin; gymnasium never does.
        device: Where to compute, for example cpu or cuda.
        episodes: Evaluation episodes per seed afterwards.
        out: Folder to write to; runs/ALGO-ENV by default.
    """
    from rlkit.agents.progress import progress

    from . import ledger, terminal
    from .train import train_and_write

    training = _training(env, algo, seeds, first_seed, steps, preset, set, env_kwargs, num_envs, backend, device)
    _at_least_one("episodes", episodes)
    agent = training.make_agent()
    folder = ledger.new_folder(out or _default_folder(algo, env), overwrite)
    run, finished = train_and_write(training, agent, folder, episodes, None if json else progress)
    ledger.write(run, folder)
    terminal.show(run, json)
    _tell(f"{'written to' if finished else 'interrupted; what there is was written to'} {folder}", json)
    return DONE if finished else INTERRUPTED


def evaluate(
    policy: Positional[Path],
    env: str | None = None,
    env_kwargs: Pairs = (),
    algo: Literal["DQN", "A2C", "PPO"] | None = None,
    trust: bool = False,
    vec_normalize: Path | None = None,
    episodes: int = 100,
    sampled: bool = False,
    first_seed: int = 10_000,
    out: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Play a saved policy and give its return with an interval over training seeds.

    Episode e starts from reset(seed=first_seed + e), whatever the policy: two evaluations are paired.

    Example: rlkit evaluate runs/cartpole/agent.safetensors --episodes 100

    Args:
        policy: A file: .safetensors of ours, or .zip of stable-baselines3 (with --algo, --env and --trust).
        env: Environment; that of training by default.
        env_kwargs: Arguments of the environment of a stable-baselines3 model.
        algo: Algorithm of a stable-baselines3 model.
        trust: Open a stable-baselines3 file, which can run any code while it is read.
        vec_normalize: The .pkl of the VecNormalize that such a model was trained behind; it needs --trust too.
        episodes: Episodes per training seed.
        sampled: Sample actions instead of taking the greedy ones.
        first_seed: Where evaluation seeds start.
        out: Folder to write run.json and CSV to.
    """
    from .evaluate import evaluate as run_evaluation

    subject = _subject(policy, env, env_kwargs, algo, trust, vec_normalize)
    return _finish(run_evaluation(subject, episodes, sampled, first_seed), out, overwrite, json)


def solve(
    problem: Positional[str],
    env_kwargs: Pairs = (),
    gamma: float = 0.99,
    tolerance: float = 1e-9,
    limit: int | None = None,
    method: Literal[
        "auto",
        "value iteration",
        "gauss-seidel",
        "modified policy iteration",
        "prioritised sweeping",
        "inexact policy iteration",
        "policy iteration",
        "stencil",
    ] = "auto",
    device: str | None = None,
    prove: bool = False,
    points: int | None = None,
    policy: Path | None = None,
    out: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Compute the exact optimum of a finite problem, between two proven bounds.

    Also the greatest return within a step limit, which no stationary policy need reach. With --out the folder gets
    the value of every state as CSV and JSON and, for a map, as a picture. CartPole-v1 is solved on a lattice of its
    states, with a map of what can be balanced.

    Example: rlkit solve frozenlake-8x8 --gamma 0.99 --out runs/lake

    Args:
        problem: A named map, a file with a text map or a table (.npz of TabularMDP.save), or an id such as
            FrozenLake-v1, Taxi-v4, rlkit/GridWorld-v0 or CartPole-v1.
        env_kwargs: Arguments of the environment, for example slip=0.2.
        gamma: Discount; 1 is the total reward of whole episodes.
        tolerance: How far the bounds may be apart.
        limit: Step limit; the problem's own by default.
        method: auto chooses and says why.
        device: A torch device such as cuda, for sweeps there; the compiled solvers of the CPU by default.
        prove: Prove the answer in rational arithmetic too (a few hundred states).
        points: Of each of the four axes of CartPole-v1's lattice; 15 by default.
        policy: A DQN trained on CartPole-v1, to draw its Q beside.
        out: Folder to write to.
    """
    from .cartpole import cartpole_of, solve_cartpole
    from .solve import find_problem
    from .solve import solve as run_solver

    dynamics = cartpole_of(problem, _pairs(env_kwargs))
    if dynamics is not None:
        if limit is not None or prove or method != "auto":
            raise ValueError(f"{problem} is solved on a lattice: leave out --limit, --prove and --method")
        learned = None if policy is None else _subject(policy, None, (), None, False)
        run = solve_cartpole(dynamics, problem, points or 15, gamma, tolerance, device, learned)
        return _finish(run, out, overwrite, json)
    if points is not None or policy is not None:
        raise ValueError(
            f"{problem} is finite: --points and --policy are for CartPole-v1 (rlkit evaluate judges policies of finite "
            "problems)"
        )
    found = find_problem(problem, _pairs(env_kwargs))
    return _finish(run_solver(found, gamma, tolerance, limit, method, device, prove), out, overwrite, json)


def attack(
    policy: Positional[Path],
    env: str | None = None,
    env_kwargs: Pairs = (),
    algo: Literal["DQN", "A2C", "PPO"] | None = None,
    trust: bool = False,
    vec_normalize: Path | None = None,
    attacks: tuple[str, ...] = ("noise", "fgsm", "pgd"),
    epsilons: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0),
    unit: Literal["std", "raw"] = "std",
    norm: str = "inf",
    timing: Literal["always", "every", "random", "strategic", "value", "critical"] = "always",
    share: float = 0.25,
    temperature: float | None = None,
    attacks_per_episode: int | None = None,
    measures: tuple[Literal["distance", "saliency", "sections"], ...] = (),
    episodes: int = 100,
    first_seed: int = 10_000,
    out: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Measure the return of a policy whose observations are tampered with, against the size of the change.

    The natural return stands first, on the same episodes. An attack that fails proves nothing: a checklist says where
    one is suspiciously weak.

    Example: rlkit attack runs/cartpole/agent.safetensors --attacks noise fgsm --epsilons 0.1 0.5 1
    --measures distance saliency sections --out runs/attack

    Args:
        policy: A file: .safetensors of ours, or .zip of stable-baselines3 (with --algo, --env and --trust).
        env: Environment; that of training by default.
        env_kwargs: Arguments of the environment of a stable-baselines3 model.
        algo: Algorithm of a stable-baselines3 model.
        trust: Open a stable-baselines3 file, which can run any code while it is read.
        vec_normalize: The .pkl of the VecNormalize that such a model was trained behind; it needs --trust too.
        attacks: Which attacks: noise (random signs of full size), uniform or gaussian (other noise), fgsm (one step
            along the gradient), pgd (20 steps), search (random search, sees scores), boundary (sees actions only),
            best (at every step the best of several).
        epsilons: Sizes of the change.
        unit: Of epsilon: standard deviations of natural observations (std), or raw observation units (raw).
        norm: inf bounds every feature by itself, 2 and 1 all of them together.
        timing: When to attack: always, every n-th step, at random, where the preference of one action is strong
            (strategic), where the policy expects much (value), or where one wrong action is dangerous (critical).
        share: Of steps to attack, for every timing but always; thresholds are measured on natural episodes.
        temperature: Of a strategic timing's softmax, in units of return; needed where scores are action values (DQN).
        attacks_per_episode: At most so many attacks in an episode; no limit by default.
        measures: What else to measure at natural states: how near the nearest observation is that changes the action
            (distance), what every feature weighs over an episode (saliency), scores along a line and over a plane of
            observations, in the steepest direction and a random one (sections).
        episodes: Episodes per training seed, attack and epsilon.
        first_seed: Where evaluation seeds start.
        out: Folder to write tables, figures, run.json and report.html to.
    """
    from .attack import NormName, threat
    from .attack import attack as run_attack
    from .measures import with_measures
    from .report import write_report
    from .timing import timing_of

    _at_least_one("episodes", episodes)
    subject = _subject(policy, env, env_kwargs, algo, trust, vec_normalize)
    threatened = threat(subject, attacks, epsilons, unit, cast(NormName, norm))._replace(
        timing=timing_of(timing, share, temperature, subject), attacks_per_episode=attacks_per_episode
    )
    run = run_attack([subject], threatened, episodes, first_seed)
    run = with_measures(run, subject, threatened, measures, first_seed)
    code = _finish(run, out, overwrite, json)
    if out is not None:
        write_report(out / "report.html", run.title, [run])
    return code


def hijack(
    policy: Positional[Path],
    toward: str,
    env: str | None = None,
    env_kwargs: Pairs = (),
    algo: Literal["DQN", "A2C", "PPO"] | None = None,
    trust: bool = False,
    vec_normalize: Path | None = None,
    epsilons: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0),
    unit: Literal["std", "raw"] = "std",
    norm: Literal["inf", "2"] = "inf",
    episodes: int = 100,
    first_seed: int = 10_000,
    out: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Make a policy do what an attacker wants, through its observations, and measure the attacker's own return.

    On the cart-pole the attacker wants the cart on one side with the pole up; on a grid world, another goal reached.
    Targeted attacks stand beside the natural play, noise and an untargeted attack on the same episodes.

    Example: rlkit hijack runs/cartpole/agent.safetensors --toward right --epsilons 0.1 0.5 1 --out runs/hijack

    Args:
        policy: A file: .safetensors of ours, or .zip of stable-baselines3 (with --algo, --env and --trust).
        toward: left or right on CartPole-v1; on a grid world the letter of the tile where the episode shall end.
        env: Environment; that of training by default.
        env_kwargs: Arguments of the environment of a stable-baselines3 model.
        algo: Algorithm of a stable-baselines3 model.
        trust: Open a stable-baselines3 file, which can run any code while it is read.
        vec_normalize: The .pkl of the VecNormalize that such a model was trained behind; it needs --trust too.
        epsilons: Sizes of the change.
        unit: Of epsilon: standard deviations of natural observations (std), or raw observation units (raw).
        norm: inf bounds every feature by itself, 2 all of them together.
        episodes: Episodes per training seed, attempt and epsilon.
        first_seed: Where evaluation seeds start.
        out: Folder to write the table, the figure and run.json to.
    """
    from .hijack import hijack as run_hijack

    _at_least_one("episodes", episodes)
    subject = _subject(policy, env, env_kwargs, algo, trust, vec_normalize)
    return _finish(run_hijack(subject, toward, epsilons, unit, norm, episodes, first_seed), out, overwrite, json)


def compare(
    env: str = "CartPole-v1",
    algo: Literal["dqn", "a2c", "ppo"] = "dqn",
    seeds: int = 8,
    peer_seeds: int = 2,
    first_seed: int = 0,
    steps: int = 50_000,
    preset: str = "tuned",
    set: Annotated[Pairs, arg(name="set")] = (),
    env_kwargs: Pairs = (),
    num_envs: int | None = None,
    episodes: int = 100,
    out: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Train an agent of ours and stable-baselines3's with equal hyper-parameters, and judge both on the same episodes.

    stable-baselines3 trains in its own process, at the same time, one thread each; CPU seconds are of training alone.
    Both sides' settings are printed before anything is trained.

    Example: rlkit compare --env CartPole-v1 --seeds 8 --peer-seeds 2 --steps 50000 --out runs/compare

    Args:
        env: Environment id.
        algo: Algorithm.
        seeds: How many seeds of ours.
        peer_seeds: How many of stable-baselines3, from the same first seed.
        first_seed: The first of both.
        steps: Environment steps per seed.
        preset: Hyper-parameters to start from: tuned, rl-zoo, or sb3 (stable-baselines3's defaults).
        set: Hyper-parameters to change, on both sides.
        env_kwargs: Arguments of the environment.
        num_envs: Copies of the environment per seed, on both sides; the preset's by default.
        episodes: Evaluation episodes per seed.
        out: Folder to write to; runs/compare-ENV by default.
    """
    from rlkit.agents.progress import progress

    from . import ledger, terminal
    from .compare import compare as run_comparison
    from .compare import require_peer

    require_peer()
    _at_least_one("episodes", episodes)
    theirs = _seeds(peer_seeds, first_seed)
    training = _training(env, algo, seeds, first_seed, steps, preset, set, env_kwargs, num_envs)
    training.make_agent()  # refuses bad input before a folder is made
    folder = ledger.new_folder(out or _default_folder("compare", env), overwrite)
    announce = (lambda table: None) if json else terminal.show_table
    run = run_comparison(training, theirs, folder, episodes, None if json else progress, announce)
    ledger.write(run, folder)
    terminal.show(run, json, shown=("hyperparameters",))
    _tell(f"written to {folder}", json)
    return DONE


def report(
    runs: Positional[tuple[Path, ...]],
    out: Path = Path("report.html"),
    title: str = "Results",
    json: Json = False,
) -> int:
    """Put runs into one self-contained HTML page, with the same numbers as CSV and JSON beside it.

    Example: rlkit report runs/cartpole runs/attack --out report.html

    Args:
        runs: Folders that commands wrote with --out, or folders of such folders.
        out: The page.
        title: Its title.
    """
    from . import ledger
    from .report import write_report
    from .terminal import say

    files = write_report(out, title, [ledger.read(folder) for folder in ledger.find(runs)])
    if json:
        print(ledger.to_json(dict(zip(("report", "json", "csv"), files, strict=True))), end="")
    else:
        say(f"{files[0]}  (numbers: {files[1]}, {files[2]})")
    return DONE


def watch(
    policy: Positional[Path],
    env: str | None = None,
    env_kwargs: Pairs = (),
    algo: Literal["DQN", "A2C", "PPO"] | None = None,
    trust: bool = False,
    vec_normalize: Path | None = None,
    mode: Literal["human", "ansi", "gif"] = "human",
    episodes: int = 1,
    row: int = 0,
    max_steps: int | None = None,
    attack: Literal["noise", "uniform", "fgsm"] | None = None,
    epsilon: float = 0.5,
    unit: Literal["std", "raw"] = "std",
    norm: Literal["inf", "2"] = "inf",
    out: Path = Path("watch.gif"),
    json: Json = False,
) -> int:
    """Watch one training seed of a policy play: in a window, as text, or as an animation in a file.

    The episodes are the first ones that evaluate counts. Under --attack the animation shows the true state beside what
    the policy is shown (cart-pole and grid worlds).

    Example: rlkit watch runs/cartpole/agent.safetensors --mode gif --attack fgsm --epsilon 0.5 --out cartpole.gif

    Args:
        policy: A file: .safetensors of ours, or .zip of stable-baselines3 (with --algo, --env and --trust).
        env: Environment; that of training by default.
        env_kwargs: Arguments of the environment of a stable-baselines3 model.
        algo: Algorithm of a stable-baselines3 model.
        trust: Open a stable-baselines3 file, which can run any code while it is read.
        vec_normalize: The .pkl of the VecNormalize that such a model was trained behind; it needs --trust too.
        mode: human is a window, ansi text (grid worlds), gif a file.
        episodes: How many.
        row: Which training seed of the file, counted from 0.
        max_steps: Cut episodes after so many steps.
        attack: Deceive the policy.
        epsilon: Size of the change.
        unit: Of epsilon: standard deviations of natural observations (std), or raw observation units (raw).
        norm: inf bounds every feature by itself, 2 all of them together.
        out: The file of mode gif.
    """
    from dataclasses import replace

    from . import ledger
    from .attack import ATTACKS, threat
    from .terminal import say
    from .watch import Tampering, has_display, write_gif
    from .watch import watch as run_watch

    _at_least_one("episodes", episodes)
    subject = _subject(policy, env, env_kwargs, algo, trust, vec_normalize)
    if mode == "human" and not has_display():
        raise ValueError("no window can be opened (no display, or no toolkit for matplotlib): use --mode gif or ansi")
    tampering = None
    if attack is not None:
        budget = replace(threat(subject, [attack], [epsilon], unit, norm).budget, epsilon=epsilon)
        tampering = Tampering(ATTACKS[attack], budget)
    images: list[Any] = []
    returns: list[float] = []
    for frame in run_watch(subject, mode, episodes, row, max_steps, tampering):
        if mode == "gif":
            images.append(frame.image)
        elif mode == "ansi" and not json:
            print(f"episode {frame.episode}, step {frame.step}, return {frame.earned:g}\n{frame.image}\n")
        returns[frame.episode :] = [frame.earned]
    if mode == "gif":
        write_gif(out, images)
    if json:
        print(ledger.to_json({"returns": returns, "file": out if mode == "gif" else None}), end="")
    else:
        say(f"returns: {', '.join(f'{earned:g}' for earned in returns)}" + (f"; written to {out}" * (mode == "gif")))
    return DONE


def demo(
    out: Path = Path("runs/demo"),
    quick: bool = False,
    json: Json = False,
) -> int:
    """Run the main job: train, check against the exact answer, compare with stable-baselines3, attack, report.

    A slippery grid world against its exact optimum, CartPole beside stable-baselines3, both under attack: about six
    minutes on two cores. Exits with 1 if a target is missed.

    Example: rlkit demo --out runs/demo

    Args:
        out: Folder to write to; a demo in it is replaced.
        quick: The same in seconds with far too little training and no targets: a test of the plumbing.
    """
    from .demo import run_demo

    return DONE if run_demo(out, quick, json) else FAILED


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "evaluate": evaluate,
    "solve": solve,
    "attack": attack,
    "hijack": hijack,
    "compare": compare,
    "report": report,
    "watch": watch,
    "demo": demo,
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Errors of use are one line on the standard error."""
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments == ["--version"]:
        print(f"rlkit {rlkit.__version__}")
        return DONE
    try:
        code: int = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="rlkit",
            description="Reinforcement learning whose numbers can be checked.",
            args=arguments,
            config=(FlagCreatePairsOff,),
        )
    except SystemExit as end:  # the parser's own: help, or an argument it does not know
        return end.code if isinstance(end.code, int) else MISUSED
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except (ValueError, OSError, ModuleNotFoundError, MemoryError) as error:
        return _failed(str(error), MISUSED)
    except RuntimeError as error:
        if not isinstance(error, _foreseen()):
            raise
        return _failed(str(error), FAILED)
    return code


def _foreseen() -> tuple[type[RuntimeError], ...]:
    """Failures that are no defect of this program."""
    from rlkit.envs.foreign import FaultyEnvironmentError
    from rlkit.planning import NotConverged

    from .compare.process import PeerFailed

    return FaultyEnvironmentError, NotConverged, PeerFailed


def _failed(message: str, code: int) -> int:
    print(f"rlkit: {' '.join(message.split())}", file=sys.stderr)
    return code


def _training(
    env: str,
    algo: str,
    seeds: int,
    first_seed: int,
    steps: int,
    preset: str,
    hyperparameters: Sequence[str],
    env_kwargs: Sequence[str],
    num_envs: int | None,
    backend: str = "auto",
    device: str = "cpu",
) -> Training:
    """What the command line asks to train, on one torch thread: parallelism comes from seeds and processes."""
    import torch

    from .train import Training

    torch.set_num_threads(1)
    return Training(
        env=env,
        algo=algo,
        seeds=_seeds(seeds, first_seed),
        steps=steps,
        preset=preset,
        hyperparameters=_pairs(hyperparameters),
        env_kwargs=_pairs(env_kwargs),
        num_envs=num_envs,
        backend=backend,
        device=device,
    )


def _subject(
    policy: Path,
    env: str | None,
    env_kwargs: Sequence[str],
    algo: Any,
    trust: bool,
    vec_normalize: Path | None = None,
) -> Subject:
    """The policy of a command that judges one, on one torch thread."""
    import torch

    from .policies import open_policy

    torch.set_num_threads(1)
    return open_policy(policy, env, _pairs(env_kwargs), algo=algo, trust=trust, vec_normalize=vec_normalize)


def _finish(run: Any, out: Path | None, overwrite: bool, as_json: bool) -> int:
    """Write a run where that is wanted, and show it."""
    from . import ledger, terminal

    if out is not None:
        ledger.write(run, ledger.new_folder(out, overwrite))
    terminal.show(run, as_json)
    if out is not None:
        _tell(f"written to {out}", as_json)
    return DONE


def _tell(text: str, as_json: bool) -> None:
    """A word for people: beside JSON it goes to the standard error."""
    print(text, file=sys.stderr if as_json else sys.stdout)


def _pairs(given: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words as a dictionary; values are Python literals where they are some, else text.

    Raises:
        ValueError: a word without ``=``, or a name given twice.
    """
    values: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        if name in values:
            raise ValueError(f"{name} is given twice")
        values[name] = _value(text)
    return values


def _value(text: str) -> Any:
    """1e-3 -> 0.001, 64,64 -> (64, 64), true -> True, none -> None, frozenlake-4x4 -> 'frozenlake-4x4'."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _seeds(count: int, first: int) -> tuple[int, ...]:
    _at_least_one("seeds", count)
    return tuple(range(first, first + count))


def _at_least_one(name: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")


def _default_folder(what: str, env: str) -> Path:
    return Path("runs", f"{what}-{env.replace('/', '-')}")
