"""Options that several commands share."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Container, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from rlkit.adversarial import Threat

    from ..report.ledger import RunRecord
    from ..stopping import FinishedRun
    from ..workflows.defense import DefenseSettings
    from ..workflows.policies import Subject
    from ..workflows.sweep.executors import Executor
    from ..workflows.train import Training

SLURM_JOBS = 100  # in the queue unless told
DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130  # exit codes; of a command that SIGTERM stops 143

# The parser imports no torch, so these repeat rlkit.agents.ALGORITHMS and rlkit.sb3.ALGORITHMS.
Algorithm = Literal["dqn", "a2c", "ppo", "reinforce", "tabularq", "wocardqn"]
SharedAlgorithm = Literal["dqn", "a2c", "ppo"]  # those of rlkit and of stable-baselines3
# rlkit.adversarial.APPLICABILITY without those that need a limit or a teacher
DefenseName = Literal[
    "J1",
    "J2",
    "two_lip",
    "sa_dqn_hinge",
    "sa_ppo_kl",
    "radial",
    "car_dqn",
    "adversarial_training",
    "gaussian_augmentation",
    "weight_decay",
]
SB3ModelAlgorithm = Literal["DQN", "A2C", "PPO"]


def unset(metavar: str, default: str) -> Any:
    """An option that is None unless given; ``default`` says what then happens."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


Json = Annotated[bool, arg(name="json", help="Print one JSON object on the standard output and nothing else there.")]
Pairs = Annotated[tuple[str, ...], unset("NAME=VALUE ...", "none")]
Paths = Annotated[Positional[tuple[Path, ...]], unset("[PATH ...]", "none")]
WHERE = "Where to compute: cpu, cuda, or auto (a GPU if there is one)."
Device = Annotated[str, arg(metavar="DEVICE", help=WHERE)]
DeviceOfFile = Annotated[str | None, unset("DEVICE", "the file's, else cpu"), arg(help=WHERE)]


@dataclass(frozen=True)
class Output:
    """Where results are written.

    Args:
        out: Folder for run.json, tables and figures.
        overwrite: Replace the run that --out already holds.
        quiet: Print nothing but warnings and errors.
        plain: Print tables with all columns, separated by tabs.
    """

    out: Annotated[Path | None, unset("FOLDER", "none")] = None
    overwrite: bool = False
    quiet: bool = False
    plain: bool = False
    json: Json = False

    @property
    def silent(self) -> bool:
        """Whether no progress is shown."""
        return self.quiet or self.json

    def finish(self, run: RunRecord) -> int:
        """Write a run to --out, if given, and show it."""
        from ..report import ledger

        if self.out is not None:
            with ledger.open_folder(self.out, self.overwrite) as folder:
                ledger.write(run, folder)
        self.show(run)
        self.end(run, self.out)
        return DONE

    def end(self, run: RunRecord, folder: Path | None) -> None:
        """Say where a run was written, if it was, and what to do next."""
        from ..report import terminal

        if folder is not None:
            self.tell(f"written to {folder}")
        if not self.silent:
            self.tell(terminal.next_step(run, folder))

    def show(self, run: RunRecord, shown: Container[str] = ()) -> None:
        """Print a run, without the tables that were ``shown`` before, or one JSON object."""
        if self.json:
            print_json(run.summary())
        elif not self.quiet:
            from ..report import terminal

            terminal.show(run, shown, self.plain)

    def tell(self, text: str) -> None:
        """Print a message, with --json on the standard error; nothing with --quiet."""
        if self.quiet:
            return
        print(text, file=sys.stderr if self.json else sys.stdout)


@dataclass(frozen=True)
class ContinuedOutput(Output):
    """Where results are written, by a command that can be stopped and continued.

    Args:
        resume: Continue the run that was stopped in the folder; all other options must be those it was started with.
    """

    resume: bool = False

    def folder(self, command: str, env: str, settings: Mapping[str, Any]) -> AbstractContextManager[Path]:
        """The folder of a run, for this process alone: --out, else runs/COMMAND-ENV."""
        from ..report.continued import continued_folder

        path = self.out or Path("runs", f"{command}-{re.sub('[/:]', '-', env)}")
        return continued_folder(path, settings, self.overwrite, self.resume)

    def folder_if_given(self, settings: Mapping[str, Any]) -> AbstractContextManager[Path | None]:
        """The folder of --out, for this process alone; None without it.

        Raises:
            ValueError: nothing to continue without a folder, or see ``continued_folder``.
        """
        from ..report.continued import continued_folder

        if self.out is not None:
            return continued_folder(self.out, settings, self.overwrite, self.resume)
        if self.resume:
            raise ValueError("--resume needs the folder of the run that was stopped: give --out")
        return nullcontext()


@dataclass(frozen=True)
class PolicyOptions:
    """Which policy is used, and where.

    Args:
        policy: A run folder, a policy of rlkit (.safetensors) or of stable-baselines3 (.zip).
        env: Environment to play in; a stable-baselines3 model needs it.
        env_kwargs: Arguments of the environment of a stable-baselines3 model.
        algo: Algorithm of a stable-baselines3 model, in any case; needed, because the file does not name it.
        trust: Open a stable-baselines3 file, which can run any code when it is read.
        vec_normalize: The .pkl file of the VecNormalize that a stable-baselines3 model was trained with; needs --trust.
        carrl: Let a DQN act on lower bounds of its values over observations within this epsilon (CARRL), in units of
            the task's committed scale, else raw ones.
    """

    policy: Positional[Path]
    env: Annotated[str | None, unset("ID", "the one of training")] = None
    env_kwargs: Pairs = ()
    algo: Annotated[str | None, unset("{" + ",".join(get_args(SB3ModelAlgorithm)) + "}", "none")] = None
    trust: bool = False
    vec_normalize: Annotated[Path | None, unset("FILE", "none")] = None
    carrl: Annotated[float | None, unset("EPSILON", "none")] = None
    device: Device = "auto"

    def load(self) -> Subject:
        """The policy and its environment, on one torch thread."""
        import torch

        from ..workflows.policies import open_policy
        from ..workflows.threat import acting_safely

        torch.set_num_threads(1)
        subject = open_policy(
            self.policy,
            self.env,
            pairs(self.env_kwargs),
            algo=self.algo,
            trust=self.trust,
            vec_normalize=self.vec_normalize,
            device=self.device,
        )
        return subject if self.carrl is None else acting_safely(subject, self.carrl)

    def identity(self) -> dict[str, Any]:
        """Return the options that choose the policy, and the digest of its file."""
        from ..workflows.policies import policy_file

        with policy_file(self.policy).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return {**asdict(self), "policy": str(self.policy), "vec_normalize": str(self.vec_normalize), "sha256": content}


@dataclass(frozen=True)
class PoliciesOptions:
    """Which policies are used, and where.

    Args:
        policies: Run folders, policies of rlkit (.safetensors) or of stable-baselines3 (.zip), of one environment.
        env: Environment to play in; stable-baselines3 models need it.
        env_kwargs: Arguments of the environment of stable-baselines3 models.
        algo: Algorithms of the stable-baselines3 models, in upper or lower case: one for all, or one for each in order.
        trust: Open stable-baselines3 files, which can run any code when they are read.
        vec_normalize: The .pkl file of the VecNormalize of a single stable-baselines3 model; needs --trust.
        carrl: Let DQNs act on lower bounds of their values over observations within this epsilon (CARRL), in units of
            the task's committed scale, else raw ones.
    """

    policies: Paths
    env: Annotated[str | None, unset("ID", "the one of training")] = None
    env_kwargs: Pairs = ()
    algo: Annotated[tuple[str, ...], unset("{" + ",".join(get_args(SB3ModelAlgorithm)) + "} ...", "none")] = ()
    trust: bool = False
    vec_normalize: Annotated[Path | None, unset("FILE", "none")] = None
    carrl: Annotated[float | None, unset("EPSILON", "none")] = None
    device: Device = "auto"

    def each(self) -> list[PolicyOptions]:
        """The options of every policy by itself.

        Raises:
            ValueError: no policy, or another number of algorithms than of stable-baselines3 models.
        """
        if not self.policies:
            raise ValueError("name at least one policy: a run folder, a .safetensors file or a .zip file")
        zips = [path for path in self.policies if path.suffix == ".zip"]
        if self.algo and len(self.algo) not in (1, len(zips)):
            raise ValueError(f"--algo names {len(self.algo)} algorithms for {len(zips)} stable-baselines3 models")
        if self.vec_normalize is not None and len(self.policies) > 1:
            raise ValueError("--vec-normalize belongs to a single policy: leave it out, or attack that policy alone")
        algos = iter(self.algo if len(self.algo) == len(zips) else self.algo * len(zips))
        return [
            PolicyOptions(
                path,
                self.env,
                self.env_kwargs if path in zips or len(self.policies) == 1 else (),
                next(algos, None) if path in zips else None,
                self.trust,
                self.vec_normalize,
                self.carrl,
                self.device,
            )
            for path in self.policies
        ]

    def load(self) -> list[Subject]:
        """The policies and their environment, under different names, on one torch thread.

        Raises:
            ValueError: policies of different environments.
        """
        from ..workflows.attack import labeled

        return labeled([options.load() for options in self.each()], self.policies)

    def identity(self) -> dict[str, Any]:
        """Return the options that choose the policies, and the digests of their files."""
        found = [options.identity() for options in self.each()]
        return found[0] if len(found) == 1 else {"policies": found}


Unit = Annotated[
    Literal["task", "std", "raw"] | None,
    unset("{task,std,raw}", "task where a scale is committed, else std"),
    arg(
        help="Unit of epsilon: the scale committed for the task (task), raw observation units (raw), or standard "
        "deviations of this policy's natural observations, which differ between policies (std)."
    ),
]


@dataclass(frozen=True)
class ThreatOptions:
    """Limits of the attacker.

    Args:
        threat_file: TOML file with all limits of the attacker; the options below replace its fields.
        epsilons: Attack sizes.
        norm: Norm of the attack: inf bounds every feature separately; 2 and 1 bound all features together.
        attacks_per_episode: Maximum attacks per episode.
        epsilon_per: Whether epsilon bounds every single step, or the l2 length of all offsets of an episode together
            (needs --norm 2).
        victim: Whether the policy plays its greedy actions or samples them.
        first_seed: Seed of the first episode that is reported; the following episodes have the next numbers.
    """

    threat_file: Annotated[Path | None, arg(name="threat"), unset("FILE", "the task's")] = None
    epsilons: Annotated[tuple[float, ...] | None, unset("FLOAT ...", "the task's, else 0.1 0.25 0.5 1")] = None
    unit: Unit = None
    norm: Annotated[Literal["inf", "2", "1"] | None, unset("{inf,2,1}", "inf")] = None
    attacks_per_episode: Annotated[int | None, unset("INT", "no limit")] = None
    epsilon_per: Annotated[Literal["step", "episode"] | None, unset("{step,episode}", "step")] = None
    victim: Annotated[Literal["greedy", "sampled"] | None, unset("{greedy,sampled}", "greedy")] = None
    first_seed: Annotated[int | None, unset("INT", "10000")] = None

    def threat(self, subject: Subject, *others: Subject) -> Threat:
        """The threat to a subject, and to others in the same environment.

        Raises:
            ValueError: a unit that differs between policies, for several of them, or see ``threat_of``.
        """
        from ..workflows.threat import OWN_STD, threat_of

        if self.first_seed is not None:
            not_negative("--first-seed", self.first_seed)
        found = threat_of(
            subject,
            self.threat_file,
            self.unit,
            epsilons=self.epsilons,
            norm=self.norm,
            attacks_per_episode=self.attacks_per_episode,
            epsilon_per=self.epsilon_per,
            victim=self.victim,
            first_seed=self.first_seed,
        )
        if others and found.unit == OWN_STD:
            raise ValueError(
                "standard deviations of one policy's observations cannot be the unit of several policies: give --unit "
                "raw, or --threat with a scale"
            )
        return found


@dataclass(frozen=True)
class EvaluationOptions:
    """How the policy is evaluated.

    Args:
        episodes: Episodes per training seed.
        first_seed: Seed of the first episode; the following episodes have the next numbers.
    """

    episodes: int = 100
    first_seed: int = 10_000

    def check(self) -> None:
        """Refuse what cannot be evaluated.

        Raises:
            ValueError: fewer than one episode, or a negative seed.
        """
        at_least_one("episodes", self.episodes)
        not_negative("--first-seed", self.first_seed)


@dataclass(frozen=True)
class TrainingOptions:
    """What is trained.

    Args:
        env: Environment: an id of gymnasium or rlkit, for example rlkit/GridWorld-v0.
        seeds: Number of training seeds.
        first_seed: First training seed; the following seeds are the next numbers.
        steps: Environment steps per seed.
        preset: Hyper-parameters to start from: tuned, rl-zoo, sb3 (the defaults of stable-baselines3), or a file
            preset.json of rlkit tune.
        set: Hyper-parameters to change. A list such as learning_rate=1e-3,2e-3 gives every seed its own value.
        env_kwargs: Arguments of the environment, for example map=frozenlake-8x8 slip=0.2.
        num_envs: Copies of the environment per seed.
    """

    env: str = "CartPole-v1"
    seeds: int = 8
    first_seed: int = 0
    steps: int = 50_000
    preset: Annotated[str | None, unset("PRESET", "tuned where it knows the environment, else sb3")] = None
    set: Pairs = ()
    env_kwargs: Pairs = ()
    num_envs: Annotated[int | None, unset("INT", "the preset's")] = None
    device: Device = "auto"

    def training(self, algo: str, backend: str = "auto", step_timeout: float | None = None) -> Training:
        """The training, on one torch thread: seeds and processes run in parallel instead."""
        import torch

        from ..workflows.preset_file import with_preset
        from ..workflows.train import Training, usual_preset

        torch.set_num_threads(1)
        training = Training(
            env=self.env,
            algo=algo,
            seeds=seeds_from(self.first_seed, self.seeds),
            steps=self.steps,
            preset=self.preset or usual_preset(algo, self.env),
            hyperparameters=pairs(self.set),
            env_kwargs=pairs(self.env_kwargs),
            num_envs=self.num_envs,
            backend=backend,
            device=self.device,
            step_timeout=step_timeout,
        )
        return with_preset(training)

    def tell_preset(self, training: Training, output: Output) -> None:
        """Say so if no preset was given and none is tuned for the environment."""
        if self.preset is None and training.preset != "tuned":
            output.tell(
                f"There is no tuned preset of {training.algo} for {training.env}: using stable-baselines3's defaults."
            )


@dataclass(frozen=True)
class ExecutorOptions:
    """Where batches of runs train.

    Args:
        executor: local: worker processes of this machine; ray: tasks of a Ray cluster; slurm: jobs of SLURM.
        workers: Batches that train at the same time.
        cpus: CPUs of a batch (ray).
        gpus: GPUs of a batch (ray); a fraction lets batches share a GPU.
        gpu_ids: GPUs of this machine, for example 0 1 (local): one worker each, and the rows of a batch are split
            between them.
        address: Address of the Ray cluster.
        job: Options of the SLURM jobs as submitit names them, for example slurm_partition=long timeout_min=600.
    """

    executor: Literal["local", "ray", "slurm"] = "local"
    workers: Annotated[int | None, unset("INT", "one per CPU, of the cluster with ray; 100 with slurm")] = None
    cpus: float = 1.0
    gpus: Annotated[float | None, unset("FLOAT", "1 for experiments on cuda, else 0")] = None
    gpu_ids: Annotated[tuple[int, ...], unset("INT ...", "all that --workers see, together")] = ()
    address: Annotated[str | None, unset("ADDRESS", "RAY_ADDRESS, else a new cluster on this machine")] = None
    job: Pairs = ()

    def start(self, folder: Path, runs: int, device: str) -> Executor:
        """The executor, to be used in a ``with`` block.

        Args:
            folder: of the sweep.
            runs: of it; more workers are not begun on this machine.
            device: where the runs compute.

        Raises:
            ValueError: options of another executor, or see its class.
        """
        from ..workflows.sweep.executors import LocalExecutor, RayExecutor, SlurmExecutor

        if self.workers is not None:
            at_least_one("workers", self.workers)
        of_ray = {"cpus": self.cpus != 1.0, "gpus": self.gpus is not None, "address": self.address is not None}
        for name, given in {**of_ray, "job": bool(self.job)}.items():
            wanted = "ray" if name in of_ray else "slurm"
            if given and self.executor != wanted:
                raise ValueError(f"--{name} is an option of --executor {wanted}: leave it out")
        if self.gpu_ids:
            self._refuse_gpu_ids(device)
        if self.executor == "ray":
            gpus = float(device.startswith("cuda")) if self.gpus is None else self.gpus
            return RayExecutor(self.workers, self.cpus, gpus, self.address)
        if self.executor == "slurm":
            return SlurmExecutor(folder / "slurm", self.workers or SLURM_JOBS, pairs(self.job))
        return LocalExecutor(min(self.workers or os.cpu_count() or 1, runs), self.gpu_ids)

    def _refuse_gpu_ids(self, device: str) -> None:
        """Raise ValueError where GPUs are numbered and nothing would compute on them."""
        if self.executor != "local":
            raise ValueError("--gpu-ids is an option of --executor local: leave it out")
        if self.workers is not None:
            raise ValueError("--gpu-ids starts one worker for each GPU: leave --workers out")
        if not device.startswith("cuda"):
            raise ValueError(f"--gpu-ids is for runs on GPUs, and these are on {device}: pass --device cuda")


@dataclass(frozen=True)
class DefenseOptions:
    """A defense of the policy against attacks on its observations, added to the loss of every update.

    Args:
        defense: Name of the defense.
        defense_epsilon: Size of the attacks to defend against; one number, or one for every seed.
        defense_strength: Weight of the defense in the loss; one number, or one for every seed.
        defense_scale: Unit of epsilon for every feature that the network sees.
        defense_ramp: Fraction of training over which epsilon grows from 0 to its value.
    """

    defense: DefenseName | None = None
    defense_epsilon: Annotated[tuple[float, ...], unset("FLOAT ...", "none")] = ()
    defense_strength: Annotated[tuple[float, ...], unset("FLOAT ...", "the defense's own")] = ()
    defense_scale: Annotated[tuple[float, ...], unset("FLOAT ...", "raw units")] = ()
    defense_ramp: float = 0.0

    def settings(self) -> DefenseSettings | None:
        """The defense; None without a name.

        Raises:
            ValueError: numbers without a name, or a name without an epsilon.
        """
        from ..workflows.defense import DefenseSettings

        if self.defense is None:
            if self != DefenseOptions():
                raise ValueError("options of a defense need --defense NAME")
            return None
        if not self.defense_epsilon and self.defense != "weight_decay":
            raise ValueError(f"--defense {self.defense} needs --defense-epsilon")
        numbers = self.defense_epsilon or (0.0,), self.defense_strength, self.defense_scale
        return DefenseSettings(self.defense, *numbers, self.defense_ramp)


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """``count`` consecutive seeds."""
    at_least_one("seeds", count)
    not_negative("--first-seed", first)
    return tuple(range(first, first + count))


def at_least_one(name: str, number: int) -> None:
    """Refuse a number below one.

    Raises:
        ValueError: a number below one.
    """
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")


def not_negative(name: str, number: int) -> None:
    """Refuse a negative number.

    Raises:
        ValueError: a negative number.
    """
    if number < 0:
        raise ValueError(f"{name} must be at least 0, got {number}")


def pairs(given: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` arguments as a dictionary; a value that is no Python literal is a text.

    Raises:
        ValueError: an argument without ``=``, or a name given twice.
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


def show_finished(finished: FinishedRun, as_json: bool) -> int:
    """Show the run that was finished before, as the command did when it finished."""
    from ..report import ledger

    output = Output(json=as_json)
    output.tell(f"{finished}.")
    output.show(ledger.read(finished.folder))
    return DONE


def print_json(value: Any) -> None:
    """Print one JSON object."""
    from ..report import ledger

    print(ledger.to_json(value), end="")


def _value(text: str) -> Any:
    """1e-3 -> 0.001, 64,64 -> (64, 64), true -> True, none -> None, frozenlake-4x4 -> 'frozenlake-4x4'."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
