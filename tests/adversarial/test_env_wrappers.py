"""Attacked environments under any caller: the truth in info, nothing stale, nothing outside the space."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from PIL import Image
from torch import Tensor

from rlkit.adversarial import (
    FGSM,
    AtRandom,
    Attack,
    AttackedObservation,
    AttackedPolicy,
    AttackedVectorObservation,
    Budget,
    Noise,
    OneHot,
    side_by_side,
)
from rlkit.adversarial.env_wrappers import CAPTION_HEIGHT, GAP
from rlkit.agents import DQN
from rlkit.envs import CartPole, GridWorld
from rlkit.envs.gridworld import ObservationKind
from rlkit.envs.gym_env import DynamicsEnv, DynamicsVectorEnv
from rlkit.evaluation import evaluate_policy
from rlkit.experiments.cli import main
from rlkit.sb3 import SB3Policy


class Linear:
    """Scores ``x W``: a victim of one seed."""

    num_seeds = 1

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def scores(self, obs: Tensor) -> Tensor:
        return obs @ self.weight

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.scores(obs).argmax(dim=-1)


CONTROL = torch.tensor([0.1, 0.3, 3.0, 0.5])
POLE = Linear(torch.stack([-CONTROL, CONTROL], dim=-1))
SCALE = [0.73, 1.06, 0.12, 0.44]
COORDINATES = Linear(torch.tensor([[0.0, 1.0, 0.5, 0.0], [0.0, 0.5, 1.0, 0.0]]))


def choose(obs: Any) -> int:
    return int(POLE.act(torch.as_tensor(obs)[None, None]))


# one environment


@pytest.mark.parametrize("attack", [FGSM(), Noise()], ids=lambda attack: attack.name)
def test_what_is_shown_is_made_from_the_truth_of_the_same_step(attack: Attack) -> None:
    budget = Budget(0.2, scale=SCALE)
    env = AttackedObservation(gymnasium.make("CartPole-v1"), POLE, attack, budget)
    twin = gymnasium.make("CartPole-v1")
    (shown, info), (true, _) = env.reset(seed=3), twin.reset(seed=3)
    for _ in range(40):
        assert np.array_equal(info["true_observation"], true)
        assert np.array_equal(info["perturbation"], shown - true)
        distance = budget.distance(torch.from_numpy(true)[None, None], torch.from_numpy(shown)[None, None]).item()
        assert 0.19 < distance <= 0.2 * (1 + 1e-5)
        assert info["attacked"] is True
        action = choose(shown)
        (shown, reward, over, _, info), (true, same, done, _, _) = env.step(action), twin.step(action)
        assert (reward, over) == (same, done)
        if over:
            break


def test_a_budget_of_nothing_is_the_environment_itself() -> None:
    env, twin = AttackedObservation(gymnasium.make("CartPole-v1"), POLE, Noise(), Budget(0.0)), DynamicsEnv(CartPole())
    (shown, info), (true, _) = env.reset(seed=3), twin.reset(seed=3)
    assert not info["attacked"]
    np.testing.assert_allclose(shown, true)
    assert env.observation_space == gymnasium.make("CartPole-v1").observation_space


def test_an_episode_is_a_function_of_its_seed() -> None:
    env = AttackedObservation(gymnasium.make("CartPole-v1"), POLE, Noise(), Budget(0.2), AtRandom(0.5))

    def episode(seed: int | None) -> list[Any]:
        seen = [env.reset(seed=seed)[0]]
        return np.array([*seen, *(env.step(t % 2)[0] for t in range(8))])

    first, second, other = episode(5), episode(5), episode(6)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first - episode(None), np.zeros_like(first)), "without a seed the numbers go on"


def test_attacks_per_episode_start_again_at_every_reset() -> None:
    env = AttackedObservation(gymnasium.make("CartPole-v1"), POLE, FGSM(), Budget(0.2), attacks_per_episode=2)
    for _ in range(2):
        attacked = [env.reset()[1]["attacked"], *(env.step(t % 2)[4]["attacked"] for t in range(5))]
        assert attacked == [True, True, False, False, False, False]


def test_what_is_shown_lies_in_the_space_and_checkers_accept_it() -> None:
    from stable_baselines3.common.env_checker import check_env as their_check

    grid = GridWorld("frozenlake-4x4", observation="coordinates", max_steps=20)
    env = AttackedObservation(DynamicsEnv(grid), COORDINATES, Noise(), Budget(3.0))
    shown = np.array([env.reset(seed=seed)[0] for seed in range(20)])
    assert shown.min() == 0.0
    assert shown.max() == 1.0
    their_check(env)
    with pytest.warns(UserWarning, match="different from the unwrapped version"):
        check_env(env, skip_render_check=True)


def test_integers_are_shown_as_attacked_codes() -> None:
    grid = GridWorld("frozenlake-4x4")
    victim = OneHot(DQN(grid, net_arch=(16,), device="cpu"))
    env = AttackedObservation(DynamicsEnv(grid), victim, FGSM(), Budget(0.5))
    shown, info = env.reset(seed=0)
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (16,), np.float32)
    assert info["true_observation"] == 0
    assert shown in env.observation_space
    np.testing.assert_allclose(shown - info["perturbation"], np.eye(16)[0], atol=1e-6)
    assert victim.act(torch.from_numpy(shown)[None, None]).shape == (1, 1)


# functions that evaluate


@pytest.mark.slow
def test_both_evaluations_of_a_wrapped_environment_are_those_of_the_attacked_policy() -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy as theirs
    from stable_baselines3.common.monitor import Monitor

    model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [16], "ortho_init": False})
    victim, budget = SB3Policy(model), Budget(0.5, scale=SCALE)
    env = gymnasium.make("CartPole-v1", max_episode_steps=60)
    wrapped = AttackedObservation(env, victim, FGSM(), budget, attacks_per_episode=9)
    expected = evaluate_policy(
        AttackedPolicy(victim, FGSM(), budget, attacks_per_episode=9), env, 3, return_episode_rewards=True, seed=4
    )
    assert evaluate_policy(model, wrapped, 3, return_episode_rewards=True, seed=4) == expected
    natural = evaluate_policy(model, env, 3, return_episode_rewards=True, seed=4)
    assert natural != expected
    monitored = Monitor(wrapped)
    monitored.reset(seed=4)
    rewards, _ = theirs(model, monitored, 2, return_episode_rewards=True)
    env.reset(seed=4)  # theirs begins with a reset of its own, as here
    attacker = AttackedPolicy(victim, FGSM(), budget, attacks_per_episode=9)
    for reward in rewards:
        obs, total, over, begins = env.reset()[0], 0.0, False, [True]
        while not over:
            action, _ = attacker.predict(obs[None], episode_start=begins, deterministic=True)
            obs, earned, terminated, truncated, _ = env.step(action[0])
            total, over, begins = total + float(earned), terminated or truncated, [False]
        assert total == reward


@pytest.mark.slow
def test_videos_are_recorded_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the encoder is an optional package of gymnasium's; what it is given is what matters here
    written: list[list[Any]] = []

    class Clip:
        def __init__(self, frames: list[Any], fps: float) -> None:
            written.append(list(frames))

        def write_videofile(self, path: str, logger: Any = None) -> None:
            Path(path).touch()

    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["moviepy.video.io.ImageSequenceClip"], "ImageSequenceClip", Clip, raising=False)
    grid = GridWorld("frozenlake-4x4", observation="coordinates", max_steps=3)
    env = AttackedObservation(
        DynamicsEnv(grid, "rgb_array"), COORDINATES, FGSM(), Budget(0.5), draw=grid.render_observation
    )
    video = gymnasium.wrappers.RecordVideo(env, str(tmp_path / "videos"), episode_trigger=lambda episode: True)
    video.reset(seed=0)
    for _ in range(3):
        video.step(0)
    video.close()
    (frames,) = written
    assert len(frames) == 4
    assert {frame.shape for frame in frames} == {(CAPTION_HEIGHT + 256, 512 + GAP, 3)}
    assert len(list((tmp_path / "videos").iterdir())) == 1


# pictures


@pytest.mark.parametrize("kind", ["index", "onehot", "coordinates", "planes"])
def test_the_picture_of_a_true_observation_is_the_picture_of_the_state(kind: ObservationKind) -> None:
    grid = GridWorld("frozenlake-4x4", observation=kind)
    for state in (0, 6, 15):
        observed = grid.observe(np.array([state]))
        assert np.array_equal(grid.render_observation(observed), grid.render(np.array([state]), "rgb_array"))


def test_a_false_place_lies_between_tiles_and_a_code_spreads_over_them() -> None:
    grid = GridWorld("frozenlake-4x4", observation="coordinates")
    size = 64
    red = np.array([217, 72, 43])
    between = grid.render_observation(np.array([0.5 / 3, 1.0]))
    assert np.abs(between[size - 1, int(3.5 * size)].astype(int) - red).max() <= 1  # the disc's center is on the edge
    outside = grid.render_observation(np.array([-5.0, 9.0]))
    assert np.array_equal(outside, grid.render_observation(np.array([0.0, 1.0])))
    onehot = GridWorld("frozenlake-4x4", observation="onehot")
    faint = onehot.render_observation(0.5 * np.eye(16)[1] - 0.3 * np.eye(16)[5])
    center, empty = faint[size // 2, size + size // 2], onehot.render_observation(np.zeros(16))
    expected = 0.5 * red + 0.5 * empty[size // 2, size + size // 2]
    assert np.abs(center - expected).max() <= 1
    assert np.array_equal(faint[size:], empty[size:])


def test_the_wrapper_renders_true_and_shown_side_by_side() -> None:
    pole = CartPole()
    env = AttackedObservation(
        DynamicsEnv(pole, "rgb_array"), POLE, FGSM(), Budget(1.0, scale=SCALE), draw=pole.render_observation
    )
    with pytest.raises(gymnasium.error.ResetNeeded, match="nothing to render"):
        env.render()
    shown, info = env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (CAPTION_HEIGHT + 400, 1200 + GAP, 3)
    assert np.array_equal(picture[CAPTION_HEIGHT:, :600], pole.render_observation(info["true_observation"]))
    assert np.array_equal(picture[CAPTION_HEIGHT:, 600 + GAP :], pole.render_observation(shown))
    assert not np.array_equal(picture[:, :600], picture[:, 600 + GAP :])
    plain = AttackedObservation(DynamicsEnv(pole, "rgb_array"), POLE, FGSM(), Budget(1.0))
    plain.reset(seed=0)
    assert plain.render().shape == (400, 600, 3)


def test_images_of_different_heights_have_no_common_picture() -> None:
    with pytest.raises(ValueError, match=r"equally high images and a caption each"):
        side_by_side([np.zeros((2, 2, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)], ("a", "b"))
    with pytest.raises(ValueError, match="1 captions"):
        side_by_side([np.zeros((2, 2, 3), np.uint8)] * 2, ("a",))


# many environments


@pytest.mark.slow
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("native", [True, False])
def test_copies_of_a_vector_are_attacked_as_one_environment_is(mode: AutoresetMode, native: bool) -> None:
    dynamics = CartPole(max_steps=9)
    vector: Any = (
        DynamicsVectorEnv(dynamics, 3, mode)
        if native
        else SyncVectorEnv([lambda: DynamicsEnv(dynamics)] * 3, autoreset_mode=mode)
    )
    budget = Budget(0.2, scale=SCALE)
    env = AttackedVectorObservation(vector, POLE, FGSM(), budget, attacks_per_episode=2)
    twins = [AttackedObservation(DynamicsEnv(dynamics), POLE, FGSM(), budget, attacks_per_episode=2) for _ in range(3)]
    shown, infos = env.reset(seed=7)
    alone = [twin.reset(seed=7 + i) for i, twin in enumerate(twins)]
    ended = [False] * 3
    for t in range(25):
        for i, (seen, info) in enumerate(alone):
            np.testing.assert_allclose(shown[i], seen, rtol=1e-5, atol=1e-6)
            assert infos["attacked"][i] == info["attacked"]
            np.testing.assert_allclose(infos["true_observation"][i], info["true_observation"], rtol=1e-5, atol=1e-6)
        assert infos["_attacked"].all()
        shown, rewards, over, cut, infos = env.step(np.full(3, t % 2))
        for i, twin in enumerate(twins):
            if ended[i] and mode is AutoresetMode.NEXT_STEP:
                alone[i], ended[i] = twin.reset(), False
                assert (rewards[i], over[i], cut[i]) == (0.0, False, False)
                continue
            seen, reward, done, truncated, info = twin.step(t % 2)
            assert (reward, done, truncated) == (rewards[i], over[i], cut[i])
            alone[i], ended[i] = (seen, info), done or truncated
            if ended[i] and mode is AutoresetMode.SAME_STEP:
                np.testing.assert_allclose(infos["final_obs"][i], info["true_observation"], rtol=1e-5, atol=1e-6)
                alone[i] = twin.reset()


@pytest.mark.slow
def test_a_vector_under_our_evaluation_gives_the_attacked_returns() -> None:
    pole, budget = CartPole(max_steps=60), Budget(0.3, scale=SCALE)
    vector = AttackedVectorObservation(DynamicsVectorEnv(pole, 4), POLE, FGSM(), budget)
    single = AttackedObservation(DynamicsEnv(pole), POLE, FGSM(), budget)
    returns = evaluate_policy(POLE, vector, 4, return_episode_rewards=True)[0]
    assert returns == evaluate_policy(POLE, single, 4, return_episode_rewards=True)[0]
    assert vector.observation_space.shape == (4, 4)


# the command line


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("policies")
    DQN("CartPole-v1", seeds=[0, 1], net_arch=(16,), device="cpu").save(folder / "pole.safetensors")
    grid = {"map": "frozenlake-4x4", "observation": "onehot"}
    DQN("rlkit/GridWorld-v0", env_kwargs=grid, net_arch=(16,), device="cpu").save(folder / "grid.safetensors")
    DQN("Acrobot-v1", net_arch=(16,), device="cpu").save(folder / "acrobot.safetensors")
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "size"), [("pole", (1204, 428)), ("grid", (516, 284))])
def test_watch_shows_both_sides(
    files: dict[str, str], policy: str, size: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["watch", files[policy], "--mode", "gif", "--max-steps", "3", "--out", str(tmp_path / "a.gif"), "--json"]
    assert main([*args, "--attack", "fgsm", "--epsilon", "0.5", "--unit", "raw"]) == 0
    assert json.loads(capsys.readouterr().out)["returns"]
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "words", "message"),
    [
        ("grid", ["--mode", "ansi"], "use --mode gif, not ansi"),
        ("acrobot", ["--mode", "gif"], "only the cart-pole and grid worlds can draw observations"),
        ("pole", ["--mode", "gif", "--epsilon=-1"], "epsilon must be finite and not negative, got -1"),
    ],
)
def test_watch_refuses_what_it_cannot_show(
    files: dict[str, str], policy: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", files[policy], "--attack", "fgsm", *words]) == 2
    assert message in capsys.readouterr().err


# bad input


def test_misuse_is_refused() -> None:
    pole = gymnasium.make("CartPole-v1")
    two = DQN("CartPole-v1", seeds=[0, 1], net_arch=(16,), device="cpu")
    with pytest.raises(ValueError, match=r"the victim has 2 seeds and an environment shows one: use victim\[i\]"):
        AttackedObservation(pole, two, FGSM(), Budget(0.1))
    with pytest.raises(ValueError, match=r"Discrete\(16\) cannot be attacked: .* a victim in OneHot"):
        AttackedObservation(gymnasium.make("FrozenLake-v1"), POLE, FGSM(), Budget(0.1))
    planes = DynamicsEnv(GridWorld("frozenlake-4x4", observation="planes"))
    with pytest.raises(ValueError, match="cannot be attacked: use an environment with floating observations"):
        AttackedObservation(planes, POLE, FGSM(), Budget(0.1))
    disabled = DynamicsVectorEnv(CartPole(), 2, AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match=r"autoreset mode .*DISABLED is not supported: .*NEXT_STEP or SAME_STEP"):
        AttackedVectorObservation(disabled, POLE, FGSM(), Budget(0.1))
    with pytest.raises(ValueError, match="low must not be above high"):
        AttackedObservation(pole, POLE, FGSM(), Budget(0.1, high=-50.0))
