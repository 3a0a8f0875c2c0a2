"""Models of stable-baselines3 as policies and victims of rlkit.

stable-baselines3 is an optional dependency: this module imports without it.
"""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations
from rlkit.nn import in_evaluation_mode
from rlkit.optional_packages import require

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecNormalize

AlgorithmName = Literal["DQN", "A2C", "PPO"]  # the algorithms whose models can be read
ALGORITHMS: tuple[str, ...] = get_args(AlgorithmName)

# (policy of a model, prepared observations [B, ...], whether they are one-hot codes) -> [B, ...]
Question = Callable[[Any, Tensor, bool], Tensor]


class Normalization(NamedTuple):
    """The normalization of a ``VecNormalize``: (x - mean) / sqrt(variance + epsilon), clipped to +-clip."""

    mean: Tensor  # [*observation] float64
    variance: Tensor  # [*observation] float64
    epsilon: float
    clip: float

    def __call__(self, obs: Tensor) -> Tensor:
        """Normalize observations ``[..., *observation]`` in float64, as stable-baselines3 does; return float32."""
        mean, variance = self.mean.to(obs.device), self.variance.to(obs.device)
        centered = (obs.double() - mean) / (variance + self.epsilon).sqrt()
        return centered.clamp(-self.clip, self.clip).float()


class SB3Policy:
    """DQN, A2C or PPO models of stable-baselines3, one per row of the seed axis.

    One model is S = 1. Preprocessing (one-hot, division of images by 255, transposing them) is the models' own and
    part of the graph, so ``scores`` and ``values`` can be differentiated with respect to the observation; integers may
    be given as one-hot codes, which an attack can change (``rlkit.adversarial.OneHot``). The models are never changed:
    they compute in evaluation mode and return to their own mode afterwards. The normalization of a ``VecNormalize``
    that they were trained with is part of the graph too; its statistics do not change.

    Args:
        models: one model, or one per training seed, all of the same spaces.
        vec_normalize: the ``VecNormalize`` that the models were trained with, one for all or one per model, or None.

    Raises:
        ValueError: there is no model, one is not DQN, A2C or PPO, is recurrent or has continuous actions, their spaces
            differ, or the number or the observations of the normalizations do not fit.
    """

    def __init__(
        self,
        models: BaseAlgorithm | Sequence[BaseAlgorithm],
        vec_normalize: VecNormalize | Sequence[VecNormalize | None] | None = None,
    ) -> None:
        self.models: tuple[BaseAlgorithm, ...] = tuple(models) if isinstance(models, Sequence) else (models,)
        given = tuple(vec_normalize) if isinstance(vec_normalize, Sequence) else (vec_normalize,) * len(self.models)
        if len(given) != len(self.models):
            raise ValueError(f"vec_normalize has {len(given)} for {len(self.models)} models: give one, or one for each")
        self.vec_normalize = given
        self.normalizations = [None if one is None else _normalization(one) for one in given]
        if not self.models:
            raise ValueError("models must hold at least one stable-baselines3 model, got none")
        for model in self.models:
            _check_supported(model)
            if (model.observation_space, model.action_space) != (self.observation_space, self.action_space):
                raise ValueError(
                    f"models must share their spaces, got {model.observation_space} and {self.observation_space}, "
                    f"{model.action_space} and {self.action_space}"
                )
        for normalization in self.normalizations:
            if normalization is not None and normalization.mean.numel() != math.prod(self.observation_space.shape):
                raise ValueError(
                    f"vec_normalize is of observations of shape {tuple(normalization.mean.shape)}, the models are of "
                    f"{self.observation_space.shape}: pass the one that was saved with them"
                )

    @property
    def num_seeds(self) -> int:
        """Number of models S, one per row."""
        return len(self.models)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the models; the number of the row where a model has none."""
        return tuple(row if model.seed is None else model.seed for row, model in enumerate(self.models))

    @property
    def device(self) -> torch.device:
        """Device of the first model."""
        return self.models[0].device

    @property
    def observation_space(self) -> Any:
        """Observation space of the models; images have channels first."""
        return self.models[0].observation_space

    @property
    def action_space(self) -> Any:
        """``Discrete(A)``."""
        return self.models[0].action_space

    @property
    def scores_are_values(self) -> bool:
        """Whether ``scores`` are action values (DQN) instead of logits of a softmax policy (A2C, PPO)."""
        return hasattr(self.models[0].policy, "q_net")

    def __getitem__(self, i: int) -> SB3Policy:
        """Return the policy of model i alone, S = 1."""
        return SB3Policy(self.models[i], self.vec_normalize[i])

    def scores(self, obs: Given) -> Tensor:
        """Return Q-values (DQN) or logits (A2C, PPO), ``[S, B, *observation] -> [S, B, A]``, differentiable.

        Raises:
            ValueError: the observations have another number of rows than there are models, or B is 0.
        """
        return self._answers(_scores, obs)

    def values(self, obs: Given) -> Tensor:
        """Return max_a Q (DQN) or the critic's V (A2C, PPO), ``[S, B, *observation] -> [S, B]``, differentiable.

        Raises:
            ValueError: the observations have another number of rows than there are models, or B is 0.
        """
        return self._answers(_values, obs)

    def _answers(self, question: Question, obs: Given) -> Tensor:
        """Evaluate every model at its row of observations, ``[S, B, ...]``."""
        shown = as_observations(obs, self)
        if shown.shape[1] == 0:
            raise ValueError("obs holds no observation, B is 0: stable-baselines3's models need at least one")
        rows = zip(self.models, shown, self.normalizations, strict=True)
        return torch.stack([_asked(model, question, row, normalization) for model, row, normalization in rows])

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the models' deterministic actions ``[S, B]``, as ``model.predict``, for ``[S, B, *observation]``.

        Raises:
            ValueError: ``deterministic=False``; the models would draw from global generators.
        """
        if not deterministic:
            raise ValueError(
                "stable-baselines3 samples from global generators, which cannot be reproduced row by row: "
                "use deterministic=True, or model.predict(obs, deterministic=False)"
            )
        with torch.no_grad():
            return self.scores(obs).argmax(dim=-1)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Call ``model.predict`` of the only model.

        Args:
            observation: as the environment of the model gives it.
            state: state of a recurrent model; None otherwise.
            episode_start: where episodes begin.
            deterministic: whether to choose greedy actions.

        Raises:
            ValueError: there is more than one model.
        """
        if self.num_seeds > 1:
            raise ValueError(f"predict is for one model, and these are {self.num_seeds}: use policy[i].predict")
        if self.vec_normalize[0] is not None:
            observation = self.vec_normalize[0].normalize_obs(observation)
        return self.models[0].predict(observation, state, episode_start, deterministic)


def load(
    path: str | Path,
    algo: str,
    trust: bool = False,
    device: str = "cpu",
    vec_normalize: str | Path | VecNormalize | None = None,
) -> SB3Policy:
    """Load the policy in a ``.zip`` file of stable-baselines3.

    Args:
        path: the file, with or without ``.zip``.
        algo: "DQN", "A2C" or "PPO"; the file does not name it.
        trust: the file holds pickled objects, and unpickling can run any code. Pass True for a file that you made or
            whose maker you trust. The file of ``vec_normalize`` is a pickle too.
        device: device of the model.
        vec_normalize: the ``VecNormalize`` that the model was trained with, or the ``.pkl`` that its ``save`` wrote.

    Raises:
        ValueError: the file is not trusted, algo is unknown, the file is not one of stable-baselines3, or the
            normalization does not fit.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: stable-baselines3 is not installed.
    """
    if algo not in ALGORITHMS:
        raise ValueError(f"algo must be one of {', '.join(ALGORITHMS)}, got {algo!r}")
    path = Path(path)
    file = path if path.is_file() else path.with_name(path.name + ".zip")
    if not file.is_file():
        raise FileNotFoundError(f"no stable-baselines3 model at {path}, nor at {file}")
    if isinstance(vec_normalize, str | Path) and not Path(vec_normalize).is_file():
        raise FileNotFoundError(f"no VecNormalize at {vec_normalize}")
    if not trust:
        raise ValueError(
            f"{file} was not opened: stable-baselines3's format holds pickled objects, and loading them can run any "
            "code. Pass trust=True if you made the file or trust who did"
        )
    require("stable_baselines3", "stable-baselines3", "sb3")
    import stable_baselines3

    if not _is_whole(file):
        raise ValueError(f"{file} is not a model saved by stable-baselines3, or it was truncated: save it again")
    try:
        with warnings.catch_warnings():
            # a model trained with n_steps > 1 warns of its own replay buffer when loaded; only the policy is used
            warnings.filterwarnings("ignore", message=".*replay_buffer_class", category=UserWarning)
            model = getattr(stable_baselines3, algo).load(file, device=device)
    except Exception as error:  # whatever unpickling and rebuilding another class's model may raise
        raise ValueError(f"{file} could not be read as {algo}, was it saved by another algorithm? {error}") from error
    if isinstance(vec_normalize, str | Path):
        vec_normalize = _read_vec_normalize(Path(vec_normalize))
    return SB3Policy(model, vec_normalize)


def _read_vec_normalize(file: Path) -> VecNormalize:
    """Read a file of ``VecNormalize.save``, which the caller trusts."""
    from stable_baselines3.common.vec_env import VecNormalize

    try:
        read = pickle.loads(file.read_bytes())
    except Exception as error:  # whatever unpickling may raise
        raise ValueError(f"{file} could not be read as a VecNormalize: {error}") from error
    if not isinstance(read, VecNormalize):
        raise ValueError(f"{file} holds a {type(read).__name__}, not a VecNormalize: pass what VecNormalize.save wrote")
    return read


def _normalization(vec_normalize: VecNormalize) -> Normalization | None:
    """Return its normalization of observations; None if it normalizes rewards alone."""
    if not vec_normalize.norm_obs:
        return None
    statistics: Any = vec_normalize.obs_rms
    if isinstance(statistics, dict):
        raise ValueError(f"vec_normalize is of Dict observations, {sorted(statistics)}: only Box ones are supported")
    mean, variance = torch.as_tensor(statistics.mean).double(), torch.as_tensor(statistics.var).double()
    return Normalization(mean, variance, float(vec_normalize.epsilon), float(vec_normalize.clip_obs))


def layers_of(model: Any) -> torch.nn.Sequential:
    """Return the layers, not copied, from flat observations to scores of a model with stable-baselines3's MlpPolicy.

    Raises:
        ValueError: the observations are not flat and floating, or a features extractor other than flattening is used.
    """
    from stable_baselines3.common.torch_layers import FlattenExtractor

    policy, space = model.policy, model.observation_space
    if len(space.shape or ()) != 1 or space.dtype.kind != "f":
        raise ValueError(f"layers are of flat floating observations, got {space}: use SB3Policy itself")
    value = hasattr(policy, "q_net")
    extractor = policy.q_net.features_extractor if value else policy.pi_features_extractor
    if not isinstance(extractor, FlattenExtractor):
        raise ValueError(f"{type(extractor).__name__} extracts the features: use SB3Policy itself")
    if value:
        return torch.nn.Sequential(*policy.q_net.q_net)
    return torch.nn.Sequential(*policy.mlp_extractor.policy_net, policy.action_net)


def _is_whole(file: Path) -> bool:
    """Find out whether a file is a readable zip with the members that every saved model has."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return {"data", "policy.pth"} <= set(archive.namelist()) and archive.testzip() is None


def _check_supported(model: Any) -> None:
    """Refuse a model that has neither Q-values nor logits of discrete actions."""
    from gymnasium import spaces

    name = type(model).__name__
    policy = getattr(model, "policy", None)
    if not hasattr(policy, "q_net") and not hasattr(policy, "get_distribution"):
        raise ValueError(f"a model must be one of {', '.join(ALGORITHMS)}, got {name}")
    if hasattr(policy, "lstm_actor"):  # sb3-contrib's name in every recurrent policy
        raise ValueError(
            f"{name} is recurrent, and its actions follow from the whole episode, not from one observation: evaluate "
            "it with evaluate_policy on a gymnasium environment, which passes its states on"
        )
    if not isinstance(model.action_space, spaces.Discrete):
        raise ValueError(f"{name} has actions {model.action_space}: only Discrete actions are supported")


def _asked(model: Any, question: Question, obs: Tensor, normalization: Normalization | None) -> Tensor:
    """Evaluate a model, ``[B, ...]``, at observations ``[B, *observation]`` as its environment gives them."""
    if normalization is not None and obs.shape[1:] == normalization.mean.shape:  # else it has seen channels first
        obs, normalization = normalization(obs), None
    obs = _channels_first(obs.to(model.device), model.observation_space.shape)
    if normalization is not None:
        obs = normalization(obs)
    with in_evaluation_mode((model.policy,)):
        return question(model.policy, obs, _is_code(obs, model.observation_space))


def _is_code(obs: Tensor, space: Any) -> bool:
    """Find out whether observations of a Discrete space are one-hot codes already, for example attacked ones.

    Codes are the result of the models' own preprocessing, which must then be skipped.
    """
    from gymnasium import spaces

    return isinstance(space, spaces.Discrete) and obs.is_floating_point()


def _scores(policy: Any, obs: Tensor, is_code: bool) -> Tensor:
    """Return Q-values or logits ``[B, A]``."""
    scores: Tensor
    if hasattr(policy, "q_net"):
        scores = policy.q_net.q_net(policy.q_net.features_extractor(obs)) if is_code else policy.q_net(obs)
    elif is_code:
        latent = policy.mlp_extractor.forward_actor(policy.pi_features_extractor(obs))
        scores = policy._get_action_dist_from_latent(latent).distribution.logits
    else:
        scores = policy.get_distribution(obs).distribution.logits
    return scores


def _values(policy: Any, obs: Tensor, is_code: bool) -> Tensor:
    """Return max_a Q, or the critic's V, ``[B]``."""
    if hasattr(policy, "q_net"):
        return _scores(policy, obs, is_code).amax(dim=-1)
    values: Tensor
    if is_code:
        values = policy.value_net(policy.mlp_extractor.forward_critic(policy.vf_features_extractor(obs)))
    else:
        values = policy.predict_values(obs)
    return values.squeeze(-1)


def _channels_first(obs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Convert images ``[B, H, W, C]`` to the ``[B, C, H, W]`` that their models expect; return others as they are."""
    if obs.dim() == 4 and obs.shape[1:] != shape and obs.permute(0, 3, 1, 2).shape[1:] == shape:
        return obs.permute(0, 3, 1, 2)
    return obs
