"""A zoo of victims for benchmarks: policies with digests, one threat, and a commitment to hidden test starts."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from rlkit.adversarial import APPLICABILITY, Threat, committed_threat

from ..report import ledger
from ..report.ledger import write_text
from .defense import DefenseSettings
from .named_settings import name_and_settings
from .policies import AGENT_FILE, Subject, open_policy
from .train import Training, Watch, train

MANIFEST = "zoo.json"
KIND = "a zoo of victims (rlkit zoo)"
HIDDEN_FROM, HIDDEN_SEEDS = 1_000_000, 2**30  # the first hidden start is a seed in this range


class Zoo(NamedTuple):
    """A zoo that was read: its victims with verified digests."""

    folder: Path
    threat: Threat
    commitment: str  # digest of the secret that gives the hidden starts
    victims: dict[str, Subject]
    digests: dict[str, str]  # SHA-256 of every file
    recipes: dict[str, Any]  # how every victim was made; None for a given file without a run folder
    versions: dict[str, str]  # with which it was made


def commitment_of(secret: str) -> str:
    """The digest that a zoo publishes of its secret; whoever knows the secret can show that it is that one.

    Raises:
        ValueError: fewer than 16 characters, which can be guessed.
    """
    if len(secret) < 16:
        raise ValueError(f"a secret needs at least 16 characters, or it can be guessed, got {len(secret)}")
    return hashlib.sha256(f"commitment {secret}".encode()).hexdigest()


def hidden_seed(secret: str) -> int:
    """The seed of the first hidden start; the commitment does not give it away."""
    return HIDDEN_FROM + int(hashlib.sha256(f"starts {secret}".encode()).hexdigest()[:12], 16) % HIDDEN_SEEDS


def defense_of(text: str, threat: Threat) -> DefenseSettings:
    """Read a defense such as ``radial:epsilon=0.4,strength=0.25,ramp=0.5``; its scale is that of the threat.

    Raises:
        ValueError: an unknown defense or setting, no epsilon, or numbers that the defense refuses.
    """
    name, settings = name_and_settings(text)
    if name not in APPLICABILITY:
        raise ValueError(f"defense must be one of {', '.join(APPLICABILITY)}, got {name!r}")
    try:
        epsilon, strength = settings.pop("epsilon"), settings.pop("strength", None)
        found = DefenseSettings(name, (epsilon,), () if strength is None else (strength,), threat.scale, **settings)
        found.terms()
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} is no defense with its numbers, as radial:epsilon=0.4,ramp=0.5: {error}") from error
    return found


def with_defenses(trainings: Sequence[Training], defenses: Sequence[str]) -> dict[str, Training]:
    """Every training by the name of its victim, followed by the same with each defense that serves its algorithm.

    Args:
        trainings: without a defense; their algorithms name them.
        defenses: as ``defense_of`` reads them; a name is followed by that of the defense, as in "ppo-radial".

    Raises:
        ValueError: a defense that serves none of the algorithms, or see ``defense_of``.
    """
    found: dict[str, Training] = {}
    unused = set(defenses)
    for training in trainings:
        found[training.algo] = training
        for text in defenses:
            defense = defense_of(text, _threat_of(training.env, training.env_kwargs))
            if _serves(defense.name, training.algo):
                found[f"{training.algo}-{defense.name}"] = replace(training, defense=defense)
                unused.discard(text)
    if unused:
        raise ValueError(f"{', '.join(sorted(unused))} defends none of {', '.join(found)}: name another algorithm")
    return found


def _serves(defense: str, algo: str) -> bool:
    """Whether a defense trains agents of an algorithm; tables take none."""
    row = APPLICABILITY[defense]
    return {"dqn": row.values, "tabularq": False}.get(algo, row.policies)


def _threat_of(env: str, env_kwargs: Any) -> Threat:
    """The committed threat of a task, else one in raw units."""
    return committed_threat(env, env_kwargs) or Threat(env, env_kwargs)


def make_zoo(
    folder: Path,
    trainings: Mapping[str, Training],
    given: Sequence[Path] = (),
    secret: str | None = None,
    watch: Watch | None = None,
) -> str:
    """Train victims, copy those that are given, and write the manifest with all digests.

    Args:
        folder: folder of the zoo, which exists.
        trainings: trainings of one environment, by the names of their victims.
        given: policies of rlkit in the same environment; named after their file or folder.
        secret: from which hidden starts follow; None for a random one.
        watch: draws progress bars.

    Returns:
        The secret, which the zoo does not hold.

    Raises:
        ValueError: no victim, two of one name, a victim of another environment, or one that is not of rlkit.
    """
    secret = secrets.token_hex(16) if secret is None else secret
    commitment = commitment_of(secret)
    sources = [path / AGENT_FILE if path.is_dir() else path for path in given]
    if any(source.suffix == ".zip" for source in sources):
        raise ValueError("stable-baselines3 models cannot be victims of a zoo: their files can run code")
    opened = [open_policy(source) for source in sources]
    names = list(trainings)
    names += [path.stem if path == source else path.name for path, source in zip(given, sources, strict=True)]
    played = [(each.env, each.env_kwargs) for each in trainings.values()]
    played += [(each.env, each.env_kwargs) for each in opened]
    tasks = {json.dumps([env, dict(env_kwargs)], sort_keys=True) for env, env_kwargs in played}
    if len(tasks) != 1 or len(set(names)) < len(names):
        raise ValueError(
            f"a zoo needs victims of one environment and different names, got {names} of {' and '.join(sorted(tasks))}"
        )
    entries: list[dict[str, Any]] = []
    for name, training in trainings.items():
        agent = train(training, training.make_agent(), watch).agent
        agent.save(folder / f"{name}.safetensors")
        recipe = asdict(replace(training, device=str(agent.device)))
        entries.append(_entry(name, folder, training.env, training.env_kwargs, recipe))
    for name, source, subject in zip(names[len(trainings) :], sources, opened, strict=True):
        shutil.copyfile(source, folder / f"{name}.safetensors")
        entries.append(_entry(name, folder, subject.env, subject.env_kwargs, _recipe_beside(source)))
    manifest = {
        "kind": KIND,
        "threat": _threat_of(entries[0]["env"], entries[0]["env_kwargs"]).as_dict(),
        "commitment": commitment,
        "victims": entries,
        "versions": ledger.versions(),
    }
    write_text(folder / MANIFEST, ledger.to_json(manifest))
    return secret


def _entry(name: str, folder: Path, env: str, env_kwargs: Any, recipe: dict[str, Any] | None) -> dict[str, Any]:
    """What a manifest holds of a victim, whose file is in the folder."""
    file = folder / f"{name}.safetensors"
    return {
        "name": name, "file": file.name, "sha256": sha256(file), "env": env, "env_kwargs": dict(env_kwargs),
        "recipe": recipe,
    }  # fmt: skip


def _recipe_beside(source: Path) -> Any:
    """The settings of the run whose folder holds a policy; None for a file that lies elsewhere."""
    run = source.with_name(ledger.RECORD)
    return dict(ledger.read(source.parent).settings) if source.name == AGENT_FILE and run.is_file() else None


def read_zoo(folder: Path, device: str = "cpu") -> Zoo:
    """Read a zoo and verify the digest of every victim.

    Args:
        folder: folder of the zoo.
        device: where the victims and their environments compute: a torch device, or "auto".

    Raises:
        FileNotFoundError: no manifest, or a file that it names is missing.
        ValueError: it is not the manifest of a zoo, a file is not the one whose digest it holds, or a device that this
            machine does not have.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {MANIFEST}: make a zoo with rlkit zoo --out {folder}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        threat = Threat.from_dict(manifest["threat"], str(path))
        entries = [(each["name"], each["file"], each["sha256"], each["recipe"]) for each in manifest["victims"]]
        commitment, versions, kind = manifest["commitment"], manifest["versions"], manifest["kind"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the manifest of a zoo: {error!r}") from error
    if kind != KIND:
        raise ValueError(f"{path} is {kind!r}, not {KIND!r}")
    for name, file, digest, _ in entries:
        if Path(file).name != file or sha256(folder / file) != digest:
            raise ValueError(
                f"{folder / file} is not the victim {name!r} that {path} was made with: its SHA-256 differs"
            )
    victims = {name: open_policy(folder / file, device=device)._replace(algorithm=name) for name, file, _, _ in entries}
    digests = {name: digest for name, _, digest, _ in entries}
    return Zoo(folder, threat, commitment, victims, digests, {name: recipe for name, *_, recipe in entries}, versions)


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
