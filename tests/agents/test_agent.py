"""What every agent offers: asking, evaluating, saving, and refusing bad input at once."""

import json
import math

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy

from rlkit.agents import A2C, ALGORITHMS, DQN, PPO, REINFORCE, TabularQ, WocaRDQN, load, resume
from rlkit.envs import CartPole

QUICK = {"learning_starts": 50, "batch_size": 16, "net_arch": (16,)}


@pytest.fixture(scope="module")
def agent():
    return DQN("CartPole-v1", seeds=range(3), device="cpu", **QUICK).learn(600)


def test_learn_rounds_up_to_whole_iterations_and_again_continues():
    agent = DQN("CartPole-v1", num_envs=3, device="cpu", **QUICK)
    assert agent.learn(100).num_timesteps == 108  # train_freq 4 x 3 copies
    assert agent.learn(100).num_timesteps == 216
    assert agent.memory.replay.added == 216


@pytest.mark.slow
def test_training_in_pieces_of_one_learn_is_one_learn(agent):
    pieces = DQN("CartPole-v1", seeds=range(3), device="cpu", **QUICK)
    seen = list(pieces.training(600, every=200))
    assert seen == [200, 400, 600]
    assert torch.equal(pieces.network.flat, agent.network.flat)


def test_history_counts_episodes_and_their_returns(agent):
    history = agent.history
    assert history["timesteps"][-1].tolist() == [600] * 3
    total = np.nansum(history["episodes"] * np.nan_to_num(history["episode_return"]), axis=0)
    unfinished = agent.training_state.returns._running[:, 0].numpy()
    np.testing.assert_allclose(total + unfinished, 600)  # CartPole pays one for every step
    assert {"loss", "gradient_norm"} <= set(history)


def test_predict_is_stable_baselines3s(agent):
    one = agent[1]
    env = gymnasium.make("CartPole-v1")
    obs, _ = env.reset(seed=0)
    action, state = one.predict(obs, deterministic=True)
    assert env.action_space.contains(action)
    assert state is None
    batch = np.stack([env.observation_space.sample() * 0 + i * 0.01 for i in range(5)]).astype(np.float32)
    actions, _ = one.predict(batch, deterministic=True)
    expected = agent.act(torch.from_numpy(batch)[None].expand(3, -1, -1))[1]
    assert actions.tolist() == expected.tolist()
    mean, _ = sb3_evaluate_policy(one, env, n_eval_episodes=2, warn=False)
    assert mean > 0


def test_sampled_actions_explore_as_often_as_epsilon_says(agent):
    obs = torch.zeros(3, 2000, 4)
    greedy, sampled = agent.act(obs), agent.act(obs, deterministic=False)
    share = (greedy != sampled).float().mean(dim=1)  # half of the random actions are the greedy one
    np.testing.assert_allclose(share.numpy(), 0.05 / 2, atol=0.012)


@pytest.mark.slow
def test_sampled_actions_repeat_no_numbers_and_evaluation_begins_its_own():
    def sampled(between=lambda agent: None, others=()):
        agent = PPO("CartPole-v1", seeds=[4], device="cpu", net_arch=(16,))
        actions = []
        for _ in range(60):
            actions.append(int(agent.predict(np.zeros(4))[0]))
            between(agent)
            actions += [int(agent.predict(np.zeros((copies, 4)))[0][0]) for copies in others]
        return actions

    alone = sampled()
    assert 10 < sum(alone) < 50
    assert sampled(lambda agent: agent.evaluate(1)) == alone
    one_and_two = sampled(others=(2,))
    assert one_and_two[:60] == alone  # a copy's numbers do not depend on how many others there are
    assert 30 < sum(one_and_two) < 90
    agent = PPO("CartPole-v1", seeds=[4], device="cpu", net_arch=(16,))
    before = agent.evaluate(3, deterministic=False)
    agent.predict(np.zeros(4))
    assert agent.evaluate(3, deterministic=False).tolist() == before.tolist()


@pytest.mark.slow
def test_predict_of_many_seeds_names_the_way_out(agent):
    with pytest.raises(ValueError, match=r"agent\[i\]"):
        agent.predict(np.zeros(4))
    with pytest.raises(ValueError, match="shape"):
        agent[0].predict(np.zeros(3))


def test_a_row_of_an_agent_plays_as_that_row(agent):
    assert agent[2].seeds == (2,)
    assert agent[2].evaluate(5)[0].tolist() == agent.evaluate(5)[2].tolist()
    assert [row.seeds[0] for row in agent] == [0, 1, 2]
    with pytest.raises(IndexError):
        agent[3]


def test_evaluation_is_paired_with_the_serial_environment(agent):
    returns = agent.evaluate(4, seed=77)
    env = gymnasium.make("CartPole-v1")
    for row in range(3):
        one = agent[row]
        for episode in range(4):
            obs, _ = env.reset(seed=77 + episode)
            total, done = 0.0, False
            while not done:
                obs, reward, terminated, truncated, _ = env.step(int(one.predict(obs, deterministic=True)[0]))
                total, done = total + reward, terminated or truncated
            assert returns[row, episode] == total


def test_a_saved_agent_comes_back(agent, tmp_path):
    path = tmp_path / "dqn.safetensors"
    agent.save(path)
    for loaded in (DQN.load(path, device="cpu"), load(path, device="cpu")):
        assert loaded.config == agent.config
        assert loaded.seeds == agent.seeds
        assert torch.equal(loaded.network.flat, agent.network.flat)
        obs = torch.zeros(3, 500, 4)
        assert torch.equal(loaded.act(obs), agent.act(obs))
    assert loaded.epsilon().tolist() == pytest.approx([0.05] * 3)


def test_files_that_are_not_agents_are_named(agent, tmp_path):
    path = tmp_path / "dqn.safetensors"
    agent.save(path)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"not a model at all"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="safetensors"):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.safetensors")
    other = DQN("Acrobot-v1", device="cpu", **QUICK)
    other.save(path)
    with pytest.raises(ValueError, match="another environment"):
        DQN.load(path, env="CartPole-v1")


def test_of_a_folder_the_file_to_read_is_named(agent, tmp_path):
    with pytest.raises(ValueError, match=r"is a folder, and holds no file with a policy \(agent\.save\)"):
        load(tmp_path)
    agent.save(tmp_path / "agent.safetensors")
    (tmp_path / "checkpoints").mkdir()
    for step in ("900", "1000"):
        agent.checkpoint(tmp_path / "checkpoints" / f"{step}.safetensors")
    for read in (load, DQN.load):
        with pytest.raises(ValueError, match=r"is a folder: give the file '.*agent\.safetensors' in it"):
            read(tmp_path)
    for read in (resume, DQN.resume):
        with pytest.raises(ValueError, match=r"is a folder: give the file '.*1000\.safetensors' in it"):
            read(tmp_path)


def test_an_interrupted_save_leaves_the_old_file(agent, tmp_path, monkeypatch):
    path = tmp_path / "dqn.safetensors"
    agent.save(path)
    before = path.read_bytes()

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        agent.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["dqn.safetensors"]


def test_the_header_is_json_without_code(agent, tmp_path):
    path = tmp_path / "dqn.safetensors"
    agent.save(path)
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["rlkit.manifest"])["contents"]
    assert header["algorithm"] == "DQN"
    assert header["env"] == "CartPole-v1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rat": 1e-3}, "did you mean 'learning_rate'"),
        ({"zzz": 1}, "known are"),
        ({"gamma": 1.5}, "gamma must be"),
        ({"gamma": [0.9, math.nan]}, "gamma must be"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"learning_rate": [1e-3, 1e-3, 1e-3]}, "3 values for 2 seeds"),
        ({"batch_size": 100, "buffer_size": 50}, "exceeds buffer_size"),
        ({"target_update_interval": 0}, "target_update_interval"),
        ({"learning_rate_schedule": "cosine"}, "learning_rate_schedule"),
        ({"preset": "best"}, "unknown preset"),
        ({"backend": "jax"}, "backend"),
        ({"device": "meta5"}, "device 'meta5' cannot be used"),
        ({"net_arch": (0,)}, "net_arch"),
        ({"activation": "gelu"}, "activation"),
        ({"num_envs": 0}, "num_envs"),
        ({"seeds": []}, "seeds"),
    ],
)
def test_bad_settings_are_refused_when_the_agent_is_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        DQN("CartPole-v1", **{"seeds": range(2), "device": "cpu", **arguments})


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("CartPole-v9", "CartPole-v"),
        ("NoSuchThing-v0", "unknown environment"),
        ("Pendulum-v1", "continuous"),
    ],
)
def test_bad_environments_are_refused_when_the_agent_is_made(env, message):
    with pytest.raises(ValueError, match=message):
        DQN(env, device="cpu")


class Lasting(gymnasium.Wrapper):
    """A cart-pole of so many steps."""

    def __init__(self, steps=5):
        super().__init__(gymnasium.make("CartPole-v1", max_episode_steps=steps))


def test_env_kwargs_reach_whatever_makes_the_environment(tmp_path):
    quick = {"seeds": [0], "device": "cpu", "net_arch": (16,)}
    agent = DQN(Lasting, env_kwargs={"steps": 3}, **quick)
    assert agent.env.max_episode_steps == 3
    assert agent.evaluate(2).tolist() == [[3.0, 3.0]]
    assert agent[0].env.max_episode_steps == 3
    agent.save(tmp_path / "agent.safetensors")
    for env, steps in ((Lasting, 3), (pole, 4), (CartPole(max_steps=7), 7), ("CartPole-v1", 500)):
        assert DQN.load(tmp_path / "agent.safetensors", env=env, device="cpu").env.max_episode_steps == steps
    named = DQN("CartPole-v1", env_kwargs={"max_steps": 9}, **quick)
    named.save(tmp_path / "named.safetensors")
    for env, steps in ((None, 9), ("rlkit/CartPole-v1", 9), (Lasting, 5), (CartPole(max_steps=7), 7)):
        assert DQN.load(tmp_path / "named.safetensors", env=env, device="cpu").env.max_episode_steps == steps
    with pytest.raises(ValueError, match=r"Lasting cannot be made with {'size': 3}: .* 'size'; it takes steps"):
        DQN(Lasting, env_kwargs={"size": 3}, **quick)
    with pytest.raises(ValueError, match=r"pole cannot be made with {}: missing a required argument: 'steps'"):
        DQN(pole, **quick)
    with pytest.raises(ValueError, match=r"CartPole is made already and env_kwargs {'map': 'nonsense'} would change"):
        DQN(CartPole(), env_kwargs={"map": "nonsense"}, **quick)


def pole(steps):
    """A cart-pole of one step more."""
    return Lasting(steps + 1)


def test_bad_lengths_are_refused(agent):
    with pytest.raises(ValueError, match="at least 1"):
        agent.learn(0)
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        agent.training(10, every=0)
    with pytest.raises(ValueError, match=r"every must be a whole number, got 5\.5"):
        agent.iterations(10, every=5.5)
    with pytest.raises(ValueError, match="at least 1"):
        agent.evaluate(0)
    with pytest.raises(ValueError, match=r"episodes must be a whole number, got 2\.5"):
        agent.evaluate(2.5)
    assert agent.evaluate(2.0).shape == (3, 2)


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize(
    ("algorithm", "env", "settings"),
    [(PPO, "CartPole-v1", {"n_steps": 50, "batch_size": 50}), (TabularQ, "FrozenLake-v1", {})],
)
def test_lengths_are_whole_numbers_on_every_engine(algorithm, env, settings, engine):
    agent = algorithm(env, device="cpu", engine=engine, **settings)
    for wrong in ("1000", math.nan, math.inf, 300.5, True, None):
        with pytest.raises(ValueError, match=f"total_timesteps must be a whole number, got {wrong!r}"):
            agent.learn(wrong)
    assert agent.learn(1e2).num_timesteps == agent.training_state.end == 100
    assert agent.learn(np.float32(50), progress_bar=True).num_timesteps == 150


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "settings", "names"),
    [
        (DQN, {"learning_starts": 16}, {"loss", "td_error", "gradient_norm", "epsilon"}),
        (A2C, {}, {"loss", "policy_loss", "value_loss", "entropy", "kl", "gradient_norm", "explained_variance"}),
        (PPO, {"n_steps": 20, "batch_size": 20},
         {"loss", "policy_loss", "value_loss", "entropy", "approx_kl", "gradient_norm", "explained_variance"}),
        (REINFORCE, {"n_steps": 20, "num_envs": 2},
         {"policy_loss", "value_loss", "entropy", "kl", "gradient_norm", "gradient_variance", "explained_variance"}),
        (TabularQ, {"env": "FrozenLake-v1"}, {"td_error", "epsilon"}),
        (WocaRDQN, {"learning_starts": 16},
         {"loss", "td_error", "gradient_norm", "epsilon", "worst_case_loss", "worst_case_weight"}),
    ],
)  # fmt: skip
def test_training_is_logged_seed_by_seed(algorithm, settings, names):
    env = settings.pop("env", "CartPole-v1")
    agent = algorithm(env, seeds=range(3), device="cpu", **settings).learn(400)
    history = agent.history
    assert names <= set(history)
    for name in names:
        assert history[name].shape == history["timesteps"].shape == (len(history["timesteps"]), 3)
        assert np.isfinite(history[name][-20:]).any(axis=0).all(), name
    if env == "CartPole-v1":  # the rows are not copies of one
        assert len(set(history["gradient_norm"][-1])) == 3


def test_the_logged_epsilon_is_the_schedules():
    agent = DQN("CartPole-v1", seeds=range(2), device="cpu", learning_starts=0, exploration_fraction=[0.5, 1.0])
    list(agent.training(400, every=4))  # epsilon of the last step of every iteration
    expected = [[max(1.0 - 0.95 * (t - 1) / 200, 0.05), 1.0 - 0.95 * (t - 1) / 400] for t in range(4, 401, 4)]
    np.testing.assert_allclose(agent.history["epsilon"], expected, rtol=1e-5)


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_an_infinite_loss_is_named_even_if_its_gradient_is_clipped(engine):
    agent = DQN("CartPole-v1", seeds=range(2), device="cpu", engine=engine, learning_starts=8)
    with torch.no_grad():
        agent.target_network.blocks["biases of layer 3"][1] = math.inf
    with pytest.warns(RuntimeWarning, match="seed 1 diverged at step 12: the loss was not finite"):
        agent.learn(40)
    assert [one.seed for one in agent.divergences] == [1]


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_no_observations_have_no_actions(algorithm):
    env = "FrozenLake-v1" if algorithm is TabularQ else "CartPole-v1"
    agent = algorithm(env, seeds=2, device="cpu")
    none = agent.env.obs[:, :0]  # [S, 0, *observation]
    for deterministic in (True, False):
        assert agent.act(none, deterministic).shape == (2, 0)
        actions, _ = agent[0].predict(none[0].numpy(), deterministic=deterministic)
        assert actions.shape == (0,)
    assert agent.action_probabilities(none).shape == (2, 0, agent.num_actions)
    assert agent.values(none).shape == (2, 0)
    assert agent.ensemble().act(none[:1]).shape == (1, 0)


def test_a_training_that_trains_nothing_warns_of_the_settings():
    agent = DQN("CartPole-v1", device="cpu")
    before = agent.network.flat.clone()
    message = "no update until step 100, where this training ends: learning_starts is 100, train for more than 100"
    with pytest.warns(UserWarning, match=message) as warned:
        agent.learn(100)
    assert len(warned) == 1
    assert torch.equal(agent.network.flat, before)
    agent.learn(4)
    assert not torch.equal(agent.network.flat, before)
    with pytest.warns(UserWarning, match="gradient_steps is 0, pass at least 1, or -1") as warned:
        DQN("CartPole-v1", device="cpu", gradient_steps=0).learn(200)
    assert len(warned) == 1
    with pytest.warns(UserWarning, match="WocaRDQN makes no update until step 100"):
        WocaRDQN("CartPole-v1", device="cpu").learn(100)
