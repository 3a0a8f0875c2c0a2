"""A run that is written down and taken up again is the run that was never interrupted, to the bit."""

import gymnasium
import numpy as np
import pytest
import torch
from foreign_envs import Walk20

from rlkit.agents import A2C, DQN, PPO, REINFORCE, TabularQ, WocaRDQN, load, resume
from rlkit.agents.core.serialization import read_header
from rlkit.envs import GridWorld, make

LAKE = "rlkit/GridWorld-v0"
CASES = [
    (DQN, "CartPole-v1", {"learning_starts": 32, "batch_size": 16, "buffer_size": 150, "num_envs": 2}),
    (DQN, "CartPole-v1", {"learning_starts": 32, "priority_exponent": 0.6, "n_steps": 2, "double": True,
                          "dueling": True, "target_clock": "updates", "target_update_interval": 7}),
    (DQN, LAKE, {"learning_starts": 32, "learning_rate_schedule": "linear", "train_freq": 3}),
    (A2C, "CartPole-v1", {"num_envs": 2, "normalize_observations": True, "normalize_rewards": True}),
    (A2C, LAKE, {"use_rms_prop": False, "ent_coef": 0.01}),
    (PPO, "CartPole-v1", {"n_steps": 24, "batch_size": 8, "n_epochs": 2, "clip_range_schedule": "linear"}),
    (REINFORCE, "CartPole-v1", {"n_steps": 24, "num_envs": 2}),
    (REINFORCE, "CartPole-v1", {"n_steps": 24, "baseline": "average", "unfinished": "end", "num_envs": 2}),
    (TabularQ, LAKE, {"algorithm": "sarsa", "num_envs": 3, "env_kwargs": {"observation": "index"}}),
    (WocaRDQN, "CartPole-v1", {"learning_starts": 32, "batch_size": 16, "buffer_size": 150, "num_envs": 2,
                               "attack_epsilon": [0.05, 0.1], "attack_scale": (0.44, 0.33, 0.037, 0.23)}),
]  # fmt: skip
POLE = {"backend": "gymnasium"}
FOREIGN = [
    (DQN, "CartPole-v1", {**POLE, "learning_starts": 32, "batch_size": 16, "buffer_size": 150, "num_envs": 2}),
    (DQN, "Taxi-v4", {"learning_starts": 32, "n_steps": 3, "num_envs": 3}),
    (A2C, "CartPole-v1", {**POLE, "num_envs": 2, "normalize_observations": True, "normalize_rewards": True}),
    (PPO, "FrozenLake-v1", {"n_steps": 24, "batch_size": 8, "n_epochs": 2}),
    (REINFORCE, "CartPole-v1", {**POLE, "n_steps": 24, "num_envs": 2, "discount_states": True, "unfinished": "end"}),
    (TabularQ, "FrozenLake-v1", {"algorithm": "sarsa", "num_envs": 3}),
    (TabularQ, "Taxi-v4", {"num_envs": 2}),
]


def on_both_engines(cases):
    """Every case on the engine that is chosen for it, and on torch where another one may be chosen."""
    both = (DQN, A2C, PPO, REINFORCE)
    return [(*case, engine) for case in cases for engine in ("auto", "torch") if engine == "auto" or case[0] in both]


def same(a, b):
    """Whether two runs will go on alike: engine, parameters, log, and the very next steps."""
    assert a.engine.name == b.engine.name
    for name, network in a.networks.items():
        assert torch.equal(network.flat, b.networks[name].flat), name
    assert set(a.history) == set(b.history)
    for name, rows in a.history.items():
        np.testing.assert_array_equal(rows, b.history[name], err_msg=name)
    assert (a.num_timesteps, a.training_state.end) == (b.num_timesteps, b.training_state.end)
    assert torch.equal(a.env.obs, b.env.obs)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "env", "settings", "engine"), on_both_engines(CASES))
def test_learning_goes_on_as_if_nothing_had_happened(algorithm, env, settings, engine, tmp_path):
    def fresh():
        return algorithm(env, seeds=[3, 8], device="cpu", engine=engine, **settings)

    whole = fresh().learn(120).learn(120)
    first = fresh().learn(120)
    first.checkpoint(tmp_path / "run.safetensors")
    again = resume(tmp_path / "run.safetensors", device="cpu")
    same(again, first)
    assert again.timesteps_left == 0
    same(again.learn(120), whole)
    same(first.learn(120), whole)  # and writing it down changed nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "env", "settings", "engine"), on_both_engines([CASES[0], CASES[3], CASES[5], CASES[6]])
)
def test_an_interrupted_training_is_finished(algorithm, env, settings, engine, tmp_path):
    whole = algorithm(env, seeds=[3, 8], device="cpu", engine=engine, **settings)
    list(whole.training(240, every=48))
    part = algorithm(env, seeds=[3, 8], device="cpu", engine=engine, **settings)
    for done in part.training(240, every=48):
        if done >= 96:
            part.checkpoint(tmp_path / "run.safetensors")
            break
    again = algorithm.resume(tmp_path / "run.safetensors", device="cpu")
    assert again.timesteps_left == 240 - again.num_timesteps > 0
    list(again.training(again.timesteps_left, every=48))
    same(again, whole)


def test_what_stopped_stays_stopped(tmp_path):
    agent = PPO("CartPole-v1", seeds=range(3), device="cpu", n_steps=16, batch_size=8, n_epochs=1)
    agent.networks["policy"].flat[1, 3] = torch.nan
    with pytest.warns(RuntimeWarning, match="seed 1 diverged"):
        agent.learn(64)
    agent.checkpoint(tmp_path / "run.safetensors")
    again = PPO.resume(tmp_path / "run.safetensors", device="cpu")
    assert again.divergences == agent.divergences
    with pytest.warns(RuntimeWarning, match="seed 1 diverged"):
        again.learn(64)
    assert again.active.tolist() == [True, False, True]


def test_files_of_the_other_kind_are_named(tmp_path):
    agent = DQN("CartPole-v1", device="cpu")
    agent.checkpoint(tmp_path / "run.safetensors")  # nothing was learned yet
    same(DQN.resume(tmp_path / "run.safetensors", device="cpu"), agent)
    agent.save(tmp_path / "policy.safetensors")
    with pytest.raises(ValueError, match=r"holds a run \(agent\.checkpoint\), and not a policy"):
        load(tmp_path / "run.safetensors")
    with pytest.raises(ValueError, match=r"holds a policy \(agent\.save\), and not a run"):
        resume(tmp_path / "policy.safetensors")
    with pytest.raises(ValueError, match="holds a DQN, not a PPO"):
        PPO.resume(tmp_path / "run.safetensors")
    with pytest.raises(FileNotFoundError):
        resume(tmp_path / "none.safetensors")


def test_an_environment_without_an_id_is_to_be_passed(tmp_path):
    made = A2C(GridWorld("frozenlake-4x4"), device="cpu").learn(20)
    made.checkpoint(tmp_path / "run.safetensors")
    with pytest.raises(ValueError, match="without an environment id: pass env="):
        resume(tmp_path / "run.safetensors")
    same(resume(tmp_path / "run.safetensors", env=GridWorld("frozenlake-4x4"), device="cpu"), made)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "env", "settings", "engine"), on_both_engines(CASES + FOREIGN))
def test_a_run_stopped_after_any_iteration_ends_as_the_uninterrupted_one(algorithm, env, settings, engine, tmp_path):
    """Weights, log and its phase, memory and the returns of episodes that are under way."""

    def fresh():
        return algorithm(env, seeds=[3, 8], device="cpu", engine=engine, **settings)

    whole, agent = fresh(), fresh()
    list(whole.training(400, every=37))
    stops = iter(np.random.default_rng(0).integers(0, 4, size=20))
    left, stopped = 400, 0
    while left:
        stop = next(stops, None)
        for index, _ in enumerate(agent.iterations(left, every=37)):
            if index == stop:
                agent.checkpoint(tmp_path / "run.safetensors")
                break
        left = agent.timesteps_left
        if left:
            agent = resume(tmp_path / "run.safetensors", device="cpu")
            stopped += 1
    assert stopped >= 2
    same(agent, whole)
    for name, tensor in whole.training_state.state_dict().items():
        torch.testing.assert_close(agent.training_state.state_dict()[name], tensor, rtol=0, atol=0, equal_nan=True)
    if algorithm is DQN:
        for name, tensor in whole.memory.state_dict().items():
            assert torch.equal(agent.memory.state_dict()[name], tensor), name


@pytest.mark.slow
def test_the_rows_of_a_resumed_log_fall_where_they_would_have_fallen(tmp_path):
    def fresh():
        return A2C("CartPole-v1", seeds=[1], device="cpu", n_steps=8)

    whole = fresh().learn(1000)
    part = fresh()
    for done in part.training(1000):
        if done >= 500:
            break
    part.checkpoint(tmp_path / "run.safetensors")
    again = resume(tmp_path / "run.safetensors", device="cpu")
    again.learn(again.timesteps_left)
    assert again.history["timesteps"].tolist() == whole.history["timesteps"].tolist()
    again.learn(400)  # another training has a phase of its own
    assert again.training_state.every == 4


def halfway(make_one, path, **settings):
    """A DQN of seeds 3 and 8 whose checkpoint falls 12 steps into an episode of 20 steps."""
    agent = DQN(make_one, seeds=[3, 8], device="cpu", net_arch=(16,), learning_starts=16, **settings)
    for done in agent.iterations(400, every=40):
        if done == 72:
            break
    agent.checkpoint(path)
    return agent


@pytest.mark.slow
def test_a_foreign_environment_of_any_function_goes_on_in_the_middle_of_its_episode(tmp_path):
    whole = halfway(Walk20, tmp_path / "run.safetensors")
    again = DQN.resume(tmp_path / "run.safetensors", env=Walk20, device="cpu")
    assert again.env.obs.dtype == torch.float64
    same(again, whole)
    same(again.learn(again.timesteps_left), whole.learn(whole.timesteps_left))
    assert again.resumed_at_boundary == ()


@pytest.mark.slow
@pytest.mark.parametrize("n_steps", [1, 4])
def test_an_environment_that_hides_its_randomness_goes_on_at_its_next_episode_and_says_so(n_steps, tmp_path):
    def maker():
        copies = iter([Walk20(), Walk20(hidden=True)])
        return lambda: next(copies)

    whole = halfway(maker(), tmp_path / "run.safetensors", n_steps=n_steps)
    whole.learn(whole.timesteps_left)
    message = r"run.safetensors: 1 of 2 running .*seed 8, copy 0, it shows \[.*\] where it had shown \["
    with pytest.warns(RuntimeWarning, match=message) as warned:
        again = DQN.resume(tmp_path / "run.safetensors", env=maker(), device="cpu")
    assert len(warned) == 1
    assert [tuple(cut) for cut in again.resumed_at_boundary] == [(8, 0, 72)]
    rings = again.memory.replay.state_dict()
    assert rings["flags"][:, 71].tolist() == [0, 2]  # the unfinished episode ends by truncation
    again.learn(again.timesteps_left)
    for name, network in whole.networks.items():  # the other seed does not notice
        assert torch.equal(network.flat[0], again.networks[name].flat[0])
        assert not torch.equal(network.flat[1], again.networks[name].flat[1])
    returns, episodes = again.history["episode_return"], again.history["episodes"]
    assert (returns[episodes > 0] == 20.0).all()  # and never the 12 steps before
    assert episodes.sum(axis=0).tolist() == [20, 19]
    again.checkpoint(tmp_path / "again.safetensors")
    header = read_header(tmp_path / "again.safetensors", "a run (agent.checkpoint)")
    assert header["resumed_at_boundary"] == [[8, 0, 72]]


def test_a_run_that_could_not_bring_back_an_episode_remembers_it(tmp_path):
    path = tmp_path / "run.safetensors"
    halfway(lambda: Walk20(hidden=True), path, num_envs=2)
    with pytest.warns(RuntimeWarning, match="4 of 4 running episodes"):
        again = DQN.resume(path, env=lambda: Walk20(hidden=True), device="cpu")
    again.save(path)
    assert len(DQN.load(path, env=Walk20, device="cpu").resumed_at_boundary) == 4
    assert [cut[:2] for cut in again.resumed_at_boundary] == [(3, 0), (3, 1), (8, 0), (8, 1)]


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"place": 0.5}, "it shows"),
        ({"reward": 2.0}, r"it paid 24.0 where it had paid 12.0"),
        ({"length": 7}, "it ended at step 7 of 12"),
        ({"fault": 5}, "Changed raised KeyError: 'moved' at step"),
    ],
)
def test_whatever_differs_is_named(change, differs, tmp_path):
    class Changed(Walk20):
        def step(self, action):
            obs, _, _, truncated, info = super().step(action)
            if self.time == change.get("fault"):
                raise KeyError("moved")
            obs = obs + change.get("place", 0.0)
            return obs, change.get("reward", 1.0), self.time == change.get("length"), truncated, info

    halfway(Walk20, tmp_path / "run.safetensors")
    with pytest.warns(RuntimeWarning, match=rf"2 of 2 running .*of seed 3, copy 0, {differs}"):
        again = DQN.resume(tmp_path / "run.safetensors", env=Changed, device="cpu")
    assert again.env.obs.shape == (2, 1, 1)


def test_a_table_begins_the_next_episode_with_an_action_of_its_own(tmp_path):
    class Slippery(gymnasium.Wrapper):
        def step(self, action):
            self.unwrapped.s = int(np.random.default_rng().integers(16)) % 15
            return self.env.step(action)

    def maker():
        return Slippery(gymnasium.make("FrozenLake-v1"))

    agent = TabularQ(maker, seeds=[1], num_envs=8, device="cpu", algorithm="sarsa").learn(96)
    agent.checkpoint(tmp_path / "run.safetensors")
    with pytest.warns(RuntimeWarning, match="running episodes could not be restored"):
        again = TabularQ.resume(tmp_path / "run.safetensors", env=maker, device="cpu")
    for _, copy, step in again.resumed_at_boundary:
        assert (again.env.obs[0, copy], step) == (0, 96)  # where an episode begins
        assert again._action[0, copy] == again.act(again.env.obs)[0, copy]
    again.learn(96)


def test_a_frozen_row_stays_frozen_and_says_why(tmp_path):
    class Broken(Walk20):
        def step(self, action):
            if self.broken and self.time == 5:
                raise KeyError("boom")
            return super().step(action)

    def maker():
        copies = iter([Broken(), Broken(), Broken(), Broken()])

        def make_one():
            env = next(copies)
            env.broken = next(places) == 2
            return env

        places = iter(range(4))
        return make_one

    def fresh():
        return PPO(maker(), seeds=[3, 8], num_envs=2, device="cpu", n_steps=8, batch_size=8, n_epochs=1)

    whole, part = fresh(), fresh()
    with pytest.warns(RuntimeWarning, match="seed 8 was frozen at step 16"):
        whole.learn(320)
    for done in part.iterations(320):
        if done == 96:
            break
    part.checkpoint(tmp_path / "run.safetensors")
    again = PPO.resume(tmp_path / "run.safetensors", env=maker(), device="cpu")
    assert again.divergences == part.divergences
    assert "KeyError: 'boom' at step 6 of episode 0, seed 8 (row 1), copy 0" in again.divergences[0].what
    with pytest.warns(RuntimeWarning, match="seed 8 was frozen at step 16 .*boom"):
        again.learn(again.timesteps_left)
    same(again, whole)


def test_an_environment_for_evaluation_is_not_checkpointed():
    env = A2C("FrozenLake-v1", device="cpu").evaluation_env(2)
    for ask in (env.state_dict, lambda: env.load_state({})):
        with pytest.raises(RuntimeError, match="for evaluation is not continued"):
            ask()


def test_a_long_episode_is_remembered_whole():
    env = make(lambda: gymnasium.make("MountainCar-v0", max_episode_steps=1000), seeds=2, num_envs=2)
    actions = torch.from_numpy(np.random.default_rng(0).integers(3, size=(300, 2, 2)))
    for action in actions:
        env.step(action)
    state = env.state_dict()
    assert (state["actions"].dtype, state["actions"].shape) == (torch.uint8, (1200,))
    again = make(lambda: gymnasium.make("MountainCar-v0", max_episode_steps=1000), seeds=2, num_envs=2)
    again.load_state(state)
    assert again.cut == {}
    assert torch.equal(again.obs, env.obs)
    for action in actions:
        for one, other in zip(env.step(action), again.step(action), strict=True):
            assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize(
    "change",
    [
        {"actions": torch.zeros(7, dtype=torch.uint8)},
        {"actions": torch.full((8,), 9, dtype=torch.uint8)},
        {"elapsed": torch.tensor([[-2, 10]])},
        {"episodes": torch.zeros(1, 2, dtype=torch.int64)},
        {"faults": torch.zeros(3, dtype=torch.uint8)},
        {"frozen": torch.ones(1, dtype=torch.bool)},
    ],
)
def test_states_that_cannot_be_are_refused(change):
    env = make("FrozenLake-v1", seeds=1, num_envs=2)
    for _ in range(4):
        env.step(torch.zeros(1, 2, dtype=torch.int64))
    state = env.state_dict()
    with pytest.raises(ValueError, match=r"running episodes|no number or an action|Expecting value|frozen"):
        env.load_state(state | change)
