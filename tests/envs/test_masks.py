"""Action masks: what an environment forbids is never done, and never bootstrapped from."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rlkit.agents import A2C, DQN, PPO, REINFORCE, TabularQ
from rlkit.agents.ppo import Experience, ppo_loss
from rlkit.env_checker import FaultyEnvironmentError
from rlkit.evaluation import evaluate_policy, rollout
from rlkit.exploration import allowed_action, categorical, epsilon_greedy, epsilon_greedy_probs, mask_logits
from rlkit.replay import ReplayBuffer
from rlkit.types import Transition, segment

GAMMA = 0.8
# A tiny masked problem: three states, three actions, and an end (3). Forbidden actions would pay 10.
ALLOWED = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]], np.int8)
SUCCESSOR = np.array([[1, 2, 0], [1, 2, 0], [0, 2, 3]])
REWARD = np.where(ALLOWED[:3] == 1, [[0.0, 0.3, 0], [0, 0.2, -0.5], [0.1, 0, 1.0]], 10.0)


class Masked(gymnasium.Env):
    """The tiny problem; an agent that does what is forbidden fails the test."""

    observation_space, action_space = spaces.Discrete(4), spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = int(self.np_random.integers(3)), 0
        return self.state, {"action_mask": ALLOWED[self.state]}

    def step(self, action):
        assert ALLOWED[self.state, action], "a forbidden action was taken"
        reward, self.state = REWARD[self.state, action], int(SUCCESSOR[self.state, action])
        self.steps += 1
        return self.state, reward, self.state == 3, self.steps == 10, {"action_mask": ALLOWED[self.state]}


def exact(policy=None):
    """Q of the best policy or of one ``[3, A]``, by iterating its equation; forbidden entries are -inf."""
    q = np.zeros((3, 3))
    for _ in range(300):
        best = np.where(ALLOWED[:3] == 1, q, -np.inf).max(axis=1) if policy is None else (policy * q).sum(axis=1)
        q = REWARD + GAMMA * np.append(best, 0.0)[SUCCESSOR]
    return np.where(ALLOWED[:3] == 1, q, -np.inf)


OPTIMUM = exact()
STATES, MASKS = torch.arange(3).expand(3, -1), torch.from_numpy(ALLOWED[:3] == 1).expand(3, -1, -1)


def assert_close_where_allowed(q, expected, tolerance):
    for row in q:
        np.testing.assert_allclose(row[ALLOWED[:3] == 1], expected[ALLOWED[:3] == 1], atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"double": True},
        *(
            pytest.param(settings, marks=pytest.mark.slow)
            for settings in (
                {},
                {"n_steps": 2},
                {"priority_exponent": 0.6},
                {"dueling": True, "double": True, "n_steps": 3},
            )
        ),
    ],
    ids=str,
)
def test_dqn_learns_the_masked_optimum(settings):
    # several steps without correction are right only if they are the greedy ones
    greedy = {"exploration_fraction": 0.2, "exploration_final_eps": 0.02} if "n_steps" in settings else {}
    common = {"exploration_fraction": 1.0, "exploration_final_eps": 0.5, "net_arch": (32,), "train_freq": 1, **greedy}
    agent = DQN(Masked, seeds=range(3), device="cpu", gamma=GAMMA, learning_rate=5e-3, learning_rate_schedule="linear",
                learning_starts=50, target_update_interval=20, **common, **settings).learn(500)  # fmt: skip
    q = agent.q_values(STATES).numpy()
    if greedy:
        best = np.where(ALLOWED[:3] == 1, q, -np.inf).argmax(axis=2)
        assert (best == OPTIMUM.argmax(axis=1)).all()
        np.testing.assert_allclose(
            q.max(axis=2, where=ALLOWED[:3] == 1, initial=-9), [OPTIMUM.max(axis=1)] * 3, atol=0.25
        )
    else:
        assert_close_where_allowed(q, OPTIMUM, 0.15)
    act = agent.act(STATES, True, MASKS)
    assert (act.numpy() == OPTIMUM.argmax(axis=1)).all()
    probability = agent.action_probabilities(STATES, MASKS).numpy()
    assert (probability[:, ALLOWED[:3] == 0] == 0).all()
    np.testing.assert_allclose(probability.sum(axis=2), 1.0, rtol=1e-6)


@pytest.mark.parametrize("double", [False, True])
def test_a_target_takes_the_best_of_what_is_allowed(double):
    agent = DQN(Masked, seeds=range(8), device="cpu", gamma=GAMMA, double=double)
    agent.target_network.flat.neg_()  # the two networks differ
    states, mask = STATES[:1].expand(8, -1), MASKS[:1].expand(8, -1, -1)
    nothing, never = torch.zeros(8, 3), torch.zeros(8, 3, dtype=torch.bool)
    batch = Transition(states, states, nothing, states, never, never, next_action_mask=mask)
    values, online = (network(agent.features(states)).detach() for network in (agent.target_network, agent.network))
    chooser = online if double else values
    best = chooser.masked_fill(~mask, -torch.inf).argmax(dim=-1)
    assert (chooser.argmax(dim=-1) != best).any()
    expected = GAMMA * values.gather(-1, best[..., None])[..., 0]
    torch.testing.assert_close(agent.target(batch, GAMMA), expected)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["q-learning", "sarsa", "expected-sarsa"])
def test_tables_learn_the_masked_values(algorithm):
    epsilon = {"exploration_initial_eps": 0.5, "exploration_final_eps": 0.5}
    agent = TabularQ(Masked, seeds=range(3), device="cpu", algorithm=algorithm, gamma=GAMMA, power=0.8,
                     learning_rate=1.0, num_envs=4, **epsilon).learn(3200)  # fmt: skip
    policy = agent.action_probabilities(STATES, MASKS).numpy()
    for row in range(3):
        expected = OPTIMUM if algorithm == "q-learning" else exact(policy[row])
        assert_close_where_allowed(agent.q_values(STATES).numpy()[row : row + 1], expected, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (A2C, {"n_steps": 8, "use_rms_prop": False, "learning_rate": 1e-2}),
        (PPO, {"n_steps": 16, "batch_size": 32, "n_epochs": 4, "learning_rate": 1e-2}),
        (REINFORCE, {"n_steps": 16, "learning_rate": 2e-2, "ent_coef": 0.001}),
        (REINFORCE, {"n_steps": 16, "learning_rate": 2e-2, "baseline": "optimal", "unfinished": "end"}),
    ],
)
def test_policies_learn_the_best_of_what_is_allowed(algorithm, settings):
    agent = algorithm(Masked, seeds=range(3), num_envs=4, device="cpu", gamma=GAMMA, net_arch=(32,), **settings)
    agent.learn(1600)
    assert (agent.act(STATES, True, MASKS).numpy() == OPTIMUM.argmax(axis=1)).all()
    probability = agent.action_probabilities(STATES, MASKS).numpy()
    assert (probability[:, ALLOWED[:3] == 0] == 0).all()
    assert agent.active.all()


@pytest.mark.slow
def test_a_row_of_four_is_the_run_of_its_seed_alone():
    for algorithm, settings in ((DQN, {"learning_starts": 20}), (PPO, {"n_steps": 16, "batch_size": 8, "n_epochs": 2})):
        many, alone = (algorithm(Masked, seeds=seeds, device="cpu", **settings).learn(100) for seeds in (range(4), [2]))
        for name, network in alone.networks.items():
            assert torch.equal(network.flat[0], many.networks[name].flat[2])


class Watched(gymnasium.Wrapper):
    """Taxi that refuses what its mask forbids."""

    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        self.mask = info["action_mask"]
        return obs, info

    def step(self, action):
        assert self.mask[action], "a forbidden action was taken"
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.mask = info["action_mask"]
        return obs, reward, terminated, truncated, info


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (DQN, {"learning_starts": 40, "net_arch": (32,)}),
        (TabularQ, {}),
        (A2C, {"net_arch": (32,)}),
        (PPO, {"net_arch": (32,), "n_steps": 60, "batch_size": 60}),
        (REINFORCE, {"net_arch": (32,), "n_steps": 60}),
    ],
)
def test_a_forbidden_action_is_never_taken_in_taxi(algorithm, settings):
    make = lambda: Watched(gymnasium.make("Taxi-v4"))  # noqa: E731
    agent = algorithm(make, seeds=range(2), num_envs=2, device="cpu", **settings).learn(240)
    assert agent.evaluate(3).shape == (2, 3)
    assert agent.evaluate(2, deterministic=False).shape == (2, 2)


class Table:
    """A policy without ``predict``: the best of what is allowed."""

    heeds_masks = True

    def act(self, obs, deterministic=True, action_mask=None):
        q = torch.from_numpy(OPTIMUM.clip(min=-99))[obs]
        return mask_logits(q if action_mask is not None else -q, action_mask).argmax(dim=-1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["serial", "vector", "stable-baselines3"])
def test_a_forbidden_action_is_never_taken_in_an_evaluation_as_gymnasiums(kind):
    env = {
        "serial": Watched(gymnasium.make("Taxi-v4")),
        "vector": SyncVectorEnv([lambda: Watched(gymnasium.make("Taxi-v4"))] * 3),
        "stable-baselines3": DummyVecEnv([lambda: Watched(gymnasium.make("Taxi-v4"))] * 2),
    }[kind]
    agent = PPO("Taxi-v4", seeds=[3], device="cpu", net_arch=(32,))
    returns, lengths = evaluate_policy(agent, env, 4, return_episode_rewards=True)
    assert returns == agent.evaluate(4)[0].tolist()
    assert min(lengths) > 1
    evaluate_policy(agent, env, 2, deterministic=False)  # `Watched` looks
    env.close()


@pytest.mark.parametrize("kind", ["stable-baselines3", "normalized", *AutoresetMode])
def test_the_end_of_an_episode_may_allow_nothing_and_the_next_begins_with_its_own_mask(kind):
    agent = PPO(Masked, device="cpu", net_arch=(32,))
    if isinstance(kind, AutoresetMode):
        env = SyncVectorEnv([Masked] * 3, autoreset_mode=kind)
    else:
        env = DummyVecEnv([Masked] * 3)
        env = VecNormalize(env, norm_obs=False) if kind == "normalized" else env
    returns, lengths = evaluate_policy(agent, Masked(), 7, return_episode_rewards=True)
    assert len(set(lengths)) > 1
    found = evaluate_policy(agent, env, 7, return_episode_rewards=True)
    assert found == (pytest.approx(returns, rel=1e-6), lengths)  # stable-baselines3's rewards are float32


def test_what_is_forbidden_is_no_flip():
    agent = DQN(Masked, seeds=range(2), device="cpu", net_arch=(32,))
    agent.score_network.flat[:, -3:] = torch.tensor([0.0, 5.0, 0.0])  # 1 wherever it is allowed
    for deterministic in (True, False):
        shown_the_truth = rollout(agent, agent.evaluation_env(5), None, deterministic, lambda obs: obs)
        assert shown_the_truth.attacks.sum() == shown_the_truth.flips.sum() == 0
        # shown state 0 instead of 2, whose mask forbids 1 all the same
        shown_another = rollout(agent, agent.evaluation_env(5), None, deterministic, lambda obs: obs.where(obs < 2, 0))
        assert shown_another.attacks.sum() > 0
        assert shown_another.flips.sum() <= shown_another.attacks.sum()


def test_policies_without_predict_heed_masks_too():
    returns, _ = evaluate_policy(Table(), Masked(), 6, return_episode_rewards=True)
    assert min(returns) > 0.9


def test_predict_takes_masks_as_sb3_contribs_does():
    agent = PPO("Taxi-v4", device="cpu", net_arch=(32,))
    obs = np.arange(4)
    only = np.eye(6, dtype=np.int8)[[0, 3, 5, 1]]
    for deterministic in (True, False):
        assert agent.predict(obs, deterministic=deterministic, action_masks=only)[0].tolist() == [0, 3, 5, 1]
        assert agent.predict(7, deterministic=deterministic, action_masks=only[1])[0] == 3
        assert (agent.predict(obs, deterministic=deterministic, action_masks=only[2])[0] == 5).all()  # of all
    with pytest.raises(ValueError, match=r"action_masks has shape \(4, 5\), expected \(4, 6\)"):
        agent.predict(obs, action_masks=only[:, :5])
    with pytest.raises(ValueError, match="action_masks allows no action for some observation"):
        agent.predict(obs, action_masks=only * [[1], [1], [0], [1]])


# The pieces

masks = st.lists(st.booleans(), min_size=2, max_size=7).filter(any)


@given(masks, st.floats(0, 1, exclude_max=True), st.integers(0, 10**6))
def test_whatever_the_numbers_the_action_is_allowed(mask, u, seed):
    mask = torch.tensor([mask])
    logits = 5.0 * torch.randn(1, mask.shape[1], generator=torch.Generator().manual_seed(seed))
    for number in torch.tensor([[u], [0.0], [1 - 2.0**-53]], dtype=torch.float64):
        both = torch.stack([torch.zeros(1).double(), number], dim=-1)
        for action in (
            allowed_action(number, mask),
            categorical(logits, number, mask),
            epsilon_greedy(logits, 1.0, both, mask),
            epsilon_greedy(logits, 0.0, both, mask),
        ):
            assert mask[0, action]


def test_random_actions_are_uniform_over_what_is_allowed():
    mask = torch.tensor([False, True, False, True, True])
    u = (torch.arange(300, dtype=torch.float64) + 0.5) / 300
    assert torch.bincount(allowed_action(u, mask.expand(300, -1)), minlength=5).tolist() == [0, 100, 0, 100, 100]
    q = torch.tensor([[9.0, 1.0, 9.0, 3.0, 2.0]])
    torch.testing.assert_close(epsilon_greedy_probs(q, 0.3, mask[None]), torch.tensor([[0, 0.1, 0, 0.8, 0.1]]))
    everything = torch.ones(1, 5, dtype=torch.bool)
    torch.testing.assert_close(epsilon_greedy_probs(q, 0.3, everything), epsilon_greedy_probs(q, 0.3))
    assert torch.equal(categorical(q.expand(300, -1), u, everything.expand(300, -1)), categorical(q.expand(300, -1), u))


def test_no_derivative_reaches_a_forbidden_logit():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 16, 4, generator=generator, dtype=torch.float64).requires_grad_()
    mask = torch.rand(2, 16, 4, generator=generator) < 0.6
    mask[..., 1] = True
    value = torch.randn(2, 16, generator=generator, dtype=torch.float64)
    action, target = torch.ones(2, 16, dtype=torch.int64), torch.randn(2, 16, generator=generator).double()
    batch = Experience(value[..., None], action, target - 1.0, value, target, target, mask)
    half = torch.full((2,), 0.5).double()
    losses = ppo_loss(logits, value, batch, half, None, half, half)
    (grad,) = torch.autograd.grad(losses.loss.sum(), logits)
    assert (grad[~mask] == 0).all()
    unmasked = batch._replace(action_mask=None)
    finite = ppo_loss(logits.masked_fill(~mask, -1e4), value, unmasked, half, None, half, half)
    (expected,) = torch.autograd.grad(finite.loss.sum(), logits)
    torch.testing.assert_close(losses.loss, finite.loss)
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("n_steps", [1, 2])
def test_the_memory_keeps_what_the_successor_allows(n_steps):
    def transition(t):
        value, false = torch.full((1, 1), float(t)), torch.zeros(1, 1, dtype=torch.bool)
        allowed = torch.arange(5) == t
        return Transition(value[..., None], value.long(), value, value[..., None], false, false, allowed[None, None],
                          allowed[None, None])  # fmt: skip

    memory = ReplayBuffer(5, transition(0))
    memory.add(segment([transition(t) for t in range(5)]))
    u = (torch.arange(5)[None] + 0.5).double() / 5
    batch = memory.sample(u) if n_steps == 1 else memory.sample_n_step(u, n_steps, torch.ones(1))[0]
    last = torch.arange(5).add(n_steps - 1).clamp(max=4)
    assert torch.equal(batch.next_action_mask[0], torch.nn.functional.one_hot(last, 5).bool())
    assert batch.action_mask is None


@pytest.mark.parametrize("mask", [np.zeros(3), np.ones(2), None])
def test_a_mask_that_cannot_be_is_named(mask):
    class Faulty(Masked):
        def step(self, action):
            return *super().step(action)[:4], {} if mask is None else {"action_mask": mask}

    with pytest.raises(FaultyEnvironmentError, match="action_mask"):
        DQN(Faulty, device="cpu", learning_starts=10).learn(20)


def test_a_mask_that_first_appears_later_is_named():
    class Late(Masked):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0], {}

    with pytest.raises(FaultyEnvironmentError, match=r"at step 1 of .* it gave none at its first reset: give one at"):
        DQN(Late, device="cpu", learning_starts=4).learn(20)
