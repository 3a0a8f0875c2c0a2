"""Any gymnasium environment with numeric observations and Discrete actions as an ``Env`` of ``rlkit.types``.

The copies are stepped one after another in Python: this is for environments whose dynamics are not written as arrays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from operator import index
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.env_checker import EnvChecker, FaultyEnvironmentError, env_name
from rlkit.streams import key
from rlkit.types import Starts, Transition

from .running_episodes import RunningEpisodes
from .worker import Worker, check_step_timeout

Observations = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary


class ForeignEnv:
    """S seeds x B copies of a gymnasium environment; an ``Env`` of ``rlkit.types``.

    Observations keep their space's dtype. The Boxes of a Dict are concatenated in the order of its keys, as in
    stable-baselines3's MultiInputPolicy. Numbers of ``Discrete(n, start)`` count from 0, and so do actions: ``starts``
    has those that the environment begins with, and the Dict. Where the environment gives ``info["action_mask"]`` at
    its first reset (Taxi does), transitions carry it.

    The state of a foreign environment cannot be read. A checkpoint holds the actions of its running episodes instead,
    and ``load_state`` plays them again. A copy whose observation or rewards then differ from the saved ones depends on
    more than its seed and its actions: its unfinished episode is dropped, it begins the next one, and ``cut`` lists it.

    Args:
        make_one: makes one copy, for example ``lambda: gymnasium.make("Acrobot-v1")``; called S x B times.
        seeds: one integer per row; copy b of row s depends on (seeds[s], b) alone.
        num_envs: B, copies per seed.
        device: where tensors live; the environments themselves run on the CPU.
        restart: begin a new episode in the step that ends one. Without it a finished copy stays as it ended: its
            last observation and flags, reward 0.
        noise: "stream" resets episode e of every copy with ``episode_seed(seed, copy, e)``; "gymnasium" resets the
            first with ``seeds[s] + b`` and then continues the environment's generator, as a vector environment does.
            Without ``restart`` every ``reset`` begins that one episode again, and ``repeats`` is True.
        freeze_rows: whether a fault freezes its row instead of raising an error. The row of the faulty copy is frozen
            and its error kept in ``faults``, by row; the other rows continue. The copies of a frozen row are
            not stepped again: they show an element of the space and pay NaN. Once every row is frozen, an error.
        step_timeout: seconds in which every ``reset`` and ``step`` must return. With it the copies of a row step in a
            process of their own (see ``rlkit.envs.worker``), which is killed when one of them takes longer: a fault.
            The numbers are the same. None: they step in this process.

    Raises:
        ValueError: no seeds or a negative one, fewer than one copy, an unknown noise, ``make_one`` returning
            something else than gymnasium environments of one kind or one of them twice, an action space that is not
            Discrete, an observation space that is not of numbers; in ``step`` an action outside the action
            space.
        FaultyEnvironmentError: see ``rlkit.env_checker``; or an action mask that is misshapen, that allows nothing
            where a step follows, or that is given at some resets and steps only. The message names step, seed and copy.
    """

    def __init__(
        self,
        make_one: Callable[[], gymnasium.Env[Any, Any]],
        seeds: Sequence[int],
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        restart: bool = True,
        noise: Literal["stream", "gymnasium"] = "stream",
        freeze_rows: bool = False,
        step_timeout: float | None = None,
    ) -> None:
        self.seeds = tuple(index(seed) for seed in seeds)
        if len(self.seeds) == 0 or min(self.seeds) < 0:
            raise ValueError(f"seeds must be one or more integers >= 0, got {list(self.seeds)}")
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if noise not in ("stream", "gymnasium"):
            raise ValueError(f'noise must be "stream" or "gymnasium", got {noise!r}')
        check_step_timeout(step_timeout)
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.repeats = noise == "gymnasium" and not restart
        self._restart = restart
        self._noise = noise
        self._copies = [(seed, copy) for seed in self.seeds for copy in range(num_envs)]  # S * B of them, row by row
        makers = [make_one if step_timeout is None else Worker(make_one, step_timeout).make for _ in self.seeds]
        self._envs = _make_all([maker for maker in makers for _ in range(num_envs)])
        self._name = env_name(self._envs[0])
        self._actions = _discrete_actions(self._envs[0])
        self._observations = _numeric_observations(self._envs[0])
        self.action_space = spaces.Discrete(int(self._actions.n))
        self.observation_space = _counted_from_zero(self._observations)
        space = self._envs[0].observation_space
        parts = space if isinstance(space, spaces.Dict) else None
        self.starts = Starts(_first(self._observations), _first(self._actions), parts)
        spec = self._envs[0].spec
        self.max_episode_steps = None if spec is None else spec.max_episode_steps

        self.faults: dict[int, FaultyEnvironmentError] = {}  # of frozen rows
        self.cut: dict[tuple[int, int], str] = {}  # (row, copy) whose episode ``load_state`` dropped -> what differed
        self._freeze_rows = freeze_rows
        self._checker = EnvChecker(self._name, self._observations, self._where)

        count = len(self._envs)
        # what the environments return is gathered here, so that a step makes one tensor of each kind
        self._seen = np.empty((count, *(self._observations.shape or ())), dtype=self._observations.dtype)
        self._rewards = np.zeros(count)
        self._masks: NDArray[np.bool_] | None = None  # actions allowed; made if the first reset gives any
        self._terminated = np.zeros(count, dtype=np.bool_)
        self._truncated = np.zeros(count, dtype=np.bool_)
        self._frozen = np.zeros(count, dtype=np.bool_)
        self._elapsed = np.zeros(count, dtype=np.int64)  # steps of the copy's episode
        self._episodes = np.zeros(count, dtype=np.int64)  # begun so far
        trains = restart and noise == "stream"  # an evaluation is not continued
        self._running = RunningEpisodes(count, int(self._actions.n)) if trains else None
        self.reset()

    def reset(self) -> Tensor:
        """Begin a new episode in every copy; observations ``[S, B, *observation]``."""
        self._terminated[:] = self._truncated[:] = False
        self._begin(np.arange(len(self._envs)))
        self.obs, self.action_mask = self._observed(), self._allowed()
        return self.obs

    def step(self, action: Tensor) -> Transition:
        """Step every copy with ``action [S, B]``; finished copies start again in the same call if they restart."""
        chosen = self._own_numbers(action)  # [S * B]
        held = (self._terminated | self._truncated) & (not self._restart)  # [S * B]
        self._rewards[held] = 0.0
        self._elapsed += ~held
        for place in np.flatnonzero(~held & ~self._frozen).tolist():
            if self._frozen[place]:  # by another copy in this step
                continue
            try:
                self._step_copy(place, chosen[place])
            except FaultyEnvironmentError as fault:
                self._freeze(place, fault)
        self._freeze_faulty()
        if self._running is not None:
            self._running.add(chosen - self.starts.action, self._rewards)
            self._running.begin(np.flatnonzero(self._frozen))
        if self.faults:
            self._truncated[self._frozen] = self._elapsed[self._frozen] == self.max_episode_steps
        transition = Transition(
            self.obs,
            action,
            self._tensor(self._rewards.astype(np.float32)),
            self._observed(),
            self._tensor(self._terminated),
            self._tensor(self._truncated),
            self.action_mask,
            self._allowed(),
        )
        self.obs, self.action_mask = transition.next_obs, transition.next_action_mask
        finished = np.flatnonzero(self._terminated | self._truncated)
        if self._restart and len(finished):
            self._begin(finished)
            self.obs, self.action_mask = self._observed(), self._allowed()
        return transition

    def close(self) -> None:
        """Close every copy."""
        for env in self._envs:
            env.close()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs to play the running episodes again.

        Raises:
            RuntimeError: an environment for evaluation.
        """
        running = self._resumable()
        shape = (len(self.seeds), self.num_envs)
        observations = self._seen
        if observations.dtype.kind == "u" and observations.dtype.itemsize > 1:
            observations = observations.astype(np.int64)  # files hold no larger unsigned integers than bytes
        state = {
            "episodes": self._episodes.reshape(shape),
            "elapsed": self._elapsed.reshape(shape),
            "paid": running.paid.reshape(shape),
            "observations": observations.reshape(*shape, *observations.shape[1:]),
            "actions": running.actions,
            "frozen": self._frozen.reshape(shape)[:, 0],
            "faults": np.frombuffer(json.dumps([str(self.faults[row]) for row in sorted(self.faults)]).encode(), "u1"),
        }
        if self._masks is not None:
            state["masks"] = self._masks.reshape(*shape, -1)
        return {name: torch.from_numpy(array.copy()) for name, array in state.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue saved episodes: reset every copy with its episode's seed and take the episode's actions again.

        ``cut`` has the copies that did not come back to where they were and have begun their next episode instead.

        Raises:
            ValueError: a state that no such environment has.
            FaultyEnvironmentError: as ``reset``.
        """
        running = self._resumable()
        saved = {name: tensor.cpu().numpy() for name, tensor in state.items()}
        self._load_faults(saved["frozen"], saved["faults"].tobytes())
        self._episodes, self._elapsed = saved["episodes"].ravel().copy(), saved["elapsed"].ravel().copy()
        if (self._episodes < 1)[~self._frozen].any() or (saved["actions"] >= self._actions.n).any():
            raise ValueError("an episode has no number or an action that the environment does not have")
        running.load(np.where(self._frozen, 0, self._elapsed), saved["paid"].ravel(), saved["actions"])
        observations, self.cut = saved["observations"].reshape(self._seen.shape).astype(self._seen.dtype), {}
        masks = saved["masks"].reshape(len(self._envs), -1) if "masks" in saved else None
        for place in np.flatnonzero(~self._frozen).tolist():
            differs = self._replay(place, running)
            if differs is None and not np.array_equal(self._seen[place], observations[place]):
                differs = f"it shows {self._seen[place]} where it had shown {observations[place]}"
            if differs is None and masks is not None and self._masks is not None:
                differs = None if (self._masks[place] == masks[place]).all() else "it allows other actions"
            if differs is not None:
                self.cut[divmod(place, self.num_envs)] = differs
        self._begin(np.array([row * self.num_envs + copy for row, copy in self.cut], dtype=np.int64))
        self._terminated[:] = self._truncated[:] = False
        self.obs, self.action_mask = self._observed(), self._allowed()

    def _resumable(self) -> RunningEpisodes:
        """Return the actions of the running episodes, which only an environment for training remembers."""
        if self._running is None:
            raise RuntimeError("an environment for evaluation is not continued, and not checkpointed")
        return self._running

    def _load_faults(self, frozen: NDArray[np.bool_], messages: bytes) -> None:
        """Freeze the rows that were frozen when the state was saved, with the messages of their errors."""
        texts, rows = json.loads(messages), np.flatnonzero(frozen).tolist()
        if not isinstance(texts, list) or [type(text) for text in texts] != [str] * len(rows):
            raise ValueError(f"{len(rows)} rows are frozen, and the faults do not say why")
        self._frozen[:], self.faults = False, {}
        for row, text in zip(rows, texts, strict=True):
            self._freeze(row * self.num_envs, FaultyEnvironmentError(text))

    def _replay(self, place: int, running: RunningEpisodes) -> str | None:
        """Bring a copy to where its running episode was; say what differs from it, None if nothing seems to."""
        env, actions, paid = self._envs[place], running.actions_of(place) + self.starts.action, 0.0
        try:
            seed, copy = self._copies[place]
            own_seed = episode_seed(seed, copy, int(self._episodes[place]) - 1)
            obs, info = self._checker.reset(place, env, seed=own_seed)
            for step, action in enumerate(actions, start=1):
                obs, reward, terminated, truncated, info = self._checker.step(place, env, action)
                paid += reward
                if terminated or truncated:
                    return f"it ended at step {step} of {len(actions)}"
            self._write(place, obs)
            if self._masks is not None:
                self._write_mask(place, info, needed=True)
        except FaultyEnvironmentError as fault:
            return str(fault)
        return None if paid == running.paid[place] else f"it paid {paid} where it had paid {running.paid[place]}"

    def _step_copy(self, place: int, action: np.int64) -> None:
        """Step one copy and gather what it returns."""
        obs, reward, terminated, truncated, info = self._checker.step(place, self._envs[place], action)
        self._write(place, obs)
        self._rewards[place], self._terminated[place], self._truncated[place] = reward, terminated, truncated
        if self._masks is not None or "action_mask" in info:
            self._write_mask(place, info, needed=not terminated)

    def _begin(self, places: NDArray[np.int64]) -> None:
        """Start the next episode of these copies and gather their first observations."""
        self._elapsed[places] = 0
        if self._running is not None:
            self._running.begin(places)
        for place in places[~self._frozen[places]].tolist():
            if self._frozen[place]:
                continue
            try:
                self._begin_copy(place)
            except FaultyEnvironmentError as fault:
                self._freeze(place, fault)
        self._freeze_faulty()

    def _begin_copy(self, place: int) -> None:
        seed, copy = self._copies[place]
        episode = int(self._episodes[place])
        self._episodes[place] += 1
        own_seed: int | None
        if self._noise == "stream":
            own_seed = episode_seed(seed, copy, episode)
        else:
            own_seed = seed + copy if episode == 0 or self.repeats else None
        obs, info = self._checker.reset(place, self._envs[place], seed=own_seed)
        self._write(place, obs)
        if self._masks is None and self._episodes.sum() == place + 1 and "action_mask" in info:
            # the first copies can only be without a mask if they are frozen
            if not self._frozen[:place].all():
                raise self._mask_fault(place, info)
            self._masks = np.ones((len(self._envs), int(self._actions.n)), np.bool_)
        if self._masks is not None or "action_mask" in info:
            self._write_mask(place, info, needed=True)

    def _write_mask(self, place: int, info: dict[str, Any], needed: bool) -> None:
        """Keep the actions allowed, of which there must be one where another step is ``needed``, else all of them."""
        if self._masks is None:
            raise self._mask_fault(place, info)
        mask = np.asarray(info.get("action_mask"))
        if mask.shape != self._masks.shape[1:] or (needed and not mask.any()):
            raise self._mask_fault(place, info)
        self._masks[place] = mask.astype(np.bool_) if mask.any() else True

    def _mask_fault(self, place: int, info: dict[str, Any]) -> FaultyEnvironmentError:
        if self._masks is None:
            why = "it gave none at its first reset: give one at every reset and step, or never any"
        else:
            why = f"it gives one for each of its {self._actions.n} actions, some of them allowed, or never any"
        return self._checker.fault(place, f"action_mask {info.get('action_mask')}", why)

    def _allowed(self) -> Tensor | None:
        """Return the actions allowed in every copy now, ``[S, B, A]`` bool; None where the environment says nothing."""
        return None if self._masks is None else self._tensor(self._masks)

    def _write(self, place: int, obs: Any) -> None:
        if self.starts.parts is not None:
            try:
                obs = self.starts.flatten(obs)
            except ValueError as error:
                raise self._checker.fault(place, f"observation {obs!r:.80}", str(error)) from error
        self._seen[place] = self._checker.observation(place, obs, self._seen.dtype, self._seen.shape[1:])

    def _observed(self) -> Tensor:
        """Return what every copy shows now, ``[S, B, *observation]``."""
        return self._tensor(self._seen - self.starts.observation if self.starts.observation else self._seen)

    def _freeze_faulty(self) -> None:
        """Freeze the rows whose observations are no elements of the space."""
        for place, fault in self._checker.faulty_observations(self._seen):
            self._freeze(place, fault)

    def _freeze(self, place: int, fault: FaultyEnvironmentError) -> None:
        """Freeze the row of a faulty copy.

        Raises:
            FaultyEnvironmentError: rows are not to be frozen, or none is left.
        """
        row = place // self.num_envs
        if not self._freeze_rows or len({*self.faults, row}) == len(self.seeds):
            raise fault
        self.faults.setdefault(row, fault)
        copies = slice(row * self.num_envs, (row + 1) * self.num_envs)
        self._frozen[copies] = True
        self._seen[copies] = _element(self._observations)
        self._rewards[copies] = np.nan
        self._terminated[copies] = self._truncated[copies] = False
        if self._masks is not None:
            self._masks[copies] = True

    def _where(self, place: int | None) -> str:
        """Return the words that say where a copy is."""
        if place is None:
            return "any step"
        seed, copy = self._copies[place]
        where = f"step {self._elapsed[place]} of episode {max(self._episodes[place] - 1, 0)}, seed {seed}"
        return f"{where} (row {place // self.num_envs}), copy {copy}"

    def _own_numbers(self, action: Tensor) -> NDArray[np.int64]:
        """Actions ``[S, B]`` counted from 0 -> the environment's own numbers, ``[S * B]``."""
        expected = (len(self.seeds), self.num_envs)
        if tuple(action.shape) != expected or action.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"action must be integers of shape {expected}, got {action.dtype} {tuple(action.shape)}")
        chosen = action.cpu().numpy().astype(np.int64).ravel()
        wrong = np.flatnonzero((chosen < 0) | (chosen >= self._actions.n))
        if len(wrong):
            row, copy = divmod(int(wrong[0]), self.num_envs)
            raise ValueError(
                f"action {chosen[wrong[0]]} of row {row}, copy {copy} is not one of the {self._actions.n} actions "
                f"of {self._name}: count them from 0"
            )
        return chosen + self.starts.action

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        """A copy of ``[S * B, ...]`` on the device, ``[S, B, ...]``."""
        return torch.from_numpy(array.reshape(len(self.seeds), self.num_envs, *array.shape[1:]).copy()).to(self.device)


def episode_seed(seed: int, copy: int, episode: int) -> int:
    """Return the seed of an episode for ``reset``: 31 bits that depend on these three numbers alone.

    They are the top bits of Philox4x64-10 under the key of the stream (seed, "env", copy), counter ``episode``.
    """
    words, counter = np.array(key(seed, "env", copy), np.uint64), np.array([episode, 0, 0, 0], np.uint64)
    return int(np.random.Philox(key=words, counter=counter).random_raw()) >> 33


def _make_all(makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]]) -> list[gymnasium.Env[Any, Any]]:
    """The copies, one of each maker, verified to be of one kind and each its own; none stays open if that fails."""
    made: list[gymnasium.Env[Any, Any]] = []
    try:
        for make_one in makers:
            made.append(make_one())
            if not isinstance(made[-1], gymnasium.Env):
                raise ValueError(f"make_one returned {type(made.pop())}: it must make a gymnasium.Env")
            _discrete_actions(made[-1])
            _numeric_observations(made[-1])
            if (made[-1].action_space, made[-1].observation_space) != (made[0].action_space, made[0].observation_space):
                raise ValueError(f"the spaces of {env_name(made[-1])} differ from copy to copy: make them all alike")
        if len({id(env.unwrapped) for env in made}) < len(made):
            raise ValueError(
                f"the function that makes {env_name(made[0])} returned the same environment twice, and {len(made)} "
                "copies would step one state: make a new one in each call"
            )
    except BaseException:
        for env in made:
            env.close()
        raise
    return made


def _discrete_actions(env: gymnasium.Env[Any, Any]) -> spaces.Discrete:
    """The action space, if it is Discrete."""
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        return space
    kind = "continuous" if isinstance(space, spaces.Box) else "not Discrete"
    remedy = "make one number of it with a gymnasium.ActionWrapper"
    if isinstance(space, spaces.Box):
        remedy = "cut it into bins with gymnasium.wrappers.DiscretizeAction"
    raise ValueError(f"the action space {space} of {env_name(env)} is {kind}, and agents here choose among n: {remedy}")


def _numeric_observations(env: gymnasium.Env[Any, Any]) -> Observations:
    """Return the observation space if it is numeric: a Tuple of Discretes as MultiDiscrete, a Dict of Boxes as a Box.

    Images in a Dict are refused: concatenated into a vector they lose their rows and columns.
    """
    space = env.observation_space
    if isinstance(space, Observations):
        return space
    if isinstance(space, spaces.Tuple) and all(isinstance(part, spaces.Discrete) for part in space.spaces):
        parts: Any = space.spaces
        return spaces.MultiDiscrete([part.n for part in parts], start=[part.start for part in parts])
    if isinstance(space, spaces.Dict) and space.spaces and all(map(_is_vector, space.spaces.values())):
        flat: Any = spaces.flatten_space(space)
        return flat  # type: ignore[no-any-return]
    remedy = "flatten it with gymnasium.wrappers.FlattenObservation"
    if not space.is_np_flattenable:
        remedy = "make an array of it with gymnasium.wrappers.TransformObservation"
    raise ValueError(f"the observation space {space} of {env_name(env)} is not of arrays of numbers: {remedy}")


def _is_vector(space: spaces.Space[Any]) -> bool:
    """Whether a space is a Box, but not one of images."""
    return isinstance(space, spaces.Box) and not (space.dtype == np.uint8 and len(space.shape) == 3)


def _first(space: Observations) -> int:
    """The number that a Discrete space begins with, 0 for a Box."""
    return int(space.start) if isinstance(space, spaces.Discrete) else 0


def _counted_from_zero(space: Observations) -> Observations:
    """The space as policies see it: Discrete without an offset."""
    return spaces.Discrete(int(space.n)) if isinstance(space, spaces.Discrete) else space


def _element(space: Observations) -> Any:
    """Return an element of a space: of a Box the nearest to 0."""
    if isinstance(space, spaces.Box):
        return np.clip(0, space.low, space.high)
    return 0 if isinstance(space, spaces.MultiBinary) else space.start
