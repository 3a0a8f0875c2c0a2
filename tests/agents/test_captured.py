"""Trainings on a device: the CPU's numbers, no wait inside an iteration, and graphs that replay it to the bit."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from devices import DEVICES, on_host, using, without_waits

from rlkit.adversarial import FGSM, PGD, Attack, Budget, DeepFool, ValueAware, execute, robustness_curve
from rlkit.agents import A2C, DQN, PPO, REINFORCE, TabularQ, WocaRDQN, resume
from rlkit.agents.core.captured import CapturedIteration, counters_of, parts_of, tensors_of
from rlkit.agents.core.training_state import TrainingState
from rlkit.envs import CartPole, GridWorld
from rlkit.envs.probes import observation_reward
from rlkit.experiments.benchmarks.pretend_device import NAME
from rlkit.streams import DeviceEpisodeStarts, Stream

ITERATIONS = 22  # the first of a branch runs as it is, the second is recorded, the others are replayed
LONG = 10**6
GRID = GridWorld("S..\n.#H\n..G", slip=0.2, max_steps=20)
COORDINATES = GridWorld("S..\n.#H\n..G", slip=0.2, max_steps=20, observation="coordinates")
POLE = CartPole(max_steps=16)


class Case(NamedTuple):
    algorithm: Any
    env: Any
    settings: dict[str, Any]


SMALL: dict[Any, dict[str, Any]] = {
    DQN: {
        "learning_starts": 16,
        "batch_size": 8,
        "train_freq": 2,
        "gradient_steps": 2,
        "target_update_interval": 12,
        "buffer_size": 60,
        "exploration_fraction": 0.00005,
        "net_arch": (16,),
    },
    A2C: {"n_steps": 2, "net_arch": (16,)},
    PPO: {"n_steps": 2, "batch_size": 2, "n_epochs": 1, "net_arch": (16,)},
    REINFORCE: {"n_steps": 2, "net_arch": (16,), "value_steps": 2},
    TabularQ: {"initial_value": 1.0},  # so that every step moves the table
}
SMALL[WocaRDQN] = SMALL[DQN]
CASES = {
    "dqn-pole": Case(DQN, POLE, {}),
    "dqn-grid": Case(DQN, GRID, {"learning_rate_schedule": "exponential"}),
    "dqn-variants": Case(
        DQN,
        POLE,
        {"double": True, "dueling": True, "n_steps": 3, "priority_exponent": 0.6, "tau": 0.5, "loss": "squared"},
    ),
    "dqn-updates": Case(
        DQN,
        observation_reward(),
        {
            "target_clock": "updates",
            "target_update_interval": 6,
            "replay": False,
            "single_coin": True,
            "normalize_rewards": True,
        },
    ),
    "a2c-pole": Case(A2C, POLE, {"normalize_advantage": True, "learning_rate_schedule": "linear"}),
    "a2c-grid": Case(A2C, GRID, {"use_rms_prop": False, "ent_coef": 0.01}),
    "ppo-pole": Case(
        PPO,
        POLE,
        {
            "clip_range_schedule": "linear",
            "clip_range_vf": 0.2,
            "target_kl": 0.01,
            "normalize_observations": True,
            "normalize_rewards": True,
        },
    ),
    "ppo-grid": Case(PPO, GRID, {"learning_rate_schedule": "step"}),
    "reinforce-pole": Case(REINFORCE, POLE, {"discount_states": True, "learning_rate_schedule": "inverse"}),
    "reinforce-grid": Case(REINFORCE, GRID, {"baseline": "average", "unfinished": "drop", "ent_coef": 0.01}),
    "q-grid": Case(TabularQ, GRID, {}),
    "sarsa-grid": Case(TabularQ, GRID, {"algorithm": "sarsa"}),
    "expected-sarsa-grid": Case(TabularQ, GRID, {"algorithm": "expected-sarsa", "power": 0.6}),
    "wocar-pole": Case(WocaRDQN, POLE, {"attack_epsilon": 0.05, "worst_case_fraction": 0.00005}),
    "wocar-grid": Case(WocaRDQN, COORDINATES, {"attack_epsilon": 0.3, "worst_case_fraction": 0.00005}),
}
ALL = pytest.mark.parametrize("name", CASES)
ON = pytest.mark.parametrize("device", DEVICES)


def made(name: str, device: str, engine: Any = "torch", **others: Any) -> Any:
    case = CASES[name]
    settings = {**SMALL[case.algorithm], **case.settings, **others}
    return case.algorithm(case.env, seeds=2, num_envs=2, device=device, engine=engine, **settings)


def pair(name: str, device: str) -> tuple[Any, Any]:
    """Agents whose iterations run as they are, the log summed up as in graphs, and captured."""
    eager, captured = made(name, device), made(name, device, "captured")
    eager.iteration = CapturedIteration(eager).eager
    return eager, captured


def state_of(agent: Any) -> dict[str, torch.Tensor]:
    """Everything that decides how a training goes on; not what streams have drawn ahead, nor the log."""
    drawn = [path for path, part in parts_of(agent) if isinstance(part, Stream | DeviceEpisodeStarts)]
    log = ("training_state", "means")
    scratch = ("gradient",)  # of optimizers, written before it is read

    def decides(path: Any) -> bool:
        return path[:2] != log and path[-1:] != scratch and not any(path[: len(each)] == each for each in drawn)

    kept = {".".join(map(str, path)): tensor for path, tensor in tensors_of(agent).items() if decides(path)}
    steps = {".".join(map(str, path)): torch.tensor(part.step) for path, part in parts_of(agent) if path in drawn}
    steps["episode"] = agent.env.state_dict()["episode"]
    return {name: on_host(tensor) for name, tensor in {**kept, **steps}.items()}


def stored(name: str, tensor: torch.Tensor, agent: Any) -> torch.Tensor:
    """What of a ring of the memory was written."""
    return tensor[:, : int(agent.memory.replay.added)] if "memory.replay._fields" in name else tensor


@pytest.mark.slow
@ON
@ALL
def test_iterations_have_the_numbers_of_the_cpu_never_wait_and_are_replayed_to_the_bit(name: str, device: str) -> None:
    cpu = made(name, "cpu")
    for _ in zip(range(ITERATIONS), cpu.iterations(LONG, LONG), strict=False):
        pass
    with using(device):
        runs = pair(name, device)
        for agent, captured in zip(runs, (False, True), strict=True):
            training = agent.iterations(LONG, LONG)
            with without_waits(device):
                for _ in range(ITERATIONS - 1):
                    next(training)
                at = {path: tensor.data_ptr() for path, tensor in tensors_of(agent).items()}
                graphs_before = dict(agent.engine.captured.recorded) if captured else {}
                next(training)
            if captured:
                assert (
                    agent.engine.captured.recorded == graphs_before != {}
                )  # so the last iteration was replayed, and nothing has moved
                now = {path: tensor.data_ptr() for path, tensor in tensors_of(agent).items()}
                assert {path: now[path] for path in at} == at
        for network in cpu.networks:
            there, here = on_host(runs[0].networks[network].flat), cpu.networks[network].flat
            torch.testing.assert_close(there, here, rtol=1e-4, atol=2e-5)
        assert counters_of(runs[0])[("training_state", "_timesteps")] == cpu.num_timesteps
        eager, replayed = map(state_of, runs)
        assert set(eager) == set(replayed)
        for key, tensor in eager.items():
            one, other = (stored(key, each, runs[0]) for each in (tensor, replayed[key]))
            if device == NAME:
                assert torch.equal(one.nan_to_num(), other.nan_to_num()), key
            else:  # sums by atomic additions have no fixed order
                torch.testing.assert_close(one, other, equal_nan=True, rtol=1e-3, atol=1e-5)
        for agent in runs:
            agent.training_state.write_row()
        for key, logged in runs[0].history.items():
            np.testing.assert_allclose(logged, runs[1].history[key], rtol=1e-4, atol=1e-5, err_msg=key)


def differences(name: str) -> list[str]:
    """What of a replayed training is not as in the one without graphs."""
    with using(NAME):
        runs = pair(name, NAME)
        for agent in runs:
            for _ in zip(range(8), agent.iterations(LONG, LONG), strict=False):
                pass
        eager, replayed = map(state_of, runs)
    return [key for key, tensor in eager.items() if not torch.equal(tensor, replayed[key])]


@pytest.mark.slow
def test_a_counter_of_the_host_that_an_update_reads_is_noticed(monkeypatch: Any) -> None:
    assert not differences("a2c-pole")
    monkeypatch.setattr(TrainingState, "done_now", property(lambda state: 1.0 - state.remaining))
    assert "actor_critic.flat" in differences("a2c-pole")  # its learning rate stands still


@pytest.mark.slow
def test_what_the_host_counts_is_known() -> None:
    """These decide when streams draw ahead, which branch comes and what the log divides by; no operation reads them."""
    counted = set()
    with using(NAME):
        for name in ("dqn-variants", "a2c-grid", "ppo-grid", "q-grid"):
            agent = made(name, NAME, "captured")
            for _ in zip(range(12), agent.iterations(LONG, LONG), strict=False):
                pass
            counted |= {path for each in agent.engine.captured.recorded.values() for path in each.counted}
    streams = ("explore", "_sample", "_shuffle", "env._noise._transitions", "env._noise._starts")
    places = {".".join(map(str, path)) for path in counted}
    others = {place for place in places if not place.startswith(streams)}
    assert {place for place in others if not place.startswith("training_state.means._counts")} == {
        "training_state._timesteps",
        "_updates",
    }
    assert {place.rpartition(".")[2] for place in places - others} == {"step", "_left", "_next"}


@pytest.mark.slow
@ON
@pytest.mark.parametrize("name", ["dqn-grid", "ppo-pole"])
def test_logs_and_evaluations_between_replays_change_nothing(name: str, device: str) -> None:
    with using(device):
        quiet, busy = made(name, device, "captured"), made(name, device, "captured")
        for _ in zip(range(20), quiet.iterations(LONG, LONG), strict=False):
            pass
        for i, _ in zip(range(20), busy.iterations(LONG, 40), strict=False):
            if i == 12:
                busy.evaluate(2)
        logged = busy.history
        busy, quiet = state_of(busy), state_of(quiet)
    running = [key for key in quiet if key.startswith("training_state.returns.")]
    for key in quiet.keys() - set(running):
        torch.testing.assert_close(busy[key], quiet[key], rtol=0, atol=0, equal_nan=True)
    assert len(logged["timesteps"]) > 1
    assert np.isfinite(logged["loss"][-1]).all()


@pytest.mark.slow
def test_a_log_is_read_at_stated_places_alone() -> None:
    with using(NAME) as log:
        agent = made("dqn-pole", NAME)
        log.clear()
        agent.learn(80)
        places = {wait.where.partition(":")[0] for wait in log.waits}
    assert places == {"tracking.py", "agents/core/training_state.py"}  # rows of the log; who diverged, at the end


@pytest.mark.slow
@ON
@pytest.mark.parametrize(
    "name",
    ["dqn-variants", "a2c-grid", "ppo-pole", "reinforce-pole", "q-grid", "sarsa-grid", "wocar-pole", "wocar-grid"],
)
def test_trainings_are_saved_resumed_and_evaluated_as_on_the_cpu(name: str, device: str, tmp_path: Any) -> None:
    # a clip range that ends at 0 would let roundings decide what is clipped
    others = {"clip_range_schedule": "constant"} if name == "ppo-pole" else {}
    with using(device):
        agent = made(name, device, **others).learn(24)
        agent.checkpoint(tmp_path / "run")
        again = type(agent).resume(tmp_path / "run", env=CASES[name].env, device=device)
        elsewhere = type(agent).resume(tmp_path / "run", env=CASES[name].env, device="cpu")
        for each in (agent, again, elsewhere):
            each.learn(24)
        for network in agent.networks:
            flats = [on_host(each.networks[network].flat) for each in (agent, again, elsewhere)]
            torch.testing.assert_close(flats[1], flats[0], rtol=0, atol=0 if device == NAME else 1e-5)
            torch.testing.assert_close(flats[2], flats[0], rtol=1e-4, atol=2e-5)
        agent.save(tmp_path / "policy")
        loaded = type(agent).load(tmp_path / "policy", env=CASES[name].env, device="cpu")
        returns = agent.evaluate(3)
    np.testing.assert_array_equal(returns, loaded.evaluate(3))


VICTIMS = ("ppo-pole", "dqn-pole")
GRADIENT_ATTACKS: list[Attack] = [FGSM(), FGSM("cross_entropy"), PGD(3), PGD(3, 2, "kl"), DeepFool(3)]
ATTACKED = [
    *((name, attack) for name in VICTIMS for attack in GRADIENT_ATTACKS),
    ("dqn-pole", ValueAware(provoke=PGD(2))),
]
SCALE = [1.0, 1.0, 0.2, 1.0]


@pytest.mark.slow
@ON
@pytest.mark.parametrize(("name", "attack"), ATTACKED, ids=lambda given: getattr(given, "name", given))
def test_attacks_on_a_device_show_what_they_show_on_the_cpu(
    name: str, attack: Attack, device: str, tmp_path: Any
) -> None:
    made(name, "cpu").save(tmp_path / "policy")
    obs, u = torch.randn(2, 12, 4), torch.rand(2, 12, attack.noise_width(4))
    found = []
    for place in ("cpu", device):
        with using(device):
            victim = CASES[name].algorithm.load(tmp_path / "policy", env=POLE, device=place)
            numbers = u.to(place) if attack.noise_width(4) else None
            result = execute(attack, victim, obs.to(place), Budget(0.7, scale=SCALE), numbers)
            found.append((on_host(result.obs), on_host(result.margin), on_host(result.success)))
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=2e-5)
    assert 0 < int(found[0][2].sum()) < 24


@pytest.mark.slow
@ON
@pytest.mark.parametrize("name", VICTIMS)
def test_robustness_curves_on_a_device_are_those_of_the_cpu(name: str, device: str, tmp_path: Any) -> None:
    made(name, "cpu").save(tmp_path / "policy")
    attacks: list[Attack] = [FGSM(), PGD(3)]
    curves = []
    for place in ("cpu", device):
        with using(device):
            agent = CASES[name].algorithm.load(tmp_path / "policy", env=POLE, device=place)
            budget, epsilons = Budget(0.0, scale=SCALE), [0.0, 0.2, 2.0]
            curves.append(robustness_curve(agent, agent.evaluation_env, attacks, epsilons, budget, episodes=2))
    np.testing.assert_array_equal(curves[0].returns, curves[1].returns)
    np.testing.assert_array_equal(curves[0].flips, curves[1].flips)
    assert curves[0].flips.any()


def weights(network: Any, features: Any, targets: Any) -> Any:
    """A penalty of the weights."""
    return torch.stack([each.square().flatten(1).sum(dim=1) for each in network.parameters]).sum(dim=0)


def test_the_engine_is_an_option_that_auto_does_not_take() -> None:
    with using(NAME):
        for engine in ("auto", "torch", "captured"):
            agent = made("a2c-grid", NAME, engine)
            assert str(agent.engine) == ("captured" if engine == "captured" else "torch")
        assert (repr(agent.engine), agent[1].engine.name) == ("captured (as told)", "captured")


@pytest.mark.slow
@ON
@pytest.mark.parametrize("name", ["dqn-pole", "a2c-grid"])
def test_a_captured_run_is_kept_and_resumed_as_one(name: str, device: str, tmp_path: Any) -> None:
    def parameters(agent: Any) -> torch.Tensor:
        return on_host(agent.score_network.flat)

    with using(device):
        plain, whole = made(name, device).learn(80), made(name, device, "captured").learn(80)
        half = made(name, device, "captured")
        for done in half.iterations(80):
            if done >= 40:
                break
        half.checkpoint(tmp_path / "run")
        resumed, on_torch = (
            resume(tmp_path / "run", env=CASES[name].env, device=device, engine=engine) for engine in (None, "torch")
        )
        assert [agent.engine.name for agent in (resumed, on_torch)] == ["captured", "torch"]
        for agent in (half, resumed, on_torch):
            agent.learn(agent.timesteps_left)
        assert whole.engine.captured.recorded
        assert resumed.engine.captured.recorded
        exact = {"rtol": 0.0, "atol": 0.0} if device == NAME else {"rtol": 1e-3, "atol": 1e-5}
        for agent in (plain, half, resumed, on_torch):
            torch.testing.assert_close(parameters(agent), parameters(whole), **exact)
    with pytest.raises(ValueError, match=r"run on engine 'captured': .* the device is cpu, .*Pass engine='torch'"):
        resume(tmp_path / "run", env=CASES[name].env, device="cpu")
    elsewhere = resume(tmp_path / "run", env=CASES[name].env, device="cpu", engine="torch")
    elsewhere.learn(elsewhere.timesteps_left)
    torch.testing.assert_close(parameters(elsewhere), parameters(whole), rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@ON
def test_copies_and_rows_of_an_agent_hold_no_graphs(device: str) -> None:
    with using(device):
        agent = made("a2c-pole", device, "captured").learn(40)
        assert agent.engine.captured.recorded
        twin, shallow = copy.deepcopy(agent), copy.copy(agent)
        assert twin.engine.captured is None
        assert pickle.loads(pickle.dumps(agent.engine)).captured is None
        before = on_host(agent.score_network.flat).clone()
        twin.learn(40)
        assert twin.engine.captured.agent is twin
        assert torch.equal(on_host(agent.score_network.flat), before)
        shallow.engine.iteration(shallow)
        assert shallow.engine.captured.agent is shallow


@pytest.mark.parametrize(
    ("env", "settings", "why"),
    [
        (POLE, {"device": "cpu"}, "the device is cpu, and graphs are recorded on a GPU: pass device='cuda'"),
        (POLE, {"device": NAME, "terms": [weights]}, r"terms \(weights\) are given numbers of the host"),
        ("Acrobot-v1", {"device": NAME}, "ForeignEnv steps on the host"),
    ],
)
def test_what_cannot_be_captured_is_refused(env: Any, settings: dict[str, Any], why: str) -> None:
    with using(NAME), pytest.raises(ValueError, match=f"engine 'captured' is not possible: {why}.*Pass engine='torch'"):
        A2C(env, engine="captured", **settings)


class Fibonacci:
    """Two numbers that change places, with what a ``CapturedIteration`` needs of an agent."""

    def __init__(self, one: torch.Tensor, two: torch.Tensor) -> None:
        self.device, self.training_state = one.device, TrainingState([0], 1, one.device)
        self.pair = {"last": one, "now": two}
        self.sizes = 0

    def branch(self) -> None:
        pass

    def torch_iteration(self) -> None:
        last, now = self.pair["last"], self.pair["now"]
        self.pair.update(last=now, now=last + now)
        self.sizes += 1


@pytest.mark.slow
def test_what_changes_places_is_brought_back() -> None:
    with using(NAME):
        agent: Any = Fibonacci(torch.zeros(1, device=NAME), torch.ones(1, device=NAME))
        captured = CapturedIteration(agent)
        for _ in range(10):
            captured()
        assert (agent.pair["last"].tolist(), agent.pair["now"].tolist(), agent.sizes) == ([55.0], [89.0], 10)
        agent.pair["now"] = torch.full((1,), 100.0, device=NAME)  # the caller puts it elsewhere
        captured()
        assert agent.pair["now"].tolist() == [155.0]
        shared = torch.ones(1, device=NAME)
        agent.pair.update(last=shared, now=shared)
        captured()  # a copy each
        assert agent.pair["now"].tolist() == [2.0]
        agent = Fibonacci(shared, shared)
        agent.torch_iteration = lambda: agent.pair.update(last=agent.pair["now"] + 1.0, now=agent.pair["now"] + 2.0)
        captured = CapturedIteration(agent)
        captured()
        agent.pair.update(last=shared, now=shared)
        with pytest.raises(RuntimeError, match=r"pair\.now shared its tensor with something else"):
            captured()
