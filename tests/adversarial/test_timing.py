"""When to attack: rules by hand, counts by law, and no rule better than the exact optimum of all timings."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import rlkit.envs
from rlkit.adversarial import (
    FGSM,
    Always,
    AtRandom,
    AttackedPolicy,
    Budget,
    CriticalPoint,
    Every,
    Noise,
    Strategic,
    Timing,
    ValueGuided,
    at_share,
    attack_now,
    preference_gap,
    robustness_curve,
)
from rlkit.adversarial.timing import Danger, Model
from rlkit.agents import DQN, PPO, REINFORCE
from rlkit.envs import CartPole, TabularDynamics
from rlkit.evaluation import evaluate_policy, rollout, walk
from rlkit.experiments.cli import main
from rlkit.mdp import TabularMDP
from rlkit.streams import Stream
from rlkit.types import Env

BIG = Budget(1e4)  # flips any action


class Linear:
    """Scores ``scale x W_s``: S linear victims, W [S, D, A]."""

    scores_are_values = False

    def __init__(self, weight: Tensor, scale: float = 1.0) -> None:
        self.weight, self.scale = weight, scale
        self.num_seeds = len(weight)

    def scores(self, obs: Tensor) -> Tensor:
        return self.scale * (obs @ self.weight)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.scores(obs).argmax(dim=-1)

    def __getitem__(self, row: int) -> Linear:
        return Linear(self.weight[row : row + 1], self.scale)


class Values(Linear):
    scores_are_values = True


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def decide(timing: Timing, victim: Any, obs: Tensor, step: int = 0, left: int = 1, u: Tensor | None = None) -> Tensor:
    lead = obs.shape[:2]
    return attack_now(timing, victim, obs, torch.full(lead, step), torch.full(lead, left), u)


CONTROL = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.1, 0.3, 3.0, 0.5]])
POLICY = Linear(torch.stack([-CONTROL, CONTROL], dim=-1))  # 200 and 500 steps of cart-pole


def cartpole(copies: int, rows: int = 2, limit: int = 60) -> Env:
    return rlkit.envs.make(
        CartPole(max_steps=limit), seeds=[70] * rows, num_envs=copies, restart=False, noise="gymnasium", double=True
    )


# rules by hand


def test_rules_of_time_by_hand() -> None:
    obs, victim = torch.zeros(1, 1, 4), POLICY[0]
    assert [bool(decide(Every(3), victim, obs, step=t)) for t in range(7)] == [t % 3 == 0 for t in range(7)]
    assert all(bool(decide(Always(), victim, obs, step=t)) for t in range(3))
    u = torch.tensor([[[0.2], [0.3]]])
    assert decide(AtRandom(0.3), victim, torch.zeros(1, 2, 4), u=u).tolist() == [[True, False]]


@pytest.mark.parametrize("timing", [Always(), Every(1), Strategic(0.0)], ids=lambda timing: timing.name)
def test_nothing_left_means_no_attack(timing: Timing) -> None:
    assert not decide(timing, Linear(normal(1, 4, 3)), normal(1, 5, 4), left=0).any()
    assert decide(timing, Linear(normal(1, 4, 3)), normal(1, 5, 4), left=1).all()


@settings(max_examples=25)
@given(st.floats(-5, 5), st.floats(0.1, 10))
def test_the_preference_gap_of_two_actions_is_a_hyperbolic_tangent(lead: float, temperature: float) -> None:
    gap = preference_gap(torch.tensor([lead, 0.0], dtype=torch.float64), temperature).item()
    assert gap == pytest.approx(math.tanh(abs(lead) / (2 * temperature)), abs=1e-12)


@pytest.mark.slow
def test_a_strategic_timing_does_not_depend_on_the_unit_or_level_of_the_rewards() -> None:
    obs, weight = normal(1, 400, 4), normal(1, 4, 3)
    chosen = decide(Strategic(0.6, temperature=1.0), Values(weight), obs)
    assert 0.1 < chosen.double().mean(dim=(0, 1)) < 0.9
    # rewards a hundred times as large: the same moments at a temperature in that unit ...
    assert torch.equal(decide(Strategic(0.6, temperature=100.0), Values(weight, 100.0), obs), chosen)
    # ... where the softmax of raw values would attack nearly always
    assert (preference_gap(Values(weight, 100.0).scores(obs)) > 0.6).double().mean(dim=(0, 1)) > 0.97
    for victim in (Values(weight), Undeclared(weight)):
        with pytest.raises(ValueError, match=r"state a temperature in units of return"):
            decide(Strategic(0.6), victim, obs)
    logits = decide(Strategic(0.6), Linear(weight), obs)
    assert torch.equal(logits, chosen)  # the policy's own softmax has temperature 1
    raised = preference_gap(Values(weight).scores(obs).double() + 1e6, 1.0)
    torch.testing.assert_close(raised, preference_gap(Values(weight).scores(obs).double()), rtol=0, atol=1e-9)


class Undeclared:
    """Scores of a kind that it does not say."""

    def __init__(self, weight: Tensor) -> None:
        self._linear = Linear(weight)

    def scores(self, obs: Tensor) -> Tensor:
        return self._linear.scores(obs)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self._linear.act(obs)


def test_values_are_the_victims_own_or_its_best_action_value() -> None:
    class Critic(Linear):
        def values(self, obs: Tensor) -> Tensor:
            return obs[..., 0]

    obs, weight = normal(1, 50, 4), normal(1, 4, 3)
    assert torch.equal(decide(ValueGuided(0.2), Critic(weight), obs), obs[..., 0] > 0.2)
    best = Values(weight).scores(obs).amax(dim=-1)
    assert torch.equal(decide(ValueGuided(0.2), Values(weight), obs), best > 0.2)
    with pytest.raises(ValueError, match=r"Linear has neither values\(obs\) nor scores_are_values = True"):
        decide(ValueGuided(0.2), Linear(weight), obs)


def test_a_critical_point_by_hand() -> None:
    # a walker on the line: action 0 left, 1 right; the victim walks to 0, danger is the distance from it
    model: Model = lambda obs, action: obs + (2.0 * action - 1.0)[..., None]  # noqa: E731
    danger: Danger = lambda obs: obs[..., 0].abs()  # noqa: E731
    homing = Linear(torch.tensor([[[0.5, -0.5]]]))
    x = torch.tensor([[[3.0], [-3.0], [0.5], [10.0]]])
    # horizon 3: |x| - 3 with no attack; a first step away from 0 leaves |x| - 1; around 0 it swings with period two
    urgency = CriticalPoint(0.0, model, danger, steps=1, horizon=3).urgency(homing, x)
    assert urgency.tolist() == [[2.0, 2.0, 1.0 - 1.0, 2.0]]
    two = CriticalPoint(0.0, model, danger, steps=2, horizon=3).urgency(homing, x)
    assert two.tolist() == [[4.0, 4.0, 1.0, 4.0]]
    assert decide(CriticalPoint(1.5, model, danger, horizon=3), homing, x).tolist() == [[True, True, False, True]]


@pytest.mark.slow
def test_a_critical_point_of_cart_pole_is_what_the_environment_does() -> None:
    pole = CartPole()
    model: Model = lambda obs, action: pole.observe(pole.transition(obs, action, None)[0])  # noqa: E731
    danger: Danger = lambda obs: obs[..., 2].abs()  # noqa: E731
    rule = CriticalPoint(0.0, model, danger, steps=1, horizon=4)
    env = cartpole(5, rows=1)
    policy = POLICY[1]

    def angle_after(first: int | None) -> Tensor:
        twin = cartpole(5, rows=1)
        for t in range(4):
            forced = torch.full((1, 5), first) if t == 0 and first is not None else policy.act(twin.obs)
            twin.step(forced)
        return twin.obs[..., 2].abs()

    expected = torch.stack([angle_after(0), angle_after(1)]).amax(dim=0) - angle_after(None)
    torch.testing.assert_close(rule.urgency(policy, env.obs), expected.clamp(min=0.0), rtol=0, atol=1e-5)


def test_the_threshold_of_a_share_is_exceeded_at_that_share() -> None:
    for share in (0.0, 0.1, 0.5, 1.0):
        rule = at_share(Strategic(0.0), share, POLICY, cartpole(4))
        steps = [(rule.urgency(POLICY, s.obs) > rule.threshold)[s.running] for s in walk(POLICY, cartpole(4), None)]
        assert torch.cat(steps).double().mean(dim=0).item() == pytest.approx(share, abs=0.005)


# counts, restarts, randomness


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(0, 24), st.sampled_from([Always(), Every(2), AtRandom(0.5), Strategic(0.5)]))
def test_never_more_attacks_than_allowed(k: int, timing: Timing) -> None:
    attacked = AttackedPolicy(POLICY, Noise(), Budget(0.1), timing=timing, attacks_per_episode=k)
    played = rollout(POLICY, cartpole(3, limit=20), perturb=attacked)
    assert (played.attacks <= k).all()
    if isinstance(timing, Always):
        assert (played.attacks == torch.clamp(played.lengths, max=k)).all()


def test_no_attack_allowed_is_natural_play_and_the_first_k_steps_are_attacked() -> None:
    natural = rollout(POLICY, cartpole(3))
    none = AttackedPolicy(POLICY, FGSM(), BIG, attacks_per_episode=0)
    assert torch.equal(rollout(POLICY, cartpole(3), perturb=none).returns, natural.returns)
    first = AttackedPolicy(POLICY, FGSM(), BIG, attacks_per_episode=2)
    flipped = [step.attacked for step in walk(POLICY, cartpole(3), 6, perturb=first)]
    assert torch.stack(flipped).all(dim=(1, 2)).tolist() == [True, True, False, False, False, False]
    assert first.attacks.eq(2).all()


def test_an_attacker_used_twice_starts_afresh() -> None:
    attacked = AttackedPolicy(POLICY, FGSM(), BIG, attacks_per_episode=3)
    once, again = (rollout(POLICY, cartpole(3), perturb=attacked) for _ in range(2))
    assert torch.equal(once.returns, again.returns)
    assert again.attacks.eq(3).all()
    as_policy = AttackedPolicy(POLICY, FGSM(), BIG, attacks_per_episode=3)
    assert torch.equal(rollout(as_policy, cartpole(3)).returns, once.returns)


def test_every_episode_of_a_restarting_environment_has_its_own_attacks() -> None:
    env = rlkit.envs.make(CartPole(max_steps=40), seeds=[3], num_envs=4)
    policy = POLICY[0]
    attacked = AttackedPolicy(policy, FGSM(), BIG, timing=Every(2), attacks_per_episode=2)
    elapsed, ends = torch.zeros(1, 4, dtype=torch.int64), 0
    for _ in range(90):
        transition = env.step(policy.act(attacked.perturb(env.obs)))
        assert torch.equal(attacked.attacked, (elapsed == 0) | (elapsed == 2))
        attacked.restart(transition.done)
        elapsed = (elapsed + 1).masked_fill(transition.done, 0)
        ends += int(transition.done.sum(dim=(0, 1)))
    assert ends >= 8


def test_evaluate_policy_restarts_the_attacker_with_every_episode() -> None:
    from stable_baselines3.common.evaluation import evaluate_policy as theirs
    from stable_baselines3.common.vec_env import DummyVecEnv

    policy = POLICY[0]

    def attacked() -> AttackedPolicy:
        return AttackedPolicy(policy, FGSM(), BIG, attacks_per_episode=4)

    env = gymnasium.make("CartPole-v1", max_episode_steps=50)
    once = evaluate_policy(attacked(), env, 1, seed=5, return_episode_rewards=True)[0]
    twice = evaluate_policy(attacked(), env, 2, seed=5, return_episode_rewards=True)[0]
    second = evaluate_policy(attacked(), env, 1, seed=6, return_episode_rewards=True)[0]
    assert twice == [*once, *second]  # attacks spent in one episode are there again in the next
    attacker, pole = attacked(), cartpole(2, rows=1)
    first, again = (evaluate_policy(attacker, pole, 2, return_episode_rewards=True)[0] for _ in range(2))
    assert first == again
    vector = DummyVecEnv([lambda: gymnasium.make("CartPole-v1", max_episode_steps=50)])
    vector.seed(5)
    rewards, _ = theirs(attacked(), vector, 2, return_episode_rewards=True, warn=False)  # type: ignore[arg-type]
    assert rewards[0] == once[0]
    rows = AttackedPolicy(POLICY, FGSM(), BIG, attacks_per_episode=4)
    assert evaluate_policy(rows, env, 2, seed=5, return_episode_rewards=True)[0][0].tolist() == twice


def test_a_random_timing_is_the_timing_stream_and_leaves_the_attacks_numbers_alone() -> None:
    obs = normal(2, 3, 4)
    always = AttackedPolicy(POLICY, Noise(), Budget(0.3), seeds=(5, 9))
    sometimes = AttackedPolicy(POLICY, Noise(), Budget(0.3), seeds=(5, 9), timing=AtRandom(0.5))
    chances = Stream((5, 9), "timing", 1, copies=3)
    for _ in range(5):
        full, part, now = always.perturb(obs), sometimes.perturb(obs), chances.next() < 0.5
        assert torch.equal(part, torch.where(now, full, obs))
        assert torch.equal(sometimes.attacked, now[..., 0])


def test_row_s_depends_on_its_own_seed_alone() -> None:
    weight, seeds = normal(8, 4, 3), range(20, 28)

    def attacker(first: int, last: int) -> AttackedPolicy:
        victim = Linear(weight[first:last])
        return AttackedPolicy(victim, Noise(), Budget(0.4), seeds[first:last], None, AtRandom(0.5), 3)

    obs = [normal(8, 5, 4, seed=t) for t in range(9)]
    together = attacker(0, 8)
    steps = [together.perturb(x) for x in obs]
    for s in (0, 5):
        alone = attacker(s, s + 1)
        for x, step in zip(obs, steps, strict=True):
            assert torch.equal(alone.perturb(x[s : s + 1])[0], step[s])


def test_a_curve_reports_what_was_spent() -> None:
    curve = robustness_curve(
        POLICY, cartpole, [FGSM(), Noise()], [0.0, 0.3], episodes=4, timing=Every(5), attacks_per_episode=6
    )
    assert curve.timing == "every 5 steps, at most 6 attacks an episode"
    assert (curve.attacked[:, 0] == 0).all()  # epsilon 0 shows the truth
    assert (curve.attacked[:, 1] == np.minimum(-(-curve.lengths[:, 1] // 5), 6)).all()
    natural, *_, noise = curve.points()
    assert natural.attack_rate.value == 0.0
    shares = curve.attacked[1, 1].sum(axis=-1) / curve.lengths[1, 1].sum(axis=-1)
    assert noise.attack_rate.value == pytest.approx(shares.mean())


# no rule beats the exact optimum

STEPS = 5


class AtSteps:
    """Attack at chosen steps of the episode."""

    noise_width = 0

    def __init__(self, steps: tuple[int, ...]) -> None:
        self.steps = steps
        self.name = f"at {steps}"

    def when(self, victim: Any, obs: Tensor, step: Tensor, left: Tensor, u: Tensor | None = None) -> Tensor:
        return torch.isin(step, torch.tensor(self.steps, dtype=torch.int64))


def tiny_mdp(seed: int) -> tuple[TabularMDP, Values]:
    """Five states, two actions, deterministic; the victim's Q is the optimum of half the horizon, made noisy."""
    random = np.random.default_rng(seed)
    successor = random.integers(0, 5, (5, 2, 1))
    reward = random.normal(size=(5, 2, 1)).round(3)
    mdp = TabularMDP(successor, np.ones((5, 2, 1)), reward, np.zeros((5, 2, 1), bool), np.eye(5)[0], STEPS)
    q = reward[..., 0]
    for _ in range(3):
        q = reward[..., 0] + q.max(axis=1)[successor[..., 0]]
    return mdp, Values(torch.from_numpy(q + 0.1 * random.normal(size=q.shape)).float()[None])


def optimal_timing(mdp: TabularMDP, action: NDArray[Any], k: int) -> float:
    """Least return of STEPS steps with at most k attacks, each provoking any other action: V_k by recursion."""
    reward, successor = mdp.reward[..., 0], mdp.successor[..., 0]
    states = np.arange(mdp.num_states)
    value = np.zeros((k + 1, mdp.num_states))
    for _ in range(STEPS):
        clean = reward[states, action] + value[:, successor[states, action]]  # [k + 1, N]
        attacked = (reward + value[:, successor]).min(axis=-1)  # [k + 1, N]
        value = np.concatenate([clean[:1], np.minimum(clean[1:], attacked[:-1])])
    return float(value[k, 0])


def play_tiny(mdp: TabularMDP, victim: Values, timing: Timing, k: int) -> float:
    features = np.eye(5, dtype=np.float32)
    dynamics = TabularDynamics(mdp, features, spaces.Box(0.0, 1.0, (5,), np.float32))
    env = rlkit.envs.make(dynamics, seeds=[0], restart=False, noise="gymnasium")
    attacked = AttackedPolicy(victim, FGSM(), Budget(100.0), timing=timing, attacks_per_episode=k)
    played = rollout(victim, env, perturb=attacked)
    assert (played.flips == played.attacks).all(), "with two actions every attack of this size provokes the other"
    return float(played.returns[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_no_timing_beats_the_exact_optimum_and_the_best_of_all_timings_is_it(seed: int) -> None:
    mdp, victim = tiny_mdp(seed)
    greedy = victim.weight[0].argmax(dim=-1).numpy()
    rules: list[Callable[[int], Timing]] = [
        lambda k: Always(),
        lambda k: Every(2),
        lambda k: AtRandom(0.5),
        lambda k: Strategic(0.3, temperature=1.0),
        lambda k: ValueGuided(float(victim.weight.amax(dim=-1).median())),
    ]
    exact = [optimal_timing(mdp, greedy, k) for k in range(4)]
    assert exact[0] == pytest.approx(play_tiny(mdp, victim, Always(), 0), abs=1e-4)
    assert all(more <= fewer for fewer, more in itertools.pairwise(exact))
    for k in (1, 2, 3):
        subsets = itertools.chain(*(itertools.combinations(range(STEPS), n) for n in range(k + 1)))
        best = min(play_tiny(mdp, victim, AtSteps(steps), k) for steps in subsets)
        assert best == pytest.approx(exact[k], abs=1e-4)
        for rule in rules:
            assert play_tiny(mdp, victim, rule(k), k) >= exact[k] - 1e-4


# bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(0), "n must be at least 1, got 0"),
        (lambda: AtRandom(1.5), r"probability must be in \[0, 1\], got 1.5"),
        (lambda: AtRandom(math.nan), r"probability must be in \[0, 1\], got nan"),
        (lambda: Strategic(1.5), r"threshold must be in \[0, 1\].*got 1.5"),
        (lambda: Strategic(0.5, 0.0), "temperature must be positive and finite, got 0"),
        (lambda: ValueGuided(math.nan), "threshold must be a number, got nan"),
        (lambda: CriticalPoint(math.nan, max, max), "threshold must be a number, got nan"),
        (lambda: CriticalPoint(0.0, max, max, steps=3, horizon=2), "at most the horizon 2, got 3"),
        (lambda: AttackedPolicy(POLICY, FGSM(), BIG, attacks_per_episode=-1), "attacks_per_episode .* got -1"),
        (lambda: at_share(Strategic(0.0), 1.5, POLICY, cartpole(1)), r"share must be in \[0, 1\], got 1.5"),
    ],
)
def test_impossible_timings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_random_timing_needs_its_numbers_and_nothing_seen_has_no_count() -> None:
    with pytest.raises(ValueError, match=r"shape \[1, 2, 1\], got none: draw them from Stream\(seeds, 'timing'"):
        decide(AtRandom(0.5), POLICY, torch.zeros(1, 2, 4))
    with pytest.raises(RuntimeError, match="no observation was perturbed yet"):
        _ = AttackedPolicy(POLICY, FGSM(), BIG).attacks


# the command line


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Untrained policies."""
    folder = tmp_path_factory.mktemp("policies")
    for agent in (DQN, PPO):
        agent("CartPole-v1", seeds=[0, 1], net_arch=(16,), device="cpu").save(folder / f"{agent.__name__}.safetensors")
    bare = REINFORCE("CartPole-v1", seeds=[0, 1], net_arch=(16,), baseline="none", unfinished="end", device="cpu")
    bare.save(folder / "bare.safetensors")
    grid = DQN("rlkit/GridWorld-v0", env_kwargs={"observation": "coordinates"}, net_arch=(16,), device="cpu")
    grid.save(folder / "grid.safetensors")
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "words", "timing"),
    [
        ("PPO", ["strategic"], "strategic above"),
        ("DQN", ["strategic", "--temperature", "0.1"], "at temperature 0.1"),
        pytest.param("DQN", ["value"], "value above", marks=pytest.mark.slow),
        pytest.param("DQN", ["critical"], "critical point above", marks=pytest.mark.slow),
        ("DQN", ["every", "--attacks-per-episode", "2"], "every 4 steps, at most 2 attacks an episode"),
        pytest.param("DQN", ["random"], "at random 0.25", marks=pytest.mark.slow),
    ],
)
def test_the_command_attacks_at_the_chosen_moments(
    files: dict[str, str], policy: str, words: list[str], timing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["attack", files[policy], "--epsilons", "1", "--attacks", "noise", "--episodes", "5", "--json", "--timing"]
    assert main([*args, *words]) == 0
    out = json.loads(capsys.readouterr().out)
    assert timing in out["settings"]["timing"]
    (_, attacked, _) = out["results"]["curves"][f"rlkit {policy}"]
    assert 0.0 < attacked["attack_rate"]["value"] < 0.8


@pytest.mark.parametrize(
    ("policy", "words", "message"),
    [
        ("DQN", ["strategic"], "needs --temperature, in units of return"),
        ("DQN", ["every", "--share", "0"], "--share must be above 0 and at most 1, got 0"),
        ("DQN", ["value", "--temperature", "1"], "--temperature is for --timing strategic; value has none"),
        ("grid", ["critical"], "--timing critical needs a model"),
        ("bare", ["value"], "REINFORCE with baseline 'none' learns no values: use baseline='value'"),
        ("DQN", ["always", "--attacks-per-episode=-1"], "attacks_per_episode must be a whole number of at least 0"),
    ],
)
def test_impossible_timings_are_misuse(
    files: dict[str, str], policy: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", files[policy], "--epsilons", "1", "--episodes", "1", "--timing", *words]) == 2
    assert message in capsys.readouterr().err
